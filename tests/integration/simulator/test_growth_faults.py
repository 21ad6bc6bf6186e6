# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that fail or are lost in the middle of a growth: the others finish, the report names everybody, and the next run has only what is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from growth_world import ACTING, LOCAL, NEW, NUMBERS, OLD, initiator, target, uuid
from world import World

#: Which target exports which volumes.
EXPORTS = {"t1": (1, 2), "t2": (3, 4)}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two targets with two volumes each, and a host for each volume; a growth works."""
    found = World(tmp_path)
    hosts = {f"h{number}": LOCAL for number in NUMBERS}
    found.inventory = {"all": {"children": {"spdk_targets": {"hosts": dict.fromkeys(EXPORTS, LOCAL)}, "nvme_initiators": {"hosts": hosts}}}}
    for name, numbers in EXPORTS.items():
        grown = {name: {"spdk_target_info": target(*numbers, numbers=numbers), "spdk_rbd_bdev": done("bdevs", False)}}
        found.answers[name] = {"spdk_target_info": target(numbers=numbers), "spdk_rbd_bdev": {**done("bdevs", seconds=2.5), "then": grown}}
    for number in NUMBERS:
        grown = {f"h{number}": {"nvme_info": initiator(number, NEW), "nvme_rescan": done("namespaces", False)}}
        found.answers[f"h{number}"] = {
            "nvme_info": initiator(number, OLD),
            "virt_disk_info": {"disks": []},
            "nvme_rescan": {**done("namespaces", seconds=0.5), "then": grown},
        }
    return found


def done(key: str, changed: bool = True, **more: Any) -> dict[str, Any]:
    """What a module answers that did its work."""
    return {"changed": changed, key: [], **more}


def grow(world: World, report: Path, **more: Any) -> tuple[int, str, int, dict[str, Any]]:
    """All volumes without a canary: status, output, the sum of ``changed``, the report's rows by volume."""
    report.unlink(missing_ok=True)
    status, output, changed = world.play("grow_volume", **{"size": "128M", "select": "[?pool=='rbd']", "canary": "0", "report": str(report), **more})
    return status, output, changed, {row["volume"]: row for row in json.loads(report.read_text())}


def verdicts(rows: dict[str, Any]) -> list[str]:
    return [rows[f"rbd/vol-{number}"]["verdict"] for number in NUMBERS]


def test_a_lost_half_of_the_hosts_keeps_nobody_and_the_next_run_finishes_it(world: World, tmp_path: Path) -> None:
    """They vanish while the targets grow: nobody can tell any more what they show."""
    back = {name: dict(world.answers[name]) for name in ("h2", "h3")}
    gone = dict.fromkeys(("nvme_rescan", "nvme_info", "virt_disk_info"), "unreachable")
    world.answers["t1"]["spdk_rbd_bdev"]["then"] |= dict.fromkeys(back, gone)
    status, output, _changed, rows = grow(world, tmp_path / "report.json")
    assert status != 0, output
    # what hosts showed before tells whose volumes they have, so the others are proven
    assert verdicts(rows) == ["ok", "unproven at device", "unproven at device", "ok"], rows
    for number in (2, 3):
        row = rows[f"rbd/vol-{number}"]
        assert (
            row["errors"] == [{"host": f"h{number}", "stage": "rest", "hop": "device", "state": "lost", "error": row["errors"][0]["error"]}]
            and "no route to host" in row["errors"][0]["error"]
        )
        assert f"h{number}: was lost at device (rest): the host became unreachable" in output, output
        assert row["changed_hops"] == ["image", "bdev", "namespace"] and row["bytes"]["device"] is None
    assert rows["rbd/vol-1"]["seconds"] == {"bdev": 2.5, "device": 0.5} and rows["rbd/vol-2"]["seconds"] == {"bdev": 2.5}
    assert rows["rbd/vol-1"]["changed_hops"] == ["image", "bdev", "namespace", "path", "device"] and rows["rbd/vol-1"]["errors"] == []

    for name, numbers in EXPORTS.items():
        world.answers[name] = {"spdk_target_info": target(*numbers, numbers=numbers), "spdk_rbd_bdev": done("bdevs", False)}
    for number in (1, 4):
        world.answers[f"h{number}"]["nvme_info"] = initiator(number, NEW)
    world.answers.update(back)
    status, output, changed, rows = grow(world, tmp_path / "report.json")
    assert status == 0 and verdicts(rows) == ["ok"] * 4, output
    assert changed == 2 and sorted(world.called("nvme_rescan")) == ["h2 nvme_rescan", "h3 nvme_rescan"]
    for number in NUMBERS:
        world.answers[f"h{number}"]["nvme_info"] = initiator(number, NEW)
    status, output, changed, rows = grow(world, tmp_path / "report.json")
    assert (status, changed, world.called(*ACTING)) == (0, 0, []) and verdicts(rows) == ["ok"] * 4, output


