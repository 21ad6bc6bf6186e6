# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Growths that are killed with SIGKILL, one at every task: at its begin or, by chance, a moment into it; each is finished by the next run.

Modules that run on hosts when their controller dies go on or not, as they do over ssh. The kills are those of ``tests/lab/interrupt.py``.
"""

from __future__ import annotations

import os
import random
import sys
import typing as t

from light_fleet import POOL
from options import ROOT

sys.path.insert(0, str(ROOT / "tests" / "lab"))

import interrupt

MIB = 2**20
#: What each growth grows by, MiB.
STEP = 4
#: How far into a task a kill comes at most, seconds: a task takes about half a second here.
INSIDE = 0.8
#: Tasks of Ansible's own that come before a role's, and do nothing but look at the role's variables.
NOTHING_DONE = "Validating arguments against arg spec"


def run(bench: t.Any, before: int) -> int:
    """A kill for each task of an undisturbed growth; the size in the end. Nothing may be smaller than before at any time."""
    os.environ.update(bench.runner.environment())
    chance = random.Random(int(os.environ.get("NVMEOF_SPDK_SEED") or 20261125))
    volumes = ",".join(f"{POOL}/vol-{number}" for number in range(1, bench.options.volumes + 1))
    mib = before // MIB + STEP

    def grow() -> list[str]:
        return interrupt.command(str(bench.runner.inventory), volumes, mib)

    status, _changed, output = interrupt.finished(grow())
    tasks = [name for _count, name in interrupt.tasks(output)]
    bench.check(status == 0 and len(tasks) > 10, f"killed-runs: the undisturbed growth ended with {status} after {len(tasks)} tasks: {output[-2000:]}")
    moments = [(number, chance.choice((0.0, chance.uniform(0.05, INSIDE)))) for number, name in enumerate(tasks, 1) if NOTHING_DONE not in name]
    killed = 0
    for number, delay in moments:
        mib += STEP
        # any task that comes as the number-th: hosts that answer independently change the order a little
        reached = interrupt.killed_at(grow(), number, "", delay)
        killed += reached
        lost = [text for text in bench.fleet.wrong_sizes(mib * MIB) if int(text.split(" has ")[1].split()[0]) < (mib - STEP) * MIB]
        bench.check(not lost, f"killed-runs: smaller than before the run: {lost[:3]}")
        status, changed, output = interrupt.finished(grow())
        where = f"{delay:.2f} s into" if delay else "at"
        print(f"bench: killed {where} task {number} of {len(tasks)} ({tasks[number - 1]}): next run {status}, changed={changed}", flush=True)
        bench.check(status == 0, f"killed-runs: after a kill {where} task {number} ({tasks[number - 1]}) the next run failed: {output[-2000:]}")
        bench.sizes(f"killed-runs: killed {where} task {number}", mib * MIB)
    bench.check(2 * killed > len(moments), f"killed-runs: only {killed} of {len(moments)} runs were alive when they were to be killed")
    status, changed, output = interrupt.finished(grow())
    bench.check((status, changed) == (0, 0), f"killed-runs: one more run ended with {status}, changed={changed}: {output[-2000:]}")
    print(f"bench: {killed} of {len(moments)} growths were killed, all were finished by the next run; one more: changed={changed}", flush=True)
    return mib * MIB
