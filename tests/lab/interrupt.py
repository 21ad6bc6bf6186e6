# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""Kill a growth at every step that acts, between tasks and inside modules, and let the next run finish it.

Every attempt grows the volume by a step more than the one before. A run is killed with SIGKILL, with everything it started on this side, at the
moment it begins a task, or some time into the task's module; then the same command runs again and must end well, and once more and must change nothing.
Exit status 0 when every attempt converged. With --every-task an undisturbed growth lists its tasks first, and then each of them is a moment.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

PLAYBOOKS = Path(__file__).resolve().parent.parent.parent / "playbooks"
#: The number of a task's occurrence in the run, its name, and after how many seconds the attempt is killed: 0 is the boundary, others are inside the module.
MOMENTS = [
    (1, "Grow the images and wait until the bdevs show it", 1.0),
    (1, "Make the devices show the new size", 0.0),
    (1, "Make the domains' disks show the new size", 0.0),
    (1, "Make the domains' disks show the new size", 1.0),
]


def command(inventory: str, volume: str, mib: int) -> list[str]:
    """The growth as an operator types it."""
    return ["ansible-playbook", "-i", inventory, "grow_volume.yml", "-e", f"volume={volume}", "-e", f"size={mib}M"]


def tasks(output: str) -> list[tuple[int, str]]:
    """The tasks of a run in their order; a name that comes again is counted."""
    names = re.findall(r"^(?:TASK|RUNNING HANDLER) \[(.+)\] \**$", output, re.MULTILINE)
    return [(names[: number + 1].count(name), name) for number, name in enumerate(names)]


def killed_at(argv: list[str], occurrence: int, task: str, delay: float) -> bool:
    """Start the run and kill it ``delay`` seconds after ``task`` has begun; false when it never came so far."""
    with subprocess.Popen(argv, cwd=PLAYBOOKS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True) as run:
        assert run.stdout is not None
        seen = 0
        for line in run.stdout:
            seen += line.startswith("TASK [") and task in line
            if seen == occurrence:
                time.sleep(delay)
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()
                return True
        run.wait()
    return False


def finished(argv: list[str]) -> tuple[int, int, str]:
    """Run to the end: exit status, sum of ``changed`` in the recap, output."""
    run = subprocess.run(argv, cwd=PLAYBOOKS, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return run.returncode, sum(int(count) for count in re.findall(r"\bchanged=(\d+)", run.stdout)), run.stdout


def main() -> int:
    """All moments, one growth each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inventory")
    parser.add_argument("volume")
    parser.add_argument("first_mib", type=int)
    parser.add_argument("step_mib", type=int)
    parser.add_argument("--every-task", action="store_true")
    given = parser.parse_args()
    mib, moments, failed = given.first_mib, MOMENTS, 0
    if given.every_task:
        status, _changed, output = finished(command(given.inventory, given.volume, mib))
        moments = [(occurrence, task, 0.0) for occurrence, task in tasks(output)]
        mib += given.step_mib
        if status or not moments:
            print(output)
            return 1
    for occurrence, task, delay in moments:
        argv = command(given.inventory, given.volume, mib)
        begin = time.monotonic()
        reached = killed_at(argv, occurrence, task, delay)
        status, changed, output = finished(argv)
        problem = "" if reached else f"the run never came to the task {task!r}"
        if status:
            problem = f"the next run failed with status {status}: {output[-3000:]}"
        where = f"{delay} s into" if delay else "before"
        print(
            f"killed {where} {task!r} ({occurrence}): next run changed={changed} status={status} ({time.monotonic() - begin:.0f} s) {problem or 'ok'}",
            flush=True,
        )
        failed += bool(problem)
        mib += given.step_mib
    status, changed, output = finished(command(given.inventory, given.volume, mib - given.step_mib))
    print(f"and once more: changed={changed} status={status}", flush=True)
    if status or changed:
        print(output[-3000:])
        failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
