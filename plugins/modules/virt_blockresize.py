#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: virt_blockresize
short_description: Make the disks of running libvirt domains show their device's size
version_added: 0.1.0
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - QEMU keeps a disk's size when the device under it grows. This module tells QEMU to take the new size, and the guest sees it without a restart.
  - Many disks go in one call over one connection. Each is measured, checked, resized when it lags, and read back. A result is what was read
    back, as QEMU answers success to nearly every size.
  - Refused before anything is touched are sources that are no block devices (a block resize would change, also cut, the file), sizes below the
    present one, sizes above the device's, read-only and sliced disks, disks with a running block job, and disks whose device was removed
    under QEMU.
  - A disk of a domain that does not run needs nothing, and is reported as satisfied.
extends_documentation_fragment:
  - nvmeof.spdk._libvirt
  - nvmeof.spdk._libvirt.disk
attributes:
  check_mode:
    support: full
    description: Nothing is resized. A disk whose device has not grown yet counts as changed, because earlier hops are not moved in check mode either.
  diff_mode:
    support: full
    description: Shows QEMU's capacity before and after.
  idempotent:
    support: full
    description: A disk that shows its device's size already is left alone.
  platform:
    support: full
    platforms: linux
    description: The module runs on hypervisors with libvirt and QEMU.
options:
  size:
    description:
      - The size the disk has to have, with a unit, such as V(800G) or V(1073741824B). It has to be the device's size exactly.
      - With O(uuid) it is the size of the namespace's device. A disk on a layer of that device (dm-multipath, LUKS) then takes the layer's size, which
        M(nvmeof.spdk.nvme_layers) grows before.
      - Left out, the disk takes the size that the device has now.
    type: str
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
      size:
        description: See O(size).
        type: str
  guest_agent:
    description:
      - Whether to ask the guests for the size they see, through the QEMU guest agent. Nothing is written in the guest.
      - V(never) leaves the guests alone.
      - V(auto) asks and waits; a guest that cannot be asked has RV(disks[].guest_bytes) null and the reason in RV(disks[].guest_error).
      - V(require) fails when the guest of a running domain cannot be asked or does not show the size.
    type: str
    choices: [never, auto, require]
    default: auto
  wait_timeout:
    description:
      - Seconds to wait for QEMU to accept a size that the device has already, and for the guest to show it.
    type: int
    default: 30
seealso:
  - module: nvmeof.spdk.virt_disk_info
  - module: nvmeof.spdk.nvme_rescan
  - module: nvmeof.spdk.nvme_layers
  - module: nvmeof.spdk.guest_filesystem
"""

EXAMPLES = r"""
- name: Let one disk take its device's size
  nvmeof.spdk.virt_blockresize:
    domain: db1
    target: vda
  become: true

- name: Let all disks on two namespaces show their new sizes, and have the guests prove it
  nvmeof.spdk.virt_blockresize:
    disks:
      - uuid: 7c5a4f6e-4f0e-4d6a-9a53-0d7f1c7d2b11
        size: 800G
      - uuid: 2f1e6f0a-9a70-4c0c-8a5b-1b6a7d9e0c22
        size: 1T
    guest_agent: require
  become: true