def test_hosts_that_are_silent_from_the_start_are_left_for_the_next_run(world: World, tmp_path: Path) -> None:
    """Nobody ever heard which volumes they have, and nothing is declared of them: every volume has a gap, and the others grow all the same."""
    back = {name: dict(world.answers[name]) for name in ("h2", "h3")}
    for name in back:
        world.answers[name] = dict.fromkeys(("nvme_info", "virt_disk_info", "nvme_rescan"), "unreachable")
    status, output, _changed, rows = grow(world, tmp_path / "report.json")
    assert status != 0 and verdicts(rows) == ["unproven at device"] * 4, output
    assert sorted(world.called(*ACTING)) == ["h1 nvme_rescan", "h4 nvme_rescan", "t1 spdk_rbd_bdev", "t2 spdk_rbd_bdev"]
    assert all(any(f"device {name}:{name} is unproven: host unreachable" in text for text in rows["rbd/vol-1"]["reasons"]) for name in back)
    asked = world.called("nvme_info")
    assert [asked.count(f"h{number} nvme_info") for number in NUMBERS] == [2, 1, 1, 2], "nobody waits for a silent host twice"

    for name, numbers in EXPORTS.items():
        world.answers[name] = {"spdk_target_info": target(*numbers, numbers=numbers), "spdk_rbd_bdev": done("bdevs", False)}
    for number in (1, 4):
        world.answers[f"h{number}"]["nvme_info"] = initiator(number, NEW)
    world.answers.update(back)
    status, output, changed, rows = grow(world, tmp_path / "report.json")
    assert (status, changed) == (0, 2) and verdicts(rows) == ["ok"] * 4, output
    assert sorted(world.called("nvme_rescan")) == ["h2 nvme_rescan", "h3 nvme_rescan"]


@pytest.mark.parametrize("end", ["unreachable", {"failed": True, "msg": "bdev vol-3: the target refused bdev_rbd_resize"}])
def test_no_host_sees_a_volume_whose_target_did_not_arrive_and_the_others_go_on(world: World, tmp_path: Path, end: Any) -> None:
    good = world.answers["t2"]["spdk_rbd_bdev"]
    world.answers["t2"]["spdk_rbd_bdev"] = end
    if end == "unreachable":
        world.answers["t1"]["spdk_rbd_bdev"]["then"]["t2"] = {"spdk_target_info": "unreachable"}
    status, output, _changed, rows = grow(world, tmp_path / "report.json")
    assert status != 0, output
    assert sorted(world.called("nvme_rescan")) == ["h1 nvme_rescan", "h2 nvme_rescan"]
    assert verdicts(rows)[:2] == ["ok", "ok"]
    for number in (3, 4):
        row = rows[f"rbd/vol-{number}"]
        assert row["verdict"].startswith(f"blocked: bdev vol-{number} on target t2 does not show the new size: "), row
        (error,) = row["errors"]
        assert (error["host"], error["hop"], error["state"]) == ("t2", "bdev", "lost" if end == "unreachable" else "failed")
    assert f"t2: {'was lost' if end == 'unreachable' else 'failed'} at bdev (rest): " in output and "2 volume(s) blocked" in output, output

    world.answers["t2"] = {"spdk_target_info": target(numbers=EXPORTS["t2"]), "spdk_rbd_bdev": good}
    world.answers["t1"] = {"spdk_target_info": target(1, 2, numbers=EXPORTS["t1"]), "spdk_rbd_bdev": done("bdevs", False)}
    for number in (1, 2):
        world.answers[f"h{number}"]["nvme_info"] = initiator(number, NEW)
    status, output, _changed, rows = grow(world, tmp_path / "report.json")
    assert status == 0 and verdicts(rows) == ["ok"] * 4, output
    assert world.called("spdk_rbd_bdev") == ["t2 spdk_rbd_bdev"] and sorted(world.called("nvme_rescan")) == ["h3 nvme_rescan", "h4 nvme_rescan"]


def test_of_a_target_that_failed_the_bdevs_that_arrived_go_to_their_hosts(world: World, tmp_path: Path) -> None:
    bdevs = [{"name": "vol-3", "satisfied": True, "size_bytes": NEW}, {"name": "vol-4", "satisfied": False, "size_bytes": OLD}]
    then = {"t2": {"spdk_target_info": target(3, numbers=EXPORTS["t2"])}}
    world.answers["t2"]["spdk_rbd_bdev"] = {"failed": True, "changed": True, "msg": "bdev vol-4: it still shows 64 MiB", "bdevs": bdevs, "then": then}
    status, output, _changed, rows = grow(world, tmp_path / "report.json")
    assert status != 0 and sorted(world.called("nvme_rescan")) == [f"h{number} nvme_rescan" for number in (1, 2, 3)], output
    assert verdicts(rows)[:3] == ["ok"] * 3 and rows["rbd/vol-4"]["held"].endswith("bdev vol-4: it still shows 64 MiB")


