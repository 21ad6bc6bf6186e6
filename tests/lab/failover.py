# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""A pair of targets under a writing guest: one is down while a volume grows, one is killed, one is stopped, both are upgraded.

failover.py INVENTORY DIRECTORY [STEP...], on a lab with t1, t2 and h1, deployed and connected, guest g1 writing on vol-1. Reports and the new program go to
DIRECTORY. Every step prints a line; the first thing that is not as it must be ends the story.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

from story import PLAYBOOKS, VOLUME, Story, expect, lab, tell, until

MIB = 192
PROGRAM = "/opt/spdk/spdk_tgt"
#: What a restarted target may have new: who is connected, and under which controller id.
FLEETING = ("controllers",)
#: What the guest's writing changes meanwhile: how full the pools of the Ceph cluster are.
MOVING = ("pools",)
# stopped at once after the kill, or systemd would start it again before anybody looks
KILL = "systemctl kill -s KILL --kill-whom=main spdk_tgt; systemctl stop spdk_tgt"


class Failover(Story):
    """The steps, and what they need to know."""

    def grow(self, *variables: str) -> tuple[int, int, str]:
        """The growth that the whole story is about."""
        return self.playbook("grow_volume.yml", f"volume={VOLUME}", f"size={MIB}M", *variables)

    def facts(self, *targets: str) -> dict[str, Any]:
        """What spdk_target_info says of the targets, without what a restart changes."""
        access = "ceph_user=spdk ceph_keyring=/etc/ceph/ceph.client.spdk.keyring"
        argv = ["ansible", "-i", self.inventory, ",".join(targets), "-m", "nvmeof.spdk.spdk_target_info", "-a", access]
        done = subprocess.run(argv, cwd=PLAYBOOKS, text=True, capture_output=True, check=False)
        expect(done.returncode == 0, f"spdk_target_info: {done.stdout} {done.stderr}")
        found = {}
        for match in re.finditer(r"^(\S+) \| SUCCESS => ", done.stdout, re.MULTILINE):
            answer = json.JSONDecoder().raw_decode(done.stdout, match.end())[0]["target"]
            for name in MOVING:
                answer.pop(name)
            for subsystem in answer["subsystems"]:
                for name in FLEETING:
                    subsystem.pop(name)
            found[match.group(1)] = answer
        expect(set(found) == set(targets), f"facts of {sorted(found)} instead of {targets}")
        return found

    def reads_back(self, before: dict[str, Any]) -> None:
        """The targets say now what ``facts`` said before; what differs is named."""
        now = self.facts(*before)
        differs = [
            f"{target}: {key} was {value!r} and is {now[target][key]!r}"
            for target, was in before.items()
            for key, value in was.items()
            if now[target][key] != value
        ]
        expect(now == before, f"not as before: {'; '.join(differs)}")

    def live_paths(self) -> dict[str, int]:
        """How many controllers of h1 are live, by target."""
        states = lab("ssh", "h1", "for c in /sys/class/nvme/nvme*; do echo $(cat $c/state) $(cat $c/address); done")
        live = [line for line in states.splitlines() if line.startswith("live ")]
        return {name: len([line for line in live if re.search(rf"traddr=192\.168\.7[78]\.{number},", line)]) for name, number in (("t1", 10), ("t2", 11))}

    def paths_back(self) -> None:
        """Both targets have both paths again."""
        until("all paths of h1 live", lambda: self.live_paths() == {"t1": 2, "t2": 2})

    # -- the steps -----------------------------------------------------------------------------------------------

    def grow_without_t2(self) -> None:
        """Blocked by default and nothing touched; degraded if the operator says so; finished when t2 is back."""
        before = self.image_bytes()
        lab("ssh", "t2", "systemctl stop spdk_tgt")
        self.io_goes_on()
        status, changed, output = self.grow()
        expect(status != 0 and "nothing was touched" in output and "target t2 cannot be read" in output, f"a growth without t2 was not blocked: {output}")
        expect(changed == 0 and self.image_bytes() == before, f"the blocked growth changed something: changed={changed}, image {self.image_bytes()}")
        self.say("t2 stopped: the growth is blocked and changes nothing")

        report = self.directory / "degraded.json"
        status, changed, output = self.grow("allow_degraded=true", f"report={report}")
        expect(status == 0 and changed > 0, f"the degraded growth failed: {output}")
        (row,) = json.loads(report.read_text())
        expect(row["verdict"] == "unproven at bdev" and any("target t2" in text for text in row["degraded"]), f"the report hides t2: {row}")
        reached = {hop: size for hop, size in row["bytes"].items() if hop in ("image", "device", "disk")}
        expect(set(reached.values()) == {MIB * 2**20}, f"not grown everywhere: {reached}")
        until("the guest's own figure", lambda: f"vda={MIB * 2048} isr=0x03" in self.console())
        self.io_goes_on()
        self.say("grown through t1 alone; the guest saw it")

        lab("ssh", "t2", "systemctl start spdk_tgt")
        self.paths_back()
        report = self.directory / "finished.json"
        status, _changed, output = self.grow(f"report={report}")
        expect(status == 0, f"the growth after t2 came back failed: {output}")
        (row,) = json.loads(report.read_text())
        expect(row["verdict"] == "unproven at guest" and not row["degraded"], f"not finished: {row}")  # the small guest has no agent
        sizes = {(reading["host"], reading["bytes"]) for reading in row["readings"]["bdev"]}
        expect(sizes == {("t1", MIB * 2**20), ("t2", MIB * 2**20)}, f"bdevs: {sizes}")
        expect([reading["bytes"] for reading in row["readings"]["path"]] == [MIB * 2**20] * 4, f"paths: {row['readings']['path']}")
        status, changed, output = self.grow()
        expect((status, changed) == (0, 0), f"one more growth: status={status} changed={changed}: {output}")
        self.say("t2 started: all hops of both targets right, one more run changed=0")

    def lose_t1(self, how: str) -> None:
        """``how`` is a command that ends the target; the guest goes on through t2, and t1 comes back the same."""
        before = self.facts("t1")
        lab("ssh", "t1", how)
        until("no path to t1", lambda: self.live_paths()["t1"] == 0)
        self.io_goes_on()
        lab("ssh", "t1", "systemctl start spdk_tgt")
        self.paths_back()
        self.reads_back(before)
        self.io_goes_on()
        self.say(f"t1 ended by {how.split(';')[0]!r}: I/O went on through t2; t1 is back and reads back the same")

    def pids(self) -> dict[str, str]:
        """The main process of each target's service."""
        return {name: lab("ssh", name, "systemctl show -p MainPID --value spdk_tgt").strip() for name in ("t1", "t2")}

    def upgrade_to_a_broken_program(self) -> None:
        """Check mode shows the order and touches nothing; a program that does not start is taken back, and t2 is not touched."""
        pids = self.pids()
        status, changed, output = self.playbook("upgrade_targets.yml", "--check")
        expect(status == 0 and changed == 0, f"check mode of the upgrade: {output}")
        expect(output.index("t1: 2 namespace(s)") < output.index("t2: 2 namespace(s)"), f"check mode does not show the order: {output}")
        expect(pids == self.pids(), "check mode restarted a target")
        self.say("upgrade in check mode: t1, then t2; nothing restarted")

        broken = self.directory / "broken"
        broken.write_text("#!/bin/sh\nexit 1\n")
        status, _changed, output = self.playbook("upgrade_targets.yml", f"binary={broken}")
        expect(status != 0 and "t1: the upgrade failed" in output, f"a broken program was not refused: {output}")
        until("t1 with its old program", lambda: lab("ssh", "t1", "systemctl is-active spdk_tgt || true").strip() == "active")
        expect(self.pids()["t2"] == pids["t2"], "t2 was touched after t1 had failed")
        self.paths_back()
        self.io_goes_on()
        self.say("a program that does not start: the old one runs again on t1, t2 was not touched")

    def upgrade(self) -> None:
        """Both targets get a new program, one after the other."""
        pids, before = self.pids(), self.facts("t1", "t2")
        new = self.directory / "spdk_tgt"
        program = lab("ssh", "t2", f"readlink -f {PROGRAM}").strip()
        text = f'#!/bin/sh\nexec {program} "$@"\n' if program != PROGRAM else lab("ssh", "t2", f"cat {PROGRAM}")
        new.write_text(text + "# the second version\n")
        status, _changed, output = self.playbook("upgrade_targets.yml", f"binary={new}")
        expect(status == 0, f"the upgrade failed: {output}")
        expect(self.live_paths() == {"t1": 2, "t2": 2}, "the upgrade ended before all paths were back")
        self.reads_back(before)
        for name, pid in self.pids().items():
            expect(pid != pids[name], f"{name} was not restarted")
        self.io_goes_on()
        self.say("both targets upgraded under guest I/O; they read back the same")


#: In their order.
STEPS = {
    "grow": Failover.grow_without_t2,
    "kill": lambda story: story.lose_t1(KILL),
    "stop": lambda story: story.lose_t1("systemctl stop spdk_tgt"),
    "broken": Failover.upgrade_to_a_broken_program,
    "upgrade": Failover.upgrade,
}

if __name__ == "__main__":
    sys.exit(tell(Failover, STEPS))
