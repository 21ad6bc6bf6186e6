# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter retire_plan: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: retire_plan
short_description: plan the retirement of volumes
author: nvmeof.spdk contributors (@nvmeof-spdk)
version_added: 0.1.0
description:
  - Finds who uses the volumes on every host of the inventory, tells everything that forbids their removal, and computes the work of every host.
  - Applied again when the disks are detached and everything is measured anew, it is the proof that nobody uses the volumes.
positional: asked, volumes
options:
  _input:
    description: The hosts' variables, C(hostvars), with what the role's entry points registered.
    type: dict
    required: true
  asked:
    description: Inventory names of the hosts that were asked, by measurement (V(target), V(host), V(disks)).
    type: dict
    required: true
  volumes:
    description: The volumes, a list of dictionaries, or text in YAML or JSON.
    type: raw
    required: true
  defaults:
    description: What entries leave out; without entries the only volume.
    type: dict
    default: {}
  force:
    description: Whether to go on without the proof of hosts that did not answer or are not in the inventory.
    type: bool
    default: false
  detach_running:
    description: Whether disks are taken from domains that run.
    type: bool
    default: false
  delete_image:
    description: Whether the images go, too.
    type: bool
    default: false
  trash:
    description: Whether they go to the trash instead of being deleted.
    type: bool
    default: true
  ceph_host:
    description: Inventory name of the host that removes the images.
    type: str
    default: ''
  playing:
    description: Inventory names of the hosts that this run may talk to, C(ansible_play_hosts_all).
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Plan
  ansible.builtin.set_fact:
    plan: "{{ hostvars | nvmeof.spdk.retire_plan(asked, volumes) }}"
"""

RETURN = r"""
_value:
  description: "The plan - RV(ignore:problems), RV(ignore:lines), RV(ignore:images), RV(ignore:volumes), and RV(ignore:detach), RV(ignore:targets) by host."
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import as_bool, plain
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._provision import ProvisionError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._retire import plan
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._volumes import measurements_of


def retire_plan(
    hostvars: t.Mapping[str, t.Any],
    asked: t.Mapping[str, t.Sequence[str]],
    volumes: t.Any,
    defaults: t.Mapping[str, t.Any] | None = None,
    force: t.Any = False,
    detach_running: t.Any = False,
    delete_image: t.Any = False,
    trash: t.Any = True,
    ceph_host: str = "",
    playing: t.Sequence[str] | None = None,
) -> dict[str, t.Any]:
    """The plan for retiring ``volumes``."""
    known = {kind: plain(list(names)) for kind, names in asked.items()}
    try:
        return plan(
            plain(volumes),
            plain(defaults),
            plain(measurements_of(hostvars, known)),
            as_bool(plain(force)),
            as_bool(plain(detach_running)),
            as_bool(plain(delete_image)),
            as_bool(plain(trash)),
            missing=plain(ceph_host) if playing is not None and ceph_host not in playing else None,
        )
    except ProvisionError as exc:
        raise AnsibleFilterError(str(exc)) from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"retire_plan": retire_plan}
