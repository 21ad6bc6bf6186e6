# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""RBD images through python3-rados and python3-rbd."""

from __future__ import annotations

import calendar
import contextlib
import errno
import json
import os
import queue
import threading
import time
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import (
    Ceph,
    CephOptions,
    ImageNotFoundError,
    ImageSpec,
    ImageState,
    Snapshot,
    first_json,
    limits_of,
    usage_of,
    where_primary,
)
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_lease import (
    LEASE,
    Holder,
    Lock,
    LockLost,
    LockTaken,
    decode_info,
    encode_break,
    encode_get_info,
    lease_of,
)

try:
    import rados
    import rbd
except ImportError:
    pass  # HAS_BINDINGS of _rbd says so

#: Flags of a lock (librados.h): prolong it if it is mine; only prolong.
MAY_RENEW, MUST_RENEW = 1, 2

#: Feature bits (librbd features.h) without which an image is no mirror's secondary: journaling, non-primary.
MIRRORED_FEATURES = 1 << 6 | 1 << 10

_T = t.TypeVar("_T")


class _Worker:
    """A thread that does one thing after the other; a new thread for each of a thousand images' many calls would cost more than the calls."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[t.Callable[[], t.Any], queue.SimpleQueue[tuple[bool, t.Any]]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def start(self, work: t.Callable[[], t.Any]) -> queue.SimpleQueue[tuple[bool, t.Any]]:
        """Begin ``work``; where its outcome will be: (True, result) or (False, exception)."""
        box: queue.SimpleQueue[tuple[bool, t.Any]] = queue.SimpleQueue()
        self._jobs.put((work, box))
        return box

    def _run(self) -> None:
        while True:
            work, box = self._jobs.get()
            try:
                box.put((True, work()))
            except BaseException as error:  # pylint: disable=broad-except  # handed to the waiting thread
                box.put((False, error))
            del work, box  # an idle thread keeps nothing alive


class LibrbdCeph(Ceph):
    """Through python3-rados and python3-rbd."""

    how = "librbd"
    renews_beside = True

    def __init__(self, options: CephOptions) -> None:
        super().__init__(options)
        self._stuck = False
        #: Threads that wait for work; each caller takes one for the time of its call.
        self._workers: list[_Worker] = []
        conf = {
            # Ceph's own defaults are 300 s and for ever
            "client_mount_timeout": str(options.timeout),
            "rados_mon_op_timeout": str(options.timeout),
            "rados_osd_op_timeout": str(options.timeout),
        }
        if options.keyring:
            conf["keyring"] = options.keyring
        self._rados: t.Any = None

        def connect() -> t.Any:
            cluster = rados.Rados(conffile=options.conf, rados_id=options.user, conf=conf)
            cluster.connect(timeout=options.timeout)
            return cluster

        try:
            self._rados = self._bounded(connect, None, "connect", grace=15)
        except (rados.Error, OSError) as error:
            where = f"the keyring {options.keyring}" if options.keyring else "a keyring"
            raise self._error(
                f"cannot connect to the cluster of {options.conf} as client.{options.user}",
                None,
                "connect",
                error,
                f"check that the mons answer, that client.{options.user} exists and that {where} on this host holds its key",
            ) from error

    def _bounded(self, work: t.Callable[[], _T], spec: ImageSpec | None, call: str, grace: int = 5) -> _T:
        """``work()`` in another thread, which is given up after the time-out: librbd waits for a hung lock owner without end.

        ``grace`` lets Ceph's own time-outs, which say more, come first.
        """
        if self._stuck:
            raise self._dead(spec, call)
        try:
            worker = self._workers.pop()
        except IndexError:
            worker = _Worker()
        try:
            fine, value = worker.start(work).get(timeout=self.options.timeout + grace)
        except queue.Empty:
            self._stuck = True  # and its thread is left to itself
            raise self._dead(spec, call) from None
        self._workers.append(worker)
        if fine:
            return value
        raise value

    @contextlib.contextmanager
    def _pool(self, spec: ImageSpec) -> t.Iterator[t.Any]:
        with self._rados.open_ioctx(spec.pool) as ioctx:
            if spec.namespace:
                ioctx.set_namespace(spec.namespace)
            yield ioctx

    def _translated(self, run: t.Callable[[], _T], spec: ImageSpec, call: str) -> _T:
        try:
            return self._bounded(run, spec, call)
        except (rbd.ImageNotFound, rados.ObjectNotFound) as error:
            raise self._missing(spec, call, error) from error
        except rbd.Error as error:
            if abs(getattr(error, "errno", 0) or 0) == errno.ETIMEDOUT:
                raise self._dead(spec, call) from error
            raise self._error(f"Ceph refused to {call} the image {spec}", spec, call, error) from error
        except (rados.Error, OSError) as error:
            if abs(getattr(error, "errno", 0) or 0) == errno.ETIMEDOUT:
                raise self._dead(spec, call) from error
            remedy = None
            if abs(getattr(error, "errno", 0) or 0) in (errno.EPERM, errno.EACCES):
                remedy = f"give client.{self.options.user} the cap osd 'profile rbd pool={spec.pool}'"
            raise self._error(f"Ceph could not {call} the image {spec}", spec, call, error, remedy) from error

    def fsid(self) -> str:
        try:
            return str(self._bounded(self._rados.get_fsid, None, "get_fsid")).lower()
        except (rados.Error, OSError) as error:
            raise self._error("cannot read the cluster's fsid", None, "get_fsid", error) from error

    def state(self, spec: ImageSpec) -> ImageState:
        def look() -> ImageState:
            # opened read-only the image gets no watcher of ours
            with self._pool(spec) as ioctx, rbd.Image(ioctx, spec.image, read_only=True) as image:
                header = f"{spec.image}.rbd" if image.old_format() else f"rbd_header.{image.id()}"
                return ImageState(
                    int(image.size()),
                    [str(watcher["addr"]) for watcher in image.watchers_list()],
                    header,
                    self._lease(ioctx, header),
                    self._primary(ioctx, image),
                )

        return self._translated(look, spec, "open")

    @staticmethod
    def _lease(ioctx: t.Any, header: str) -> dict[str, t.Any] | None:
        """The lease for people and plans; what cannot be read here stops the growth where it is taken."""
        try:
            return lease_of(decode_info(ioctx.execute(header, "lock", "get_info", encode_get_info(LEASE), 65536)[1]), time.time())
        except (rados.Error, OSError, ValueError):
            return None

    @staticmethod
    def _primary(ioctx: t.Any, image: t.Any) -> str | None:
        if not image.features() & MIRRORED_FEATURES:
            return None
        info = image.mirror_image_get_info()
        if info["state"] != rbd.RBD_MIRROR_IMAGE_ENABLED or info["primary"]:
            return None
        try:
            peers = [str(peer["site_name"]) for peer in rbd.RBD().mirror_peer_list(ioctx)]
        except rbd.Error:
            peers = []
        return where_primary(peers)

    def create(self, spec: ImageSpec, size: int) -> None:
        def run() -> None:
            with self._pool(spec) as ioctx:
                try:
                    rbd.RBD().create(ioctx, spec.image, size, old_format=False)
                except rbd.ImageExists:
                    pass  # somebody else was quicker; its size is looked at by the caller's read-back

        try:
            self._translated(run, spec, "create")
        except ImageNotFoundError as error:
            error.message = f"the pool or RADOS namespace of {spec} does not exist"
            error.remedy = "create the pool (ceph osd pool create, rbd pool init) or namespace (rbd namespace create), or correct the name"
            raise

    def uses(self, spec: ImageSpec) -> list[str]:
        def look() -> list[str]:
            with self._pool(spec) as ioctx, rbd.Image(ioctx, spec.image, read_only=True) as image:
                found = [f"client {watcher['addr']} has it open" for watcher in image.watchers_list()]
                found += [f"it has the snapshot {snapshot['name']}" for snapshot in image.list_snaps()]
                found += [f"{child['pool']}/{child['image']} is a clone of it" for child in image.list_descendants()]
                lockers = image.list_lockers() or {}
                found += [f"{owner[0]} holds a lock on it" for owner in lockers.get("lockers", [])]
                if image.mirror_image_get_info()["state"] != rbd.RBD_MIRROR_IMAGE_DISABLED:
                    found.append("it is mirrored")
                group = image.group()
                if group and group.get("name"):
                    found.append(f"it belongs to the group {group['name']}")
                return found

        return self._translated(look, spec, "open")

    def remove(self, spec: ImageSpec, trash: bool) -> None:
        def run() -> None:
            with self._pool(spec) as ioctx:
                if trash:
                    rbd.RBD().trash_move(ioctx, spec.image, 0)
                else:
                    rbd.RBD().remove(ioctx, spec.image)

        self._translated(run, spec, "trash move" if trash else "remove")

    def snapshots(self, spec: ImageSpec) -> list[Snapshot]:
        def look() -> list[Snapshot]:
            with self._pool(spec) as ioctx, rbd.Image(ioctx, spec.image, read_only=True) as image:
                return [
                    Snapshot(one["name"], int(one["size"]), self._taken(image, one["id"]), bool(image.is_protected_snap(one["name"])))
                    for one in image.list_snaps()
                    if one.get("namespace", 0) == 0  # RBD_SNAP_NAMESPACE_TYPE_USER
                ]

        return self._translated(look, spec, "snap ls")

    @staticmethod
    def _taken(image: t.Any, number: int) -> float | None:
        if not hasattr(image, "get_snap_timestamp"):
            return None
        return float(calendar.timegm(image.get_snap_timestamp(number).utctimetuple()))

    def clones(self, spec: ImageSpec, snapshot: str) -> list[str]:
        def look() -> list[str]:
            with self._pool(spec) as ioctx, rbd.Image(ioctx, spec.image, snapshot=snapshot, read_only=True) as image:
                return [f"{child['pool']}/{child['image']}" for child in image.list_descendants()]

        return self._translated(look, spec, "children")

    def create_snapshot(self, spec: ImageSpec, snapshot: str) -> None:
        def run() -> None:
            with self._pool(spec) as ioctx, rbd.Image(ioctx, spec.image) as image:
                try:
                    image.create_snap(snapshot)
                except rbd.ImageExists:
                    pass

        self._translated(run, spec, "snap create")

    def remove_snapshot(self, spec: ImageSpec, snapshot: str) -> None:
        def run() -> None:
            with self._pool(spec) as ioctx, rbd.Image(ioctx, spec.image) as image:
                image.remove_snap(snapshot)

        self._translated(run, spec, "snap rm")

    def namespaces(self, pool: str) -> list[str]:
        spec = ImageSpec(pool, "", "")

        def look() -> list[str]:
            with self._pool(spec) as ioctx:
                return list(rbd.RBD().namespace_list(ioctx))

        return self._translated(look, spec, "namespace ls")

    def image_names(self, pool: str, namespace: str) -> list[str]:
        spec = ImageSpec(pool, namespace, "")

        def look() -> list[str]:
            with self._pool(spec) as ioctx:
                return list(rbd.RBD().list(ioctx))

        return self._translated(look, spec, "ls")

    def _resize(self, spec: ImageSpec, size: int) -> None:
        def run() -> None:
            with self._pool(spec) as ioctx, rbd.Image(ioctx, spec.image) as image:
                try:
                    image.resize(size, allow_shrink=False)
                except rbd.InvalidArgument as error:
                    raise self._shrink(spec, size, error) from error

        self._translated(run, spec, "resize")

    def lock(self, spec: ImageSpec, header: str, lock: Lock, renew: bool = False) -> None:
        def run() -> None:
            with self._pool(spec) as ioctx:
                try:
                    ioctx.lock_exclusive(header, lock.name, lock.cookie, lock.text, lock.duration, MUST_RENEW if renew else MAY_RENEW)
                except rados.ObjectBusy as error:
                    raise LockLost if renew else LockTaken from error
                except rados.ObjectNotFound as error:
                    if renew:
                        raise LockLost from error
                    raise

        self._translated(run, spec, "lock")

    def unlock(self, spec: ImageSpec, header: str, lock: Lock) -> None:
        def run() -> None:
            with self._pool(spec) as ioctx:
                try:
                    ioctx.unlock(header, lock.name, lock.cookie)
                except rados.ObjectNotFound:
                    pass

        self._translated(run, spec, "unlock")

    def lockers(self, spec: ImageSpec, header: str, name: str) -> list[Holder]:
        def run() -> list[Holder]:
            with self._pool(spec) as ioctx:
                reply = ioctx.execute(header, "lock", "get_info", encode_get_info(name), 65536)[1]
            try:
                return decode_info(reply)
            except ValueError as error:
                raise self._error("cannot tell who holds the lock of the image", spec, "lock get_info", error) from error

        return self._translated(run, spec, "lock get_info")

    def break_lock(self, spec: ImageSpec, header: str, name: str, holder: Holder) -> None:
        def run() -> None:
            with self._pool(spec) as ioctx:
                try:
                    ioctx.execute(header, "lock", "break_lock", encode_break(name, holder))
                except rados.ObjectNotFound:
                    pass

        self._translated(run, spec, "lock break")

    def _mon(self, *prefixes: str, **arguments: str) -> t.Any:
        """The parsed answer of the first mon command that this Ceph knows."""
        problem: t.Any = None
        for prefix in prefixes:
            code, out, text = self._bounded(
                lambda prefix=prefix: self._rados.mon_command(json.dumps({"prefix": prefix, "format": "json", **arguments}), b"", timeout=self.options.timeout),
                None,
                prefix,
            )
            if code == 0:
                return first_json(out.decode("utf-8"))
            problem = f"{os.strerror(abs(code))} {text}".strip()
            if abs(code) != errno.EINVAL:
                break
        raise self._error(f"the mons refused '{prefixes[0]}'", None, prefixes[0], problem, f"give client.{self.options.user} the cap mon 'profile rbd'")

    def blocklist(self) -> list[str]:
        # named "blacklist" before Ceph 16
        return [str(entry["addr"]) for entry in self._mon("osd blocklist ls", "osd blacklist ls") or []]

    def pool_usage(self) -> dict[str, dict[str, int | None]]:
        return usage_of(self._mon("df"))

    def pool_provisioned(self, pool: str) -> int:
        def look() -> int:
            total = 0
            for namespace in ["", *self._namespaces(pool)]:
                with self._pool(ImageSpec(pool, namespace, "")) as ioctx:
                    for name in rbd.RBD().list(ioctx):
                        try:
                            with rbd.Image(ioctx, name, read_only=True) as image:
                                total += int(image.size())
                        except rbd.ImageNotFound:
                            pass  # removed since the listing
            return total

        return self._translated(look, ImageSpec(pool, "", ""), "ls")

    def _namespaces(self, pool: str) -> list[str]:
        with self._pool(ImageSpec(pool, "", "")) as ioctx:
            return list(rbd.RBD().namespace_list(ioctx))

    def pool_limits(self) -> dict[str, dict[str, t.Any]]:
        return limits_of(self._mon("osd pool ls", detail="detail"))

    def close(self) -> None:
        if self._rados is not None and not self._stuck:
            self._bounded(self._rados.shutdown, None, "shutdown")
        self._rados = None
