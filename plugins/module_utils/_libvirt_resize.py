# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Making domain disks show their device's size.

QEMU answers "success" to a size below the device's, to a stale one and to 0, and then gives the guest the whole device, also
when that is less than before (QEMU 7.2 to 10.0). For a disk of type file it cuts the file itself. So everything is checked before
the call, and what the call achieved is read back.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import CapacityError, human, parse_size
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_device import dashed_uuid
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_disk import Hypervisor, cause_of, same_path
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_domain import COLD_BUSES, DomainDisk, problems
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Changes

#: What QEMU says when the device is smaller than the size asked for; right after the device grew it can be a race.
LAGGING_TEXT = "Cannot grow device files"
RETRY_PAUSE = 0.05


@dataclass
class Wish:
    """One item of the module's options. ``size_bytes`` ``None``: the device's own size."""

    domain: str | None = None
    target: str | None = None
    source: str | None = None
    uuid: str | None = None
    size_bytes: int | None = None

    @property
    def label(self) -> str:
        parts = [f"{key} {value}" for key, value in (("domain", self.domain), ("target", self.target), ("source", self.source), ("uuid", self.uuid)) if value]
        return ", ".join(parts)


@dataclass
class Outcome:
    """What became of one disk. ``before_bytes`` is QEMU's capacity before."""

    disk: DomainDisk
    wanted: int | None = None
    before_bytes: int | None = None
    changed: bool = False
    satisfied: bool = False
    message: str = ""
    error: HopError | None = None

    def result(self) -> dict[str, t.Any]:
        found = self.disk.result()
        found.update(
            before_bytes=self.before_bytes,
            changed=self.changed,
            satisfied=self.satisfied,
            message=self.message,
            error=self.error.as_dict() if self.error else None,
        )
        return found


def parse_wish(item: dict[str, t.Any]) -> Wish:
    """A wish from module options. Raises :class:`HopError` for what cannot be meant."""
    wish = Wish(domain=item.get("domain"), target=item.get("target"), source=item.get("source"), uuid=item.get("uuid"))
    if not (wish.source or wish.uuid or (wish.domain and wish.target)):
        raise HopError(
            "a disk is named by domain and target, by source, or by uuid",
            obj=wish.label or "disk",
            hop="disk",
            remedy="give domain and target (vda), or source (/dev/disk/by-id/...), or the namespace's uuid",
        )
    if wish.uuid:
        uuid = dashed_uuid(wish.uuid)
        if uuid is None:
            raise HopError(f"{wish.uuid!r} is not a UUID", obj=wish.label, hop="disk", remedy="give the namespace's UUID, as nvme_info returns it")
        wish.uuid = uuid
    if item.get("size") is not None:
        try:
            wish.size_bytes = parse_size(item["size"])
        except CapacityError as error:
            raise HopError(str(error), obj=wish.label, hop="disk", remedy="write the size with its unit, or leave it out for the device's own size") from error
    return wish


def select(disks: list[DomainDisk], wish: Wish) -> list[DomainDisk]:
    """The located disks a wish means: one for domain and target, every domain's for a source or a namespace.

    Raises :class:`HopError` naming what exists when there is none.
    """
    domains = sorted({disk.domain for disk in disks})
    pool = disks
    if wish.domain:
        pool = [disk for disk in disks if wish.domain in (disk.domain, disk.domain_uuid)]
        if not pool:
            raise HopError(
                f"there is no domain {wish.domain} with disks",
                obj=wish.label,
                hop="disk",
                cause="domains with disks here: " + (", ".join(domains) or "none"),
                remedy="correct the domain's name, or run against the hypervisor that has it",
            )
    found = [
        disk
        for disk in pool
        if (not wish.target or disk.target == wish.target)
        and (not wish.source or same_path(disk.source, wish.source))
        and (not wish.uuid or disk.namespace_uuid == wish.uuid)
    ]
    if not found:
        there = ", ".join(f"{disk.label} ({disk.source or 'empty'})" for disk in pool) or "none"
        raise HopError(
            f"no disk matches {wish.label}",
            obj=wish.label,
            hop="disk",
            cause=f"disks here: {there[:1000]}",
            remedy="correct the disk's name; nvmeof.spdk.virt_disk_info lists domains, disks and their namespaces",
        )
    return found


def _error(disk: DomainDisk, message: str, remedy: str, hop: str = "disk", call: str | None = None, cause: str | None = None) -> HopError:
    return HopError(message, obj=disk.label, hop=hop, call=call, cause=cause, remedy=remedy)


