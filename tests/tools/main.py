# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test driver. ``tests/run`` runs every level, ``tests/run lint units`` some of them.

A level that fails does not stop the later ones (``--fail-fast`` does). Each level's output goes to the terminal and to
build/logs. Levels that check the code run beside those that run machines, because each leaves one of two cores idle;
they are printed afterwards. The last line is always ``N passed, N failed``; the exit status is 1 when anything failed and
2 when the machine could not be made ready. No process that a level started outlives it.

``tests/run --prepare TAG -- COMMAND ...`` gets the machine ready for TAG (a level) and becomes COMMAND, in
the environment the tests have.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import execution
import machine
from levels import LEVELS, Level
from tally import Tally

USUAL = [level.name for level in LEVELS if level.usual]
BESIDE_LOG = machine.LOGS / "beside.log"
BESIDE_RESULTS = machine.BUILD / "beside.json"


def _run_level(level: Level) -> tuple[Tally, float]:
    """Run one level and clear up behind it."""
    print(f"\n===== {level.name} =====", flush=True)
    began = time.monotonic()
    try:
        tally = level.run(level.limit)
    except machine.NotReady as error:
        tally = Tally(failed=1, notes=[str(error)])
    except execution.Interrupted:
        raise
    except Exception:  # a fault of the driver itself must not hide the results of the other levels
        tally = Tally(failed=1, notes=[traceback.format_exc()])
    finally:
        left = execution.end_left_behind()
    tally.notes += [f"was left running and has been ended: {line[:150]}" for line in left]
    seconds = time.monotonic() - began
    for note in tally.notes:
        print(f"  note: {note}")
    print(f"----- {level.name}: {_word(tally)}, {tally.passed} passed, {tally.failed} failed, {seconds:.0f} s -----", flush=True)
    return tally, seconds


def _word(tally: Tally) -> str:
    """A level's result in a word."""
    if tally.failed:
        return "FAILED"
    return "ok" if tally.passed else "not run"


def _summarize(results: dict[str, tuple[Tally, float]], unreached: list[str]) -> int:
    """Print the table and the last line; return the exit status."""
    print(f"\n{'level':<14} {'result':<8} {'passed':>7} {'failed':>7} {'seconds':>8}")
    for name, (tally, seconds) in results.items():
        print(f"{name:<14} {_word(tally):<8} {tally.passed:>7} {tally.failed:>7} {seconds:>8.0f}")
    for name in unreached:
        print(f"{name:<14} not run")
    passed = sum(tally.passed for tally, _seconds in results.values())
    failed = sum(tally.failed for tally, _seconds in results.values())
    print(f"\n{passed} passed, {failed} failed", flush=True)
    return 1 if failed or unreached else 0


def main() -> int:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(prog="tests/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("levels", nargs="*", metavar="LEVEL", help=f"{', '.join(level.name for level in LEVELS)}; default: {' '.join(USUAL)}")
    parser.add_argument("--fail-fast", action="store_true", help="stop after the first level that fails")
    parser.add_argument("--one-by-one", action="store_true", help="no two levels at the same time")
    parser.add_argument("--results", type=Path, help=argparse.SUPPRESS)  # the driver beside this one: tallies go to that file
    parser.add_argument("--prepare", metavar="TAG", help="get ready for TAG and become the command after --")
    arguments = parser.parse_args()
    if arguments.prepare:
        return _become(arguments.prepare, arguments.levels)
    known = {level.name: level for level in LEVELS}
    unknown = [name for name in arguments.levels if name not in known]
    if unknown:
        parser.error(f"no such level: {', '.join(unknown)} (there are: {', '.join(known)})")
    chosen = list(dict.fromkeys(arguments.levels or USUAL))
    try:
        machine.prepare(chosen)
    except machine.NotReady as error:
        print(f"tests/run: {error}", file=sys.stderr)
        return 2
    levels = [known[name] for name in chosen]
    beside = [level for level in levels if level.beside]
    if arguments.results or arguments.fail_fast or arguments.one_by_one or len(beside) in (0, len(levels)):
        beside = []
    results = _run_levels([level for level in levels if level not in beside], beside, arguments.fail_fast)
    if arguments.results:
        arguments.results.write_text(json.dumps({name: [tally.passed, tally.failed, seconds] for name, (tally, seconds) in results.items()}))
        return 0
    return _summarize({name: results[name] for name in chosen if name in results}, [name for name in chosen if name not in results])


def _run_levels(chosen: list[Level], beside: list[Level], fail_fast: bool) -> dict[str, tuple[Tally, float]]:
    """Run ``chosen`` one after the other and ``beside`` at the same time in a driver of their own."""
    results: dict[str, tuple[Tally, float]] = {}
    execution.adopt_orphans()
    other = _start_beside([level.name for level in beside]) if beside else None
    try:
        for level in chosen:
            results[level.name] = _run_level(level)
            if fail_fast and results[level.name][0].failed:
                break
        if other:
            other.wait()
    except execution.Interrupted as signal:
        print(f"\ntests/run: stopped by {signal}", file=sys.stderr)
        if other:
            other.terminate()
            other.wait()
        execution.end_left_behind()
    if other:
        print(BESIDE_LOG.read_text(errors="replace"), flush=True)
        execution.spared.discard(other.pid)
        if BESIDE_RESULTS.is_file():
            for name, (passed, failed, seconds) in json.loads(BESIDE_RESULTS.read_text()).items():
                results[name] = (Tally(passed, failed), seconds)
    return results


def _start_beside(names: list[str]) -> subprocess.Popen[bytes]:
    """This driver once more, for other levels."""
    BESIDE_RESULTS.unlink(missing_ok=True)
    print(f"beside: {' '.join(names)} (log: {BESIDE_LOG.relative_to(machine.ROOT)})", flush=True)
    command = [sys.executable, "-B", __file__, "--results", str(BESIDE_RESULTS), *names]
    with BESIDE_LOG.open("wb") as log:
        other = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    execution.spared.add(other.pid)
    return other


def _become(tag: str, command: list[str]) -> int:
    """Prepare and become another program; only returns when that is not possible."""
    if not command:
        print("tests/run: --prepare needs a command after --", file=sys.stderr)
        return 2
    env = machine.environment()
    try:
        machine.prepare([tag])
        os.chdir(machine.ROOT)
        os.execvpe(command[0], command, env)
    except machine.NotReady as error:
        print(f"tests/run: {error}", file=sys.stderr)
    except OSError as error:
        print(f"tests/run: {command[0]} cannot be started: {error.strerror}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
