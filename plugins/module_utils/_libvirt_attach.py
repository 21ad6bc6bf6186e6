# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Block disks of domains: attached and detached, in the running domain and in its definition.

A name such as /dev/nvme0n1 is another volume after the next start, and two domains on one volume destroy it, so both are
refused. libvirt takes a disk out of the live XML only when QEMU reports DEVICE_DELETED, that is when the guest has let go of it:
the live XML is what is waited for, not the answer to the call.
"""

from __future__ import annotations

import re
import time
import typing as t
from dataclasses import dataclass, field
from xml.etree import ElementTree

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_device import BlockDevice, NotABlockDevice, dashed_uuid
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_disk import Hypervisor, cause_of, same_path
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_domain import STATES, DomainDisk, parse_domain
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Changes

BY_ID = "/dev/disk/by-id/nvme-uuid."
#: virDomainDeviceModifyFlags and virDomainXMLFlags.
LIVE, CONFIG, XML_INACTIVE = 1, 2, 2
SERIAL_LENGTH = 20
PREFIXES = {"virtio": "vd", "scsi": "sd"}
POLL = 0.1

#: Names that the kernel gives away anew at every start.
_UNSTABLE = re.compile(r"^/dev/(nvme\d+n\d+(p\d+)?|dm-\d+|sd[a-z]+\d*|vd[a-z]+\d*|rbd\d+(p\d+)?|nbd\d+(p\d+)?|md\d+(p\d+)?)$")


def derived_serial(uuid: str | None) -> str | None:
    """The serial number a guest is given for a namespace: the first 20 digits of its UUID (virtio and scsi take no more)."""
    return uuid.replace("-", "")[:SERIAL_LENGTH] if uuid else None


@dataclass
class DiskWish:
    """One item of the module's options, and what became of it."""

    domain: str
    state: str
    target: str | None
    uuid: str | None
    source: str | None
    serial: str | None
    bus: str
    detach_running: bool
    live: str = "none"  # what is to be done: none, attach, detach
    config: str = "none"
    error: HopError | None = None
    done: list[str] = field(default_factory=list)
    device: BlockDevice | None = None
    found: Found | None = None
    disk: DomainDisk | None = None

    @property
    def label(self) -> str:
        return f"{self.domain}:{self.target or self.uuid or self.source}"

    @property
    def changed(self) -> bool:
        return self.live != "none" or self.config != "none"


@dataclass
class Found:
    """A domain with its disks, live (empty when it does not run) and defined (None for a transient domain)."""

    name: str
    uuid: str
    state: str
    handle: t.Any
    live: list[DomainDisk]
    config: list[DomainDisk] | None
    virtio_scsi: bool = False

    @property
    def active(self) -> bool:
        return self.state not in ("shut off", "crashed", "no state")

    def disks(self) -> list[DomainDisk]:
        return [*self.live, *(self.config or [])]


def _bad(wish: DiskWish, message: str, remedy: str, **parts: t.Any) -> HopError:
    return HopError(message, obj=wish.label, hop="disk", remedy=remedy, **parts)


def parse_disk_wish(item: t.Mapping[str, t.Any]) -> DiskWish:
    """A wish from module options. Raises :class:`HopError` for what cannot be meant."""
    wish = DiskWish(
        domain=item["domain"],
        state=item.get("state") or "present",
        target=item.get("target"),
        uuid=item.get("uuid"),
        source=item.get("source"),
        serial=item.get("serial"),
        bus=item.get("bus") or "virtio",
        detach_running=bool(item.get("detach_running")),
    )
    if wish.uuid:
        uuid = dashed_uuid(wish.uuid)
        if uuid is None:
            raise _bad(wish, f"{wish.uuid!r} is not a UUID", "give the namespace's UUID, as nvme_info returns it")
        wish.uuid = uuid
    if not (wish.uuid or wish.source or (wish.target and wish.state == "absent")):
        raise _bad(wish, "the disk names no volume", "give the namespace's uuid, or a source below /dev/disk/by-id")
    wish.source = wish.source or (BY_ID + wish.uuid if wish.uuid else None)
    if wish.target and not re.match(r"^[a-z]{2,3}[a-z]{0,2}$", wish.target):
        raise _bad(wish, f"target {wish.target!r} is not the name of a disk", "use a name such as vdb (virtio) or sdb (scsi), or leave it out")
    if wish.state == "present":
        if wish.source and _UNSTABLE.match(wish.source):
            raise _bad(wish, f"the source {wish.source} can be another volume after the next start", f"name it by uuid, or as {BY_ID}UUID")
        if wish.target and not wish.target.startswith(PREFIXES[wish.bus]):
            raise _bad(wish, f"target {wish.target} does not fit bus {wish.bus}", f"use {PREFIXES[wish.bus]}b or the like, or leave it out")
        if wish.serial is not None and not re.match(rf"^[A-Za-z0-9_.+-]{{1,{SERIAL_LENGTH}}}$", wish.serial):
            raise _bad(wish, f"serial {wish.serial!r} is not 1 to {SERIAL_LENGTH} letters, digits, or _ . + -", "correct it, or leave it out")
    return wish


