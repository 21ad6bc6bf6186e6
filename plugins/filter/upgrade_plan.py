# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter upgrade_plan: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: upgrade_plan
short_description: decide whether a target may be stopped now
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Takes C(hostvars) with what the role P(nvmeof.spdk.target_upgrade#role) measured on targets and hosts.
  - A target may be stopped when every namespace it exports is served by another living target under the same NQN, nsid and UUID, and every host that
    has a path through it has a usable one to another target.
positional: asked, target
options:
  _input:
    description: The C(hostvars).
    type: dict
    required: true
  asked:
    description: For each of V(target) and V(host) the list of hosts that were asked for it.
    type: dict
    required: true
  target:
    description: The target that is to be stopped.
    type: str
    required: true
  allow_outage:
    description: Whether volumes and hosts that nobody else serves are told as notes instead of blockers.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: May t1 be stopped?
  ansible.builtin.debug:
    msg: "{{ (hostvars | nvmeof.spdk.upgrade_plan({'target': groups['spdk_targets'], 'host': groups['nvme_initiators']}, 't1')).lines }}"
"""

RETURN = r"""
_value:
  description: >-
    RV(ignore:target), RV(ignore:running), RV(ignore:blockers), RV(ignore:notes), RV(ignore:lines) (text), RV(ignore:drain) and RV(ignore:restore) (lists for
    O(nvmeof.spdk.nvmf_subsystem#module:subsystems)) and RV(ignore:expected), by host the paths that must come back.
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils import _addresses, _upgrade
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import as_bool, plain
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._volumes import measurements_of


def upgrade_plan(hostvars: t.Mapping[str, t.Any], asked: t.Mapping[str, t.Sequence[str]], target: str, allow_outage: t.Any = False) -> dict[str, t.Any]:
    """The plan for stopping ``target``."""
    try:
        hosts = {kind: plain(list(names)) for kind, names in asked.items()}
        measured = plain(measurements_of(hostvars, hosts, registered_as=_upgrade.REGISTERED))
        # what is declared counts only for a target that cannot be read
        declared = [] if measured.get(plain(target), {}).get("target") else _addresses.declared_of_target(hostvars, plain(target))
        return _upgrade.upgrade_plan(measured, plain(target), declared, as_bool(plain(allow_outage)))
    except _addresses.AddressError as exc:
        raise AnsibleFilterError(f"upgrade_plan: {exc}") from exc
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"upgrade_plan: the measurements do not have the expected form: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"upgrade_plan": upgrade_plan}
