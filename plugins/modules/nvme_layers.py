#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: nvme_layers
short_description: Grow dm-multipath, LUKS and LVM layers on NVMe namespaces
version_added: 0.1.0
description:
  - Each layer on a namespace's device remembers a size of its own. This module grows them from the bottom up to all that the device has, dm-multipath maps
    with C(multipathd resize map), LUKS and plain dm-crypt with C(cryptsetup resize), LVM physical volumes with C(pvresize), and reads each size back.
  - The layers are found from the holders of the device that has the namespace's UUID. Logical volumes and file systems keep their sizes.
  - What is not known to be safe is refused by name, and then no layer of that namespace is touched. That is a partition with something on it, RAID,
    another device-mapper device, a mapping that cannot be unlocked without somebody at the keyboard, a physical volume that a process (a guest) has open.
  - It never makes anything smaller, and it does nothing while the device, or one path of a multipath map, is smaller than wanted.
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
attributes:
  check_mode:
    support: full
    description: Nothing is grown. A device that has not grown yet counts as grown, because earlier hops are not moved in check mode either.
  diff_mode:
    support: full
    description: Shows the sizes of the layers before and after.
  idempotent:
    support: full
    description: A layer that has all its device's bytes is left alone.
  platform:
    support: full
    platforms: linux
    description: Linux 5.4 and newer; needs root.
requirements:
  - dmsetup and cryptsetup for dm-crypt, multipath-tools for dm-multipath, lvm2 for LVM; only for layers that there are
options:
  uuid:
    description:
      - The namespace's UUID.
    type: str
  size:
    description:
      - The size, with a unit, that the namespace's device must have before a layer is touched, such as V(800G). It is not the layers' size.
      - Left out, the size that the device has now.
    type: str
  namespaces:
    description:
      - Many namespaces in one call.
    type: list
    elements: dict
    suboptions:
      uuid:
        description: See O(uuid).
        type: str
        required: true
      size:
        description: See O(size).
        type: str
  wait_timeout:
    description:
      - Seconds until each layer must show its size. A busy C(multipathd) is asked again so long.
    type: int
    default: 60
notes:
  - No passphrase is taken or asked for. A LUKS2 mapping whose key is in the kernel's keyring, which is cryptsetup's default, needs its key file in
    C(/etc/crypttab), or a token in its header that unlocks it, or somebody who runs C(cryptsetup resize) by hand.
seealso:
  - module: nvmeof.spdk.nvme_info
  - module: nvmeof.spdk.nvme_rescan
  - module: nvmeof.spdk.virt_blockresize
"""

EXAMPLES = r"""
- name: Grow whatever lies on a grown namespace
  nvmeof.spdk.nvme_layers:
    uuid: 11111111-1111-4111-8111-111111111111
    size: 800G
  become: true

- name: See what would be grown on several
  nvmeof.spdk.nvme_layers:
    namespaces:
      - uuid: 11111111-1111-4111-8111-111111111111
        size: 800G
      - uuid: 22222222-2222-4222-8222-222222222222
  become: true
  check_mode: true
