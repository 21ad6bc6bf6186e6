# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""RBD images as Ceph knows them: exact size, creation, growth, watchers; and what the cluster says of its clients.

The door is :func:`open_ceph`: python3-rbd where there is one, else the ``rbd``, ``rados`` and ``ceph`` programs.
An image only ever grows here: librbd is asked with ``allow_shrink=False`` (librbd 16.2 then refuses any smaller size and
leaves the image alone), the tool without ``--allow-shrink``; and every growth is read back.
Who may grow an image is settled by its lease (``_rbd_lease``); the lock here only keeps two resizes apart.
Ceph waits forever for a dead mon, OSD or lock owner, so every operation has a deadline.
"""

from __future__ import annotations

import abc
import contextlib
import json
import os
import re
import time
import typing as t
import uuid as uuid_module
from dataclasses import dataclass

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_lease import Holder, Lock, LockTaken

try:
    import rados  # noqa: F401  # pylint: disable=unused-import
    import rbd  # noqa: F401  # pylint: disable=unused-import

    HAS_BINDINGS = True
except ImportError:
    HAS_BINDINGS = False

#: Where the system's python may be: the bindings exist only for it.
INTERPRETERS = (
    "/usr/bin/python3",
    "/usr/libexec/platform-python",
    *(f"/usr/bin/python3.{minor}" for minor in range(14, 5, -1)),
)

#: The advisory lock on an image's header that is held for the moment of a resize, also by runs that share a lease's owner.
GROW_LOCK = "nvmeof.spdk.grow"

#: Seconds until Ceph counts as dead.
TIMEOUT = 60


class ImageSpec(t.NamedTuple):
    """An image's place; ``namespace`` is the RADOS namespace, empty for none."""

    pool: str
    namespace: str
    image: str

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


class CephError(HopError):
    """Ceph could not be asked, or refused."""


class CephTimeoutError(CephError):
    """Ceph did not answer in time; what was asked may still happen."""


class ImageNotFoundError(CephError):
    """The image, its pool or its namespace does not exist."""


class ShrinkError(CephError):
    """The image is already larger than the wanted size."""


@dataclass
class ImageState:
    """An image as read: ``size_bytes`` exact, ``watchers`` the addresses of the clients that have it open for writing.

    ``header`` names its header object, ``lease`` who grows it (:func:`_rbd_lease.lease_of`), ``primary`` is None unless the image is a
    mirror's secondary: then it says where the primary is.
    """

    size_bytes: int
    watchers: list[str]
    header: str = ""
    lease: dict[str, t.Any] | None = None
    primary: str | None = None


class Snapshot(t.NamedTuple):
    """A snapshot that a user took; ``taken`` in seconds since the epoch by Ceph's clock, None where this Ceph does not tell."""

    name: str
    size_bytes: int
    taken: float | None
    protected: bool


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


def where_primary(peers: t.Sequence[str]) -> str:
    """Where a secondary's primary is, from the pool's mirror peers."""
    return "on the mirror peer " + " or ".join(peers) if peers else "on a cluster that this pool names no peer for"


def limits_of(pools: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, dict[str, t.Any]]:
    """:meth:`Ceph.pool_limits` from ``ceph osd pool ls detail``. A full or nearly full OSD flags every pool on it (Ceph 12 and later)."""
    found = {}
    for pool in pools:
        flags = set(str(pool.get("flags_names") or "").split(","))
        found[str(pool["pool_name"])] = {
            "max_bytes": int(pool.get("quota_max_bytes") or 0) or None,
            "full": bool(flags & {"full", "full_quota"}),
            "nearfull": bool(flags & {"nearfull", "backfillfull", "full", "full_quota"}),
        }
    return found


def usage_of(df: t.Mapping[str, t.Any]) -> dict[str, dict[str, int | None]]:
    """:meth:`Ceph.pool_usage` from ``ceph df``. ``stored`` came with Ceph 14; before that ``bytes_used`` meant the same."""
    found: dict[str, dict[str, int | None]] = {}
    for pool in df.get("pools") or []:
        stats = pool["stats"]
        stored = stats.get("stored", stats.get("bytes_used"))
        found[str(pool["name"])] = {"free_bytes": int(stats["max_avail"]), "stored_bytes": None if stored is None else int(stored)}
    return found


