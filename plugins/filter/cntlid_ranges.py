# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter cntlid_ranges: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cntlid_ranges
short_description: give shared subsystems of a target controller ids of its own
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Returns C(spdk_target_subsystems) of one target, with RV(ignore:min_cntlid) and RV(ignore:max_cntlid) in those that other targets export, too, and
    that declare neither.
  - "The ids follow from the target's place in O(targets): 2047 for each, so that a target added at the end moves none of the others. One that is taken
    out of the middle does; SPDK takes ids only when it creates a subsystem, so declare them instead where targets come and go."
positional: targets, target
options:
  _input:
    description: The C(hostvars).
    type: dict
    required: true
  targets:
    description: The targets, in the order of the inventory.
    type: list
    elements: str
    required: true
  target:
    description: The target whose subsystems are returned.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the subsystems with their controller ids
  ansible.builtin.debug:
    msg: "{{ hostvars | nvmeof.spdk.cntlid_ranges(groups['spdk_targets'], inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: The subsystems, those to be absent as they are.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._ha import HaError, declared_of, with_ranges
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain


def cntlid_ranges(hostvars: t.Mapping[str, t.Any], targets: t.Sequence[str], target: str) -> list[dict[str, t.Any]]:
    """The subsystems of ``target``."""
    try:
        names = plain(list(targets))
        declared = plain(hostvars[target].get("spdk_target_subsystems") or [])
        filled = with_ranges(plain(declared_of(hostvars, names))).get(plain(target), {"subsystems": []})["subsystems"]
        by_nqn = {subsystem["nqn"]: subsystem for subsystem in filled}
        return [by_nqn.get(subsystem["nqn"], subsystem) for subsystem in declared]
    except (HaError, ValueError) as exc:
        raise AnsibleFilterError(f"cntlid_ranges: {exc}") from exc
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"cntlid_ranges: the declared state does not have the expected form: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"cntlid_ranges": cntlid_ranges}
