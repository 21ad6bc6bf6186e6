# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bench itself, in small: the playbooks over real ssh, from two targets to the disks of hosts. Judged is what came out, not how long it took."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "bench" / "bench"


def test_a_small_fleet_grows_once_and_nothing_is_left_running(tmp_path: Path) -> None:
    sizes = {
        "BENCH_HOSTS": "2",
        "BENCH_VOLUMES": "20",
        "BENCH_RUNS": "first-growth,repeated-growth,plans",
        "BENCH_PLAN_VOLUMES": "20",
        "BENCH_PLAN_HOSTS": "10",
    }
    env = {**os.environ, **sizes, "BENCH_OUT": str(tmp_path)}
    done = subprocess.run([str(BENCH)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    result = json.loads((tmp_path / "bench.json").read_text())
    first, again = result["runs"]
    assert result["wrong"] == []
    # two targets and two hosts, six calls each time: measured, changed, measured again; and the canary, on two targets and one host, four calls twice
    assert first["plays"][0]["calls"] == {"spdk_target_info": 2, "nvme_info": 2, "virt_disk_info": 2}
    assert (first["module_calls"], again["module_calls"]) == (3 * 6 + 2 * 4, 6) and again["changed"] == 0
    # both targets show all 20 images; each was grown by one of them, once
    assert first["modules"]["spdk_rbd_bdev"]["ceph"]["resize"] == 20
    assert [step["rpc_calls"] for step in result["rpc"] if step["step"] == "bdevs unchanged"] == [4, 4]
    left = [entry for entry in Path("/proc").glob("[0-9]*/environ") if str(tmp_path).encode() in _read(entry)]
    assert left == [] and str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_half_of_the_hosts_vanish_in_the_middle_of_a_growth(tmp_path: Path) -> None:
    """Really: their sshd and every connection is gone. What must be then is written in lost_hosts.py."""
    sizes = {"BENCH_HOSTS": "4", "BENCH_VOLUMES": "8", "BENCH_SUBSYSTEMS": "8", "BENCH_RUNS": "lost-hosts", "BENCH_OUT": str(tmp_path)}
    done = subprocess.run([str(BENCH)], env={**os.environ, **sizes}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    first, back, again = json.loads((tmp_path / "bench.json").read_text())["runs"]
    assert first["exit"] == 2 and (first["failed"], back["exit"], again["changed"]) == (1, 0, 0), done.stdout
    # the second look at the two hosts and at the images of the stage's bdevs, of which each target has all
    assert back["modules"]["nvme_info"]["hosts"] == 4 and back["modules"]["nvme_info"]["calls"] == 4 + 2
    report = {row["volume"]: row for row in json.loads((tmp_path / "lost-hosts.json").read_text())}
    assert len(report) == 8 and len({row["run"]["id"] for row in report.values()}) == 1
    assert all(row["seconds"]["bdev"] > 0 for row in report.values())


def test_a_fleet_that_cannot_be_is_refused(tmp_path: Path) -> None:
    env = {**os.environ, "BENCH_HOSTS": "5", "BENCH_VOLUMES": "3", "BENCH_OUT": str(tmp_path)}
    done = subprocess.run([str(BENCH)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 2 and "BENCH_VOLUMES" in done.stdout


def _read(entry: Path) -> bytes:
    try:
        return entry.read_bytes()
    except OSError:
        return b""
