# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter without_bdevs: subsystems that can be made although some bdevs are missing."""

from __future__ import annotations

DOCUMENTATION = r"""
name: without_bdevs
short_description: leave namespaces of missing bdevs out of declared subsystems
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - One missing image must not keep the other namespaces of its subsystem away.
positional: missing
options:
  _input:
    description: Subsystems, as the option O(nvmeof.spdk.nvmf_subsystem#module:subsystems).
    type: list
    elements: dict
    required: true
  missing:
    description: Names of bdevs that are not there.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: All but the namespaces of vol-2
  ansible.builtin.set_fact:
    healthy: "{{ spdk_target_subsystems | nvmeof.spdk.without_bdevs(['vol-2']) }}"
"""

RETURN = r"""
_value:
  description: The subsystems without the namespaces of missing bdevs.
  type: list
  elements: dict
"""

import typing as t

from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain


def without_bdevs(subsystems: t.Sequence[t.Mapping[str, t.Any]], missing: t.Sequence[str]) -> list[dict[str, t.Any]]:
    """The subsystems without the namespaces of missing bdevs."""
    result = plain(subsystems)
    for subsystem in result:
        if subsystem.get("namespaces") is not None:
            subsystem["namespaces"] = [namespace for namespace in subsystem["namespaces"] if namespace.get("bdev") not in missing]
    return result


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"without_bdevs": without_bdevs}
