#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rbd_image
short_description: Create, grow and retire RBD images
version_added: 0.1.0
description:
  - Creates Ceph RBD images and lets them grow, on any Ceph client. An image is never made smaller.
  - An image that is to be absent goes to the trash unless O(trash=false), and only if nobody uses it. It is refused while it has watchers,
    snapshots, clones, locks, or a lease, is mirrored, or belongs to a group. There is no force.
  - One run at a time grows an image. It holds a lease on the image that other runs respect and see.
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
extends_documentation_fragment:
  - nvmeof.spdk._ceph
  - nvmeof.spdk._lease
  - nvmeof.spdk._growth_snapshot
attributes:
  check_mode:
    support: full
    description: Reads the images and changes nothing.
  diff_mode:
    support: full
    description: Shows the sizes before and after.
  idempotent:
    support: full
    description: The images' own sizes decide.
  platform:
    support: full
    platforms: linux
    description: Any client of the Ceph cluster.
options:
  pool:
    description: Pool of the image.
    type: str
  rados_namespace:
    description: RADOS namespace of the image.
    type: str
  image:
    description: Name of the image.
    type: str
  size:
    description: The size the image is to have at least, such as V(800G); a whole number of MiB.
    type: str
  exact:
    description: Whether an image larger than O(size) is an error.
    type: bool
    default: false
  state:
    description:
      - V(present) creates the image if it is missing and grows it if O(size) is given.
      - V(grown) needs an existing image and O(size).
      - V(absent) moves the image to the pool's trash, or deletes it.
    type: str
    choices: [present, grown, absent]
    default: present
  trash:
    description: Whether an image that is to be absent goes to the trash, where C(rbd trash restore) finds it. V(false) deletes its data at once.
    type: bool
    default: true
  images:
    description: Many images in one call, each with the same options as a single one.
    type: list
    elements: dict
    suboptions:
      pool:
        description: See O(pool).
        type: str
        required: true
      rados_namespace:
        description: See O(rados_namespace).
        type: str
      image:
        description: See O(image).
        type: str
        required: true
      size:
        description: See O(size).
        type: str
      exact:
        description: See O(exact).
        type: bool
        default: false
      state:
        description: See O(state).
        type: str
        choices: [present, grown, absent]
        default: present
      trash:
        description: See O(trash).
        type: bool
        default: true
seealso:
  - module: nvmeof.spdk.rbd_image_info
  - module: nvmeof.spdk.spdk_rbd_bdev
"""

EXAMPLES = r"""
- name: An image of 100 GiB
  nvmeof.spdk.rbd_image:
    pool: volumes
    image: vol-1
    size: 100G

- name: Let two images grow
  nvmeof.spdk.rbd_image:
    images:
      - pool: volumes
        image: vol-1
        size: 200G
        state: grown
      - pool: volumes
        image: vol-2
        size: 1T
        state: grown

- name: Let an image grow, with a snapshot of it for a week
  nvmeof.spdk.rbd_image:
    pool: volumes
    image: vol-1
    size: 300G
    state: grown
    snapshot_keep: 7d
    snapshot_run: "job-{{ job_id }}"

- name: Move an image that nobody uses to the trash
  nvmeof.spdk.rbd_image:
    pool: volumes
    image: vol-9
    state: absent
"""

RETURN = r"""
images:
  description: The images in the order of the call.
  returned: always
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
    before_bytes:
      description: Size before; V(null) if it did not exist.
      type: int
      sample: 107374182400
    size_bytes:
      description: Size as read back, in check mode as it would be; V(null) if it does not exist.
      type: int
      sample: 214748364800
    snapshot:
      description: The snapshot that was, or in check mode would be, taken before it grew, or was left by an earlier try; V(null) if there is none.
      type: str
      sample: nvmeof-spdk-grow-20261202T101500Z-job-4711
    action:
      description: V(none), V(created), V(grown), V(trashed) or V(removed).
      type: str
      sample: grown
    changed:
      description: Whether this image was, or in check mode would be, changed.
      type: bool
      sample: true
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
      description: Always V(null); M(nvmeof.spdk.rbd_image_info) can add it up.
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
changes:
  description: What was, or in check mode would be, changed.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: V(image) or V(snapshot).
      type: str
      sample: image
    name:
      description: The image, or image@snapshot.
      type: str
      sample: volumes/vol-1
    action:
      description: V(create), V(grow), V(trash), V(remove); V(none) for a snapshot that proved needless.
      type: str
      sample: grow
    before:
      description: What it had, or V(null).
      type: dict
      sample: {"size_bytes": 107374182400}
    after:
      description: What it has.
      type: dict
      sample: {"size_bytes": 214748364800}
seconds:
  description: How long the call took on the host.
  returned: always
  type: float
  sample: 1.25
error:
  description: The parts of a failure.
  returned: failure
  type: dict
  sample:
    object: volumes/vol-1
    hop: image
    call: librbd open
    cause: "[errno 2] RBD image not found (error opening image b'vol-1' at snapshot None)"
    remedy: create it (nvmeof.spdk.rbd_image with state=present), or correct pool, rados_namespace and image
    message: the image volumes/vol-1 does not exist
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._clock import seconds
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_images import apply_images, image_result, plan_images, pool_facts, wanted_images
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Changes
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_module import (
    CEPH_OPTIONS,
    LEASE_OPTIONS,
    SNAPSHOT_OPTIONS,
    CephDoor,
    fail,
    lease_options,
    one_or_many,
    snapshot_wish,
    use_python_with_rbd,
)


def image_options(required: dict[str, t.Any]) -> dict[str, t.Any]:
    """The options of one image, at the top and in the list alike."""
    return {
        "pool": {"type": "str", **required},
        "rados_namespace": {"type": "str"},
        "image": {"type": "str", **required},
        "size": {"type": "str"},
        "exact": {"type": "bool", "default": False},
        "state": {"type": "str", "choices": ["present", "grown", "absent"], "default": "present"},
        "trash": {"type": "bool", "default": True},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CEPH_OPTIONS,
            **LEASE_OPTIONS,
            **SNAPSHOT_OPTIONS,
            **image_options({}),
            "images": {"type": "list", "elements": "dict", "options": image_options({"required": True})},
        },
        mutually_exclusive=[("images", name) for name in ("pool", "image", "rados_namespace", "size")],
        required_one_of=[("images", "image")],
        required_together=[("pool", "image")],
        supports_check_mode=True,
    )
    use_python_with_rbd()
    ceph = CephDoor(module)
    changes, wanted, pools = Changes(), [], []
    try:
        options, snapshots = lease_options(module), snapshot_wish(module)
        wanted = wanted_images(one_or_many(module, "images", list(image_options({}))))
        if wanted:
            changes = plan_images(ceph(), wanted, snapshots)
            apply_images(ceph(), changes, wanted, options, module.check_mode)
            pools = pool_facts(ceph(), [item.spec for item in wanted])
    except HopError as error:
        done = [change.summary() for change in changes.items if change.done]
        fail(module, error, seconds=seconds(), changed=changes.applied, images=[image_result(item) for item in wanted], changes=done)
    finally:
        ceph.close()
    module.exit_json(
        changed=changes.changed,
        seconds=seconds(),
        images=[image_result(item) for item in wanted],
        pools=pools,
        changes=changes.summaries(),
        diff=changes.diff(),
    )


if __name__ == "__main__":
    main()
