# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One simulated target of any release, the file that plays its Ceph, and what is declared for it."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import ImageSpec, ImageState
from fake_ceph import FakeCeph
from simulator_process import Simulator

from simulator.rbd_backend import edit_memory, read_memory

MIB = 1024**2
POOL = "pool-1"
IMAGES = {"vol-1": 64 * MIB, "vol-2": 65 * MIB, "vol-3": 128 * MIB}
NQN = "nqn.2026-01.org.example:vols"
HOSTS = [f"nqn.2014-08.org.nvmexpress:uuid:0a1b2c3d-0000-4000-8000-00000000000{number}" for number in (1, 2)]
UUIDS = {image: f"0a1b2c3d-0000-4000-8000-0000000001{number:02d}" for number, image in enumerate(IMAGES)}

#: Every release, and how a version is spelled that is more than one.
RELEASES = [
    *("19.01.1", "19.04", "19.07", "19.10", "20.01", "20.04", "20.07", "20.10", "21.01", "21.04", "21.07", "21.10", "22.01.2", "22.05", "22.09"),
    *("23.01.1", "23.05", "23.09", "24.01", "24.05", "24.09", "25.05", "25.09", "26.01", "26.05", "26.09-pre"),
]


def number(release: str) -> tuple[int, int]:
    """``(19, 1)`` for ``19.01.1``."""
    major, minor = release.split("-")[0].split(".")[:2]
    return int(major), int(minor)


class FileCeph(FakeCeph):
    """librbd's rules over the file that plays Ceph. All connections to one file see the same locks."""

    shared_locks: dict[str, dict] = {}

    def __init__(self, path: Path) -> None:
        super().__init__({})
        self.path = str(path)
        self.locks = self.shared_locks.setdefault(self.path, {})

    def state(self, spec: ImageSpec) -> ImageState:
        pools = read_memory(self.path)["pools"]
        self.images = {(pool, image): size for pool, images in pools.items() for image, size in images.items()}
        return super().state(spec)

    def create(self, spec: ImageSpec, size: int) -> None:
        raise AssertionError("no test creates an image")

    def _resize(self, spec: ImageSpec, size: int) -> None:
        super()._resize(spec, size)
        edit_memory(self.path, spec.pool, spec.image, size)


def free_port() -> str:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return str(sock.getsockname()[1])


class World:
    """A running target of a release; `declared` is what an operator would write for it."""

    def __init__(self, directory: Path, release: str, **environment: str) -> None:
        self.directory, self.release, self.environment = directory, release, environment
        self.number = number(release)
        directory.mkdir(exist_ok=True)
        self.conf = directory / "ceph.conf"
        self.memory = directory / "ceph.json"
        self.conf.write_text(f"{self.memory}\n")  # what the stand-in of the rbd program looks for
        self.port = free_port()
        self.simulator = Simulator(directory, "--sim-release", release, memory={"users": ["admin"], "pools": {POOL: dict(IMAGES)}}, environment=environment)

    def restart(self) -> None:
        """A new process on what the images are now."""
        self.simulator.stop()
        self.simulator = Simulator(self.directory, "--sim-release", self.release, memory=read_memory(str(self.memory)), environment=self.environment)

    @property
    def socket(self) -> str:
        """Path of the RPC socket."""
        return str(self.simulator.socket)

    def images(self) -> dict[str, int]:
        """Bytes of every image."""
        return json.loads(self.memory.read_text())["pools"][POOL]

    # -- what is declared, with no more than the release can do ---------------------------------------------------------------------

    def transports(self) -> list[dict[str, Any]]:
        """TCP with an option whose name changed."""
        count = "max_io_qpairs_per_ctrlr" if self.number >= (20, 7) else "max_qpairs_per_ctrlr"
        shown = 127 if self.number >= (20, 7) else 64 if self.number < (19, 10) else 128
        return [{"trtype": "TCP", "options": {count: shown, "in_capsule_data_size": 4096}}]

    def clusters(self) -> list[dict[str, Any]]:
        """One, from the release on that has clusters (config_file works from 22.01 on)."""
        if self.number < (21, 7):
            return []
        return [{"name": "ceph", "user": "admin", **({"config_file": str(self.conf)} if self.number >= (22, 1) else {})}]

    def bdevs(self, size: str | None = None, state: str = "present") -> list[dict[str, Any]]:
        """One of each block size; the third is read-only where that exists."""
        found = []
        for image, block_size in zip(IMAGES, (512, 4096, 512)):
            wish: dict[str, Any] = {"name": f"bdev-{image}", "pool": POOL, "image": image, "block_size": block_size, "state": state}
            if image == "vol-3" and self.number >= (25, 9) and "pre" not in self.release:
                wish["read_only"] = True
            elif size:
                wish["size"] = size
            found.append(wish)
        return found

    def subsystem(self, **more: Any) -> dict[str, Any]:
        """Two hosts, two listeners, three namespaces."""
        ports = [self.port, "4420"]
        listeners: list[dict[str, Any]] = [{"trtype": "TCP", "traddr": f"127.0.{self.number[0]}.{self.number[1]}", "trsvcid": port} for port in ports]
        ana = self.number >= (20, 10)
        if ana:
            listeners[1]["ana_state"] = "non_optimized"
        namespaces = [{"bdev": f"bdev-{image}", "nsid": nsid, "uuid": UUIDS[image]} for nsid, image in enumerate(IMAGES, start=1)]
        wish = {"nqn": NQN, "serial_number": "S1", "max_namespaces": 8, "hosts": HOSTS, "listeners": listeners, "namespaces": namespaces}
        return {"state": "present", **wish, **({"ana_reporting": True} if ana else {}), **more}
