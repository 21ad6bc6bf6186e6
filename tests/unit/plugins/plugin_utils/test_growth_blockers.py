# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the way of a growth: all of it at once, the volumes that go on, and what the pools say."""

from __future__ import annotations

import sys
import typing as t

import pytest
from ansible_collections.nvmeof.spdk.plugins.filter.growth_plan import growth_plan
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_domain import DomainDisk
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_kernel import rescan_hazard
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_hazards import hazards
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import ReleaseTable
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth import GrowthError, outcome, plan
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth_wishes import wishes_of
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._volumes import build, exported_images, measurements_of
from ansible_collections.nvmeof.spdk.tests.fixtures import fleet as made_up
from ansible_collections.nvmeof.spdk.tests.fixtures.fleet import FSID, GIB, SIZE, fleet

ONE = "pool-1/host-rbd-img-1"
TWO = "pool-1/host-rbd-img-2"
OLD_KERNEL = "5.14.0-503.11.1.el9_5.x86_64"
Measured = dict[str, dict[str, t.Any]]


def pool(**more: t.Any) -> dict[str, t.Any]:
    figures = {"free_bytes": 10**13, "stored_bytes": 10**12, "provisioned_bytes": None, "max_bytes": None, "full": False, "nearfull": False}
    return {"pool": "pool-1", "exists": True, **figures, "error": None, **more}


def measured(**pool_figures: t.Any) -> Measured:
    """The fleet; every target says the same of the pool."""
    found = fleet()
    for name in ("t1", "t2", "t3", "t4"):
        found[name]["target"]["pools"] = [pool(**pool_figures)]
    return found


def planned(found: Measured, text: str = f"{ONE} 200G", **options: t.Any) -> dict[str, t.Any]:
    return plan(build(found), "", wishes=wishes_of(text), **options)


def codes(made: dict[str, t.Any], number: int = 0) -> list[str]:
    return [item["code"] for item in made["volumes"][number]["blockers"]]


def disk_of(found: Measured, **facts: t.Any) -> dict[str, t.Any]:
    """The disk of the first volume with these facts, and the problems that the module finds with them."""
    (disk,) = [disk for disk in found["h1"]["disks"] if disk["domain"] == "vm1"]
    known = {"domain": "vm1", "domain_uuid": "", "domain_state": "running", "target": "vdb", "source": disk["source"], "held": True, "bus": "virtio"}
    made = DomainDisk(**{**known, "capacity_bytes": SIZE, "physical_bytes": SIZE, **facts})
    made.device = facts.get("device", _Device())  # type: ignore[assignment]
    disk.update(made.result(), namespace_uuid=disk["namespace_uuid"])
    return disk


class _Device:
    namespace_uuid = made_up.uuid(1)
    path = "/dev/nvme0n1"
    layers: t.Sequence[str] = ()


def test_a_healthy_fleet_is_blocked_by_nothing_and_shows_now_and_then() -> None:
    made = planned(measured(), f"{ONE} 200G\n{TWO} 300G")
    assert not made["blocked"] and made["skipped"] == [] and codes(made) == [] and made["wanted_bytes"] is None
    first, second = made["volumes"]
    assert (first["wanted_bytes"], second["wanted_bytes"]) == (200 * GIB, 300 * GIB)
    assert set(first["bytes"].values()) == {SIZE} and set(first["then_bytes"].values()) == {200 * GIB}
    assert made["targets"]["t1"] == [
        {"name": "Ceph-host-rbd-img-1", "state": "grown", "size": f"{200 * GIB}B"},
        {"name": "Ceph-host-rbd-img-2", "state": "grown", "size": f"{300 * GIB}B"},
    ]
    assert made["hypervisors"]["h2"] == [{"uuid": made_up.uuid(2), "size": f"{300 * GIB}B"}]


def test_the_outcome_of_a_list_holds_every_volume_to_its_own_size() -> None:
    made = planned(measured(), f"{ONE} 100G\n{TWO} 300G")
    result = outcome(build(measured()), made)
    assert [row["verdict"] for row in result["volumes"]] == ["ok", "lagging at image"]
    assert [text.split(":")[0] for text in result["failed"]] == [TWO]


# -- lists against the inventory -------------------------------------------------------------------------------------


