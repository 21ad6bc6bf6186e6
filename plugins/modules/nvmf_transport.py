#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nvmf_transport
short_description: Create NVMe-oF transports of an SPDK target
version_added: 0.1.0
description:
  - Creates the transports (TCP, RDMA) that listeners of a running SPDK target need.
  - No SPDK release can change or remove a transport; options that differ from the running ones are an error, after
    those that are missing were created.
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
extends_documentation_fragment:
  - nvmeof.spdk._spdk
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
options:
  trtype:
    description: Type of the transport.
    type: str
    choices: [TCP, RDMA, tcp, rdma]
  options:
    description:
      - Options of C(nvmf_create_transport), such as C(max_io_size) or C(c2h_success).
      - The names are checked here, because SPDK ignores a mistyped one silently; an option that the running release lacks, or that only
        another type of transport has, is an error.
      - An option that the target does not show cannot be compared; the module warns of it.
    type: dict
    default: {}
  transports:
    description: Many transports in one call.
    type: list
    elements: dict
    suboptions:
      trtype:
        description: See O(trtype).
        type: str
        choices: [TCP, RDMA, tcp, rdma]
        required: true
      options:
        description: See O(options).
        type: dict
        default: {}
seealso:
  - module: nvmeof.spdk.nvmf_subsystem
"""

EXAMPLES = r"""
- name: Speak NVMe/TCP
  nvmeof.spdk.nvmf_transport:
    trtype: TCP

- name: Speak NVMe/TCP with larger requests, and RDMA
  nvmeof.spdk.nvmf_transport:
    transports:
      - trtype: TCP
        options:
          max_io_size: 262144
      - trtype: RDMA
        options:
          num_cqe: 4096
          no_srq: false
"""

RETURN = r"""
transports:
  description: The transports in the order of the call, as the target shows them.
  returned: success
  type: list
  elements: dict
  sample:
    - trtype: TCP
      max_queue_depth: 128
      max_io_size: 131072
      changed: true
  contains:
    trtype:
      description: Type in upper case. The other keys are the options that the running release shows.
      type: str
      sample: TCP
    changed:
      description: Whether it was, or in check mode would be, created.
      type: bool
      sample: true
restart_needed:
  description: Whether it failed because a transport has other options, which only a start with another start-up file brings.
  returned: failure
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
      sample: nvmf_create_transport
    params:
      description: Its parameters.
      type: dict
      sample: {"trtype": "TCP"}
changes:
  description: What was, or in check mode would be, changed.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: V(transport).
      type: str
      sample: transport
    name:
      description: The object.
      type: str
      sample: TCP
    action:
      description: What happens to it.
      type: str
      sample: create
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
      sample: TCP
    hop:
      description: The hop of the volume's path.
      type: str
      sample: namespace
    call:
      description: The call that failed, or V(null).
      type: str
      sample: nvmf_create_transport
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
      sample: the target refused nvmf_create_transport
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_module import SPDK_OPTIONS, check_timeout, fail, one_or_many, warn
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_transports import TransportDiffersError, TransportManager


def normalised(entries: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The wishes with the type in upper case; one type twice is an error."""
    wishes = []
    for entry in entries:
        trtype = entry["trtype"].upper()
        if any(wish["trtype"] == trtype for wish in wishes):
            raise HopError("the list names this transport twice", obj=trtype, hop="path", remedy="name each once")
        wishes.append({"trtype": trtype, "options": entry["options"]})
    return wishes


def transport_options(required: dict[str, t.Any]) -> dict[str, t.Any]:
    """The options of one transport, at the top and in the list alike."""
    return {
        "trtype": {"type": "str", "choices": ["TCP", "RDMA", "tcp", "rdma"], **required},
        "options": {"type": "dict", "default": {}},
    }


def calls_of(module: AnsibleModule, target: Target, manager: TransportManager) -> list[dict[str, t.Any]]:
    """The calls that were sent, in check mode those that would be."""
    if module.check_mode:
        return [{"method": method, "params": params} for method, params, unused in manager.calls]
    return target.sent


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **SPDK_OPTIONS,
            **transport_options({}),
            "transports": {"type": "list", "elements": "dict", "options": transport_options({"required": True})},
        },
        mutually_exclusive=[("transports", "trtype")],
        required_one_of=[("transports", "trtype")],
        supports_check_mode=True,
    )
    check_timeout(module, "timeout")
    target, manager = None, None
    try:
        wishes = normalised(one_or_many(module, "transports", ["trtype", "options"]))
        target = Target.open(module.params["socket"], module.params["timeout"])
        manager = TransportManager(target)
        manager.plan(wishes)
        if not module.check_mode:
            manager.apply()
        if manager.differing is not None:
            raise manager.differing
    except HopError as error:
        differing = isinstance(error, TransportDiffersError)
        results: dict[str, t.Any] = {"restart_needed": differing}
        if manager is not None:
            # of a difference check mode says what a run would create besides
            done = [change.summary() for change in manager.changes.items if change.done or (differing and module.check_mode)]
            results.update(changed=bool(done), rpc_calls=calls_of(module, target, manager), changes=done)
        fail(module, error, **results)
    finally:
        if target is not None:
            target.close()
    warn(module, manager.unproven)
    module.exit_json(
        changed=manager.changes.changed,
        transports=[{**manager.there[wish["trtype"]], "changed": wish["trtype"] in manager.changed} for wish in wishes],
        rpc_calls=calls_of(module, target, manager),
        changes=manager.changes.summaries(),
        diff=manager.changes.diff(),
    )


if __name__ == "__main__":
    main()
