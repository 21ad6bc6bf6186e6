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
  - Returns the declared subsystems of one target, with RV(ignore:min_cntlid) and RV(ignore:max_cntlid) in those that other targets export, too, and
    that declare neither.
  - "The ids follow from the target's place in O(targets): 2047 for each, so that a target added at the end moves none of the others. One that is taken
    out of the middle does; SPDK takes ids only when it creates a subsystem, so declare them instead where targets come and go."
positional: hostvars, targets, target
options:
  _input:
    description: C(spdk_target_subsystems) of O(target).
    type: list
    elements: dict
    required: true
  hostvars:
    description: The C(hostvars), for what the other targets declare.
    type: dict
    required: true
  targets:
    description: The targets, in the order of the inventory.
    type: list
    elements: str
    required: true
  target:
    description: The target whose subsystems these are.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the subsystems with their controller ids
  ansible.builtin.debug:
    msg: "{{ spdk_target_subsystems | nvmeof.spdk.cntlid_ranges(hostvars, groups['spdk_targets'], inventory_hostname) }}"
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


def cntlid_ranges(
    subsystems: t.Sequence[t.Mapping[str, t.Any]], hostvars: t.Mapping[str, t.Any], targets: t.Sequence[str], target: str
) -> list[dict[str, t.Any]]:
    """The subsystems of ``target``."""
    try:
        name, own = plain(target), plain(subsystems)
        declared = plain(declared_of(hostvars, plain(list(targets))))
        if name not in declared:
            return own
        # variables of a play are not in hostvars: what the caller has is what counts for this target
        declared[name]["subsystems"] = [subsystem for subsystem in own if (subsystem.get("state") or "present") != "absent"]
        filled = {subsystem["nqn"]: subsystem for subsystem in with_ranges(declared)[name]["subsystems"]}
        return [filled.get(subsystem["nqn"], subsystem) for subsystem in own]
    except (HaError, ValueError) as exc:
        raise AnsibleFilterError(f"cntlid_ranges: {exc}") from exc
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"cntlid_ranges: the declared state does not have the expected form: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"cntlid_ranges": cntlid_ranges}
