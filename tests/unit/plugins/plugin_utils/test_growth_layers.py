# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers on devices and file systems in guests, as a growth plans and judges them."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.filter.filesystem_outcome import FilterModule as OutcomeFilters
from ansible_collections.nvmeof.spdk.plugins.filter.growth_plan import growth_plan
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth import outcome, plan
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth_diff import diffs_of
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth_layers import expected
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._lookup import hops_of
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._report_svg import layer_state
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._verdict import judge
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._volumes import build
from ansible_collections.nvmeof.spdk.tests.unit.plugins.plugin_utils.test_volumes_and_growth import GIB, UUID, disk, fleet, host, target

MIB = 1024**2
HEADER = 16 * MIB
filesystem_outcome = OutcomeFilters().filters()["filesystem_outcome"]


def layer(kind: str, number: int, below: str, size: int, overhead: int | None, unit: int | None = 512, **more: t.Any) -> dict[str, t.Any]:
    """A layer as nvme_info with layer_details tells it."""
    grown_by = {"multipath": "multipathd", "dm-crypt": "cryptsetup", "lvm-pv": "pvresize"}.get(kind)
    found = {"name": f"{kind}-{number}", "device": f"/dev/dm-{number}", "kind": kind, "size_bytes": size, "on": [below]}
    found.update(overhead_bytes=overhead, unit_bytes=unit, grown_by=grown_by, blocker=None, remedy=None, **more)
    return found


def luks_fleet(size: int = GIB, layer_size: int | None = None, image: int = GIB, **more: t.Any) -> dict[str, dict[str, t.Any]]:
    """A domain's disk on LUKS on the device."""
    inner = (size if layer_size is None else layer_size) - HEADER
    measured = host(size=size)
    measured["namespaces"][0].update(holders=["dm-0"], layers=[layer("dm-crypt", 0, "/dev/nvme0n1", inner, HEADER, **more)])
    in_between = {"code": "layers", "problem": "dm layer dm-crypt-0 lies between", "remedy": "grow it", "severity": "blocker"}
    found = disk(size=inner, physical=inner, guest=inner, layers=["dm-crypt-0"], device="/dev/dm-0", source="/dev/mapper/dm-crypt-0", problems=[in_between])
    return fleet(t1={"target": target(size=image, image_bytes=image), "errors": {}}, h1={"host": measured, "disks": [found], "errors": {}})


def row_of(measurements: dict[str, dict[str, t.Any]], size: str = "2G", **more: t.Any) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    planned = plan(build(measurements), size, **more)
    return planned, planned["volumes"][0]


def test_what_is_left_at_the_end_of_a_chain() -> None:
    assert expected([], GIB) == GIB
    assert expected([[0, 512], [HEADER, 4096], [MIB, 4 * MIB]], GIB) == (GIB - HEADER - MIB) // (4 * MIB) * 4 * MIB


def test_luks_is_held_to_the_device_less_its_header() -> None:
    (volume,) = build(luks_fleet())
    assert judge(volume)["verdict"] == "ok"
    (volume,) = build(luks_fleet(size=2 * GIB, layer_size=GIB, image=2 * GIB))
    judged = judge(volume)
    assert judged["verdict"] == "lagging at layer"
    assert judged["reasons"][0] == "layer h1:dm-crypt-0 has 1008 MiB, wanted 1.98 GiB"
    assert [text.split()[0] for text in judged["reasons"]] == ["layer", "disk", "guest"]
    grown = luks_fleet(size=2 * GIB, image=2 * GIB)
    grown["h1"]["disks"][0].update(capacity_bytes=GIB - HEADER, guest_bytes=GIB - HEADER)
    assert judge(build(grown)[0])["verdict"] == "lagging at disk"


def test_an_audit_shows_which_layer_lags() -> None:
    (volume,) = build(luks_fleet(size=2 * GIB, layer_size=GIB, image=2 * GIB))
    entries = {hop["hop"]: hop for hop in hops_of(volume)}
    assert (entries["layer"]["bytes"], entries["layer"]["goal_bytes"]) == (GIB - HEADER, 2 * GIB - HEADER)
    assert layer_state(volume["layers"][0], 2 * GIB) == "lagging" and layer_state(volume["layers"][0], GIB) == "layer"
    assert layer_state({**volume["layers"][0], "chain": None}, 2 * GIB) == "layer" and layer_state({"bytes": None}, GIB) == "unproven"


