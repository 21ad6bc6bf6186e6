# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""One disk of a domain: what the XML says, what was measured, and what is wrong with it. Pure: nothing here reads anything."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field
from xml.etree import ElementTree

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_device import BlockDevice, dashed_uuid

#: virDomainState, by number.
STATES = ("no state", "running", "blocked", "paused", "in shutdown", "shut off", "crashed", "pmsuspended")
SHUT_OFF = "shut off"

_NAMED_UUID = re.compile(r"/nvme-(?:uuid\.|eui\.)(?P<uuid>[0-9a-fA-F-]{32,36})(?:-part\d+)?$")
_UNSTABLE = re.compile(r"^/dev/(nvme\d+n\d+(p\d+)?|dm-\d+)$")
#: Buses without an event for a new size: the guest sees it after a reboot.
COLD_BUSES = ("ide", "sata", "fdc")


@dataclass
class DomainDisk:
    """One disk: what the XML says (first part), and what was measured (second part). Sizes are bytes, ``None`` is unknown."""

    domain: str
    domain_uuid: str
    domain_state: str
    target: str
    kind: str = "disk"
    bus: str | None = None
    source: str | None = None
    source_type: str = "block"
    serial: str | None = None
    format: str = "raw"
    read_only: bool = False
    slice: bool = False
    encrypted: bool = False
    mirror: bool = False
    address: dict[str, int] | None = None
    controller: dict[str, int] | None = None

    device: BlockDevice | None = None
    device_error: str | None = None
    capacity_bytes: int | None = None
    physical_bytes: int | None = None
    info_error: str | None = None
    block_job: str | None = None
    domain_job: str | None = None
    held: bool | None = None
    held_error: str | None = None
    guest_bytes: int | None = None
    guest_device: str | None = None
    guest_error: str | None = None
    handle: t.Any = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """The name used in messages."""
        return f"{self.domain}:{self.target}"

    @property
    def active(self) -> bool:
        """Whether a QEMU process has this disk."""
        return self.domain_state not in (SHUT_OFF, "crashed", "no state")

    @property
    def namespace_uuid(self) -> str | None:
        """The namespace's UUID: the device's own, or while the device is missing the one in a by-id name."""
        if self.device is not None:
            return self.device.namespace_uuid
        named = _NAMED_UUID.search(self.source or "")
        return dashed_uuid(named.group("uuid")) if named else None

    def result(self) -> dict[str, t.Any]:
        """The disk in the shape both modules return."""
        return {
            "domain": self.domain,
            "domain_uuid": self.domain_uuid,
            "domain_state": self.domain_state,
            "target": self.target,
            "bus": self.bus,
            "source": self.source,
            "source_type": self.source_type,
            "serial": self.serial,
            "namespace_uuid": self.namespace_uuid,
            "device": self.device.path if self.device else None,
            "layers": list(self.device.layers) if self.device else [],
            "capacity_bytes": self.capacity_bytes,
            "physical_bytes": self.physical_bytes,
            "read_only": self.read_only,
            "block_job": self.block_job,
            "domain_job": self.domain_job,
            "held": self.held,
            "guest_bytes": self.guest_bytes,
            "guest_device": self.guest_device,
            "guest_error": self.guest_error,
            "problems": [problem.as_dict() for problem in problems(self)],
        }


@dataclass
class Problem:
    """Something about a disk. ``blocking``: the disk must not be resized as it is.

    ``severity``: ``critical`` is wrong data or lost space already, ``blocker`` a disk that cannot follow the growth of its
    namespace, ``warning`` and ``info`` the rest.
    """

    code: str
    problem: str
    remedy: str
    severity: str
    blocking: bool = False

    def as_dict(self) -> dict[str, t.Any]:
        return {"code": self.code, "problem": self.problem, "remedy": self.remedy, "severity": self.severity}


def parse_domain(xml: str, state: str) -> list[DomainDisk]:
    """The disks in a domain's XML, in its order. CD-ROM drives and file disks included. Raises ``ParseError``."""
    root = ElementTree.fromstring(xml)
    name = root.findtext("name") or ""
    uuid = (root.findtext("uuid") or "").lower()
    controllers = {(node.get("type"), node.get("index")): _numbers(node.find("address")) for node in root.findall("devices/controller")}
    disks = []
    for node in root.findall("devices/disk"):
        target, source, driver = node.find("target"), node.find("source"), node.find("driver")
        where = node.find("address")
        bus = target.get("bus") if target is not None else None
        disks.append(
            DomainDisk(
                domain=name,
                domain_uuid=uuid,
                domain_state=state,
                target=(target.get("dev") if target is not None else None) or "",
                kind=node.get("device", "disk"),
                bus=bus,
                source=_source_path(source),
                source_type=node.get("type", "file"),
                serial=node.findtext("serial"),
                format=driver.get("type", "raw") if driver is not None else "raw",
                read_only=node.find("readonly") is not None,
                slice=source is not None and source.find("slices") is not None,
                encrypted=node.find("encryption") is not None or (source is not None and source.find("encryption") is not None),
                mirror=node.find("mirror") is not None,
                address=_numbers(where),
                controller=controllers.get((bus, where.get("controller", "0"))) if where is not None else None,
            )
        )
    return disks


def _source_path(node: ElementTree.Element | None) -> str | None:
    if node is None:
        return None
    for key in ("dev", "file", "name", "dir", "volume"):
        if node.get(key):
            return node.get(key)
    return None


def _numbers(node: ElementTree.Element | None) -> dict[str, int] | None:
    """An <address>'s attributes as numbers (libvirt writes PCI ones in hexadecimal)."""
    if node is None:
        return None
    found = {}
    for key, value in node.attrib.items():
        try:
            found[key] = int(value, 0)
        except ValueError:
            continue
    return found


