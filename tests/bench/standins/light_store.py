# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images and locks as files: what the stand-ins of librbd and the light targets share instead of a Ceph.

``images/POOL/IMAGE`` holds the bytes as text, ``log`` a line ``POOL/IMAGE`` for every change (a watcher reads it from where it stopped),
``locks/OBJECT@NAME`` the holder of an advisory lock as JSON.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import typing as t


class Store:
    """One folder; used by several processes at the same time."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.log = os.path.join(folder, "log")

    def prepare(self) -> None:
        """Make an empty store."""
        for name in ("images", "locks"):
            os.makedirs(os.path.join(self.folder, name))
        self._write(self.log, "")

    @staticmethod
    def _write(path: str, text: str) -> None:
        temporary = f"{path}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)

    def size(self, pool: str, image: str) -> int | None:
        """Bytes, None when there is no such image."""
        try:
            with open(os.path.join(self.folder, "images", pool, image), encoding="ascii") as file:
                return int(file.read())
        except FileNotFoundError:
            return None

    def set_size(self, pool: str, image: str, size: int) -> None:
        """Create or resize, and tell the watchers."""
        os.makedirs(os.path.join(self.folder, "images", pool), exist_ok=True)
        self._write(os.path.join(self.folder, "images", pool, image), str(size))
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(f"{pool}/{image}\n")

    @contextlib.contextmanager
    def _locks(self, header: str, name: str) -> t.Iterator[str]:
        with open(os.path.join(self.folder, "locks", ".mutex"), "w", encoding="ascii") as mutex:
            fcntl.flock(mutex, fcntl.LOCK_EX)
            yield os.path.join(self.folder, "locks", f"{header}@{name}")

    @staticmethod
    def _holder(path: str) -> dict[str, t.Any] | None:
        try:
            with open(path, encoding="utf-8") as file:
                holder: dict[str, t.Any] = json.load(file)
        except FileNotFoundError:
            return None
        return holder if holder["expires"] > time.time() else None

    def holder(self, header: str, name: str) -> dict[str, t.Any] | None:
        """Who holds a lock: ``cookie``, ``text``, ``expires``."""
        with self._locks(header, name) as path:
            return self._holder(path)

    def lock(self, header: str, name: str, cookie: str, text: str, duration: int) -> bool:
        """Take or prolong a lock; whether it is ours now."""
        with self._locks(header, name) as path:
            held = self._holder(path)
            if held is not None and held["cookie"] != cookie:
                return False
            self._write(path, json.dumps({"cookie": cookie, "text": text, "expires": time.time() + duration}))
            return True

    def unlock(self, header: str, name: str, cookie: str | None = None) -> bool:
        """Give a lock back (``cookie`` None: whoever holds it); whether there was one."""
        with self._locks(header, name) as path:
            held = self._holder(path)
            if held is None or cookie not in (None, held["cookie"]):
                return False
            os.unlink(path)
            return True
