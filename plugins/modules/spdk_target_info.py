#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: spdk_target_info
short_description: Show what an SPDK target exports, and what is wrong with it
version_added: 0.1.0
description:
  - Reads bdevs, Ceph clusters, keys by name, referrals, transports, subsystems and connected controllers of a running SPDK target,
    and the true sizes of its RBD images.
  - Names what is wrong or risky in RV(target.problems).
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
extends_documentation_fragment:
  - nvmeof.spdk._spdk
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
    description: Runs on the host of the SPDK target.
options:
  images:
    description:
      - Whether the sizes of the images are read through Ceph. Where that is impossible, RV(target.bdevs[].image_error) says why and the module goes on.
    type: bool
    default: true
  bdevs:
    description:
      - Names of the bdevs whose images are read, for a second look at some of many; the images of the others are V(null), and their bdevs are listed all the
        same. All of them when not given.
    type: list
    elements: str
  provisioned:
    description:
      - Whether the sizes of all images in the pools of the RBD bdevs are added up, in C(provisioned_bytes) of RV(target). It opens every image of
        these pools, and needs O(images).
    type: bool
    default: false
  connections:
    description:
      - Whether ANA states and connected controllers are read. SPDK pauses each subsystem for a moment for that, and takes a call for each.
      - All else is read in a constant number of calls.
    type: bool
    default: true
seealso:
  - module: nvmeof.spdk.spdk_rbd_bdev
  - module: nvmeof.spdk.nvmf_referral
  - module: nvmeof.spdk.nvmf_subsystem
  - module: nvmeof.spdk.spdk_keyring
  - module: nvmeof.spdk.rbd_image_info
"""

EXAMPLES = r"""
- name: Look at the target
  nvmeof.spdk.spdk_target_info:
    ceph_user: spdk
  register: spdk

- name: Stop if something is critical
  ansible.builtin.assert:
    that: spdk.target.problems | selectattr('severity', 'equalto', 'critical') | length == 0
