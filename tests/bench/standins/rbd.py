# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A light host's stand-in for python3-rbd: sizes in files, resized with librbd's rule that ``allow_shrink=False`` refuses a smaller one."""

from __future__ import annotations

import typing as t

import rados

RBD_MIRROR_IMAGE_ENABLED = 1


class Error(Exception):
    """Any refusal."""


class ImageNotFound(Error):
    """No such image."""


class ImageExists(Error):
    """There is one of that name."""


class InvalidArgument(Error):
    """A resize that would shrink."""


class Image:
    """An open image."""

    def __init__(self, ioctx: rados.Ioctx, name: str, read_only: bool = False) -> None:
        rados.operation("open" if read_only else "open for writing")
        self.ioctx, self.name = ioctx, name
        if ioctx.store.size(ioctx.pool, name) is None:
            raise ImageNotFound(name)

    def __enter__(self) -> Image:
        return self

    def __exit__(self, *unused: t.Any) -> None:
        pass

    def old_format(self) -> bool:
        """Format 2."""
        return False

    def id(self) -> str:
        """What the header object is named by."""
        return self.name

    def size(self) -> int:
        """Bytes, now."""
        return int(self.ioctx.store.size(self.ioctx.pool, self.name) or 0)

    def watchers_list(self) -> list[dict[str, str]]:
        """The light targets are on this machine."""
        rados.operation("watchers")
        return [{"addr": "127.0.0.1:0/1"}]

    def features(self) -> int:
        """No journal."""
        return 1

    def resize(self, size: int, allow_shrink: bool = True) -> None:
        """Compare and set."""
        rados.operation("resize")
        if size < self.size() and not allow_shrink:
            raise InvalidArgument("old_size > new_size")
        self.ioctx.store.set_size(self.ioctx.pool, self.name, size)


class RBD:
    """Operations on names."""

    def create(self, ioctx: rados.Ioctx, name: str, size: int, old_format: bool = False) -> None:
        """A new image (of format 2, whatever ``old_format`` says)."""
        rados.operation("create")
        if ioctx.store.size(ioctx.pool, name) is not None:
            raise ImageExists(name)
        ioctx.store.set_size(ioctx.pool, name, size)
