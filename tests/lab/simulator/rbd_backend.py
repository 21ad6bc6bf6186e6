# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is behind an RBD bdev: librbd, or a JSON file that plays Ceph where there is none.

librbd's Python binding has no image update watch (the C call SPDK uses), so the image's header object is watched through librados,
which is what librbd does itself; the size is then read from the header with the ``rbd`` object class, past every client cache.
"""

from __future__ import annotations

import abc
import errno
import fcntl
import json
import os
import re
import struct
import threading
from typing import Any, Callable

DEFAULT_USER = "admin"


class BackendError(Exception):
    """Ceph refused; `number` is the errno where it matters (resize)."""

    def __init__(self, text: str, number: int = errno.EIO) -> None:
        super().__init__(text)
        self.number = number


class Image(abc.ABC):
    """An open image."""

    @abc.abstractmethod
    def size(self) -> int:
        """Bytes, from Ceph, now."""

    @abc.abstractmethod
    def resize(self, size: int) -> None:
        """librbd's plain resize: it grows and it shrinks."""

    @abc.abstractmethod
    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` (from any thread) whenever the image's header changes."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close the image and its watch."""


class Cluster(abc.ABC):
    """A Ceph client."""

    #: what a kernel client needs: monitors ("a:p,b:p"), user, secret (None where unknown)
    @abc.abstractmethod
    def kernel_client(self) -> tuple[str, str, str | None]:
        """Monitors, user and secret for the kernel's own rbd."""

    @abc.abstractmethod
    def open(self, pool: str, image: str, read_only: bool) -> Image:
        """Open an image or raise `BackendError`."""

    @abc.abstractmethod
    def close(self) -> None:
        """Disconnect."""


class Backend(abc.ABC):
    """Makes Ceph clients."""

    @abc.abstractmethod
    def connect(self, user: str | None, conf: str | None, read_default: bool, options: dict[str, str], keyring: str | None) -> Cluster:
        """Connect; `conf` must be readable when named, the default file need not exist."""


# -- librbd -----------------------------------------------------------------------------------------------------------------------


class LibrbdBackend(Backend):
    """Real Ceph."""

    def connect(self, user: str | None, conf: str | None, read_default: bool, options: dict[str, str], keyring: str | None) -> Cluster:
        import rados

        try:
            client = rados.Rados(rados_id=user or DEFAULT_USER)
            if conf is not None:
                client.conf_read_file(conf)
            elif read_default:
                try:
                    client.conf_read_file()
                except rados.Error:
                    pass
            for key, value in options.items():
                client.conf_set(key, value)
            if keyring is not None:
                client.conf_set("keyring", keyring)
            client.connect()
        except rados.Error as error:
            raise BackendError(f"connect to Ceph as client.{user or DEFAULT_USER}: {error}", getattr(error, "errno", None) or errno.EIO) from None
        return LibrbdCluster(client, user or DEFAULT_USER)


class LibrbdCluster(Cluster):
    def __init__(self, client: Any, user: str) -> None:
        self.client = client
        self.user = user

    def kernel_client(self) -> tuple[str, str, str | None]:
        secret = self.client.conf_get("key") or None
        if secret is None:
            for name in re.split(r"[,; ]+", self.client.conf_get("keyring") or ""):
                secret = secret or _secret_of(name, self.user)
        # The monitor map is authoritative; ask it for the addresses of the messenger the kernel can speak.
        code, out, _text = self.client.mon_command(json.dumps({"prefix": "mon dump", "format": "json"}), b"")
        if code:
            raise BackendError(f"mon dump: {os.strerror(-code)}", -code)
        monitors = []
        for mon in json.loads(out)["mons"]:
            vector = {item["type"]: item["addr"] for item in mon["public_addrs"]["addrvec"]}
            monitors.append(vector.get("v2") or vector["v1"])
        return ",".join(monitors), self.user, secret

    def open(self, pool: str, image: str, read_only: bool) -> Image:
        import rados
        import rbd

        ioctx = None
        try:
            ioctx = self.client.open_ioctx(pool)
            return LibrbdImage(ioctx, rbd.Image(ioctx, image, read_only=read_only))
        except (rados.Error, rbd.Error, ValueError) as error:
            if ioctx is not None:
                ioctx.close()
            raise BackendError(f"open {pool}/{image}: {error}", getattr(error, "errno", None) or errno.EIO) from None

    def close(self) -> None:
        self.client.shutdown()


class LibrbdImage(Image):
    def __init__(self, ioctx: Any, image: Any) -> None:
        self.ioctx = ioctx
        self.image = image
        self.header = f"rbd_header.{image.id()}"
        self._watch: Any = None
        self._timers: list[threading.Timer] = []

    def size(self) -> int:
        # class method rbd.get_size(snapid = CEPH_NOSNAP) answers u8 order, u64 size; python-rados gives it without a cache in between
        import rados

        try:
            _code, out = self.ioctx.execute(self.header, "rbd", "get_size", struct.pack("<Q", 2**64 - 2))
        except rados.Error as error:
            raise BackendError(f"size of {self.header}: {error}", getattr(error, "errno", None) or errno.EIO) from None
        return struct.unpack_from("<BQ", bytes(out))[1]

    def resize(self, size: int) -> None:
        import rbd

        try:
            self.image.resize(size)
        except rbd.Error as error:
            raise BackendError(str(error), getattr(error, "errno", None) or errno.EIO) from None

    def watch(self, changed: Callable[[], None]) -> None:
        import rados

        def notified(_notify_id: int, _notifier: str, _watch_id: int, _data: bytes) -> None:
            changed()

        def lost(_watch_id: int) -> None:
            # the OSD forgot us (restart, time-out): watch again from a fresh thread, then look once
            timer = threading.Timer(0.5, self._again, (changed,))
            timer.daemon = True
            self._timers.append(timer)
            timer.start()

        try:
            self._watch = self.ioctx.watch(self.header, notified, lost)
        except rados.Error as error:
            raise BackendError(f"watch {self.header}: {error}") from None

    def _again(self, changed: Callable[[], None]) -> None:
        if self.ioctx is None:
            return
        try:
            if self._watch is not None:
                self._watch.close()
        except Exception:  # the old watch is gone already; only the new one counts
            pass
        try:
            self.watch(changed)
        except BackendError:
            timer = threading.Timer(1.0, self._again, (changed,))
            timer.daemon = True
            self._timers.append(timer)
            timer.start()
        changed()

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()
        if self._watch is not None:
            try:
                self._watch.close()
            except Exception:  # closing a watch whose session died raises; nothing is left to undo
                pass
        self.image.close()
        self.ioctx.close()
        self.ioctx = None


def _secret_of(path: str, user: str) -> str | None:
    """The key of client.`user` in a keyring file, or None."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError:
        return None
    section = None
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line.strip("[]")
        elif section == f"client.{user}" and re.match(r"key\s*=", line):
            return line.split("=", 1)[1].strip()
    return None


# -- a file that plays Ceph ---------------------------------------------------------------------------------------------------------

_KNOWN_OPTION = re.compile(r"(mon|rados|client|ms|auth|rbd|log|debug|osd|objecter|admin|mgr|ceph)_\w+|keyring|key|keyfile|fsid|no_mon_update\Z")


class MemoryBackend(Backend):
    """Pools and images in a JSON file, ``{"users": ["admin"], "pools": {"pool-1": {"image": bytes}}}``; others may edit it (`edit_memory`)."""

    def __init__(self, path: str, later: Callable[[float, Callable[[], None]], None]) -> None:
        self.path = path
        self._later = later
        self._watchers: dict[MemoryImage, tuple[int, Callable[[], None]]] = {}
        self._stamp: Any = None
        self._ticking = False

    def connect(self, user: str | None, conf: str | None, read_default: bool, options: dict[str, str], keyring: str | None) -> Cluster:
        for name in (conf, keyring):
            if name is not None and not os.access(name, os.R_OK):
                raise BackendError(f"{name}: not readable")
        unknown = [key for key in options if not _KNOWN_OPTION.match(key)]
        if unknown:
            raise BackendError(f"no option {unknown[0]}")
        users = read_memory(self.path).get("users", [DEFAULT_USER])
        if (user or DEFAULT_USER) not in users:
            raise BackendError(f"no key for client.{user}")
        return MemoryCluster(self, user or DEFAULT_USER)

    def watch(self, image: "MemoryImage", changed: Callable[[], None]) -> None:
        """Look at the file every 20 ms while anybody watches."""
        self._watchers[image] = (image.size(), changed)
        if not self._ticking:
            self._ticking = True
            self._later(0.02, self._tick)

    def unwatch(self, image: "MemoryImage") -> None:
        """Forget a watcher."""
        self._watchers.pop(image, None)

    def _tick(self) -> None:
        if not self._watchers:
            self._ticking = False
            return
        self._later(0.02, self._tick)
        stat = os.stat(self.path)
        stamp = (stat.st_ino, stat.st_mtime_ns)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        for image, (known, changed) in list(self._watchers.items()):
            try:
                size = image.size()
            except BackendError:
                continue
            if size != known:
                self._watchers[image] = (size, changed)
                changed()


class MemoryCluster(Cluster):
    def __init__(self, backend: MemoryBackend, user: str) -> None:
        self.backend = backend
        self.user = user

    def kernel_client(self) -> tuple[str, str, str | None]:
        raise BackendError("a file that plays Ceph has no kernel client")

    def open(self, pool: str, image: str, read_only: bool) -> Image:
        opened = MemoryImage(self.backend, pool, image, read_only)
        opened.size()
        return opened

    def close(self) -> None:
        pass


class MemoryImage(Image):
    def __init__(self, backend: MemoryBackend, pool: str, name: str, read_only: bool) -> None:
        self.backend, self.pool, self.name, self.read_only = backend, pool, name, read_only

    def size(self) -> int:
        try:
            return read_memory(self.backend.path)["pools"][self.pool][self.name]
        except KeyError:
            raise BackendError(f"no image {self.pool}/{self.name}", errno.ENOENT) from None

    def resize(self, size: int) -> None:
        if self.read_only:
            raise BackendError("read-only image", errno.EROFS)
        edit_memory(self.backend.path, self.pool, self.name, size)

    def watch(self, changed: Callable[[], None]) -> None:
        self.backend.watch(self, changed)

    def close(self) -> None:
        self.backend.unwatch(self)


def read_memory(path: str) -> dict[str, Any]:
    """The file's content."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def edit_memory(path: str, pool: str, image: str, size: int | None) -> None:
    """Set an image's bytes (None removes it), atomically and under a lock: what ``rbd resize`` is to a real cluster."""
    with open(path + ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        content = read_memory(path)
        images = content.setdefault("pools", {}).setdefault(pool, {})
        if size is None:
            images.pop(image, None)
        else:
            images[image] = size
        temporary = f"{path}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(content, file)
        os.replace(temporary, path)
