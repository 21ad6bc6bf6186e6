# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""Kill a growth at every step that acts, between tasks and inside modules, and let the next run finish it.

usage: interrupt INVENTORY VOLUME FIRST_MIB STEP_MIB

Every attempt grows VOLUME by STEP_MIB more than the one before. A run is killed with SIGKILL, with everything it started on this side, at the
moment it begins a task, or some time into the task's module; then the same command runs again and must end well, and once more and must change nothing.
Exit status 0 when every attempt converged.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

PLAYBOOKS = Path(__file__).resolve().parent.parent.parent / "playbooks"
#: The tasks that act, and after how many seconds each attempt is killed: 0 is the boundary, the others are inside the module.
MOMENTS = [
    ("Grow the images and wait until the bdevs show it", 2.0),
    ("Make the domains' disks show the new size", 0.0),
]


def command(inventory: str, volume: str, mib: int) -> list[str]:
    """The growth as an operator types it."""
    return ["ansible-playbook", "-i", inventory, "grow_volume.yml", "-e", f"volume={volume}", "-e", f"size={mib}M"]


def killed_at(argv: list[str], task: str, delay: float) -> bool:
    """Start the run and kill it ``delay`` seconds after ``task`` has begun; false when it never came so far."""
    with subprocess.Popen(argv, cwd=PLAYBOOKS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if line.startswith("TASK [") and task in line:
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
    inventory, volume, mib, step = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    failed = 0
    for task, delay in MOMENTS:
        argv = command(inventory, volume, mib)
        begin = time.monotonic()
        reached = killed_at(argv, task, delay)
        status, changed, output = finished(argv)
        problem = "" if reached else f"the run never came to the task {task!r}"
        if status:
            problem = f"the next run failed with status {status}: {output[-3000:]}"
        where = f"{delay} s into" if delay else "before"
        print(f"killed {where} {task!r}: next run changed={changed} status={status} ({time.monotonic() - begin:.0f} s) {problem or 'ok'}", flush=True)
        failed += bool(problem)
        mib += step
    status, changed, output = finished(command(inventory, volume, mib - step))
    print(f"and once more: changed={changed} status={status}", flush=True)
    if status or changed:
        print(output[-3000:])
        failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
