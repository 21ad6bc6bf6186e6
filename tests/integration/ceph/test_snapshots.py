# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots before growths on a real Ceph, by librbd and by the programs: taken once, right before the resize, and removed when their time has come."""

from __future__ import annotations

import json
import time

from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_snapshots import PREFIX, read_name, snapshot_name
from module_runner import run_module

POOL = "pool-1"
MIB = 1024**2


def snapshots(ceph, image):
    return {one["name"]: one["size"] for one in json.loads(ceph.rbd("snap", "ls", "--format", "json", f"{POOL}/{image}"))}


def test_a_growth_takes_one_snapshot_and_the_remover_ends_it(reach, ceph, new_image, without_bindings):
    """With python3-rbd and with the programs alone, in turns."""
    image = new_image(64 * MIB)
    grow = {**reach, "pool": POOL, "image": image, "state": "grown", "size": "128M", "snapshot_keep": "7d", "snapshot_run": "job 1"}
    checked = run_module("rbd_image", grow, check=True)
    assert checked["changed"] and snapshots(ceph, image) == {}
    # what a killed run left: a snapshot and the old size
    left = snapshot_name(time.time() + 86400, "killed")
    ceph.rbd("snap", "create", "--no-progress", f"{POOL}/{image}@{left}")
    done = run_module("rbd_image", grow, env=without_bindings)
    assert not done["failed"] and done["images"][0]["snapshot"] == left and snapshots(ceph, image) == {left: 64 * MIB}, done
    assert ceph.image_bytes(POOL, image) == 128 * MIB
    names = []
    for size, environment in ((192, None), (256, without_bindings)):
        more = run_module("rbd_image", {**grow, "size": f"{size}M"}, env=environment)
        name = more["images"][0]["snapshot"]
        names.append(name)
        assert read_name(name)[1] == "job-1" and snapshots(ceph, image)[name] == (size - 64) * MIB
        assert [(change["kind"], change["name"]) for change in more["changes"]] == [("snapshot", f"{POOL}/{image}@{name}"), ("image", f"{POOL}/{image}")]

    due, cloned, held, linked = (snapshot_name(time.time() - 60, run) for run in ("due", "cloned", "held", "linked"))
    for one in (due, cloned, held, linked, "daily"):
        ceph.rbd("snap", "create", "--no-progress", f"{POOL}/{image}@{one}")
    for one in (cloned, held):
        ceph.rbd("snap", "protect", f"{POOL}/{image}@{one}")
    ceph.rbd("clone", f"{POOL}/{image}@{cloned}", f"{POOL}/{image}-copy")
    # with clone format 2 nothing is protected, and Ceph itself would move the snapshot to the trash
    ceph.rbd("clone", "--rbd-default-clone-format", "2", f"{POOL}/{image}@{linked}", f"{POOL}/{image}-link")
    try:
        where = {**reach, "pool": POOL}
        told = run_module("rbd_snapshot", where, check=True, diff=True)
        assert told["changed"] and due in snapshots(ceph, image)
        gone = run_module("rbd_snapshot", where, diff=True, env=without_bindings)
        assert gone["snapshots"] == told["snapshots"]
        assert not gone["failed"] and gone["diff"] == told["diff"] and [change["name"] for change in gone["changes"]] == [f"{POOL}/{image}@{due}"], gone
        reasons = {one["name"]: one["reason"] for one in gone["snapshots"]}
        assert reasons == {
            left: "its time has not come",
            **dict.fromkeys(names, "its time has not come"),
            due: None,
            cloned: f"it has clones: {POOL}/{image}-copy",
            held: "it is protected",
            linked: f"it has clones: {POOL}/{image}-link",
        }
        assert set(snapshots(ceph, image)) == {left, *names, cloned, held, linked, "daily"}
        places = [{"pool": POOL, "image": image}, {"pool": POOL, "image": "none"}]
        ceph.rbd("snap", "create", "--no-progress", f"{POOL}/{image}@{due}")
        missing = run_module("rbd_snapshot", {**reach, "places": places})
        assert due not in snapshots(ceph, image), "one that cannot be read does not keep the others"
        assert missing["failed"] and missing["changed"] and [error["object"] for error in missing["errors"]] == [f"{POOL}/none"], missing
        missing = run_module("rbd_snapshot", {**reach, "pool": "no-pool"}, env=without_bindings)
        assert missing["failed"] and "pool or RADOS namespace no-pool does not exist" in missing["msg"], missing
    finally:
        for copy in ("copy", "link"):
            ceph.rbd("rm", "--no-progress", f"{POOL}/{image}-{copy}")
        ceph.rbd("snap", "unprotect", f"{POOL}/{image}@{cloned}")
        ceph.rbd("snap", "unprotect", f"{POOL}/{image}@{held}")
        ceph.rbd("snap", "purge", "--no-progress", f"{POOL}/{image}")


def test_a_target_that_holds_the_image_grows_it_with_a_snapshot(bdev, simulator, ceph, new_image):
    image = new_image(64 * MIB)
    assert not bdev(clusters=[simulator.cluster], name="a", pool=POOL, image=image)["failed"]
    simulator.export("a")
    result = bdev(name="a", state="grown", size="128M", snapshot_keep="12h")
    assert not result["failed"] and result["bdevs"][0]["size_bytes"] == 128 * MIB, result
    assert [change["kind"] for change in result["changes"]] == ["snapshot", "image", "bdev"] and result["rpc_calls"] == []
    (name,) = snapshots(ceph, image)
    assert name.startswith(PREFIX) and name == result["bdevs"][0]["snapshot"] and simulator.bdev_bytes("a") == 128 * MIB
    refused = bdev(name="a", state="grown", size="256M", snapshot_keep="soon")
    assert refused["failed"] and "snapshot_keep" in refused["msg"] and ceph.image_bytes(POOL, image) == 128 * MIB
    assert not bdev(name="a", state="absent", force=True)["failed"]
    ceph.rbd("snap", "purge", "--no-progress", f"{POOL}/{image}")
