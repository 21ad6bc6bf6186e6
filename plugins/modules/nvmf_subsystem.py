#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nvmf_subsystem
short_description: Declare NVMe-oF subsystems of an SPDK target
version_added: 0.1.0
description:
  - Creates subsystems of a running SPDK target and lets their hosts, listeners and namespaces be as declared.
  - Nothing is taken from connected hosts without O(force), and a namespace never becomes another volume without it.
  - What SPDK cannot change in a subsystem (serial number, model number, namespace limit, ANA reporting, controller ids) is an error if it differs.
  - What a release does not show is neither taken for equal nor for different; the module warns where such a thing was asked for.
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
extends_documentation_fragment:
  - nvmeof.spdk._spdk
  - nvmeof.spdk._nvmf
attributes:
  check_mode:
    support: full
    description: Reads the target and sends no changing call.
  diff_mode:
    support: full
    description: Shows what each object had and has.
  idempotent:
    support: full
    description: Everything is compared with what the target shows.
  platform:
    support: full
    platforms: linux
    description: Runs on the host of the SPDK target.
notes:
  - The discovery subsystem is never touched.
  - SPDK forgets subsystems when it ends; its start-up configuration must name them.
seealso:
  - module: nvmeof.spdk.nvmf_referral
  - module: nvmeof.spdk.nvmf_transport
  - module: nvmeof.spdk.spdk_keyring
  - module: nvmeof.spdk.spdk_rbd_bdev
  - module: nvmeof.spdk.spdk_target_info
"""

EXAMPLES = r"""
- name: Export two volumes to one host
  nvmeof.spdk.nvmf_subsystem:
    nqn: nqn.2026-01.org.example:vols
    ana_reporting: true
    hosts:
      - nqn.2014-08.org.nvmexpress:uuid:4ca08835-0e71-4c63-85af-4b201ffa646d
    listeners:
      - traddr: 192.0.2.10
    namespaces:
      - bdev: vol-1
        nsid: 1
      - bdev: vol-2
        nsid: 2
    purge: true

- name: Let the other target's paths be preferred
  nvmeof.spdk.nvmf_subsystem:
    nqn: nqn.2026-01.org.example:vols
    listeners:
      - traddr: 192.0.2.10
        ana_state: non_optimized

- name: Let one host in by TLS and DH-HMAC-CHAP
  nvmeof.spdk.nvmf_subsystem:
    nqn: nqn.2026-01.org.example:vols
    hosts:
      - nqn: nqn.2014-08.org.nvmexpress:uuid:4ca08835-0e71-4c63-85af-4b201ffa646d
        psk: host-a-psk
        dhchap_key: host-a
        dhchap_ctrlr_key: target-1
    listeners:
      - traddr: 192.0.2.10
        trsvcid: "4421"
        secure_channel: true

- name: Show a volume to one host only, and prefer this target's path to it
  nvmeof.spdk.nvmf_subsystem:
    nqn: nqn.2026-01.org.example:vols
    ana_reporting: true
    listeners:
      - traddr: 192.0.2.10
        ana_state: non_optimized
        ana_states:
          - anagrpid: 3
            ana_state: optimized
    namespaces:
      - bdev: vol-3
        nsid: 3
        anagrpid: 3
        auto_visible: false
        hosts:
          - nqn.2014-08.org.nvmexpress:uuid:4ca08835-0e71-4c63-85af-4b201ffa646d

- name: Remove one namespace that no host uses
  nvmeof.spdk.nvmf_subsystem:
    nqn: nqn.2026-01.org.example:vols
    namespaces:
      - bdev: vol-3
        nsid: 3
        state: absent

- name: Delete a subsystem that no host uses
  nvmeof.spdk.nvmf_subsystem:
    nqn: nqn.2026-01.org.example:old
    state: absent