def problems(disk: DomainDisk) -> list[Problem]:
    """Everything that is wrong with, or in the way of, a measured disk. Pure: looks at ``disk`` only."""
    found: list[Problem] = []
    if disk.kind in ("cdrom", "floppy") or not disk.source:
        what = f"the drive is a {disk.kind}" if disk.kind in ("cdrom", "floppy") else "the drive is empty"
        return [Problem("not_a_disk", f"{what}; there is nothing to resize", "name a disk with a block device as its source", "info", True)]
    if disk.source_type != "block":
        remedy = "grow it with the tool of its own storage; this collection only follows block devices"
        if disk.device:
            remedy = f"attach {disk.source} with type block (nvmeof.spdk.virt_disk)"
        text = f"the source {disk.source} has type {disk.source_type}; a block resize would change the file or volume itself, also cut it"
        found.append(Problem("not_block", text, remedy, "blocker" if disk.device else "info", True))
        # what else is in its way matters where it is one of our devices
        return found + (_obstacles(disk) if disk.device else [])
    if disk.active and disk.held is False:
        found.append(
            Problem(
                "held",
                f"QEMU holds another, removed device than the one {disk.source} leads to now: the guest reads zeros"
                + (f" ({disk.held_error})" if disk.held_error else ""),
                f"the device came back under another name: shut the domain {disk.domain} down and start it, then check the guest's file systems",
                "critical",
                True,
            )
        )
    elif disk.active and disk.held is None:
        found.append(
            Problem(
                "held_unknown",
                f"the device QEMU holds could not be checked: {disk.held_error or 'unknown'}",
                "run the module on the hypervisor itself with become: true",
                "blocker",
                True,
            )
        )
    if disk.device is None:
        found.append(
            Problem(
                "no_device",
                f"the source is no block device now: {disk.device_error}",
                "connect the namespace again (nvmeof.spdk.nvme_connection) and look at the host's nvme_info",
                "critical" if disk.active else "blocker",
                True,
            )
        )
    if disk.info_error:
        found.append(
            Problem("no_info", f"libvirt cannot read the disk's size: {disk.info_error}", "look at the source device and the domain's log", "blocker", True)
        )
    if disk.capacity_bytes is not None and disk.physical_bytes is not None and disk.capacity_bytes > disk.physical_bytes:
        found.append(
            Problem(
                "shrunk",
                f"QEMU shows {human(disk.capacity_bytes)} but the device has only {human(disk.physical_bytes)}: "
                "I/O past the device's end fails, and a block resize now would cut the guest's disk",
                "find out why the device shrank (image shrunk, target with a stale size), and grow the image back to at least the old size",
                "critical",
                True,
            )
        )
    found += _obstacles(disk)
    if disk.bus in COLD_BUSES:
        found.append(
            Problem(
                "bus", f"bus {disk.bus}: the guest sees a new size only after a reboot", "use bus virtio or scsi (virtio-scsi) for disks that grow", "warning"
            )
        )
    if _UNSTABLE.match(disk.source):
        found.append(
            Problem(
                "unstable_name",
                f"the source {disk.source} is a name that another namespace can have after the next start",
                "use /dev/disk/by-id/nvme-uuid.UUID as the disk's source",
                "warning",
            )
        )
    if disk.domain_state == "paused":
        found.append(
            Problem(
                "paused",
                "the domain is paused; the guest sees a new size when it is resumed",
                "virsh domblkerror tells whether an I/O error paused it",
                "warning",
            )
        )
    elif not disk.active:
        found.append(Problem("shut_off", f"the domain is {disk.domain_state}; it picks the device's size up at its next start", "none needed", "info"))
    return found


def _obstacles(disk: DomainDisk) -> list[Problem]:
    """What makes QEMU refuse a block resize, or give the guest something else than the namespace's size."""
    found = []
    if disk.read_only and disk.active:
        # QEMU: "Image is read-only"; a domain that is shut off takes the size at its start
        found.append(Problem("read_only", "the disk is read-only; QEMU refuses to resize it", "restart the domain to pick the new size up", "blocker", True))
    if disk.slice:
        # QEMU: "Cannot resize fixed-size raw disks"
        found.append(Problem("slice", "the disk is a slice of fixed size; QEMU refuses to resize it", "remove <slices> from the domain's XML", "blocker", True))
    if disk.format != "raw" or disk.encrypted:
        what = "is encrypted by QEMU" if disk.encrypted else f"has the format {disk.format}"
        found.append(Problem("format", f"the disk {what}, so its size is not its device's", "resize it with virsh blockresize by hand", "blocker", True))
    if disk.block_job:
        # QEMU: "Device '(null)' is in use"
        found.append(
            Problem(
                "block_job", f"a block job ({disk.block_job}) runs on the disk", "wait for it to end, or end it with virsh blockjob --abort", "blocker", True
            )
        )
    if disk.domain_job:
        # the size would reach one side of a migration only, and libvirt holds the domain meanwhile
        found.append(
            Problem(
                "domain_job",
                f"a job of the domain {disk.domain} is in progress: {disk.domain_job}",
                "wait for it to end (virsh domjobinfo), or end it with virsh domjobabort",
                "blocker",
                True,
            )
        )
    if disk.device is not None and disk.device.layers:
        layers = ", ".join(disk.device.layers)
        found.append(
            Problem(
                "layers",
                f"dm layer or partition {layers} lies between the source and the namespace; it does not grow with the namespace",
                f"grow {layers} on the host (nvmeof.spdk.nvme_layers, or its own tool), then resize the disk",
                "blocker",
                True,
            )
        )
    return found
