# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RBD bdevs of the SPDK simulator on a real Ceph: librbd's sizes, watches and locks are the real ones.

What could destroy data is in test_growth_guard.
"""

from __future__ import annotations

import uuid

from module_runner import run_module

POOL = "pool-1"
MIB = 1024**2


def the(result):
    assert not result["failed"], result["msg"]
    (entry,) = result["bdevs"]
    return entry


def test_from_nothing_to_a_grown_volume(bdev, simulator, ceph, new_image):
    image = new_image(64 * MIB)
    wish = {"clusters": [simulator.cluster], "name": "a", "pool": POOL, "image": image}
    checked = bdev(check=True, **wish)
    created = bdev(**wish)
    assert checked["rpc_calls"] == created["rpc_calls"] and checked["diff"] == created["diff"]
    assert the(created)["uuid"] == str(uuid.uuid5(uuid.UUID(ceph.fsid), f"{POOL}//{image}"))
    grow = {"name": "a", "state": "grown", "size": "128M"}
    checked = bdev(check=True, **grow)
    assert ceph.image_bytes(POOL, image) == 64 * MIB
    grown = bdev(**grow)
    assert checked["changed"] is grown["changed"] is True and checked["diff"] == grown["diff"]
    assert the(grown)["size_bytes"] == the(grown)["image_bytes"] == ceph.image_bytes(POOL, image) == 128 * MIB
    assert grown["rpc_calls"] == [], "the watch moved the bdev"
    again = bdev(**grow)
    assert not again["changed"] and the(again)["satisfied"]
    assert the(bdev(name="a", state="absent"))["action"] == "deleted"


def test_an_image_grown_outside_is_followed_and_never_cut(bdev, simulator, ceph, new_image):
    image = new_image(64 * MIB)
    the(bdev(clusters=[simulator.cluster], name="a", pool=POOL, image=image))
    ceph.rbd("resize", "--no-progress", "--size", f"{256 * MIB}B", f"{POOL}/{image}")
    result = bdev(name="a", state="grown", size="128M")
    assert the(result)["satisfied"] and the(result)["image_bytes"] == ceph.image_bytes(POOL, image) == 256 * MIB
    the(bdev(name="a", state="absent"))


def test_ceph_that_cannot_be_asked_blocks_the_growth(bdev, simulator, ceph, new_image, tmp_path):
    image = new_image(64 * MIB)
    the(bdev(clusters=[simulator.cluster], name="a", pool=POOL, image=image))
    for trouble in ({"ceph_conf": str(tmp_path / "none.conf")}, {"ceph_keyring": str(tmp_path / "none.keyring")}, {"ceph_user": "nobody"}):
        result = bdev(name="a", state="grown", size="128M", **trouble)
        assert result["failed"] and result["error"]["hop"] == "image" and result["rpc_calls"] == []
    assert ceph.image_bytes(POOL, image) == 64 * MIB
    the(bdev(name="a", state="absent"))


def test_a_missing_image(bdev, simulator):
    result = bdev(clusters=[simulator.cluster], name="a", pool=POOL, image="none", size="64M")
    assert result["failed"] and "does not exist" in result["msg"] and "rbd_image" in result["error"]["remedy"]
    result = bdev(clusters=[simulator.cluster], name="a", pool=POOL, image="none")
    assert result["failed"] and result["error"]["call"] == "bdev_rbd_create"


def test_target_info_sees_the_watch_and_the_size(bdev, simulator, reach, ceph, new_image):
    image = new_image(64 * MIB)
    the(bdev(clusters=[simulator.cluster], name="a", pool=POOL, image=image))
    target = run_module("spdk_target_info", {"socket": simulator.socket, **reach})["target"]
    (entry,) = target["bdevs"]
    assert (entry["image_bytes"], entry["size_bytes"], entry["image_error"], entry["watched"]) == (64 * MIB, 64 * MIB, None, True)
    assert target["fsid"] == ceph.fsid and target["problems"] == []
    assert target["clusters"] == [{"name": "c0", "user": None, "config_file": str(ceph.conf)}]
    the(bdev(name="a", state="absent"))


def test_two_names_and_two_uuids_of_one_image(bdev, simulator, new_image):
    image = new_image(64 * MIB)
    first = the(bdev(clusters=[simulator.cluster], name="a", pool=POOL, image=image))
    second = bdev(name="b", pool=POOL, image=image)
    assert not second["changed"] and the(second)["name"] == "a" and the(second)["uuid"] == first["uuid"]
    other = bdev(name="b", pool=POOL, image=image, uuid=str(uuid.uuid4()))
    assert other["failed"] and first["uuid"] in other["msg"]
    the(bdev(name="a", state="absent"))


def test_a_whole_export(bdev, simulator, new_image):
    image = new_image(64 * MIB)
    base = {"socket": simulator.socket}
    created = the(bdev(clusters=[simulator.cluster], name="a", pool=POOL, image=image))
    assert run_module("nvmf_transport", {**base, "trtype": "TCP"})["changed"]
    wish = {
        **base,
        "nqn": "nqn.2026-01.org.example:vols",
        "ana_reporting": True,
        "hosts": ["nqn.2014-08.org.nvmexpress:uuid:4ca08835-0e71-4c63-85af-4b201ffa646d"],
        "listeners": [{"traddr": "127.0.0.1", "trsvcid": "14425", "ana_state": "non_optimized"}, {"traddr": "0:0:0:0:0:0:0:1", "trsvcid": "14425"}],
        "namespaces": [{"bdev": "a", "nsid": 7}],
        "purge": True,
    }
    checked = run_module("nvmf_subsystem", wish, check=True)
    done = run_module("nvmf_subsystem", wish)
    assert not done["failed"], done["msg"]
    assert checked["rpc_calls"] == done["rpc_calls"]
    (namespace,) = done["subsystems"][0]["namespaces"]
    assert (namespace["nsid"], namespace["uuid"]) == (7, created["uuid"])
    assert run_module("nvmf_subsystem", wish)["changed"] is False
    kept = bdev(name="a", state="absent")
    assert kept["failed"] and "in use" in kept["msg"]
    assert run_module("nvmf_subsystem", {**base, "nqn": wish["nqn"], "state": "absent"})["changed"]
    assert the(bdev(name="a", state="absent"))["action"] == "deleted"
