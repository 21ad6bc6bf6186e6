# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What breaks in the middle of a growth: frozen and killed parts, killed runs, two runs at once; under a writer, and the next run ends well.

Every test ends the same way: no hop was ever smaller, the repetition has all hops at the size, and one more run changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import threading
import time

import pytest
import rbd
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import GROW_LOCK, CephOptions, CephTimeoutError, ImageSpec
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_lease import LeaseOptions
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_librbd import LibrbdCeph
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_snapshots import read_name, snapshot_name
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdev_wish import wanted_bdevs
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdevs import BdevManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target
from fleet import Fleet, ended, export, kill_all
from module_runner import run_module

POOL = "pool-1"
MIB = 1024**2
#: Where runs are killed: the same moments every time, unless NVMEOF_SPDK_SEED says others. NVMEOF_SPDK_ROUNDS is how many.
SEED = int(os.environ.get("NVMEOF_SPDK_SEED", "20261125"))
MOMENTS = int(os.environ.get("NVMEOF_SPDK_ROUNDS", "4"))


def content(ceph, image):
    """A checksum of the 64 MiB that were there from the start."""
    options = CephOptions(str(ceph.conf), "admin", str(ceph.keyring), 60)
    with LibrbdCeph(options) as door, door._pool(ImageSpec(POOL, "", image)) as ioctx, rbd.Image(ioctx, image, read_only=True) as disk:
        return hashlib.sha256(disk.read(0, 64 * MIB)).hexdigest()


def grow(target, reach, size="128M", **more):
    return run_module("spdk_rbd_bdev", {"socket": target.socket, **reach, "name": "a", "state": "grown", "size": size, **more}, timeout=250)


def converged(target, reach, ceph, image, **more):
    """The repetition ends well, and one more changes nothing."""
    again = grow(target, reach, **more)
    assert not again["failed"] and again["bdevs"][0]["satisfied"], again
    assert target.bdev_bytes("a") == ceph.image_bytes(POOL, image) == 128 * MIB
    once_more = grow(target, reach, **more)
    assert not once_more["failed"] and not once_more["changed"] and once_more["rpc_calls"] == [], once_more


# -- one call of the module ------------------------------------------------------------------------------------------


def test_a_frozen_target_that_holds_the_lock_delays_the_growth_of_another(volume, simulator, second, reach, ceph, writer):
    image = volume(simulator, second)
    writer(image)
    writer.stop()
    written = content(ceph, image)
    simulator.call("bdev_rbd_resize", name="a", new_size=65)
    (owner,) = json.loads(ceph.rbd("lock", "ls", "--format", "json", f"{POOL}/{image}"))
    assert owner["id"].startswith("auto "), "the target has the exclusive lock"
    os.kill(simulator.process.pid, signal.SIGSTOP)
    try:
        refused = grow(simulator, reach, timeout=2)
        assert refused["failed"] and not refused.get("changed") and "no answer within 2 s" in refused["msg"], refused
        results = []
        other = threading.Thread(target=lambda: results.append(grow(second, reach)))
        other.start()
        other.join(6)
        assert other.is_alive() and ceph.image_bytes(POOL, image) == 65 * MIB, "the resize waits for the lock's owner"
    finally:
        os.kill(simulator.process.pid, signal.SIGCONT)
    other.join(200)
    (result,) = results
    assert not result["failed"] and second.bdev_bytes("a") == 128 * MIB, result
    converged(simulator, reach, ceph, image)
    assert content(ceph, image) == written


class FreezingCeph(LibrbdCeph):
    """Its OSD stands still from the resize on."""

    freeze = None

    def _resize(self, spec, size):
        self.freeze()
        super()._resize(spec, size)


def test_an_osd_that_stands_still_in_the_middle_of_a_resize(volume, simulator, reach, ceph, writer):
    """After the time-out the resize may still come, and nobody else resizes until that is over: the lock stays for the time-out and 30 s."""
    image = volume()
    writer(image)
    (item,) = wanted_bdevs([{"name": "a", "state": "grown", "size": "128M"}])
    door = FreezingCeph(CephOptions(str(ceph.conf), "admin", str(ceph.keyring), 2))
    door.freeze = lambda: ceph.signal("osd.0", signal.SIGSTOP)
    try:
        with Target.open(simulator.socket, 60) as target:
            manager = BdevManager(target, lambda: door, lease=LeaseOptions("job-1"))
            manager.plan([item], [])
            with pytest.raises(CephTimeoutError, match="did not answer within 2 s"):
                manager.apply([item])
    finally:
        ceph.signal("osd.0", signal.SIGCONT)
        door.close()
    assert ceph.image_bytes(POOL, image) in (64 * MIB, 128 * MIB)
    with LibrbdCeph(CephOptions(str(ceph.conf), "admin", str(ceph.keyring), 60)) as door:
        spec = ImageSpec(POOL, "", image)
        header = door.state(spec).header
        (holder,) = door.lockers(spec, header, GROW_LOCK)
        assert 0 < holder.expires - time.time() <= 32
        door.break_lock(spec, header, GROW_LOCK, holder)  # in place of those 30 s
    converged(simulator, reach, ceph, image, lease_owner="job-1")
    writer.stop()


