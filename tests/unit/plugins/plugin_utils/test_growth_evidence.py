# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts did in a growth: answers, the barrier before hosts, evidence by volume, its page; measurements that were taken twice."""

from __future__ import annotations

import copy
import html.parser
import pathlib
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.filter.batch_place import batch_place
from ansible_collections.nvmeof.spdk.plugins.filter.growth_answers import growth_answers
from ansible_collections.nvmeof.spdk.plugins.filter.growth_barrier import growth_barrier
from ansible_collections.nvmeof.spdk.plugins.filter.growth_evidence import growth_evidence
from ansible_collections.nvmeof.spdk.plugins.filter.growth_html import growth_html
from ansible_collections.nvmeof.spdk.plugins.filter.growth_outcome import growth_outcome
from ansible_collections.nvmeof.spdk.plugins.filter.growth_plan import growth_plan
from ansible_collections.nvmeof.spdk.plugins.filter.volume_table import volume_table
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._batches import sizes_of
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth_evidence import MOST_NAMED, summary_of
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._volumes import exported_images
from ansible_collections.nvmeof.spdk.tests.fixtures import fleet

NAMES = [f"pool-1/host-rbd-img-{number}" for number in (1, 2, 5)]
NEW = 200 * fleet.GIB
FILES = pathlib.Path(__file__).parents[4] / "roles/volume_growth/files"
STYLE, SCRIPT = (FILES / "report.css").read_text(), (FILES / "report.js").read_text()
LOST = {"unreachable": True, "msg": "ssh: connect to host: No route to host"}


@pytest.fixture
def planned() -> dict[str, Any]:
    """Volumes 1 and 2 of the first pair of targets, 5 of the second, in one stage."""
    return growth_plan(volume_table(fleet.hostvars(fleet.fleet()), fleet.ASKED), "200G", volume=NAMES, canary="0")


def acted(**answers: Any) -> dict[str, Any]:
    return {"volume_growth__acted": {"rest": growth_answers(answers)}}


def ok(seconds: float = 1.0) -> dict[str, Any]:
    return {"changed": True, "seconds": seconds}


def all_went_well() -> dict[str, Any]:
    found = {name: acted(bdev=ok(2.0 + int(name[1:]))) for name in ("t1", "t2", "t3", "t4")}
    return {**found, **{name: acted(device=ok(0.5), disk=ok(0.25)) for name in ("h1", "h2", "h4")}}


def test_what_was_skipped_is_no_answer_and_what_failed_keeps_what_arrived() -> None:
    bdevs = [{"name": "a", "satisfied": True, "size_bytes": 5}, {"name": "b", "satisfied": False, "size_bytes": 4}]
    found = growth_answers({"device": ok(), "layer": {"skipped": True, "changed": False}, "disk": {}})
    assert found == {"device": {"state": "ok", "error": None, "seconds": 1.0, "arrived": {}}}
    found = growth_answers({"bdev": {"failed": True, "msg": " b: late ", "bdevs": bdevs}})["bdev"]
    assert (found["state"], found["error"], found["arrived"]) == ("failed", "b: late", {"a": 5})
    found = growth_answers({"image": LOST})["image"]
    assert found["state"] == "lost" and found["error"] == "the host became unreachable: ssh: connect to host: No route to host"


def test_what_ended_a_host_hides_what_its_later_calls_said_in_an_earlier_stage() -> None:
    failure = {"failed": True, "msg": "the device is smaller"}
    found = growth_answers({"device": failure, "disk": ok(9)}, failure, "nvmeof.spdk.nvme_rescan")
    assert list(found) == ["device"] and found["device"]["error"] == "the device is smaller"
    # no module, such as a template that cannot be rendered
    found = growth_answers({"device": ok(), "disk": {}}, {"msg": "undefined"}, "ansible.builtin.set_fact")
    assert found["device"]["state"] == "ok" and (found["disk"]["state"], found["disk"]["error"]) == ("failed", "undefined")
    with pytest.raises(AnsibleFilterError, match="floor is no hop"):
        growth_answers({"floor": ok()})


