# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A growth of several volumes: the canary first, then batches of hosts, and what stops them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from growth_world import ACTING, LOCAL, NEW, NUMBERS, OLD, initiator, target
from world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A target with four volumes, and for each a host that has it; a growth works. vol-1 is the canary."""
    found = World(tmp_path)
    names = {f"h{number}": LOCAL for number in NUMBERS}
    found.inventory = {
        "all": {"children": {"spdk_targets": {"hosts": {"t1": LOCAL}}, "nvme_initiators": {"hosts": names}}},
    }
    rest = {"changed": True, "bdevs": [], "then": {"t1": {"spdk_target_info": target(*NUMBERS)}}}
    first = {"changed": True, "bdevs": [], "then": {"t1": {"spdk_target_info": target(1), "spdk_rbd_bdev": rest}}}
    found.answers = {"t1": {"spdk_target_info": target(), "spdk_rbd_bdev": first}}
    for number in NUMBERS:
        found.answers[f"h{number}"] = {
            "nvme_info": initiator(number, OLD),
            "virt_disk_info": {"disks": []},
            "nvme_rescan": {"changed": True, "namespaces": [], "then": {f"h{number}": {"nvme_info": initiator(number, NEW)}}},
        }
    return found


def grow(world: World, **more: Any) -> tuple[int, str, int]:
    """All volumes."""
    return world.play("grow_volume", **{"size": "128M", "select": "[?pool=='rbd']", **more})


def grown_bdevs(world: World) -> list[list[str]]:
    """The bdevs of each call to a target."""
    return [[bdev["name"] for bdev in arguments["bdevs"]] for _host, module, _check, arguments in world.calls if module == "spdk_rbd_bdev"]


def test_the_canary_goes_through_every_hop_before_the_rest_and_all_is_evidence_of_one_run(world: World, tmp_path: Path) -> None:
    report, page = tmp_path / "report.json", tmp_path / "report.html"
    status, output, _changed = grow(world, report=str(report), html=str(page))
    assert status == 0, output
    acted = world.called(*ACTING)
    assert acted[:3] == ["t1 spdk_rbd_bdev", "h1 nvme_rescan", "t1 spdk_rbd_bdev"]
    assert sorted(acted[3:]) == ["h2 nvme_rescan", "h3 nvme_rescan", "h4 nvme_rescan"]
    assert grown_bdevs(world) == [["vol-1"], ["vol-2", "vol-3", "vol-4"]]
    rows = json.loads(report.read_text())
    (run,) = {row["run"]["id"] for row in rows}
    assert len(rows) == len(NUMBERS) and run in page.read_text()
    assert all(row["before_bytes"]["image"] == OLD and row["bytes"]["image"] == NEW and row["verdict"] == "ok" for row in rows)
    assert all(row["run"]["began"] <= row["run"]["ended"] and row["run"]["by"] for row in rows)


def test_a_canary_that_is_not_as_wanted_leaves_the_rest_untouched(world: World, tmp_path: Path) -> None:
    world.answers["h1"]["nvme_rescan"] = {"failed": True, "msg": "path nvme0 serves less: the target is stale"}
    report = tmp_path / "report.json"
    status, output, _changed = grow(world, report=str(report))
    assert status != 0 and "the canary is not as wanted, so nothing else was touched" in output, output
    assert "h1: failed at device (canary): path nvme0 serves less: the target is stale" in output
    assert world.called(*ACTING) == ["t1 spdk_rbd_bdev", "h1 nvme_rescan"] and grown_bdevs(world) == [["vol-1"]]
    rows = {row["volume"]: row for row in json.loads(report.read_text())}
    assert rows["rbd/vol-1"]["verdict"] != "ok" and rows["rbd/vol-1"]["bytes"]["bdev"] == NEW
    assert all(rows[f"rbd/vol-{number}"]["bytes"]["image"] == OLD for number in (2, 3, 4))


def test_images_that_a_ceph_client_grows_are_read_again_before_the_canary_is_judged(world: World) -> None:
    def images(*grown: int) -> dict[str, Any]:
        found = [
            {"pool": "rbd", "rados_namespace": "", "image": f"vol-{one}", "exists": True, "size_bytes": NEW if one in grown else OLD, "error": None}
            for one in NUMBERS
        ]
        return {"fsid": "f", "images": found}

    def blind(*grown: int) -> dict[str, Any]:
        found = target(*grown)
        for bdev in found["target"]["bdevs"]:
            bdev.update(image_bytes=None, image_error="no keyring")
        return found

    world.inventory["all"]["children"]["ceph_clients"] = {"hosts": {"c1": LOCAL}}
    rest = {"changed": True, "images": [], "then": {"c1": {"rbd_image_info": images(*NUMBERS)}}}
    world.answers["c1"] = {
        "rbd_image_info": images(),
        "rbd_image": {"changed": True, "images": [], "then": {"c1": {"rbd_image_info": images(1), "rbd_image": rest}}},
    }
    after = {"changed": True, "bdevs": [], "then": {"t1": {"spdk_target_info": blind(*NUMBERS)}}}
    first = {"changed": True, "bdevs": [], "then": {"t1": {"spdk_target_info": blind(1), "spdk_rbd_bdev": after}}}
    world.answers["t1"] = {"spdk_target_info": blind(), "spdk_rbd_bdev": first}
    status, output, _changed = grow(world)
    assert status == 0 and grown_bdevs(world) == [["vol-1"], ["vol-2", "vol-3", "vol-4"]], output
    assert world.called("rbd_image", "spdk_rbd_bdev", "nvme_rescan")[:4] == ["c1 rbd_image", "t1 spdk_rbd_bdev", "h1 nvme_rescan", "c1 rbd_image"]


def test_a_host_that_fails_in_check_mode_fails_the_run(world: World) -> None:
    world.answers["h2"]["nvme_rescan"] = {"failed": True, "msg": "the device is held by nobody knows whom"}
    status, output, _changed = grow(world, check=True)
    assert status != 0 and "h2: failed at device (rest): the device is held by nobody knows whom" in output, output


def test_a_size_of_batches_that_is_none_is_told_before_anything_is_touched(world: World) -> None:
    """Ansible itself sees it at the hosts' play only, when all targets have grown."""
    status, output, changed = grow(world, batch="many", guest_agent="perhaps")
    assert status != 0 and changed == 0 and "batch is 'many'" in output and "guest_agent is 'perhaps'" in output, output
    assert world.called("spdk_rbd_bdev", "rbd_image", "nvme_rescan") == []


