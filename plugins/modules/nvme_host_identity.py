#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nvme_host_identity
short_description: Give a host its NVMe host NQN and host ID
version_added: 0.1.0
description:
  - Makes sure that C(/etc/nvme/hostnqn) and C(/etc/nvme/hostid) are there and belong together. Debian's nvme-cli writes two that do not.
  - A host NQN that is there stays, for targets know the host by it; a host ID that does not belong to it is replaced.
  - Nothing is replaced while NVMe-oF controllers are connected; that is reported in C(problems), or refused where another pair was asked for.
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
attributes:
  check_mode:
    support: full
    description: Nothing is written. A new pair is made up and another one than the real run's.
  diff_mode:
    support: full
    description: Shows the pair before and after.
  idempotent:
    support: full
    description: A pair that belongs together, and to this host alone, is left alone.
  platform:
    support: full
    platforms: linux
    description: Needs root to write.
options:
  hostnqn:
    description:
      - The NQN to have. Without it, the one that is there, else one made of the host ID.
    type: str
  hostid:
    description:
      - The host ID (a UUID) to have. Without it, the UUID in the host NQN.
    type: str
  clone_of:
    description:
      - The name of another host with the same host NQN, of which this one is a clone. The pair is given up for a new one with O(renew), else this fails.
    type: str
  renew:
    description:
      - Whether a clone gets a new pair. Targets have to allow its new NQN.
    type: bool
    default: false
  directory:
    description:
      - Where the two files are.
    type: path
    default: /etc/nvme
seealso:
  - module: nvmeof.spdk.nvme_connection
"""

EXAMPLES = r"""
- name: Have an identity
  nvmeof.spdk.nvme_host_identity:
  register: identity

- name: A clone gets one of its own
  nvmeof.spdk.nvme_host_identity:
    clone_of: hypervisor1
    renew: true
"""

RETURN = r"""
identity:
  description: The pair as it is now; C(connected) names the fabrics controllers that use it.
  returned: always
  type: dict
  sample:
    hostnqn: nqn.2014-08.org.nvmexpress:uuid:4ca08835-0e71-4c63-85af-4b201ffa646d
    hostid: 4ca08835-0e71-4c63-85af-4b201ffa646d
    connected: []
    problems: []
changes:
  description: What was, or in check mode would be, changed.
  returned: always
  type: list
  elements: dict
  sample:
    - kind: identity
      name: /etc/nvme
      action: update
      before:
        hostid: 0b0cc7a1-34ea-4b67-9e42-6bb56d0ed38b
      after:
        hostid: 4ca08835-0e71-4c63-85af-4b201ffa646d
error:
  description: The error in parts.
  returned: when it failed
  type: dict
  sample:
    object: /etc/nvme
    hop: path
    call: list /sys/class/nvme
    cause: nvme0 is connected
    remedy: disconnect all NVMe-oF paths first
    message: the host's identity is in use
"""

import os
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils import _nvme_files, _nvme_host_identity
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_sysfs import SysfsNvme, normal_uuid, problem
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Changes


def main() -> None:
    """Plan the pair, write what differs, read back."""
    module = AnsibleModule(
        argument_spec={
            "hostnqn": {"type": "str"},
            "hostid": {"type": "str"},
            "clone_of": {"type": "str"},
            "renew": {"type": "bool", "default": False},
            "directory": {"type": "path", "default": "/etc/nvme"},
        },
        supports_check_mode=True,
    )
    params = module.params
    if params["hostnqn"] is not None and (not re.match(r"^nqn\.[!-+\--~]+$", params["hostnqn"]) or len(params["hostnqn"]) > 223):
        module.fail_json(msg=f"hostnqn {params['hostnqn']!r} is not an NQN: it starts with 'nqn.', has no blank or comma, and at most 223 characters")
    if params["hostid"] is not None and normal_uuid(params["hostid"]) is None:
        module.fail_json(msg=f"hostid {params['hostid']!r} is not a UUID")

    directory = params["directory"]
    sysfs = SysfsNvme(etc=directory)
    nqn, host_id = sysfs.host_identity()
    users = _nvme_host_identity.connected(sysfs)
    wanted = dict(zip(("hostnqn", "hostid"), _nvme_host_identity.plan(nqn, host_id, params["hostnqn"], params["hostid"], bool(params["clone_of"]))))
    found = {"hostnqn": nqn, "hostid": host_id}
    differing = [key for key in wanted if wanted[key] != found[key]]
    problems: list[dict[str, str]] = []
    changes = Changes()
    try:
        if params["clone_of"] and not params["renew"]:
            raise HopError(
                f"the host NQN {nqn} is that of {params['clone_of']}, too",
                obj=directory,
                hop="path",
                call=f"read {directory}/hostnqn",
                remedy="give the clone a new pair: renew (in the role: nvme_initiator_renew_clones), and allow its new NQN at the targets",
            )
        if differing and users and (nqn or host_id):
            names = ", ".join(users)
            if params["clone_of"] or params["hostnqn"] or params["hostid"]:
                raise HopError(
                    "the host's identity is in use",
                    obj=directory,
                    hop="path",
                    call=f"list {sysfs.root}/class/nvme",
                    cause=f"{names} connected",
                    remedy="disconnect all NVMe-oF paths first",
                )
            text = f"hostnqn and hostid do not belong together, and stay so while {names} use them"
            problems.append(problem(directory, "path", text, "disconnect all NVMe-oF paths and run this again", "warning"))
        elif differing:

            def write() -> None:
                # the id first: a host NQN stands for a complete pair
                for key in sorted(differing):
                    _nvme_files.write(os.path.join(directory, key), wanted[key] + "\n", 0o644)

            before = {key: found[key] for key in differing if found[key]} or None
            changes.add("identity", directory, "update" if before else "create", before, {key: wanted[key] for key in differing}, write)
        changes.apply(module.check_mode)
    except HopError as exc:
        module.fail_json(msg=str(exc), error=exc.as_dict())
    now = dict(wanted) if module.check_mode and changes.changed else dict(zip(("hostnqn", "hostid"), sysfs.host_identity()))
    identity: dict[str, t.Any] = {**now, "connected": users, "problems": problems}
    module.exit_json(changed=changes.changed, identity=identity, changes=changes.summaries(), diff=changes.diff())


if __name__ == "__main__":
    main()
