# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Half of the hosts vanish in the middle of a growth: when the targets show the new size, and before any host does."""

from __future__ import annotations

import json
import threading
import time
import typing as t

from light_fleet import POOL, Fleet

MIB = 2**20
#: What each volume grows by.
STEP = 256 * MIB


class Cut(threading.Thread):
    """Cuts hosts off as soon as every bdev of every target has ``size``."""

    def __init__(self, fleet: Fleet, names: t.Sequence[str], size: int) -> None:
        super().__init__(daemon=True)
        self.fleet, self.names, self.size = fleet, names, size
        self.done = False

    def _arrived(self) -> bool:
        shown = [bdev["num_blocks"] * bdev["block_size"] for target in self.fleet.targets for bdev in target.call("bdev_get_bdevs")]
        return all(size >= self.size for size in shown)

    def run(self) -> None:
        until = time.monotonic() + 600
        while not self._arrived():
            if time.monotonic() > until:
                return
            time.sleep(0.02)
        self.fleet.cut(self.names)
        self.done = True


def run(bench: t.Any, before: int) -> int:
    """Three growths of everything to one size: with half of the hosts lost, with all of them, and once more. Returns the size."""
    fleet, options, size = bench.fleet, bench.options, before + STEP
    lost = fleet.hosts[::2]
    volumes_of = {name: [n for n in range(1, options.volumes + 1) if fleet.host_of(fleet.subsystem_of(n)) == name] for name in fleet.hosts}
    gone = sorted(volume for name in lost for volume in volumes_of[name])
    stayed = [volume for volume in range(1, options.volumes + 1) if volume not in gone]
    wish = {"size": f"{size}B", "select": f"[?pool=='{POOL}']", "canary": "0"}

    print(f"bench: lost-hosts: {len(lost)} of {options.hosts} hosts", flush=True)
    cut = Cut(fleet, lost, size)
    cut.start()
    first = bench.runner.play("lost-hosts", "grow_volume", **wish, report=str(options.out / "lost-hosts.json"))
    bench.runs.append(first)
    cut.join()
    bench.check(cut.done, "lost-hosts: the targets never showed the new size, so no host was cut off")
    bench.check(first["exit"] != 0, "lost-hosts: the run did not fail")
    rows = {row["volume"]: row for row in json.loads((options.out / "lost-hosts.json").read_text(encoding="utf-8"))}
    for name in lost:
        for number in volumes_of[name]:
            row = rows[f"{POOL}/vol-{number}"]
            told = [(entry["host"], entry["hop"], entry["state"]) for entry in row["errors"]]
            bench.check(row["verdict"] == "unproven at device", f"lost-hosts: vol-{number} of the lost {name} is {row['verdict']!r}")
            bench.check(told == [(name, "device", "lost")], f"lost-hosts: vol-{number} of the lost {name} names {told}")
    wrong = {number: rows[f"{POOL}/vol-{number}"]["verdict"] for number in stayed if rows[f"{POOL}/vol-{number}"]["verdict"] != "ok"}
    bench.check(not wrong, f"lost-hosts: volumes of living hosts are {wrong}")
    bench.sizes("lost-hosts", size, stayed)
    told_size = fleet.wrong_sizes(before, gone)
    bench.check(not [text for text in told_size if "disk has" in text], "lost-hosts: a disk of a lost host was touched")

    fleet.restore(lost)
    second = bench.play("lost-hosts-back", "grow_volume", **wish)
    called = second["modules"].get("nvme_rescan", {}).get("hosts", 0)
    bench.check(called == len(lost), f"lost-hosts-back: {called} hosts were asked to follow, {len(lost)} had something left to do")
    bench.sizes("lost-hosts-back", size)
    third = bench.play("lost-hosts-again", "grow_volume", **wish)
    bench.check(third["changed"] == 0, f"lost-hosts-again: changed={third['changed']}")
    return size
