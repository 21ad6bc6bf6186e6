# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bench: the growth of many volumes on many light hosts by the collection's own playbooks, measured; README.md tells how.

Fails (exit status 1) when a result is wrong: a volume that is not as wanted, a second run that changes something, more than one call of a
module per host and hop, or a number of RPC calls that grows with the objects. How long something takes is measured, never judged.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import killed_runs
import lost_hosts
import options as settings
import rpc_level
from light_fleet import POOL, Fleet
from measure import Runner
from report import lines_of

HERE = Path(__file__).resolve().parent
MIB = 2**20
START, GROWN, ONE = 1024 * MIB, 2048 * MIB, 3072 * MIB
#: Methods by which a target is read; anything else that it gets in a growth is a change, and bdevs follow their images by themselves.
READING = re.compile(r"(\w+_)?get_\w+|light_counts")


class Bench:
    """One bench: measurements, and what was wrong."""

    def __init__(self, options: settings.Options) -> None:
        self.options = options
        self.wrong: list[str] = []
        self.runs: list[dict[str, t.Any]] = []
        self.fleet = Fleet(options, START)

    def check(self, fine: bool, text: str) -> None:
        """Remember what is not as it must be."""
        if not fine:
            self.wrong.append(text)
            print(f"bench: WRONG: {text}", flush=True)

    def play(self, name: str, playbook: str, check: bool = False, **variables: t.Any) -> dict[str, t.Any]:
        """A measured run that must succeed, with at most one call of a module per host and hop."""
        print(f"bench: {name}", flush=True)
        run = self.runner.play(name, playbook, check, **variables)
        self.runs.append(run)
        self.check(run["exit"] == 0 and not run["failed"], f"{name}: exit {run['exit']}, {run['failed']} failed; see {self.options.out / name}.log")
        self.check(not run["calls_too_many"], f"{name}: {'; '.join(run['calls_too_many'][:5])}")
        self.check(run["module_calls"] > 0, f"{name}: no module was called")
        executed = sum(module["calls"] for module in run["modules"].values())
        self.check(executed == run["module_calls"], f"{name}: {run['module_calls']} module calls by Ansible, but {executed} on the hosts")
        changing = sorted({method for counts in run["rpc"].values() for method in counts if not READING.fullmatch(method)})
        self.check(not changing, f"{name}: the targets got changing calls: {', '.join(changing)}")
        return run

    def sizes(self, name: str, size: int, volumes: t.Iterable[int] | None = None) -> None:
        """Every hop of the volumes has the size, asked past the collection."""
        wrong = self.fleet.wrong_sizes(size, volumes)
        self.check(not wrong, f"{name}: {len(wrong)} sizes are wrong, such as {'; '.join(wrong[:3])}")

    def run(self) -> dict[str, t.Any]:
        """Everything, in order."""
        began = time.monotonic()
        print(f"bench: {self.options.volumes} volumes, {self.options.hosts} hosts, {self.options.targets} targets: starting them", flush=True)
        self.fleet.start()
        rpc = rpc_level.create(self.fleet)
        idle, wrong = rpc_level.idle(self.fleet)
        rpc += idle
        for text in wrong:
            self.check(False, text)
        self.runner = Runner(self.fleet)
        every = {"select": f"[?pool=='{POOL}']", "canary": self.options.canary}
        volumes = self.options.volumes
        one = max(1, volumes // 2)
        size = START
        if "plan-only" in self.options.runs:
            run = self.play("plan-only", "grow_volume", check=True, size="2G", **every)
            self.check(run["changed"] > 0, "plan-only: check mode foresaw no change")
            self.sizes("plan-only", START)
        if "first-growth" in self.options.runs:
            size = GROWN
            run = self.play("first-growth", "grow_volume", size="2G", **every)
            self.check(run["changed"] > 0, "first-growth: nothing changed")
            self.sizes("first-growth", size)
        if "repeated-growth" in self.options.runs:
            run = self.play("repeated-growth", "grow_volume", size=f"{size}B", **every)
            self.check(run["changed"] == 0, f"repeated-growth: changed={run['changed']}")
            self.sizes("repeated-growth", size)
        if "lost-hosts" in self.options.runs:
            size = lost_hosts.run(self, size)
        if "killed-runs" in self.options.runs:
            size = killed_runs.run(self, size)
        if "one-volume" in self.options.runs:
            self.play("one-volume", "grow_volume", size="3G", volume=f"{POOL}/vol-{one}")
            self.sizes("one-volume", ONE, [one])
            self.sizes("one-volume", size, [volume for volume in range(1, volumes + 1) if volume != one])
        if "audit" in self.options.runs:
            run = self.play("audit", "audit_volumes", report=str(self.options.out / "audit.json"))
            self.check(run["changed"] == 0, f"audit: changed={run['changed']}")
            self._audit(volumes)
        plans = [self._plan(handles) for handles in ("all", "select", "one")] if "plans" in self.options.runs else []
        result = {
            "machine": {"processors": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version(), "ansible": _ansible()},
            "options": {key: str(value) if isinstance(value, Path) else value for key, value in vars(self.options).items()},
            "runs": self.runs,
            "rpc": rpc,
            "plans": plans,
            "wrong": self.wrong,
            "seconds": round(time.monotonic() - began, 1),
        }
        for target in self.fleet.targets:
            target.process.terminate()
        return result

    def _audit(self, volumes: int) -> None:
        report = self.options.out / "audit.json"
        if report.exists():
            verdicts = json.loads(report.read_text(encoding="utf-8"))["summary"]["verdicts"]
            self.check(verdicts == {"ok": volumes}, f"audit: verdicts are {verdicts}, not ok for all of {volumes} volumes")

    def _plan(self, handles: str) -> dict[str, t.Any]:
        print(f"bench: a plan of {self.options.plan_volumes} volumes on {self.options.plan_hosts} hypervisors ({handles})", flush=True)
        command = [sys.executable, "-B", str(HERE / "plan_time.py"), str(self.options.plan_volumes), str(self.options.plan_hosts), handles]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        plan: dict[str, t.Any] = json.loads(done.stdout)
        wanted = 1 if handles == "one" else self.options.plan_volumes
        self.check(plan["planned"] == wanted and not plan["blocked"], f"plan ({handles}): {plan['planned']} volumes planned, blocked: {plan['blocked']}")
        return plan


def _ansible() -> str:
    done = subprocess.run(["ansible-playbook", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def main() -> int:
    """Measure, write, judge."""
    try:
        options = settings.read()
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    result = Bench(options).run()
    text = "\n".join(lines_of(result)) + "\n"
    (options.out / "bench.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (options.out / "bench.txt").write_text(text, encoding="utf-8")
    print(f"\n{text}\nbench: {options.out / 'bench.json'}: {len(result['wrong'])} results are wrong", flush=True)
    return 1 if result["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
