# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""One grower per image: a lease that every Ceph client can read, that is renewed while the work runs and ends by itself after a kill.

The lease is an advisory RADOS lock on the image's header object (object class ``lock``), none of librbd's own: the target that has the
image open is not disturbed. Who holds it, since when and for how long stands as JSON in the lock's description. The OSD's clock ends it.
"""

from __future__ import annotations

import calendar
import contextlib
import getpass
import json
import math
import os
import socket
import struct
import threading
import time
import typing as t
import uuid as uuid_module
from dataclasses import dataclass

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError

if t.TYPE_CHECKING:
    from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import Ceph, ImageSpec, ImageState

#: Name of the lock that is the lease.
LEASE = "nvmeof.spdk.lease"
#: Seconds.
DURATION, SHORTEST = 120, 30


class Lock(t.NamedTuple):
    """A lock to take: ``cookie`` unique to the taker, ``text`` its description, ``duration`` seconds until it ends by itself."""

    name: str
    cookie: str
    text: str
    duration: int


@dataclass
class Holder:
    """One holder as the OSD tells it: ``entity`` such as ``client.4146``; ``expires`` seconds since the epoch, None for never."""

    entity: str
    cookie: str
    text: str
    expires: float | None
    address: str = ""


class LockTaken(Exception):
    """Somebody else holds the lock."""


class LockLost(Exception):
    """The lock that was to be renewed has ended, or was taken over."""


class LeaseHeldError(HopError):
    """Another run holds the lease, and longer than this one may wait."""


class LeaseLostError(HopError):
    """The lease ended under the work: nothing may be done to the image any more."""


# -- the wire form of the object class "lock" (cls_lock_ops.h and cls_lock_types.h; Ceph 16) -------------------------


def _framed(body: bytes) -> bytes:
    """Ceph's versioned encoding, version 1."""
    return struct.pack("<BBI", 1, 1, len(body)) + body