def test_a_layer_blocks_unless_it_is_to_be_grown() -> None:
    planned, row = row_of(luks_fleet())
    assert planned["blocked"] and "layer with a size of its own" in row["blockers"][0]["problem"] and "grow_layers=true" in row["blockers"][0]["remedy"]
    assert planned["layers"] == {}
    planned, row = row_of(luks_fleet(), grow_layers=True)
    assert (planned["blocked"], row["blockers"]) == (False, [])
    assert planned["layers"] == {"h1": [{"uuid": UUID, "size": f"{2 * GIB}B"}]}
    assert planned["hypervisors"] == {"h1": [{"domain": "g1", "target": "vda", "size": f"{2 * GIB - HEADER}B"}]}
    assert [(step["hop"], step["to_bytes"]) for step in row["steps"] if step["hop"] in ("device", "layer", "disk", "guest")] == [
        ("device", 2 * GIB),
        ("layer", 2 * GIB - HEADER),
        ("disk", 2 * GIB - HEADER),
        ("guest", 2 * GIB - HEADER),
    ]


def test_a_difference_shows_the_layers_between_device_and_disk() -> None:
    (diff,) = diffs_of(plan(build(luks_fleet()), "2G", grow_layers=True))
    before, after = diff["before"].splitlines(), diff["after"].splitlines()
    place = next(number for number, line in enumerate(before) if line.startswith("layer"))
    assert before[place - 1].startswith("device ") and before[place + 1].startswith("disk ")
    assert f"layer     h1:dm-crypt-0: {GIB - HEADER} bytes" in before[place] and f"layer     h1:dm-crypt-0: {2 * GIB - HEADER} bytes" in after[place]
    (diff,) = diffs_of(plan(build(lvm_fleet()), "2G", grow_layers=True))
    (kept,) = [line for line in diff["after"].splitlines() if "lvm-0" in line]
    assert kept in diff["before"].splitlines(), "a logical volume keeps its size"


def test_a_layer_that_has_everything_already_blocks_nothing() -> None:
    planned, row = row_of(luks_fleet(), size="1G")
    assert (planned["blocked"], planned["needed"], row["verdict"]) == (False, False, "ok")


def test_a_run_that_ended_before_the_layer_goes_on_there() -> None:
    planned, row = row_of(luks_fleet(size=2 * GIB, layer_size=GIB, image=2 * GIB), grow_layers=True)
    assert planned["needed"] and row["steps"][0]["hop"] == "layer" and planned["layers"]


def test_a_layer_that_cannot_be_grown_is_named() -> None:
    told = {"blocker": "the key of x is in the kernel's keyring", "remedy": "run cryptsetup by hand", "grown_by": None}
    measurements = luks_fleet()
    measurements["h1"]["host"]["namespaces"][0]["layers"][0].update(told)
    planned, row = row_of(measurements, grow_layers=True)
    assert planned["blocked"] and [(item["object"], item["problem"], item["remedy"]) for item in row["blockers"]] == [
        ("h1:dm-crypt-0", told["blocker"], told["remedy"])
    ]
    planned, row = row_of(measurements, size="1G", grow_layers=True)
    assert not planned["blocked"]


def test_without_details_a_layer_blocks() -> None:
    measurements = luks_fleet()
    for key in ("overhead_bytes", "unit_bytes", "grown_by", "blocker", "remedy"):
        del measurements["h1"]["host"]["namespaces"][0]["layers"][0][key]
    planned, _row = row_of(measurements, grow_layers=True)
    assert planned["blocked"]
    assert judge(build(measurements)[0])["verdict"] == "ok"  # held to what the layer has


def test_another_blocker_stays() -> None:
    measurements = luks_fleet()
    measurements["h1"]["disks"][0]["problems"].append({"code": "block_job", "problem": "a block job runs", "remedy": "wait", "severity": "blocker"})
    _planned, row = row_of(measurements, grow_layers=True)
    assert [item["problem"] for item in row["blockers"]] == ["a block job runs"]


