# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""RBD images as Ceph knows them: exact size, creation, growth, watchers; and what the cluster says of its clients.

The door is :func:`open_ceph`: python3-rbd where there is one, else the ``rbd`` and ``ceph`` programs.
An image only ever grows here: librbd is asked with ``allow_shrink=False`` (librbd 16.2 then refuses any smaller size and
leaves the image alone), the tool without ``--allow-shrink``; and every growth is read back.
Ceph waits forever for a dead mon, OSD or lock owner, so every operation has a deadline.
"""

from __future__ import annotations

import abc
import errno
import json
import os
import queue
import re
import threading
import time
import typing as t
import uuid as uuid_module
from dataclasses import dataclass

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError

try:
    import rados
    import rbd

    HAS_BINDINGS = True
except ImportError:
    HAS_BINDINGS = False

#: Where the system's python may be: the bindings exist only for it.
INTERPRETERS = (
    "/usr/bin/python3",
    "/usr/libexec/platform-python",
    *(f"/usr/bin/python3.{minor}" for minor in range(14, 5, -1)),
)

#: The advisory lock on an image's header at which growers of this collection queue up.
GROW_LOCK = "nvmeof.spdk.grow"

#: Seconds until Ceph counts as dead.
TIMEOUT = 60

_T = t.TypeVar("_T")


class ImageSpec(t.NamedTuple):
    """An image's place; ``namespace`` is the RADOS namespace, empty for none."""

    pool: str
    namespace: str
    image: str

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


class CephError(HopError):
    """Ceph could not be asked, or refused."""


class ImageNotFoundError(CephError):
    """The image, its pool or its namespace does not exist."""


class ShrinkError(CephError):
    """The image is already larger than the wanted size."""


@dataclass
class ImageState:
    """An image as read: ``size_bytes`` exact, ``watchers`` the addresses of the clients that have it open for writing."""

    size_bytes: int
    watchers: list[str]


@dataclass
class CephOptions:
    """How to reach a cluster; ``keyring`` None leaves the search to Ceph."""

    conf: str = "/etc/ceph/ceph.conf"
    user: str = "admin"
    keyring: str | None = None
    timeout: int = TIMEOUT


def address_ip(address: str) -> str | None:
    """The IP of a Ceph address such as ``127.0.0.1:0/3732381040`` or ``v2:[fd00::1]:0/12``, or None."""
    match = re.search(r"\[([0-9A-Fa-f:.%]+)\]:\d+/\d+", address) or re.search(r"(\d+\.\d+\.\d+\.\d+):\d+/\d+", address)
    return match.group(1) if match else None


def first_json(text: str) -> t.Any:
    """The JSON at the start of an answer, None if there is none; the mons of Ceph 16 append ``listed 0 entries`` to a list."""
    text = text.strip()
    return json.JSONDecoder().raw_decode(text)[0] if text else None