def test_every_line_that_cannot_be_used_is_in_one_error() -> None:
    text = f"{ONE} 200G\nrbd/none 1G\n{TWO} 800\nvm1:vdb 300G\nvm9:vdb 1T"
    with pytest.raises(GrowthError) as caught:
        planned(measured(), text)
    said = str(caught.value)
    assert said.startswith("4 of 5 volume(s) in the list cannot be used, so nothing was touched")
    for words in ("line 2: volume 'rbd/none' was not found", "line 3: " + TWO, "line 5: volume 'vm9:vdb' was not found", "the inventory has: " + ONE):
        assert words in said
    assert f"line 4: vm1:vdb is {ONE}, which line 1 ({ONE}) wants otherwise" in said


def test_two_names_of_one_volume_with_the_same_size_are_one_volume() -> None:
    assert planned(measured(), f"{ONE} 200G\nvm1:vdb 200G")["chosen"] == [ONE]


def test_a_name_that_several_volumes_have_is_told_with_its_line() -> None:
    with pytest.raises(GrowthError, match="line 1: volume '/dev/nvme0n1' is ambiguous"):
        planned(measured(), "/dev/nvme0n1 200G\n" + TWO + " 200G")


def test_a_selection_narrows_a_list() -> None:
    wishes = wishes_of(f"{ONE} 200G\n{TWO} 300G")
    made = growth_plan(build(measured()), "", wishes=wishes, select="[?image=='host-rbd-img-2']")
    assert made["chosen"] == [TWO] and made["wanted_bytes"] == 300 * GIB
    with pytest.raises(Exception, match="none of the volumes named matches the selection"):
        growth_plan(build(measured()), "", wishes=wishes, select="[?image=='host-rbd-img-3']")


# -- what blocks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "code", "words"),
    [
        ({"block_job": "copy"}, "block_job", "a block job (copy) runs"),
        ({"domain_job": "live migration (outgoing)"}, "domain_job", "live migration (outgoing)"),
        ({"slice": True}, "slice", "slice of fixed size"),
        ({"read_only": True}, "read_only", "read-only"),
        ({"format": "qcow2"}, "format", "qcow2"),
        ({"source_type": "file"}, "not_block", "has type file"),
        ({"held": False}, "held", "reads zeros"),
        ({"held": None}, "held_unknown", "could not be checked"),
        ({"capacity_bytes": 2 * SIZE}, "shrunk", "has only"),
    ],
)
def test_disks_that_cannot_follow(facts: dict[str, t.Any], code: str, words: str) -> None:
    found = measured()
    disk_of(found, **facts)
    made = planned(found)
    assert made["blocked"] and code in codes(made) and not made["targets"]
    assert any("BLOCKED" in line and words in line and "Next step: " in line for line in made["lines"])


def test_the_images_of_a_secondary_grow_at_its_primary() -> None:
    found = measured()
    for name in ("t1", "t2"):
        found[name]["target"]["bdevs"][0]["image_primary"] = "on the mirror peer site-b"
    made = planned(found)
    assert codes(made) == ["mirror_secondary"] and "site-b" in made["volumes"][0]["verdict"]
    for name in ("t1", "t2"):
        found[name]["target"]["bdevs"][0].update(image_bytes=200 * GIB)
    assert codes(planned(found)) == [], "mirroring brought the size: the rest of the path follows"
    client = {"pool": "pool-1", "image": "host-rbd-img-2", "exists": True, "size_bytes": SIZE, "primary": "on the mirror peer site-c"}
    found["c1"] = {"images": {"fsid": FSID, "images": [client]}, "errors": {}}
    assert codes(planned(found, f"{TWO} 200G")) == ["mirror_secondary"]


@pytest.mark.parametrize(
    ("release", "reads_images", "code", "note"),
    [
        ((19, 1), True, ["spdk_no_resize"], None),
        ((20, 4), True, [], "does not watch its images"),
        ((20, 4), False, ["spdk_no_size_watch"], "can lose the event"),
        ((23, 9), True, [], "does not watch its images"),
        ((26, 5), True, [], "can crash when a bdev is deleted"),
        ((26, 5), False, [], "can crash when a bdev is deleted"),
        ((26, 9), True, [], None),
    ],
)
def test_releases_that_cannot_follow_block_and_others_are_told(release: tuple[int, int], reads_images: bool, code: list[str], note: str | None) -> None:
    found = measured()
    found["t2"]["target"]["hazards"] = hazards(ReleaseTable(release))
    if not reads_images:
        found["t2"]["target"]["bdevs"][0].update(image_bytes=None, image_error="no keyring")
    made = planned(found)
    assert codes(made) == code
    assert (
        len([line for line in made["lines"] if "note (spdk_" in line and "): target t2: " in line and (note or "") in line]) == (1 if note else 0)
        or note is None
    )
    for name in ("t1", "t2"):
        found[name]["target"]["bdevs"][0].update(size_bytes=200 * GIB, image_bytes=200 * GIB)
    assert codes(planned(found)) == [], "its bdev has the size already"