def multipath_fleet() -> dict[str, dict[str, t.Any]]:
    """Two devices (native multipath off) under a map, LUKS on it, a disk on that."""
    measurements = luks_fleet()
    namespace = measurements["h1"]["host"]["namespaces"][0]
    for number, path in enumerate(namespace["paths"]):
        path["name"] = f"nvme{number}n1"
    top = namespace["layers"][0]
    top.update(name="dm-crypt-0", on=["/dev/dm-7"])
    below = layer("multipath", 7, "/dev/nvme0n1", GIB, 0)
    below["on"] = ["/dev/nvme0n1", "/dev/nvme1n1"]
    namespace["layers"] = [below, top]
    measurements["h1"]["disks"][0]["layers"] = ["dm-crypt-0", "multipath-7"]
    return measurements


def test_a_map_over_two_devices_and_luks_on_it() -> None:
    measurements = multipath_fleet()
    (volume,) = build(measurements)
    assert [entry["chain"] for entry in volume["layers"]] == [[[0, 512]], [[0, 512], [HEADER, 512]]]
    assert volume["readings"]["disk"][0]["chain"] == [[0, 512], [HEADER, 512]]
    assert judge(volume)["verdict"] == "ok"
    planned, row = row_of(measurements, grow_layers=True)
    assert not row["blockers"] and planned["hypervisors"]["h1"][0]["size"] == f"{2 * GIB - HEADER}B"


def lvm_fleet(**attached: t.Any) -> dict[str, dict[str, t.Any]]:
    """A volume group on the device, active on the host; ``attached`` is a domain's disk."""
    measured = host()
    volume = layer("lvm-pv", 0, "/dev/nvme0n1", GIB - 4 * MIB, MIB, 4 * MIB)
    volume.update(name="/dev/nvme0n1 (physical volume of vg1)", device="/dev/nvme0n1")
    measured["namespaces"][0].update(holders=["dm-0"], layers=[volume, layer("lvm", 0, "/dev/nvme0n1", 100 * MIB, None, None)])
    disks = [disk(**{"problems": [], **attached})] if attached else []
    return fleet(h1={"host": measured, "disks": disks, "errors": {}})


def test_a_physical_volume_grows_and_its_logical_volumes_do_not() -> None:
    planned, row = row_of(lvm_fleet(), grow_layers=True)
    assert not row["blockers"] and planned["layers"] == {"h1": [{"uuid": UUID, "size": f"{2 * GIB}B"}]}
    assert [step["to_bytes"] for step in row["steps"] if step["hop"] == "layer"] == [2 * GIB - 4 * MIB]
    assert planned["hypervisors"] == {}


@pytest.mark.parametrize("state", ["running", "shut off"])
def test_a_volume_group_on_a_guests_own_disk(state: str) -> None:
    _planned, row = row_of(lvm_fleet(device="/dev/nvme0n1", domain_state=state), grow_layers=True)
    assert "it is the guest's own" in row["blockers"][0]["problem"] and "vgchange -an" in row["blockers"][0]["remedy"]


def test_a_disk_on_a_logical_volume() -> None:
    measurements = lvm_fleet(device="/dev/dm-0", layers=["lvm-0"], size=100 * MIB, physical=100 * MIB, guest=100 * MIB)
    assert judge(build(measurements)[0])["verdict"] == "ok"
    _planned, row = row_of(measurements, grow_layers=True)
    assert "the disk g1:vda is on lvm-0 (lvm), which keeps its size" in row["blockers"][0]["problem"]


def test_disks_beside_a_layer_keep_the_namespaces_size() -> None:
    measurements = luks_fleet()
    measurements["h1"]["disks"].append(disk(domain="g2", device="/dev/nvme0n1"))
    planned, _row = row_of(measurements, grow_layers=True)
    assert planned["hypervisors"]["h1"] == [
        {"domain": "g1", "target": "vda", "size": f"{2 * GIB - HEADER}B"},
        {"domain": "g2", "target": "vda", "size": f"{2 * GIB}B"},
    ]


def test_the_outcome_names_a_layer_that_stayed_behind() -> None:
    planned, _row = row_of(luks_fleet(), grow_layers=True)
    behind = luks_fleet(size=2 * GIB, layer_size=GIB, image=2 * GIB)
    assert outcome(build(behind), planned)["failed"][0].startswith("pool-1/vol-1: lagging at layer")
    grown = luks_fleet(size=2 * GIB, image=2 * GIB)
    assert outcome(build(grown), planned)["failed"] == []


# -- file systems --------------------------------------------------------------------------------------------------


