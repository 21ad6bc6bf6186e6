# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter growth_outcome: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: growth_outcome
short_description: compare volumes that were measured again with the plan
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Says for every planned volume what each hop shows now, and which volumes are not as wanted.
positional: planned
options:
  _input:
    description: The volumes from P(nvmeof.spdk.volume_table#filter), measured after the growth.
    type: list
    elements: dict
    required: true
  planned:
    description: The plan from P(nvmeof.spdk.growth_plan#filter).
    type: dict
    required: true
  guest_required:
    description: Whether a guest that nobody can ask makes the run fail.
    type: bool
    default: false
  only:
    description: Names of the volumes to judge; all of the plan if not given.
    type: list
    elements: str
  evidence:
    description: What hosts did, from P(nvmeof.spdk.growth_evidence#filter). A volume that was held back is V(blocked).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Judge
  ansible.builtin.set_fact:
    outcome: "{{ volumes | nvmeof.spdk.growth_outcome(plan) }}"
"""

RETURN = r"""
_value:
  description: RV(ignore:volumes) (rows of the truth table), RV(ignore:failed) (text) and RV(ignore:summary) (counts by verdict, and the first
    volumes that are not V(ok)).
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth import COMPARED, outcome
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import as_bool, plain


def growth_outcome(
    volumes: t.Sequence[dict[str, t.Any]],
    planned: t.Mapping[str, t.Any],
    guest_required: t.Any = False,
    only: t.Sequence[str] | None = None,
    evidence: t.Mapping[str, t.Any] | None = None,
) -> dict[str, t.Any]:
    """What became of the plan."""
    try:
        known = plain(volumes)
        there = {volume["volume"] for volume in known}
        # of a volume that is still there the plan's readings do not count any more, and they are most of a plan
        rows = [plain(row if row["volume"] not in there else {key: row.get(key) for key in COMPARED}) for row in planned["volumes"]]
        before = {"allow_degraded": plain(planned.get("allow_degraded", False)), "volumes": rows}
        return outcome(known, before, as_bool(plain(guest_required)), None if only is None else set(plain(only)), plain(evidence))
    except (KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"growth_outcome: not a plan of growth_plan: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"growth_outcome": growth_outcome}
