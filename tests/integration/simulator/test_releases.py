# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection against the simulator as every release from 19.01 to the one to come: declared, run again, grown, taken down."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Iterator

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdev_wish import wanted_bdevs
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdevs import BdevManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import UnsupportedError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_wish import wanted_subsystems
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystems import SubsystemManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_transports import TransportManager
from release_world import HOSTS, IMAGES, MIB, NQN, RELEASES, UUIDS, FileCeph, World
from simulator_process import Answer, Simulator, connect, exchange

#: How RBD bdevs grow: 19.01 to 20.01 not at all, then by being told, from 24.01 on by themselves.
SILENT = [release for release in RELEASES if release < "20.04"]
TOLD = [release for release in RELEASES if "20.04" <= release < "24.01"]
WATCHING = [release for release in RELEASES if release >= "24.01"]


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A short path (Unix sockets allow 107 bytes)."""
    path = tmp_path_factory.mktemp("r")
    yield path
    shutil.rmtree(path)


def run(world: World, bdevs: list[dict[str, Any]] | None = None, subsystem: dict[str, Any] | None = None, unit: str | None = None, check: bool = False) -> Any:
    """What the tasks of a play do, in one process: transports, bdevs, subsystems. The names of changed objects and the calls sent."""
    changed: set[str] = set()
    with Target.open(world.socket, 10) as target:
        transports = TransportManager(target)
        transports.plan(world.transports())
        rbd = BdevManager(target, lambda: FileCeph(world.memory), 5, resize_unit=unit)
        items = wanted_bdevs(world.bdevs() if bdevs is None else bdevs)
        subsystems, wishes = SubsystemManager(target), wanted_subsystems([world.subsystem() if subsystem is None else subsystem])
        if not check:
            transports.apply()
        rbd.plan(items, world.clusters())
        if not check:
            rbd.apply(items)
            rbd.read_back(items)
        if not check or not rbd.changes.changed:
            subsystems.plan(wishes)
        if not check:
            subsystems.apply(wishes)
            subsystems.verify(wishes)
        for manager in (transports, rbd, subsystems):
            changed |= {change.name for change in manager.changes.items}
        return changed, target.sent


def facts(world: World) -> dict[str, Any]:
    """The target as spdk_target_info shows it."""
    with Target.open(world.socket, 10) as target:
        subsystems = target.subsystems()
        target.add_ana_states(subsystems)
        target.add_controllers(subsystems)
        return {"bdevs": {bdev["name"]: bdev for bdev in target.bdevs()}, "subsystems": subsystems, "release": target.release, "clusters": target.clusters()}


@pytest.mark.parametrize("release", RELEASES)
def test_a_target_of_every_release_from_nothing_to_growth_and_back(directory: Path, release: str) -> None:
    world = World(directory, release)
    try:
        changed, _sent = run(world)
        assert changed == {"TCP", NQN, *(f"bdev-{image}" for image in IMAGES), *(["ceph"] if world.clusters() else [])}
        assert run(world) == (set(), [])
        assert run(world, check=True) == (set(), [])
        found = facts(world)
        (subsystem,) = found["subsystems"]
        assert {name: bdev["size_bytes"] for name, bdev in found["bdevs"].items()} == {f"bdev-{image}": size for image, size in IMAGES.items()}
        assert [(entry["nsid"], entry["bdev"], entry["uuid"]) for entry in subsystem["namespaces"]] == [
            (nsid, f"bdev-{image}", UUIDS[image]) for nsid, image in enumerate(IMAGES, start=1)
        ]
        assert sorted(subsystem["hosts"]) == sorted(HOSTS) and subsystem["max_namespaces"] == 8 and subsystem["serial_number"] == "S1"
        states = [None, None] if world.number < (20, 10) else ["non_optimized", "optimized"]
        assert sorted((entry["ana_state"] for entry in subsystem["listeners"]), key=str) == states
        assert subsystem["controllers"] == (None if world.number < (20, 10) else [])
        grow(world)
        take_down(world)
    finally:
        world.simulator.stop()


def grow(world: World) -> None:
    """Every volume to 256 MiB, by what the release needs; the third is read-only in new releases and stays as it is."""
    wishes = world.bdevs("256M")
    grown = [wish["image"] for wish in wishes if wish.get("size")]
    if world.release in SILENT:
        before = world.images()
        with pytest.raises(UnsupportedError) as caught:
            run(world, wishes)
        assert "20.04" in caught.value.remedy and world.images() == before, "nothing may be touched"
        for image in grown:
            world.simulator.set_image("pool-1", image, 256 * MIB)
        # the image is as wanted, but the target cannot follow: still an error, until it is restarted and declared anew
        with pytest.raises(UnsupportedError):
            run(world, wishes)
        world.restart()
        run(world, wishes)
        sent = []
    else:
        _changed, sent = run(world, wishes)
    assert [call["method"] for call in sent] == (["bdev_rbd_resize"] * len(grown) if world.release in TOLD else [])
    sizes = {image: 256 * MIB if image in grown else size for image, size in IMAGES.items()}
    assert world.images() == sizes
    assert {name: bdev["size_bytes"] for name, bdev in facts(world)["bdevs"].items()} == {f"bdev-{image}": size for image, size in sizes.items()}
    assert run(world, wishes) == (set(), [])


def take_down(world: World) -> None:
    """Namespaces, then bdevs, then the subsystem; where nobody can tell who is connected, only with force."""
    if world.number < (20, 10):
        with pytest.raises(HopError) as caught:
            run(world, subsystem=world.subsystem(namespaces=[], purge=True))
        assert "force" in caught.value.remedy
    with pytest.raises(HopError):
        run(world, world.bdevs(state="absent"), world.subsystem())
    run(world, world.bdevs(), world.subsystem(namespaces=[], listeners=[], hosts=HOSTS[:1], purge=True, force=world.number < (20, 10)))
    run(world, world.bdevs(state="absent"), {"nqn": NQN, "state": "absent", "force": world.number < (20, 10)})
    found = facts(world)
    assert (found["bdevs"], found["subsystems"]) == ({}, [])
    assert world.images() == {image: max(size, world.images()[image]) for image, size in IMAGES.items()}, "no image is ever touched by a removal"


def test_every_release_is_told_silent_or_watching() -> None:
    assert SILENT + TOLD + WATCHING == RELEASES and "19.10" in SILENT and "23.09" in TOLD


@pytest.mark.parametrize("unit", ["bytes", "mib"])
def test_the_patched_target_grows_in_the_declared_unit(directory: Path, unit: str) -> None:
    world = World(directory, "19.01.1", SPDK_SIM_RESIZE_RBD_BDEV=unit)
    try:
        run(world)
        before = world.images()
        with pytest.raises(HopError) as caught:
            run(world, world.bdevs("256M"))
        assert "resize_unit" in caught.value.remedy and world.images() == before
        _changed, sent = run(world, world.bdevs("256M"), unit=unit)
        assert [call["params"]["size"] for call in sent] == [256 * MIB if unit == "bytes" else 256] * 3
        assert set(world.images().values()) == {256 * MIB}
        assert {bdev["size_bytes"] for bdev in facts(world)["bdevs"].values()} == {256 * MIB}
    finally:
        world.simulator.stop()


# -- what the simulator shows of a release ---------------------------------------------------------------------------------------------


def simulator(directory: Path, release: str, *options: str) -> Simulator:
    memory = {"users": ["admin"], "pools": {"p": {"one": 64 * MIB}}}
    return Simulator(directory, "--sim-release", release, *options, memory=memory)


@pytest.mark.parametrize(("release", "refused"), [("20.07", False), ("20.10", True), ("24.01", True), ("24.05", False)])
def test_two_changes_of_one_subsystem_at_once(directory: Path, release: str, refused: bool) -> None:
    with simulator(directory, release) as target:
        target.call("nvmf_create_subsystem", {"nqn": NQN, "allow_any_host": True})
        for name in ("a", "b"):
            target.call("bdev_null_create", {"name": name, "num_blocks": 2048, "block_size": 512})
        calls = [
            '{"jsonrpc":"2.0","id":"%s","method":"nvmf_subsystem_add_ns","params":{"nqn":"%s","namespace":{"bdev_name":"%s"}}}' % (name, NQN, name)
            for name in "ab"
        ]
        with connect(target.socket) as sock:
            answers, _closed = exchange(sock, "".join(calls).encode(), 2)
        errors = [answer["error"] for answer in answers if "error" in answer]
        assert errors == ([{"code": -32603, "message": "Internal error"}] if refused else [])


@pytest.mark.parametrize(("release", "listener", "host"), [("24.01", True, True), ("24.05", -32602, True), ("24.09", -32602, -32603)])
def test_what_is_there_already(directory: Path, release: str, listener: Any, host: Any) -> None:
    def again(method: str, params: dict[str, Any]) -> Any:
        assert target.call(method, params) is True
        try:
            return target.call(method, params)
        except Answer as error:
            return error.code

    with simulator(directory, release) as target:
        target.call("nvmf_create_transport", {"trtype": "TCP"})
        target.call("nvmf_create_subsystem", {"nqn": NQN})
        address = {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": "4431"}
        assert again("nvmf_subsystem_add_listener", {"nqn": NQN, "listen_address": address}) == listener
        assert again("nvmf_subsystem_add_host", {"nqn": NQN, "host": HOSTS[0]}) == host


@pytest.mark.parametrize(("release", "limit"), [("19.01", 32), ("26.01", 32), ("26.05", 256)])
def test_the_largest_request(directory: Path, release: str, limit: int) -> None:
    method = "get_bdevs" if release == "19.01" else "bdev_get_bdevs"
    with simulator(directory, release) as target:
        for size, fits in ((limit * 1024 - 200, True), (limit * 1024 + 10, False)):
            request = '{"jsonrpc":"2.0","id":1,"method":"%s","params":{"name":"%s"}}' % (method, "x" * (size - 66))
            with connect(target.socket) as sock:
                answers, closed = exchange(sock, request.encode(), 1)
            assert (len(answers), closed) == ((1, False) if fits else (0, True)), size


@pytest.mark.parametrize("release", ["19.01", "23.01", "26.01"])
def test_no_batches_before_26_05(directory: Path, release: str) -> None:
    with simulator(directory, release) as target, connect(target.socket) as sock:
        answers, _closed = exchange(sock, b'[{"jsonrpc":"2.0","id":1,"method":"get_bdevs"}]', 1)
        assert answers == [{"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Invalid request"}}]


@pytest.mark.parametrize(("release", "old_names", "listed"), [("19.07", True, True), ("19.10", True, False), ("22.01", True, False), ("22.05", False, False)])
def test_older_names_are_answered_until_22_01(directory: Path, release: str, old_names: bool, listed: bool) -> None:
    with simulator(directory, release) as target:
        assert ("get_bdevs" in target.call("rpc_get_methods")) is listed
        if old_names:
            assert target.call("get_bdevs") == []
        else:
            with pytest.raises(Answer) as caught:
                target.call("get_bdevs")
            assert caught.value.code == -32601


@pytest.mark.parametrize(
    ("release", "method", "params"),
    [
        ("19.01", "construct_rbd_bdev", {"name": "a", "pool_name": "p", "rbd_name": "one", "block_size": 0}),
        ("23.01", "bdev_rbd_create", {"name": "a", "pool_name": "p", "rbd_name": "one", "block_size": 512, "user_id": "nobody"}),
        ("23.01", "bdev_rbd_register_cluster", {"user_id": "admin"}),
    ],
)
def test_what_ends_a_target(directory: Path, release: str, method: str, params: dict[str, Any]) -> None:
    with simulator(directory, release) as target:
        with pytest.raises(ConnectionError):
            target.call(method, params)
        assert target.process.wait(timeout=10) < 0


def test_a_namespace_of_an_image_that_is_gone_ends_23_01(directory: Path) -> None:
    with simulator(directory, "23.01") as target:
        target.call("bdev_rbd_create", {"name": "a", "pool_name": "p", "rbd_name": "one", "block_size": 512})
        target.call("nvmf_create_subsystem", {"nqn": NQN})
        target.set_image("p", "one", None)
        with pytest.raises(ConnectionError):
            target.call("nvmf_subsystem_add_ns", {"nqn": NQN, "namespace": {"bdev_name": "a"}})


@pytest.mark.parametrize(("release", "made"), [("21.07", False), ("21.10", True), ("22.05", True), ("22.09", False)])
def test_a_bdev_of_a_missing_image(directory: Path, release: str, made: bool) -> None:
    with simulator(directory, release) as target:
        try:
            target.call("bdev_rbd_create", {"name": "a", "pool_name": "p", "rbd_name": "none", "block_size": 512})
        except Answer as error:
            assert not made and (error.code, error.message) == (-1, "Operation not permitted")
        else:
            assert made and target.call("bdev_get_bdevs", {"name": "a"})[0]["num_blocks"] == 0


@pytest.mark.parametrize(
    ("release", "options"),
    [
        ("20.07", ("-c", "x.json")),
        ("24.01", ("--json", "x.json", "--wait-for-rpc")),
        ("20.01", ("--json-ignore-init-errors",)),
        ("23.09", ("--no-huge",)),
        ("25.01", ()),
    ],
)
def test_options_a_release_does_not_take(directory: Path, release: str, options: tuple[str, ...]) -> None:
    (directory / "x.json").write_text('{"subsystems": []}')
    made = Simulator(directory, "--sim-release", release, *[str(directory / item) if item == "x.json" else item for item in options], memory={}, wait=False)
    assert made.process.wait(timeout=10) in (1, 2)
