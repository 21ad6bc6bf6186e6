#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nvme_rescan
short_description: Make namespaces show the size that their target serves
version_added: 0.1.0
description:
  - Waits until a namespace's device and all its live paths show the wanted size, which the target's event normally brings about alone.
  - Where the event does not come, every controller is asked with Identify what it serves, and only a controller that serves
    the wanted size is rescanned, one after the other. A controller behind it is never rescanned, because that would shrink the
    multipath device and fail its I/O; it is named as an error instead.
  - It never makes anything smaller. A namespace that is larger than asked for is as wanted, unless O(exact=true).
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
attributes:
  check_mode:
    support: full
    description: Nothing is awaited or rescanned; C(changed) tells whether the device or a path is smaller than wanted.
  diff_mode:
    support: full
    description: Shows the sizes before and after.
  idempotent:
    support: full
    description: A namespace that shows the wanted size is left alone.
  platform:
    support: full
    platforms: linux
    description: Linux 5.4 and newer; needs root for Identify and for the rescan.
options:
  uuid:
    description:
      - The namespace's UUID. Name a namespace by this, by O(nqn) and O(nsid), or by O(device).
    type: str
  nqn:
    description:
      - The subsystem of the namespace, together with O(nsid).
    type: str
  nsid:
    description:
      - The namespace id within O(nqn).
    type: int
  device:
    description:
      - The namespace's block device or a link to it, such as C(/dev/disk/by-id/nvme-uuid.*). Names like C(/dev/nvme0n1) change over a reboot.
    type: str
  size:
    description:
      - The wanted size with a unit, such as V(800G), in whole MiB. Needed, here or in each of O(namespaces).
    type: str
  exact:
    description:
      - Fail when a device is larger than O(size).
    type: bool
    default: false
  namespaces:
    description:
      - Many namespaces in one call; they share the waiting.
    type: list
    elements: dict
    suboptions:
      uuid:
        description: See O(uuid).
        type: str
      nqn:
        description: See O(nqn).
        type: str
      nsid:
        description: See O(nsid).
        type: int
      device:
        description: See O(device).
        type: str
      size:
        description: See O(size). Without it, O(size) of the task counts.
        type: str
      exact:
        description: See O(exact).
        type: bool
        default: false
  appear_timeout:
    description:
      - Seconds to wait until namespaces that are named by O(uuid) are on the host at all, as new ones are a moment after a target has added them.
    type: int
    default: 0
  event_timeout:
    description:
      - Seconds to wait for the targets' events before any controller is asked or rescanned.
    type: int
    default: 5
  wait_timeout:
    description:
      - Seconds to wait after a rescan for the size to show.
    type: int
    default: 30
  allow_degraded:
    description:
      - Go on with the living paths when others are not live. Without it such a namespace is an error and is not touched.
    type: bool
    default: false
seealso:
  - module: nvmeof.spdk.nvme_info
  - module: nvmeof.spdk.spdk_rbd_bdev
  - module: nvmeof.spdk.virt_blockresize
"""

EXAMPLES = r"""
- name: Wait until the host shows the grown volume
  nvmeof.spdk.nvme_rescan:
    uuid: 11111111-1111-4111-8111-111111111111
    size: 800G

- name: Wait for several volumes at once
  nvmeof.spdk.nvme_rescan:
    namespaces:
      - uuid: 11111111-1111-4111-8111-111111111111
        size: 800G
      - nqn: nqn.2016-06.io.spdk:cnode1
        nsid: 2
        size: 1T
"""

RETURN = r"""
namespaces:
  description:
    - One entry for each namespace asked for, in that order, in the shape of M(nvmeof.spdk.nvme_info)'s namespaces and more.
    - C(served_bytes) of a path is what its controller answered to Identify, V(null) when it was not asked.
  returned: always
  type: list
  elements: dict
  sample:
    - uuid: 11111111-1111-4111-8111-111111111111
      nguid: null
      nqn: nqn.2016-06.io.spdk:cnode1
      nsid: 1
      device: /dev/nvme0n1
      by_id: /dev/disk/by-id/nvme-uuid.11111111-1111-4111-8111-111111111111
      size_bytes: 83886080
      block_size: 4096
      read_only: false
      holders: []
      layers: []
      mounts: []
      paths:
        - name: nvme0c0n1
          controller: nvme0
          address: traddr=192.0.2.10,trsvcid=4420,src_addr=192.0.2.20
          traddr: 192.0.2.10
          trsvcid: "4420"
          transport: tcp
          state: live
          ana_state: optimized
          before_bytes: 67108864
          served_bytes: null
          size_bytes: 83886080
      wanted_bytes: 83886080
      before_bytes: 67108864
      changed: true
      satisfied: true
      rescanned: []
      error: null
seconds:
  description: How long the call took on the host.
  returned: when it got so far that it looked
  type: float
  sample: 1.25