def _string(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack("<I", len(data)) + data


def encode_get_info(name: str) -> bytes:
    """The request of ``lock.get_info``."""
    return _framed(_string(name))


def encode_break(name: str, holder: Holder) -> bytes:
    """The request of ``lock.break_lock`` for this very holder."""
    kind, _dot, number = holder.entity.partition(".")
    if kind != "client":
        raise ValueError(f"{holder.entity} is no client")
    return _framed(_string(name) + struct.pack("<BQ", 8, int(number)) + _string(holder.cookie))


class _Reader:
    """Reads little-endian parts one after the other; raises ValueError at the end of the data."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if len(part) != count:
            raise ValueError("the answer of the lock class is cut off")
        self._at += count
        return part

    def number(self, form: str) -> int:
        return int(struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0])

    def text(self) -> str:
        return self.take(self.number("I")).decode("utf-8", "replace")

    def framed(self) -> _Reader:
        """What a versioned encoding holds; what a newer version added at its end is passed over."""
        self.number("B")
        if self.number("B") > 1:
            raise ValueError("the answer of the lock class has an unknown form")
        return _Reader(self.take(self.number("I")))


def _address(reader: _Reader) -> str:
    """An ``entity_addr_t``; up to Ceph 9 (marker 0) it has another form."""
    if reader.number("B") == 0:
        reader.take(3)
        nonce, data = reader.number("I"), reader.take(128)
    else:
        inner = reader.framed()
        inner.number("I")
        nonce = inner.number("I")
        data = inner.take(inner.number("I"))
    family = struct.unpack("<H", data[:2])[0] if len(data) >= 2 else 0
    if family == 2 and len(data) >= 8:
        return f"{socket.inet_ntop(socket.AF_INET, data[4:8])}:0/{nonce}"
    if family == 10 and len(data) >= 24:
        return f"[{socket.inet_ntop(socket.AF_INET6, data[8:24])}]:0/{nonce}"
    return ""


def decode_info(reply: bytes) -> list[Holder]:
    """The holders in the answer of ``lock.get_info``; raises ValueError for an answer of another form."""
    reader = _Reader(reply).framed()
    holders = []
    for _one in range(reader.number("I")):
        who = reader.framed()
        kind, number = who.number("B"), who.number("Q")
        cookie = who.text()
        what = reader.framed()
        seconds, nanoseconds = what.number("I"), what.number("I")
        address = _address(what)
        entity = f"{'client' if kind == 8 else kind}.{number}"
        holders.append(Holder(entity, cookie, what.text(), seconds + nanoseconds / 1e9 if seconds else None, address))
    return holders


def decode_listing(text: str) -> list[Holder]:
    """The holders in the JSON of ``rados lock info``."""
    holders = []
    for entry in json.loads(text).get("lockers") or []:
        stamp, _dot, _rest = str(entry.get("expiration") or "").replace(" ", "T").partition(".")
        try:
            expires: float | None = float(calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%S")))
        except ValueError:
            expires = None  # a lock without an end shows none
        holders.append(Holder(entry["name"], entry.get("cookie") or "", entry.get("description") or "", expires or None, entry.get("addr") or ""))
    return holders


# -- who, since when, how long ---------------------------------------------------------------------------------------


def describe(owner: str, by: str, since: float, duration: int) -> str:
    """The description of a lease: ``owner`` the run, ``by`` the process, ``since`` seconds since the epoch."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since))
    return json.dumps({"owner": owner, "by": by, "since": stamp, "duration": duration}, sort_keys=True)


def lease_of(holders: t.Sequence[Holder], now: float) -> dict[str, t.Any] | None:
    """The lease for a module's result, None if nobody holds it; ``now`` in seconds since the epoch.

    ``remaining_seconds`` compares the OSD's clock with this host's and is as exact as these agree; None: it does not end by itself.
    """
    if not holders:
        return None
    # renewals by the rados program stand beside each other until they end
    holder = max(holders, key=lambda one: math.inf if one.expires is None else one.expires)
    try:
        known = json.loads(holder.text)
    except ValueError:
        known = None
    if not isinstance(known, dict):
        known = {}
    duration = known.get("duration") if isinstance(known.get("duration"), int) else None
    rest = None if holder.expires is None else max(0, math.ceil(holder.expires - now))
    if rest is not None and duration is not None:
        rest = min(rest, duration)  # clocks differ
    return {
        "owner": str(known.get("owner") or f"{holder.entity} at {holder.address}"),
        "by": known.get("by"),
        "since": known.get("since"),
        "duration_seconds": duration,
        "remaining_seconds": rest,
    }


def lease_text(lease: t.Mapping[str, t.Any]) -> str:
    """A lease in words."""
    by = f" ({lease['by']})" if lease.get("by") and lease["by"] != lease["owner"] else ""
    since = f" since {lease['since']}" if lease.get("since") else ""
    rest = "does not end by itself" if lease["remaining_seconds"] is None else f"ends in {lease['remaining_seconds']} s unless renewed"
    return f"{lease['owner']}{by}{since}; it {rest}"


@dataclass
class LeaseOptions:
    """``owner`` None: unique to this process. ``duration`` and ``wait`` in seconds."""

    owner: str | None = None
    duration: int = DURATION
    wait: int = 0

    def check(self) -> None:
        """Raise :class:`HopError` for options that cannot be meant."""

        def bad(message: str, remedy: str) -> HopError:
            return HopError(message, obj="lease", hop="image", remedy=remedy)

        if self.duration < SHORTEST:
            raise bad(f"lease_duration must be at least {SHORTEST} seconds, not {self.duration}", f"leave it out ({DURATION}) or give {SHORTEST} or more")
        if self.wait < 0:
            raise bad(f"lease_wait must not be negative, not {self.wait}", "give the seconds to wait for another run, or 0")
        if self.owner is not None and (len(self.owner) > 200 or not self.owner.isprintable()):
            raise bad("lease_owner is no printable text of at most 200 characters", "give an identifier of this run, or leave it out")


def process_name() -> str:
    """``user@host:pid`` of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{os.getpid()}"


@dataclass
class _Held:
    header: str
    lock: Lock
    renewed: float
    lost: bool = False
    trouble: str | None = None


class Leases:
    """The leases of one module call: taken together before an image is read for growth, renewed, released at the end."""

    def __init__(self, options: LeaseOptions | None = None) -> None:
        self.options = options or LeaseOptions()
        self._by = process_name()
        self.owner = self.options.owner or f"{self._by}:{uuid_module.uuid4().hex[:8]}"
        self._cookie = uuid_module.uuid4().hex
        self._held: dict[ImageSpec, _Held] = {}
        self._ceph: Ceph | None = None
        self._mutex = threading.Lock()
        self._stop = threading.Event()
        self._renewer: threading.Thread | None = None

    @contextlib.contextmanager
    def held(self, door: t.Callable[[], Ceph], planned: t.Mapping[ImageSpec, ImageState]) -> t.Iterator[None]:
        """Hold the lease of each image of ``planned`` (as read while planning); raises before anything is touched.

        Under the lease each image is read again: one that is smaller than planned, or another one, ends the call.
        """
        try:
            if planned:
                self._take(door(), planned)
            yield
        finally:
            self._release()

    def _take(self, ceph: Ceph, planned: t.Mapping[ImageSpec, ImageState]) -> None:
        self._ceph = ceph
        duration = ceph.lease_seconds(self.options.duration, len(planned))
        deadline = time.monotonic() + self.options.wait
        # in one order everywhere, so that two runs never wait for each other
        for spec in sorted(planned):
            lock = Lock(LEASE, self._cookie, describe(self.owner, self._by, time.time(), duration), duration)
            self._take_one(ceph, spec, planned[spec].header, lock, deadline)
            if self._renewer is None and ceph.renews_beside:
                self._renewer = threading.Thread(target=self._renew_beside, args=(duration / 6,), daemon=True)
                self._renewer.start()
            self._renew_unless_beside(spec)
            now = ceph.state(spec)
            if now.size_bytes < planned[spec].size_bytes or now.header != planned[spec].header:
                raise HopError(
                    f"CRITICAL: the image has {now.size_bytes} bytes; {planned[spec].size_bytes} were read a moment ago",
                    obj=str(spec),
                    hop="image",
                    cause="it was made smaller, or replaced, while this growth was planned",
                    remedy="nothing was done; find out who works on the image, and restore what was cut off before growing it again",
                )

    def _take_one(self, ceph: Ceph, spec: ImageSpec, header: str, lock: Lock, deadline: float) -> None:
        pause, gone = 0.05, 0
        while True:
            started = time.monotonic()
            try:
                ceph.lock(spec, header, lock)
            except LockTaken:
                holders = ceph.lockers(spec, header, LEASE)
            else:
                with self._mutex:
                    self._held[spec] = _Held(header, lock, started)
                return
            lease = lease_of(holders, time.time())
            if lease is None:  # it has just ended
                gone += 1
                if gone < 3:
                    continue
            elif self.options.owner is not None and lease["owner"] == self.options.owner:
                # what this run left when it was killed; should that process live, its next renewal fails and it stops
                for holder in holders:
                    ceph.break_lock(spec, header, LEASE, holder)
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._taken(ceph, spec, lease)
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 1.0)

    def _taken(self, ceph: Ceph, spec: ImageSpec, lease: t.Mapping[str, t.Any] | None) -> LeaseHeldError:
        who = lease_text(lease) if lease else "an unknown client"
        rest = lease["remaining_seconds"] if lease else None
        return LeaseHeldError(
            f"a lease on the image is held by another run: {who}",
            obj=str(spec),
            hop="image",
            call=f"{ceph.how} lock",
            cause=f"waited {self.options.wait} s (lease_wait)",
            remedy="nothing was done; let that run end"
            + (f" (if it was killed, its lease ends by itself in {rest} s)" if rest is not None else "")
            + ", then run again, or wait for it with lease_wait",
        )

    # -- while the work runs -------------------------------------------------------------------------------------------

    def _renew_beside(self, pause: float) -> None:
        while not self._stop.wait(pause):
            self.renew()

    def renew(self, only: ImageSpec | None = None) -> None:
        """Renew what has used a third of its time, of all images or of one; never raises (:meth:`require` does)."""
        with self._mutex:
            for spec in list(self._held) if only is None else [only] if only in self._held else []:
                held = self._held[spec]
                if held.lost or self._ceph is None or time.monotonic() - held.renewed < held.lock.duration / 3:
                    continue
                started = time.monotonic()
                try:
                    self._ceph.lock(spec, held.header, held.lock, renew=True)
                except LockLost:
                    held.lost = True
                except HopError as error:
                    held.trouble = str(error)  # the next try may do; what counts is the time
                else:
                    held.renewed, held.trouble = started, None

    def _renew_unless_beside(self, spec: ImageSpec) -> None:
        """Before each step on an image: its own lease, and where no thread does it those of all others (which for each of a thousand would add up)."""
        self.renew(None if self._renewer is None else spec)

    def holds(self, spec: ImageSpec) -> bool:
        """Whether this call took the lease on this image (:meth:`require` tells whether it still has it)."""
        return spec in self._held

    def require(self, spec: ImageSpec) -> None:
        """Raise :class:`LeaseLostError` unless the lease on this image is still held; renews it when that is due."""
        self._renew_unless_beside(spec)
        held = self._held.get(spec)
        if held is not None and not held.lost and time.monotonic() - held.renewed < held.lock.duration:
            return
        raise LeaseLostError(
            "the lease on the image was lost, so the image is not touched",
            obj=str(spec),
            hop="image",
            call="lock",
            cause=(held.trouble if held else None) or "it ended, or a run of the same lease_owner took it over",
            remedy="check the cluster (ceph -s) and that no other run has this lease_owner, then run again",
        )

    def _release(self) -> None:
        self._stop.set()
        if self._renewer is not None:
            self._renewer.join(5)
        for spec, held in list(self._held.items()):
            if self._ceph is not None and not held.lost:
                try:
                    self._ceph.unlock(spec, held.header, held.lock)
                except HopError:
                    pass  # it ends by itself
        self._held.clear()
