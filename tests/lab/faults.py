# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""Faults in the middle of a growth: a path goes dark, a hypervisor is reset, libvirtd is restarted; a guest writes all the while.

faults.py INVENTORY DIRECTORY [STEP...], on a lab with t1, h1 and h2, deployed and connected, guest g1 on h1 writing on vol-1, g2 on h2 with vol-2.
Every step grows both volumes by some more; when the fault is over the same growth runs again and must finish, and once more and must change nothing.
Reports go to DIRECTORY. Every step prints a line; the first thing that is not as it must be ends the story.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Sequence

from story import PLAYBOOKS, Story, Wrong, expect, lab, tell, until

VOLUMES = ("pool-1/vol-1", "pool-1/vol-2")
STEP = 32 * 2**20
#: Tasks of the role at which faults come: nothing has grown yet, devices follow, disks follow.
PLANNED = "Show the plan"
DEVICES = "Make the devices show the new size"
DISKS = "Make the domains' disks show the new size"
#: What a finished volume reads here: the small guest has no agent.
FINISHED = ("ok", "unproven at guest")


class Fault(threading.Thread):
    """Something that happens beside a run; what went wrong with it is told by :meth:`over`."""

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        super().__init__(daemon=True)
        self.commands = commands
        self.problem = ""

    def run(self) -> None:
        """The lab's commands, one after the other."""
        try:
            for command in self.commands:
                lab(*command)
        except Wrong as error:
            self.problem = str(error)

    def over(self) -> None:
        """Wait until it has happened."""
        self.join()
        expect(not self.problem, self.problem)


