#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rbd_snapshot
short_description: Remove snapshots that growths took and whose time has come
version_added: 0.1.0
description:
  - Removes snapshots that this collection took before it let an image grow (option O(nvmeof.spdk.rbd_image#module:snapshot_keep)), once the time in
    their name has passed. The name is all it needs; nothing is kept elsewhere.
  - A snapshot of any other name, or whose name says no time, is never touched, and neither is a protected one, one with clones, or one of a
    mirror's secondary. Of those that are this collection's, RV(snapshots) tells why they stay.
  - Snapshots are taken by M(nvmeof.spdk.rbd_image) and M(nvmeof.spdk.spdk_rbd_bdev). Nothing rolls an image back to one, for that would shrink it.
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
extends_documentation_fragment:
  - nvmeof.spdk._ceph
attributes:
  check_mode:
    support: full
    description: Looks at the snapshots and removes none.
  diff_mode:
    support: full
    description: Shows what each removed snapshot had.
  idempotent:
    support: full
    description: What is gone is not looked for.
  platform:
    support: full
    platforms: linux
    description: Any client of the Ceph cluster.
notes:
  - The time is that of the host where it runs; its clock must be right, as Ceph wants it anyway.
  - One image that cannot be read, or snapshot that cannot be removed, does not keep the others; the module fails after them and names it in RV(errors).
options:
  pool:
    description: Pool whose images are looked at.
    type: str
  rados_namespace:
    description: RADOS namespace of the images. Without it, and without O(image), all RADOS namespaces of the pool are looked at.
    type: str
  image:
    description: Only this image.
    type: str
  places:
    description: Many pools, RADOS namespaces or images in one call, each with the same options as a single one.
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
  state:
    description: V(expired) removes the snapshots whose time has come.
    type: str
    choices: [expired]
    default: expired
seealso:
  - module: nvmeof.spdk.rbd_image
  - module: nvmeof.spdk.spdk_rbd_bdev
"""

EXAMPLES = r"""
- name: Remove expired snapshots of a whole pool
  nvmeof.spdk.rbd_snapshot:
    pool: volumes

- name: Tell which snapshots growths have left on two images, and which of them may go
  nvmeof.spdk.rbd_snapshot:
    places:
      - pool: volumes
        image: vol-1
      - pool: volumes
        image: vol-2
  check_mode: true
  register: snapshots
"""

RETURN = r"""
snapshots:
  description: The snapshots that growths took, whatever their time.
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
    name:
      description: Name of the snapshot.
      type: str
      sample: nvmeof-spdk-grow-20261202T101500Z-job-4711
    size_bytes:
      description: Size of the image when it was taken.
      type: int
      sample: 107374182400
    expires:
      description: From when on it is removed; V(null) if its name says no time.
      type: str
      sample: "2026-12-02T10:15:00Z"
    run:
      description: The run that took it; V(null) if its name says no time.
      type: str
      sample: job-4711
    protected:
      description: Whether it is protected.
      type: bool
      sample: false
    clones:
      description: Images that are clones of it; only looked for when its time has come.
      type: list
      elements: str
      sample: []
    action:
      description: V(none) or V(removed).
      type: str
      sample: removed
    changed:
      description: Whether it was, or in check mode would be, removed.
      type: bool
      sample: true
    reason:
      description: Why it stays; V(null) if it does not.
      type: str
      sample: null
errors:
  description: What failed while the rest was carried out, each in the shape of RV(error).
  returned: failure
  type: list
  elements: dict
  sample: []
changes:
  description: What was, or in check mode would be, removed.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: Always V(snapshot).
      type: str
      sample: snapshot
    name:
      description: The snapshot.
      type: str
      sample: volumes/vol-1@nvmeof-spdk-grow-20261202T101500Z-job-4711
    action:
      description: Always V(remove).
      type: str
      sample: remove
    before:
      description: What it had.
      type: dict
      sample: {"state": "present", "size_bytes": 107374182400, "expires": "2026-12-02T10:15:00Z"}
    after:
      description: Always V(null).
      type: dict
      sample: null
error:
  description: The parts of the first failure.
  returned: failure
  type: dict
  sample:
    object: volumes/vol-9
    hop: image
    call: librbd snap ls
    cause: "[errno 2] RBD image not found (error opening image b'vol-9' at snapshot None)"
    remedy: create it (nvmeof.spdk.rbd_image with state=present), or correct pool, rados_namespace and image
    message: the image volumes/vol-9 does not exist
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_snapshots import Expiry, images_of
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_module import CEPH_OPTIONS, CephDoor, fail, one_or_many, use_python_with_rbd


def place_options(required: dict[str, t.Any]) -> dict[str, t.Any]:
    """The options of one place, at the top and in the list alike."""
    return {"pool": {"type": "str", **required}, "rados_namespace": {"type": "str"}, "image": {"type": "str"}}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CEPH_OPTIONS,
            **place_options({}),
            "places": {"type": "list", "elements": "dict", "options": place_options({"required": True})},
            "state": {"type": "str", "choices": ["expired"], "default": "expired"},
        },
        mutually_exclusive=[("places", name) for name in place_options({})],
        required_one_of=[("places", "pool")],
        required_by={"image": ["pool"], "rados_namespace": ["pool"]},
        supports_check_mode=True,
    )
    use_python_with_rbd()
    ceph = CephDoor(module)
    places = one_or_many(module, "places", list(place_options({})))
    expiry = None
    try:
        if places:
            expiry = Expiry(ceph(), time.time())
            expiry.plan(images_of(ceph(), places))
            if not module.check_mode:
                expiry.apply()
            if expiry.errors:
                raise expiry.errors[0]
    except HopError as error:
        results: dict[str, t.Any] = {"changed": False, "snapshots": [], "changes": [], "errors": [error.as_dict()]}
        if expiry is not None and expiry.errors:
            results = {
                "changed": expiry.changes.applied,
                "snapshots": [item.result(module.check_mode) for item in expiry.snapshots],
                "changes": [change.summary() for change in expiry.changes.items if change.done],
                "errors": [one.as_dict() for one in expiry.errors],
            }
        fail(module, error, **results)
    finally:
        ceph.close()
    module.exit_json(
        changed=expiry is not None and expiry.changes.changed,
        snapshots=[item.result(module.check_mode) for item in expiry.snapshots] if expiry else [],
        changes=expiry.changes.summaries() if expiry else [],
        diff=expiry.changes.diff() if expiry else [],
    )


if __name__ == "__main__":
    main()
