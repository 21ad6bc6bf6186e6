# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on a real Ceph: growth, the guard against shrinking, and every way in which Ceph can fail to answer."""

from __future__ import annotations

import signal
import subprocess
import threading
import time

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import (
    CephError,
    CephOptions,
    ImageNotFoundError,
    ImageSpec,
    ShrinkError,
    open_ceph,
)
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_librbd import LibrbdCeph
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_tool import ToolCeph
from module_runner import run_module

POOL = "pool-1"
MIB = 1024**2


def run_command(argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(params=["librbd", "rbd"])
def door(request, ceph):
    """Both ways to ask Ceph must do the same."""
    options = CephOptions(str(ceph.conf), "admin", str(ceph.keyring), 20)
    with LibrbdCeph(options) if request.param == "librbd" else ToolCeph(options, "/usr/bin/rbd", run_command) as opened:
        yield opened


def test_what_both_ways_say_of_an_image(door, ceph, new_image):
    spec = ImageSpec(POOL, "", new_image(68681728))
    assert door.fsid() == ceph.fsid
    assert door.size(spec) == 68681728
    assert door.state(spec).watchers == []
    assert door.grow(spec, 66 * MIB) == (68681728, 66 * MIB)
    assert door.grow(spec, 66 * MIB) == (66 * MIB, 66 * MIB)
    assert door.grow(spec, 32 * MIB) == (66 * MIB, 66 * MIB)
    assert ceph.image_bytes(POOL, spec.image) == 66 * MIB
    usage = door.pool_usage()[POOL]
    assert usage["free_bytes"] > 0 and usage["stored_bytes"] >= 0


@pytest.mark.parametrize("size", [65 * MIB, MIB, 512])
def test_neither_way_ever_cuts_an_image(door, ceph, new_image, size):
    spec = ImageSpec(POOL, "", new_image(68681728))
    with pytest.raises(ShrinkError):
        door._resize(spec, size)
    assert ceph.image_bytes(POOL, spec.image) == 68681728


def test_what_does_not_exist(door):
    for spec in (ImageSpec(POOL, "", "none"), ImageSpec("nopool", "", "none"), ImageSpec(POOL, "nonamespace", "none")):
        with pytest.raises(ImageNotFoundError):
            door.size(spec)


def test_images_of_a_rados_namespace(door, ceph):
    name = f"tenant-{door.how}"
    ceph.rbd("namespace", "create", f"{POOL}/{name}")
    spec = ImageSpec(POOL, name, "one")
    try:
        door.create(spec, 32 * MIB)
        door.create(spec, 32 * MIB)
        assert door.grow(spec, 64 * MIB) == (32 * MIB, 64 * MIB)
        with pytest.raises(ImageNotFoundError):
            door.size(ImageSpec(POOL, "", "one"))
    finally:
        ceph.rbd("rm", "--no-progress", str(spec))
        ceph.rbd("namespace", "rm", f"{POOL}/{name}")


def test_what_a_pool_has_promised(door, ceph, new_image):
    """Every image counts with its size now, also in RADOS namespaces; its snapshots do not count."""
    before = door.pool_provisioned(POOL)
    name = new_image(64 * MIB)
    ceph.rbd("snap", "create", f"{POOL}/{name}@small")
    ceph.rbd("resize", "--no-progress", "--size", "128M", f"{POOL}/{name}")
    ceph.rbd("namespace", "create", f"{POOL}/promised")
    ceph.rbd("create", "--size", "32M", f"{POOL}/promised/two")
    try:
        assert door.pool_provisioned(POOL) == before + (128 + 32) * MIB
    finally:
        ceph.rbd("snap", "rm", "--no-progress", f"{POOL}/{name}@small")
        ceph.rbd("rm", "--no-progress", f"{POOL}/promised/two")
        ceph.rbd("namespace", "rm", f"{POOL}/promised")


def test_the_blocklist(door, ceph):
    assert "127.0.0.99:0/123" not in door.blocklist()
    ceph.ceph("osd", "blocklist", "add", "127.0.0.99:0/123")
    try:
        assert "127.0.0.99:0/123" in door.blocklist()
    finally:
        ceph.ceph("osd", "blocklist", "rm", "127.0.0.99:0/123")


def test_two_growers_at_once_end_at_the_larger_size(reach, ceph, new_image):
    def grow(name, size, results):
        results[size] = run_module("rbd_image", {**reach, "pool": POOL, "image": name, "size": size, "state": "grown", "lease_wait": 60})

    for _round in range(3):
        name = new_image(64 * MIB)
        results = {}
        threads = [threading.Thread(target=grow, args=(name, size, results)) for size in ("128M", "256M")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [result["failed"] for result in results.values()] == [False, False]
        assert ceph.image_bytes(POOL, name) == 256 * MIB
        assert results["256M"]["images"][0]["size_bytes"] == 256 * MIB


def test_the_module_creates_grows_and_stays(reach, ceph):
    image = {"pool": POOL, "image": "by-module", "size": "64M"}
    try:
        checked = run_module("rbd_image", {**reach, **image}, check=True)
        assert checked["changed"] and "by-module" not in ceph.rbd("ls", POOL)
        created = run_module("rbd_image", {**reach, **image})
        assert created["changes"] == checked["changes"] and created["pools"][0]["free_bytes"] > 0
        grown = run_module("rbd_image", {**reach, **image, "size": "128M", "state": "grown"})
        assert (grown["images"][0]["before_bytes"], grown["images"][0]["size_bytes"]) == (64 * MIB, 128 * MIB)
        assert run_module("rbd_image", {**reach, **image})["changed"] is False
        refused = run_module("rbd_image", {**reach, **image, "exact": True})
        assert refused["failed"] and "never shrinks" in refused["msg"]
        assert ceph.image_bytes(POOL, "by-module") == 128 * MIB
    finally:
        ceph.rbd("rm", "--no-progress", f"{POOL}/by-module")


@pytest.mark.parametrize("size", [f"{2**44}M", "2P", "64MB", "800", "800X", "-1G", "0G"])
def test_sizes_that_must_not_reach_ceph(reach, ceph, new_image, size):
    name = new_image(64 * MIB)
    result = run_module("rbd_image", {**reach, "pool": POOL, "image": name, "size": size})
    assert result["failed"] and not result["changed"] and ceph.image_bytes(POOL, name) == 64 * MIB


def test_a_client_with_few_rights(ceph, new_image):
    name = new_image(64 * MIB)
    params = {"ceph_conf": str(ceph.conf), "ceph_user": "spdk", "ceph_keyring": str(ceph.keyring_of("spdk"))}
    result = run_module("rbd_image_info", {**params, "images": [{"pool": POOL, "image": name}]})
    assert result["images"][0]["size_bytes"] == 64 * MIB and result["fsid"] == ceph.fsid


def test_a_wrong_key(ceph, tmp_path):
    keyring = tmp_path / "wrong.keyring"
    keyring.write_text("[client.admin]\n\tkey = AQBLIvFoAAAAABAA6J9Vd0mXkUeKjNhCnZyQxA==\n")
    result = run_module("rbd_image_info", {"ceph_conf": str(ceph.conf), "ceph_keyring": str(keyring)})
    assert result["failed"] and "client.admin" in result["msg"] and "AQBLIvFo" not in str(result)


def test_a_user_that_does_not_exist(ceph):
    result = run_module("rbd_image_info", {"ceph_conf": str(ceph.conf), "ceph_keyring": str(ceph.keyring), "ceph_user": "nobody"})
    assert result["failed"] and "client.nobody" in result["msg"]


def test_an_osd_that_does_not_answer_is_an_error_in_time(ceph, new_image):
    spec = ImageSpec(POOL, "", new_image(64 * MIB))
    for make in (LibrbdCeph, lambda options: ToolCeph(options, "/usr/bin/rbd", run_command)):
        door = make(CephOptions(str(ceph.conf), "admin", str(ceph.keyring), 3))
        ceph.signal("osd.0", signal.SIGSTOP)
        started = time.monotonic()
        try:
            with pytest.raises(CephError) as caught:
                door.grow(spec, 128 * MIB)
        finally:
            ceph.signal("osd.0", signal.SIGCONT)
        assert "did not answer within 3 s" in str(caught.value) and time.monotonic() - started < 30
    with open_ceph(CephOptions(str(ceph.conf), "admin", str(ceph.keyring), 30)) as door:
        assert door.grow(spec, 128 * MIB)[1] == 128 * MIB


def test_mons_that_are_not_there(tmp_path, ceph):
    conf = tmp_path / "ceph.conf"
    conf.write_text(ceph.conf.read_text().replace(":13300", ":13399"))
    started = time.monotonic()
    with pytest.raises(CephError) as caught:
        open_ceph(CephOptions(str(conf), "admin", str(ceph.keyring), 3))
    assert caught.value.remedy and time.monotonic() - started < 30