class Faults(Story):
    """The steps, and what they need to know."""

    def argv(self, size: int, report: Path) -> list[str]:
        """The growth of both volumes as an operator types it."""
        wish = {"volume": ",".join(VOLUMES), "size": f"{size}B", "canary": "0", "report": str(report), "volume_growth_lease_owner": f"faults-{size}"}
        return ["ansible-playbook", "-i", self.inventory, "grow_volume.yml", *(word for pair in wish.items() for word in ("-e", "=".join(pair)))]

    def grow_under(self, task: str, fault: Fault, size: int, report: Path) -> tuple[int, str]:
        """A run in which the fault comes when ``task`` begins: status and output."""
        output, began = [], False
        with subprocess.Popen(self.argv(size, report), cwd=PLAYBOOKS, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
            assert run.stdout is not None
            for line in run.stdout:
                output.append(line)
                if not began and line.startswith("TASK [") and task in line:
                    began = True
                    fault.start()
        expect(began, f"the run never came to the task {task!r}: {''.join(output)[-3000:]}")
        return run.returncode, "".join(output)

    def rows(self, report: Path) -> dict[str, Any]:
        """The report of a run by volume; it is there whatever happened."""
        expect(report.exists(), f"there is no report {report}")
        return {row["volume"]: row for row in json.loads(report.read_text())}

    def both_paths(self, name: str) -> None:
        """A hypervisor has both paths to t1 again."""
        script = "for c in /sys/class/nvme/nvme*; do [ $(cat $c/transport) = tcp ] && cat $c/state; done; true"
        until(f"both paths of {name} live", lambda: lab("ssh", name, script).split() == ["live", "live"], 240)

    def converge(self, size: int, name: str) -> None:
        """The next run finishes, and one more changes nothing."""
        for attempt in ("again", "once more"):
            report = self.directory / "last.json"
            status, changed, output = self.playbook(*[word for word in self.argv(size, report)[3:] if word != "-e"])
            expect(status == 0, f"{name}, {attempt}: status {status}: {output[-3000:]}")
            for row in self.rows(report).values():
                expect(row["verdict"] in FINISHED, f"{name}, {attempt}: {row['volume']} is {row['verdict']}: {row['reasons']}")
                short = {hop: found for hop, found in row["bytes"].items() if hop != "guest" and found not in (None, size)}
                expect(not short and row["bytes"]["device"] == size, f"{name}, {attempt}: {row['volume']} has {row['bytes']}")
        expect(changed == 0, f"{name}: one more run changed {changed}: {output[-3000:]}")
        until("the guest's own figure", lambda: f"vda={size // 512} isr=0x03" in self.console())

    def step(
        self, name: str, task: str, commands: Sequence[Sequence[str]], after: Callable[[], None], judge: Callable[[int, dict[str, Any], str], None]
    ) -> None:
        """One fault: a run under it is judged, the fault is undone, and then the growth converges."""
        before = {volume: self.image_bytes(volume) for volume in VOLUMES}
        size, report = max(before.values()) + STEP, self.directory / f"{name}.json"
        report.unlink(missing_ok=True)
        fault = Fault(commands)
        try:
            status, output = self.grow_under(task, fault, size, report)
            fault.over()
            rows = self.rows(report)
            for volume in VOLUMES:
                expect(self.image_bytes(volume) >= before[volume], f"{name}: {volume} shrank")
            judge(status, rows, output)
            told = ", ".join(f"{row['volume']} {row['verdict'][:60]}" for row in rows.values())
            self.say(f"{name}: status={status}, {told}")
        finally:
            if fault.ident is not None:
                fault.join()
            after()
        self.io_goes_on()
        self.converge(size, name)
        self.io_goes_on()
        self.say(f"{name} is over: the next run finished, one more changed=0")

    # -- the steps -----------------------------------------------------------------------------------------------

    def dark_path(self) -> None:
        """h2's first path goes dark before anything grows: named, and both volumes have a device on h2; the disk on h1 follows all the same."""

        def judge(status: int, rows: dict[str, Any], output: str) -> None:
            row = rows[VOLUMES[1]]
            words = " ".join([row["verdict"], *row["reasons"], *(entry["error"] for entry in row["errors"])])
            expect(status != 0, f"a dark path was no failure: {output[-3000:]}")
            expect(row["verdict"].startswith(("blocked", "unproven", "lagging")) and row["verdict"] not in FINISHED, f"the verdict is {row['verdict']}")
            expect("h2" in words and "192.168.77.10" in words, f"the report does not name the path: {words}")
            first = rows[VOLUMES[0]]
            disks = {reading["host"]: reading["bytes"] for reading in first["readings"]["disk"]}
            expect(disks.get("h1") == first["goal_bytes"], f"h1 did not finish: {disks}")

        def restore() -> None:
            lab("restore-path", "h2", "t1", "1")
            self.both_paths("h2")

        self.step("dark_path", PLANNED, [["cut-path", "h2", "t1", "1"]], restore, judge)

    def reset_hypervisor(self) -> None:
        """h2 is reset when its devices are to follow: it is named, or it was back in time; h1 finishes."""

        def judge(status: int, rows: dict[str, Any], output: str) -> None:
            hosts = {entry["host"] for row in rows.values() for entry in row["errors"]}
            expect(hosts <= {"h2"}, f"the report blames {hosts}")
            expect(status != 0 or all(row["verdict"] in FINISHED for row in rows.values()), f"status 0 with {[row['verdict'] for row in rows.values()]}")
            expect(status == 0 or "h2" in output.rpartition("Fail unless every volume is as wanted")[2], f"the failure does not name h2: {output[-3000:]}")
            disks = {reading["host"]: reading["bytes"] for reading in rows[VOLUMES[0]]["readings"]["disk"] if not reading.get("silent")}
            expect(disks.get("h1") == rows[VOLUMES[0]]["goal_bytes"], f"h1 did not finish: {disks}")

        def restart() -> None:
            self.both_paths("h2")
            lab("define-domain", "h2", "g2", "vol-2")

        self.step("reset_hypervisor", DEVICES, [["reboot", "h2", "--hard"]], restart, judge)

    def restart_libvirtd(self) -> None:
        """libvirtd of h1 is restarted when disks are to follow: the domain lives, and only the disk may be left behind."""

        def judge(status: int, rows: dict[str, Any], _output: str) -> None:
            row = rows[VOLUMES[0]]
            entries = [(entry["host"], entry["hop"]) for entry in row["errors"]]
            expect(all(entry == ("h1", "disk") for entry in entries), f"the report blames {entries}")
            expect((status == 0) == all(one["verdict"] in FINISHED for one in rows.values()), f"status {status} with {row['verdict']}")
            expect(row["bytes"]["device"] == row["goal_bytes"], f"the device did not follow: {row['bytes']}")

        def back() -> None:
            until("libvirtd of h1", lambda: lab("ssh", "h1", "virsh -q domstate g1 2>/dev/null || true").strip() == "running")

        self.step("restart_libvirtd", DISKS, [["ssh", "h1", "systemctl restart libvirtd"]], back, judge)


#: In their order.
STEPS = {"path": Faults.dark_path, "reset": Faults.reset_hypervisor, "libvirtd": Faults.restart_libvirtd}

if __name__ == "__main__":
    sys.exit(tell(Faults, STEPS))
