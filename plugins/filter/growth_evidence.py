# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter growth_evidence: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: growth_evidence
short_description: tell what hosts did in a growth
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Takes C(hostvars) with what the role P(nvmeof.spdk.volume_growth#role) remembered of each host.
  - Names the hosts that failed or were lost, with the hop and its error, and for each volume how long its hops took and why it went no further.
positional: planned
options:
  _input:
    description: The C(hostvars).
    type: dict
    required: true
  planned:
    description: The plan from P(nvmeof.spdk.growth_plan#filter).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Who failed or was lost
  ansible.builtin.debug:
    msg: "{{ (hostvars | nvmeof.spdk.growth_evidence(plan)).lines }}"
"""

RETURN = r"""
_value:
  description:
    - RV(ignore:hosts), who failed or was lost (V(host), V(stage), V(hop), V(state), V(error)); RV(ignore:lines), the same as text; RV(ignore:volumes), by name
      V(seconds) of each hop, V(errors) (entries of RV(ignore:hosts)), and V(held), why the volume went no further, or V(null).
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth_evidence import evidence
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain


def growth_evidence(hostvars: t.Mapping[str, t.Any], planned: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What hosts did."""
    try:
        return plain(evidence(hostvars, {"stages": plain(planned["stages"])}))
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise AnsibleFilterError(f"growth_evidence: not a plan of growth_plan: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"growth_evidence": growth_evidence}