"""

RETURN = r"""
disks:
  description: The disks that were named, sorted by domain and target, in the shape of M(nvmeof.spdk.virt_disk_info), and what became of them.
  returned: when libvirt could be reached
  type: list
  elements: dict
  contains:
    domain:
      description: The domain's name.
      type: str
      sample: db1
    domain_uuid:
      description: The domain's UUID.
      type: str
      sample: 0d1cbb7e-62c1-4f13-9a3d-3c1f0f4b7a55
    domain_state:
      description: libvirt's word for the domain's state.
      type: str
      sample: running
    target:
      description: The disk's target in the domain.
      type: str
      sample: vda
    bus:
      description: The disk's bus.
      type: str
      sample: virtio
    source:
      description: The source in the XML, or null for an empty drive.
      type: str
      sample: /dev/disk/by-id/nvme-uuid.7c5a4f6e-4f0e-4d6a-9a53-0d7f1c7d2b11
    source_type:
      description: The type of the source; only V(block) is ever resized.
      type: str
      sample: block
    serial:
      description: The serial number given to the guest, or null.
      type: str
      sample: null
    namespace_uuid:
      description: The UUID of the NVMe namespace under the source, or null.
      type: str
      sample: 7c5a4f6e-4f0e-4d6a-9a53-0d7f1c7d2b11
    device:
      description: The kernel's device behind the source now, or null.
      type: str
      sample: /dev/nvme0n1
    layers:
      description: Device-mapper names and partitions between the source and the namespace, outermost first.
      type: list
      elements: str
      sample: []
    capacity_bytes:
      description: What QEMU has, or null. For a domain that does not run, what it would get.
      type: int
      sample: 2147483648
    physical_bytes:
      description: What the device has now, or null.
      type: int
      sample: 2147483648
    read_only:
      description: Whether the disk is read-only for the guest.
      type: bool
      sample: false
    domain_job:
      description: The job that holds the running domain, such as V(live migration (outgoing\)), or null.
      type: str
      sample: null
    block_job:
      description: The kind of block job that runs on the disk, or null.
      type: str
      sample: null
    held:
      description:
        - V(true), QEMU holds the device that the source leads to. V(false), it holds another, removed one.
        - Null, the domain does not run, or it could not be read.
      type: bool
      sample: true
    guest_bytes:
      description: What the guest's kernel shows, or null.
      type: int
      sample: null
    guest_device:
      description: The disk's name in the guest, or null.
      type: str
      sample: null
    guest_error:
      description: Why the guest's size is not known, or null.
      type: str
      sample: null
    problems:
      description: What is wrong with the disk or stands in the way of its growth.
      type: list
      elements: dict
      contains:
        code:
          description: A short name of the kind of problem.
          type: str
          sample: unstable_name
        problem:
          description: One sentence.
          type: str
          sample: the source /dev/nvme0n1 is a name that another namespace can have after the next start
        remedy:
          description: What to do.
          type: str
          sample: use /dev/disk/by-id/nvme-uuid.UUID as the disk's source
        severity:
          description:
            - V(critical), wrong data or lost space already. V(blocker), the disk cannot follow the growth of its namespace. V(warning) or V(info).
          type: str
          sample: warning
    before_bytes:
      description: What QEMU had before, or null.
      type: int
      sample: 1073741824
    changed:
      description: Whether QEMU's capacity changed, or in check mode would change.
      type: bool
      sample: true
    satisfied:
      description: Whether the disk is as wanted.
      type: bool
      sample: true
    message:
      description: What was done or why nothing was.
      type: str
      sample: from 1 GiB to 2 GiB
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
    hop: device
    call: null
    cause: null
    remedy: grow the image and the bdev on all targets, then bring the host up with nvmeof.spdk.nvme_rescan
    message: the host has not seen the new size
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
    - kind: disk
      name: db1:vda
      action: grow
      before: {capacity_bytes: 1073741824}
      after: {capacity_bytes: 2147483648}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._clock import seconds
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_disk import Hypervisor
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_module import bindings, fail
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_resize import changes_of, converge, parse_wish

DISK_SPEC = {
    "domain": {"type": "str"},
    "target": {"type": "str"},
    "source": {"type": "path"},
    "uuid": {"type": "str"},
    "size": {"type": "str"},
}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=dict(
            disks={"type": "list", "elements": "dict", "options": DISK_SPEC},
            uri={"type": "str", "default": "qemu:///system"},
            guest_agent={"type": "str", "choices": ["never", "auto", "require"], "default": "auto"},
            wait_timeout={"type": "int", "default": 30},
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
    if params["wait_timeout"] < 0:
        module.fail_json(msg="wait_timeout cannot be negative; give seconds")
    libvirt, libvirt_qemu = bindings(module)
    try:
        hypervisor = Hypervisor(libvirt, params["uri"], read_only=module.check_mode and params["guest_agent"] == "never", libvirt_qemu=libvirt_qemu)
        try:
            outcomes, errors = converge(hypervisor, wishes, params["guest_agent"], params["wait_timeout"], module.check_mode)
        finally:
            hypervisor.close()
    except HopError as error:
        fail(module, [error])
    changes = changes_of(outcomes)
    values = {
        "changed": changes.changed,
        "seconds": seconds(),
        "disks": [outcome.result() for outcome in outcomes],
        "changes": changes.summaries(),
        "diff": changes.diff(),
    }
    if errors:
        fail(module, errors, **values)
    module.exit_json(**values)


if __name__ == "__main__":
    main()
