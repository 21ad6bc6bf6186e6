# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A light target: the simulator with images from ``light_store``, counted calls, and hosts whose sysfs follows it.

``target.py FOLLOWERS.json OPTIONS...``: the options are the simulator's, with ``--sim-memory`` naming the store's folder. FOLLOWERS maps a
bdev to the files of the hosts that show its size in sectors: the path through this target first, then the head, which takes the size of
the path scanned last as Linux does. They are written when the bdev has the size, as the event of a real target would make a host do.
"""

from __future__ import annotations

import collections
import json
import os
import sys
from pathlib import Path
from typing import Any, Callable

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lab"), str(HERE / "standins")]

from light_store import Store  # noqa: E402

from simulator import main as program  # noqa: E402
from simulator.bdev import Bdev  # noqa: E402
from simulator.rbd_backend import DEFAULT_USER, Backend, BackendError, Cluster, Image  # noqa: E402
from simulator.target import Target  # noqa: E402

#: A method that no release has: how often each was called so far.
COUNTS = "light_counts"
FOLLOWERS: dict[str, list[str]] = {}


class StoreBackend(Backend):
    """Images of a :class:`Store`; who watches is told from its log, so that a change costs the same among ten images and among thousands."""

    def __init__(self, folder: str, later: Callable[[float, Callable[[], None]], None]) -> None:
        self.store = Store(folder)
        self._later = later
        self._watchers: dict[str, dict[Any, Callable[[], None]]] = {}
        self._seen: int | None = None

    def connect(self, user: str | None, conf: str | None, read_default: bool, options: dict[str, str], keyring: str | None) -> Cluster:
        return StoreCluster(self, user or DEFAULT_USER)

    def watch(self, image: StoreImage, changed: Callable[[], None]) -> None:
        """Look at the log every 20 ms while anybody watches."""
        self._watchers.setdefault(image.label, {})[image] = changed
        if self._seen is None:
            self._seen = os.stat(self.store.log).st_size
            self._later(0.02, self._tick)

    def unwatch(self, image: StoreImage) -> None:
        """Forget a watcher."""
        self._watchers.get(image.label, {}).pop(image, None)

    def _tick(self) -> None:
        self._later(0.02, self._tick)
        with open(self.store.log, encoding="utf-8") as log:
            log.seek(self._seen or 0)
            text = log.read()
        whole = text[: text.rfind("\n") + 1]
        self._seen = (self._seen or 0) + len(whole.encode())
        for label in dict.fromkeys(whole.split()):
            for changed in list(self._watchers.get(label, {}).values()):
                changed()


class StoreCluster(Cluster):
    """A client of the store."""

    def __init__(self, backend: StoreBackend, user: str) -> None:
        self.backend, self.user = backend, user

    def kernel_client(self) -> tuple[str, str, str | None]:
        raise BackendError("the kernel cannot open images of the store")

    def open(self, pool: str, image: str, read_only: bool) -> Image:
        opened = StoreImage(self.backend, pool, image)
        opened.size()
        return opened

    def close(self) -> None:
        pass


class StoreImage(Image):
    """An open image of the store."""

    def __init__(self, backend: StoreBackend, pool: str, name: str) -> None:
        self.backend, self.pool, self.name = backend, pool, name
        self.label = f"{pool}/{name}"

    def size(self) -> int:
        size = self.backend.store.size(self.pool, self.name)
        if size is None:
            raise BackendError(f"no image {self.label}")
        return size

    def resize(self, size: int) -> None:
        self.backend.store.set_size(self.pool, self.name, size)

    def watch(self, changed: Callable[[], None]) -> None:
        self.backend.watch(self, changed)

    def close(self) -> None:
        self.backend.unwatch(self)


class CountingTarget(Target):
    """The simulator's target; its hosts are files."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.counts: collections.Counter[str] = collections.Counter()
        self.nvmf.bdev_resized = self._tell_hosts  # type: ignore[method-assign]

    def call(self, method: str, params: Any, given: bool = True) -> Any:
        if method == COUNTS:
            return dict(self.counts)
        self.counts[method] += 1
        return super().call(method, params, given)

    @staticmethod
    def _tell_hosts(bdev: Bdev) -> None:
        for name in FOLLOWERS.get(bdev.name, ()):
            # not truncated: sizes only grow, and a reader never sees half a line
            handle = os.open(name, os.O_WRONLY)
            os.write(handle, f"{bdev.size // 512}\n".encode())
            os.close(handle)


if __name__ == "__main__":
    FOLLOWERS.update(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    program.Target = CountingTarget  # type: ignore[misc]
    program.MemoryBackend = StoreBackend  # type: ignore[misc,assignment]
    program.main(sys.argv[2:])
