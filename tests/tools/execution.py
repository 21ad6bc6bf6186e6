# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one command at a time: output to a log and to the terminal, a limit on its time, and nothing left behind.

The driver makes itself the "child subreaper" (prctl(2), Linux 3.4), so whatever a test starts and forgets, even a
daemon that forked twice, becomes a child of the driver when its own parent ends. It is then found in /proc by its
parent's number, named, and ended. No process that the driver did not start can be hit.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
POLL_SECONDS = 0.1
#: What a daemon gets between SIGTERM and SIGKILL.
GRACE_SECONDS = 10.0
EVERYTHING = re.compile("")
#: Children that are nobody's left-overs.
spared: set[int] = set()


class Interrupted(Exception):
    """The driver was told to stop (SIGINT, SIGTERM or SIGHUP)."""


def adopt_orphans() -> None:
    """Make this process the parent of every orphaned descendant, and SIGTERM and SIGHUP an orderly stop."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")

    def stop(number: int, _frame: object) -> None:
        raise Interrupted(signal.Signals(number).name)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def run(
    command: list[str],
    log: Path,
    *,
    env: dict[str, str],
    cwd: Path,
    limit: float,
    show: t.Pattern[str] | None = EVERYTHING,
) -> int:
    """Run ``command`` with its output appended to ``log``; return its exit status. Lines that match ``show`` are also printed.

    After ``limit`` seconds it is ended and 124 is returned, as timeout(1) does. The log is a file, not a pipe: a
    daemon that keeps its parent's standard output open cannot hold the driver up.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink, log.open("rb") as reader:
        sink.write(f"$ {' '.join(command)}\n".encode())
        sink.flush()
        reader.seek(0, os.SEEK_END)
        try:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=env, cwd=cwd, start_new_session=True)
        except OSError as error:
            message = f"{command[0]} cannot be started: {error.strerror}\n"
            sink.write(message.encode())
            sys.stdout.write(message)
            return 127
        deadline = time.monotonic() + limit
        rest = b""
        try:
            while True:
                status = child.poll()
                *lines, rest = (rest + reader.read()).split(b"\n")
                if status is not None and rest:
                    lines.append(rest)
                _print(lines, show)
                if status is not None:
                    return status if status >= 0 else 128 - status
                if time.monotonic() > deadline:
                    message = f"{command[0]}: ended after {limit:.0f} s, the limit of its level\n"
                    sink.write(message.encode())
                    sys.stdout.write(message)
                    return 124
                time.sleep(POLL_SECONDS)
        finally:
            if child.poll() is None:
                _end_group(child)


def _print(lines: list[bytes], show: t.Pattern[str] | None) -> None:
    """Print those lines that match."""
    texts = [line.decode(errors="replace") for line in lines]
    wanted = [text for text in texts if show is not None and show.search(text)]
    if wanted:
        print("\n".join(wanted), flush=True)


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """End a child and its whole session, politely first."""
    for number, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        try:
            child.wait(patience)
            return
        except subprocess.TimeoutExpired:
            continue


def _children() -> dict[int, str]:
    """Living children of this process: pid -> command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name in parentheses may hold anything; the state and the parent follow its last bracket.
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) != os.getpid() or state == "Z" or int(entry.name) in spared:
                continue
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found[int(entry.name)] = line or (entry / "comm").read_text().strip()
    return found


def _reap() -> None:
    """Collect adopted children that have ended, but not those that somebody waits for."""
    with contextlib.suppress(ChildProcessError):
        while True:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None or ended.si_pid in spared:
                return
            os.waitpid(ended.si_pid, 0)


def end_left_behind() -> list[str]:
    """End every process that the last command left behind; return their command lines."""
    _reap()
    named: dict[int, str] = {}
    signalled: dict[int, float] = {}
    while True:
        living = _children()
        if not living:
            return list(named.values())
        named.update(living)
        for pid in living:
            now = time.monotonic()
            number = None
            if pid not in signalled:
                number = signal.SIGTERM
                signalled[pid] = now
            elif now - signalled[pid] > GRACE_SECONDS:
                number = signal.SIGKILL
            if number is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        time.sleep(POLL_SECONDS)
        _reap()