def test_file_systems_are_handed_out_where_they_are_asked_for() -> None:
    measurements = fleet()
    assert plan(build(measurements), "1G")["filesystems"] == {}
    planned = plan(build(measurements), "1G", grow_filesystem=True)
    assert planned["filesystems"] == {"h1": [{"domain": "g1", "target": "vda"}]}
    assert planned["needed"]  # also where every hop has its size: only the guest knows
    blocked = copy.deepcopy(measurements)
    blocked["h1"]["disks"][0]["problems"] = [{"problem": "x", "remedy": "y", "severity": "blocker"}]
    assert plan(build(blocked), "1G", grow_filesystem=True)["filesystems"] == {}
    shared = copy.deepcopy(measurements)
    shared["h1"]["disks"].append(disk(domain="g2"))
    planned = plan(build(shared), "1G", grow_filesystem=True)
    assert planned["filesystems"] == {} and "several running domains have the disk (h1:g1:vda, h1:g2:vda)" in planned["lines"][-1]
    measurements["h1"]["disks"][0]["domain_state"] = "shut off"
    assert plan(build(measurements), "1G", grow_filesystem=True)["filesystems"] == {}


def test_options_of_the_filter() -> None:
    assert growth_plan(build(luks_fleet()), "2G", grow_layers="true")["layers"]
    assert not growth_plan(build(luks_fleet()), "2G", grow_layers="false")["layers"]
    assert growth_plan(build(fleet()), "2G", grow_filesystem="yes")["filesystems"]


def entry(state: str, message: str, target_: str = "vda", error: dict[str, str] | None = None) -> dict[str, t.Any]:
    return {"domain": "g1", "target": target_, "namespace_uuid": UUID, "state": state, "message": message, "error": error}


def test_what_became_of_file_systems() -> None:
    planned = plan(build(fleet()), "1G", grow_filesystem=True)
    answers = [
        entry("grown", "ext4 on / from 1 GiB to 2 GiB"),
        entry("not_grown", "not grown: LVM inside (dm-0 on /dev/vdb)", "vdb"),
        entry("failed", "the guest does not have resize2fs", "vdc", {"remedy": "install e2fsprogs in the guest"}),
    ]
    found = filesystem_outcome({"h1": {"volume_growth__filesystems": {"rest": {"filesystems": answers, "failed": False}}}}, planned)
    assert found["lines"] == [
        "filesystem h1:g1:vda: ext4 on / from 1 GiB to 2 GiB",
        "filesystem h1:g1:vdb: not grown: LVM inside (dm-0 on /dev/vdb)",
        "filesystem h1:g1:vdc: the guest does not have resize2fs. Next step: install e2fsprogs in the guest",
    ]
    assert found["failed"] == ["file system of h1:g1:vdc: the guest does not have resize2fs. Next step: install e2fsprogs in the guest"]
    assert [(item["host"], item["volume"], item["state"]) for item in found["filesystems"]][0] == ("h1", "pool-1/vol-1", "grown")


@pytest.mark.parametrize("hostvars", [{}, {"h1": {}}, {"h1": {"volume_growth__filesystems": {"rest": {"msg": "the Python binding of libvirt is missing"}}}}])
def test_a_host_that_was_lost_has_failed(hostvars: dict[str, t.Any]) -> None:
    planned = plan(build(fleet()), "1G", grow_filesystem=True)
    found = filesystem_outcome(hostvars, planned)
    assert len(found["failed"]) == 1 and "h1 (g1:vda)" in found["failed"][0]
    assert ("binding" in found["failed"][0]) == ("volume_growth__filesystems" in hostvars.get("h1", {}))


def test_a_host_of_both_stages_answers_for_each() -> None:
    stages = {name: {"filesystems": {"h1": [{"domain": name, "target": "vda"}]}} for name in ("canary", "rest")}
    answer = {"domain": "canary", "target": "vda", "namespace_uuid": UUID, "state": "grown", "message": "ext4 grew", "error": None}
    told = {"canary": {"filesystems": [answer]}, "rest": {"msg": "libvirt is gone"}}
    found = filesystem_outcome({"h1": {"volume_growth__filesystems": told}}, {"volumes": [], "stages": stages})
    assert found["lines"][0] == "filesystem h1:canary:vda: ext4 grew" and found["failed"] == ["file systems of h1 (rest:vda): libvirt is gone"]


def test_something_else_than_a_plan() -> None:
    with pytest.raises(AnsibleFilterError, match="not a plan"):
        filesystem_outcome({}, {"volumes": []})
