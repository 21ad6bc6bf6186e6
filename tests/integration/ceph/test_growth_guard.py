# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way in which growing a volume of an SPDK target can destroy data or lie, on a real Ceph, with a target that shrinks as the real one does."""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import CephOptions, ImageSpec
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_lease import LeaseOptions, Leases
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_librbd import LibrbdCeph
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_tool import ToolCeph
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdev_wish import wanted_bdevs
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdevs import BdevManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target
from module_runner import run_module

POOL = "pool-1"
MIB = 1024**2
#: Rounds of the races, which find a lost guard the more often the more there are: NVMEOF_SPDK_ROUNDS=50 for a long look. Programs are ten times as slow.
ROUNDS = int(os.environ.get("NVMEOF_SPDK_ROUNDS", "0"))
ROUNDS_OF = {"librbd": ROUNDS or 20, "programs": ROUNDS or 2, "mixed": ROUNDS or 3}


def run_command(argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def open_way(way, ceph):
    options = CephOptions(str(ceph.conf), "admin", str(ceph.keyring), 20)
    return LibrbdCeph(options) if way == "librbd" else ToolCeph(options, shutil.which("rbd"), run_command)


def the(result):
    assert not result["failed"], result["msg"]
    (entry,) = result["bdevs"]
    return entry


@pytest.fixture
def volume(simulator, bdev, new_image):
    """Make a volume: an image, its bdev ``a``, and a namespace that uses it."""

    def make(size, **more):
        image = new_image(size)
        the(bdev(clusters=[simulator.cluster], name="a", pool=POOL, image=image, **more))
        simulator.export("a")
        return image

    yield make
    the(bdev(name="a", state="absent", force=True))


def resize(ceph, image, size):
    """Somebody else resizes, in either direction."""
    ceph.rbd("resize", "--no-progress", "--allow-shrink", "--size", f"{size}B", f"{POOL}/{image}")


def refused(result, *words):
    assert result["failed"] and not result.get("changed") and not result.get("rpc_calls"), result
    assert all(word in result["msg"] for word in words), result["msg"]
    assert result["error"]["remedy"]


# -- sizes -----------------------------------------------------------------------------------------------------------


def test_what_overflows_or_is_absurd_never_reaches_ceph_or_the_target(volume, bdev, ceph):
    image = volume(64 * MIB)
    for size in (f"{2**44}M", f"{2**44 + 65}M", f"{2**64}B", "2P", f"{1024**5 + MIB}B", f"{128 * MIB}G"):
        refused(bdev(name="a", state="grown", size=size), "limit")
    assert ceph.image_bytes(POOL, image) == 64 * MIB


@pytest.mark.parametrize("watch", [True, False])
def test_the_fraction_of_a_mib_is_never_cut_off(volume, simulator, bdev, ceph, watch):
    simulator.trouble(watch=watch)
    image = volume(68681728)
    for same in ({"size": "65M"}, {"size": "1M"}, {}):
        result = bdev(name="a", pool=POOL, image=image, **same)
        assert not result["changed"] and result["rpc_calls"] == [] and ceph.image_bytes(POOL, image) == 68681728
    refused(bdev(name="a", state="grown", size="68681728B"), "65M and 66M")
    refused(bdev(name="a", state="grown", size="65M", exact=True), "never shrinks")
    assert ceph.image_bytes(POOL, image) == 68681728
    assert the(bdev(name="a", state="grown", size="66M"))["size_bytes"] == ceph.image_bytes(POOL, image) == 66 * MIB


# -- others who resize -----------------------------------------------------------------------------------------------


def test_a_stale_bdev_between_two_sizes_cuts_nothing(volume, simulator, bdev, ceph):
    simulator.trouble(watch=False)
    image = volume(64 * MIB)
    resize(ceph, image, 256 * MIB)
    refused(bdev(name="a", state="grown", size=str(256 * MIB)), "no unit")
    result = bdev(name="a", state="grown", size="128M", wait_timeout=30)
    assert result["failed"] and result["rpc_calls"] == [] and "256M" in result["error"]["remedy"]
    assert (simulator.bdev_bytes("a"), ceph.image_bytes(POOL, image)) == (64 * MIB, 256 * MIB)
    # bytes are never taken for MiB
    told = bdev(name="a", state="grown", size=f"{256 * MIB}B")
    assert the(told)["size_bytes"] == 256 * MIB and told["rpc_calls"] == [{"method": "bdev_rbd_resize", "params": {"name": "a", "new_size": 256}}]


def test_an_outside_shrink_under_a_namespace_is_critical_and_nothing_is_done(volume, simulator, bdev, reach, ceph):
    image = volume(128 * MIB)
    resize(ceph, image, 64 * MIB)
    for size in ("96M", "128M", "256M"):
        refused(bdev(name="a", state="grown", size=size), "CRITICAL", "behind the target's back")
    assert (simulator.bdev_bytes("a"), ceph.image_bytes(POOL, image)) == (128 * MIB, 64 * MIB)
    problems = run_module("spdk_target_info", {"socket": simulator.socket, **reach})["target"]["problems"]
    assert [item["object"] for item in problems if item["severity"] == "critical" and item["hop"] == "image"] == ["a"]


WAYS = {"librbd": ("librbd", "librbd"), "programs": ("rbd", "rbd"), "mixed": ("librbd", "rbd")}


@pytest.mark.parametrize("kind", WAYS)
def test_two_targets_that_grow_one_image_at_once_never_end_below_what_was_said(volume, simulator, second, reach, ceph, kind):
    ways = WAYS[kind]
    image = volume(64 * MIB)
    the(run_module("spdk_rbd_bdev", {"socket": second.socket, **reach, "clusters": [second.cluster], "name": "a", "pool": POOL, "image": image}))
    second.export("a")

    def grow(target, way, size, results):
        """One call of the module, without the process around it, which would keep the two apart."""
        (item,) = wanted_bdevs([{"name": "a", "state": "grown", "size": f"{size}M"}])
        try:
            with open_way(way, ceph) as door, Target.open(target.socket, 60) as rpc:
                manager = BdevManager(rpc, lambda: door, lease=LeaseOptions(wait=100))
                manager.plan([item], [])
                barrier.wait(60)
                manager.apply([item])
                manager.read_back([item])
                results.append((item.result(), rpc.sent))
        except Exception as error:  # looked at below
            results.append(error)

    for number in range(ROUNDS_OF[kind]):
        barrier = threading.Barrier(2)
        sizes = [128 + 100 * number, 160 + 100 * number]
        results = []
        threads = [
            threading.Thread(target=grow, args=(target, way, size, results))
            for target, way, size in zip((simulator, second), ways, sizes if number % 2 else sizes[::-1])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not [one for one in results if isinstance(one, Exception)], results
        now = ceph.image_bytes(POOL, image)
        assert now == max(sizes) * MIB and all(result["satisfied"] and result["image_bytes"] <= now for result, _sent in results), (number, results, now)
        assert [sent for _result, sent in results] == [[], []], "the watches moved the bdevs"
    the(run_module("spdk_rbd_bdev", {"socket": second.socket, **reach, "name": "a", "state": "absent", "force": True}))


@pytest.mark.parametrize("owner", [None, "one-for-both"])
@pytest.mark.parametrize("kind", WAYS)
def test_two_growers_that_start_in_the_same_instant(ceph, new_image, kind, owner):
    """Closer than two processes come; with the same owner they take the lease from each other, and the resizes still take turns."""
    spec = ImageSpec(POOL, "", new_image(64 * MIB))
    doors = [open_way(way, ceph) for way in WAYS[kind]]
    barrier = threading.Barrier(2)

    def grow(door, size, said):
        barrier.wait(60)
        try:
            leases = Leases(LeaseOptions(owner, wait=60))
            with leases.held(lambda: door, {spec: door.state(spec)}):
                leases.require(spec)
                said.append(door.grow(spec, size)[1])
        except Exception as error:  # looked at below
            said.append(error)

    for number in range(ROUNDS_OF[kind]):
        said = []
        sizes = [(128 + 100 * number) * MIB, (200 + 100 * number) * MIB]
        threads = [threading.Thread(target=grow, args=(door, size, said)) for door, size in zip(doors, sizes if number % 2 else sizes[::-1])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        failures = [one for one in said if isinstance(one, Exception)]
        assert not failures or (owner and all("lease" in str(one) for one in failures)), failures
        acknowledged = [one for one in said if isinstance(one, int)]
        assert acknowledged and ceph.image_bytes(POOL, spec.image) >= max(acknowledged)
    for door in doors:
        door.close()


# -- an image that cannot be read ------------------------------------------------------------------------------------


def test_an_image_that_cannot_be_read_does_not_grow(volume, simulator, bdev, ceph, tmp_path):
    image = volume(64 * MIB)
    wrong_key = tmp_path / "wrong.keyring"
    wrong_key.write_text("[client.admin]\n\tkey = AQBLIvFoAAAAABAA6J9Vd0mXkUeKjNhCnZyQxA==\n")
    ceph.keyring_of("stranger").write_text(ceph.ceph("auth", "get-or-create", "client.stranger", "mon", "profile rbd", "osd", "profile rbd pool=other"))
    ceph.keyring_of("reader").write_text(ceph.ceph("auth", "get-or-create", "client.reader", "mon", "profile rbd", "osd", "profile rbd-read-only"))
    for trouble, word in (
        ({"ceph_keyring": str(wrong_key)}, "connect"),
        ({"ceph_user": "stranger", "ceph_keyring": str(ceph.keyring_of("stranger"))}, "open"),
        ({"ceph_user": "reader", "ceph_keyring": str(ceph.keyring_of("reader"))}, "lock"),
    ):
        result = bdev(name="a", state="grown", size="128M", **trouble)
        refused(result, word)
        assert result["error"]["hop"] == "image"
    assert (simulator.bdev_bytes("a"), ceph.image_bytes(POOL, image)) == (64 * MIB, 64 * MIB)


def test_mons_that_do_not_answer_end_the_call_in_time(volume, simulator, reach, ceph, without_bindings, tmp_path):
    image = volume(64 * MIB)
    conf = tmp_path / "dead.conf"
    conf.write_text(ceph.conf.read_text().replace(":13300", ":13399"))
    params = {"socket": simulator.socket, **reach, "ceph_conf": str(conf), "name": "a", "state": "grown", "size": "128M", "timeout": 10}
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor() as both:
        results = [both.submit(run_module, "spdk_rbd_bdev", params, env=environment, timeout=100) for environment in (None, without_bindings)]
    for result in (one.result() for one in results):
        refused(result)
        assert any("timeout=10" in str(warning) for warning in result["warnings"])
    assert time.monotonic() - started < 60
    assert ceph.image_bytes(POOL, image) == 64 * MIB


# -- targets that do not follow --------------------------------------------------------------------------------------


@pytest.mark.parametrize("watch", [True, False])
def test_a_read_only_bdev_follows_its_image_or_says_why_not(volume, simulator, bdev, ceph, watch):
    simulator.trouble(watch=watch)
    image = volume(64 * MIB, read_only=True)
    result = bdev(name="a", state="grown", size="128M", wait_timeout=20)
    assert ceph.image_bytes(POOL, image) == 128 * MIB
    if watch:
        assert the(result)["size_bytes"] == 128 * MIB and result["rpc_calls"] == [] and "read-only" in the(result)["message"]
    else:
        assert result["failed"] and "-30" in result["error"]["cause"] and len(result["rpc_calls"]) == 1
        (entry,) = result["bdevs"]
        assert (entry["size_bytes"], entry["image_bytes"], entry["satisfied"]) == (64 * MIB, 128 * MIB, False)


def test_a_resize_that_timed_out_is_read_again_and_not_repeated(volume, simulator, bdev, ceph):
    simulator.trouble(watch=False)
    image = volume(64 * MIB)
    simulator.trouble(delay={"bdev_rbd_resize": 4.0})
    result = bdev(name="a", state="grown", size="128M", timeout=2, wait_timeout=60)
    simulator.trouble(delay={})
    if result["failed"]:  # the reading behind it timed out, too: the one thread of a target was busy
        assert "no answer" in result["msg"]
        assert the(bdev(name="a", state="grown", size="128M"))["satisfied"]
    assert [call["method"] for call in result["rpc_calls"]] == ["bdev_rbd_resize"]
    assert simulator.bdev_bytes("a") == ceph.image_bytes(POOL, image) == 128 * MIB


def test_a_blocklisted_target_is_named(volume, simulator, bdev, reach, ceph):
    image = volume(64 * MIB)
    watcher, *_more = watchers(ceph, image)
    ceph.ceph("osd", "blocklist", "add", watcher)
    try:
        result = bdev(name="a", state="grown", size="128M", wait_timeout=30)
        assert result["failed"] and result["error"]["hop"] == "bdev"
        assert "-108" in result["error"]["cause"] and "blocklist" in result["error"]["remedy"]
        assert ceph.image_bytes(POOL, image) == 128 * MIB and simulator.bdev_bytes("a") == 64 * MIB
        problems = run_module("spdk_target_info", {"socket": simulator.socket, **reach})["target"]["problems"]
        assert any("blocklisted" in item["problem"] and item["severity"] == "critical" for item in problems)
    finally:
        ceph.ceph("osd", "blocklist", "rm", watcher)


def watchers(ceph, image):
    with open_way("librbd", ceph) as door:
        return door.state(ImageSpec(POOL, "", image)).watchers


def test_an_osd_that_does_not_answer_ends_the_call_with_nothing_done(volume, simulator, bdev, ceph):
    image = volume(64 * MIB)
    ceph.signal("osd.0", signal.SIGSTOP)
    try:
        result = bdev(name="a", state="grown", size="128M", timeout=10)
    finally:
        ceph.signal("osd.0", signal.SIGCONT)
    refused(result, "did not answer within 10 s")
    assert os.path.exists(simulator.socket)
    assert the(bdev(name="a", state="grown", size="128M", lease_wait=120))["satisfied"] and ceph.image_bytes(POOL, image) == 128 * MIB