def test_a_kernel_that_can_hang_blocks_only_where_a_rescan_is_certain() -> None:
    found = measured()
    found["h1"]["host"].update(kernel=OLD_KERNEL, rescan_hazard=rescan_hazard(OLD_KERNEL))
    made = planned(found)
    assert codes(made) == [] and any(line.startswith("  note (kernel): h1: kernel 5.14.0-503") for line in made["lines"])
    found["t1"]["target"]["hazards"] = [{"hazard": "no_resize_event", "text": "tells nothing", "guard": "", "remedy": "", "growth": "rescan"}]
    made = planned(found)
    (blocker,) = made["volumes"][0]["blockers"]
    assert blocker["code"] == "kernel" and blocker["object"] == "h1:/dev/nvme0n1" and "tells no growth" in blocker["problem"]
    # the event is over and was missed
    found = measured()
    found["h1"]["host"].update(kernel=OLD_KERNEL, rescan_hazard=rescan_hazard(OLD_KERNEL))
    for name in ("t1", "t2"):
        found[name]["target"]["bdevs"][0].update(size_bytes=200 * GIB, image_bytes=200 * GIB)
    assert codes(planned(found)) == ["kernel"]


def test_a_path_below_its_device_blocks_unless_a_known_target_is_behind_it() -> None:
    found = measured()
    namespace = found["h1"]["host"]["namespaces"][0]
    namespace["paths"][1]["size_bytes"] = SIZE // 2
    assert codes(planned(found)) == [], "its target is known: it grows, and the path follows or is proven and rescanned"
    namespace["paths"][1]["traddr"] = "198.51.100.9"
    made = planned(found)
    assert codes(made) == ["path_stale"] and "no target of the inventory listens there" in made["volumes"][0]["verdict"]
    for name in ("t1", "t2"):
        found[name]["target"]["subsystems"][0]["listeners"][0]["traddr"] = "0.0.0.0"
    assert codes(planned(found)) == []


def test_everything_that_blocks_a_volume_is_told_at_once() -> None:
    found = measured(nearfull=True)
    disk_of(found, read_only=True, domain_job="live migration (outgoing)", block_job="copy")
    found["h1"]["host"]["namespaces"][0]["paths"][0]["state"] = "connecting"
    found["t2"]["target"]["hazards"] = hazards(ReleaseTable((19, 1)))
    found["t1"]["target"]["bdevs"][0]["lease"] = {"owner": "job-9@t1", "by": "", "since": None, "remaining_seconds": None}
    made = planned(found)
    assert {"read_only", "domain_job", "block_job", "path_down", "spdk_no_resize", "lease", "pool_nearfull"} <= set(codes(made))


# -- what does not block -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bus", ["ide", "sata"])
def test_a_guest_that_must_reboot_is_told_and_does_not_fail_the_growth(bus: str) -> None:
    found = measured()
    disk_of(found, bus=bus)
    made = planned(found)
    assert codes(made) == [] and any(
        f"bus {bus}: the guest sees a new size only after a reboot" in note["problem"] and note["code"] == "bus" for note in made["volumes"][0]["notes"]
    )
    grown = fleet()
    for name in ("t1", "t2"):
        grown[name]["target"]["bdevs"][0].update(size_bytes=200 * GIB, image_bytes=200 * GIB)
    for name in ("h1", "h2", "h3"):
        grown[name]["host"]["namespaces"][0].update(size_bytes=200 * GIB)
        for path in grown[name]["host"]["namespaces"][0]["paths"]:
            path["size_bytes"] = 200 * GIB
    disk_of(grown, bus=bus, capacity_bytes=200 * GIB, physical_bytes=200 * GIB, guest_bytes=SIZE)
    result = outcome(build(grown), made)
    assert result["failed"] == [] and result["volumes"][0]["verdict"] == "lagging at guest" and "must reboot" in result["volumes"][0]["reasons"][-1]
    assert outcome(build(grown), made, guest_required=True)["failed"]
    disk_of(grown, bus="virtio", capacity_bytes=200 * GIB, physical_bytes=200 * GIB, guest_bytes=SIZE)
    assert outcome(build(grown), made)["failed"], "a virtio guest has no excuse"


