# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults on a pair of running targets, made as the lab's scenario ``audit`` makes them: what the audit says of what the targets really answer.

The hosts are made up; the lab has real ones.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Iterator

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdev_wish import wanted_bdevs
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdevs import BdevManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_wish import wanted_subsystems
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystems import SubsystemManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_transports import TransportManager
from ansible_collections.nvmeof.spdk.plugins.modules.spdk_target_info import read_target
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._audit import report
from release_world import FileCeph, free_port
from simulator_process import Simulator, eventually

MIB = 1024**2
NQN = "nqn.2016-06.io.spdk:cnode1"
SIZES = {"vol-1": 64 * MIB, "vol-2": 96 * MIB, "idle": 32 * MIB, "spare": 32 * MIB, "twin": 32 * MIB, "cut": 32 * MIB}
UUIDS = {name: f"{digit * 8}-{digit * 4}-4{digit * 3}-8{digit * 3}-{digit * 12}" for name, digit in zip(SIZES, "123456")}
SHOWN = {"vol-1": 1, "vol-2": 2, "idle": 3}
DECLARED = {name: {"images": ["pool-1/vol-1", "pool-1/vol-2"], "nqns": None} for name in ("t1", "t2")}


class Pair:
    """Two targets of one Ceph, and two hosts that are connected to both."""

    def __init__(self, directory: Path) -> None:
        self.ports = {"t1": free_port(), "t2": free_port()}
        self.targets: dict[str, Simulator] = {}
        for name in self.ports:
            place = directory / name
            place.mkdir()
            self.targets[name] = Simulator(place, memory={"users": ["admin"], "pools": {"pool-1": dict(SIZES)}})

    def resize(self, image: str, size: int) -> None:
        """What ``rbd resize`` does to the image of both."""
        for target in self.targets.values():
            target.set_image("pool-1", image, size)

    def ceph(self, name: str) -> FileCeph:
        """The Ceph client of a target's host, on which the target itself has every image open."""
        client = FileCeph(self.targets[name].memory)
        client.watchers = ["127.0.0.1:0/1"]
        return client

    def declare(self, name: str, images: list[str], subsystems: list[dict[str, Any]]) -> None:
        """Bdevs and subsystems, by the code of the modules."""
        with Target.open(str(self.targets[name].socket), 10) as target:
            transports = TransportManager(target)
            transports.plan([{"trtype": "TCP", "options": {}}])
            transports.apply()
            bdevs = BdevManager(target, lambda: self.ceph(name), 5)
            common = {"pool": "pool-1", "block_size": 512, "state": "present", "cluster": "ceph"}
            wishes = wanted_bdevs([{**common, "name": image, "image": image, "uuid": None if image == "twin" else UUIDS[image]} for image in images])
            bdevs.plan(wishes, [{"name": "ceph", "user": "admin"}])
            bdevs.apply(wishes)
            manager, wanted = SubsystemManager(target), wanted_subsystems(subsystems)
            manager.plan(wanted)
            manager.apply(wanted)
            manager.verify(wanted)

    def ask(self, name: str) -> dict[str, Any]:
        """The measurement of a target, as the module makes it."""
        params = {"socket": str(self.targets[name].socket), "images": True, "connections": True, "provisioned": False, "bdevs": None}
        module = SimpleNamespace(params=params)
        try:
            with Target.open(module.params["socket"], 1) as target:
                return {"target": read_target(module, target, lambda: self.ceph(name)), "errors": {}}
        except HopError as error:
            return {"errors": {"target": str(error)}}

    def host(self, name: str, sizes: dict[str, int]) -> dict[str, Any]:
        """What nvme_info of a connected host answers."""
        namespaces = []
        for image, nsid in SHOWN.items():
            paths = [
                {"name": f"nvme0c{n}n{nsid}", "controller": f"nvme{n}", "traddr": "127.0.0.1", "trsvcid": port, "transport": "tcp", "state": "live"}
                for n, port in enumerate(self.ports.values())
            ]
            namespace = {"uuid": UUIDS[image], "nqn": NQN, "nsid": nsid, "device": f"/dev/nvme0n{nsid}", "size_bytes": sizes[image]}
            namespaces.append({**namespace, "paths": [{**path, "size_bytes": sizes[image]} for path in paths]})
        controllers = [{"name": f"nvme{n}", "nqn": NQN, "state": "live"} for n in range(2)]
        return {"hostnqn": f"nqn.host:{name}", "hostid": name, "controllers": controllers, "namespaces": namespaces, "problems": []}

    def audit(self, wanted: str = "") -> dict[str, Any]:
        """Vol-1 has grown, and QEMU does not know; vol-2 is attached by its kernel name."""
        sizes = {**SIZES, "vol-1": 128 * MIB}
        disk = {"domain": "g1", "domain_state": "running", "held": True, "guest_bytes": None, "problems": []}
        disks = [
            {**disk, "target": "vda", "namespace_uuid": UUIDS["vol-1"], "source": "/dev/disk/by-id/nvme-uuid." + UUIDS["vol-1"], "device": "/dev/nvme0n1"},
            {**disk, "target": "vdb", "namespace_uuid": UUIDS["vol-2"], "source": "/dev/nvme0n2", "device": "/dev/nvme0n2"},
        ]
        for one, size in zip(disks, (128 * MIB, 96 * MIB)):
            one.update(capacity_bytes=min(size, 96 * MIB), physical_bytes=size)
        disks[0]["capacity_bytes"] = 64 * MIB
        measurements = {name: self.ask(name) for name in self.targets}
        measurements["h1"] = {"host": self.host("h1", sizes), "disks": disks, "errors": {}}
        measurements["h2"] = {"host": self.host("h2", sizes), "disks": [], "errors": {}}
        return report(measurements, DECLARED, wanted=wanted)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The pair with everything that is seeded before it is audited."""
    directory = tmp_path_factory.mktemp("a")
    found = Pair(directory)
    try:
        for number, name in enumerate(found.targets):
            common = {"state": "present", "allow_any_host": True, "listeners": [{"trtype": "TCP", "traddr": "127.0.0.1", "trsvcid": found.ports[name]}]}
            own = {"ana_reporting": True, "min_cntlid": number * 1000 + 1, "max_cntlid": number * 1000 + 999, "serial_number": "NVMEOFSPDKLAB0001"}
            namespaces = [{"bdev": image, "nsid": nsid} for image, nsid in SHOWN.items()]
            found.declare(name, list(SHOWN), [{**common, **own, "nqn": NQN, "namespaces": namespaces}])
        common["listeners"] = [{"trtype": "TCP", "traddr": "127.0.0.1", "trsvcid": free_port()}]
        spare = {**common, "nqn": NQN + ":spare", "serial_number": "SPARE", "namespaces": [{"bdev": "spare", "nsid": 1}, {"bdev": "cut", "nsid": 2}]}
        twin = {**common, "nqn": NQN + ":twin", "serial_number": "TWIN", "namespaces": [{"bdev": "twin", "nsid": 1, "uuid": UUIDS["spare"]}]}
        found.declare("t1", ["spare", "twin", "cut"], [spare, twin])
        found.resize("vol-1", 128 * MIB)
        found.resize("cut", 16 * MIB)
        for target in found.targets.values():
            eventually(lambda target=target: {b["name"]: b["num_blocks"] * 512 for b in target.call("bdev_get_bdevs")}["vol-1"] == 128 * MIB)
        yield found
    finally:
        for target in found.targets.values():
            target.process.send_signal(signal.SIGCONT)
            target.stop()
        shutil.rmtree(directory)


def short(found: dict[str, Any]) -> set[tuple[str, str, str, str | None]]:
    return {(item["kind"], item["host"], item["object"], item["volume"]) for item in found["findings"]}


def test_every_seeded_fault_is_found_on_what_targets_answer(pair: Pair) -> None:
    found = pair.audit()
    assert short(found) == {
        ("image-smaller", "t1", "cut", "pool-1/cut"),
        ("uuid-twice", "t1", UUIDS["spare"], "pool-1/spare"),
        ("unstable-name", "h1", "g1:vdb", "pool-1/vol-2"),
        ("device-unused", "h1, h2", "/dev/nvme0n3", "pool-1/idle"),
        ("namespace-unused", "t1", f"{NQN}:spare#1", "pool-1/spare"),
        ("namespace-unused", "t1", f"{NQN}:spare#2", "pool-1/cut"),
        ("namespace-unused", "t1", f"{NQN}:twin#1", "pool-1/twin"),
    }
    verdicts = {row["image"]: row["verdict"].partition(":")[0] for row in found["volumes"]}
    lags = {"vol-1": "lagging at disk", "vol-2": "unproven at guest", "idle": "ok"}
    assert verdicts == {**lags, **dict.fromkeys(("cut", "spare", "twin"), "critical")}


def test_a_target_that_hangs_is_found_behind_its_paths_and_is_back_afterwards(pair: Pair) -> None:
    os.kill(pair.targets["t2"].process.pid, signal.SIGSTOP)
    try:
        found = pair.audit()
    finally:
        os.kill(pair.targets["t2"].process.pid, signal.SIGCONT)
    (item,) = [item for item in found["findings"] if item["kind"] == "silent-target"]
    assert (item["host"], item["object"]) == ("t2", "t2") and "h1 nvme1, h2 nvme1" in item["text"]
    assert set(item["volumes"]) == {"pool-1/vol-1", "pool-1/vol-2"}
    assert {row["image"]: row["verdict"] for row in found["volumes"]}["vol-2"] == "unproven at bdev"
    assert not {"not-heard", "stale-target", "stale-path"} & {item["kind"] for item in found["findings"]}
    again = pair.audit("g1:vdb,NVMEOFSPDKLAB0001#1")
    assert again["not_heard"] == [] and [row["image"] for row in again["volumes"]] == ["vol-1", "vol-2"]
    assert {item["kind"] for item in again["findings"]} == {"unstable-name"} and again["findings_elsewhere"] == {"critical": 2, "warning": 0, "info": 4}