def test_nobody_is_held_back_where_all_went_well(planned: dict[str, Any]) -> None:
    stage = planned["stages"]["rest"]
    left = growth_barrier(all_went_well(), stage, "rest")
    assert left["held"] == {}
    assert {kind: left[kind] for kind in ("targets", "initiators", "hypervisors")} == {kind: stage[kind] for kind in ("targets", "initiators", "hypervisors")}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"bdev": {"failed": True, "msg": "no answer within 60 s"}}, "no answer within 60 s"),
        ({"bdev": LOST}, "the host became unreachable: ssh: connect to host: No route to host"),
        ({}, "the host did not come to it"),
    ],
)
def test_a_volume_goes_to_hosts_only_from_all_its_targets(planned: dict[str, Any], answer: dict[str, Any], why: str) -> None:
    known = {**all_went_well(), "t2": acted(**answer)}
    left = growth_barrier(known, planned["stages"]["rest"], "rest")
    assert left["held"] == {name: f"bdev Ceph-host-rbd-img-{number} on target t2 does not show the new size: {why}" for number, name in zip((1, 2), NAMES)}
    # the hosts of the other pair, one of which has the domain
    assert sorted(left["initiators"]) == ["h4", "h5", "h6"] and sorted(left["hypervisors"]) == ["h4"]
    assert growth_barrier(known, planned["stages"]["rest"], "rest", before="targets")["held"] == {}


def test_a_target_that_failed_for_one_bdev_does_not_hold_the_others(planned: dict[str, Any]) -> None:
    bdevs = [{"name": f"Ceph-host-rbd-img-{n}", "satisfied": n == 1, "size_bytes": NEW if n == 1 else fleet.SIZE} for n in (1, 2)]
    known = {**all_went_well(), "t1": acted(bdev={"failed": True, "msg": "late", "bdevs": bdevs})}
    assert list(growth_barrier(known, planned["stages"]["rest"], "rest")["held"]) == [NAMES[1]]
    # arrived means at the size of this growth
    bdevs[0]["size_bytes"] = fleet.SIZE
    known["t1"] = acted(bdev={"failed": True, "msg": "late", "bdevs": bdevs})
    assert list(growth_barrier(known, planned["stages"]["rest"], "rest")["held"]) == NAMES[:2]


def test_targets_follow_only_images_that_their_client_grew(planned: dict[str, Any]) -> None:
    stage = copy.deepcopy(planned["stages"]["rest"])
    for number, name in zip((1, 2), NAMES):
        stage["parts"][name]["images"] = {"c1": [{"pool": "pool-1", "rados_namespace": "", "image": f"host-rbd-img-{number}", "size": f"{NEW}B"}]}
    stage["images"] = {"c1": [image for name in NAMES[:2] for image in stage["parts"][name]["images"]["c1"]]}
    grown = [{"pool": "pool-1", "rados_namespace": None, "image": f"host-rbd-img-{n}", "size_bytes": NEW if n == 1 else fleet.SIZE} for n in (1, 2)]
    known = {**all_went_well(), "c1": acted(image={"failed": True, "msg": "no space", "images": grown})}
    left = growth_barrier(known, stage, "rest", before="targets")
    assert left["held"] == {NAMES[1]: f"image {NAMES[1]} on c1 does not show the new size: no space"}
    assert [bdev["name"] for bdev in left["targets"]["t1"]] == ["Ceph-host-rbd-img-1"]