def test_a_domain_that_is_shut_off_is_told_and_takes_the_size_at_its_start() -> None:
    found = measured()
    disk_of(found, domain_state="shut off", held=None)
    made = planned(found)
    assert not made["blocked"] and made["hypervisors"] == {} and made["volumes"][0]["then_bytes"]["disk"] is None
    assert any(note["code"] == "shut_off" and "next start" in note["problem"] for note in made["volumes"][0]["notes"])
    assert any(line.startswith("  note (shut_off): disk h1:vm1:vdb: the domain is shut off") for line in made["lines"])


# -- the others --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("facts", [{"read_only": True}, {"held": False}])
def test_the_others_go_on_only_if_the_operator_says_so(facts: dict[str, t.Any]) -> None:
    found = measured()
    disk_of(found, **facts)
    stopped = planned(found, f"{ONE} 200G\n{TWO} 300G")
    assert stopped["blocked"] and stopped["skipped"] == []
    made = planned(found, f"{ONE} 200G\n{TWO} 300G", on_blocked="skip")
    assert not made["blocked"] and made["skipped"] == [ONE] and made["needed"]
    assert {item["name"] for work in made["targets"].values() for item in work} == {"Ceph-host-rbd-img-2"}
    assert made["volumes"][0]["then_bytes"] == made["volumes"][0]["bytes"]
    assert [text.split(":")[0] for text in outcome(build(found), made)["failed"]] == [ONE, TWO]
    with pytest.raises(GrowthError, match="on_blocked is 'perhaps'"):
        planned(found, on_blocked="perhaps")


# -- pools -------------------------------------------------------------------------------------------------------------

BOTH = f"{ONE} 200G\n{TWO} 300G"  # 300 GiB more together
UNKNOWN = {"free_bytes": None, "stored_bytes": None, "full": None, "nearfull": None, "error": "the mons refused 'df'"}


@pytest.mark.parametrize(
    ("figures", "ratio", "words", "code", "stops"),
    [
        ({"free_bytes": 300 * GIB}, "", None, "", ""),
        ({"free_bytes": 300 * GIB - 1}, "", "2 volume(s) grow by 300 GiB together, MAX AVAIL is 300.00 GiB", "pool_headroom", "auto require"),
        ({"max_bytes": 2000 * GIB, "stored_bytes": 1700 * GIB}, "", None, "", ""),
        ({"max_bytes": 2000 * GIB, "stored_bytes": 1800 * GIB}, "", "its quota of 1.95 TiB leaves 200 GiB", "pool_quota", "auto require"),
        ({"max_bytes": 2000 * GIB, "stored_bytes": None}, "", "what it stores (for its quota)", "pool_unknown", "require"),
        ({"nearfull": True}, "", "nearly full", "pool_nearfull", "auto require"),
        ({"full": True, "nearfull": True}, "", "it takes no more data", "pool_full", "auto require warn"),
        (UNKNOWN, "", "nobody could tell flags and quota, MAX AVAIL (the mons refused 'df')", "pool_unknown", "require"),
        ({"provisioned_bytes": 1200 * GIB, "free_bytes": 900 * GIB, "stored_bytes": 100 * GIB}, "1.5", None, "", ""),
        ({"provisioned_bytes": 1201 * GIB, "free_bytes": 900 * GIB, "stored_bytes": 100 * GIB}, 1.5, "more than 1.5 times", "overcommit", "auto require"),
        ({}, "2", "the over-commit ratio cannot be told", "overcommit_unknown", "auto require"),
    ],
)
@pytest.mark.parametrize("mode", ["auto", "require", "warn", "off"])
def test_pools(figures: dict[str, t.Any], ratio: t.Any, words: str | None, code: str, stops: str, mode: str) -> None:
    made = planned(measured(**figures), BOTH, headroom=mode, overcommit_ratio=ratio)
    blocked = mode in stops.split()
    assert made["blocked"] is blocked
    assert [codes(made, number) for number in (0, 1)] == [[code] * blocked] * 2
    told = [line for line in made["lines"] if words and words in line]
    assert len(told) == (0 if words is None or mode == "off" else 2 if blocked else 1)
    assert [entry["growth_bytes"] for entry in made["pools"]] == ([] if mode == "off" else [300 * GIB])


