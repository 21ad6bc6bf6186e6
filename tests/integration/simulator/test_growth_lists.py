# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook with a list of volumes, each with its size; blocked ones among them; what the pools say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from world import World

MIB = 2**20
OLD = 64 * MIB
NQN = "nqn.2016-06.io.spdk:cnode1"
NUMBERS = (1, 2, 3)
ACTING = ("spdk_rbd_bdev", "nvme_rescan", "virt_blockresize")
FREE = {"free_bytes": 10**12, "stored_bytes": 0, "provisioned_bytes": None, "max_bytes": None, "full": False, "nearfull": False, "error": None}


def uuid(number: int) -> str:
    return f"0a1b2c3d-0000-5000-8000-00000000000{number}"


def target(sizes: dict[int, int], **pool: Any) -> dict[str, Any]:
    """What spdk_target_info answers."""
    bdevs = [
        {"name": f"b{n}", "uuid": uuid(n), "size_bytes": sizes[n], "pool": "rbd", "rados_namespace": "", "image": f"vol-{n}", "watched": True}
        | {"image_bytes": sizes[n], "image_error": None}
        for n in NUMBERS
    ]
    listeners = [{"trtype": "TCP", "adrfam": "IPv4", "traddr": "192.0.2.10", "trsvcid": "4420", "ana_state": "optimized"}]
    subsystem = {"nqn": NQN, "listeners": listeners, "namespaces": [{"nsid": n, "bdev": f"b{n}", "uuid": uuid(n)} for n in NUMBERS]}
    pools = [{"pool": "rbd", "exists": True, **FREE, **pool}]
    return {"target": {"fsid": "f", "bdevs": bdevs, "pools": pools, "subsystems": [subsystem], "problems": []}}


def host(sizes: dict[int, int], states: dict[int, str]) -> dict[str, Any]:
    """What nvme_info answers."""
    namespaces = []
    for n in NUMBERS:
        path = {"controller": "nvme0", "traddr": "192.0.2.10", "trsvcid": "4420", "transport": "tcp", "ana_state": "optimized", "size_bytes": sizes[n]}
        paths = [{**path, "state": states.get(n, "live")}]
        namespaces.append({"uuid": uuid(n), "nqn": NQN, "nsid": n, "device": f"/dev/nvme0n{n}", "size_bytes": sizes[n], "holders": [], "paths": paths})
    return {"host": {"controllers": [], "namespaces": namespaces}}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """One target with three volumes on one host; a growth of the first to 128 MiB, and of the second to 256 MiB, works."""
    found = World(tmp_path)
    local = {"ansible_connection": "local"}
    found.inventory = {"all": {"children": {"spdk_targets": {"hosts": {"t1": local}}, "nvme_initiators": {"hosts": {"h1": local}}}}}
    arrange(found, {})
    return found


def arrange(world: World, states: dict[int, str], **pool: Any) -> None:
    """``states`` of paths by volume."""
    before = dict.fromkeys(NUMBERS, OLD)
    after = {1: 128 * MIB, 2: OLD if 2 in states else 256 * MIB, 3: OLD}
    world.answers = {
        "t1": {
            "spdk_target_info": target(before, **pool),
            "spdk_rbd_bdev": {"changed": True, "bdevs": [], "then": {"t1": {"spdk_target_info": target(after, **pool)}}},
        },
        "h1": {
            "nvme_info": host(before, states),
            "virt_disk_info": {"disks": []},
            "nvme_rescan": {"changed": True, "namespaces": [], "then": {"h1": {"nvme_info": host(after, states)}}},
        },
    }


def asked_of(world: World, module: str, key: str) -> list[Any]:
    return [item for _host, name, _check, arguments in world.calls if name == module for item in arguments[key]]


LIST = "rbd/vol-1 128M\nb2,256M\n"


@pytest.mark.parametrize("form", ["text", "data", "csv"])
def test_every_volume_of_a_list_gets_its_own_size(world: World, tmp_path: Path, form: str) -> None:
    given: dict[str, Any] = {"volumes": LIST}
    if form == "data":
        given = {"volumes": {"rbd/vol-1": "128M", "b2": "256M"}}
    if form == "csv":
        (tmp_path / "batch.csv").write_text("volume,size\nrbd/vol-1,128M\nb2,256M\n")
        given = {"volumes_file": str(tmp_path / "batch.csv"), "volumes": "", "volume": "", "size": ""}
    report = tmp_path / "report.json"
    status, output, _changed = world.play("grow_volume", **given, canary=0, report=str(report))
    assert status == 0, output
    assert [(bdev["name"], bdev["size"]) for bdev in asked_of(world, "spdk_rbd_bdev", "bdevs")] == [("b1", f"{128 * MIB}B"), ("b2", f"{256 * MIB}B")]
    assert len(world.called("spdk_rbd_bdev")) == 1, "one call a host"
    assert [entry["size"] for entry in asked_of(world, "nvme_rescan", "namespaces")] == [f"{128 * MIB}B", f"{256 * MIB}B"]
    assert [arguments["connections"] for _host, name, _check, arguments in world.calls if name == "spdk_target_info"][0] is False
    assert '"verdict": "ok"' in report.read_text()


