# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The host's side of a domain disk: which block device a source path means, and which one QEMU really holds.

A path is only a name. When a namespace is removed and comes back, QEMU keeps the removed device open while the name
already leads to the new one: the guest then reads zeros without an error and libvirt, which looks at the name, sees nothing
wrong (kernel 6.1, libvirt 9.0, QEMU 7.2). Only the device number of QEMU's open descriptor tells.
"""

from __future__ import annotations

import os
import stat
import typing as t
from dataclasses import dataclass, field

SECTOR = 512  # the unit of /sys/block/*/size, whatever the device's own block size is


@dataclass
class BlockDevice:
    """A block device as the host's kernel shows it now.

    ``path`` is its kernel name below /dev, ``rdev`` its device number, ``size_bytes`` its capacity (``None``: unreadable),
    ``namespace_uuid`` the NVMe namespace under it (``None``: there is none, or several), ``namespace_bytes`` the least that a device of that
    namespace has (``None``: unknown), ``layers`` what lies between the path and that namespace (device-mapper names, partitions), outermost first.
    """

    path: str
    rdev: int
    size_bytes: int | None = None
    namespace_uuid: str | None = None
    namespace_bytes: int | None = None
    layers: list[str] = field(default_factory=list)


class NotABlockDevice(Exception):
    """The path does not lead to a block device; the text says what it leads to."""


def dashed_uuid(text: str | None) -> str | None:
    """A UUID or NGUID in any spelling as lower case with dashes; ``None`` for nothing, zeros or something else."""
    digits = (text or "").strip().lower().replace("-", "")
    if len(digits) != 32 or any(digit not in "0123456789abcdef" for digit in digits) or not digits.strip("0"):
        return None
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _read(*parts: str) -> str | None:
    try:
        with open(os.path.join(*parts), encoding="utf-8", errors="replace") as handle:
            return handle.read().strip()
    except OSError:
        return None


def _bytes(node: str) -> int | None:
    sectors = _read(node, "size")
    return int(sectors) * SECTOR if sectors and sectors.isdigit() else None


class HostDevices:
    """Reads sysfs and procfs. The roots and ``stat`` are parameters so that tests can bring their own."""

    def __init__(
        self,
        sysfs: str = "/sys",
        proc: str = "/proc",
        run: str = "/run",
        stat_call: t.Callable[[str], os.stat_result] = os.stat,
    ) -> None:
        self.sysfs = sysfs
        self.proc = proc
        self.run = run
        self._stat = stat_call

    def device(self, source: str) -> BlockDevice:
        """The device behind ``source`` (any path: /dev/nvme0n1, a by-id link, /dev/mapper/x).

        Raises :class:`NotABlockDevice` when the path is missing or is something else.
        """
        try:
            found = self._stat(source)
        except OSError as error:
            raise NotABlockDevice(f"{source}: {error.strerror or error}") from error
        if not stat.S_ISBLK(found.st_mode):
            raise NotABlockDevice(f"{source} is a {'regular file' if stat.S_ISREG(found.st_mode) else 'node of another kind'}, not a block device")
        number = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
        node = os.path.realpath(os.path.join(self.sysfs, "dev", "block", number))
        if not os.path.isdir(node):
            # a device node whose device is gone: the number is all that is left
            return BlockDevice(path=source, rdev=found.st_rdev)
        size = _bytes(node)
        uuids, layers, bottoms = self._below(node)
        return BlockDevice(
            path="/dev/" + os.path.basename(node).replace("!", "/"),
            rdev=found.st_rdev,
            size_bytes=size,
            namespace_uuid=uuids.pop() if len(uuids) == 1 else None,
            namespace_bytes=None if None in bottoms else min(t.cast("list[int]", bottoms), default=None),
            layers=layers,
        )

    def _below(self, node: str, depth: int = 0) -> tuple[set[str], list[str], list[int | None]]:
        """The namespace UUIDs under a sysfs block directory, the layers passed on the way down, and the bytes of the devices at the bottom."""
        if depth > 16:
            return set(), [], [None]
        if os.path.exists(os.path.join(node, "partition")):
            uuids, layers, bottoms = self._below(os.path.dirname(node), depth + 1)
            return uuids, [os.path.basename(node), *layers], bottoms
        try:
            slaves = sorted(os.listdir(os.path.join(node, "slaves")))
        except OSError:
            slaves = []
        if slaves:
            layers = [_read(node, "dm", "name") or os.path.basename(node)]
            uuids = set()
            bottoms = []
            for slave in slaves:
                found, under, sizes = self._below(os.path.realpath(os.path.join(node, "slaves", slave)), depth + 1)
                uuids |= found
                bottoms += sizes
                layers += [layer for layer in under if layer not in layers]
            return uuids, layers, bottoms
        # the kernel shows the NGUID in "uuid" when the target gave no UUID, and hides the file when it gave neither
        uuid = dashed_uuid(_read(node, "uuid")) or dashed_uuid(_read(node, "nguid"))
        return ({uuid} if uuid else set()), [], [_bytes(node)]

    def qemu_pid(self, name: str, uuid: str) -> int | None:
        """The process of a running domain: libvirt's pid file if it is still true, else whoever runs with ``-uuid UUID``."""
        text = _read(self.run, "libvirt", "qemu", name + ".pid")
        if text and text.isdigit() and self._runs(int(text), uuid):
            return int(text)
        try:
            numbers = [int(entry) for entry in os.listdir(self.proc) if entry.isdigit()]
        except OSError:
            return None
        for number in sorted(numbers):
            if self._runs(number, uuid):
                return number
        return None

    def _runs(self, pid: int, uuid: str) -> bool:
        try:
            with open(os.path.join(self.proc, str(pid), "cmdline"), "rb") as handle:
                words = handle.read().split(b"\0")
        except OSError:
            return False
        return any(word == b"-uuid" and after.lower() == uuid.lower().encode() for word, after in zip(words, words[1:]))

    def open_devices(self, pid: int) -> set[int] | None:
        """The device numbers of all block devices a process has open; ``None`` when that may not be read."""
        folder = os.path.join(self.proc, str(pid), "fd")
        try:
            entries = os.listdir(folder)
        except OSError:
            return None
        numbers: set[int] = set()
        for entry in entries:
            try:
                # follows the kernel's own link to the open file, so also to a device that has no name any more
                found = self._stat(os.path.join(folder, entry))
            except OSError:
                continue  # closed since the listing, or a socket's pseudo path
            if stat.S_ISBLK(found.st_mode):
                numbers.add(found.st_rdev)
        return numbers
