# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plays of growths and upgrades over a pair of targets: where they stop, and who was touched before."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from world import World

MIB = 2**20
OLD, NEW = 64 * MIB, 128 * MIB
NQN = "nqn.2016-06.io.spdk:cnode1"
UUID = "0a1b2c3d-0000-5000-8000-000000000001"
HOST = "nqn.2014-08.org.nvmexpress:uuid:5f1c6d3a-0d3e-4d8e-9a55-0f6a3f0b7a11"
ADDRESS = {"t1": "192.0.2.10", "t2": "192.0.2.11"}
REFUSED = {"failed": True, "msg": "cannot connect to /var/tmp/spdk.sock: Connection refused"}
ACTING = ("spdk_rbd_bdev", "nvme_rescan", "virt_blockresize")


def target(name: str, size: int, ana: str = "optimized") -> dict[str, Any]:
    """What spdk_target_info answers."""
    bdev = {"name": "vol-1", "uuid": UUID, "size_bytes": size, "pool": "rbd", "rados_namespace": "", "image": "vol-1", "image_bytes": size, "image_error": None}
    subsystem = {
        "nqn": NQN,
        "ana_reporting": True,
        "listeners": [{"trtype": "TCP", "adrfam": "IPv4", "traddr": ADDRESS[name], "trsvcid": "4420", "ana_state": ana}],
        "namespaces": [{"nsid": 1, "bdev": "vol-1", "uuid": UUID}],
        "controllers": [{"cntlid": 1, "hostnqn": HOST}],
    }
    return {"target": {"fsid": "f", "bdevs": [{**bdev, "watched": True}], "subsystems": [subsystem], "problems": []}}


def host(size: int, **states: str) -> dict[str, Any]:
    """What nvme_info answers; ``states`` as t1="live optimized"."""
    paths = []
    for number, (name, text) in enumerate(states.items()):
        state, ana = text.split()
        address = {"traddr": ADDRESS[name], "trsvcid": "4420", "transport": "tcp"}
        paths.append({"controller": f"nvme{number}", **address, "state": state, "ana_state": ana, "size_bytes": size})
    namespace = {"uuid": UUID, "nqn": NQN, "nsid": 1, "device": "/dev/nvme0n1", "by_id": None, "size_bytes": size, "holders": [], "paths": paths}
    return {"host": {"hostnqn": HOST, "controllers": [], "namespaces": [namespace]}}


