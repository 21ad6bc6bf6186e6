# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter provision_plan: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: provision_plan
short_description: plan the provisioning of volumes
author: nvmeof.spdk contributors (@nvmeof-spdk)
version_added: 0.1.0
description:
  - Checks the whole list against itself and against what was measured, tells all problems at once, and computes the work of every host.
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
  ceph_host:
    description: Inventory name of the host that read the images.
    type: str
    required: true
  overcommit:
    description: Whether the new images may be larger in total than what their pools have free.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Plan
  ansible.builtin.set_fact:
    plan: "{{ hostvars | nvmeof.spdk.provision_plan(asked, volumes, ceph_host='ceph1') }}"
"""

RETURN = r"""
_value:
  description: >-
    The plan - RV(ignore:problems), RV(ignore:lines), RV(ignore:images), RV(ignore:volumes), and by host RV(ignore:targets), RV(ignore:hosts)
    and RV(ignore:disks).
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import as_bool, plain
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._provision import ProvisionError, plan, registered
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._volumes import measurements_of


def provision_plan(
    hostvars: t.Mapping[str, t.Any],
    asked: t.Mapping[str, t.Sequence[str]],
    volumes: t.Any,
    defaults: t.Mapping[str, t.Any] | None = None,
    ceph_host: str = "",
    overcommit: t.Any = False,
) -> dict[str, t.Any]:
    """The plan for making ``volumes``."""
    known = {kind: plain(list(names)) for kind, names in asked.items()}
    domains = {name: registered(hostvars, name, "volume_growth__disks").get("domains") for name in known.get("disks") or []}
    images = registered(hostvars, ceph_host, "volume_provision__images")
    if not images:
        images = {"msg": f"host {ceph_host or '(none: the inventory has neither a target nor a Ceph client)'} was left out by --limit, or lost earlier"}
    try:
        return plan(
            plain(volumes),
            plain(defaults),
            plain(measurements_of(hostvars, known)),
            known,
            plain(images),
            plain(domains),
            as_bool(plain(overcommit)),
        )
    except ProvisionError as exc:
        raise AnsibleFilterError(str(exc)) from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"provision_plan": provision_plan}
