# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter with_volumes: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: with_volumes
short_description: declared bdevs and subsystems with the volumes that are declared apart
author: nvmeof.spdk contributors (@nvmeof-spdk)
version_added: 0.1.0
description:
  - Lets a target's lists be written by hand while provisioned volumes are kept in a file of their own (C(spdk_target_volumes)).
  - An image that the lists have already is left as it is there; a volume of an NQN that the target does not declare is not the target's.
positional: volumes, host
options:
  _input:
    description: V(bdevs) and V(subsystems) as the variables C(spdk_target_rbd_bdevs) and C(spdk_target_subsystems).
    type: dict
    required: true
  volumes:
    description: The volumes as C(spdk_target_volumes).
    type: list
    elements: dict
    required: true
  host:
    description: Inventory name of the target.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Everything this target is to have
  ansible.builtin.set_fact:
    declared: "{{ {'bdevs': bdevs, 'subsystems': subsystems} | nvmeof.spdk.with_volumes(volumes, inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: V(bdevs) and V(subsystems).
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._provision import with_volumes as merged


def with_volumes(declared: t.Mapping[str, t.Any], volumes: t.Sequence[t.Mapping[str, t.Any]], host: str) -> dict[str, t.Any]:
    """Bdevs and subsystems of a target."""
    try:
        return merged(plain(declared), plain(volumes), plain(host))
    except KeyError as exc:
        raise AnsibleFilterError(f"with_volumes: an entry of spdk_target_volumes, or a subsystem, lacks {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"with_volumes": with_volumes}