def size_for(disk: DomainDisk, wish: Wish) -> int | None:
    """The capacity a wish means for this disk; ``None``: its device's size.

    The size of a wish by the namespace's UUID is the namespace's. A disk on a layer (dm-multipath, LUKS) takes what the layer has then, once the
    namespace's device has that size.
    """
    device = disk.device
    if wish.size_bytes is None or not wish.uuid or device is None or not device.layers or device.namespace_bytes is None:
        return wish.size_bytes
    return None if device.namespace_bytes >= wish.size_bytes else wish.size_bytes


def plan(disk: DomainDisk, size_bytes: int | None, check_mode: bool) -> Outcome:
    """What is to be done with a measured disk: an outcome that is satisfied, has an error, or is ``changed`` (a resize is due).

    In check mode a device that has not grown yet is no error: the hops before may not have been moved either.
    """
    outcome = Outcome(disk, before_bytes=disk.capacity_bytes)
    # layers do not stop QEMU from taking the size of the layer itself
    for problem in problems(disk):
        if problem.blocking and problem.code != "layers":
            outcome.error = _error(disk, problem.problem, problem.remedy)
            return outcome
    capacity, physical = t.cast(int, disk.capacity_bytes), t.cast(int, disk.physical_bytes)
    wanted = physical if size_bytes is None else size_bytes
    outcome.wanted = wanted
    if wanted < capacity:
        outcome.error = _error(
            disk,
            f"{human(wanted)} ({wanted} bytes) is below the present {human(capacity)} ({capacity} bytes); capacity only grows",
            "give the present or a larger size, or leave size out",
        )
    elif wanted > physical:
        through = f" (through {', '.join(disk.device.layers)}, which has to be grown first)" if disk.device and disk.device.layers else ""
        lag = (
            f"the host has not seen the new size: {disk.source} has {human(physical)} ({physical} bytes), {human(wanted)} are wanted; hop device lags{through}"
        )
        if check_mode:
            outcome.changed, outcome.message = True, lag
        else:
            outcome.error = _error(disk, lag, "grow the image and the bdev on all targets, then bring the host up with nvmeof.spdk.nvme_rescan", hop="device")
    elif not disk.active:
        outcome.satisfied = True
        outcome.message = f"the domain is {disk.domain_state}; it picks {human(physical)} up at its next start"
    elif wanted == capacity:
        outcome.satisfied = True
        outcome.message = f"QEMU shows {human(capacity)} already"
    elif wanted < physical:
        outcome.error = _error(
            disk,
            f"{human(wanted)} ({wanted} bytes) is less than the device's {human(physical)} ({physical} bytes); QEMU would give the guest the whole device",
            f"ask for {physical}B, or leave size out",
        )
    else:
        outcome.changed = True
        outcome.message = f"from {human(capacity)} to {human(wanted)}" + ("; the guest sees it when resumed" if disk.domain_state == "paused" else "")
    return outcome


def resize(hypervisor: Hypervisor, outcome: Outcome, wait_timeout: float) -> None:
    """Carry out a planned resize and read it back. The error, if any, goes into ``outcome``."""
    disk, wanted = outcome.disk, t.cast(int, outcome.wanted)
    deadline = time.monotonic() + wait_timeout
    outcome.changed = False
    try:
        _call(hypervisor, disk, wanted, deadline)
        while True:
            hypervisor.measure_size(disk)
            if disk.capacity_bytes == wanted == disk.physical_bytes or time.monotonic() >= deadline:
                break
            time.sleep(RETRY_PAUSE)
    except HopError as error:
        outcome.error = error
        hypervisor.measure_size(disk)
    outcome.changed = disk.capacity_bytes is not None and disk.capacity_bytes != outcome.before_bytes
    outcome.satisfied = outcome.error is None and disk.capacity_bytes == wanted == disk.physical_bytes
    if outcome.error is None and not outcome.satisfied:
        outcome.error = _error(
            disk,
            f"after the resize QEMU shows {human(disk.capacity_bytes)} and the device has {human(disk.physical_bytes)}, {human(wanted)} were expected",
            "run again; if the device changes by itself, look at the targets with nvmeof.spdk.spdk_target_info",
            call="virDomainGetBlockInfo",
            cause=disk.info_error,
        )


