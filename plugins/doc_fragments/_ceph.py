# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that ask Ceph."""

    DOCUMENTATION = r"""
options:
  ceph_conf:
    description:
      - The configuration file of the Ceph cluster on this host.
    type: path
    default: /etc/ceph/ceph.conf
  ceph_user:
    description:
      - The client to be, without the leading C(client.).
    type: str
    default: admin
  ceph_keyring:
    description:
      - The keyring file with the client's key on this host. Without it Ceph looks in its usual places.
    type: path
requirements:
  - python3-rbd and python3-rados for the system's python (the module finds that python by itself), or else the C(rbd) and C(ceph) programs of ceph-common.
"""
