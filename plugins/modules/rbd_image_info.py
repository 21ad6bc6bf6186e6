#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rbd_image_info
short_description: Read the exact sizes of RBD images
version_added: 0.1.0
description:
  - Reads the sizes of Ceph RBD images from Ceph itself, on any Ceph client.
  - An image that cannot be read does not fail the module; its RV(images[].error) says why. A cluster that cannot be reached does.
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
extends_documentation_fragment:
  - nvmeof.spdk._ceph
attributes:
  check_mode:
    support: full
    description: Runs the same in check mode; it never changes anything.
  diff_mode:
    support: none
    description: There is nothing to differ.
  idempotent:
    support: full
    description: It never changes anything.
  platform:
    support: full
    platforms: linux
    description: Any client of the Ceph cluster.
options:
  images:
    description: The images to read.
    type: list
    elements: dict
    default: []
    suboptions:
      pool:
        description: Pool of the image.
        type: str
        required: true
      rados_namespace:
        description: RADOS namespace of the image.
        type: str
      image:
        description: Name of the image.
        type: str
        required: true
  provisioned:
    description:
      - Whether the sizes of all images in the pools of O(images) are added up, in RV(pools[].provisioned_bytes). It opens every image of these pools.
    type: bool
    default: false
seealso:
  - module: nvmeof.spdk.rbd_image
  - module: nvmeof.spdk.spdk_target_info
"""

EXAMPLES = r"""
- name: Read two images
  nvmeof.spdk.rbd_image_info:
    images:
      - pool: volumes
        image: vol-1
      - pool: volumes
        image: vol-2
  register: ceph
"""

RETURN = r"""
fsid:
  description: UUID of the cluster.
  returned: success
  type: str
  sample: 0b6f5a3e-5c0a-4d3c-a0f4-5d5c9b1f7a11
images:
  description: The images in the order of the call.
  returned: success
  type: list
  elements: dict
  contains:
    pool:
      description: Pool of the image.
      type: str
      sample: volumes
    rados_namespace:
      description: RADOS namespace of the image, or V(null).
      type: str
      sample: null
    image:
      description: Name of the image.
      type: str
      sample: vol-1
    exists:
      description: Whether the image exists; V(null) if that could not be found out.
      type: bool
      sample: true
    size_bytes:
      description: The exact size; V(null) if it could not be read.
      type: int
      sample: 107374182400
    lease:
      description: Who grows the image, V(null) if nobody does.
      type: dict
      sample: {"owner": "job-17@t1", "by": "root@t1:4711", "since": "2026-01-01T12:00:00Z", "duration_seconds": 120, "remaining_seconds": 85}
    primary:
      description: Where the primary of this image is, if it is the secondary of a mirror (and so read-only), else V(null).
      type: str
      sample: null
    error:
      description: Why the size could not be read, or V(null).
      type: str
      sample: null
pools:
  description: What the pools of these images can still take.
  returned: success
  type: list
  elements: dict
  contains:
    pool:
      description: Name of the pool.
      type: str
      sample: volumes
    exists:
      description: Whether there is such a pool; V(null) if this client may not ask.
      type: bool
      sample: true
    free_bytes:
      description: C(MAX AVAIL) of C(ceph df); V(null) if this client may not ask.
      type: int
      sample: 5368709120000
    stored_bytes:
      description: What the pool holds, before replication; V(null) if this client may not ask.
      type: int
      sample: 2199023255552
    provisioned_bytes:
      description: The sizes of all images of the pool together; V(null) unless O(provisioned=true), or if it could not be read.
      type: int
      sample: null
    max_bytes:
      description: The pool's quota in bytes; V(null) if there is none, or this client may not ask.
      type: int
      sample: null
    full:
      description: Whether the pool takes no more data (its quota is reached, or an OSD of it is full); V(null) if this client may not ask.
      type: bool
      sample: false
    nearfull:
      description: Whether the pool, or an OSD of it, is nearly full; V(null) if this client may not ask.
      type: bool
      sample: false
    error:
      description: Why a figure is V(null) that was asked for, or V(null).
      type: str
      sample: null
error:
  description: The parts of a failure.
  returned: failure
  type: dict
  sample:
    object: /etc/ceph/ceph.conf
    hop: image
    call: librbd connect
    cause: "[errno 13] RADOS permission denied (error connecting to the cluster)"
    remedy: check that the mons answer and that client.admin exists
    message: cannot connect to the cluster of /etc/ceph/ceph.conf as client.admin
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import Ceph, ImageNotFoundError, ImageSpec, image_spec
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_images import pool_facts
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_module import CEPH_OPTIONS, CephDoor, fail, use_python_with_rbd


def read_image(ceph: Ceph, spec: ImageSpec) -> dict[str, t.Any]:
    """One entry of the result; an error belongs to its image."""
    entry = {
        "pool": spec.pool,
        "rados_namespace": spec.namespace or None,
        "image": spec.image,
        "exists": True,
        "size_bytes": None,
        "lease": None,
        "primary": None,
        "error": None,
    }
    try:
        state = ceph.state(spec)
        entry.update(size_bytes=state.size_bytes, lease=state.lease, primary=state.primary)
    except ImageNotFoundError as error:
        entry["exists"] = False
        entry["error"] = error.message
    except HopError as error:
        entry["exists"] = None
        entry["error"] = str(error)
    return entry


def main() -> None:
    options = {
        "pool": {"type": "str", "required": True},
        "rados_namespace": {"type": "str"},
        "image": {"type": "str", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            **CEPH_OPTIONS,
            "images": {"type": "list", "elements": "dict", "options": options, "default": []},
            "provisioned": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    use_python_with_rbd()
    door = CephDoor(module)
    fsid, images, pools = None, [], []
    try:
        specs = [image_spec(entry) for entry in module.params["images"]]
        ceph = door()
        fsid = ceph.fsid()
        images = [read_image(ceph, spec) for spec in specs]
        pools = pool_facts(ceph, [spec for spec, entry in zip(specs, images) if entry["exists"] is not None], module.params["provisioned"])
    except HopError as error:
        fail(module, error)
    finally:
        door.close()
    module.exit_json(changed=False, fsid=fsid, images=images, pools=pools)


if __name__ == "__main__":
    main()
