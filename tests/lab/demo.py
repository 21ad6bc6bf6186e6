# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""The main job, as an operator runs it, on the built-in lab: deploy, connect, grow under a writing guest, prove.

Prints what it runs. Leaves build/demo/volumes.json and the cache; the lab itself is removed, also after a failure.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
REPORT = REPOSITORY / "build" / "demo" / "volumes.json"
LAB = str(HERE / "lab")
GROWN, IMAGE, SECTORS = "256M", "pool-1/vol-1", 256 * 2**20 // 512
BEGIN = time.monotonic()


def say(text: str) -> None:
    """A heading with the time that has passed."""
    print(f"\n=== [{time.monotonic() - BEGIN:6.1f} s] {text}", flush=True)


def run(*command: str, cwd: Path = REPOSITORY) -> None:
    """Show a command and run it; its failure ends the demo."""
    print("$ " + " ".join(command), flush=True)
    subprocess.run(command, cwd=cwd, check=True)


def playbook(name: str, *extra: str) -> None:
    """A playbook of the collection, from the playbooks directory of this clone."""
    run("ansible-playbook", "-i", str(REPOSITORY / "build" / "lab" / "inventory.yml"), name, *extra, cwd=REPOSITORY / "playbooks")


def console(host: str, domain: str) -> str:
    """What the guest printed so far."""
    return subprocess.run([LAB, "guest-console", host, domain], check=True, text=True, capture_output=True).stdout


def wait_for(host: str, domain: str, pattern: str, seconds: float) -> re.Match[str]:
    """The last match of ``pattern`` in the guest's console, or an error after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        found = list(re.finditer(pattern, console(host, domain)))
        if found:
            return found[-1]
        if time.monotonic() > deadline:
            raise SystemExit(f"demo: guest {domain} on {host} did not print {pattern!r} in {seconds} s; its last lines: {console(host, domain)[-400:]}")
        time.sleep(0.5)


def main() -> None:
    """The whole story."""
    say("A lab: one-node Ceph, an SPDK target, two hypervisors, two paths")
    run(LAB, "up")
    say("1. Deploy the target")
    playbook("deploy_target.yml")
    say("2. Connect the initiators")
    playbook("connect_initiators.yml")
    say("Guests on the namespaces; g1 writes checksummed sectors from now on")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda guest: run(LAB, "define-domain", *guest), [("h1", "g1", "vol-1"), ("h2", "g2", "vol-2")]))
    wait_for("h1", "g1", r"GUEST ready", 60)
    run(LAB, "guest-send", "h1", "g1", "w")
    wait_for("h1", "g1", r"IO ok=\d+", 30)
    say(f"3. What would growing {IMAGE} to {GROWN} do?")
    playbook("grow_volume.yml", "-e", f"volume={IMAGE}", "-e", f"size={GROWN}", "--check")
    say(f"4. Grow {IMAGE} to {GROWN} under the writing guest")
    playbook("grow_volume.yml", "-e", f"volume={IMAGE}", "-e", f"size={GROWN}", "-e", f"report={REPORT}")
    say("The same again: nothing is left to do")
    playbook("grow_volume.yml", "-e", f"volume={IMAGE}", "-e", f"size={GROWN}")
    say("What the guest itself says")
    print(wait_for("h1", "g1", rf"CAPS [^\n]*vda={SECTORS} isr=0x03", 30).group(0))
    run(LAB, "guest-send", "h1", "g1", "x")
    run(LAB, "guest-send", "h1", "g1", "v")
    verified = wait_for("h1", "g1", r"VERIFY ok=(\d+) err=(\d+) bad=(\d+)", 60)
    print(verified.group(0))
    if int(verified.group(1)) == 0 or verified.group(2) != "0" or verified.group(3) != "0":
        raise SystemExit("demo: the guest found errors in its data")
    rows = json.loads(REPORT.read_text())
    print(f"\n{REPORT}: " + ", ".join(f"{row['volume']} {row['verdict']}" for row in rows))


if __name__ == "__main__":
    os.environ["ANSIBLE_FORCE_COLOR"] = os.environ.get("ANSIBLE_FORCE_COLOR", "0")
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.unlink(missing_ok=True)
    STATUS = 1
    try:
        main()
        STATUS = 0
    except subprocess.CalledProcessError as error:
        print(f"demo: {' '.join(error.cmd)} failed with status {error.returncode}", file=sys.stderr)
    finally:
        say("Remove the lab")
        subprocess.run([LAB, "down"], check=False)
        print(f"demo: {'done' if STATUS == 0 else 'FAILED'} after {time.monotonic() - BEGIN:.0f} s", flush=True)
    sys.exit(STATUS)
