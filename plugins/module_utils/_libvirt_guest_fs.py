# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Growing a guest's file system on a grown disk, through the guest agent's ``guest-exec``.

Done for a mounted ext3, ext4 or xfs file system that is on the whole disk, or on the disk's last partition, which is grown first. Everything
else (LVM, LUKS, RAID, another partition, another file system) is left alone and named. Programs get argument vectors, no shell is started, and
what they achieved is read back. Capacity is another matter: a file system that did not grow does not change what the guest sees of its disk.
"""

from __future__ import annotations

import contextlib
import re
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.nvmeof.spdk.plugins.module_utils._block_layers import kind_of
from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_disk import Hypervisor
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_domain import DomainDisk
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_guest import GuestAgent, GuestError, GuestProgramMissing
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_resize import Wish, select
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Changes

SECTOR = 512
#: Bytes at an end that are no reason to grow: the backup of a partition table, alignment, a last block or allocation group too small to be used.
SLACK = 4 * 1024**2
EXT = ("ext3", "ext4")
#: An extended partition of an MBR table shows this many sectors; what is in it are logical partitions.
_EXTENDED_SECTORS = 2
_LAYERS = {"lvm": "LVM", "dm-crypt": "LUKS", "multipath": "dm-multipath", "md": "RAID"}
_PACKAGES = {
    "growpart": "cloud-guest-utils (cloud-utils-growpart)",
    "sfdisk": "fdisk (util-linux)",
    "partx": "util-linux",
    "resize2fs": "e2fsprogs",
    "dumpe2fs": "e2fsprogs",
    "xfs_growfs": "xfsprogs",
}

GROWN, UNCHANGED, NOT_GROWN, FAILED = "grown", "unchanged", "not_grown", "failed"


class NotGrown(Exception):
    """The file system is of a kind that is left alone; the text names what is there."""


@dataclass
class GuestFilesystem:
    """One disk's file system in the guest. Sizes are bytes, ``None`` is unknown.

    ``size_bytes`` is the file system's own extent (blocks times block size), ``total_bytes`` what the guest's programs see of it.
    """

    disk: DomainDisk
    state: str = NOT_GROWN
    message: str = ""
    guest_device: str | None = None
    partition: str | None = None
    filesystem: str | None = None
    mountpoint: str | None = None
    disk_bytes: int | None = None
    before_partition_bytes: int | None = None
    partition_bytes: int | None = None
    before_bytes: int | None = None
    size_bytes: int | None = None
    before_total_bytes: int | None = None
    total_bytes: int | None = None
    commands: list[list[str]] = field(default_factory=list)
    changed: bool = False
    error: HopError | None = None

    def result(self) -> dict[str, t.Any]:
        names = ("state", "message", "guest_device", "partition", "filesystem", "mountpoint", "disk_bytes", "before_partition_bytes", "partition_bytes")
        names += ("before_bytes", "size_bytes", "before_total_bytes", "total_bytes", "commands", "changed")
        return {
            "domain": self.disk.domain,
            "target": self.disk.target,
            "namespace_uuid": self.disk.namespace_uuid,
            **{name: getattr(self, name) for name in names},
            "error": self.error.as_dict() if self.error else None,
        }


class Grower:
    """Looks at one disk of a guest and grows what is on it."""

    def __init__(self, agent: GuestAgent, found: GuestFilesystem, wait: float) -> None:
        self.agent = agent
        self.found = found
        self.wait = wait

    # -- looking ---------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Which file system is meant and how large everything is. Raises :class:`NotGrown`, :class:`GuestError`, :class:`HopError`."""
        found, disk = self.found, self.found.disk
        found.guest_device = self.agent.device(disk.bus or "", disk.serial, disk.address, disk.controller)
        if not found.guest_device.startswith("/dev/"):
            raise NotGrown("not a Linux guest")
        missing = {"guest-exec", "guest-exec-status", "guest-get-fsinfo"} - self.agent.enabled()
        if missing:
            raise self._error(
                f"the guest's agent does not allow {', '.join(sorted(missing))}",
                "allow them in the guest (block-rpcs or allow-rpcs in /etc/qemu/qemu-ga.conf, or the options in /etc/sysconfig/qemu-ga), restart "
                "qemu-guest-agent; or grow the file system in the guest by hand",
                call="guest-info",
            )
        device = self._carrier(found.guest_device)
        found.disk_bytes = self.agent.size(found.guest_device)
        if found.partition:
            found.before_partition_bytes = found.partition_bytes = self.agent.size(device)
        mounted = self._mounted(device)
        if mounted is None:
            raise NotGrown(f"{'the last partition ' if found.partition else ''}{device} has no mounted file system")
        found.filesystem, found.mountpoint = str(mounted.get("type")), str(mounted.get("mountpoint"))
        found.before_total_bytes = found.total_bytes = mounted.get("total-bytes")
        if found.filesystem != "xfs" and found.filesystem not in EXT:
            raise NotGrown(f"file system {found.filesystem} on {device}")
        found.before_bytes = found.size_bytes = self._extent(device)

    def _carrier(self, disk: str) -> str:
        """The disk itself, or its last partition; raises :class:`NotGrown` for anything on it that is no file system."""
        nodes = [node for node in self.agent.command("guest-get-disks") if isinstance(node, dict)]
        self._refuse_layers(nodes, disk)
        parts = [str(node["name"]) for node in nodes if node.get("partition") and disk in (node.get("dependencies") or [])]
        if not parts:
            return disk
        if any(self.agent.block_number(part, "size") == _EXTENDED_SECTORS for part in parts):
            raise NotGrown(f"logical partitions on {disk}")
        last = max(parts, key=lambda part: self.agent.block_number(part, "start"))
        self._refuse_layers(nodes, last)
        self.found.partition = last
        return last

    def _refuse_layers(self, nodes: t.Sequence[dict[str, t.Any]], device: str) -> None:
        for node in nodes:
            if node.get("partition") or device not in (node.get("dependencies") or []):
                continue
            name = str(node["name"]).rpartition("/")[2]
            uuid = self.agent.read(f"/sys/class/block/{name}/dm/uuid") if name.startswith("dm-") else None
            raise NotGrown(f"{_LAYERS.get(kind_of(name, uuid), 'device-mapper')} inside ({name} on {device})")

    def _mounted(self, device: str) -> dict[str, t.Any] | None:
        name = device.rpartition("/")[2]
        mounts = [mount for mount in self.agent.command("guest-get-fsinfo") if mount.get("name") == name]
        return min(mounts, key=lambda mount: (len(str(mount.get("mountpoint"))), str(mount.get("mountpoint"))), default=None)

    def _extent(self, device: str) -> int:
        """The file system's own bytes: blocks times block size."""
        if self.found.filesystem == "xfs":
            argv, pattern = ["xfs_growfs", "-n", t.cast(str, self.found.mountpoint)], r"^data\s*=\s*bsize=(\d+)\s+blocks=(\d+)"
        else:
            argv, pattern = ["dumpe2fs", "-h", device], None
        said = self._run(argv)
        if pattern:
            match = re.search(pattern, said, re.MULTILINE)
            numbers = match.groups() if match else ()
        else:
            numbers = tuple(
                match.group(1) for match in (re.search(rf"^{word}:\s*(\d+)\s*$", said, re.MULTILINE) for word in ("Block size", "Block count")) if match
            )
        if len(numbers) != 2:
            raise self._error("the file system's size is not in what the guest's program said", "look at it in the guest by hand", " ".join(argv), said[-300:])
        return int(numbers[0]) * int(numbers[1])

    # -- planning --------------------------------------------------------------------------------------------

    def plan(self) -> None:
        """What is to be run in the guest, into ``commands``; asks the guest for the programs. Raises as :meth:`look`."""
        found = self.found
        end = t.cast(int, found.disk_bytes)
        room = end
        if found.partition:
            begin = self.agent.block_number(found.partition, "start") * SECTOR
            room = t.cast(int, found.partition_bytes)
            if end - begin - room >= SLACK:
                found.commands += self._partition_commands(self.agent.block_number(found.partition, "partition"))
                room = end - begin
        if found.commands or room - t.cast(int, found.size_bytes) >= SLACK:
            if found.filesystem == "xfs":
                found.commands.append(["xfs_growfs", t.cast(str, found.mountpoint)])
            else:
                self._need("resize2fs", "-V")
                found.commands.append(["resize2fs", t.cast(str, found.partition or found.guest_device)])

    def _partition_commands(self, number: int) -> list[list[str]]:
        disk = t.cast(str, self.found.guest_device)
        if self._has("growpart", "--version"):
            return [["growpart", disk, str(number)]]
        if self._has("sfdisk", "--version") and self._has("partx", "--version"):
            return [
                ["sfdisk", "--no-reread", "--no-tell-kernel", "--partno", str(number), disk],
                ["partx", "--update", "--nr", str(number), disk],
            ]
        raise self._error(
            "the guest has neither growpart, nor sfdisk and partx, to grow the last partition with",
            f"install {_PACKAGES['growpart']} in the guest",
            call="guest-exec",
        )

    # -- acting ----------------------------------------------------------------------------------------------

    def act(self) -> None:
        """Run the commands and read everything back. Raises as :meth:`look`; what was reached until then is in ``found``."""
        found = self.found
        device = t.cast(str, found.partition or found.guest_device)
        try:
            for argv in found.commands:
                if argv[0] in ("resize2fs", "xfs_growfs") and found.partition:
                    self._await_partition()
                # sfdisk: the same start, as large as possible
                self._run(argv, text=", +\n" if argv[0] == "sfdisk" else "")
        except (GuestError, HopError):
            with contextlib.suppress(GuestError, HopError):  # the first error counts, but the partition may have grown
                self._read_back(device)
            raise
        self._read_back(device)
        if t.cast(int, found.size_bytes) <= t.cast(int, found.before_bytes):
            room = found.partition_bytes if found.partition else found.disk_bytes
            raise self._error(
                f"the file system still has {human(found.size_bytes)} of {human(room)}",
                "look at the file system in the guest",
                call=" ".join(found.commands[-1]),
            )

    def _await_partition(self) -> None:
        """The kernel shows the partition's new size a moment after the program has ended."""
        found = self.found
        deadline = time.monotonic() + self.wait
        while len(found.commands) > 1 and found.partition_bytes == found.before_partition_bytes:
            found.partition_bytes = self.agent.size(t.cast(str, found.partition))
            if time.monotonic() >= deadline:
                raise self._error(
                    f"the partition {found.partition} still has {human(found.partition_bytes)}",
                    f"run partx --update {found.guest_device} in the guest, or reboot it, then run again",
                    call=" ".join(found.commands[0]),
                )
            if found.partition_bytes == found.before_partition_bytes:
                time.sleep(0.2)

    def _read_back(self, device: str) -> None:
        found = self.found
        if found.partition:
            found.partition_bytes = self.agent.size(found.partition)
        found.size_bytes = self._extent(device)
        mounted = self._mounted(device)
        found.total_bytes = mounted.get("total-bytes") if mounted else None
        found.changed = (found.size_bytes, found.partition_bytes) != (found.before_bytes, found.before_partition_bytes)

    # -- the guest's programs --------------------------------------------------------------------------------

    def _has(self, *argv: str) -> bool:
        try:
            self.agent.run(argv, wait=self.wait)
        except GuestProgramMissing:
            return False
        return True

    def _need(self, *argv: str) -> None:
        if not self._has(*argv):
            raise self._missing(argv[0])

    def _run(self, argv: t.Sequence[str], text: str = "") -> str:
        try:
            code, said = self.agent.run(argv, text, self.wait)
        except GuestProgramMissing as error:
            raise self._missing(argv[0]) from error
        if code and not (argv[0] == "growpart" and said.startswith("NOCHANGE")):
            raise self._error(
                f"{argv[0]} ended with {code} in the guest", "look at the file system in the guest", " ".join(argv), " ".join(said.split())[-500:]
            )
        return said

    def _missing(self, program: str) -> HopError:
        return self._error(f"the guest does not have {program}", f"install {_PACKAGES.get(program, program)} in the guest", call="guest-exec")

    def _error(self, message: str, remedy: str, call: str | None = None, cause: str | None = None) -> HopError:
        return HopError(message, obj=self.found.disk.label, hop="guest", call=call, cause=cause, remedy=remedy)


