# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Ceph of one dict for unit tests: it keeps librbd's rules (no image shrinks) and notes every operation in ``done``."""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import Ceph, CephOptions, ImageSpec, ImageState

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
        #: called right before a resize: somebody else may be quicker
        self.before_resize: t.Callable[[], None] = lambda: None

    def fsid(self) -> str:
        return FSID

    def state(self, spec: ImageSpec) -> ImageState:
        if self.unreadable:
            raise self._error("Ceph could not open the image", spec, "open", "permission denied")
        if (spec.pool, spec.image) not in self.images:
            raise self._missing(spec, "open")
        return ImageState(self.images[(spec.pool, spec.image)], self.watchers)

    def create(self, spec: ImageSpec, size: int) -> None:
        self.done.append(("create", str(spec), size))
        self.images.setdefault((spec.pool, spec.image), size)

    def _resize(self, spec: ImageSpec, size: int) -> None:
        self.before_resize()
        self.done.append(("resize", str(spec), size))
        if self.images[(spec.pool, spec.image)] > size:
            raise self._shrink(spec, size, "allow_shrink is False but old_size > new_size")
        self.images[(spec.pool, spec.image)] = size

    def blocklist(self) -> list[str]:
        return self.blocked

    def pool_free_bytes(self, pool: str) -> int | None:
        return 10**12

    def close(self) -> None:
        self.done.append(("close",))