def after(planned: dict[str, Any], known: dict[str, Any], *grown: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The outcome and evidence when these volumes have grown at every hop."""
    measured = fleet.fleet()
    for number in grown:
        for host in measured.values():
            for bdev in (host.get("target") or {}).get("bdevs") or []:
                if bdev["image"] == f"host-rbd-img-{number}":
                    bdev.update(size_bytes=NEW, image_bytes=NEW)
            for namespace in (host.get("host") or {}).get("namespaces") or []:
                if namespace["uuid"] == fleet.uuid(number):
                    namespace["size_bytes"] = NEW
                    for path in namespace["paths"]:
                        path["size_bytes"] = NEW
            for disk in host.get("disks") or []:
                if disk["namespace_uuid"] == fleet.uuid(number):
                    disk.update(capacity_bytes=NEW, physical_bytes=NEW, guest_bytes=NEW)
    told = growth_evidence(known, planned)
    return growth_outcome(volume_table(fleet.hostvars(measured), fleet.ASKED), planned, evidence=told), told


def test_rows_have_seconds_changed_hops_and_the_hosts_that_carry_them(planned: dict[str, Any]) -> None:
    (host,) = [name for name in planned["stages"]["rest"]["hypervisors"] if planned["stages"]["rest"]["parts"][NAMES[1]]["hypervisors"].get(name)]
    known = {**all_went_well(), host: acted(device=ok(0.5), disk={"failed": True, "msg": "libvirt is gone"})}
    result, told = after(planned, known, 1, 5)
    first, second, _third = result["volumes"]
    assert first["seconds"] == {"bdev": 4.0, "device": 0.5, "disk": 0.25}, "the longest call that the volume was part of"
    assert first["changed_hops"] == ["image", "bdev", "namespace", "path", "device", "disk", "guest"] and first["verdict"] == "ok"
    assert second["changed_hops"] == [] and second["errors"] == [{"host": host, "stage": "rest", "hop": "disk", "state": "failed", "error": "libvirt is gone"}]
    assert told["lines"] == [f"{host}: failed at disk (rest): libvirt is gone"]


def test_a_held_volume_is_blocked_and_took_no_time_on_hosts(planned: dict[str, Any]) -> None:
    result, told = after(planned, {**all_went_well(), "t2": acted(bdev=LOST)}, 5)
    first, _second, third = result["volumes"]
    assert first["verdict"].startswith("blocked: bdev Ceph-host-rbd-img-1 on target t2") and "run this again" in first["reasons"][0]
    assert first["seconds"] == {"bdev": 3.0} and third["verdict"] == "ok" and third["held"] is None
    assert told["hosts"] == [{**told["hosts"][0], "host": "t2", "hop": "bdev", "state": "lost"}]
    assert result["summary"]["verdicts"] == {"blocked": 2, "ok": 1} and [one["volume"] for one in result["summary"]["not_ok"]] == NAMES[:2]


def test_a_stage_that_did_not_begin_holds_nobody(planned: dict[str, Any]) -> None:
    result, told = after(planned, {})
    assert told["hosts"] == [] and [row["verdict"] for row in result["volumes"]] == ["lagging at image"] * 3


def test_a_summary_is_bounded() -> None:
    rows = [{"volume": f"p/{number}", "verdict": "blocked: " + "x" * 5000, "degraded": []} for number in range(1000)]
    found = summary_of(rows, 1000)
    assert found["verdicts"] == {"blocked": 1000} and len(found["not_ok"]) == MOST_NAMED and found["not_ok_not_listed"] == 1000 - MOST_NAMED
    assert len(str(found)) < 10000


# -- measured twice ----------------------------------------------------------------------------------------------------


def again(name: str, measured: dict[str, Any], bdevs: list[str] | None = None, uuids: list[str] | None = None) -> list[dict[str, Any]]:
    return [{"bdevs": bdevs or [], "uuids": uuids or [], **{kind: {kind: answer} for kind, answer in measured[name].items()}}]


def test_a_second_look_at_some_bdevs_and_disks_keeps_what_was_known_of_the_others() -> None:
    known, second = fleet.hostvars(fleet.fleet()), fleet.fleet()
    known["t1"]["volume_growth__target"]["target"]["problems"] = [{"object": "Ceph-host-rbd-img-2", "problem": "old"}, {"object": "Ceph-host-rbd-img-1"}]
    for bdev in second["t1"]["target"]["bdevs"]:
        grown = bdev["image"] == "host-rbd-img-1"
        bdev.update(size_bytes=NEW if grown else fleet.SIZE, image_bytes=NEW if grown else None)
    known["t1"]["volume_growth__again"] = again("t1", second, bdevs=["Ceph-host-rbd-img-1"])
    (host,) = [name for name in ("h1", "h2", "h3") if any(disk["namespace_uuid"] == fleet.uuid(1) for disk in second[name]["disks"])]
    kept = [disk for disk in second[host]["disks"] if disk["namespace_uuid"] != fleet.uuid(1)]
    second[host]["disks"] = [{**disk, "capacity_bytes": NEW} for disk in second[host]["disks"] if disk not in kept]
    known[host]["volume_growth__again"] = again(host, second, uuids=[fleet.uuid(1).upper()])
    volumes = {volume["volume"]: volume for volume in volume_table(known, {**fleet.ASKED, "target": ["t1"]})}
    assert [reading["bytes"] for reading in volumes[NAMES[0]]["readings"]["image"]] == [NEW]
    assert [reading["bytes"] for reading in volumes[NAMES[1]]["readings"]["image"]] == [fleet.SIZE]
    assert [reading["bytes"] for reading in volumes[NAMES[0]]["readings"]["disk"]] == [NEW]
    assert [problem["problem"] for problem in volumes[NAMES[1]]["problems"]] == ["old"] and volumes[NAMES[0]]["problems"] == []
    for disk in kept:
        (volume,) = [one for one in volumes.values() if disk["namespace_uuid"] in one["uuids"]]
        assert len(volume["readings"]["disk"]) == 1


def test_a_host_that_fell_silent_is_a_gap_only_in_the_volumes_that_it_had() -> None:
    """Nothing is declared of it; had it never answered, it would be a gap in every volume."""
    known = fleet.hostvars(fleet.fleet())
    for name in known:
        known[name].pop("nvme_initiator_connections", None)
        known[name].pop("spdk_target_rbd_bdevs", None)
    silent = {"bdevs": ["x"], "uuids": ["y"], "host": LOST, "disks": LOST}
    known["h1"]["volume_growth__again"] = [silent]
    volumes = volume_table(known, fleet.ASKED)
    gaps = [volume["volume"] for volume in volumes if any(reading.get("silent") for reading in volume["readings"]["device"])]
    had = {one["uuid"] for one in fleet.fleet()["h1"]["host"]["namespaces"]}
    assert gaps and gaps == [volume["volume"] for volume in volumes if volume["uuid"] in had] and len(gaps) < len(volumes)
    # the disk is unproven where the host had one on the volume
    attached = {disk["namespace_uuid"] for disk in fleet.fleet()["h1"]["disks"]}
    quiet = [volume["uuid"] for volume in volumes if any(reading.get("silent") for reading in volume["readings"]["disk"])]
    assert sorted(quiet) == sorted(attached)
    # the same for a host that the play lost, and for a target
    lost = volume_table(fleet.hostvars(fleet.fleet()), fleet.ASKED, answering=[name for name in known if name != "t1"])
    assert [volume["volume"] for volume in lost if any(reading.get("silent") for reading in volume["readings"]["bdev"])] == [
        volume["volume"] for volume in lost if volume["volume"][-1] in "1234"
    ]
    # a host that answers again is no gap any more
    known["h1"]["volume_growth__again"] += again("h1", fleet.fleet(), uuids=sorted(attached))
    assert not any(reading.get("silent") for volume in volume_table(known, fleet.ASKED) for reading in volume["readings"]["device"])


def test_images_of_some_volumes_only() -> None:
    known = fleet.hostvars(fleet.fleet())
    assert [image["image"] for image in exported_images(known, ["t1", "t2"], only={NAMES[1]})] == ["host-rbd-img-2"]
    assert len(exported_images(known, ["t1", "t2"])) == 4


def test_every_host_of_a_stage_has_the_namespaces_that_it_is_asked_for_again(planned: dict[str, Any]) -> None:
    stage = planned["stages"]["rest"]
    assert sorted(stage["uuids"]) == stage["hosts"]
    assert {uuid for uuids in stage["uuids"].values() for uuid in uuids} == {fleet.uuid(number) for number in (1, 2, 5)}


# -- batches and the page ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "serial", "sizes"),
    [
        (3, [1, "50%"], [1, 1, 1]),
        (10, "10%", [1] * 10),
        (10, [1, 2, "50%"], [1, 2, 5, 2]),
        (5, 2, [2, 2, 1]),
        (5, "2", [2, 2, 1]),
        (5, "", [5]),
        (5, None, [5]),
        (5, 0, [5]),
        (5, "100%", [5]),
        (3, "1%", [1, 1, 1]),
        (0, 2, []),
    ],
)
def test_batches_are_cut_as_ansible_cuts_them(count: int, serial: Any, sizes: list[int]) -> None:
    assert sizes_of(count, serial) == sizes


def test_the_place_of_a_batch() -> None:
    hosts = ["h1", "h2", "h3", "h4", "h5"]
    assert batch_place(["h3", "h4"], hosts, "2") == "2 of 3" and batch_place(hosts, hosts) == "1 of 1"
    assert batch_place(["h4", "h5"], hosts, "[1, 40%]") == "3 of 3"
    with pytest.raises(AnsibleFilterError, match="neither a number"):
        batch_place(hosts, hosts, "many")


class Reader(html.parser.HTMLParser):
    """The texts of a page, and its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.scripts = 0

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("img", "link", "iframe") and not any(name.startswith("on") for name, _value in attrs)
        self.scripts += tag == "script"


def test_the_page_shows_before_and_after_seconds_and_who_was_lost_and_escapes_all(planned: dict[str, Any]) -> None:
    hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    result, told = after(planned, {**all_went_well(), "t2": acted(bdev={"failed": True, "msg": hostile})}, 5)
    page = growth_html(result, told, STYLE, SCRIPT, about={"run": "4711"}, notes=[hostile])
    reader = Reader()
    reader.feed(page)
    assert reader.scripts == 1 and "alert(1)" in "".join(reader.texts) and "<img" not in page
    for words in ("Volume growth", "4711", "was 100 GiB, 6.0 s", "was 100 GiB, 0.25 s", "t2: failed at bdev (rest): " + hostile, "200 GiB"):
        assert words in reader.texts, words
    assert f"before {fleet.SIZE} bytes, now {NEW} bytes" in page
    assert "blocked" in page and page.count("default-src &#39;none&#39;") == 1
    with pytest.raises(AnsibleFilterError, match="not an outcome"):
        growth_html({"volumes": [{}], "failed": []}, told, STYLE, SCRIPT)