BOTH = {"t1": "live optimized", "t2": "live optimized"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two good targets and a host with a path to each; a growth works."""
    found = World(tmp_path)
    hosts: dict[str, Any] = {"t1": {}, "t2": {}}
    for number, name in enumerate(hosts):
        listeners = [{"traddr": ADDRESS[name], "trsvcid": 4420}]
        ids = {"min_cntlid": number * 100 + 1, "max_cntlid": number * 100 + 100}
        subsystem = {"nqn": NQN, "ana_reporting": True, **ids, "listeners": listeners, "namespaces": [{"bdev": "vol-1", "nsid": 1}]}
        hosts[name] = {
            "ansible_connection": "local",
            "spdk_target_rbd_bdevs": [{"name": "vol-1", "pool": "rbd", "image": "vol-1", "uuid": UUID}],
            "spdk_target_subsystems": [subsystem],
        }
    initiators = {"hosts": {"h1": {"ansible_connection": "local"}}}
    found.inventory = {"all": {"children": {"spdk_targets": {"hosts": hosts}, "nvme_initiators": initiators}}}
    grown = {name: {"spdk_target_info": target(name, NEW)} for name in hosts}
    found.answers = {
        "t1": {"spdk_target_info": target("t1", OLD), "spdk_rbd_bdev": {"changed": True, "bdevs": [], "then": {"t1": grown["t1"]}}},
        "t2": {"spdk_target_info": target("t2", OLD), "spdk_rbd_bdev": {"changed": True, "bdevs": [], "then": {"t2": grown["t2"]}}},
        "h1": {
            "nvme_info": host(OLD, **BOTH),
            "virt_disk_info": {"disks": []},
            "nvme_rescan": {"changed": True, "namespaces": [], "then": {"h1": {"nvme_info": host(NEW, **BOTH)}}},
        },
    }
    return found


def lose_t2(world: World, answer: Any = "unreachable") -> None:
    """t2 does not answer, and the host has lost its path to it."""
    world.answers["t2"]["spdk_target_info"] = answer
    states = {"t1": "live optimized", "t2": "connecting optimized"}
    world.answers["h1"]["nvme_info"] = host(OLD, **states)
    world.answers["h1"]["nvme_rescan"]["then"] = {"h1": {"nvme_info": host(NEW, **states)}}


def test_a_growth_is_selected_by_an_expression_that_was_typed_with_spaces(world: World) -> None:
    """As it stands in the documentation of the audit; the volume is smaller than the first figure, and not smaller than the second."""
    for most, status in ((200 * MIB, 0), (OLD, 2)):
        typed = f"select=[?pool=='rbd' && image_bytes < `{most}`] size=128M"
        ended, output, _changed = world.play("grow_volume", typed=typed)
        assert ended == status, output
        assert ("no volume matches" in output) == bool(status)


def test_every_target_grows_before_any_host(world: World) -> None:
    status, output, _changed = world.play("grow_volume", size="128M")
    assert status == 0, output
    acted = world.called(*ACTING)
    assert sorted(acted[:2]) == ["t1 spdk_rbd_bdev", "t2 spdk_rbd_bdev"] and acted[2:] == ["h1 nvme_rescan"]


@pytest.mark.parametrize("answer", ["unreachable", REFUSED])
def test_a_target_that_is_down_blocks_and_nothing_is_touched(world: World, answer: Any) -> None:
    lose_t2(world, answer)
    status, output, changed = world.play("grow_volume", size="128M")
    assert status != 0 and changed == 0
    assert "nothing was touched" in output and "target t2 cannot be read" in output
    assert world.called(*ACTING) == []


@pytest.mark.parametrize("answer", ["unreachable", REFUSED])
def test_a_degraded_growth_goes_on_without_it_and_says_so(world: World, tmp_path: Path, answer: Any) -> None:
    lose_t2(world, answer)
    report = tmp_path / "report.json"
    status, output, _changed = world.play("grow_volume", size="128M", allow_degraded="true", report=str(report))
    assert status == 0, output
    assert world.called(*ACTING) == ["t1 spdk_rbd_bdev", "h1 nvme_rescan"]
    assert [arguments["allow_degraded"] for _host, module, _check, arguments in world.calls if module == "nvme_rescan"] == [True]
    (row,) = json.loads(report.read_text())
    assert row["verdict"] == "unproven at bdev" and row["degraded"][0].startswith("target t2 is behind or unknown")
    assert "target t2 is behind or unknown" in output


def test_a_ceph_client_that_is_down_is_no_reason_to_stop_where_targets_read_their_images(world: World) -> None:
    world.inventory["all"]["children"]["ceph_clients"] = {"hosts": {"c1": {"ansible_connection": "local"}}}
    world.answers["c1"] = {"rbd_image_info": "unreachable"}
    status, output, _changed = world.play("grow_volume", size="128M")
    assert status == 0 and "not heard: c1 (images): host unreachable" in output, output
    assert len(world.called(*ACTING)) == 3


def test_no_target_follows_a_ceph_client_that_was_lost_while_it_grew_the_image(world: World) -> None:
    world.inventory["all"]["children"]["ceph_clients"] = {"hosts": {"c1": {"ansible_connection": "local"}}}
    image = {"pool": "rbd", "rados_namespace": "", "image": "vol-1", "exists": True, "size_bytes": OLD, "error": None}
    world.answers["c1"] = {"rbd_image_info": {"fsid": "f", "images": [image]}, "rbd_image": "unreachable"}
    for name in ADDRESS:
        world.answers[name]["spdk_target_info"]["target"]["bdevs"][0].update(image_bytes=None, image_error="no keyring")
    status, output, _changed = world.play("grow_volume", size="128M")
    assert status != 0 and "c1 rbd_image" in world.called("rbd_image"), output
    assert world.called(*ACTING) == []


@pytest.mark.parametrize("lost", ["t1", "t2"])
@pytest.mark.parametrize("answer", ["unreachable", {"failed": True, "msg": "bdev vol-1 does not follow its image"}])
def test_a_target_that_fails_to_grow_ends_the_run_before_the_hosts(world: World, answer: Any, lost: str) -> None:
    world.answers[lost]["spdk_rbd_bdev"] = answer
    status, output, _changed = world.play("grow_volume", size="128M", allow_degraded="true")
    assert status != 0, output
    assert not any(call.startswith("h1") for call in world.called(*ACTING)), output


def test_a_pair_that_does_not_fit_is_refused_before_it_is_touched(world: World) -> None:
    hosts = world.inventory["all"]["children"]["spdk_targets"]["hosts"]
    hosts["t2"]["spdk_target_subsystems"] = copy.deepcopy(hosts["t2"]["spdk_target_subsystems"])
    hosts["t2"]["spdk_target_subsystems"][0].update(serial_number="OTHER", min_cntlid=1)
    for playbook in ("deploy_target", "upgrade_targets"):
        status, output, changed = world.play(playbook)
        assert status != 0 and changed == 0
        assert "nothing was touched" in output and "serial_number differs: none on t1, OTHER on t2" in output
        assert world.calls == []


def test_an_upgrade_in_check_mode_shows_the_order_and_touches_nothing(world: World) -> None:
    status, output, changed = world.play("upgrade_targets", check=True)
    assert status == 0 and changed == 0, output
    assert output.index("t1: 1 namespace(s), 1 path(s) of 1 host(s): may be stopped") < output.index("t2: 1 namespace(s)")
    assert set(world.called(*(module for _host, module, _check, _arguments in world.calls))) == {"t1 spdk_target_info", "t2 spdk_target_info", "h1 nvme_info"}
    status, output, _changed = world.play("upgrade_targets", check=True, targets="t2")
    assert status == 0 and "t1: 1 namespace" not in output
    status, output, _changed = world.play("upgrade_targets", check=True, targets="t3")
    assert status != 0 and "nothing was touched" in output


@pytest.mark.parametrize("answer", ["unreachable", REFUSED])
def test_no_target_is_upgraded_while_the_other_is_down(world: World, answer: Any) -> None:
    lose_t2(world, answer)
    status, output, changed = world.play("upgrade_targets")
    assert status != 0 and changed == 0
    assert "t1 was not touched" in output and "is served by no other living target: t2 cannot be read" in output, output
    assert "nvmf_subsystem" not in [call[1] for call in world.calls]


def test_hosts_that_do_not_leave_keep_their_target(world: World) -> None:
    """The listeners get their states back, the service is not stopped, and t2 is not looked at any more."""
    world.answers["t1"]["nvmf_subsystem"] = {"changed": True, "subsystems": []}
    world.inventory["all"]["vars"] = {"target_upgrade_retries": 1, "target_upgrade_delay": 0}
    status, output, _changed = world.play("upgrade_targets")
    assert status != 0 and "t1 was not stopped, and its listeners have their ANA states again" in output and "still accessible" in output
    states = [
        [listener["ana_state"] for subsystem in arguments["subsystems"] for listener in subsystem["listeners"]]
        for name, module, _check, arguments in world.calls
        if module == "nvmf_subsystem" and name == "t1"
    ]
    assert states == [["inaccessible"], ["optimized"]]
    assert "Stop the service" not in output


def test_a_target_that_refuses_to_be_left_is_not_stopped(world: World) -> None:
    world.answers["t1"]["nvmf_subsystem"] = {"failed": True, "msg": "error setting ANA state"}
    world.inventory["all"]["vars"] = {"target_upgrade_retries": 1, "target_upgrade_delay": 0}
    status, output, _changed = world.play("upgrade_targets")
    assert status != 0 and "Stop the service" not in output
