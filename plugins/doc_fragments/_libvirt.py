# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that ask the libvirt of their host; DISK: of those that take disks by their domain or by what is under them."""

    DOCUMENTATION = r"""
options:
  uri:
    description:
      - The libvirt connection. It has to be on the host the module runs on, as devices are looked up there.
    type: str
    default: qemu:///system
requirements:
  - libvirt-python of the system's own Python (C(python3-libvirt)); the module finds that Python by itself
"""

    DISK = r"""
options:
  domain:
    description:
      - The domain, by name or UUID. Needs O(target), unless O(source) or O(uuid) tells the disk.
    type: str
  target:
    description:
      - The disk's target in the domain, such as V(vda).
    type: str
  source:
    description:
      - The disk's source path, or any path to the same device. Means the disks of all domains with it.
    type: path
  uuid:
    description:
      - The UUID of the NVMe namespace. Means the disks of all domains on it.
    type: str
"""
