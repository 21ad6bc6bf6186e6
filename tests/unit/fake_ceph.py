# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Ceph of one dict for unit tests: it keeps librbd's rules (no image shrinks) and notes every operation in ``done``."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import Ceph, CephOptions, ImageSpec, ImageState, Snapshot
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_lease import LEASE, Holder, Lock, LockLost, LockTaken, lease_of

FSID = "0b6f5a3e-5c0a-4d3c-a0f4-5d5c9b1f7a11"


class FakeCeph(Ceph):
    how = "librbd"

    def __init__(self, images: dict[tuple[str, str], int]) -> None:
        super().__init__(CephOptions())
        self.images = images
        self.done: list[tuple[t.Any, ...]] = []
        self.unreadable = False
        self.watchers: list[str] = []
        self.blocked: list[str] = []
        self.primary: str | None = None
        self.used_by: list[str] = []
        #: (header, name of the lock) -> its holder; an expired one is taken out by the test
        self.locks: dict[tuple[str, str], Holder] = {}
        #: image -> its snapshots; "image@snapshot" -> its clones; what Ceph's clock says when one is taken (None: now)
        self.snaps: dict[str, list[Snapshot]] = {}
        self.cloned: dict[str, list[str]] = {}
        self.clock: float | None = None
        #: called right after a lease was taken: what somebody else did meanwhile
        self.after_lease: t.Callable[[], None] = lambda: None
        #: called right before a resize: somebody else may be quicker
        self.before_resize: t.Callable[[], None] = lambda: None

    def fsid(self) -> str:
        return FSID

    def state(self, spec: ImageSpec) -> ImageState:
        if self.unreadable:
            raise self._error("Ceph could not open the image", spec, "open", "permission denied")
        if (spec.pool, spec.image) not in self.images:
            raise self._missing(spec, "open")
        header = f"rbd_header.{spec.image}"
        held = self.locks.get((header, LEASE))
        return ImageState(self.images[(spec.pool, spec.image)], self.watchers, header, lease_of([held] if held else [], 0), self.primary)

    def lock(self, spec: ImageSpec, header: str, lock: Lock, renew: bool = False) -> None:
        held = self.locks.get((header, lock.name))
        if renew and (held is None or held.cookie != lock.cookie):
            raise LockLost
        if held is not None and held.cookie != lock.cookie:
            raise LockTaken
        self.locks[(header, lock.name)] = Holder("client.1", lock.cookie, lock.text, lock.duration)
        if lock.name == LEASE:
            self.done.append(("lease", str(spec)))
            self.after_lease()

    def unlock(self, spec: ImageSpec, header: str, lock: Lock) -> None:
        held = self.locks.get((header, lock.name))
        if held is not None and held.cookie == lock.cookie:
            del self.locks[(header, lock.name)]

    def lockers(self, spec: ImageSpec, header: str, name: str) -> list[Holder]:
        held = self.locks.get((header, name))
        return [held] if held else []

    def break_lock(self, spec: ImageSpec, header: str, name: str, holder: Holder) -> None:
        if self.locks.get((header, name)) == holder:
            del self.locks[(header, name)]

    def create(self, spec: ImageSpec, size: int) -> None:
        self.done.append(("create", str(spec), size))
        self.images.setdefault((spec.pool, spec.image), size)

    def uses(self, spec: ImageSpec) -> list[str]:
        return [f"client {watcher} has it open" for watcher in self.watchers] + self.used_by

    def remove(self, spec: ImageSpec, trash: bool) -> None:
        self.done.append(("trash" if trash else "remove", str(spec)))
        del self.images[(spec.pool, spec.image)]

    def snapshots(self, spec: ImageSpec) -> list[Snapshot]:
        self.state(spec)
        return list(self.snaps.get(str(spec), []))

    def clones(self, spec: ImageSpec, snapshot: str) -> list[str]:
        return self.cloned.get(f"{spec}@{snapshot}", [])

    def create_snapshot(self, spec: ImageSpec, snapshot: str) -> None:
        self.done.append(("snapshot", f"{spec}@{snapshot}"))
        size = self.images[(spec.pool, spec.image)]
        self.snaps.setdefault(str(spec), []).append(Snapshot(snapshot, size, time.time() if self.clock is None else self.clock, False))

    def remove_snapshot(self, spec: ImageSpec, snapshot: str) -> None:
        self.done.append(("unsnapshot", f"{spec}@{snapshot}"))
        found = next((one for one in self.snapshots(spec) if one.name == snapshot), None)
        if found is None:
            raise self._missing(spec, "snap rm")
        if found.protected:
            raise self._error("Ceph refused to snap rm the image", spec, "snap rm", "protected")
        self.snaps[str(spec)].remove(found)

    def namespaces(self, pool: str) -> list[str]:
        if not any(one == pool for one, _image in self.images):
            raise self._missing(ImageSpec(pool, "", ""), "namespace ls")
        return []

    def image_names(self, pool: str, namespace: str) -> list[str]:
        return [image for one, image in self.images if one == pool and not namespace]

    def _resize(self, spec: ImageSpec, size: int) -> None:
        self.before_resize()
        self.done.append(("resize", str(spec), size))
        if self.images[(spec.pool, spec.image)] > size:
            raise self._shrink(spec, size, "allow_shrink is False but old_size > new_size")
        self.images[(spec.pool, spec.image)] = size

    def blocklist(self) -> list[str]:
        return self.blocked

    def pool_usage(self) -> dict[str, dict[str, int | None]]:
        return {"p": {"free_bytes": 10**12, "stored_bytes": 10**9}}

    def pool_provisioned(self, pool: str) -> int:
        return sum(size for (name, _image), size in self.images.items() if name == pool)

    def pool_limits(self) -> dict[str, dict[str, t.Any]]:
        return {"p": {"max_bytes": None, "full": False, "nearfull": True}}

    def close(self) -> None:
        self.done.append(("close",))