"""

RETURN = r"""
target:
  description: Everything that was read.
  returned: success
  type: dict
  contains:
    socket:
      description: The socket that was asked.
      type: str
      sample: /var/tmp/spdk.sock
    release:
      description: The release of SPDK.
      type: dict
      sample: {"version": "SPDK v26.05 git sha1 d519b163cb", "major": 26, "minor": 5}
    fsid:
      description: UUID of the Ceph cluster, or V(null) if it was not read.
      type: str
      sample: 0b6f5a3e-5c0a-4d3c-a0f4-5d5c9b1f7a11
    clusters:
      description: Registered Ceph clusters.
      type: list
      elements: dict
      sample: [{"name": "ceph0", "user": "spdk", "config_file": "/etc/ceph/ceph.conf"}]
    bdevs:
      description: All bdevs.
      type: list
      elements: dict
      contains:
        name:
          description: Name of the bdev.
          type: str
          sample: vol-1
        uuid:
          description: UUID of the bdev.
          type: str
          sample: 0a1b2c3d-0000-4000-8000-000000000003
        product:
          description: SPDK's name of the kind of bdev.
          type: str
          sample: Ceph Rbd Disk
        block_size:
          description: Bytes of a block.
          type: int
          sample: 512
        size_bytes:
          description: Size of the bdev.
          type: int
          sample: 21474836480
        claimed:
          description: Whether a namespace or another user has it.
          type: bool
          sample: true
        read_only:
          description: Whether it takes no writes.
          type: bool
          sample: false
        qos:
          description: Its rate limits as SPDK names them; V(0) is unlimited.
          type: dict
          sample: {"rw_ios_per_sec": 20000, "rw_mbytes_per_sec": 0, "r_mbytes_per_sec": 0, "w_mbytes_per_sec": 0}
        pool:
          description: Pool of the image; V(null) if it is no RBD bdev.
          type: str
          sample: volumes
        rados_namespace:
          description: RADOS namespace of the image, or V(null).
          type: str
          sample: null
        image:
          description: Name of the image; V(null) if it is no RBD bdev.
          type: str
          sample: vol-1
        image_bytes:
          description: The image's true size, or V(null).
          type: int
          sample: 21474836480
        image_error:
          description: Why the image's size could not be read, or V(null).
          type: str
          sample: null
        image_primary:
          description: Where the primary of the image is, if it is the secondary of a mirror (and so does not grow here), else V(null).
          type: str
          sample: null
        lease:
          description: Who grows the image, V(null) if nobody does or it was not read.
          type: dict
          sample: {"owner": "job-17@t1", "by": "root@t1:4711", "since": "2026-01-01T12:00:00Z", "duration_seconds": 120, "remaining_seconds": 85}
        watched:
          description: Whether a Ceph client of this host has the image open for writing; V(null) if unknown.
          type: bool
          sample: true
    pools:
      description:
        - What the pools of the RBD bdevs can still take, in the form of RV(nvmeof.spdk.rbd_image_info#module:pools). Empty with O(images=false), or where
          Ceph cannot be asked.
      type: list
      elements: dict
      sample:
        - pool: volumes
          exists: true
          free_bytes: 5368709120000
          stored_bytes: 2199023255552
          provisioned_bytes: null
          max_bytes: null
          full: false
          nearfull: false
          error: null
    keys:
      description: Keys of the target's keyring by name, never their content; none before SPDK 24.05.
      type: list
      elements: dict
      contains:
        name:
          description: Name of the key.
          type: str
          sample: host-a-psk
        path:
          description: Path of its file, or V(null).
          type: str
          sample: /etc/spdk/keys/host-a.psk
        module:
          description: SPDK's module that holds it.
          type: str
          sample: keyring_file
        users:
          description: How many hosts, controllers and bdevs refer to it.
          type: int
          sample: 1
        removed:
          description: Whether it was removed and lives on only in its users.
          type: bool
          sample: false
    referrals:
      description: Referrals of the discovery service; none before SPDK 24.01.
      type: list
      elements: dict
      sample:
        - trtype: TCP
          adrfam: IPv4
          traddr: 192.0.2.11
          trsvcid: "8009"
          subnqn: nqn.2014-08.org.nvmexpress.discovery
          secure_channel: false
    transports:
      description: Transports with their options as the release shows them.
      type: list
      elements: dict
      sample: [{"trtype": "TCP", "max_io_size": 131072}]
    subsystems:
      description: Subsystems without the discovery subsystem.
      type: list
      elements: dict
      contains:
        nqn:
          description: NQN of the subsystem.
          type: str
          sample: nqn.2026-01.org.example:vols
        serial_number:
          description: Serial number.
          type: str
          sample: SPDK0123456789ABCDEF
        model_number:
          description: Model number.
          type: str
          sample: SPDK bdev Controller
        max_namespaces:
          description: Largest namespace id.
          type: int
          sample: 256
        ana_reporting:
          description: Whether ANA states are reported.
          type: bool
          sample: true
        min_cntlid:
          description: Lowest controller id, or V(null).
          type: int
          sample: 1
        max_cntlid:
          description: Highest controller id, or V(null).
          type: int
          sample: 65519
        allow_any_host:
          description: Whether every host may connect.
          type: bool
          sample: false
        hosts:
          description: NQNs of the hosts that may connect.
          type: list
          elements: str
          sample: ["nqn.2014-08.org.nvmexpress:uuid:4ca08835-0e71-4c63-85af-4b201ffa646d"]
        host_keys:
          description: The same hosts with the names of their keys; V(null) where a host has none, or the release does not show it.
          type: list
          elements: dict
          sample:
            - nqn: nqn.2014-08.org.nvmexpress:uuid:4ca08835-0e71-4c63-85af-4b201ffa646d
              psk: host-a-psk
              dhchap_key: host-a
              dhchap_ctrlr_key: null
        listeners:
          description: Addresses it listens on. C(ana_states) has every group, and only where they differ.
          type: list
          elements: dict
          sample:
            - trtype: TCP
              adrfam: IPv4
              traddr: 192.0.2.10
              trsvcid: "4420"
              ana_state: optimized
              ana_states: []
              secure_channel: false
              sock_impl: null
        namespaces:
          description: Its namespaces. V(null) is what the release does not show; hosts are those that see it where it is not visible to all.
          type: list
          elements: dict
          sample:
            - nsid: 1
              bdev: vol-1
              uuid: 0a1b2c3d-0000-4000-8000-000000000003
              nguid: 0a1b2c3d000040008000000000000003
              eui64: null
              anagrpid: 1
              auto_visible: true
              hosts: []
              ptpl_file: null
        controllers:
          description: Connected controllers; V(null) if the release cannot tell or O(connections=false).
          type: list
          elements: dict
          sample: [{"cntlid": 1, "hostnqn": "nqn.2014-08.org.nvmexpress:uuid:4ca08835-0e71-4c63-85af-4b201ffa646d"}]
    hazards:
      description: What is dangerous in this SPDK release by itself, whatever the target's state, and what the modules of this collection do about it.
      type: list
      elements: dict
      contains:
        hazard:
          description: A word for it.
          type: str
          sample: delete_during_resize
        text:
          description: What the release does.
          type: str
          sample: SPDK 26.05 can crash when a bdev is deleted while the news of a new image size is under way
        guard:
          description: What the modules do about it.
          type: str
          sample: deletions come before growths, and wait until the bdev shows its image's size
        remedy:
          description: What to do.
          type: str
          sample: upgrade to 26.09 when it is released; do not resize an image whose bdev is being deleted
        fixed_in:
          description: The first release without it, or null.
          type: str
          sample: "26.09"
        growth:
          description:
            - What it means for the growth of a volume. V(blocked), this target cannot follow one. V(needs_image), only if the target reads the image itself.
              V(rescan), hosts need a rescan. V(told), nothing stands in the way, but who grows should know. V(null), nothing.
          type: str
          sample: told
    problems:
      description: What is wrong or risky.
      type: list
      elements: dict
      contains:
        code:
          description: A word for its kind.
          type: str
          sample: not_watched
        object:
          description: What it is about.
          type: str
          sample: vol-1
        hop:
          description: The hop of the volume's path.
          type: str
          sample: image
        problem:
          description: What is wrong.
          type: str
          sample: no client of this host watches the image, so the bdev does not follow it
        remedy:
          description: What to do.
          type: str
          sample: restart the target when it is idle
        severity:
          description: V(warning) or V(critical).
          type: str
          sample: warning
error:
  description: The parts of a failure.
  returned: failure
  type: dict
  sample:
    object: /var/tmp/spdk.sock
    hop: bdev
    call: null
    cause: RpcConnectError
    remedy: start the SPDK target
    message: "cannot connect to the SPDK target's socket /var/tmp/spdk.sock: [Errno 2] No such file or directory"
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import ImageSpec
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_images import pool_facts
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_hazards import hazards
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_health import (
    add_images,
    bdev_problems,
    blocklisted,
    keyring_problems,
    problem,
    subsystem_problems,
)
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_keyring import keys
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_module import (
    CEPH_OPTIONS,
    SPDK_OPTIONS,
    CephDoor,
    check_timeout,
    fail,
    use_python_with_rbd,
    warn_of_short_timeout,
)
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_referrals import referrals
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target


def read_target(module: AnsibleModule, target: Target, ceph: CephDoor) -> dict[str, t.Any]:
    """The module's ``target`` return value."""
    bdevs = target.bdevs()
    clusters = target.clusters()
    keyring = keys(target)
    transports = target.transports()
    subsystems = target.subsystems()
    if module.params["connections"]:
        target.add_ana_states(subsystems)
        target.add_controllers(subsystems)
    else:
        for entry in subsystems:
            entry["controllers"] = None
    names = module.params["bdevs"]
    add_images(bdevs, ceph, module.params["images"], names)
    looked_at = [bdev for bdev in bdevs if bdev["image"] and (names is None or bdev["name"] in names)]
    fsid, blocked, problems = None, None, []
    pools: list[dict[str, t.Any]] = []
    if module.params["images"] and looked_at:
        try:
            fsid = ceph().fsid()
            blocked = blocklisted(ceph())
            specs = [ImageSpec(bdev["pool"], bdev["rados_namespace"] or "", bdev["image"]) for bdev in looked_at if bdev["pool"]]
            pools = pool_facts(ceph(), specs, module.params["provisioned"])
        except HopError as error:
            problems.append(problem("ceph", "ceph", "image", str(error), error.remedy or "let Ceph be asked from this host"))
    for bdev in bdevs:
        bdev["rados_namespace"] = bdev["rados_namespace"] or None
    return {
        "socket": module.params["socket"],
        "release": target.release,
        "fsid": fsid,
        "clusters": [{key: cluster[key] for key in ("name", "user", "config_file")} for cluster in clusters],
        "bdevs": bdevs,
        "pools": pools,
        "keys": keyring,
        "referrals": referrals(target),
        "transports": transports,
        "subsystems": subsystems,
        "hazards": hazards(target.table),
        "problems": problems + bdev_problems(bdevs, target.table, blocked) + subsystem_problems(subsystems, transports, bdevs) + keyring_problems(keyring),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **SPDK_OPTIONS,
            **CEPH_OPTIONS,
            "images": {"type": "bool", "default": True},
            "bdevs": {"type": "list", "elements": "str"},
            "provisioned": {"type": "bool", "default": False},
            "connections": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    check_timeout(module, "timeout")
    if module.params["images"]:
        use_python_with_rbd()
        warn_of_short_timeout(module, "timeout")
    ceph = CephDoor(module, max(10, module.params["timeout"]))
    target, result = None, {}
    try:
        target = Target.open(module.params["socket"], module.params["timeout"])
        result = read_target(module, target, ceph)
    except HopError as error:
        fail(module, error)
    finally:
        ceph.close()
        if target is not None:
            target.close()
    module.exit_json(changed=False, target=result)


if __name__ == "__main__":
    main()
