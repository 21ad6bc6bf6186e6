# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: filesystem_outcome
short_description: tell what became of the file systems in guests
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Gathers what M(nvmeof.spdk.guest_filesystem) answered on the hypervisors, as the role P(nvmeof.spdk.volume_growth#role) registered it.
  - It says nothing about the capacity that guests see; that is P(nvmeof.spdk.growth_outcome#filter).
positional: planned
options:
  _input:
    description: The C(hostvars).
    type: dict
    required: true
  planned:
    description: The plan from P(nvmeof.spdk.growth_plan#filter), made with O(nvmeof.spdk.growth_plan#filter:grow_filesystem).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the file systems
  ansible.builtin.debug:
    msg: "{{ (hostvars | nvmeof.spdk.filesystem_outcome(plan)).lines }}"
"""

RETURN = r"""
_value:
  description:
    - RV(ignore:filesystems) (the module's entries with C(host) and C(volume)), RV(ignore:lines) (text) and RV(ignore:failed) (text).
    - What is left alone, such as a guest's LVM, has not failed.
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils import _growth_filesystems
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain


def filesystem_outcome(hostvars: t.Mapping[str, t.Any], planned: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What became of the file systems of a plan."""
    try:
        return plain(_growth_filesystems.filesystem_outcome(hostvars, plain(planned)))
    except (KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"filesystem_outcome: not a plan of growth_plan: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"filesystem_outcome": filesystem_outcome}
