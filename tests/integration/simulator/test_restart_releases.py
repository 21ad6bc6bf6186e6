# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The start-up file of every release: a killed target comes back the same, and nothing differs from the declared state."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Iterator

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdev_wish import wanted_bdevs
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdevs import BdevManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_drift import compare, read_live, restart_reasons
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_startup import check_document, objects_of
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_wish import wanted_subsystems
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystems import SubsystemManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_transports import TransportManager
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._startup_config import render
from release_world import RELEASES, FileCeph, World, read_memory
from simulator_process import Simulator


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A short path (Unix sockets allow 107 bytes)."""
    path = tmp_path_factory.mktemp("s")
    yield path
    shutil.rmtree(path)


def deploy(world: World, declared: dict[str, Any]) -> dict[str, Any]:
    """What the role does, in one process; what the modules read back."""
    with Target.open(world.socket, 10) as target:
        transports = TransportManager(target)
        transports.plan(declared["transports"])
        transports.apply()
        rbd = BdevManager(target, lambda: FileCeph(world.memory), 5)
        items = wanted_bdevs(declared["bdevs"])
        rbd.plan(items, declared["clusters"], declared["config_defaults"])
        rbd.apply(items)
        rbd.read_back(items)
        manager, wishes = SubsystemManager(target), wanted_subsystems(declared["subsystems"])
        manager.plan(wishes)
        manager.apply(wishes)
        manager.verify(wishes)
        return {"bdevs": [item.result() for item in items], "subsystems": [manager.result(wish.nqn) for wish in wishes], "release": target.release}


def shown(world: World) -> tuple[dict[str, Any], Any]:
    """Namespaces and bdevs by what hosts know of them, and the objects of the target."""
    with Target.open(world.socket, 10) as target:
        (subsystem,) = target.subsystems()
        namespaces = {namespace["nsid"]: (namespace["bdev"], namespace["uuid"], namespace["nguid"]) for namespace in subsystem["namespaces"]}
        return {"namespaces": namespaces, "bdevs": [(bdev["name"], bdev["size_bytes"], bdev["read_only"]) for bdev in target.bdevs()]}, read_live(target)


@pytest.mark.parametrize("release", RELEASES)
def test_a_target_of_every_release_comes_back_the_same(directory: Path, release: str) -> None:
    world = World(directory, release)
    try:
        declared = {
            "clusters": world.clusters(),
            "config_defaults": {"client_mount_timeout": 30},
            "transports": world.transports(),
            "bdevs": world.bdevs(),
            "subsystems": [world.subsystem()],
            "max_subsystems": 77,
        }
        declared["bdevs"][0]["qos"] = {"rw_ios_per_sec": 1500}
        document = render(declared, deploy(world, declared))
        before, _live = shown(world)
        world.simulator.process.kill()
        world.simulator.process.wait(timeout=20)
        file = directory / "start.json"
        file.write_text(json.dumps(document))
        world.simulator = Simulator(directory, "--sim-release", release, "--json", str(file), memory=read_memory(str(world.memory)))
        after, live = shown(world)
        assert after == before
        with Target.open(world.socket, 10) as target:
            wanted = objects_of(check_document(document, target.table))
        drifts, unread = compare(wanted, wanted, live)
        assert drifts == []
        # said as it is: what a release does not show is not taken for equal
        hidden = {(entry["kind"], entry["attribute"]) for entry in unread}
        assert (("bdev", "cluster_name") in hidden) == bool(world.clusters())
        assert ("setting", "nvmf_set_max_subsystems") in live.objects and live.objects[("setting", "nvmf_set_max_subsystems")]["max_subsystems"] == 77
    finally:
        world.simulator.stop()


@pytest.mark.parametrize("release", ["19.01.1", "19.10", "20.10", "21.04"])
def test_before_21_07_a_cluster_becomes_user_and_configuration_of_each_bdev(directory: Path, release: str) -> None:
    """client.admin has no key here, so a bdev that is opened with librados' defaults fails. The file opens them in the same way."""
    world = World(directory, release)
    try:
        memory = {**read_memory(str(world.memory)), "users": ["spdk"]}
        world.simulator.stop()
        world.simulator = Simulator(directory, "--sim-release", release, memory=memory)
        keyring = directory / "keyring"
        keyring.write_text("")
        declared = {
            "clusters": [{"name": "ceph", "user": "spdk", "key_file": str(keyring), "config_param": {"mon_host": "192.0.2.1"}}],
            "config_defaults": {"client_mount_timeout": 30},
            "transports": world.transports(),
            "bdevs": [{**bdev, "cluster": "ceph"} for bdev in world.bdevs()],
            "subsystems": [world.subsystem()],
        }
        document = render(declared, deploy(world, declared))
        access = {"user_id": "spdk", "config": {"mon_host": "192.0.2.1", "keyring": str(keyring), "client_mount_timeout": "30"}}
        before, live = shown(world)
        opened = [entry for (kind, _name), entry in live.objects.items() if kind == "bdev"]
        assert [{key: entry.get(key) for key in access} for entry in opened] == [access] * 3
        world.simulator.stop()
        file = directory / "start.json"
        file.write_text(json.dumps(document))
        world.simulator = Simulator(directory, "--sim-release", release, "--json", str(file), memory=memory)
        after, live = shown(world)
        assert after == before
        with Target.open(world.socket, 10) as target:
            wanted = objects_of(check_document(document, target.table))
        assert compare(wanted, wanted, live)[0] == []
        # another user is taken at the next start, and the target needs one
        major, minor = world.number
        changed = render({**declared, "clusters": [{"name": "ceph", "user": "other"}]}, {"release": {"major": major, "minor": minor}})
        other = objects_of(check_document(changed))
        assert len(restart_reasons(compare(other, other, live)[0])) == 3
    finally:
        world.simulator.stop()
