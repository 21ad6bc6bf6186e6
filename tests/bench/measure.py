# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of a playbook, measured on the controller, on the hosts and on the targets."""

from __future__ import annotations

import collections
import json
import os
import subprocess
import threading
import time
import typing as t
from pathlib import Path

from light_fleet import RUN, Fleet
from options import ROOT

HERE = Path(__file__).resolve().parent
PREFIX = "nvmeof.spdk."
SAMPLE_SECONDS = 0.5


class _Memory(threading.Thread):
    """The highest sum of what the processes of a run use for themselves (PSS, KiB), looked at twice a second."""

    def __init__(self, word: str) -> None:
        super().__init__(daemon=True)
        self.word = word.encode()
        self.peak_kib = 0
        self.processes = 0
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            total, count = 0, 0
            for entry in os.listdir("/proc"):
                if not entry.isdigit():
                    continue
                try:
                    if self.word not in Path("/proc", entry, "cmdline").read_bytes():
                        continue
                    text = Path("/proc", entry, "smaps_rollup").read_text(encoding="ascii")
                except OSError:
                    continue  # it has ended
                total += next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
                count += 1
            self.peak_kib, self.processes = max(self.peak_kib, total), max(self.processes, count)

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()


class Runner:
    """Runs the collection's playbooks against the fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.inventory = RUN / "inventory.json"
        self.inventory.write_text(json.dumps(fleet.inventory()), encoding="ascii")

    def environment(self) -> dict[str, str]:
        """What ansible-playbook runs with: the settings of ``playbooks``, and nothing of the machine's."""
        return {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "playbooks" / "ansible.cfg"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(RUN / "ssh" / "masters"),
            "ANSIBLE_LOCAL_TEMP": str(RUN / "home" / "local"),
            "HOME": str(RUN / "home"),
            "TMPDIR": str(RUN / "tmp"),
            **({"ANSIBLE_FORKS": str(self.fleet.options.forks)} if self.fleet.options.forks else {}),
        }

    def play(self, name: str, playbook: str, check: bool = False, **variables: t.Any) -> dict[str, t.Any]:
        """The measurements of one run; its output goes to ``NAME.log``."""
        options = self.fleet.options
        events = RUN / "events.json"
        events.unlink(missing_ok=True)
        env = {
            **self.environment(),
            "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback"),
            "ANSIBLE_CALLBACKS_ENABLED": "bench_times",
            "BENCH_EVENTS": str(events),
        }
        command = ["ansible-playbook", "-i", str(self.inventory), f"{PREFIX}{playbook}", "-e", json.dumps(variables), *(["--check"] if check else [])]
        before = self.fleet.counts()
        usage = {target.name: target.usage() for target in self.fleet.targets}
        ran = self._modules_so_far()
        memory = _Memory("ansible-playbook")
        began = time.monotonic()
        with open(options.out / f"{name}.log", "wb") as log:
            process = subprocess.Popen(command, env=env, cwd=RUN, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            memory.start()
            _pid, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - began
        memory.stop()
        told = json.loads(events.read_text(encoding="utf-8")) if events.exists() else {"plays": [], "tasks": [], "calls": [], "stats": {}}
        after = self.fleet.counts()
        result: dict[str, t.Any] = {
            "run": name,
            "exit": process.returncode,
            "wall_seconds": round(wall, 2),
            "controller_cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
            "controller_largest_process_mib": used.ru_maxrss // 1024,
            "controller_peak_mib": memory.peak_kib // 1024,
            "changed": sum(summary["changed"] for summary in told["stats"].values()),
            "failed": sum(summary["failures"] + summary["unreachable"] for summary in told["stats"].values()),
            **_plays(told),
            "modules": self._modules(ran),
            "rpc": {name: _difference(before[name], counts) for name, counts in after.items()},
            "targets": {
                target.name: {"cpu_seconds": round(target.usage()[0] - usage[target.name][0], 2), "peak_mib": target.usage()[1] // 1024}
                for target in self.fleet.targets
            },
        }
        result["rpc_calls"] = {name: sum(counts.values()) for name, counts in result["rpc"].items()}
        return result

    def _modules_so_far(self) -> int:
        return self.fleet.log.stat().st_size if self.fleet.log.exists() else 0

    def _modules(self, since: int) -> dict[str, dict[str, t.Any]]:
        """What the modules cost on the hosts, by module: how often, on how many hosts, seconds, memory, operations of Ceph."""
        if not self.fleet.log.exists():
            return {}
        with open(self.fleet.log, encoding="utf-8") as log:
            log.seek(since)
            lines = [json.loads(line) for line in log]
        found: dict[str, dict[str, t.Any]] = {}
        for line in lines:
            entry = found.setdefault(line["module"], {"calls": 0, "hosts": set(), "cpu_seconds": 0.0, "longest_seconds": 0.0, "peak_mib": 0, "ceph": {}})
            entry["calls"] += 1
            entry["hosts"].add(line["host"])
            entry["cpu_seconds"] = round(entry["cpu_seconds"] + line["cpu"], 3)
            entry["longest_seconds"] = max(entry["longest_seconds"], line["seconds"])
            entry["peak_mib"] = max(entry["peak_mib"], line["peak_kib"] // 1024)
            entry["ceph"] = dict(collections.Counter(entry["ceph"]) + collections.Counter(line["ceph"]))
        return {name: {**entry, "hosts": len(entry["hosts"])} for name, entry in sorted(found.items())}


def _difference(before: t.Mapping[str, int], after: t.Mapping[str, int]) -> dict[str, int]:
    return {method: count - before.get(method, 0) for method, count in sorted(after.items()) if count > before.get(method, 0)}


def _plays(told: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Seconds by play and by task, and calls of the collection's modules: all, and the most on one host in one play."""
    calls = [call for call in told["calls"] if call["action"].startswith(PREFIX) and call["status"] != "skipped"]
    by_place = collections.Counter((call["play"], call["host"], call["action"][len(PREFIX) :]) for call in calls)
    plays = []
    for number, play in enumerate(told["plays"]):
        tasks = [task for task in told["tasks"] if task["play"] == number]
        plays.append(
            {
                "play": play["play"],
                "seconds": round(play["ended"] - play["began"], 2),
                "tasks": {task["task"].partition(" : ")[2] or task["task"]: round(task["ended"] - task["began"], 2) for task in tasks},
                "calls": dict(collections.Counter(call["action"][len(PREFIX) :] for call in calls if call["play"] == number)),
            }
        )
    return {
        "plays": plays,
        "module_calls": len(calls),
        "most_calls_per_host_and_hop": max(by_place.values(), default=0),
        "calls_too_many": [f"{host}: {module} {count} times in one play" for (_play, host, module), count in by_place.items() if count > 1],
    }
