#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Over 500 lines because of the documentation: every option of a bdev is there twice, and so are those of the list.

from __future__ import annotations

DOCUMENTATION = r"""
module: spdk_rbd_bdev
short_description: Create, grow and delete RBD bdevs of an SPDK target
version_added: 0.1.0
description:
  - Lets a running SPDK target open Ceph RBD images as bdevs, and grows an image so that its bdev follows.
  - An image grows through librbd, which refuses to make it smaller; C(bdev_rbd_resize), which can truncate an image, is only sent to make a
    bdev notice the size its image already has.
  - If the true size of an image cannot be read, nothing is resized.
  - One run at a time grows an image. It holds a lease on the image that other runs respect and see, until the bdev shows the new size.
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
extends_documentation_fragment:
  - nvmeof.spdk._spdk
  - nvmeof.spdk._ceph
  - nvmeof.spdk._lease
  - nvmeof.spdk._growth_snapshot
attributes:
  check_mode:
    support: full
    description: Reads everything and changes nothing; RV(rpc_calls) shows what would be sent.
  diff_mode:
    support: full
    description: Shows what each cluster, image and bdev had and has.
  idempotent:
    support: full
    description: Everything is compared with what the target and Ceph show.
  platform:
    support: full
    platforms: linux
    description: Runs on the host of the SPDK target.
notes:
  - A bdev that cannot be created, or whose limits cannot be set, does not keep the others away; the module fails after them and names it in RV(errors).
  - Run it on one target at a time for images that several targets export.
  - SPDK forgets bdevs and clusters when it ends; its start-up configuration must name them.
options:
  name:
    description:
      - Name of the bdev. Needed with O(state=present); otherwise O(pool) and O(image) can name the bdev, too.
      - A bdev of another name that already holds the image is used as it is; nothing is renamed.
    type: str
  pool:
    description: Pool of the image.
    type: str
  image:
    description: Name of the image. It must exist; see M(nvmeof.spdk.rbd_image).
    type: str
  rados_namespace:
    description: RADOS namespace of the image. No SPDK release up to 26.05 can open such an image, so creating the bdev then fails with a clear error.
    type: str
  cluster:
    description:
      - Name of the registered cluster through which the image is opened. Default is the only one there is.
      - Before SPDK 21.07, one of O(clusters).
    type: str
  block_size:
    description: Bytes of a block of the bdev.
    type: int
    default: 512
  uuid:
    description:
      - UUID of the bdev, by which hosts know the volume. It must be the same on every target that exports the image.
      - Default for a new bdev is a UUID that is derived from the cluster's fsid, pool, RADOS namespace and image.
    type: str
  read_only:
    description: Whether the image is opened read-only; a new bdev is writable if this is not given. Needs SPDK 25.09.
    type: bool
  qos:
    description:
      - Rate limits of the bdev. V(0) is unlimited; a limit that is not given is left alone.
      - The target rounds I/Os per second up to whole thousands, and so they are compared.
      - SPDK 26.05 takes the limits of a bdev only once before something opens it; a later change needs the bdev to be a namespace.
    type: dict
    suboptions: &qos
      rw_ios_per_sec:
        description: Reads and writes per second.
        type: int
      rw_mbytes_per_sec:
        description: MiB read and written per second.
        type: int
      r_mbytes_per_sec:
        description: MiB read per second.
        type: int
      w_mbytes_per_sec:
        description: MiB written per second.
        type: int
  size:
    description:
      - The size the volume is to have at least, such as V(800G); a whole number of MiB. The image and the bdev grow to it.
    type: str
  exact:
    description: Whether an image larger than O(size) is an error. It is never made smaller.
    type: bool
    default: false
  image_size:
    description:
      - The image's size, as another Ceph client read it just now (M(nvmeof.spdk.rbd_image) returns it), for a target that cannot reach Ceph itself.
      - The image is then not looked at, nothing is sent that could change it, and only the bdev is waited for. Needs SPDK 24.01, whose targets follow
        their images.
    type: str
  state:
    description:
      - V(present) creates what is missing and grows if O(size) is given.
      - V(grown) needs an existing bdev and O(size).
      - V(absent) deletes the bdev, never the image.
    type: str
    choices: [present, absent, grown]
    default: present
  force:
    description: Whether a bdev is deleted although a namespace uses it. Connected hosts lose the disk.
    type: bool
    default: false
  bdevs:
    description: Many bdevs in one call over one connection, each with the same options as a single one.
    type: list
    elements: dict
    suboptions:
      name:
        description: See O(name).
        type: str
      pool:
        description: See O(pool).
        type: str
      image:
        description: See O(image).
        type: str
      rados_namespace:
        description: See O(rados_namespace).
        type: str
      cluster:
        description: See O(cluster).
        type: str
      block_size:
        description: See O(block_size).
        type: int
        default: 512
      uuid:
        description: See O(uuid).
        type: str
      read_only:
        description: See O(read_only).
        type: bool
      qos:
        description: See O(qos).
        type: dict
        suboptions: *qos
      size:
        description: See O(size).
        type: str
      exact:
        description: See O(exact).
        type: bool
        default: false
      image_size:
        description: See O(image_size).
        type: str
      state:
        description: See O(state).
        type: str
        choices: [present, absent, grown]
        default: present
      force:
        description: See O(force).
        type: bool
        default: false
  clusters:
    description:
      - Ceph clusters that are registered at the target first, so that all bdevs share one connection. They are never unregistered.
      - SPDK before 21.07 registers none and gives each bdev a connection of its own. There the user and O(clusters[].config_param) of the cluster are
        given with each new bdev, O(clusters[].key_file) as an entry of it. With such entries SPDK reads no file, and without them only
        C(/etc/ceph/ceph.conf) and the keyring file that Ceph takes by itself; other files are an error.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the cluster inside the target.
        type: str
        required: true
      user:
        description: The client to be, without the leading C(client.).
        type: str
      config_file:
        description: Configuration file of the cluster on the target's host.
        type: path
      key_file:
        description: Keyring file on the target's host.
        type: path
      config_param:
        description: Configuration entries. SPDK shows them to every reader, so a C(key) is refused here; use O(clusters[].key_file).
        type: dict
      core_mask:
        description: CPU cores of the connection's threads. Needs SPDK 23.05.
        type: str
  keep_clusters:
    description:
      - Whether a cluster that is registered with other settings than O(clusters) says is used as it is. Otherwise that is an error.
      - Other settings come with a restart; M(nvmeof.spdk.spdk_config) writes them and says that one is needed.
    type: bool
    default: false
  config_defaults:
    description:
      - Entries that are added to O(clusters[].config_param) of clusters that are registered now, where the release takes them beside a configuration
        file (SPDK 22.01). They are not compared with registered clusters.
      - A target whose Ceph does not answer stands still for C(client_mount_timeout), by Ceph's default 300 seconds.
    type: dict
    default: {}
  resize_unit:
    description:
      - What the size of C(resize_rbd_bdev) means, on targets that have this method of a patch which no SPDK release took. Nothing can tell, and a wrong
        answer destroys data, so such a target grows nothing unless this is given.
      - The patch that was sent to SPDK takes V(bytes). Look into the source that the target was built from.
      - Means nothing for targets that have C(bdev_rbd_resize) (20.04 and later).
    type: str
    choices: [bytes, mib]
  wait_timeout:
    description: Seconds a bdev may take to show its new size.
    type: int
    default: 60
seealso:
  - module: nvmeof.spdk.rbd_image
  - module: nvmeof.spdk.nvmf_subsystem
  - module: nvmeof.spdk.spdk_target_info
"""

