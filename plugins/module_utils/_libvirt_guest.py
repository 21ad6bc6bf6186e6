# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The guest's own view of a disk, through the QEMU guest agent.

Commands used: ``guest-get-disks`` (QEMU 5.2 and later) and ``guest-file-open``, ``-read``, ``-close`` on
``/sys/class/block/NAME/size``; ``guest-exec`` only by :meth:`GuestAgent.run`. Some distributions forbid the file commands or
``guest-exec`` in the agent's own configuration.
"""

from __future__ import annotations

import base64
import json
import time
import typing as t

#: One agent command may take this many seconds; an agent that answers does so in milliseconds.
COMMAND_TIMEOUT = 5
#: The agent of a bare init may have no PATH of its own.
PROGRAM_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class GuestError(Exception):
    """The guest could not be asked; the text says why and what would help."""


class GuestProgramMissing(GuestError):
    """The guest does not have a program."""


class GuestAgent:
    """The agent of one domain. ``call`` takes a JSON command as text and returns the JSON answer as text, or raises."""

    def __init__(self, call: t.Callable[[str], str]) -> None:
        self._call = call

    def command(self, name: str, **arguments: t.Any) -> t.Any:
        """One command of the agent, its ``return``. Raises :class:`GuestError`."""
        request: dict[str, t.Any] = {"execute": name}
        if arguments:
            request["arguments"] = arguments
        try:
            answer = json.loads(self._call(json.dumps(request)))
        except ValueError as error:
            raise GuestError(f"guest agent: the answer to {name} is not JSON: {error}") from error
        if not isinstance(answer, dict) or "return" not in answer:
            raise GuestError(f"guest agent: {name} has no result: {str(answer)[:200]}")
        return answer["return"]

    def device(self, bus: str, serial: str | None, address: dict[str, int] | None, controller: dict[str, int] | None) -> str:
        """The guest's name (``/dev/vda``) of a disk.

        ``serial`` is the one of the domain's XML, ``address`` the disk's own (PCI for virtio, controller/bus/target/unit for
        SCSI), ``controller`` the PCI address of the SCSI controller. The serial number wins: PCI bus numbers in the XML and
        in the guest may differ behind bridges. Never guessed from the order or the size. Raises :class:`GuestError`.
        """
        disks = [disk for disk in self.command("guest-get-disks") if isinstance(disk, dict) and not disk.get("partition")]
        if serial:
            # udev cuts a virtio serial number to 20 characters, and SCSI ones come with the vendor's prefix
            named = [disk for disk in disks if _same_serial(serial, (disk.get("address") or {}).get("serial"))]
            if len(named) == 1:
                return str(named[0]["name"])
        placed = [disk for disk in disks if _same_place(bus, disk.get("address") or {}, address, controller)]
        if len(placed) == 1:
            return str(placed[0]["name"])
        seen = ", ".join(str(disk.get("name")) for disk in disks) or "none"
        raise GuestError(
            f"guest agent: the guest's disk could not be told from its {'serial number or ' if serial else ''}address (the guest has: {seen}); "
            "give the disk a <serial> in the domain's XML"
        )

    def size(self, device: str) -> int:
        """Bytes of a guest device (``/dev/vda``) as the guest's kernel has them. Raises :class:`GuestError`."""
        return self.block_number(device, "size") * 512

    def block_number(self, device: str, attribute: str) -> int:
        """A number in sysfs of a guest device: ``size`` and ``start`` in sectors of 512 bytes, ``partition``. Raises :class:`GuestError`."""
        path = f"/sys/class/block/{device.rsplit('/', 1)[-1]}/{attribute}"
        text = self.read(path)
        if not text.isdigit():
            raise GuestError(f"guest agent: {path} in the guest holds {text!r}, not a number")
        return int(text)

    def read(self, path: str) -> str:
        """The begin (64 bytes) of a file in the guest, without white space around it. Raises :class:`GuestError`."""
        handle = self.command("guest-file-open", path=path, mode="r")
        try:
            content = self.command("guest-file-read", handle=handle, count=64)
        finally:
            self.command("guest-file-close", handle=handle)
        return base64.b64decode(str(content.get("buf-b64", ""))).decode("ascii", "replace").strip()

    def enabled(self) -> set[str]:
        """The commands that the agent has and its configuration allows. Raises :class:`GuestError`."""
        commands = self.command("guest-info").get("supported_commands") or []
        return {str(entry.get("name")) for entry in commands if entry.get("enabled")}

    def run(self, argv: t.Sequence[str], text: str = "", wait: float = 60) -> tuple[int, str]:
        """Run a program in the guest with ``text`` on its standard input, up to ``wait`` seconds: exit code, and what it printed.

        ``argv`` goes to the guest as it is; no shell reads it. Raises :class:`GuestProgramMissing` and :class:`GuestError`.
        """
        words: dict[str, t.Any] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True, "env": [PROGRAM_PATH, "LC_ALL=C"]}
        if text:
            words["input-data"] = base64.b64encode(text.encode()).decode("ascii")
        try:
            pid = self.command("guest-exec", **words)["pid"]
        except GuestError as error:
            if "No such file" in str(error):
                raise GuestProgramMissing(argv[0]) from error
            raise
        deadline = time.monotonic() + wait
        while True:
            status = self.command("guest-exec-status", pid=pid)
            if status.get("exited"):
                break
            if time.monotonic() >= deadline:
                raise GuestError(f"{' '.join(argv)} did not end within {wait:g} s; it goes on in the guest")
            time.sleep(0.2)
        printed = [base64.b64decode(str(status.get(key, ""))).decode("utf-8", "replace") for key in ("out-data", "err-data")]
        return int(status.get("exitcode", -1)), "\n".join(filter(None, printed))


def _same_serial(wanted: str, found: t.Any) -> bool:
    if not found:
        return False
    found = str(found)
    return found == wanted or found == wanted[:20] or found.endswith(("_" + wanted, "_" + wanted[:36]))


def _same_place(bus: str, found: dict[str, t.Any], address: dict[str, int] | None, controller: dict[str, int] | None) -> bool:
    pci = found.get("pci-controller") or {}
    place = (pci.get("domain"), pci.get("bus"), pci.get("slot"), pci.get("function"))
    if bus == "virtio":
        if not address or "slot" not in address or found.get("bus-type") not in ("virtio", "unknown", None):
            return False
        return place == _pci(address)
    if bus == "scsi":
        if not address or not controller or "unit" not in address or found.get("bus-type") != "scsi":
            return False
        unit = (found.get("bus"), found.get("target"), found.get("unit"))
        return place == _pci(controller) and unit == (address.get("bus", 0), address.get("target", 0), address["unit"])
    return False


def _pci(address: dict[str, int]) -> tuple[int, int, int, int]:
    return (address.get("domain", 0), address.get("bus", 0), address.get("slot", 0), address.get("function", 0))