"""

RETURN = r"""
subsystems:
  description: The subsystems in the order of the call, read back (in check mode, predicted).
  returned: success
  type: list
  elements: dict
  contains:
    nqn:
      description: NQN of the subsystem.
      type: str
      sample: nqn.2026-01.org.example:vols
    serial_number:
      description: Serial number.
      type: str
      sample: SPDK0123456789ABCDEF
    model_number:
      description: Model number.
      type: str
      sample: SPDK bdev Controller
    max_namespaces:
      description: Largest namespace id.
      type: int
      sample: 256
    ana_reporting:
      description: Whether ANA states are reported; V(null) if the target does not show it.
      type: bool
      sample: true
    min_cntlid:
      description: Lowest controller id, or V(null).
      type: int
      sample: 1
    max_cntlid:
      description: Highest controller id, or V(null).
      type: int
      sample: 65519
    allow_any_host:
      description: Whether every host may connect.
      type: bool
      sample: false
    hosts:
      description: NQNs of the hosts that may connect.
      type: list
      elements: str
      sample: ["nqn.2014-08.org.nvmexpress:uuid:4ca08835-0e71-4c63-85af-4b201ffa646d"]
    host_keys:
      description: The same hosts with the names of their keys; V(null) where a host has none, or the release does not show it.
      type: list
      elements: dict
      sample:
        - nqn: nqn.2014-08.org.nvmexpress:uuid:4ca08835-0e71-4c63-85af-4b201ffa646d
          psk: host-a-psk
          dhchap_key: host-a
          dhchap_ctrlr_key: null
    listeners:
      description: Addresses it listens on. C(ana_states) has every group, and only where they differ.
      type: list
      elements: dict
      sample:
        - trtype: TCP
          adrfam: IPv4
          traddr: 192.0.2.10
          trsvcid: "4420"
          ana_state: optimized
          ana_states: []
          secure_channel: false
          sock_impl: null
    namespaces:
      description: Its namespaces. V(null) is what the release does not show; hosts are those that see it where it is not visible to all.
      type: list
      elements: dict
      sample:
        - nsid: 1
          bdev: vol-1
          uuid: 0a1b2c3d-0000-4000-8000-000000000003
          nguid: 0a1b2c3d000040008000000000000003
          eui64: null
          anagrpid: 1
          auto_visible: true
          hosts: []
          ptpl_file: null
    controllers:
      description: Connected controllers; filled by M(nvmeof.spdk.spdk_target_info) only.
      type: list
      elements: dict
      sample: []
    state:
      description: V(present) or V(absent).
      type: str
      sample: present
    changed:
      description: Whether it was, or in check mode would be, changed.
      type: bool
      sample: true
rpc_calls:
  description: The changing calls that were sent, or in check mode would be sent.
  returned: always
  type: list
  elements: dict
  contains:
    method:
      description: Name of the method.
      type: str
      sample: nvmf_subsystem_add_ns
    params:
      description: Its parameters.
      type: dict
      sample: {"nqn": "nqn.2026-01.org.example:vols", "namespace": {"bdev_name": "vol-1", "nsid": 1}}
changes:
  description: What was, or in check mode would be, changed.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: V(subsystem).
      type: str
      sample: subsystem
    name:
      description: The object.
      type: str
      sample: nqn.2026-01.org.example:vols
    action:
      description: What happens to it.
      type: str
      sample: add_namespace
    before:
      description: What it had, or V(null).
      type: dict
      sample: null
    after:
      description: What it has, or V(null).
      type: dict
      sample: {"state": "present"}
error:
  description: The parts of a failure.
  returned: failure
  type: dict
  contains:
    object:
      description: What failed.
      type: str
      sample: nqn.2026-01.org.example:vols
    hop:
      description: The hop of the volume's path.
      type: str
      sample: namespace
    call:
      description: The call that failed, or V(null).
      type: str
      sample: nvmf_subsystem_add_ns
    cause:
      description: The other side's words, or V(null).
      type: str
      sample: "error -32602: Invalid parameters"
    remedy:
      description: What to do next, or V(null).
      type: str
      sample: look at the target's log
    message:
      description: The failure in one sentence.
      type: str
      sample: the target refused nvmf_subsystem_add_ns
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_module import SPDK_OPTIONS, check_timeout, fail, hide_keys, one_or_many, warn
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_wish import wanted_subsystems
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystems import SubsystemManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target


