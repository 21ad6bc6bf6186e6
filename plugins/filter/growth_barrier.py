# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter growth_barrier: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: growth_barrier
short_description: keep volumes from going further than their images and targets
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Takes C(hostvars) with what the role P(nvmeof.spdk.volume_growth#role) remembered of each host, and returns the work of a stage that is left for hosts.
  - A volume goes to its hosts only if every target that exports it shows the new size; the others go on without it.
positional: planned, stage
options:
  _input:
    description: The C(hostvars).
    type: dict
    required: true
  planned:
    description: The stage of a plan from P(nvmeof.spdk.growth_plan#filter).
    type: dict
    required: true
  stage:
    description: Its name.
    type: str
    required: true
  before:
    description:
      - What comes next. V(targets), the images that Ceph clients grow must have the new size. V(hosts), and every target must show it.
    type: str
    choices: [targets, hosts]
    default: hosts
"""

EXAMPLES = r"""
- name: Keep back what did not arrive
  ansible.builtin.set_fact:
    work: "{{ hostvars | nvmeof.spdk.growth_barrier(plan.stages.rest, 'rest') }}"
"""

RETURN = r"""
_value:
  description: The work by kind and host without the volumes that are held back, and those in RV(ignore:held), name to reason.
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth_evidence import barrier
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain


def growth_barrier(hostvars: t.Mapping[str, t.Any], planned: t.Mapping[str, t.Any], stage: str, before: str = "hosts") -> dict[str, t.Any]:
    """The work that is left."""
    if before not in ("targets", "hosts"):
        raise AnsibleFilterError(f"growth_barrier: before is {before!r}; it is targets or hosts")
    try:
        return barrier(hostvars, plain(planned), plain(stage), plain(before))
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise AnsibleFilterError(f"growth_barrier: not a stage of a plan of growth_plan: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"growth_barrier": growth_barrier}
