#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: virt_disk
short_description: Attach block devices to libvirt domains as disks, and detach them
version_added: 0.1.0
description:
  - Attaches block devices, above all NVMe namespaces by their UUID, to domains, in the running domain and in its definition.
  - A source that is already a disk of another domain, running or not, or a second one of the same domain, is refused.
  - When one disk of a call is refused, nothing of the call is carried out.
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
extends_documentation_fragment:
  - nvmeof.spdk._libvirt
attributes:
  check_mode:
    support: full
    description: Reads the domains and changes nothing.
  diff_mode:
    support: full
    description: Shows where each disk was and is.
  idempotent:
    support: full
    description: The live XML and the definition decide.
  platform:
    support: full
    platforms: linux
    description: Runs on the hypervisor; needs python3-libvirt and root.
options:
  domain:
    description: Name or UUID of the domain.
    type: str
  target:
    description: Name of the disk in the domain, such as V(vdb). Default for a new disk is the first free one of the bus.
    type: str
  uuid:
    description: UUID of the NVMe namespace. The source is then C(/dev/disk/by-id/nvme-uuid.UUID).
    type: str
  source:
    description:
      - Path of the block device, where it is no namespace or not meant by its UUID.
      - A name that another volume can have after the next start, such as C(/dev/nvme0n1), is refused.
    type: path
  serial:
    description: Serial number that the guest is shown. Default is the first 20 digits of the UUID, none without one.
    type: str
  bus:
    description: Bus of the disk. V(scsi) needs a virtio-scsi controller in the domain.
    type: str
    choices: [virtio, scsi]
    default: virtio
  state:
    description:
      - V(present) attaches the disk to the running domain and to its definition, wherever it is missing, with cache none and native I/O.
      - V(absent) detaches it from both.
    type: str
    choices: [present, absent]
    default: present
  detach_running:
    description: Whether a disk is taken from a domain that runs (or is paused). The guest has to let go of it; without this it is refused.
    type: bool
    default: false
  disks:
    description: Many disks in one call over one connection, each with the same options as a single one.
    type: list
    elements: dict
    suboptions:
      domain:
        description: Name or UUID of the domain.
        type: str
        required: true
      target:
        description: Name of the disk in the domain, such as V(vdb). Default for a new disk is the first free one of the bus.
        type: str
      uuid:
        description: UUID of the NVMe namespace. The source is then C(/dev/disk/by-id/nvme-uuid.UUID).
        type: str
      source:
        description:
          - Path of the block device, where it is no namespace or not meant by its UUID.
          - A name that another volume can have after the next start, such as C(/dev/nvme0n1), is refused.
        type: path
      serial:
        description: Serial number that the guest is shown. Default is the first 20 digits of the UUID, none without one.
        type: str
      bus:
        description: Bus of the disk. V(scsi) needs a virtio-scsi controller in the domain.
        type: str
        choices: [virtio, scsi]
        default: virtio
      state:
        description:
          - V(present) attaches the disk to the running domain and to its definition, wherever it is missing, with cache none and native I/O.
          - V(absent) detaches it from both.
        type: str
        choices: [present, absent]
        default: present
      detach_running:
        description: Whether a disk is taken from a domain that runs (or is paused). The guest has to let go of it; without this it is refused.
        type: bool
        default: false
  wait_timeout:
    description: Seconds until the guest must have let go of a disk that is detached.
    type: int
    default: 30
notes:
  - Only the source, the target and the bus of a disk that is there are compared; the other attributes are those of new disks.
seealso:
  - module: nvmeof.spdk.virt_disk_info
  - module: nvmeof.spdk.virt_blockresize
  - module: nvmeof.spdk.nvme_info
"""

EXAMPLES = r"""
- name: A namespace as the next disk of a domain
  nvmeof.spdk.virt_disk:
    domain: db1
    uuid: 7c5a4f6e-4f0e-4d6a-9a53-0d7f1c7d2b11

- name: Two disks in one call
  nvmeof.spdk.virt_disk:
    disks:
      - domain: db1
        target: vdb
        uuid: 7c5a4f6e-4f0e-4d6a-9a53-0d7f1c7d2b11
      - domain: web1
        target: sdb
        bus: scsi
        uuid: 2f1e6f0a-9a70-4c0c-8a5b-1b6a7d9e0c22

- name: Detach a disk that the guest has unmounted
  nvmeof.spdk.virt_disk:
    domain: db1
    uuid: 7c5a4f6e-4f0e-4d6a-9a53-0d7f1c7d2b11
    state: absent
    detach_running: true
