# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease of an image on a real Ceph: librbd and the programs respect each other's, it is renewed, and it ends by itself."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import CephError, CephOptions, ImageSpec
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_lease import (
    LEASE,
    LeaseHeldError,
    LeaseLostError,
    LeaseOptions,
    Leases,
    Lock,
    LockLost,
    LockTaken,
)
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_librbd import LibrbdCeph
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_tool import ToolCeph
from module_runner import run_module

POOL = "pool-1"
MIB = 1024**2

#: Takes the lease as the module does, says so, and works for ever.
HOLDER = """
import json, sys, time
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import CephOptions, ImageSpec
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_lease import LeaseOptions, Leases
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_librbd import LibrbdCeph
conf, keyring, pool, image, owner, duration = sys.argv[1:]
spec = ImageSpec(pool, "", image)
ceph = LibrbdCeph(CephOptions(conf, "admin", keyring, 20))
with Leases(LeaseOptions(owner, int(duration))).held(lambda: ceph, {spec: ceph.state(spec)}):
    print("held", flush=True)
    time.sleep(600)
"""


def run_command(argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def make(kind, ceph, user="admin"):
    options = CephOptions(str(ceph.conf), user, str(ceph.keyring_of(user)), 20)
    return LibrbdCeph(options) if kind == "librbd" else ToolCeph(options, "/usr/bin/rbd", run_command)


@pytest.fixture(params=["librbd", "rbd"])
def one(request, ceph):
    with make(request.param, ceph) as door:
        yield door


@pytest.fixture(params=["librbd", "rbd"])
def other(request, ceph):
    """client.spdk, which has Ceph's rbd profile and nothing else."""
    with make(request.param, ceph, "spdk") as door:
        yield door


@pytest.fixture
def spec(new_image):
    return ImageSpec(POOL, "", new_image(64 * MIB))


@pytest.fixture
def killed(ceph, spec):
    """Start a run that holds the lease and kill it."""

    def start_and_kill(owner, duration):
        argv = [sys.executable, "-c", HOLDER, str(ceph.conf), str(ceph.keyring), spec.pool, spec.image, owner, str(duration)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout.readline() == "held\n"
            finally:
                process.kill()

    return start_and_kill


def test_librbd_and_the_programs_respect_each_others_lease(one, other, spec):
    with Leases(LeaseOptions("job-1")).held(lambda: one, {spec: one.state(spec)}):
        told = other.state(spec).lease
        assert told["owner"] == "job-1" and "@" in told["by"] and 0 < told["remaining_seconds"] <= told["duration_seconds"]
        with pytest.raises(LeaseHeldError, match="job-1"), Leases().held(lambda: other, {spec: other.state(spec)}):
            raise AssertionError
        assert one.state(spec).lease["owner"] == "job-1"
    assert one.state(spec).lease is None
    with Leases().held(lambda: other, {spec: other.state(spec)}):
        pass
    assert other.lockers(spec, other.state(spec).header, LEASE) == []


def test_the_modules_tell_of_a_lease_and_do_not_grow(one, reach, bdev, simulator, ceph, spec):
    grow = {"pool": POOL, "image": spec.image, "size": "128M", "state": "grown"}
    assert not bdev(clusters=[simulator.cluster], name="a", pool=POOL, image=spec.image)["failed"]
    with Leases(LeaseOptions("job-1")).held(lambda: one, {spec: one.state(spec)}):
        for result in (bdev(**grow), run_module("rbd_image", {**reach, **grow})):
            assert result["failed"] and not result["changed"] and "job-1" in result["msg"] and "ends by itself" in result["error"]["remedy"]
        (image,) = run_module("rbd_image_info", {**reach, "images": [{"pool": POOL, "image": spec.image}]})["images"]
        (shown,) = run_module("spdk_target_info", {"socket": simulator.socket, **reach})["target"]["bdevs"]
        assert image["lease"]["owner"] == shown["lease"]["owner"] == "job-1"
        assert not bdev(**{**grow, "size": "64M"})["failed"], "nothing to do needs no lease"
        assert bdev(check=True, **grow)["changed"], "a plan is no growth"
    assert ceph.image_bytes(POOL, spec.image) == 64 * MIB
    assert not bdev(**grow)["failed"] and ceph.image_bytes(POOL, spec.image) == 128 * MIB
    bdev(name="a", state="absent")


def test_the_lease_of_a_killed_run_is_named_and_ends_by_itself(one, spec, killed):
    killed("job-1", 6)
    lease = one.state(spec).lease
    assert lease["owner"] == "job-1" and lease["remaining_seconds"] <= 6
    with pytest.raises(LeaseHeldError, match="job-1"), Leases(LeaseOptions("job-2")).held(lambda: one, {spec: one.state(spec)}):
        raise AssertionError
    with Leases(LeaseOptions("job-2", wait=60)).held(lambda: one, {spec: one.state(spec)}):
        assert one.state(spec).lease["owner"] == "job-2"


def test_the_same_owner_takes_over_from_a_killed_run_at_once(one, spec, killed):
    killed("job-1", 3000)
    with Leases(LeaseOptions("job-1")).held(lambda: one, {spec: one.state(spec)}):
        assert one.state(spec).lease["duration_seconds"] < 3000


def test_a_module_repeats_a_killed_run_of_its_owner(reach, ceph, spec, killed):
    killed("job-1", 3000)
    grow = {**reach, "pool": POOL, "image": spec.image, "size": "128M", "state": "grown"}
    assert "job-1" in run_module("rbd_image", {**grow, "lease_owner": "job-2"})["msg"]
    assert run_module("rbd_image", {**grow, "lease_owner": "job-1"})["changed"]
    assert ceph.image_bytes(POOL, spec.image) == 128 * MIB


def test_who_was_taken_over_stops(one, other, spec):
    old = Leases(LeaseOptions("job-1"))
    with old.held(lambda: one, {spec: one.state(spec)}):
        with Leases(LeaseOptions("job-1")).held(lambda: other, {spec: other.state(spec)}):
            old._held[spec].renewed -= 1000
            with pytest.raises(LeaseLostError):
                old.require(spec)
            assert len(other.lockers(spec, other.state(spec).header, LEASE)) == 1
    assert one.state(spec).lease is None


def test_renewed_beside_the_work_it_outlasts_its_duration(ceph, spec):
    with make("librbd", ceph) as holder, make("librbd", ceph, "spdk") as watcher:
        leases = Leases(LeaseOptions("job-1", duration=2))
        with leases.held(lambda: holder, {spec: holder.state(spec)}):
            first = watcher.lockers(spec, watcher.state(spec).header, LEASE)[0].expires
            until = time.monotonic() + 60
            while watcher.lockers(spec, watcher.state(spec).header, LEASE)[0].expires < first + 2.5 and time.monotonic() < until:
                time.sleep(0.1)
            leases.require(spec)
            with pytest.raises(LockTaken):
                watcher.lock(spec, watcher.state(spec).header, Lock(LEASE, "theirs", "", 30))


def test_what_has_ended_or_is_theirs_is_not_renewed(one, other, spec):
    header = one.state(spec).header
    mine, theirs = Lock(LEASE, "mine", "{}", 1), Lock(LEASE, "theirs", "{}", 30)
    one.lock(spec, header, mine)
    until = time.monotonic() + 60
    while one.lockers(spec, header, LEASE) and time.monotonic() < until:
        time.sleep(0.1)
    with pytest.raises(LockLost):
        one.lock(spec, header, mine, renew=True)
    assert one.lockers(spec, header, LEASE) == []
    other.lock(spec, header, theirs)
    with pytest.raises(LockLost):
        one.lock(spec, header, mine, renew=True)
    other.lock(spec, header, theirs, renew=True)
    one.unlock(spec, header, mine)
    assert {holder.text for holder in one.lockers(spec, header, LEASE)} == {"{}"}, "theirs stays"
    other.unlock(spec, header, theirs)
    other.unlock(spec, header, theirs)


def test_a_lock_by_hand_is_respected_and_told(one, ceph, spec):
    rados = ["rados", "-c", str(ceph.conf), "--id", "admin", "--keyring", str(ceph.keyring), "-p", POOL]
    subprocess.run([*rados, "lock", "get", one.state(spec).header, LEASE], check=True)
    lease = one.state(spec).lease
    assert lease["remaining_seconds"] is None and lease["owner"].startswith("client.") and "127.0.0.1" in lease["owner"]
    with pytest.raises(LeaseHeldError, match="does not end by itself"), Leases().held(lambda: one, {spec: one.state(spec)}):
        raise AssertionError


def test_an_image_of_a_rados_namespace_has_a_lease_of_its_own(one, other, ceph, spec):
    name = f"tenant-{one.how}-{other.how}"
    ceph.rbd("namespace", "create", f"{POOL}/{name}")
    inside = ImageSpec(POOL, name, "one")
    try:
        one.create(inside, 32 * MIB)
        with Leases(LeaseOptions("job-1")).held(lambda: one, {inside: one.state(inside)}):
            assert other.state(inside).lease["owner"] == "job-1" and other.state(spec).lease is None
            with pytest.raises(LeaseHeldError), Leases().held(lambda: other, {inside: other.state(inside)}):
                raise AssertionError
    finally:
        ceph.rbd("rm", "--no-progress", str(inside))
        ceph.rbd("namespace", "rm", f"{POOL}/{name}")


@pytest.mark.parametrize("kind", ["librbd", "rbd"])
def test_who_may_only_read_cannot_take_the_lease_and_so_not_grow(kind, ceph, spec):
    ceph.keyring_of("reader").write_text(ceph.ceph("auth", "get-or-create", "client.reader", "mon", "profile rbd", "osd", "profile rbd-read-only"))
    with make(kind, ceph, "reader") as door:
        state = door.state(spec)
        assert state.size_bytes == 64 * MIB
        with pytest.raises(CephError) as caught, Leases().held(lambda: door, {spec: state}):
            raise AssertionError
        assert "lock" in str(caught.value)
    assert ceph.image_bytes(POOL, spec.image) == 64 * MIB


def test_the_secondary_of_a_mirror_names_its_primary(reach, ceph):
    """librbd tells by a feature bit of the mode, the programs by a word that is the same for both."""
    pool = "mirrored"
    cases = [(kind, mode, ImageSpec(pool, "", f"{kind}-{mode}")) for kind, mode in (("librbd", "snapshot"), ("librbd", "journal"), ("rbd", "snapshot"))]
    ceph.create_pool(pool)
    ceph.rbd("mirror", "pool", "enable", pool, "image")
    for kind, mode, spec in cases:
        ceph.rbd("create", "--no-progress", "--size", "64M", str(spec))
        if mode == "journal":
            ceph.rbd("feature", "enable", str(spec), "journaling")
        ceph.rbd("mirror", "image", "enable", str(spec), mode)
        with make(kind, ceph) as one:
            assert one.state(spec).primary is None
            assert one.grow(spec, 96 * MIB)[1] == 96 * MIB
            ceph.rbd("mirror", "image", "demote", str(spec))
            with pytest.raises(CephError, match="names no peer"):
                one.grow(spec, 128 * MIB)
    ceph.rbd("mirror", "pool", "peer", "add", pool, "client.mirror@site-b")
    for kind, _mode, spec in cases:
        with make(kind, ceph) as one:
            assert one.state(spec).primary == "on the mirror peer site-b"
        result = run_module("rbd_image", {**reach, "pool": pool, "image": spec.image, "size": "128M", "snapshot_keep": "7d"}, check=True)
        assert result["failed"] and "site-b" in result["msg"] and "promote" in result["error"]["remedy"]
        info = run_module("rbd_image_info", {**reach, "images": [{"pool": pool, "image": spec.image}]})
        assert info["images"][0]["primary"] == "on the mirror peer site-b" and info["images"][0]["size_bytes"] == 96 * MIB


def test_quota_and_fullness_of_a_pool(reach, ceph):
    pool = "small"
    ceph.create_pool(pool)
    with make("librbd", ceph) as one, make("rbd", ceph) as other:
        assert one.pool_limits()[pool] == other.pool_limits()[pool] == {"max_bytes": None, "full": False, "nearfull": False}
        ceph.ceph("osd", "pool", "set-quota", pool, "max_bytes", "1000000000")
        assert one.pool_limits()[pool]["max_bytes"] == other.pool_limits()[pool]["max_bytes"] == 1000000000
    ceph.rbd("create", "--no-progress", "--size", "64M", f"{pool}/q")
    (facts,) = run_module("rbd_image_info", {**reach, "images": [{"pool": pool, "image": "q"}]})["pools"]
    assert facts.pop("free_bytes") > 0 and facts.pop("stored_bytes") >= 0
    assert facts == {"pool": pool, "exists": True, "provisioned_bytes": None, "max_bytes": 1000000000, "full": False, "nearfull": False, "error": None}


def test_a_wish_for_the_lease_that_cannot_be_meant(reach):
    for options in ({"lease_duration": 29}, {"lease_wait": -1}, {"lease_owner": "x" * 300}):
        result = run_module("rbd_image", {**reach, "pool": POOL, "image": "any", "size": "64M", **options})
        assert result["failed"] and next(iter(options)) in result["msg"], json.dumps(result)