EXAMPLES = r"""
- name: Export two images as bdevs
  nvmeof.spdk.spdk_rbd_bdev:
    config_defaults:
      client_mount_timeout: 30
    clusters:
      - name: ceph0
        user: spdk
        config_file: /etc/ceph/ceph.conf
        key_file: /etc/ceph/ceph.client.spdk.keyring
    bdevs:
      - name: vol-1
        pool: volumes
        image: vol-1
      - name: vol-2
        pool: volumes
        image: vol-2
        size: 800G
        qos:
          rw_ios_per_sec: 20000

- name: Grow a volume and wait until the target shows it
  nvmeof.spdk.spdk_rbd_bdev:
    name: vol-1
    size: 1T
    state: grown

- name: Grow a volume in a job that may be killed and repeated
  nvmeof.spdk.spdk_rbd_bdev:
    name: vol-1
    size: 1T
    state: grown
    lease_owner: "job-{{ job_id }}@{{ inventory_hostname }}"
    lease_wait: 120
    snapshot_keep: 7d
    snapshot_run: "job-{{ job_id }}"

- name: Close an image that no namespace uses any more
  nvmeof.spdk.spdk_rbd_bdev:
    name: vol-2
    state: absent
"""

RETURN = r"""
bdevs:
  description: The bdevs in the order of the call.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The bdev's name; that of the existing bdev where one is used under another name.
      type: str
      sample: vol-1
    uuid:
      description: The bdev's UUID.
      type: str
      sample: 0a1b2c3d-0000-4000-8000-000000000003
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
    cluster:
      description: Name of the registered cluster, or V(null) if it was not given. SPDK does not show it for an existing bdev.
      type: str
      sample: ceph0
    block_size:
      description: Bytes of a block.
      type: int
      sample: 512
    state:
      description: V(present) or V(absent).
      type: str
      sample: present
    action:
      description: V(none), V(created), V(grown) or V(deleted).
      type: str
      sample: grown
    changed:
      description: Whether this bdev or its image was, or in check mode would be, changed.
      type: bool
      sample: true
    before_image_bytes:
      description: Size of the image before; V(null) if it was not read, as is so without a size.
      type: int
      sample: 10737418240
    before_bytes:
      description: Size of the bdev before, or V(null).
      type: int
      sample: 10737418240
    image_bytes:
      description: Size of the image, read back; V(null) if it was not read.
      type: int
      sample: 21474836480
    snapshot:
      description: The snapshot that was, or in check mode would be, taken before the image grew, or was left by an earlier try; V(null) if there is none.
      type: str
      sample: nvmeof-spdk-grow-20261202T101500Z-job-4711
    size_bytes:
      description: Size of the bdev, read back (in check mode, predicted); V(null) if there is none.
      type: int
      sample: 21474836480
    satisfied:
      description: Whether image and bdev have at least the wanted size.
      type: bool
      sample: true
    message:
      description: Something worth knowing, or empty.
      type: str
      sample: ""
release:
  description: The release of the target.
  returned: always
  type: dict
  contains:
    version:
      description: As the target says it.
      type: str
      sample: SPDK v26.05 git sha1 d519b163cb
    major:
      description: Year.
      type: int
      sample: 26
    minor:
      description: Month.
      type: int
      sample: 5
errors:
  description: The bdevs that failed while the others were carried out, each in the shape of RV(error).
  returned: failure
  type: list
  elements: dict
  sample: []
rpc_calls:
  description: The changing calls that were sent, or in check mode would be sent.
  returned: always
  type: list
  elements: dict
  contains:
    method:
      description: Name of the method.
      type: str
      sample: bdev_rbd_create
    params:
      description: Its parameters.
      type: dict
      sample: {"name": "vol-1", "pool_name": "volumes", "rbd_name": "vol-1", "block_size": 512, "cluster_name": "ceph0"}
changes:
  description: What was, or in check mode would be, changed.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: V(cluster), V(snapshot), V(image) or V(bdev).
      type: str
      sample: bdev
    name:
      description: Name of the object.
      type: str
      sample: vol-1
    action:
      description: What happens to it.
      type: str
      sample: grow
    before:
      description: What it had, or V(null).
      type: dict
      sample: {"size_bytes": 10737418240}
    after:
      description: What it has, or V(null).
      type: dict
      sample: {"size_bytes": 21474836480}
seconds:
  description: How long the call took on the host.
  returned: always
  type: float
  sample: 1.25
error:
  description: The parts of a failure.
  returned: failure
  type: dict
  contains:
    object:
      description: What failed.
      type: str
      sample: vol-1
    hop:
      description: The hop of the volume's path.
      type: str
      sample: bdev
    call:
      description: The call that failed, or V(null).
      type: str
      sample: bdev_rbd_create
    cause:
      description: The other side's words, or V(null).
      type: str
      sample: "error -1: Operation not permitted"
    remedy:
      description: What to do next, or V(null).
      type: str
      sample: check that the image exists
    message:
      description: The failure in one sentence.
      type: str
      sample: the target refused bdev_rbd_create
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._clock import seconds
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdev_wish import wanted_bdevs
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdevs import BdevManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_module import (
    CEPH_OPTIONS,
    LEASE_OPTIONS,
    SNAPSHOT_OPTIONS,
    SPDK_OPTIONS,
    CephDoor,
    check_timeout,
    fail,
    lease_options,
    one_or_many,
    snapshot_wish,
    use_python_with_rbd,
    warn_of_short_timeout,
)
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_qos import LIMITS
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target


def bdev_options() -> dict[str, t.Any]:
    """The options of one bdev, at the top and in the list alike."""
    return {
        "name": {"type": "str"},
        "pool": {"type": "str"},
        "image": {"type": "str"},
        "rados_namespace": {"type": "str"},
        "cluster": {"type": "str"},
        "block_size": {"type": "int", "default": 512},
        "uuid": {"type": "str"},
        "read_only": {"type": "bool"},
        "qos": {"type": "dict", "options": {name: {"type": "int"} for name in LIMITS}},
        "size": {"type": "str"},
        "exact": {"type": "bool", "default": False},
        "image_size": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent", "grown"], "default": "present"},
        "force": {"type": "bool", "default": False},
    }


def main() -> None:
    clusters = {
        "name": {"type": "str", "required": True},
        "user": {"type": "str"},
        "config_file": {"type": "path"},
        "key_file": {"type": "path", "no_log": False},
        "config_param": {"type": "dict", "no_log": False},
        "core_mask": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            **SPDK_OPTIONS,
            **CEPH_OPTIONS,
            **LEASE_OPTIONS,
            **SNAPSHOT_OPTIONS,
            **bdev_options(),
            "bdevs": {"type": "list", "elements": "dict", "options": bdev_options()},
            "clusters": {"type": "list", "elements": "dict", "options": clusters, "default": []},
            "config_defaults": {"type": "dict", "default": {}},
            "keep_clusters": {"type": "bool", "default": False},
            "wait_timeout": {"type": "int", "default": 60},
            "resize_unit": {"type": "str", "choices": ["bytes", "mib"]},
        },
        mutually_exclusive=[("bdevs", name) for name in ("name", "pool", "image", "rados_namespace", "cluster", "uuid", "read_only", "qos", "size")],
        supports_check_mode=True,
    )
    check_timeout(module, "timeout", "wait_timeout")
    use_python_with_rbd()
    warn_of_short_timeout(module, "timeout", "wait_timeout")
    wishes = one_or_many(module, "bdevs", list(bdev_options()))
    if module.params["bdevs"] is None and module.params["clusters"] and not module.params["name"] and not module.params["pool"]:
        wishes = []  # only clusters are to be registered
    ceph = CephDoor(module, max(10, module.params["timeout"]))
    target, manager, items = None, None, []
    try:
        items = wanted_bdevs(wishes)
        target = Target.open(module.params["socket"], module.params["timeout"])
        manager = BdevManager(
            target,
            ceph,
            module.params["wait_timeout"],
            resize_unit=module.params["resize_unit"],
            lease=lease_options(module),
            snapshots=snapshot_wish(module),
            keep_clusters=module.params["keep_clusters"],
        )
        manager.plan(items, module.params["clusters"], module.params["config_defaults"])
        if module.check_mode:
            manager.raise_first(items)
        else:
            manager.apply(items)
            if manager.changes.changed:
                manager.read_back(items)
    except HopError as error:
        results = {}
        if manager is not None:
            manager.after_failure(items)
            results = {
                "changed": manager.changes.applied,
                "bdevs": [item.result() for item in items],
                "release": target.release,
                "errors": [item.error.as_dict() for item in items if item.error is not None],
                "changes": [change.summary() for change in manager.changes.items if change.done],
                "rpc_calls": target.sent,
            }
        fail(module, error, seconds=seconds(), **results)
    finally:
        ceph.close()
        if target is not None:
            target.close()
    module.exit_json(
        changed=manager.changes.changed,
        seconds=seconds(),
        bdevs=[item.result() for item in items],
        release=target.release,
        rpc_calls=manager.planned if module.check_mode else target.sent,
        changes=manager.changes.summaries(),
        diff=manager.changes.diff(),
    )


if __name__ == "__main__":
    main()
