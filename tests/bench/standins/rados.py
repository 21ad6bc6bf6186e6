# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A light host's stand-in for python3-rados: the part that this collection uses, over the files of ``light_store``.

It costs next to nothing, where a real cluster costs milliseconds per operation: ``LIGHT_CEPH_MS`` adds them, and ``OPERATIONS`` counts.
"""

from __future__ import annotations

import collections
import errno
import json
import os
import struct
import time
import typing as t

from light_store import Store

FSID = "0b6f5a3e-5c0a-4d3c-a0f4-5d5c9b1f7a11"
OPERATIONS: collections.Counter[str] = collections.Counter()
_DELAY = float(os.environ.get("LIGHT_CEPH_MS") or 0) / 1000
MUST_RENEW = 2


class Error(Exception):
    """Any refusal."""


class ObjectNotFound(Error):
    """No such object, or no such lock."""


class ObjectBusy(Error):
    """Somebody else holds the lock."""


def operation(name: str) -> None:
    """Count one round trip, and take its time."""
    OPERATIONS[name] += 1
    if _DELAY:
        time.sleep(_DELAY)


def _framed(body: bytes) -> bytes:
    return struct.pack("<BBI", 1, 1, len(body)) + body


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data


class Ioctx:
    """A pool."""

    def __init__(self, store: Store, pool: str) -> None:
        self.store, self.pool = store, pool

    def __enter__(self) -> Ioctx:
        return self

    def __exit__(self, *unused: t.Any) -> None:
        pass

    def set_namespace(self, name: str) -> None:
        """There are none."""
        raise Error(f"no namespace {name}")

    def lock_exclusive(self, key: str, name: str, cookie: str, desc: str, duration: int, flags: int) -> None:
        """The object class ``lock``."""
        operation("lock")
        if flags & MUST_RENEW and (self.store.holder(key, name) or {}).get("cookie") != cookie:
            raise ObjectNotFound(name)
        if not self.store.lock(key, name, cookie, desc, duration):
            raise ObjectBusy(name)

    def unlock(self, key: str, name: str, cookie: str) -> None:
        """Give it back."""
        operation("unlock")
        if not self.store.unlock(key, name, cookie):
            raise ObjectNotFound(name)

    def execute(self, key: str, cls: str, method: str, data: bytes, _length: int = 0) -> tuple[int, bytes]:
        """``lock.get_info`` in its wire form."""
        operation(f"{cls}.{method}")
        if (cls, method) != ("lock", "get_info"):
            raise Error(f"{cls}.{method} is no part of the stand-in")
        name = data[10 : 10 + struct.unpack_from("<I", data, 6)[0]].decode()
        held = self.store.holder(key, name)
        if held is None:
            return 0, _framed(struct.pack("<I", 0))
        who = _framed(struct.pack("<BQ", 8, 1) + _string(held["cookie"]))
        address = b"\x01" + _framed(struct.pack("<III", 2, 1, 8) + struct.pack("<HH4s", 2, 0, bytes([127, 0, 0, 1])))
        what = _framed(struct.pack("<II", int(held["expires"]), 0) + address + _string(held["text"]))
        return 0, _framed(struct.pack("<I", 1) + who + what)


class Rados:
    """A client."""

    def __init__(self, conffile: str | None = None, rados_id: str | None = None, conf: dict[str, str] | None = None) -> None:
        self.user = rados_id
        self.conf = {"conffile": conffile, **(conf or {})}
        self.store = Store(os.environ["LIGHT_CEPH"])

    def __enter__(self) -> Rados:
        self.connect()
        return self

    def __exit__(self, *unused: t.Any) -> None:
        self.shutdown()

    def connect(self, timeout: int = 0) -> None:
        """Always there (``timeout`` or not)."""
        operation("connect")

    def shutdown(self) -> None:
        """Nothing to give back."""

    def get_fsid(self) -> str:
        """The cluster's UUID."""
        return FSID

    def open_ioctx(self, pool: str) -> Ioctx:
        """A pool is what has images."""
        if not os.path.isdir(os.path.join(self.store.folder, "images", pool)):
            raise ObjectNotFound(pool)
        return Ioctx(self.store, pool)

    def mon_command(self, command: str, _data: bytes, timeout: int = 0) -> tuple[int, bytes, str]:
        """No client is blocklisted, and pools have room for everything (``timeout`` or not)."""
        operation("mon_command")
        pools = os.listdir(os.path.join(self.store.folder, "images"))
        answers: dict[str, t.Any] = {
            "osd blocklist ls": [],
            "df": {"pools": [{"name": pool, "stats": {"max_avail": 2**60, "stored": 0}} for pool in pools]},
            "osd pool ls": [{"pool_name": pool, "quota_max_bytes": 0, "flags_names": "hashpspool"} for pool in pools],
        }
        answer = answers.get(json.loads(command)["prefix"])
        return (0, json.dumps(answer).encode(), "") if answer is not None else (-errno.EINVAL, b"", "not a command of the stand-in")