error:
  description: The first failed namespace's error.
  returned: when a namespace failed
  type: dict
  sample:
    object: uuid 11111111-1111-4111-8111-111111111111
    hop: path
    call: Identify Namespace
    cause: null
    remedy: restart that target or disconnect this path
    message: /dev/nvme0n1 shall have 80 MiB (83886080 bytes) but nvme1 (tcp 192.0.2.11:4420) serves 64 MiB (67108864 bytes)
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import CapacityError, parse_image_size
from ansible_collections.nvmeof.spdk.plugins.module_utils._clock import seconds
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_identify import Identify
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_rescan import Follower, Wish
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_sysfs import SysfsNvme, normal_uuid


def argument_spec() -> dict[str, t.Any]:
    """The options; those of one namespace stand at the top and in the list alike."""
    one: dict[str, t.Any] = {
        "uuid": {"type": "str"},
        "nqn": {"type": "str"},
        "nsid": {"type": "int"},
        "device": {"type": "str"},
        "size": {"type": "str"},
        "exact": {"type": "bool", "default": False},
    }
    return {
        **one,
        "namespaces": {"type": "list", "elements": "dict", "options": one},
        "appear_timeout": {"type": "int", "default": 0},
        "event_timeout": {"type": "int", "default": 5},
        "wait_timeout": {"type": "int", "default": 30},
        "allow_degraded": {"type": "bool", "default": False},
    }


def make_wish(options: dict[str, t.Any], default_size: str | None) -> Wish:
    """A checked wish; raises :class:`ValueError` with one sentence for options that make no sense."""
    by_subsystem = options["nqn"] is not None or options["nsid"] is not None
    if sum((options["uuid"] is not None, by_subsystem, options["device"] is not None)) != 1:
        raise ValueError("name each namespace by exactly one of: uuid; nqn and nsid; device")
    if by_subsystem and (not options["nqn"] or options["nsid"] is None):
        raise ValueError("nqn and nsid belong together")
    if options["nsid"] is not None and options["nsid"] < 1:
        raise ValueError(f"nsid {options['nsid']} is not a namespace id; they start at 1")
    if options["nqn"] is not None and not options["nqn"].startswith("nqn."):
        raise ValueError(f"nqn {options['nqn']!r} does not start with 'nqn.'")
    uuid = None
    if options["uuid"] is not None:
        uuid = normal_uuid(options["uuid"])
        if uuid is None:
            raise ValueError(f"uuid {options['uuid']!r} is not the UUID of a namespace")
    if options["device"] is not None and not options["device"].startswith("/dev/"):
        raise ValueError(f"device {options['device']!r} is not a path under /dev")
    size = options["size"] if options["size"] is not None else default_size
    if size is None:
        raise ValueError("size is missing")
    wanted = parse_image_size(size)
    return Wish(wanted, uuid=uuid, nqn=options["nqn"], nsid=options["nsid"], device=options["device"], exact=options["exact"])


def main() -> None:
    """Check the options, follow, return every namespace."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    single = {key: params[key] for key in ("uuid", "nqn", "nsid", "device", "size", "exact")}
    named = any(single[key] is not None for key in ("uuid", "nqn", "nsid", "device"))
    if named and params["namespaces"] is not None:
        module.fail_json(msg="name one namespace by its own options, or many by namespaces, not both")
    if not named and params["namespaces"] is None:
        module.fail_json(msg="name a namespace by uuid, by nqn and nsid, or by device, or many by namespaces")
    for option in ("appear_timeout", "event_timeout", "wait_timeout"):
        if params[option] < 0:
            module.fail_json(msg=f"{option} {params[option]} is negative; it is a number of seconds")
    items = [single] if params["namespaces"] is None else params["namespaces"]
    try:
        wishes = [make_wish({**item, "exact": item["exact"] or params["exact"]}, params["size"]) for item in items]
    except (CapacityError, ValueError) as exc:
        module.fail_json(msg=str(exc))

    follower = Follower(SysfsNvme(), Identify(), **{key: params[key] for key in ("appear_timeout", "event_timeout", "wait_timeout", "allow_degraded")})
    follower.run(wishes, module.check_mode)
    entries = [wish.result() for wish in wishes]
    before, after = {}, {}
    for wish, entry in zip(wishes, entries):
        if module.check_mode and wish.error is None:
            entry["changed"] = wish.lagged
        if entry["changed"]:
            before[wish.label] = {"size_bytes": entry["before_bytes"]}
            after[wish.label] = {"size_bytes": wish.wanted if module.check_mode else entry["size_bytes"]}
    result: dict[str, t.Any] = {
        "changed": any(entry["changed"] for entry in entries),
        "namespaces": entries,
        "seconds": seconds(),
        "diff": {"before": before, "after": after},
    }
    failed = [wish.error for wish in wishes if wish.error is not None]
    if failed:
        result["error"] = failed[0].as_dict()
        module.fail_json(msg="; ".join(str(error) for error in failed), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
