#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: virt_disk_info
short_description: Show the disks of libvirt domains with their sizes, devices and namespaces
version_added: 0.1.0
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Lists the disks of all running and shut-off domains of a hypervisor from the live XML, over one read-only connection.
  - For every disk it tells what QEMU and so the guest have, what the device has now, and which NVMe namespace is behind it.
    A capacity below the device's size means that M(nvmeof.spdk.virt_blockresize) is needed.
  - It also compares the device that QEMU really holds open with the one the source path leads to. After a namespace was removed and
    came back these differ, and the guest reads zeros while libvirt reports nothing.
attributes:
  check_mode:
    support: full
    description: The module only reads.
  diff_mode:
    support: none
    description: The module changes nothing, so there is no difference to show.
  idempotent:
    support: full
    description: The module changes nothing.
  platform:
    support: full
    platforms: linux
    description: The module runs on hypervisors with libvirt and QEMU.
requirements:
  - libvirt-python of the system's own Python (C(python3-libvirt)); the module finds that Python by itself
options:
  domain:
    description:
      - Only disks of these domains, by name or UUID.
    type: list
    elements: str
    aliases: [domains]
  uuid:
    description:
      - Only disks on the namespaces with these UUIDs.
    type: list
    elements: str
    aliases: [uuids]
  source:
    description:
      - Only disks with these source paths, or with sources that lead to the same device.
    type: list
    elements: path
    aliases: [sources]
  uri:
    description:
      - The libvirt connection. It has to be on the host the module runs on, as devices are looked up there.
    type: str
    default: qemu:///system
  guest_agent:
    description:
      - Whether to ask the guests for the size they see, through the QEMU guest agent. Nothing is written in the guest.
      - V(never) leaves the guests alone.
      - V(auto) asks; a guest that cannot be asked has RV(disks[].guest_bytes) null and the reason in RV(disks[].guest_error).
      - V(require) fails when a guest of a running domain cannot be asked.
      - The agent needs a connection that may write, so V(auto) and V(require) open one.
    type: str
    choices: [never, auto, require]
    default: never
seealso:
  - module: nvmeof.spdk.virt_blockresize
  - module: nvmeof.spdk.nvme_info
"""

EXAMPLES = r"""
- name: List all disks of the hypervisor
  nvmeof.spdk.virt_disk_info:
  become: true
  register: disks

- name: Show the disks on one namespace with what the guest sees
  nvmeof.spdk.virt_disk_info:
    uuid: 7c5a4f6e-4f0e-4d6a-9a53-0d7f1c7d2b11
    guest_agent: auto
  become: true

- name: Show the disks of two domains
  nvmeof.spdk.virt_disk_info:
    domain: [db1, web1]
  become: true
"""

RETURN = r"""
domains:
  description: Every domain of the hypervisor, also one without a disk, whatever was asked for.
  returned: success
  type: list
  elements: dict
  contains:
    domain:
      description: The domain's name.
      type: str
      sample: db1
    domain_state:
      description: libvirt's word for its state.
      type: str
      sample: running
disks:
  description: The disks, sorted by domain and target.
  returned: always
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
      sample: 1073741824
    physical_bytes:
      description: What the device has now, or null.
      type: int
      sample: 2147483648
    read_only:
      description: Whether the disk is read-only for the guest.
      type: bool
      sample: false
    block_job:
      description: The kind of block job that runs on the disk, or null.
      type: str
      sample: null
    domain_job:
      description:
        - The job that holds the running domain, such as V(live migration (outgoing\)), V(save) or V(snapshot), or null. A backup shows as a block job of its
          disks instead.
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
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_disk import Hypervisor, read_disks
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_module import bindings, fail


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "domain": {"type": "list", "elements": "str", "aliases": ["domains"]},
            "uuid": {"type": "list", "elements": "str", "aliases": ["uuids"]},
            "source": {"type": "list", "elements": "path", "aliases": ["sources"]},
            "uri": {"type": "str", "default": "qemu:///system"},
            "guest_agent": {"type": "str", "choices": ["never", "auto", "require"], "default": "never"},
        },
        supports_check_mode=True,
    )
    libvirt, libvirt_qemu = bindings(module)
    params = module.params
    try:
        hypervisor = Hypervisor(libvirt, params["uri"], read_only=params["guest_agent"] == "never", libvirt_qemu=libvirt_qemu)
        try:
            disks, errors = read_disks(hypervisor, params["domain"], params["uuid"], params["source"], params["guest_agent"])
        finally:
            hypervisor.close()
    except HopError as error:
        fail(module, [error])
    found = [disk.result() for disk in disks]
    if errors:
        fail(module, errors, disks=found)
    module.exit_json(changed=False, disks=found, domains=hypervisor.domains)


if __name__ == "__main__":
    main()