class Ceph(abc.ABC):
    """One cluster connection. ``how`` names the means (``librbd`` or ``rbd``) for messages."""

    how = ""

    def __init__(self, options: CephOptions) -> None:
        self.options = options

    @abc.abstractmethod
    def fsid(self) -> str:
        """The cluster's UUID."""

    @abc.abstractmethod
    def state(self, spec: ImageSpec) -> ImageState:
        """Size and watchers; raises :class:`ImageNotFoundError` or :class:`CephError`."""

    @abc.abstractmethod
    def create(self, spec: ImageSpec, size: int) -> None:
        """Create the image with ``size`` bytes."""

    @abc.abstractmethod
    def blocklist(self) -> list[str]:
        """The addresses of blocklisted clients."""

    @abc.abstractmethod
    def pool_free_bytes(self, pool: str) -> int | None:
        """What the pool can still take (``MAX AVAIL`` of ``ceph df``), or None if the user may not ask."""

    @abc.abstractmethod
    def _resize(self, spec: ImageSpec, size: int) -> None:
        """Make the image ``size`` bytes, never smaller than it is; raises :class:`ShrinkError` then."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give the connection back."""

    def __enter__(self) -> Ceph:
        return self

    def __exit__(self, *unused: t.Any) -> None:
        self.close()

    def size(self, spec: ImageSpec) -> int:
        """The image's exact size in bytes."""
        return self.state(spec).size_bytes

    def grow(self, spec: ImageSpec, size: int, exact: bool = False) -> tuple[int, int]:
        """Let the image have at least (``exact``: exactly) ``size`` bytes; the sizes (before, after) as read.

        Safe against another grower: librbd compares and sets, and a refusal because the image has meanwhile become
        larger is success unless ``exact``.
        """
        before = self.size(spec)
        if before < size:
            try:
                self._resize(spec, size)
            except ShrinkError:
                if exact:
                    raise
        after = self.size(spec)
        if after < size or (exact and after != size):
            raise self._error(
                f"the image has {human(after)} ({after} bytes) after it was to become {human(size)} ({size} bytes)",
                spec,
                "resize",
                remedy="look for somebody else who resizes this image, then run again",
            )
        return before, after

    def _error(self, message: str, spec: ImageSpec | None, call: str, cause: t.Any = None, remedy: str | None = None) -> CephError:
        return CephError(
            message,
            obj=str(spec) if spec else self.options.conf,
            hop="image",
            call=f"{self.how} {call}",
            cause=None if cause is None else str(cause) or type(cause).__name__,
            remedy=remedy or f"check that client.{self.options.user} may use the cluster of {self.options.conf} from this host",
        )

    def _missing(self, spec: ImageSpec, call: str, cause: t.Any = None) -> ImageNotFoundError:
        return ImageNotFoundError(
            f"the image {spec} does not exist",
            obj=str(spec),
            hop="image",
            call=f"{self.how} {call}",
            cause=None if cause is None else str(cause),
            remedy="create it (nvmeof.spdk.rbd_image with state=present), or correct pool, rados_namespace and image",
        )

    def _shrink(self, spec: ImageSpec, size: int, cause: t.Any) -> ShrinkError:
        return ShrinkError(
            f"the image is larger than {human(size)} ({size} bytes) and is never made smaller",
            obj=str(spec),
            hop="image",
            call=f"{self.how} resize",
            cause=str(cause),
            remedy="ask for the image's present size or a larger one",
        )

    def _dead(self, spec: ImageSpec | None, call: str) -> CephError:
        return self._error(
            f"Ceph did not answer within {self.options.timeout} s",
            spec,
            call,
            remedy="check the cluster (ceph -s, from another host, too) and the image's lock owner (rbd lock ls); then read the state before repeating",
        )