def disk_xml(wish: DiskWish) -> str:
    """The <disk> of a wish; built as a tree, so that every value is escaped."""
    disk = ElementTree.Element("disk", type="block", device="disk")
    ElementTree.SubElement(disk, "driver", name="qemu", type="raw", cache="none", io="native")
    ElementTree.SubElement(disk, "source", dev=t.cast(str, wish.source))
    ElementTree.SubElement(disk, "target", dev=t.cast(str, wish.target), bus=wish.bus)
    if wish.serial:
        ElementTree.SubElement(disk, "serial").text = wish.serial
    return ElementTree.tostring(disk, encoding="unicode")


def _node_xml(xml: str, target: str) -> str:
    """The <disk> with this target out of a domain's XML, for the call that detaches it."""
    for node in ElementTree.fromstring(xml).findall("devices/disk"):
        where = node.find("target")
        if where is not None and where.get("dev") == target:
            return ElementTree.tostring(node, encoding="unicode")
    raise AssertionError(target)


class DiskManager:
    """All wishes of one call over one connection."""

    def __init__(self, hypervisor: Hypervisor, wait_timeout: float, sleep: t.Callable[[float], None] = time.sleep) -> None:
        self.hypervisor = hypervisor
        self.wait_timeout = wait_timeout
        self.sleep = sleep
        self.domains: dict[str, Found] = {}

    # -- read ------------------------------------------------------------------------------------------------------

    def _call(self, label: str, call: str, run: t.Callable[[], t.Any], remedy: str) -> t.Any:
        try:
            return run()
        except self.hypervisor.libvirt.libvirtError as error:
            raise HopError(f"libvirt refused {call}", obj=label, hop="disk", call=call, cause=cause_of(error), remedy=remedy) from error

    def _read_one(self, domain: t.Any) -> Found:
        name = domain.name()
        number = self._call(name, "virDomainGetState", lambda: domain.state(0)[0], "look at libvirt's log")
        state = STATES[number] if 0 <= number < len(STATES) else "no state"
        xml = self._call(name, "virDomainGetXMLDesc", lambda: domain.XMLDesc(0), "look at libvirt's log")
        disks = parse_domain(xml, state)
        config = None
        if domain.isPersistent():
            inactive = self._call(name, "virDomainGetXMLDesc", lambda: domain.XMLDesc(XML_INACTIVE), "look at libvirt's log")
            config = parse_domain(inactive, "shut off")
        scsi = any(node.get("type") == "scsi" and node.get("model") == "virtio-scsi" for node in ElementTree.fromstring(xml).findall("devices/controller"))
        uuid = (ElementTree.fromstring(xml).findtext("uuid") or "").lower()
        found = Found(name, uuid, state, domain, [], config, scsi)
        found.live = disks if found.active else []
        for disk in found.disks():
            disk.handle = domain
            self.hypervisor.locate(disk)
        return found

    def read(self) -> None:
        """All domains of the hypervisor; the source of a new disk must be no one else's."""
        domains = self._call(self.hypervisor.uri, "virConnectListAllDomains", lambda: self.hypervisor.connection.listAllDomains(0), "look at libvirt's log")
        self.domains = {}
        for domain in domains:
            found = self._read_one(domain)
            self.domains[found.name] = self.domains[found.uuid] = found

    # -- decide ----------------------------------------------------------------------------------------------------

    def plan(self, wishes: list[DiskWish]) -> None:
        """Decide about every wish; what is refused is left in its ``error``, and then nothing of the call is carried out."""
        self.read()
        seen: dict[tuple[str, str], DiskWish] = {}
        for wish in wishes:
            try:
                found = self.domains.get(wish.domain)
                if found is None:
                    names = ", ".join(sorted({there.name for there in self.domains.values()})) or "none"
                    raise _bad(wish, f"there is no domain {wish.domain}", "correct the name, or run against its hypervisor", cause=f"domains here: {names}")
                wish.found, wish.domain = found, found.name
                if wish.state == "present":
                    self._plan_attach(wish, found, [other for other in wishes if other is not wish])
                else:
                    self._plan_detach(wish, found)
                keys = [("target", f"{found.uuid}:{wish.target}")] if wish.target else []
                keys += [("source", t.cast(str, wish.source))] if wish.state == "present" else []
                for key in keys:
                    if seen.setdefault(key, wish) is not wish:
                        raise _bad(wish, f"the list names this {key[0]} twice, also for {seen[key].label}", "name each disk once")
            except HopError as error:
                wish.error = error

    def _same(self, disk: DomainDisk, wish: DiskWish) -> bool:
        if wish.device is not None and disk.device is not None and disk.device.rdev == wish.device.rdev:
            return True
        return bool(wish.uuid and disk.namespace_uuid == wish.uuid) or same_path(disk.source, wish.source)

    def _plan_attach(self, wish: DiskWish, found: Found, others: list[DiskWish]) -> None:
        self._check_source(wish)
        for other in {there.uuid: there for there in self.domains.values()}.values():
            for disk in other.disks():
                if other is not found and self._same(disk, wish):
                    raise _bad(
                        wish,
                        f"the source {wish.source} is already the disk {disk.target} of the domain {other.name}",
                        "two domains on one volume destroy it: detach it there first, or name another volume",
                    )
                if other is found and self._same(disk, wish):
                    if wish.target and disk.target != wish.target:
                        raise _bad(wish, f"the volume is already the disk {disk.target} of this domain", f"ask for target {disk.target}, or leave it out")
                    wish.target = disk.target
        if wish.target is None:
            taken = {disk.target for disk in found.disks()} | {other.target for other in others if other.domain in (found.name, found.uuid)}
            letters = "abcdefghijklmnopqrstuvwxyz"
            names = (PREFIXES[wish.bus] + first + second for first in ("", *letters) for second in letters)
            wish.target = next(name for name in names if name not in taken)
        if wish.bus == "scsi" and not found.virtio_scsi:
            raise _bad(
                wish,
                "the domain has no virtio-scsi controller, and libvirt would add one of another model",
                "add <controller type='scsi' model='virtio-scsi'/> to the domain, or use bus virtio",
            )
        wish.serial = wish.serial or derived_serial(wish.uuid)
        if found.active:
            wish.live = self._plan_side(wish, found.live)
        if found.config is not None:
            wish.config = self._plan_side(wish, found.config)

    def _plan_side(self, wish: DiskWish, disks: list[DomainDisk]) -> str:
        there = next((disk for disk in disks if disk.target == wish.target), None)
        if there is None:
            return "attach"
        if not self._same(there, wish):
            raise _bad(wish, f"the target {wish.target} is another disk: {there.source or 'an empty drive'}", "use another target, or leave it out")
        if there.bus != wish.bus:
            raise _bad(wish, f"the disk is there with bus {there.bus}, not {wish.bus}", "ask for what it has, or detach it first (state=absent)")
        return "none"

    def _check_source(self, wish: DiskWish) -> None:
        try:
            wish.device = self.hypervisor.devices.device(t.cast(str, wish.source))
        except NotABlockDevice as error:
            raise HopError(
                f"the source is no block device now: {error}",
                obj=wish.label,
                hop="device",
                remedy="connect the host to the subsystem (nvmeof.spdk.nvme_connection) and wait for the namespace (nvmeof.spdk.nvme_rescan)",
            ) from error
        if wish.uuid and wish.device.namespace_uuid not in (wish.uuid, None):
            raise HopError(
                f"{wish.source} leads to the namespace {wish.device.namespace_uuid}, not {wish.uuid}",
                obj=wish.label,
                hop="device",
                remedy="correct source or uuid, or look for a stale link (udevadm trigger)",
            )
        wish.uuid = wish.uuid or wish.device.namespace_uuid

    def _plan_detach(self, wish: DiskWish, found: Found) -> None:
        if wish.source:
            try:
                wish.device = self.hypervisor.devices.device(wish.source)
            except NotABlockDevice:
                wish.device = None  # a volume that is gone can be detached all the same
        for disks, side in ((found.live, "live"), (found.config or [], "config")):
            chosen = [disk for disk in disks if (disk.target == wish.target if wish.target else self._same(disk, wish))]
            if wish.target and wish.source and chosen and not self._same(chosen[0], wish):
                raise _bad(wish, f"the disk {wish.target} is {chosen[0].source}, not {wish.source}", "correct target, uuid or source")
            if not chosen:
                continue
            wish.target = chosen[0].target
            setattr(wish, side, "detach")
        if wish.live == "detach" and not wish.detach_running:
            raise _bad(
                wish,
                f"the domain is {found.state} and its guest may use the disk",
                "unmount it in the guest, then set detach_running; or shut the domain down",
            )

    # -- carry out and read back -----------------------------------------------------------------------------------

    def apply(self, wishes: list[DiskWish]) -> None:
        """Carry out what was planned, each wish by itself; an error is left in the wish."""
        for wish in wishes:
            if not wish.changed or wish.error:
                continue
            try:
                if wish.state == "present":
                    self._attach(wish)
                else:
                    self._detach(wish)
            except HopError as error:
                wish.error = error
        self.read()
        for wish in wishes:
            try:
                if wish.error is None:
                    self._verify(wish)
            except HopError as error:
                wish.error = error

    def _attach(self, wish: DiskWish) -> None:
        flags = (LIVE if wish.live == "attach" else 0) | (CONFIG if wish.config == "attach" else 0)
        xml, handle = disk_xml(wish), t.cast(Found, wish.found).handle
        remedy = "look at the domain's log in /var/log/libvirt/qemu"
        self._call(wish.label, "virDomainAttachDeviceFlags", lambda: handle.attachDeviceFlags(xml, flags), remedy)
        wish.done = [side for side in ("live", "config") if getattr(wish, side) == "attach"]

    def _detach(self, wish: DiskWish) -> None:
        """The running domain first: while it has the disk, the definition keeps it too."""
        handle = t.cast(Found, wish.found).handle
        target = t.cast(str, wish.target)
        if wish.live == "detach":
            xml = _node_xml(handle.XMLDesc(0), target)
            self._call(wish.label, "virDomainDetachDeviceFlags", lambda: handle.detachDeviceFlags(xml, LIVE), "unmount the disk in the guest, then run again")
            deadline = time.monotonic() + self.wait_timeout
            while any(disk.target == target for disk in parse_domain(handle.XMLDesc(0), "running")):
                if time.monotonic() >= deadline:
                    raise _bad(
                        wish,
                        f"the guest has not let go of the disk within {self.wait_timeout:g} s",
                        "unmount it in the guest (one that boots, is paused or has no hot-plug answers later or never), or shut the domain down; run again",
                        call="virDomainDetachDeviceFlags",
                        cause="no DEVICE_DELETED from QEMU; the request stays with the guest",
                    )
                self.sleep(POLL)
            wish.done.append("live")
        if wish.config == "detach":
            xml = _node_xml(handle.XMLDesc(XML_INACTIVE), target)
            self._call(wish.label, "virDomainDetachDeviceFlags", lambda: handle.detachDeviceFlags(xml, CONFIG), "look at libvirt's log")
            wish.done.append("config")

    def _verify(self, wish: DiskWish) -> None:
        found = self.domains.get(wish.domain)
        if found is None:
            raise _bad(wish, "the domain is gone", "define it again, then run again")
        sides = [(found.live, "running domain")] if found.active else []
        sides += [(found.config, "definition")] if found.config is not None else []
        for disks, where in sides:
            there = [disk for disk in disks if disk.target == wish.target and (wish.state == "absent" or self._same(disk, wish))]
            if wish.target and bool(there) != (wish.state == "present"):
                verb = "is not in" if wish.state == "present" else "is still in"
                raise _bad(wish, f"libvirt said success, but the disk {verb} the {where}", "look at libvirt's log and for others who change the domain")
            if there and wish.state == "present":
                wish.disk = there[0] if wish.disk is None else wish.disk
        if wish.disk is not None and wish.disk.active:
            self.hypervisor.measure(wish.disk)
            if wish.disk.held is False:
                raise _bad(wish, f"QEMU has not opened the device behind {wish.source}", "detach the disk (state=absent) and look at the domain's log")


def disk_result(wish: DiskWish) -> dict[str, t.Any]:
    disk = wish.disk
    return {
        "domain": wish.domain,
        "target": wish.target,
        "bus": disk.bus if disk else wish.bus,
        "source": wish.source,
        "uuid": wish.uuid,
        "serial": disk.serial if disk else wish.serial,
        "state": wish.state,
        "live": wish.live,
        "config": wish.config,
        "held": disk.held if disk else None,
        "capacity_bytes": disk.capacity_bytes if disk else None,
        "changed": wish.changed,
        "error": wish.error.as_dict() if wish.error else None,
    }


def changes_of(wishes: list[DiskWish], only_done: bool) -> Changes:
    """What is, or with ``only_done`` really was, changed."""
    changes = Changes()
    for wish in wishes:
        sides = wish.done if only_done else [side for side in ("live", "config") if getattr(wish, side) != "none"]
        if not sides:
            continue
        shown = {"source": wish.source, "in": sides}
        before, after = (None, shown) if wish.state == "present" else (shown, None)
        changes.add("disk", wish.label, "attach" if wish.state == "present" else "detach", before, after, lambda: None)
    return changes
