# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake libvirt binding, and a fake host (sysfs, procfs, device nodes) under it.

It behaves as QEMU was seen to behave: any size up to the device's is a "success" that gives the guest the whole device.
"""

from __future__ import annotations

import json
import os
import stat
import typing as t
from pathlib import Path
from xml.etree import ElementTree

UUID = "7c5a4f6e-4f0e-4d6a-9a53-0d7f1c7d2b11"
NGUID = "2f1e6f0a9a704c0c8a5b1b6a7d9e0c22"
GIB = 1024**3
DOMAIN_UUID = "0d1cbb7e-62c1-4f13-9a3d-3c1f0f4b7a55"


class FakeError(Exception):
    """libvirt.libvirtError."""

    def __init__(self, code: int, message: str) -> None:
        """``code`` and ``message`` as libvirt gives them."""
        super().__init__(message)
        self.code = code

    def get_error_code(self) -> int:
        """The code."""
        return self.code

    def get_error_message(self) -> str:
        """The text."""
        return str(self)


def fail(error: FakeError) -> None:
    """Raise it."""
    raise error


def lagging() -> FakeError:
    """What QEMU says to a size above the device's."""
    return FakeError(1, "internal error: unable to execute QEMU command 'block_resize': Cannot grow device files")


class FakeHost:
    """Device nodes and sysfs below a temporary directory."""

    def __init__(self, root: Path) -> None:
        """``root`` is an empty directory."""
        self.root = root
        self.nodes: dict[str, int] = {}
        self.files: set[str] = set()
        for part in ("sys/dev/block", "proc", "run/libvirt/qemu"):
            (root / part).mkdir(parents=True)

    def add_block(self, name: str, number: tuple[int, int], size: int, parent: str | None = None, **files: str) -> Path:
        """A block device with its sysfs directory; ``files`` are written into it (``dm_name`` as dm/name)."""
        folder = self.root / "sys/devices" / (f"{parent}/{name}" if parent else name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "size").write_text(f"{size // 512}\n", encoding="ascii")
        for key, value in files.items():
            path = folder / ("dm/name" if key == "dm_name" else key)
            path.parent.mkdir(exist_ok=True)
            path.write_text(value + "\n", encoding="ascii")
        (self.root / f"sys/dev/block/{number[0]}:{number[1]}").symlink_to(folder)
        self.nodes[f"/dev/{name}"] = os.makedev(*number)
        return folder

    def add_slave(self, upper: Path, lower: Path) -> None:
        """``lower`` is under ``upper``."""
        (upper / "slaves").mkdir(exist_ok=True)
        (upper / "slaves" / lower.name).symlink_to(lower)

    def link(self, path: str, node: str) -> None:
        """Another name of a device."""
        self.nodes[path] = self.nodes[node]

    def add_qemu(self, pid: int, uuid: str, *open_files: str | int) -> None:
        """A process with ``-uuid``; ``open_files`` are paths or device numbers it has open."""
        folder = self.root / "proc" / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "cmdline").write_bytes(b"\0".join([b"qemu", b"-name", b"x", b"-uuid", uuid.encode()]) + b"\0")
        for number, item in enumerate(open_files, start=3):
            entry = folder / "fd" / str(number)
            entry.write_text("", encoding="ascii")
            self.nodes[str(entry)] = item if isinstance(item, int) else self.nodes[item]

    def stat(self, path: str) -> t.Any:
        """os.stat for the fake nodes."""
        if path in self.nodes:
            return os.stat_result((stat.S_IFBLK | 0o600, 0, 0, 1, 0, 0, 0, 0, 0, 0), {"st_rdev": self.nodes[path]})
        if path in self.files:
            return os.stat_result((stat.S_IFREG | 0o600, 0, 0, 1, 0, 0, 0, 0, 0, 0), {"st_rdev": 0})
        raise FileNotFoundError(2, "No such file or directory", path)

    def arguments(self) -> dict[str, t.Any]:
        """For HostDevices."""
        return {"sysfs": f"{self.root}/sys", "proc": f"{self.root}/proc", "run": f"{self.root}/run", "stat_call": self.stat}


def disk_xml(target: str = "vda", source: str | None = "/dev/nvme0n1", bus: str = "virtio", extra: str = "", **attributes: str) -> str:
    """One <disk>. ``attributes``: type, device, format, slot."""
    kind = attributes.get("type", "block")
    inside = f"<source {'file' if kind == 'file' else 'dev'}='{source}'/>" if source else ""
    slot = attributes.get("slot", "0x04")
    return (
        f"<disk type='{kind}' device='{attributes.get('device', 'disk')}'><driver name='qemu' type='{attributes.get('format', 'raw')}'/>{inside}"
        f"<target dev='{target}' bus='{bus}'/><address type='pci' domain='0x0000' bus='0x00' slot='{slot}' function='0x0'/>{extra}</disk>"
    )


def domain_xml(*disks: str, name: str = "db1", uuid: str = DOMAIN_UUID) -> str:
    """A domain's XML."""
    return f"<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><devices>{''.join(disks)}</devices></domain>"


def _without(xml: str, target: str | None) -> str:
    root = ElementTree.fromstring(xml)
    devices = root.find("devices")
    assert devices is not None
    for node in [node for node in devices.findall("disk") if node.find("target").get("dev") == target]:  # type: ignore[union-attr]
        devices.remove(node)
    return ElementTree.tostring(root, encoding="unicode")