def _grow(hypervisor: Hypervisor, found: GuestFilesystem, wait: float, check_mode: bool) -> None:
    try:
        grower = Grower(hypervisor.agent(found.disk), found, wait)
        grower.look()
        grower.plan()
        if not found.commands:
            found.state, found.message = UNCHANGED, f"{found.filesystem} on {found.mountpoint} has {human(found.size_bytes)}, all that its device has"
            return
        found.changed = True
        if not check_mode:
            found.changed = False
            grower.act()
        found.state = GROWN
        found.message = f"{found.filesystem} on {found.mountpoint} from {human(found.before_bytes)}" + ("" if check_mode else f" to {human(found.size_bytes)}")
    except NotGrown as reason:
        found.state, found.message = NOT_GROWN, f"not grown: {reason}"
    except GuestError as error:
        found.error = HopError(
            str(error),
            obj=found.disk.label,
            hop="guest",
            call="guest agent",
            remedy="start qemu-guest-agent in the guest and its channel in the domain; or grow the file system in the guest by hand",
        )
    except HopError as error:
        found.error = error
    if found.error is not None:
        found.state, found.message = FAILED, found.error.message


def converge(hypervisor: Hypervisor, wishes: t.Sequence[Wish], wait: float, check_mode: bool) -> tuple[list[GuestFilesystem], list[HopError]]:
    """The file systems of all disks that are meant, by domain and target, and all errors. A domain that does not run is left alone."""
    disks = [disk for disk in hypervisor.disks() if disk.kind == "disk"]
    for disk in disks:
        hypervisor.locate(disk)
    errors: list[HopError] = []
    chosen: dict[tuple[str, str], GuestFilesystem] = {}
    for wish in wishes:
        try:
            for disk in select(disks, wish):
                chosen.setdefault((disk.domain, disk.target), GuestFilesystem(disk))
        except HopError as error:
            errors.append(error)
    found = [entry for _key, entry in sorted(chosen.items())]
    for entry in found:
        if entry.disk.domain_state != "running":
            entry.message = f"not grown: the domain is {entry.disk.domain_state}"
            continue
        sharers = [disk.domain for disk in disks if disk.active and disk.device and entry.disk.device and disk.device.rdev == entry.disk.device.rdev]
        if len(sharers) > 1:
            entry.message = f"not grown: the disk is in several running domains ({', '.join(sharers)})"
            continue
        _grow(hypervisor, entry, wait, check_mode)
    errors += [entry.error for entry in found if entry.error is not None]
    return found, errors


def changes_of(found: t.Sequence[GuestFilesystem], check_mode: bool) -> Changes:
    """What grew, or in check mode would grow, for ``changed``, ``changes`` and the diff. A size that is not known yet is null."""
    changes = Changes()
    for entry in found:
        if entry.changed:
            after = None if check_mode else entry.size_bytes
            changes.add("filesystem", f"{entry.disk.label} {entry.mountpoint}", "grow", {"size_bytes": entry.before_bytes}, {"size_bytes": after}, lambda: None)
    return changes