def _call(hypervisor: Hypervisor, disk: DomainDisk, wanted: int, deadline: float) -> None:
    libvirt = hypervisor.libvirt
    flags = libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES
    # libvirt 10.0 and later: fails unless the size is exactly the source's. The binding may be newer than the daemon.
    assertion = getattr(libvirt, "VIR_DOMAIN_BLOCK_RESIZE_CAPACITY", 0)
    while True:
        try:
            disk.handle.blockResize(disk.target, wanted, flags | assertion)
            return
        except libvirt.libvirtError as error:
            cause = cause_of(error)
            if assertion and "unsupported flags" in cause:
                assertion = 0
                continue
            if LAGGING_TEXT not in cause:
                raise _error(
                    disk,
                    f"QEMU did not take {human(wanted)}",
                    "look at the domain's log in /var/log/libvirt/qemu; is another job or snapshot using the disk?",
                    call=f"virDomainBlockResize({disk.target}, {wanted}, BYTES)",
                    cause=cause,
                ) from error
            # The kernel shows a device's new size before its open descriptors have it, so the very first try can fail
            # (kernel 6.1: 4 or 5 tries within 80 ms). If the device itself has it, it is worth waiting for.
            hypervisor.locate(disk)
            shown = disk.device.size_bytes if disk.device else None
            if shown is None or shown < wanted or time.monotonic() >= deadline:
                raise _error(
                    disk,
                    f"the host has not seen the new size: the device shows {human(shown)}, {human(wanted)} are wanted; hop device lags",
                    "bring the host up with nvmeof.spdk.nvme_rescan, then run again",
                    hop="device",
                    call=f"virDomainBlockResize({disk.target}, {wanted}, BYTES)",
                    cause=cause,
                ) from error
        time.sleep(RETRY_PAUSE)


def converge(hypervisor: Hypervisor, wishes: list[Wish], guest_agent: str, wait_timeout: float, check_mode: bool) -> tuple[list[Outcome], list[HopError]]:
    """Every wish over one connection. Returns the outcomes by domain and target, and all errors (nothing found, refused, failed)."""
    disks = hypervisor.disks()
    for disk in disks:
        hypervisor.locate(disk)
    errors: list[HopError] = []
    chosen: dict[tuple[str, str], tuple[DomainDisk, int | None]] = {}
    conflicts: set[tuple[str, str]] = set()
    for wish in wishes:
        try:
            for disk in select(disks, wish):
                key = (disk.domain_uuid, disk.target)
                size_bytes = size_for(disk, wish)
                if key in chosen and chosen[key][1] != size_bytes:
                    conflicts.add(key)
                chosen[key] = (disk, size_bytes)
        except HopError as error:
            errors.append(error)
    outcomes = []
    for key, (disk, size_bytes) in sorted(chosen.items(), key=lambda item: (item[1][0].domain, item[1][0].target)):
        hypervisor.measure(disk)
        if key in conflicts:
            outcome = Outcome(disk, before_bytes=disk.capacity_bytes)
            outcome.error = _error(disk, "the disk is asked for twice with different sizes", "name every disk once, or with one size")
        else:
            outcome = plan(disk, size_bytes, check_mode)
        outcomes.append(outcome)
    if not check_mode:
        for outcome in outcomes:
            if outcome.changed and outcome.error is None:
                resize(hypervisor, outcome, wait_timeout)
    if guest_agent != "never":
        for outcome in outcomes:
            if outcome.error is None:
                _prove(hypervisor, outcome, guest_agent, wait_timeout, check_mode)
    errors += [outcome.error for outcome in outcomes if outcome.error is not None]
    return outcomes, errors


def _prove(hypervisor: Hypervisor, outcome: Outcome, guest_agent: str, wait_timeout: float, check_mode: bool) -> None:
    """Ask the guest itself. With ``require`` a guest that cannot be asked, or does not follow, is an error."""
    disk = outcome.disk
    if check_mode and outcome.changed:
        hypervisor.guest(disk)
    else:
        hypervisor.guest(disk, wanted=disk.capacity_bytes, wait=0 if disk.bus in COLD_BUSES else wait_timeout)
    if disk.guest_error and guest_agent == "require" and disk.active:
        outcome.satisfied = False
        outcome.error = _error(
            disk,
            f"the guest does not prove the size: {disk.guest_error}",
            "start qemu-guest-agent in the guest and its channel in the domain, and allow guest-get-disks and guest-file-open, or use guest_agent: auto",
            hop="guest",
            call="guest-get-disks, guest-file-read",
        )


def changes_of(outcomes: list[Outcome]) -> Changes:
    """What the outcomes changed, or in check mode would change, for ``changed``, ``changes`` and the diff."""
    changes = Changes()
    for outcome in outcomes:
        if outcome.changed:
            after = outcome.disk.capacity_bytes
            if after == outcome.before_bytes:
                after = outcome.wanted  # check mode: nothing was done
            changes.add("disk", outcome.disk.label, "grow", {"capacity_bytes": outcome.before_bytes}, {"capacity_bytes": after}, lambda: None)
    return changes