def test_everybody_lost_still_leaves_a_report(world: World, tmp_path: Path) -> None:
    for name in (*EXPORTS, *(f"h{number}" for number in NUMBERS)):
        world.answers[name] |= {"spdk_rbd_bdev": "unreachable", "nvme_rescan": "unreachable"}
    status, output, _changed, rows = grow(world, tmp_path / "report.json", html=str(tmp_path / "report.html"))
    assert status != 0 and all(verdict.startswith("blocked: ") for verdict in verdicts(rows)), output
    assert "t1: was lost at bdev" in output and "t2: was lost at bdev" in output and world.called("nvme_rescan") == []
    assert (tmp_path / "report.html").exists()


def test_a_target_that_fails_with_the_canary_leaves_the_rest_untouched(world: World, tmp_path: Path) -> None:
    world.answers["t1"]["spdk_rbd_bdev"] = {"failed": True, "msg": "no answer within 60 s"}
    status, output, _changed, rows = grow(world, tmp_path / "report.json", canary="1")
    assert status != 0 and "the canary is not as wanted, so nothing else was touched" in output, output
    assert world.called(*ACTING) == ["t1 spdk_rbd_bdev"]
    assert rows["rbd/vol-1"]["verdict"].startswith("blocked: ") and rows["rbd/vol-2"]["verdict"] == "lagging at image"


def test_no_target_follows_an_image_that_its_client_did_not_grow(world: World, tmp_path: Path) -> None:
    def images(*grown: int) -> dict[str, Any]:
        sizes = {number: NEW if number in grown else OLD for number in NUMBERS}
        found = [{"pool": "rbd", "rados_namespace": "", "image": f"vol-{n}", "exists": True, "size_bytes": sizes[n], "error": None} for n in NUMBERS]
        return {"fsid": "f", "images": found}

    for name in EXPORTS:
        for answer in (world.answers[name], world.answers[name]["spdk_rbd_bdev"]["then"][name]):
            for bdev in answer["spdk_target_info"]["target"]["bdevs"]:
                bdev.update(image_bytes=None, image_error="no keyring")
    world.inventory["all"]["children"]["ceph_clients"] = {"hosts": {"c1": LOCAL}}
    grown = [{"pool": "rbd", "rados_namespace": None, "image": f"vol-{number}", "size_bytes": NEW if number < 4 else OLD} for number in NUMBERS]
    failed = {"failed": True, "changed": True, "msg": "image rbd/vol-4: no space", "images": grown, "then": {"c1": {"rbd_image_info": images(1, 2, 3)}}}
    world.answers["c1"] = {"rbd_image_info": images(), "rbd_image": failed}
    world.answers["t2"]["spdk_rbd_bdev"]["then"]["t2"]["spdk_target_info"]["target"]["bdevs"][1]["size_bytes"] = OLD
    status, output, _changed, rows = grow(world, tmp_path / "report.json")
    assert status != 0, output
    asked = [bdev["name"] for _host, module, _check, arguments in world.calls if module == "spdk_rbd_bdev" for bdev in arguments["bdevs"]]
    assert sorted(asked) == ["vol-1", "vol-2", "vol-3"] and sorted(world.called("nvme_rescan")) == [f"h{number} nvme_rescan" for number in (1, 2, 3)]
    assert verdicts(rows)[:3] == ["ok"] * 3 and "image rbd/vol-4 on c1 does not show the new size: image rbd/vol-4: no space" in rows["rbd/vol-4"]["verdict"]
    (again,) = [arguments for _host, module, _check, arguments in world.calls if module == "rbd_image_info"][1:]
    assert sorted(image["image"] for image in again["images"]) == [f"vol-{number}" for number in NUMBERS]


def test_measuring_again_looks_only_at_what_was_touched(world: World, tmp_path: Path) -> None:
    disks = {"disks": [{"domain": "vm1", "target": "vda", "namespace_uuid": uuid(1), "domain_state": "running", "capacity_bytes": OLD, "physical_bytes": OLD}]}
    world.answers["h1"]["virt_disk_info"] = disks
    status, output, _changed, rows = grow(world, tmp_path / "report.json", select="", volume="rbd/vol-1")
    assert list(rows) == ["rbd/vol-1"], output
    calls = [(host, module, arguments) for host, module, _check, arguments in world.calls if module in ("spdk_target_info", "nvme_info", "virt_disk_info")]
    counts = {host: len([1 for name, _module, _arguments in calls if name == host]) for host in ("t1", "t2", "h1", "h2", "h3", "h4")}
    assert counts == {"t1": 2, "t2": 1, "h1": 4, "h2": 2, "h3": 2, "h4": 2}
    (target_again,) = [arguments for host, module, arguments in calls if (host, module) == ("t1", "spdk_target_info")][1:]
    (disks_again,) = [arguments for host, module, arguments in calls if (host, module) == ("h1", "virt_disk_info")][1:]
    assert target_again["bdevs"] == ["vol-1"] and disks_again["uuid"] == [uuid(1)]
    assert status != 0  # the disk of this world does not grow