def test_a_volume_that_has_its_size_or_is_blocked_needs_no_room() -> None:
    found = measured(free_bytes=100 * GIB)
    assert planned(found, BOTH)["blocked"]
    disk_of(found, read_only=True)
    assert planned(found, f"{ONE} 900G\n{TWO} 200G", on_blocked="skip")["skipped"] == [ONE]
    found = measured(nearfull=True)
    for name in ("t1", "t2"):
        found[name]["target"]["bdevs"][0].update(image_bytes=200 * GIB)
    assert codes(planned(found)) == [], "its image has grown in an earlier run"


def test_of_two_answers_the_one_that_leaves_less_room_counts_and_one_is_enough() -> None:
    found = measured(**UNKNOWN)
    assert planned(found, headroom="require")["blocked"]
    client = {"fsid": FSID, "images": [], "pools": [pool(free_bytes=10**13)]}
    found["c1"] = {"images": client, "errors": {}}
    assert not planned(found, headroom="require")["blocked"]
    found["t1"]["target"]["pools"] = [pool(free_bytes=1)]
    assert planned(found)["blocked"]


@pytest.mark.parametrize(("option", "value"), [("headroom", "maybe"), ("overcommit_ratio", "much"), ("overcommit_ratio", "0"), ("overcommit_ratio", "nan")])
def test_options_that_cannot_be_meant(option: str, value: str) -> None:
    with pytest.raises(GrowthError, match=value):
        planned(measured(), **{option: value})


def test_figures_of_a_ceph_client_arrive() -> None:
    hostvars = {"c1": {"volume_growth__images": {"fsid": FSID, "images": [], "pools": [pool()]}}}
    assert measurements_of(hostvars, {"images": ["c1"]})["c1"]["images"] == {"fsid": FSID, "images": [], "pools": [pool()]}


# -- cost ----------------------------------------------------------------------------------------------------------------


def many(volumes: int, hosts: int) -> Measured:
    """Two targets that export all volumes; every host is connected to both and shows them all, each with the disks of some."""
    numbers = range(1, volumes + 1)
    found: Measured = {}
    for name in ("t1", "t2"):
        entry = made_up.target(name, "a", numbers)
        entry.update(pools=[pool(free_bytes=10**16)], hazards=hazards(ReleaseTable((24, 1))))
        entry["problems"] = [{"object": f"Ceph-host-rbd-img-{n}", "hop": "bdev", "problem": "odd", "remedy": "", "severity": "warning"} for n in numbers]
        found[name] = {"target": entry, "errors": {}}
    for place in range(hosts):
        shown = [n for n in numbers if n % hosts == place or place % volumes == n - 1]
        facts = made_up.host("h1", "a", ("t1", "t2"), [])
        facts["namespaces"] = [made_up.device(n, n, "a", ("t1", "t2")) for n in shown]
        found[f"h{place}"] = {"host": facts, "disks": [made_up.disk(n, n) for n in shown], "errors": {}}
    return found


def calls(volumes: int, hosts: int) -> int:
    """How many calls joining and planning take, whatever the machine is doing meanwhile."""
    found, count = many(volumes, hosts), 0
    text = "\n".join(f"pool-1/host-rbd-img-{n} 200G" for n in range(1, volumes + 1))

    def step(_frame: t.Any, event: str, _argument: t.Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(step)
    try:
        made = planned(found, text)
    finally:
        sys.setprofile(None)
    assert len(made["volumes"]) == volumes and sum(len(work) for work in made["targets"].values()) == 2 * volumes
    return count


def test_the_cost_of_a_plan_grows_no_faster_than_volumes_times_hosts() -> None:
    small = calls(20, 20)
    assert calls(20, 80) < 4.5 * small
    assert calls(80, 20) < 4.5 * small


def test_images_of_many_bdevs_are_listed_once() -> None:
    hostvars = {name: {"volume_growth__target": {"target": facts["target"]}} for name, facts in many(40, 2).items() if "target" in facts}
    assert len(exported_images(hostvars, ["t1", "t2"])) == 40