class FakeDomain:
    """virDomain."""

    def __init__(self, xml: str, state: int = 1, name: str = "db1") -> None:
        """``state`` is virDomainState."""
        self.xml, self.number, self._name = xml, state, name
        self.sizes: dict[str, list[int]] = {}
        self.jobs: dict[str, dict[str, int]] = {}
        self.calls: list[tuple[str, int, int]] = []
        self.errors: list[FakeError] = []
        self.gone = False
        #: virDomainGetJobStats
        self.job: dict[str, int] = {"type": 0}
        #: the definition, None for a transient domain; and whether the guest lets go of disks
        self.config: str | None = xml
        self.lets_go = True

    def isPersistent(self) -> int:
        """Whether it has a definition."""
        return int(self.config is not None)

    def attachDeviceFlags(self, xml: str, flags: int) -> int:
        """Into the running domain (1), the definition (2), or both."""
        self.calls.append(("attach", 0, flags))
        if self.errors:
            raise self.errors.pop(0)
        if flags & 1:
            self.xml = self.xml.replace("</devices>", xml + "</devices>")
        if flags & 2:
            self.config = str(self.config).replace("</devices>", xml + "</devices>")
        return 0

    def detachDeviceFlags(self, xml: str, flags: int) -> int:
        """Out of the definition at once, out of the running domain when the guest lets go."""
        self.calls.append(("detach", 0, flags))
        target = ElementTree.fromstring(xml).find("target").get("dev")  # type: ignore[union-attr]
        if flags & 1 and self.lets_go:
            self.xml = _without(self.xml, target)
        if flags & 2:
            self.config = _without(str(self.config), target)
        return 0

    def name(self) -> str:
        """The name."""
        return self._name

    def state(self, _flags: int) -> list[int]:
        """State and reason."""
        if self.gone:
            raise FakeError(42, "Domain not found")
        return [self.number, 1]

    def XMLDesc(self, flags: int) -> str:
        """The live XML, or with flag 2 (and while it does not run) the definition."""
        return str(self.config) if self.config is not None and (flags & 2 or self.number == 5) else self.xml

    def blockInfo(self, target: str, _flags: int) -> list[int]:
        """Capacity, allocation, physical."""
        if target not in self.sizes:
            raise FakeError(38, "cannot stat file: No such file or directory")
        capacity, physical = self.sizes[target]
        return [capacity, 0, physical]

    def blockJobInfo(self, target: str, _flags: int) -> dict[str, int]:
        """The job, or nothing."""
        return self.jobs.get(target, {})

    def jobStats(self, _flags: int) -> dict[str, int]:
        """The job of the domain."""
        return self.job

    def blockResize(self, target: str, size: int, flags: int) -> int:
        """As QEMU: whatever is not too large gives the whole device."""
        self.calls.append((target, size, flags))
        if self.errors:
            raise self.errors.pop(0)
        if size > self.sizes[target][1]:
            raise lagging()
        self.sizes[target][0] = self.sizes[target][1]
        return 0


class FakeConnection:
    """virConnect."""

    def __init__(self, domains: list[FakeDomain]) -> None:
        """The domains of this hypervisor."""
        self.domains = domains
        self.closed = False

    def listAllDomains(self, _flags: int) -> list[FakeDomain]:
        """All of them."""
        return self.domains

    def close(self) -> None:
        """Remember it."""
        self.closed = True


class FakeLibvirt:
    """The module ``libvirt`` (9.0: without the CAPACITY flag)."""

    libvirtError = FakeError
    VIR_DOMAIN_BLOCK_RESIZE_BYTES = 1
    VIR_ERR_NO_DOMAIN = 42

    def __init__(self, *domains: FakeDomain) -> None:
        """The domains that a connection shows."""
        self.connection = FakeConnection(list(domains))
        self.opened: list[tuple[str, bool]] = []
        self.refuse: FakeError | None = None
        self.handler: t.Any = None

    def registerErrorHandler(self, handler: t.Any, _context: t.Any) -> None:
        """Remember it."""
        self.handler = handler

    def open(self, uri: str) -> FakeConnection:
        """A connection that may write."""
        return self._open(uri, False)

    def openReadOnly(self, uri: str) -> FakeConnection:
        """A connection that may only read."""
        return self._open(uri, True)

    def _open(self, uri: str, read_only: bool) -> FakeConnection:
        self.opened.append((uri, read_only))
        if self.refuse:
            fail(self.refuse)
        return self.connection


class FakeLibvirt11(FakeLibvirt):
    """libvirt 10 and later."""

    VIR_DOMAIN_BLOCK_RESIZE_CAPACITY = 2


class FakeAgent:
    """The module ``libvirt_qemu``: answers as qemu-ga 7.2 does."""

    def __init__(self, disks: list[dict[str, t.Any]], sizes: dict[str, list[str]]) -> None:
        """``sizes``: what /sys/class/block/NAME/size holds, one after the other (the last stays)."""
        self.disks, self.sizes = disks, sizes
        self.commands: list[str] = []
        self.error: FakeError | None = None
        self._path = ""

    def qemuAgentCommand(self, _domain: t.Any, command: str, _timeout: int, _flags: int) -> str:
        """Answer one command."""
        import base64

        if self.error:
            fail(self.error)
        request = json.loads(command)
        self.commands.append(request["execute"])
        if request["execute"] == "guest-get-disks":
            return json.dumps({"return": self.disks})
        if request["execute"] == "guest-file-open":
            assert request["arguments"]["mode"] == "r"
            self._path = request["arguments"]["path"]
            return json.dumps({"return": 1000})
        if request["execute"] == "guest-file-read":
            values = self.sizes[self._path.split("/")[4]]
            value = values.pop(0) if len(values) > 1 else values[0]
            return json.dumps({"return": {"count": len(value), "buf-b64": base64.b64encode(value.encode()).decode(), "eof": True}})
        assert request["execute"] == "guest-file-close"
        return json.dumps({"return": {}})