"""

RETURN = r"""
disks:
  description: The disks in the order of the call.
  returned: when libvirt could be reached
  type: list
  elements: dict
  contains:
    domain:
      description: The domain's name.
      type: str
      sample: db1
    target:
      description: The disk's name in the domain; V(null) for an absent disk that was not there.
      type: str
      sample: vdb
    bus:
      description: The disk's bus.
      type: str
      sample: virtio
    source:
      description: Path of the source.
      type: str
      sample: /dev/disk/by-id/nvme-uuid.7c5a4f6e-4f0e-4d6a-9a53-0d7f1c7d2b11
    uuid:
      description: UUID of the namespace, or V(null).
      type: str
      sample: 7c5a4f6e-4f0e-4d6a-9a53-0d7f1c7d2b11
    serial:
      description: Serial number that the guest is shown, or V(null).
      type: str
      sample: 7c5a4f6e4f0e4d6a9a53
    state:
      description: V(present) or V(absent), as asked for.
      type: str
      sample: present
    live:
      description: What was, or in check mode would be, done to the running domain - V(none), V(attach) or V(detach).
      type: str
      sample: attach
    config:
      description: The same for its definition.
      type: str
      sample: attach
    held:
      description: Whether QEMU holds the device behind the source; V(null) where it was not read.
      type: bool
      sample: true
    capacity_bytes:
      description: QEMU's size of the disk, or V(null).
      type: int
      sample: 107374182400
    changed:
      description: Whether this disk was, or in check mode would be, changed.
      type: bool
      sample: true
    error:
      description: Why this disk failed, or V(null).
      type: dict
      sample: null
changes:
  description: What was, or in check mode would be, changed.
  returned: when libvirt could be reached
  type: list
  elements: dict
  sample:
    - kind: disk
      name: db1:vdb
      action: attach
      before: null
      after: {source: /dev/disk/by-id/nvme-uuid.7c5a4f6e-4f0e-4d6a-9a53-0d7f1c7d2b11, in: [live, config]}
error:
  description: The parts of the first failure.
  returned: failure
  type: dict
  sample:
    object: db1:vdb
    hop: disk
    call: null
    cause: null
    remedy: unmount it in the guest, then set detach_running; or shut the domain down
    message: the domain is running and its guest may use the disk
errors:
  description: All errors, in the shape of RV(error).
  returned: failure
  type: list
  elements: dict
  sample: []
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_attach import DiskManager, changes_of, disk_result, parse_disk_wish
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_disk import Hypervisor
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_module import bindings, fail


def disk_options(required: dict[str, t.Any]) -> dict[str, t.Any]:
    """The options of one disk, at the top and in the list alike."""
    return {
        "domain": {"type": "str", **required},
        "target": {"type": "str"},
        "uuid": {"type": "str"},
        "source": {"type": "path"},
        "serial": {"type": "str"},
        "bus": {"type": "str", "choices": ["virtio", "scsi"], "default": "virtio"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "detach_running": {"type": "bool", "default": False},
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **disk_options({}),
            "disks": {"type": "list", "elements": "dict", "options": disk_options({"required": True})},
            "uri": {"type": "str", "default": "qemu:///system"},
            "wait_timeout": {"type": "int", "default": 30},
        },
        mutually_exclusive=[("disks", name) for name in ("domain", "target", "uuid", "source", "serial")],
        required_one_of=[("disks", "domain")],
        supports_check_mode=True,
    )
    params = module.params
    try:
        wishes = [parse_disk_wish(item) for item in (params["disks"] if params["disks"] is not None else [params])]
    except HopError as error:
        fail(module, [error])
    if params["wait_timeout"] < 0:
        module.fail_json(msg="wait_timeout cannot be negative; give seconds")
    libvirt, libvirt_qemu = bindings(module)
    applied = False
    try:
        hypervisor = Hypervisor(libvirt, params["uri"], read_only=module.check_mode, libvirt_qemu=libvirt_qemu)
        try:
            manager = DiskManager(hypervisor, params["wait_timeout"])
            manager.plan(wishes)
            if not module.check_mode and not any(wish.error for wish in wishes):
                applied = True
                manager.apply(wishes)
        finally:
            hypervisor.close()
    except HopError as error:
        done = changes_of(wishes, only_done=True)
        fail(module, [error], changed=done.changed, changes=done.summaries(), disks=[disk_result(wish) for wish in wishes])
    errors = [wish.error for wish in wishes if wish.error is not None]
    changes = changes_of(wishes, only_done=applied or bool(errors))
    values = {"changed": changes.changed, "disks": [disk_result(wish) for wish in wishes], "changes": changes.summaries(), "diff": changes.diff()}
    if errors:
        fail(module, errors, **values)
    module.exit_json(**values)


if __name__ == "__main__":
    main()