class DeadlyCeph(LibrbdCeph):
    """The target dies when its image has grown."""

    kill = None

    def grow(self, spec, size, exact=False):
        done = super().grow(spec, size, exact)
        self.kill()
        return done


def test_a_target_that_dies_between_image_and_bdev(volume, simulator, reach, ceph, writer):
    image = volume()
    writer(image)
    (item,) = wanted_bdevs([{"name": "a", "state": "grown", "size": "128M"}])
    with DeadlyCeph(CephOptions(str(ceph.conf), "admin", str(ceph.keyring), 60)) as door, Target.open(simulator.socket, 60) as target:
        door.kill = simulator.kill
        manager = BdevManager(target, lambda: door)
        manager.plan([item], [])
        with pytest.raises(HopError) as caught:
            manager.apply([item])
        assert caught.value.remedy
        manager.after_failure([item])
    result = item.result()
    assert (result["image_bytes"], result["size_bytes"], result["satisfied"]) == (128 * MIB, None, False)
    down = grow(simulator, reach)
    assert down["failed"] and not down.get("changed") and down["error"]["remedy"], down
    simulator.start()
    export(simulator, reach, image)
    converged(simulator, reach, ceph, image)
    writer.stop()


# -- whole runs ------------------------------------------------------------------------------------------------------


def snapshots(ceph, image):
    return {one["name"]: one["size"] // MIB for one in json.loads(ceph.rbd("snap", "ls", "--format", "json", f"{POOL}/{image}"))}


def test_two_runs_at_once_with_different_sizes(volume, simulator, second, ceph, writer, tmp_path):
    """And with snapshots: one for each time that the image grew, which expire_snapshots leaves until their time has come."""
    image = volume(simulator, second)
    fleet = Fleet(tmp_path / "f", ceph, [simulator, second], POOL, image)
    writer(image)
    wish = {"snapshot": "true", "snapshot_keep": "12h"}
    runs = {size: fleet.start("grow_volume", size=f"{size}M", **wish, volume_growth_snapshot_run=f"job-{size}")[0] for size in (128, 160)}
    outcomes = {size: ended(run) for size, run in runs.items()}
    good = [size for size, (code, _changed, _text) in outcomes.items() if code == 0]
    assert good, outcomes
    for size, (code, _changed, text) in outcomes.items():
        # the smaller may have been passed by the larger one, or been held up by its lease; it says which
        assert code == 0 or "lease" in text or "larger" in text or "would shrink" in text, (size, text)
    assert fleet.sizes()["image"] >= max(good) * MIB
    code, _changed, text = fleet.run("grow_volume", size="160M", **wish)
    assert code == 0 and set(fleet.sizes().values()) == {160 * MIB}, text
    code, changed, text = fleet.run("grow_volume", size="160M", **wish)
    assert (code, changed) == (0, 0), text
    writer.stop()

    taken = snapshots(ceph, image)
    assert sorted(taken.values()) in ([64], [64, 128]) and all(read_name(name) for name in taken), taken
    ceph.rbd("snap", "create", "--no-progress", f"{POOL}/{image}@{snapshot_name(time.time() - 60, 'due')}")
    code, changed, text = fleet.run("expire_snapshots")
    assert (code, changed) == (0, 1) and snapshots(ceph, image) == taken, text
    code, changed, text = fleet.run("expire_snapshots", spdk_target_socket=str(tmp_path / "none.sock"))
    assert code == 2 and changed == 0 and "t1 did not tell its images" in text, text
    code, changed, text = fleet.run("expire_snapshots", "--check", pools=f"{POOL}, {POOL}")
    assert (code, changed) == (0, 0) and list(taken)[0] in text, text
    ceph.rbd("snap", "purge", "--no-progress", f"{POOL}/{image}")


def test_runs_that_are_killed_at_any_moment_are_finished_by_the_next(volume, simulator, second, ceph, writer, tmp_path, capsys):
    image = volume(simulator, second)
    fleet = Fleet(tmp_path / "f", ceph, [simulator, second], POOL, image)
    writer(image)
    begin = time.monotonic()
    code, _changed, text = fleet.run("grow_volume", size="80M")
    whole = time.monotonic() - begin
    assert code == 0, text
    moments = random.Random(SEED)
    with capsys.disabled():
        print(f"\nseed {SEED}, {MOMENTS} moments of {whole:.1f} s:", end="")
    for number in range(1, MOMENTS + 1):
        before, size = fleet.sizes(), (80 + 16 * number) * MIB
        wish = {"size": f"{size}B", "volume_growth_lease_owner": f"job-{number}"}
        moment = moments.uniform(0.35, 0.9) * whole
        run, mark = fleet.start("grow_volume", **wish)
        time.sleep(moment)
        kill_all(run, mark)
        after = fleet.sizes()
        with capsys.disabled():
            print(f" {moment:.1f}={sum(value == size for value in after.values())}/{len(after)}", end="", flush=True)
        assert all(before[hop] <= after[hop] <= size for hop in before), (moment, before, after)
        code, _changed, text = fleet.run("grow_volume", **wish)
        assert code == 0 and set(fleet.sizes().values()) == {size}, (moment, text)
        if number == MOMENTS or "NVMEOF_SPDK_ROUNDS" in os.environ:
            code, changed, text = fleet.run("grow_volume", **wish)
            assert (code, changed) == (0, 0), (moment, text)
    writer.stop()
