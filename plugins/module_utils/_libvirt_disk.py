# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Domains and their disks as libvirt, QEMU and the host's kernel show them.

Everything comes from the live XML: the XML of a running domain is what QEMU really has. The XML holds no size;
``virDomainGetBlockInfo`` does: its capacity is QEMU's and so the guest's, its physical the device's now. Capacity below
physical is exactly "a block resize is needed", and reading it needs no write access (libvirt 9.0 and 11.3).
"""

from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_device import HostDevices, NotABlockDevice, dashed_uuid
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_domain import STATES, DomainDisk, parse_domain
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_guest import COMMAND_TIMEOUT, GuestAgent, GuestError

#: virDomainJobOperation, by number.
JOBS = (
    "unknown operation",
    "start",
    "save",
    "restore",
    "live migration (incoming)",
    "live migration (outgoing)",
    "snapshot",
    "revert to a snapshot",
    "dump",
    "backup",
    "deletion of a snapshot",
)


def cause_of(error: Exception) -> str:
    """A libvirt error in one line, with its code: ``code 42: Domain not found: ...``."""
    code = getattr(error, "get_error_code", None)
    message = getattr(error, "get_error_message", None)
    if code is None or message is None:
        return str(error)
    return f"libvirt code {code()}: {message()}"


class Hypervisor:
    """One libvirt connection and the host under it. Raises :class:`HopError` only, never a ``libvirtError``."""

    def __init__(self, libvirt: t.Any, uri: str, read_only: bool, devices: HostDevices | None = None, libvirt_qemu: t.Any = None) -> None:
        """Connect. ``libvirt`` and ``libvirt_qemu`` are the binding's modules, so that tests can bring their own."""
        self.libvirt = libvirt
        self.libvirt_qemu = libvirt_qemu
        self.uri = uri
        self.devices = devices or HostDevices()
        #: Every domain that :meth:`disks` saw, also one without a disk.
        self.domains: list[dict[str, str]] = []
        # without a handler libvirt prints every error to stderr, where Ansible takes it for a broken module
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        try:
            self.connection = libvirt.openReadOnly(uri) if read_only else libvirt.open(uri)
        except libvirt.libvirtError as error:
            raise HopError(
                f"cannot connect to libvirt at {uri}",
                obj=uri,
                hop="disk",
                call="virConnectOpenReadOnly" if read_only else "virConnectOpen",
                cause=cause_of(error),
                remedy="start the daemon (systemctl start libvirtd, or virtqemud where libvirt is modular), check uri, and run with become: true",
            ) from error

    def close(self) -> None:
        try:
            self.connection.close()
        except self.libvirt.libvirtError:
            pass  # the daemon went away first; everything was read by then

    def disks(self) -> list[DomainDisk]:
        """All disks of all domains, from the live XML, not yet measured. A domain that vanishes meanwhile is left out."""
        try:
            domains = self.connection.listAllDomains(0)
        except self.libvirt.libvirtError as error:
            raise HopError(
                "cannot list the domains", obj=self.uri, hop="disk", call="virConnectListAllDomains", cause=cause_of(error), remedy="look at libvirt's log"
            ) from error
        found: list[DomainDisk] = []
        self.domains = []
        for domain in domains:
            try:
                number = domain.state(0)[0]
                xml = domain.XMLDesc(0)
            except self.libvirt.libvirtError as error:
                if error.get_error_code() == getattr(self.libvirt, "VIR_ERR_NO_DOMAIN", 42):
                    continue
                raise HopError(
                    "cannot read the domain", obj=domain.name(), hop="disk", call="virDomainGetXMLDesc", cause=cause_of(error), remedy="look at libvirt's log"
                ) from error
            state = STATES[number] if 0 <= number < len(STATES) else "no state"
            self.domains.append({"domain": domain.name(), "domain_state": state})
            job: str | None = None
            asked = False
            for disk in parse_domain(xml, state):
                if disk.active and not asked:
                    job, asked = self._domain_job(domain), True
                disk.handle, disk.domain_job = domain, job
                found.append(disk)
        return sorted(found, key=lambda disk: (disk.domain, disk.target))

    def _domain_job(self, domain: t.Any) -> str | None:
        """The job that holds a running domain in words, such as ``live migration (outgoing)``; None for none, or where the driver cannot tell.

        A backup does not count: it holds its disks, and they show a block job.
        """
        try:
            stats = domain.jobStats(0)
        except (AttributeError, self.libvirt.libvirtError):
            return None
        # virDomainJobType: 0 none, 1 bounded, 2 unbounded; the rest has ended
        if int(stats.get("type", 0)) not in (1, 2):
            return None
        number = int(stats.get("operation", 0))
        name = JOBS[number] if 0 <= number < len(JOBS) else f"operation {number}"
        return None if name == "backup" else name

    def locate(self, disk: DomainDisk) -> None:
        """Fill in the device behind the disk's source path."""
        disk.device, disk.device_error = None, None
        # a disk of type file can have a device node as its file, and is then a user of the namespace, too
        if disk.source_type not in ("block", "file") or not disk.source:
            return
        try:
            disk.device = self.devices.device(disk.source)
        except NotABlockDevice as error:
            disk.device_error = str(error) if disk.source_type == "block" else None

    def measure(self, disk: DomainDisk) -> None:
        """Read sizes, block job and the held device. What cannot be read stays ``None`` with its reason; nothing raises."""
        self.locate(disk)
        if disk.source and disk.target:
            self.measure_size(disk)
            self._measure_job(disk)
            self._measure_held(disk)

    def measure_size(self, disk: DomainDisk) -> None:
        """QEMU's capacity and the device's size (bytes)."""
        disk.info_error = None
        try:
            capacity, _allocation, physical = disk.handle.blockInfo(disk.target, 0)
        except self.libvirt.libvirtError as error:
            disk.capacity_bytes = disk.physical_bytes = None
            disk.info_error = cause_of(error)
            return
        disk.capacity_bytes, disk.physical_bytes = int(capacity), int(physical)

    def _measure_job(self, disk: DomainDisk) -> None:
        disk.block_job = "mirror" if disk.mirror else None
        if not disk.active:
            return
        try:
            job = disk.handle.blockJobInfo(disk.target, 0)
        except self.libvirt.libvirtError:
            return  # no such information for this drive (an empty one): the XML's <mirror> has answered
        if job:
            kinds = ("unknown", "pull", "copy", "commit", "active commit", "backup")
            number = int(job.get("type", 0))
            disk.block_job = kinds[number] if 0 <= number < len(kinds) else f"type {number}"

    def _measure_held(self, disk: DomainDisk) -> None:
        disk.held, disk.held_error = None, None
        if not disk.active or disk.source_type != "block":
            return
        pid = self.devices.qemu_pid(disk.domain, disk.domain_uuid)
        if pid is None:
            disk.held_error = f"no QEMU process with -uuid {disk.domain_uuid} is visible on this host"
            return
        numbers = self.devices.open_devices(pid)
        if numbers is None:
            disk.held_error = f"the open files of QEMU (pid {pid}) may not be read"
            return
        if disk.device is None:
            disk.held, disk.held_error = False, disk.device_error
        else:
            disk.held = disk.device.rdev in numbers

    def agent(self, disk: DomainDisk) -> GuestAgent:
        """The guest agent of the disk's domain. Raises :class:`GuestError` when there is nobody to ask."""
        if disk.domain_state != "running":
            raise GuestError(f"the domain is {disk.domain_state}; its guest cannot be asked")
        if self.libvirt_qemu is None:
            raise GuestError("the Python binding libvirt_qemu is missing")

        def call(command: str) -> str:
            try:
                answer = self.libvirt_qemu.qemuAgentCommand(disk.handle, command, COMMAND_TIMEOUT, 0)
            except self.libvirt.libvirtError as error:
                raise GuestError(f"guest agent: {cause_of(error)}") from error
            if answer is None:
                raise GuestError("guest agent: no answer")
            return str(answer)

        return GuestAgent(call)

    def guest(self, disk: DomainDisk, wanted: int | None = None, wait: float = 0) -> None:
        """Fill in the guest's own device and bytes, waiting up to ``wait`` seconds until it has ``wanted`` bytes."""
        disk.guest_bytes, disk.guest_device, disk.guest_error = None, None, None
        try:
            agent = self.agent(disk)
        except GuestError as error:
            disk.guest_error = str(error)
            return
        deadline = time.monotonic() + wait
        try:
            disk.guest_device = agent.device(disk.bus or "", disk.serial, disk.address, disk.controller)
            while True:
                disk.guest_bytes = agent.size(disk.guest_device)
                if wanted is None or disk.guest_bytes == wanted or time.monotonic() >= deadline:
                    break
                time.sleep(0.2)
        except GuestError as error:
            disk.guest_error = str(error)
            return
        if wanted is not None and disk.guest_bytes != wanted:
            disk.guest_error = f"the guest still shows {human(disk.guest_bytes)} on {disk.guest_device} after {wait:g} s, {human(wanted)} are expected"


