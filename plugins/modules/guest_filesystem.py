#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_filesystem
short_description: Grow file systems in guests to the size of their disks
version_added: 0.1.0
description:
  - On a hypervisor, grows the file system on a domain's disk in the running guest, through the QEMU guest agent, and reads its size back.
    The guest needs no login.
  - A mounted ext3, ext4 or xfs file system is grown that is on the whole disk, or on the disk's last partition, which is grown first (with C(growpart), or with
    C(sfdisk) and C(partx)).
  - Anything else is left alone and named, as V(not grown, LVM inside), and is no failure. LVM, LUKS and RAID in a guest are never touched.
  - That the guest sees the disk's capacity is proven by M(nvmeof.spdk.virt_blockresize); this module neither needs nor changes that.
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
extends_documentation_fragment:
  - nvmeof.spdk._libvirt
  - nvmeof.spdk._libvirt.disk
attributes:
  check_mode:
    support: full
    description:
      - Nothing is grown; programs that only read (C(dumpe2fs -h), C(xfs_growfs -n), C(--version)) run in the guest.
      - A disk that has not grown yet because earlier hops are not moved in check mode shows no change.
  diff_mode:
    support: full
    description: Shows the file system's size before and after; what it will be is not known before.
  idempotent:
    support: full
    description: A file system with less than 4 MiB to gain is left alone.
  platform:
    support: full
    platforms: linux
    description: The module runs on hypervisors with libvirt and QEMU; the guests run Linux.
requirements:
  - in the guest qemu-guest-agent 5.2 or newer that allows C(guest-exec), and the file system's own program
options:
  disks:
    description:
      - Many disks in one call; each with the same options as one.
    type: list
    elements: dict
    suboptions:
      domain:
        description: See O(domain).
        type: str
      target:
        description: See O(target).
        type: str
      source:
        description: See O(source).
        type: path
      uuid:
        description: See O(uuid).
        type: str
  wait_timeout:
    description:
      - Seconds that each program in the guest may take.
    type: int
    default: 60
notes:
  - Distributions of the Red Hat family forbid C(guest-exec) in the agent's configuration, and SELinux may confine what it starts
    (boolean C(virt_qemu_ga_run_unconfined)).
seealso:
  - module: nvmeof.spdk.virt_blockresize
  - module: nvmeof.spdk.virt_disk_info
"""

EXAMPLES = r"""
- name: Let a guest use the disk that has grown
  nvmeof.spdk.guest_filesystem:
    domain: db1
    target: vda
  become: true

- name: Grow the file systems on two namespaces, whichever domains have them
  nvmeof.spdk.guest_filesystem:
    disks:
      - uuid: 7c5a4f6e-4f0e-4d6a-9a53-0d7f1c7d2b11
      - uuid: 2f1e6f0a-9a70-4c0c-8a5b-1b6a7d9e0c22
  become: true
  register: grown

- name: Tell whose file system was left alone
  ansible.builtin.debug:
    msg: "{{ grown.filesystems | selectattr('state', 'eq', 'not_grown') | map(attribute='message') }}"
