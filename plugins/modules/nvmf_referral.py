#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nvmf_referral
short_description: Declare where the discovery service of an SPDK target refers hosts to
version_added: 0.1.0
description:
  - Lets the discovery service of a running SPDK target (24.01 and later) name other discovery services, so that a host that asks one
    target finds all of them.
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
    description: Shows each referral before and after.
  idempotent:
    support: full
    description: Everything is compared with what the target shows.
  platform:
    support: full
    platforms: linux
    description: Runs on the host of the SPDK target.
notes:
  - SPDK forgets referrals when it ends; its start-up configuration must name them.
  - No I/O goes through a referral, so none is guarded against removal.
options:
  trtype:
    description: Type of the transport.
    type: str
    choices: [TCP, RDMA, tcp, rdma]
    default: TCP
  adrfam:
    description: Family of the address; follows from the address if not given.
    type: str
    choices: [IPv4, IPv6, ipv4, ipv6]
  traddr:
    description: IP address of the other discovery service.
    type: str
  trsvcid:
    description: Its port.
    type: str
    default: "8009"
  subnqn:
    description: NQN of the subsystem that is referred to. Default is that of discovery.
    type: str
  secure_channel:
    description:
      - Whether hosts must connect to it by TLS. Default for a new referral is V(false).
      - If it differs from a referral that is there, that is removed and added again.
    type: bool
  state:
    description: Whether the referral is there.
    type: str
    choices: [present, absent]
    default: present
  referrals:
    description: Many referrals in one call.
    type: list
    elements: dict
    suboptions:
      trtype:
        description: See O(trtype).
        type: str
        choices: [TCP, RDMA, tcp, rdma]
        default: TCP
      adrfam:
        description: See O(adrfam).
        type: str
        choices: [IPv4, IPv6, ipv4, ipv6]
      traddr:
        description: See O(traddr).
        type: str
        required: true
      trsvcid:
        description: See O(trsvcid).
        type: str
        default: "8009"
      subnqn:
        description: See O(subnqn).
        type: str
      secure_channel:
        description: See O(secure_channel).
        type: bool
      state:
        description: See O(state).
        type: str
        choices: [present, absent]
        default: present
  purge:
    description: Whether referrals that are not named are removed.
    type: bool
    default: false
seealso:
  - module: nvmeof.spdk.nvmf_subsystem
  - module: nvmeof.spdk.spdk_target_info
"""

EXAMPLES = r"""
- name: Refer hosts to the second target
  nvmeof.spdk.nvmf_referral:
    traddr: 192.0.2.11

- name: Refer hosts to these two targets and to no others
  nvmeof.spdk.nvmf_referral:
    referrals:
      - traddr: 192.0.2.11
      - traddr: 192.0.2.12
        secure_channel: true
    purge: true
"""

RETURN = r"""
referrals:
  description: The named referrals in the order of the call, read back (in check mode, predicted).
  returned: success
  type: list
  elements: dict
  contains:
    trtype:
      description: Type of the transport.
      type: str
      sample: TCP
    adrfam:
      description: Family of the address.
      type: str
      sample: IPv4
    traddr:
      description: IP address.
      type: str
      sample: 192.0.2.11
    trsvcid:
      description: Port.
      type: str
      sample: "8009"
    subnqn:
      description: NQN of the subsystem that is referred to.
      type: str
      sample: nqn.2014-08.org.nvmexpress.discovery
    secure_channel:
      description: Whether hosts must connect by TLS; V(null) if it is not there.
      type: bool
      sample: false
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
      sample: nvmf_discovery_add_referral
    params:
      description: Its parameters.
      type: dict
      sample: {"address": {"trtype": "TCP", "adrfam": "IPv4", "traddr": "192.0.2.11", "trsvcid": "8009"}}
changes:
  description: What was, or in check mode would be, changed.
  returned: always
  type: list
  elements: dict
  sample:
    - kind: referral
      name: TCP 192.0.2.11:8009
      action: add
      before: null
      after: {"state": "present", "secure_channel": false}
error:
  description: The parts of a failure.
  returned: failure
  type: dict
  sample:
    object: TCP 192.0.2.11:8009
    hop: path
    call: nvmf_discovery_add_referral
    cause: the target runs SPDK 23.09
    remedy: upgrade SPDK to 24.01 or later
    message: this SPDK release has no nvmf_discovery_add_referral
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_module import SPDK_OPTIONS, check_timeout, fail, one_or_many, warn
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_referrals import ReferralManager, wanted_referrals
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target


def referral_options(required: dict[str, t.Any]) -> dict[str, t.Any]:
    """The options of one referral, at the top and in the list alike."""
    return {
        "trtype": {"type": "str", "choices": ["TCP", "RDMA", "tcp", "rdma"], "default": "TCP"},
        "adrfam": {"type": "str", "choices": ["IPv4", "IPv6", "ipv4", "ipv6"]},
        "traddr": {"type": "str", **required},
        "trsvcid": {"type": "str", "default": "8009"},
        "subnqn": {"type": "str"},
        "secure_channel": {"type": "bool"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }


def main() -> None:
    options = referral_options({})
    module = AnsibleModule(
        argument_spec={
            **SPDK_OPTIONS,
            **options,
            "referrals": {"type": "list", "elements": "dict", "options": referral_options({"required": True})},
            "purge": {"type": "bool", "default": False},
        },
        mutually_exclusive=[("referrals", name) for name, option in options.items() if "default" not in option],
        required_one_of=[("referrals", "traddr")],
        supports_check_mode=True,
    )
    check_timeout(module, "timeout")
    purge = module.params["purge"]
    target, manager = None, None
    try:
        wishes = wanted_referrals(one_or_many(module, "referrals", list(options)))
        target = Target.open(module.params["socket"], module.params["timeout"])
        manager = ReferralManager(target)
        manager.plan(wishes, purge)
        if manager.calls and not module.check_mode:
            manager.apply(wishes, purge)
    except HopError as error:
        results = {}
        if manager is not None and target is not None:
            done = [change.summary() for change in manager.changes.items if change.done]
            results = {"changed": manager.changes.applied, "rpc_calls": target.sent, "changes": done}
        fail(module, error, **results)
    finally:
        if target is not None:
            target.close()
    warn(module, manager.unproven)
    module.exit_json(
        changed=manager.changes.changed,
        referrals=[manager.result(wish) for wish in wishes],
        rpc_calls=[{"method": method, "params": params} for method, params in manager.ordered()] if module.check_mode else target.sent,
        changes=manager.changes.summaries(),
        diff=manager.changes.diff(),
    )


if __name__ == "__main__":
    main()