def test_lines_that_cannot_be_used_are_one_error_and_nothing_is_touched(world: World) -> None:
    status, output, changed = world.play("grow_volume", volumes="rbd/vol-1 128\nrbd/none 1G\nb2 256M")
    assert status != 0 and changed == 0 and world.called(*ACTING) == []
    for words in ("2 of 3 volume(s) in the list cannot be used", "line 1: rbd/vol-1: size", "has no unit", "line 2: volume", "rbd/none"):
        assert words in output, output


@pytest.mark.parametrize("given", [{}, {"volumes": []}, {"volumes": " \n", "size": ""}])
def test_nothing_asked_for_is_an_error(world: World, given: dict[str, Any]) -> None:
    status, output, changed = world.play("grow_volume", **given)
    assert status != 0 and changed == 0 and world.called(*ACTING) == []
    assert ("has no volume in it" if given.get("volumes") == [] else "no size was given") in output


def test_a_blocked_volume_stops_all_by_default(world: World, tmp_path: Path) -> None:
    arrange(world, {2: "connecting"})
    report = tmp_path / "report.json"
    report.write_text("of an earlier run")
    status, output, changed = world.play("grow_volume", volumes=LIST, report=str(report))
    assert status != 0 and changed == 0 and world.called(*ACTING) == []
    assert "nothing was touched" in output and "the path is connecting" in output
    rows = {row["volume"]: row for row in json.loads(report.read_text())}
    assert rows["rbd/vol-1"]["verdict"] == "lagging at image" and rows["rbd/vol-2"]["verdict"] == "blocked: the path is connecting"
    assert all(row["run"]["id"] and row["changed_hops"] == [] and row["seconds"] == {} for row in rows.values())


def test_a_blocked_volume_is_skipped_on_demand_and_fails_the_run_at_its_end(world: World, tmp_path: Path) -> None:
    arrange(world, {2: "connecting"})
    report = tmp_path / "report.json"
    status, output, _changed = world.play("grow_volume", volumes=LIST, on_blocked="skip", report=str(report))
    assert status != 0, output
    assert [bdev["name"] for bdev in asked_of(world, "spdk_rbd_bdev", "bdevs")] == ["b1"]
    assert [entry["uuid"] for entry in asked_of(world, "nvme_rescan", "namespaces")] == [uuid(1)]
    failure = output[output.index("Fail unless every volume is as wanted") :]
    assert "rbd/vol-2: blocked: the path is connecting" in failure and "rbd/vol-1: " not in failure, failure
    assert "rbd/vol-2" in report.read_text()


def test_the_pool_must_take_the_whole_list(world: World) -> None:
    arrange(world, {}, free_bytes=200 * MIB)
    status, output, changed = world.play("grow_volume", volumes=LIST)
    assert status != 0 and changed == 0 and "2 volume(s) grow by 256 MiB together, MAX AVAIL is 200 MiB" in output
    status, output, _changed = world.play("grow_volume", volumes=LIST, headroom="warn", canary=0)
    assert status == 0 and "note (pool_headroom): pool rbd: 2 volume(s) grow by 256 MiB" in output, output


def test_check_mode_shows_every_hop_before_and_after_as_a_difference(world: World, tmp_path: Path) -> None:
    for module, host_name in (("spdk_rbd_bdev", "t1"), ("nvme_rescan", "h1")):
        world.answers[host_name][module].pop("then")
    report = tmp_path / "report.json"
    status, output, _changed = world.play("grow_volume", volumes=LIST, check=True, report=str(report))
    assert status == 0, output
    assert all(row["run"]["check"] for row in json.loads(report.read_text()))
    for line in (
        "+++ after: rbd/vol-2 (wanted 256 MiB)",
        f"-device    h1:/dev/nvme0n2: {OLD} bytes (64 MiB)",
        f"+device    h1:/dev/nvme0n2: {256 * MIB} bytes (256 MiB)",
    ):
        assert line in output, output
    assert all(check for _host, _module, check, _arguments in world.calls)
    assert json.dumps("rbd/vol-3") not in output and str(report) not in output