"""

RETURN = r"""
filesystems:
  description: The disks that were named, sorted by domain and target, and what is on them. Sizes are bytes, null is unknown.
  returned: when libvirt could be reached
  type: list
  elements: dict
  contains:
    domain:
      description: The domain's name.
      type: str
      sample: db1
    target:
      description: The disk's target in the domain.
      type: str
      sample: vda
    namespace_uuid:
      description: The UUID of the NVMe namespace under the disk, or null.
      type: str
      sample: 7c5a4f6e-4f0e-4d6a-9a53-0d7f1c7d2b11
    state:
      description:
        - V(grown), it grew, or in check mode would. V(unchanged), it has all its device's bytes. V(not_grown), it is left alone, and
          RV(filesystems[].message) says what is there. V(failed), see RV(filesystems[].error).
      type: str
      sample: grown
    message:
      description: What was done or why nothing was.
      type: str
      sample: ext4 on /data from 400 GiB to 800 GiB
    guest_device:
      description: The disk's name in the guest.
      type: str
      sample: /dev/vda
    partition:
      description: The last partition, or null for a file system on the whole disk.
      type: str
      sample: /dev/vda1
    filesystem:
      description: The file system's type.
      type: str
      sample: ext4
    mountpoint:
      description: Where the guest has mounted it.
      type: str
      sample: /data
    disk_bytes:
      description: What the guest sees of the disk.
      type: int
      sample: 858993459200
    before_partition_bytes:
      description: The partition's size before.
      type: int
      sample: 429495689216
    partition_bytes:
      description: The partition's size now.
      type: int
      sample: 858992394752
    before_bytes:
      description: The file system's blocks before.
      type: int
      sample: 429495689216
    size_bytes:
      description: The file system's blocks now.
      type: int
      sample: 858992394752
    before_total_bytes:
      description: What the guest agent told of the file system's room before (used and available together).
      type: int
      sample: 421533835264
    total_bytes:
      description: The same now.
      type: int
      sample: 844136407040
    commands:
      description: The programs that ran in the guest to grow it, or in check mode would, as argument vectors.
      type: list
      elements: list
      sample: [[growpart, /dev/vda, "1"], [resize2fs, /dev/vda1]]
    changed:
      description: Whether a partition or the file system grew, or in check mode would.
      type: bool
      sample: true
    error:
      description: Null, or the error of this disk in the shape of RV(error).
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
    object: db1:vda
    hop: guest
    call: guest-exec
    cause: null
    remedy: install e2fsprogs in the guest
    message: the guest does not have resize2fs
errors:
  description: All errors, in the shape of RV(error).
  returned: on failure
  type: list
  elements: dict
  sample: []
changes:
  description: What was, or in check mode would be, changed.
  returned: when libvirt could be reached
  type: list
  elements: dict
  sample:
    - kind: filesystem
      name: db1:vda /data
      action: grow
      before: {size_bytes: 429495689216}
      after: {size_bytes: 858992394752}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._clock import seconds
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_disk import Hypervisor
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_guest_fs import changes_of, converge
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_module import bindings, fail
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_resize import parse_wish

DISK_SPEC = {
    "domain": {"type": "str"},
    "target": {"type": "str"},
    "source": {"type": "path"},
    "uuid": {"type": "str"},
}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=dict(
            disks={"type": "list", "elements": "dict", "options": DISK_SPEC},
            uri={"type": "str", "default": "qemu:///system"},
            wait_timeout={"type": "int", "default": 60},
            **DISK_SPEC,
        ),
        mutually_exclusive=[("disks", name) for name in DISK_SPEC],
        required_one_of=[("disks", "domain", "source", "uuid")],
        supports_check_mode=True,
    )
    params = module.params
    try:
        wishes = [parse_wish(item) for item in (params["disks"] if params["disks"] is not None else [params])]
    except HopError as error:
        fail(module, [error])
    if params["wait_timeout"] < 1:
        module.fail_json(msg="wait_timeout is at least 1 second")
    libvirt, libvirt_qemu = bindings(module)
    try:
        hypervisor = Hypervisor(libvirt, params["uri"], read_only=False, libvirt_qemu=libvirt_qemu)
        try:
            found, errors = converge(hypervisor, wishes, params["wait_timeout"], module.check_mode)
        finally:
            hypervisor.close()
    except HopError as error:
        fail(module, [error])
    changes = changes_of(found, module.check_mode)
    values = {
        "changed": changes.changed,
        "seconds": seconds(),
        "filesystems": [entry.result() for entry in found],
        "changes": changes.summaries(),
        "diff": changes.diff(),
    }
    if errors:
        fail(module, errors, **values)
    module.exit_json(**values)


if __name__ == "__main__":
    main()
