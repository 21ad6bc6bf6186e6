# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Snapshots that a growth takes of an image before it resizes it, and their end.

The name says all: ``nvmeof-spdk-grow-20261202T101500Z-RUN`` is ours, taken by the run RUN, and may be removed from 2026-12-02 10:15 UTC on. So the
remover needs no state, and touches nothing whose name it cannot read. Nothing here rolls an image back: a snapshot has the size before the growth.
"""

from __future__ import annotations

import calendar
import re
import time
import typing as t
import uuid as uuid_module
from dataclasses import dataclass, field

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import Ceph, CephError, ImageNotFoundError, ImageSpec, Snapshot, image_spec
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Change, Changes

PREFIX = "nvmeof-spdk-grow-"
NAME = re.compile(re.escape(PREFIX) + r"([0-9]{8}T[0-9]{6}Z)-([0-9A-Za-z._-]{1,64})\Z")
STAMP = "%Y%m%dT%H%M%SZ"
#: Seconds.
UNITS = {"h": 3600, "d": 86400, "w": 7 * 86400}
LONGEST = 3650 * UNITS["d"]
#: A snapshot of the image's present size that is no older (seconds) is of a growth that was killed before it resized: the repetition uses it.
SAME_GROWTH = 15 * 60
#: So many seconds may this host's clock differ from Ceph's; else a snapshot would end too early or never.
SKEW = 15 * 60


def parse_keep(text: str) -> int:
    """``7d`` (also ``h``, ``w``) in seconds; raises :class:`HopError`."""
    match = re.match(r"([1-9][0-9]{0,6})([hdw])\Z", text.strip())
    seconds = int(match.group(1)) * UNITS[match.group(2)] if match else 0
    if not 0 < seconds <= LONGEST:
        raise HopError(
            f"snapshot_keep {text!r} is no time to keep a snapshot",
            obj="snapshot",
            hop="image",
            remedy="give a number of hours, days or weeks, such as 12h, 7d or 4w; at most 3650d",
        )
    return seconds


def snapshot_name(expires: float, run: str) -> str:
    """The name of a snapshot that may go from ``expires`` (seconds since the epoch) on."""
    return f"{PREFIX}{time.strftime(STAMP, time.gmtime(expires))}-{re.sub('[^0-9A-Za-z._-]+', '-', run)[:64]}"


def read_name(name: str) -> tuple[float, str] | None:
    """When a snapshot of this name ends (seconds since the epoch) and its run; None for a name that is not ours or says no time."""
    match = NAME.match(name)
    if match is None:
        return None
    try:
        return float(calendar.timegm(time.strptime(match.group(1), STAMP))), match.group(2)
    except ValueError:
        return None


def iso(seconds: float) -> str:
    """A time for people: ``2026-12-02T10:15:00Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


# -- before a growth -------------------------------------------------------------------------------------------------


class SnapshotWish:
    """That one module call takes snapshots, of one name, before it resizes."""

    def __init__(self, keep: str, run: str | None = None) -> None:
        self.expires = time.time() + parse_keep(keep)
        self.name = snapshot_name(self.expires, run or uuid_module.uuid4().hex[:8])

    def standing(self, ceph: Ceph, spec: ImageSpec, size: int) -> Snapshot | None:
        """The snapshot that an earlier try of this growth has left: ours, of the image's present size, young, and not about to end."""
        now = time.time()
        for snapshot in ceph.snapshots(spec):
            told = read_name(snapshot.name)
            if told is None or told[0] <= now or snapshot.size_bytes != size:
                continue
            if snapshot.name == self.name or (snapshot.taken is not None and abs(now - snapshot.taken) <= SAME_GROWTH):
                return snapshot
        return None

    def plan(self, ceph: Ceph, changes: Changes, spec: ImageSpec, size: int, apply: t.Callable[[], None]) -> tuple[str, Change | None]:
        """The name of the snapshot that there will be, and the change that makes it (None: there is one already)."""
        found = self.standing(ceph, spec, size)
        if found is not None:
            return found.name, None
        after = {"state": "present", "size_bytes": size, "expires": iso(self.expires)}
        return self.name, changes.add("snapshot", f"{spec}@{self.name}", "create", None, after, apply)

    def take(self, ceph: Ceph, spec: ImageSpec, goal: int, change: Change | None) -> str | None:
        """Take it, under the image's lease; its name, None when the image has ``goal`` bytes already and is not resized at all.

        Raises :class:`HopError` when there is none afterwards, or when the clocks disagree on when it ends: then nothing may be resized.
        """
        size = ceph.size(spec)
        found = self.standing(ceph, spec, size) if size < goal else None
        if size >= goal or found is not None:
            if change is not None:
                change.action, change.after = "none", None
            return found.name if found else None
        ceph.create_snapshot(spec, self.name)
        made = next((snapshot for snapshot in ceph.snapshots(spec) if snapshot.name == self.name), None)
        if made is None:
            raise self._error("the snapshot that was taken is not there", spec, None, "look for somebody else who removes snapshots, then run again")
        if change is not None:
            change.done = True
        if made.taken is not None and abs(time.time() - made.taken) > SKEW:
            raise self._error(
                "the clocks of this host and of Ceph differ, so it cannot be said when the snapshot ends; the image was not resized",
                spec,
                f"{iso(time.time())} here, {iso(made.taken)} there",
                f"set the clocks, remove {spec}@{self.name} (rbd snap rm), and run again",
            )
        return self.name

    def _error(self, message: str, spec: ImageSpec, cause: str | None, remedy: str) -> HopError:
        return HopError(message, obj=f"{spec}@{self.name}", hop="image", call="snap create", cause=cause, remedy=remedy)