"""

RETURN = r"""
namespaces:
  description: One entry for each namespace asked for, in that order.
  returned: always
  type: list
  elements: dict
  contains:
    uuid:
      description: The namespace's UUID.
      type: str
      sample: 11111111-1111-4111-8111-111111111111
    device:
      description: Its device now, or null.
      type: str
      sample: /dev/nvme0n1
    device_bytes:
      description: The device's size, or null.
      type: int
      sample: 83886080
    wanted_bytes:
      description: The size asked for, or else the device's.
      type: int
      sample: 83886080
    layers:
      description:
        - The layers that the host uses, the lower ones first, in the shape of M(nvmeof.spdk.nvme_info) with O(nvmeof.spdk.nvme_info#module:layer_details).
        - C(before_bytes) and C(size_bytes) are its sizes before and after, C(wanted_bytes) what it should have (V(null) for one that has a size of its own,
          such as a logical volume), C(lags) whether it was smaller.
      type: list
      elements: dict
      sample:
        - name: luks-vm4
          device: /dev/dm-0
          kind: dm-crypt
          size_bytes: 67108864
          "on": [/dev/nvme0n1]
          overhead_bytes: 16777216
          grown_by: cryptsetup
          blocker: null
          remedy: null
          before_bytes: 50331648
          wanted_bytes: 67108864
          lags: true
          changed: true
    changed:
      description: Whether a layer grew, or in check mode would grow.
      type: bool
      sample: true
    satisfied:
      description: Whether every layer has all its device's bytes.
      type: bool
      sample: true
    message:
      description: What was done or why nothing was.
      type: str
      sample: luks-vm4 from 48 MiB to 64 MiB by cryptsetup
    error:
      description: Null, or the error of this namespace in the shape of RV(error).
      type: dict
      sample: null
seconds:
  description: How long the call took on the host.
  returned: when it got so far that it looked
  type: float
  sample: 1.25
error:
  description: The first error.
  returned: on failure
  type: dict
  sample:
    object: /dev/nvme0n1 luks-vm4
    hop: device
    call: null
    cause: null
    remedy: run 'cryptsetup resize luks-vm4' by hand, or name its key file in /etc/crypttab
    message: the key of luks-vm4 is in the kernel's keyring, so cryptsetup resize asks for a passphrase; no layer of this namespace was touched
changes:
  description: What was, or in check mode would be, changed.
  returned: always
  type: list
  elements: dict
  sample:
    - kind: dm-crypt
      name: luks-vm4
      action: grow
      before: {size_bytes: 50331648}
      after: {size_bytes: 67108864}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._block_layer_growth import LayerGrowth, Wish, changes_of
from ansible_collections.nvmeof.spdk.plugins.module_utils._block_layer_tools import LayerTools
from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import CapacityError, parse_size
from ansible_collections.nvmeof.spdk.plugins.module_utils._clock import seconds
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_sysfs import SysfsNvme, normal_uuid


def make_wish(item: dict[str, t.Any]) -> Wish:
    """A checked wish; raises ``ValueError`` or ``CapacityError`` with one sentence."""
    uuid = normal_uuid(item["uuid"])
    if uuid is None:
        raise ValueError(f"uuid {item['uuid']!r} is not the UUID of a namespace")
    return Wish(uuid, parse_size(item["size"]) if item["size"] is not None else None)


def main() -> None:
    """Check the options, grow, return every namespace."""
    module = AnsibleModule(
        argument_spec={
            "uuid": {"type": "str"},
            "size": {"type": "str"},
            "namespaces": {"type": "list", "elements": "dict", "options": {"uuid": {"type": "str", "required": True}, "size": {"type": "str"}}},
            "wait_timeout": {"type": "int", "default": 60},
        },
        mutually_exclusive=[("namespaces", "uuid"), ("namespaces", "size")],
        required_one_of=[("namespaces", "uuid")],
        supports_check_mode=True,
    )
    params = module.params
    if params["wait_timeout"] < 0:
        module.fail_json(msg=f"wait_timeout {params['wait_timeout']} is negative; it is a number of seconds")
    try:
        wishes = [make_wish(item) for item in (params["namespaces"] if params["namespaces"] is not None else [params])]
    except (CapacityError, ValueError) as error:
        module.fail_json(msg=str(error))
    LayerGrowth(SysfsNvme(), LayerTools(), params["wait_timeout"], module.check_mode).run(wishes)
    changes = changes_of(wishes, module.check_mode)
    values = {
        "changed": changes.changed,
        "seconds": seconds(),
        "namespaces": [wish.result() for wish in wishes],
        "changes": changes.summaries(),
        "diff": changes.diff(),
    }
    errors = [wish.error for wish in wishes if wish.error is not None]
    if errors:
        module.fail_json(msg="; ".join(str(error) for error in errors), error=errors[0].as_dict(), **values)
    module.exit_json(**values)


if __name__ == "__main__":
    main()