def same_path(left: str | None, right: str | None) -> bool:
    """Whether two source paths are one: the same words, or links to the same file now."""
    if not left or not right:
        return False
    return left == right or os.path.realpath(left) == os.path.realpath(right)


def read_disks(
    hypervisor: Hypervisor,
    domains: list[str] | None = None,
    uuids: list[str] | None = None,
    sources: list[str] | None = None,
    guest_agent: str = "never",
) -> tuple[list[DomainDisk], list[HopError]]:
    """The measured disks that pass all given filters, and (``guest_agent`` ``require``) an error per guest that cannot be asked.

    Raises :class:`HopError` when libvirt cannot be read or a UUID is none.
    """
    wanted_uuids = set()
    for text in uuids or []:
        uuid = dashed_uuid(text)
        if uuid is None:
            raise HopError(f"{text!r} is not a UUID", obj=text, hop="disk", remedy="give the namespace's UUID, as nvme_info returns it")
        wanted_uuids.add(uuid)
    disks: list[DomainDisk] = []
    errors: list[HopError] = []
    for disk in hypervisor.disks():
        if domains and disk.domain not in domains and disk.domain_uuid not in domains:
            continue
        if sources and not any(same_path(disk.source, source) for source in sources):
            continue
        if wanted_uuids:
            hypervisor.locate(disk)
            if disk.namespace_uuid not in wanted_uuids:
                continue
        hypervisor.measure(disk)
        disks.append(disk)
        if guest_agent == "never" or disk.kind != "disk":
            continue
        hypervisor.guest(disk)
        if guest_agent == "require" and disk.active and disk.guest_error:
            errors.append(
                HopError(
                    f"the guest cannot be asked: {disk.guest_error}",
                    obj=disk.label,
                    hop="guest",
                    call="guest-get-disks, guest-file-read",
                    remedy="start qemu-guest-agent in the guest and its channel in the domain, and allow guest-get-disks and guest-file-open",
                )
            )
    return disks, errors