def subsystem_options(required: dict[str, t.Any]) -> dict[str, t.Any]:
    """The options of one subsystem, at the top and in the list alike."""
    states = ["optimized", "non_optimized", "inaccessible"]
    group = {"anagrpid": {"type": "int", "required": True}, "ana_state": {"type": "str", "choices": states, "required": True}}
    listeners = {
        "trtype": {"type": "str", "choices": ["TCP", "RDMA", "tcp", "rdma"], "default": "TCP"},
        "adrfam": {"type": "str", "choices": ["IPv4", "IPv6", "ipv4", "ipv6"]},
        "traddr": {"type": "str", "required": True},
        "trsvcid": {"type": "str", "default": "4420"},
        "secure_channel": {"type": "bool"},
        "sock_impl": {"type": "str"},
        "ana_state": {"type": "str", "choices": states},
        "ana_states": {"type": "list", "elements": "dict", "options": group},
    }
    namespaces = {
        "bdev": {"type": "str", "required": True},
        "nsid": {"type": "int"},
        "uuid": {"type": "str"},
        "nguid": {"type": "str"},
        "eui64": {"type": "str"},
        "anagrpid": {"type": "int"},
        "auto_visible": {"type": "bool"},
        "hosts": {"type": "list", "elements": "str"},
        "ptpl_file": {"type": "path"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }
    return {
        "nqn": {"type": "str", **required},
        "serial_number": {"type": "str"},
        "model_number": {"type": "str"},
        "max_namespaces": {"type": "int"},
        "ana_reporting": {"type": "bool"},
        "min_cntlid": {"type": "int"},
        "max_cntlid": {"type": "int"},
        "allow_any_host": {"type": "bool"},
        "hosts": {"type": "list", "elements": "raw"},
        "listeners": {"type": "list", "elements": "dict", "options": listeners},
        "namespaces": {"type": "list", "elements": "dict", "options": namespaces},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "purge": {"type": "bool", "default": False},
        "force": {"type": "bool", "default": False},
    }


def main() -> None:
    options = subsystem_options({})
    module = AnsibleModule(
        argument_spec={
            **SPDK_OPTIONS,
            **options,
            "subsystems": {"type": "list", "elements": "dict", "options": subsystem_options({"required": True})},
        },
        mutually_exclusive=[("subsystems", name) for name, option in options.items() if "default" not in option],
        required_one_of=[("subsystems", "nqn")],
        supports_check_mode=True,
    )
    hide_keys(module, module.params)
    check_timeout(module, "timeout")
    target, manager = None, None
    try:
        wishes = wanted_subsystems(one_or_many(module, "subsystems", list(options), ["purge"]))
        target = Target.open(module.params["socket"], module.params["timeout"])
        manager = SubsystemManager(target)
        manager.plan(wishes)
        if manager.calls and not module.check_mode:
            manager.apply(wishes)
            manager.verify(wishes)
    except HopError as error:
        results = {}
        if manager is not None:
            done = [change.summary() for change in manager.changes.items if change.done]
            results = {"changed": manager.changes.applied, "rpc_calls": target.sent, "changes": done}
        fail(module, error, **results)
    finally:
        if target is not None:
            target.close()
    warn(module, manager.unproven)
    planned = [{"method": call.method, "params": call.params} for call in manager.ordered()]
    module.exit_json(
        changed=manager.changes.changed,
        subsystems=[manager.result(wish.nqn) for wish in wishes],
        rpc_calls=planned if module.check_mode else target.sent,
        changes=manager.changes.summaries(),
        diff=manager.changes.diff(),
    )


if __name__ == "__main__":
    main()