class Ceph(abc.ABC):
    """One cluster connection. ``how`` names the means (``librbd`` or ``rbd``) for messages.

    ``renews_beside``: whether a lease may be renewed from another thread while a call runs.
    """

    how = ""
    renews_beside = False

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
    def uses(self, spec: ImageSpec) -> list[str]:
        """What forbids the removal of the image, in words: watchers, snapshots (clones hang on them), mirroring, a group, locks."""

    @abc.abstractmethod
    def remove(self, spec: ImageSpec, trash: bool) -> None:
        """Move the image to the trash, or delete it. Ceph itself refuses one with watchers, and deletes none with snapshots."""

    @abc.abstractmethod
    def snapshots(self, spec: ImageSpec) -> list[Snapshot]:
        """The image's snapshots that users took: not those of groups, of mirroring or of the trash."""

    @abc.abstractmethod
    def clones(self, spec: ImageSpec, snapshot: str) -> list[str]:
        """The images that are clones of this snapshot."""

    @abc.abstractmethod
    def create_snapshot(self, spec: ImageSpec, snapshot: str) -> None:
        """Take a snapshot; one of this name is no error. The caller looks whether it is there."""

    @abc.abstractmethod
    def remove_snapshot(self, spec: ImageSpec, snapshot: str) -> None:
        """Remove a snapshot; Ceph itself refuses a protected one. Raises :class:`ImageNotFoundError` when it, or the image, is gone."""

    @abc.abstractmethod
    def namespaces(self, pool: str) -> list[str]:
        """The RADOS namespaces that ``rbd namespace create`` made in the pool."""

    @abc.abstractmethod
    def image_names(self, pool: str, namespace: str) -> list[str]:
        """The images of a pool, or of a RADOS namespace in it."""

    @abc.abstractmethod
    def blocklist(self) -> list[str]:
        """The addresses of blocklisted clients."""

    @abc.abstractmethod
    def pool_usage(self) -> dict[str, dict[str, int | None]]:
        """By pool, from ``ceph df``: ``free_bytes`` (MAX AVAIL: what it can still take) and ``stored_bytes``, both before replication."""

    @abc.abstractmethod
    def pool_provisioned(self, pool: str) -> int:
        """The sum of the sizes (bytes) of all images of the pool, in all RADOS namespaces; opens every one of them."""

    @abc.abstractmethod
    def pool_limits(self) -> dict[str, dict[str, t.Any]]:
        """By pool: ``max_bytes`` (its quota, None for none), ``full`` and ``nearfull`` (of the pool, its quota or an OSD below it)."""

    @abc.abstractmethod
    def lock(self, spec: ImageSpec, header: str, lock: Lock, renew: bool = False) -> None:
        """Take the lock on the object ``header``, or prolong it; raises ``LockTaken``, with ``renew`` ``LockLost``."""

    @abc.abstractmethod
    def unlock(self, spec: ImageSpec, header: str, lock: Lock) -> None:
        """Give the own lock back; one that has ended is no error."""

    @abc.abstractmethod
    def lockers(self, spec: ImageSpec, header: str, name: str) -> list[Holder]:
        """Who holds the lock ``name``; raises :class:`CephError`."""

    @abc.abstractmethod
    def break_lock(self, spec: ImageSpec, header: str, name: str, holder: Holder) -> None:
        """Take the lock from this very holder; one that has ended is no error."""

    def lease_seconds(self, wanted: int, count: int) -> int:
        """How long ``count`` leases last, when ``wanted`` seconds are asked for."""
        return wanted

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
        larger is success unless ``exact``. After a time-out the size is read, nothing is repeated.
        """
        state = self.state(spec)
        before = state.size_bytes
        if before < size:
            self.check_growable(spec, state)
            try:
                with self._alone(spec, state.header):
                    self._resize(spec, size)
            except ShrinkError:
                if exact:
                    raise
            except CephTimeoutError as late:
                if self._size_after(spec, late) < size:
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

    def _size_after(self, spec: ImageSpec, late: CephTimeoutError) -> int:
        try:
            return self.size(spec)
        except CephError:
            raise late from None

    def check_growable(self, spec: ImageSpec, state: ImageState) -> None:
        """Raise :class:`CephError` for an image that cannot grow here: a mirror's secondary, which librbd opens read-only."""
        if state.primary is not None:
            raise self._error(
                "the image is the secondary of a mirror and read-only; its primary is " + state.primary,
                spec,
                "resize",
                remedy="grow the primary: mirroring brings the new size here. To grow it here, promote this image first (rbd mirror image promote)",
            )

    @contextlib.contextmanager
    def _alone(self, spec: ImageSpec, header: str) -> t.Iterator[None]:
        """Hold the lock that keeps two resizes of one image apart.

        Two librbd clients that resize one image at the same moment can end at the smaller size in spite of allow_shrink=False (1 of 53
        rounds with librbd 16.2), so the image is opened under this lock, with the size that the grower before left. After a time-out the
        lock is left to end by itself, for the resize may still be under way.
        """
        lock = Lock(GROW_LOCK, uuid_module.uuid4().hex, "growing", self.options.timeout + 30)
        until = time.monotonic() + lock.duration + 5
        pause = 0.02
        while True:
            try:
                self.lock(spec, header, lock)
                break
            except LockTaken as error:
                if time.monotonic() > until:
                    raise self._error("another client resizes this image and does not come to an end", spec, "lock", GROW_LOCK) from error
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)
        try:
            yield
        except CephTimeoutError:
            raise
        except BaseException:
            self.unlock(spec, header, lock)
            raise
        self.unlock(spec, header, lock)

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

    def _dead(self, spec: ImageSpec | None, call: str) -> CephTimeoutError:
        return CephTimeoutError(
            f"Ceph did not answer within {self.options.timeout} s",
            obj=str(spec) if spec else self.options.conf,
            hop="image",
            call=f"{self.how} {call}",
            remedy="check the cluster (ceph -s, from another host, too) and the image's lock owner (rbd lock ls); then read the state before repeating",
        )


def image_spec(entry: t.Mapping[str, t.Any]) -> ImageSpec:
    """The place of an image in a module's options; raises :class:`HopError` for an impossible name."""
    for option in ("pool", "rados_namespace", "image"):
        value = entry.get(option) or ""
        if (not value and option != "rados_namespace") or "/" in value or "@" in value:
            raise HopError(
                f"{option} {value!r} is not a name",
                obj="/".join(str(entry.get(key)) for key in ("pool", "rados_namespace", "image") if entry.get(key)) or "image",
                hop="image",
                remedy="give pool, rados_namespace and image apart, each without / and @",
            )
    return ImageSpec(entry["pool"], entry.get("rados_namespace") or "", entry["image"])


def open_ceph(options: CephOptions, run_command: t.Callable[..., t.Any] | None = None) -> Ceph:
    """A connection by librbd, or else by the programs; raises :class:`CephError` when there is neither.

    ``run_command`` is for the programs: (argv) -> (rc, stdout, stderr), as ``AnsibleModule.run_command``.
    """
    from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_librbd import LibrbdCeph
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