# -- the end of snapshots --------------------------------------------------------------------------------------------


@dataclass
class OldSnapshot:
    """One of our snapshots: ``reason`` says why it stays, None when it goes."""

    spec: ImageSpec
    name: str
    size_bytes: int
    expires: float | None = None
    run: str | None = None
    protected: bool = False
    clones: list[str] = field(default_factory=list)
    reason: str | None = None
    change: Change | None = None

    def result(self, check_mode: bool) -> dict[str, t.Any]:
        """This snapshot for the module's ``snapshots``."""
        gone = self.change is not None and (check_mode or self.change.done)
        return {
            "pool": self.spec.pool,
            "rados_namespace": self.spec.namespace or None,
            "image": self.spec.image,
            "name": self.name,
            "size_bytes": self.size_bytes,
            "expires": None if self.expires is None else iso(self.expires),
            "run": self.run,
            "protected": self.protected,
            "clones": self.clones,
            "action": "removed" if gone else "none",
            "changed": gone,
            "reason": self.reason,
        }


@dataclass
class Expiry:
    """One call of the remover: what was found, what is to go, what could not be read or removed."""

    ceph: Ceph
    now: float
    snapshots: list[OldSnapshot] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)
    errors: list[HopError] = field(default_factory=list)

    def plan(self, images: t.Mapping[ImageSpec, bool]) -> None:
        """Look at the snapshots of each image (of :func:`images_of`); one that cannot be read does not keep the others."""
        for spec, named in images.items():
            try:
                primary: str | None = None
                for snapshot in self.ceph.snapshots(spec):
                    if not snapshot.name.startswith(PREFIX):
                        continue
                    if primary is None:
                        primary = self.ceph.state(spec).primary or ""
                    self._judge(spec, snapshot, primary)
            except ImageNotFoundError as error:
                if named:  # else it went after the pool was listed
                    self.errors.append(error)
            except CephError as error:
                self.errors.append(error)

    def _judge(self, spec: ImageSpec, snapshot: Snapshot, primary: str) -> None:
        found = OldSnapshot(spec, snapshot.name, snapshot.size_bytes, protected=snapshot.protected)
        self.snapshots.append(found)
        told = read_name(snapshot.name)
        if told is None:
            found.reason = "its name says no time"
            return
        found.expires, found.run = told
        if found.expires > self.now:
            found.reason = "its time has not come"
        elif primary:
            found.reason = "the image is the secondary of a mirror; the primary is " + primary
        else:
            found.reason = self._uses(found, snapshot)
        if found.reason is None:
            before = {"state": "present", "size_bytes": found.size_bytes, "expires": iso(found.expires)}
            found.change = self.changes.add("snapshot", f"{spec}@{found.name}", "remove", before, None, _not_applied)

    def _uses(self, found: OldSnapshot, snapshot: Snapshot) -> str | None:
        found.protected = snapshot.protected
        found.clones = self.ceph.clones(found.spec, found.name)
        if found.clones:
            return "it has clones: " + ", ".join(found.clones)
        return "it is protected" if found.protected else None

    def apply(self) -> None:
        """Remove what is to go, each looked at again right before; a refusal does not keep the others."""
        for found in self.snapshots:
            if found.change is None:
                continue
            try:
                self._remove(found, found.change)
            except CephError as error:
                self.errors.append(error)
                found.reason = error.message

    def _remove(self, found: OldSnapshot, change: Change) -> None:
        try:
            now = next((one for one in self.ceph.snapshots(found.spec) if one.name == found.name), None)
            if now is None:
                found.reason, found.change = "somebody else was quicker", None
                self.changes.items.remove(change)
                return
            found.reason = self._uses(found, now)
            if found.reason is not None:
                found.change = None
                self.changes.items.remove(change)
                return
            self.ceph.remove_snapshot(found.spec, found.name)
        except ImageNotFoundError:
            pass  # gone between two looks
        if any(one.name == found.name for one in self.ceph.snapshots(found.spec)):
            raise CephError(
                f"the snapshot of {human(found.size_bytes)} is still there",
                obj=str(change.name),
                hop="image",
                call=f"{self.ceph.how} snap rm",
                remedy="look for somebody else who makes it, then run again",
            )
        change.done = True


def _not_applied() -> None:
    """Stands in a change's ``apply``: an :class:`Expiry` removes one after the other and goes on after a refusal."""


def images_of(ceph: Ceph, entries: t.Sequence[t.Mapping[str, t.Any]]) -> dict[ImageSpec, bool]:
    """The images that ``entries`` (``pool``, ``rados_namespace``, ``image``) mean, and whether each was named itself.

    Without an image all of the place, without a RADOS namespace all of the pool.
    """
    found: dict[ImageSpec, bool] = {}
    for entry in entries:
        pool, namespace, image = entry["pool"], entry.get("rados_namespace") or "", entry.get("image")
        if image:
            found[image_spec(entry)] = True
            continue
        try:
            for place in [namespace] if namespace else ["", *ceph.namespaces(pool)]:
                for name in ceph.image_names(pool, place):
                    found.setdefault(ImageSpec(pool, place, name), False)
        except ImageNotFoundError as error:
            error.message = f"the pool or RADOS namespace {pool}{'/' + namespace if namespace else ''} does not exist"
            error.remedy = "correct pool and rados_namespace"
            raise
    return found