class LibrbdCeph(Ceph):
    """Through python3-rados and python3-rbd."""

    how = "librbd"

    def __init__(self, options: CephOptions) -> None:
        super().__init__(options)
        self._stuck = False
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
        """``work()`` in a thread that is given up after the time-out: librbd waits for a hung lock owner without end.

        ``grace`` lets Ceph's own time-outs, which say more, come first.
        """
        if self._stuck:
            raise self._dead(spec, call)
        box: queue.Queue[tuple[bool, t.Any]] = queue.Queue()

        def run() -> None:
            try:
                box.put((True, work()))
            except BaseException as error:  # pylint: disable=broad-except  # handed to the waiting thread
                box.put((False, error))

        threading.Thread(target=run, daemon=True).start()
        try:
            fine, value = box.get(timeout=self.options.timeout + grace)
        except queue.Empty:
            self._stuck = True
            raise self._dead(spec, call) from None
        if fine:
            return value
        raise value

    def _with_image(self, spec: ImageSpec, call: str, work: t.Callable[[t.Any], _T], read_only: bool) -> _T:
        def run() -> _T:
            with self._rados.open_ioctx(spec.pool) as ioctx:
                if spec.namespace:
                    ioctx.set_namespace(spec.namespace)
                with rbd.Image(ioctx, spec.image, read_only=read_only) as image:
                    return work(image)

        return self._translated(run, spec, call)

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
            raise self._error(f"Ceph could not {call} the image {spec}", spec, call, error) from error

    def fsid(self) -> str:
        try:
            return str(self._bounded(self._rados.get_fsid, None, "get_fsid")).lower()
        except (rados.Error, OSError) as error:
            raise self._error("cannot read the cluster's fsid", None, "get_fsid", error) from error

    def state(self, spec: ImageSpec) -> ImageState:
        # opened read-only the image gets no watcher of ours
        return self._with_image(
            spec,
            "open",
            lambda image: ImageState(int(image.size()), [str(watcher["addr"]) for watcher in image.watchers_list()]),
            read_only=True,
        )

    def create(self, spec: ImageSpec, size: int) -> None:
        def run() -> None:
            with self._rados.open_ioctx(spec.pool) as ioctx:
                if spec.namespace:
                    ioctx.set_namespace(spec.namespace)
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

    def _resize(self, spec: ImageSpec, size: int) -> None:
        def resize(image: t.Any) -> None:
            try:
                image.resize(size, allow_shrink=False)
            except rbd.InvalidArgument as error:
                raise self._shrink(spec, size, error) from error

        # Two librbd clients that resize one image at the same moment can end at the smaller size in spite of allow_shrink=False
        # (1 of 53 rounds with librbd 16.2), so growers queue up at a lock of their own on the image's header. It is none of
        # librbd's locks: the target that has the image open is not disturbed. It ends by itself should this process die.
        def run() -> None:
            with self._rados.open_ioctx(spec.pool) as ioctx:
                if spec.namespace:
                    ioctx.set_namespace(spec.namespace)
                with rbd.Image(ioctx, spec.image, read_only=True) as image:
                    header = f"rbd_header.{image.id()}"
                cookie = uuid_module.uuid4().hex
                until = time.monotonic() + self.options.timeout
                while True:
                    try:
                        ioctx.lock_exclusive(header, GROW_LOCK, cookie, "growing", 2 * self.options.timeout)
                        break
                    except rados.ObjectBusy:
                        if time.monotonic() > until:
                            raise
                        time.sleep(0.05)
                try:
                    # opened under the lock, so with the size that the grower before left
                    with rbd.Image(ioctx, spec.image) as image:
                        resize(image)
                finally:
                    ioctx.unlock(header, GROW_LOCK, cookie)

        self._translated(run, spec, "resize")

    def _mon(self, *prefixes: str) -> t.Any:
        """The parsed answer of the first mon command that this Ceph knows."""
        problem: t.Any = None
        for prefix in prefixes:
            code, out, text = self._bounded(
                lambda prefix=prefix: self._rados.mon_command(json.dumps({"prefix": prefix, "format": "json"}), b"", timeout=self.options.timeout),
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

    def pool_free_bytes(self, pool: str) -> int | None:
        try:
            pools = self._mon("df")["pools"]
        except CephError:
            return None
        return next((int(entry["stats"]["max_avail"]) for entry in pools if entry["name"] == pool), None)

    def close(self) -> None:
        if self._rados is not None and not self._stuck:
            self._bounded(self._rados.shutdown, None, "shutdown")
        self._rados = None


def open_ceph(options: CephOptions, run_command: t.Callable[..., t.Any] | None = None) -> Ceph:
    """A connection by librbd, or else by the programs; raises :class:`CephError` when there is neither.

    ``run_command`` is for the programs: (argv) -> (rc, stdout, stderr), as ``AnsibleModule.run_command``.
    """
    from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_tool import ToolCeph, find_tool

    for path, what in ((options.conf, "the Ceph configuration"), (options.keyring, "the keyring")):
        if path is not None and not os.access(path, os.R_OK):
            raise CephError(
                f"{what} {path} cannot be read on this host",
                obj=path,
                hop="image",
                call="open",
                cause="no such file" if not os.path.exists(path) else "permission denied",
                remedy=f"put {what} there, or name another file (options ceph_conf, ceph_keyring)",
            )
    if HAS_BINDINGS:
        return LibrbdCeph(options)
    tool = find_tool("rbd")
    if tool is None or run_command is None:
        raise CephError(
            "this host can ask Ceph neither through python3-rbd nor through the rbd program",
            obj=options.conf,
            hop="image",
            call="import rbd",
            remedy="install python3-rbd for the system's python (or ceph-common), or ask on another Ceph client",
        )
    return ToolCeph(options, tool, run_command)