def test_a_failed_host_stops_the_batches_after_its_own(world: World) -> None:
    world.answers["h2"]["nvme_rescan"] = {"failed": True, "msg": "the device is smaller than before"}
    status, output, _changed = grow(world, batch="1")
    assert status != 0 and "h2: failed at device (rest): the device is smaller than before" in output and "too many hosts failed (1)" in output, output
    assert world.called("nvme_rescan") == ["h1 nvme_rescan", "h2 nvme_rescan"]


def test_a_share_of_failed_hosts_may_be_allowed(world: World) -> None:
    world.answers["h2"]["nvme_rescan"] = {"failed": True, "msg": "the device does not follow"}
    status, output, _changed = grow(world, batch="[1, 50%]", max_failed_percent="40")
    assert status != 0 and "h2: failed at device (rest): the device does not follow" in output, output
    assert world.called("nvme_rescan") == [f"h{number} nvme_rescan" for number in NUMBERS]
    for words in (
        "rest: batch 1 of 3, 1 host(s) (h2)",
        "rest: batch 3 of 3, 1 host(s) (h4)",
        "of 3: 2 done, 1 failed, 0 lost, 0 to come; 0 volume(s) blocked",
    ):
        assert words in output, output


def test_lost_hosts_do_not_keep_the_others_and_the_next_run_has_only_what_is_left(world: World) -> None:
    back = {name: world.answers[name]["nvme_rescan"] for name in ("h2", "h3")}
    for name in back:
        world.answers[name]["nvme_rescan"] = "unreachable"
    status, output, _changed = grow(world, batch="1")
    assert status != 0 and all(f"{name}: was lost at device (rest): the host became unreachable" in output for name in back), output
    assert "h4 nvme_rescan" in world.called("nvme_rescan")
    world.answers["t1"]["spdk_target_info"] = target(*NUMBERS)
    for number in (1, 4):
        world.answers[f"h{number}"]["nvme_info"] = initiator(number, NEW)
    for name, answer in back.items():
        world.answers[name]["nvme_rescan"] = answer
    world.answers["t1"]["spdk_rbd_bdev"] = {"changed": False, "bdevs": []}
    status, output, _changed = grow(world)
    assert status == 0, output
    assert sorted(world.called("nvme_rescan")) == ["h2 nvme_rescan", "h3 nvme_rescan"]


def test_hosts_without_a_wanted_volume_are_measured_once_and_run_no_task_that_acts(world: World) -> None:
    status, output, _changed = grow(world, select="", volume="rbd/vol-1")
    assert status == 0, output
    assert world.called(*ACTING) == ["t1 spdk_rbd_bdev", "h1 nvme_rescan"]
    asked = world.called("nvme_info")
    assert {name: asked.count(f"{name} nvme_info") for name in ("h1", "h2", "h3", "h4")} == {"h1": 2, "h2": 1, "h3": 1, "h4": 1}


def test_nothing_to_do_changes_nothing_and_still_reports(world: World) -> None:
    world.answers["t1"]["spdk_target_info"] = target(*NUMBERS)
    for number in NUMBERS:
        world.answers[f"h{number}"]["nvme_info"] = initiator(number, NEW)
    status, output, changed = grow(world)
    assert status == 0 and changed == 0 and "rbd/vol-4" in output, output
    assert world.called(*ACTING) == []


def test_two_growths_in_one_run_each_have_their_own_hosts(world: World, tmp_path: Path) -> None:
    both = [{"ansible.builtin.import_playbook": "nvmeof.spdk.grow_volume", "vars": {"size": "128M", "volume": f"rbd/vol-{number}"}} for number in (1, 2)]
    (tmp_path / "both.yml").write_text(json.dumps(both))
    second = {"changed": True, "bdevs": [], "then": {"t1": {"spdk_target_info": target(1, 2)}}}
    world.answers["t1"]["spdk_rbd_bdev"] = {"changed": True, "bdevs": [], "then": {"t1": {"spdk_target_info": target(1), "spdk_rbd_bdev": second}}}
    status, output, _changed = world.play(str(tmp_path / "both.yml"))
    assert status == 0, output
    assert world.called(*ACTING) == ["t1 spdk_rbd_bdev", "h1 nvme_rescan", "t1 spdk_rbd_bdev", "h2 nvme_rescan"]
