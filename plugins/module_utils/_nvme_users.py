# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Who uses a block device of NVMe: holders, mounts, swap, and processes that have it open, such as the QEMU of a domain."""

from __future__ import annotations

import os
import stat
import typing as t


def users(sysfs: t.Any, device: str) -> list[str]:
    """Who uses a block device or its partitions, for reading. Devices are told apart by number: a process can have another name for the same one."""
    found = [f"held by {name}" for name in sysfs.holders(device)] + [f"mounted at {name}" for name in sysfs.mounts(device)]
    rdevs = set(sysfs.rdevs(device))
    for pid in sorted((name for name in os.listdir(sysfs.proc) if name.isdigit()), key=int):
        if pid == str(os.getpid()):
            continue
        try:
            handles = os.listdir(os.path.join(sysfs.proc, pid, "fd"))
        except OSError:
            continue
        if any(_rdev(os.path.join(sysfs.proc, pid, "fd", handle)) in rdevs for handle in handles):
            found.append(f"open by {_process(sysfs.proc, pid)}")
    try:
        with open(os.path.join(sysfs.proc, "swaps"), encoding="utf-8", errors="replace") as file:
            names = [line.split()[0] for line in file.readlines()[1:] if line.strip()]
    except OSError:
        names = []
    return found + [f"swap {name}" for name in names if _rdev(name) in rdevs]


def _rdev(file: str) -> str | None:
    """``major:minor`` of a block device's node."""
    try:
        # pipes and sockets cannot be it, and need no look
        if os.path.islink(file) and not os.readlink(file).startswith("/"):
            return None
        status = os.stat(file)
    except OSError:
        return None
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" if stat.S_ISBLK(status.st_mode) else None


def _process(proc: str, pid: str) -> str:
    """A process by its name and, if it is the QEMU of a domain, by that."""
    command = _text(proc, pid, "comm").strip() or "a process"
    words = _text(proc, pid, "cmdline").split("\0")
    # libvirt starts it with "-name guest=vm1,debug-threads=on"
    named = words[words.index("-name") + 1 :] if "-name" in words else []
    domain = named[0].partition("guest=")[2].partition(",")[0] if named else ""
    return f"{command} (pid {pid}, domain {domain})" if domain else f"{command} (pid {pid})"


def _text(*parts: str) -> str:
    try:
        with open(os.path.join(*parts), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
