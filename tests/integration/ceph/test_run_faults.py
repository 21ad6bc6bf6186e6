# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs in which a target dies or stands still: no host sees a size that a target does not have, nothing shrinks, and the next run ends well."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import pytest
from fleet import MIB, POOL, Fleet, ended, export

OLD, NEW = 64 * MIB, 128 * MIB
#: The host of this fleet has no guest agent.
FINE = "unproven at guest"


class Watch(threading.Thread):
    """Looks at the hops again and again, and remembers what must never be: a hop that shrinks, a host that is ahead of a target."""

    def __init__(self, fleet):
        super().__init__(daemon=True)
        self.fleet, self.wrong, self._over, self._largest = fleet, [], threading.Event(), {}

    def run(self):
        while not self._over.wait(0.1):
            device = json.loads(self.fleet.file.read_text())["device"]
            sizes = {"device": device, "image": self.fleet.ceph.image_bytes(POOL, self.fleet.image)}
            for name, size in sizes.items():
                if size < self._largest.get(name, 0):
                    self.wrong.append(f"{name} shrank from {self._largest[name]} to {size}")
                self._largest[name] = max(size, self._largest.get(name, 0))
            if device > sizes["image"]:
                self.wrong.append(f"the device has {device} bytes, the image {sizes['image']}")

    def over(self):
        self._over.set()
        self.join()
        return self.wrong


@pytest.fixture
def fleet(volume, simulator, second, ceph, writer, tmp_path):
    """Two targets that export one image under a writer, and its host; the second target is slow to follow its image."""
    image = volume(simulator, second)
    found = Fleet(tmp_path / "f", ceph, [simulator, second], POOL, image)
    found.report = tmp_path / "report.json"
    writer(image)
    second.trouble(watch=False, delay={"bdev_rbd_resize": 4.0})
    watch = Watch(found)
    watch.start()
    yield found
    assert watch.over() == []
    writer.stop()


def start(fleet, **more):
    wish = {"size": "128M", "report": str(fleet.report), "volume_growth_lease_owner": "job-1", "volume_growth_wait_timeout": "30", **more}
    return fleet.start("grow_volume", **wish)[0]


def until(condition, what, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def image_has_grown(fleet):
    return fleet.ceph.image_bytes(POOL, fleet.image) == NEW


def device(fleet):
    return json.loads(fleet.file.read_text())["device"]


def row_of(fleet):
    (row,) = json.loads(fleet.report.read_text())
    return row


def converges(fleet, **more):
    """The repetition has all hops at the size, and one more run changes nothing."""
    code, changed, text = ended(start(fleet, **more))
    assert code == 0 and set(fleet.sizes().values()) == {NEW} and row_of(fleet)["verdict"] == FINE, text
    code, again, text = ended(start(fleet, **more))
    assert (code, again) == (0, 0) and set(fleet.sizes().values()) == {NEW}, text
    return changed


def test_a_target_that_is_killed_while_it_follows_keeps_the_volume_from_the_host(fleet, second, reach):
    run = start(fleet)
    until(lambda: image_has_grown(fleet), "the image never grew")
    second.kill()
    code, _changed, text = ended(run)
    row = row_of(fleet)
    assert code == 2 and row["verdict"].startswith("blocked: bdev a on target t2 does not show the new size: "), text
    assert [(entry["host"], entry["hop"], entry["state"]) for entry in row["errors"]] == [("t2", "bdev", "failed")]
    assert "t2: failed at bdev (rest): " in text and device(fleet) == OLD, text
    assert row["changed_hops"] == ["image"] and row["before_bytes"]["image"] == OLD and row["bytes"]["image"] == NEW
    second.start()
    export(second, reach, fleet.image)
    assert converges(fleet) == 2, "the device and the disk were left, and nothing else"


def test_a_target_that_is_killed_between_its_hop_and_the_host(fleet, simulator, second, reach):
    second.trouble(delay={})
    run = start(fleet)
    until(lambda: image_has_grown(fleet) and simulator.bdev_bytes("a") == second.bdev_bytes("a") == NEW, "the targets never showed the new size")
    second.kill()
    code, _changed, text = ended(run)
    row = row_of(fleet)
    assert code == 2 and row["verdict"] != FINE and row["errors"] and device(fleet) == OLD, text
    assert row["verdict"].startswith(("unproven at ", "blocked: ", "lagging at ")), row["verdict"]
    second.start()
    export(second, reach, fleet.image)
    assert converges(fleet) == 2


def test_a_target_that_is_frozen_for_longer_than_a_run_waits_is_named(fleet, second):
    run = start(fleet, spdk_target_rpc_timeout="3", volume_growth_wait_timeout="6")
    until(lambda: image_has_grown(fleet), "the image never grew")
    os.kill(second.process.pid, signal.SIGSTOP)
    try:
        code, _changed, text = ended(run)
        row = row_of(fleet)
        assert code == 2 and row["verdict"].startswith("blocked: bdev a on target t2 "), text
        assert "no answer within 3 s" in text and device(fleet) == OLD, text
    finally:
        os.kill(second.process.pid, signal.SIGCONT)
    second.trouble(delay={})
    converges(fleet)


def test_a_target_that_is_frozen_and_thawed_in_the_middle_of_a_run_only_delays_it(fleet, second):
    run = start(fleet)
    until(lambda: image_has_grown(fleet), "the image never grew")
    os.kill(second.process.pid, signal.SIGSTOP)
    time.sleep(5)
    assert device(fleet) == OLD, "no host before the frozen target"
    os.kill(second.process.pid, signal.SIGCONT)
    code, _changed, text = ended(run)
    row = row_of(fleet)
    assert code == 0 and row["verdict"] == FINE and row["seconds"]["bdev"] >= 5, text
    second.trouble(delay={})
    assert converges(fleet) == 0


def test_two_runs_at_once_with_different_sizes_each_report_what_they_left(fleet, second, tmp_path):
    """The larger size wins; each run's evidence has its own id, and what it says of the image was true."""
    second.trouble(delay={})
    files = {size: tmp_path / f"run-{size}.json" for size in (96, 128)}
    runs = {size: start(fleet, size=f"{size}M", report=str(file), volume_growth_lease_owner=f"job-{size}") for size, file in files.items()}
    codes = {size: ended(run) for size, run in runs.items()}
    assert [size for size, (code, _changed, _text) in codes.items() if code == 0], codes
    rows = {size: json.loads(file.read_text())[0] for size, file in files.items() if file.exists()}
    assert len({row["run"]["id"] for row in rows.values()}) == len(rows) > 0
    for size, (code, _changed, text) in codes.items():
        if code == 0:
            assert rows[size]["verdict"] == FINE and rows[size]["bytes"]["image"] >= size * MIB, text
    converges(fleet)
