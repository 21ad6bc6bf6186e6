# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""From measurements to volumes, verdicts, plans and outcomes."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import CapacityError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth import GrowthError, audit, outcome, plan, resolve
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._select import SelectError, address_in, select
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._verdict import judge, table_lines
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._volumes import build, measurements_of

GIB = 1024**3
UUID = "0a1b2c3d-0000-5000-8000-000000000001"
OTHER = "0a1b2c3d-0000-5000-8000-000000000002"
NQN = "nqn.2016-06.io.spdk:cnode1"


def target(image: str = "vol-1", uuid: str = UUID, size: int = GIB, image_bytes: int | None = GIB, **more: t.Any) -> dict[str, t.Any]:
    bdev = {
        "name": "Ceph-" + image,
        "uuid": uuid,
        "size_bytes": size,
        "pool": "pool-1",
        "rados_namespace": "",
        "image": image,
        "image_bytes": image_bytes,
        "image_error": None if image_bytes is not None else "no keyring",
        "watched": True,
    }
    return {
        "fsid": "11111111-2222-4333-8444-555555555555",
        "bdevs": [bdev],
        "subsystems": [
            {
                "nqn": NQN,
                "listeners": [{"traddr": "192.0.2.1", "trsvcid": port} for port in ("4420", "4421")],
                "namespaces": [{"nsid": 1, "bdev": "Ceph-" + image, "uuid": uuid, "nguid": uuid.replace("-", "")}],
            }
        ],
        "problems": [],
        **more,
    }


def host(uuid: str = UUID, size: int = GIB, states: t.Sequence[str] = ("live", "live")) -> dict[str, t.Any]:
    paths = [
        {
            "controller": f"nvme{n}",
            "traddr": "192.0.2.1",
            "trsvcid": str(4420 + n),
            "transport": "tcp",
            "state": state,
            "ana_state": "optimized",
            "size_bytes": size,
        }
        for n, state in enumerate(states)
    ]
    return {
        "namespaces": [
            {
                "uuid": uuid,
                "nqn": NQN,
                "nsid": 1,
                "device": "/dev/nvme0n1",
                "by_id": "/dev/disk/by-id/nvme-uuid." + uuid,
                "size_bytes": size,
                "holders": [],
                "paths": paths,
            }
        ]
    }


def disk(uuid: str = UUID, size: int = GIB, physical: int = GIB, guest: int | None = GIB, **more: t.Any) -> dict[str, t.Any]:
    return {
        "domain": "g1",
        "target": "vda",
        "domain_state": "running",
        "namespace_uuid": uuid,
        "capacity_bytes": size,
        "physical_bytes": physical,
        "held": True,
        "guest_bytes": guest,
        "guest_device": "vda" if guest else None,
        "guest_error": None,
        "problems": [],
        **more,
    }


def fleet(**more: t.Any) -> dict[str, dict[str, t.Any]]:
    found = {"t1": {"target": target(), "errors": {}}, "h1": {"host": host(), "disks": [disk()], "errors": {}}}
    found.update(more)
    return found


def verdict(measurements: dict[str, dict[str, t.Any]], wanted: int | None = None) -> str:
    (volume,) = build(measurements)
    return judge(volume, wanted)["verdict"]


def test_every_hop_of_a_healthy_volume_is_ok() -> None:
    (volume,) = build(fleet())
    assert volume["volume"] == "pool-1/vol-1"
    assert judge(volume)["verdict"] == "ok"
    assert {hop: len(readings) for hop, readings in volume["readings"].items()} == {
        "image": 1,
        "bdev": 1,
        "namespace": 1,
        "path": 2,
        "device": 1,
        "disk": 1,
        "guest": 1,
    }


@pytest.mark.parametrize(
    ("hop", "measurements"),
    [
        ("bdev", fleet(t1={"target": target(image_bytes=2 * GIB), "errors": {}})),
        ("path", fleet(t1={"target": target(size=2 * GIB, image_bytes=2 * GIB), "errors": {}})),
        (
            "disk",
            fleet(
                t1={"target": target(size=2 * GIB, image_bytes=2 * GIB), "errors": {}},
                h1={"host": host(size=2 * GIB), "disks": [disk(physical=2 * GIB)], "errors": {}},
            ),
        ),
        (
            "guest",
            fleet(
                t1={"target": target(size=2 * GIB, image_bytes=2 * GIB), "errors": {}},
                h1={"host": host(size=2 * GIB), "disks": [disk(size=2 * GIB, physical=2 * GIB)], "errors": {}},
            ),
        ),
    ],
)
def test_the_first_hop_below_the_image_lags(hop: str, measurements: dict[str, dict[str, t.Any]]) -> None:
    assert verdict(measurements) == f"lagging at {hop}"


def test_what_nobody_read_is_unproven() -> None:
    assert verdict(fleet(t1={"target": target(image_bytes=None), "errors": {}})) == "unproven at image"
    assert verdict(fleet(h1={"host": host(), "disks": [disk(guest=None)], "errors": {}})) == "unproven at guest"
    assert verdict(fleet(h1={"host": host(states=("live", "connecting")), "disks": [disk()], "errors": {}})) == "unproven at path"
    assert verdict(fleet(h2={"errors": {"host": "host unreachable: timed out", "disks": "host unreachable: timed out"}})) == "unproven at device"
    assert verdict(fleet(t2={"errors": {"target": "host unreachable: timed out"}})) == "unproven at bdev"


def test_a_connected_host_without_the_device_is_unproven_not_ok() -> None:
    """Controllers can be live without a usable path (clashing UUIDs, an ANA group that is never live)."""
    controllers = [{"name": "nvme0", "nqn": NQN, "state": "live"}]
    measurements = fleet(h2={"host": {"namespaces": [], "controllers": controllers}, "errors": {}})
    (volume,) = build(measurements)
    assert judge(volume)["verdict"] == "unproven at device"
    assert "connected to the subsystem by nvme0" in judge(volume)["reasons"][0]
    assert "h2" not in plan([volume], "2G")["initiators"]


def test_silence_counts_only_where_the_inventory_allows_for_the_volume() -> None:
    measurements = fleet(h2={"errors": {"host": "host unreachable"}}, t2={"errors": {"target": "host unreachable"}})
    (volume,) = build(measurements, {"h2": {"nqns": ["nqn.other"]}, "t2": {"images": ["pool-1/else"]}})
    assert judge(volume)["verdict"] == "ok"
    (volume,) = build(measurements, {"h2": {"nqns": [NQN]}, "t2": {"images": ["pool-1/else"]}})
    assert judge(volume)["verdict"] == "unproven at device"


def test_critical_states() -> None:
    assert verdict(fleet(t1={"target": target(image_bytes=GIB // 2), "errors": {}})).startswith("critical: image smaller than bdev")
    assert verdict(fleet(h1={"host": host(), "disks": [disk(size=2 * GIB)], "errors": {}})).startswith("critical: QEMU's disk has")
    dead = disk(problems=[{"problem": "QEMU holds a dead device", "remedy": "shut it down", "severity": "critical"}])
    assert verdict(fleet(h1={"host": host(), "disks": [dead], "errors": {}})) == "critical: QEMU holds a dead device"


def test_one_image_under_two_uuids_and_one_uuid_on_two_images_are_critical() -> None:
    assert "several namespace UUIDs" in verdict(fleet(t2={"target": target(uuid=OTHER), "errors": {}}))
    volumes = build(fleet(t2={"target": target(image="vol-2"), "errors": {}}))
    assert [judge(volume)["verdict"].split(": ")[0] for volume in volumes] == ["critical", "critical"]


def test_a_namespace_that_no_target_exports_is_an_orphan_unless_a_target_is_silent() -> None:
    measurements = fleet(h2={"host": host(uuid=OTHER), "errors": {}})
    assert [judge(volume)["verdict"] for volume in build(measurements)] == ["ok", "orphan"]
    measurements["t2"] = {"errors": {"target": "host unreachable"}}
    assert [volume.get("orphan") for volume in build(measurements)] == [None]


def test_an_orphan_shows_all_that_hosts_and_domains_have_of_it() -> None:
    """Who asks what a device is must learn who uses it, too."""
    (_known, orphan) = build(fleet(h2={"host": host(uuid=OTHER), "disks": [disk(uuid=OTHER, source="/dev/nvme0n1")], "errors": {}}))
    assert {hop: [reading["bytes"] for reading in readings] for hop, readings in orphan["readings"].items() if readings} == {
        "path": [GIB, GIB],
        "device": [GIB],
        "disk": [GIB],
        "guest": [GIB],
    }
    assert [(item["host"], item["object"], item["source"]) for item in orphan["attached"]] == [("h2", "g1:vda", "/dev/nvme0n1")]
    assert orphan["uuid"] == OTHER and judge(orphan)["verdict"] == "orphan"


def test_a_namespace_of_another_kind_of_bdev_is_no_orphan() -> None:
    """A target exports it; it only has no image, and so no row."""
    exporting = target()
    exporting["bdevs"].append({"name": "Nvme0n1", "product": "NVMe disk", "uuid": OTHER, "size_bytes": GIB, "image": None, "pool": None})
    exporting["subsystems"][0]["namespaces"].append({"nsid": 2, "bdev": "Nvme0n1", "uuid": OTHER})
    measurements = fleet(t1={"target": exporting, "errors": {}}, h2={"host": host(uuid=OTHER), "errors": {}})
    assert [volume["volume"] for volume in build(measurements)] == ["pool-1/vol-1"]


def test_a_host_that_a_namespace_is_hidden_from_lacks_nothing() -> None:
    """auto_visible=false and a list of hosts: the others are connected to the subsystem and show no device, as they should."""
    controllers = [{"name": "nvme0", "nqn": NQN, "state": "live"}]
    hidden = target()
    hidden["subsystems"][0]["namespaces"][0].update(auto_visible=False, hosts=["nqn.host:h1"])
    other = {"hostnqn": "nqn.host:h2", "namespaces": [], "controllers": controllers}
    assert verdict(fleet(t1={"target": hidden, "errors": {}}, h2={"host": other, "errors": {}})) == "ok"
    hidden["subsystems"][0]["namespaces"][0]["hosts"].append("nqn.host:h2")
    assert verdict(fleet(t1={"target": hidden, "errors": {}}, h2={"host": other, "errors": {}})) == "unproven at device"


def test_a_target_without_a_ceph_client_is_joined_by_name_and_read_by_another_client() -> None:
    blind = target(image_bytes=None)
    blind["fsid"] = None
    measurements = fleet(
        t2={"target": blind, "errors": {}},
        c1={
            "images": {"fsid": target()["fsid"], "images": [{"pool": "pool-1", "rados_namespace": "", "image": "vol-1", "exists": True, "size_bytes": GIB}]},
            "errors": {},
        },
    )
    (volume,) = build(measurements)
    assert [reading["host"] for reading in volume["readings"]["bdev"]] == ["t1", "t2"]
    assert {reading["host"] for reading in volume["readings"]["image"]} == {"t1", "c1"}


def two_volumes() -> list[dict[str, t.Any]]:
    second = target(image="vol-2", uuid=OTHER)
    second["subsystems"][0]["nqn"] = NQN + "2"
    return build(fleet(t2={"target": second, "errors": {}}))


@pytest.mark.parametrize(
    "handle",
    [
        "pool-1/vol-1",
        "Ceph-vol-1",
        "t1:Ceph-vol-1",
        UUID,
        UUID.upper(),
        NQN + "#1",
        "/dev/nvme0n1",
        "h1:/dev/nvme0n1",
        "/dev/disk/by-id/nvme-uuid." + UUID,
        "g1:vda",
        "h1:g1:vda",
    ],
)
def test_any_handle_finds_the_volume(handle: str) -> None:
    assert [volume["volume"] for volume in resolve(two_volumes(), handle)] == ["pool-1/vol-1"]


def test_handles_that_do_not_decide_are_errors_that_list_the_volumes() -> None:
    with pytest.raises(GrowthError, match="2 volumes.*pool-1/vol-1.*pool-1/vol-2"):
        resolve(two_volumes(), "")
    with pytest.raises(GrowthError, match="'nope' was not found.*pool-1/vol-1"):
        resolve(two_volumes(), ["nope"])
    with pytest.raises(GrowthError, match="no target of the inventory exports"):
        resolve([], None)
    with pytest.raises(GrowthError, match="not heard: t1 \\(target\\): host unreachable"):
        resolve([], None, ["t1 (target): host unreachable"])
    both = two_volumes()
    both[1]["readings"]["device"] = copy.deepcopy(both[0]["readings"]["device"])
    with pytest.raises(GrowthError, match="ambiguous"):
        resolve(both, "/dev/nvme0n1")


def test_the_only_volume_needs_no_handle() -> None:
    assert [volume["volume"] for volume in resolve(build(fleet()), "")] == ["pool-1/vol-1"]


def test_a_plan_names_every_lagging_hop_and_hands_out_work_by_host() -> None:
    made = plan(build(fleet()), "2G")
    assert [(step["hop"], step["host"]) for step in made["volumes"][0]["steps"]] == [
        ("image", "t1"),
        ("bdev", "t1"),
        ("path", "h1"),
        ("path", "h1"),
        ("device", "h1"),
        ("disk", "h1"),
        ("guest", "h1"),
    ]
    size = f"{2 * GIB}B"
    assert made["targets"] == {"t1": [{"name": "Ceph-vol-1", "state": "grown", "size": size}]}
    assert made["initiators"] == {"h1": [{"uuid": UUID, "size": size}]}
    assert made["hypervisors"] == {"h1": [{"uuid": UUID, "size": size}]}
    assert made["needed"] and not made["blocked"]


def test_a_larger_image_is_satisfied_but_its_lagging_hops_are_brought_up_to_it() -> None:
    measurements = fleet(t1={"target": target(size=4 * GIB, image_bytes=4 * GIB), "errors": {}})
    made = plan(build(measurements), "2G")
    assert made["initiators"]["h1"][0]["size"] == f"{4 * GIB}B"
    measurements["h1"] = {"host": host(size=4 * GIB), "disks": [disk(size=4 * GIB, physical=4 * GIB, guest=4 * GIB)], "errors": {}}
    made = plan(build(measurements), "2G")
    assert not made["needed"] and "already larger" in made["lines"][0]
    assert plan(build(measurements), "2G", exact=True)["volumes"][0]["verdict"].startswith("blocked: the image has 4 GiB")


@pytest.mark.parametrize(
    ("measurements", "text"),
    [
        (fleet(t1={"target": target(image_bytes=None), "errors": {}}), "nobody can read the image's true size"),
        (fleet(t2={"errors": {"target": "host unreachable: no route"}}), "target t2 cannot be read: host unreachable: no route"),
        (fleet(h1={"host": host(states=("live", "connecting")), "disks": [disk()], "errors": {}}), "the path is connecting"),
        (fleet(t1={"target": target(image_bytes=GIB // 2), "errors": {}}), "image smaller than bdev"),
    ],
)
def test_blockers_stop_the_plan_and_give_no_work(measurements: dict[str, dict[str, t.Any]], text: str) -> None:
    made = plan(build(measurements), "2G")
    assert made["blocked"] and not made["targets"] and not made["initiators"]
    assert any(text in line for line in made["lines"])


def test_degraded_growth_goes_on_with_what_lives() -> None:
    measurements = fleet(t2={"errors": {"target": "host unreachable"}}, h1={"host": host(states=("live", "connecting")), "disks": [disk()], "errors": {}})
    made = plan(build(measurements), "2G", allow_degraded=True)
    assert not made["blocked"] and list(made["targets"]) == ["t1"]


@pytest.mark.parametrize("size", ["800", "800X", "-1G", "17592186044416M", "", None, "1000000B"])
def test_impossible_sizes_are_refused_before_anything(size: t.Any) -> None:
    with pytest.raises(CapacityError):
        plan(build(fleet()), size)


def test_a_target_without_ceph_leaves_the_image_to_a_ceph_client() -> None:
    measurements = fleet(
        t1={"target": target(image_bytes=None), "errors": {}},
        c1={"images": {"fsid": target()["fsid"], "images": [{"pool": "pool-1", "image": "vol-1", "exists": True, "size_bytes": GIB}]}, "errors": {}},
    )
    made = plan(build(measurements), "2G")
    assert made["targets"]["t1"][0]["image_size"] == f"{2 * GIB}B"
    assert made["images"] == {"c1": [{"pool": "pool-1", "rados_namespace": "", "image": "vol-1", "state": "grown", "size": f"{2 * GIB}B"}]}


def test_the_outcome_fails_on_what_still_lags_and_forgives_only_a_guest_without_agent() -> None:
    made = plan(build(fleet()), "2G")
    assert outcome(build(fleet()), made)["failed"][0].startswith("pool-1/vol-1: lagging at image")
    grown = fleet(
        t1={"target": target(size=2 * GIB, image_bytes=2 * GIB), "errors": {}},
        h1={"host": host(size=2 * GIB), "disks": [disk(size=2 * GIB, physical=2 * GIB, guest=None)], "errors": {}},
    )
    result = outcome(build(grown), made)
    assert result["failed"] == [] and result["volumes"][0]["verdict"] == "unproven at guest"
    assert result["volumes"][0]["before_bytes"]["image"] == GIB
    assert outcome(build(grown), made, guest_required=True)["failed"]
    assert outcome([], made)["failed"][0].startswith("pool-1/vol-1: unproven at bdev")


def test_the_table_counts_readings_and_marks_gaps() -> None:
    measurements = fleet(h2={"host": host(size=2 * GIB), "errors": {"disks": "libvirt is down"}})
    lines = table_lines(audit(build(measurements)))
    assert lines[0].split()[:3] == ["volume", "image", "bdev"]
    assert f"{GIB} (1/2)" in lines[1]


def test_measurements_remember_hosts_that_did_not_answer() -> None:
    hostvars = {
        "t1": {"volume_growth__target": {"target": {"bdevs": []}}},
        "t2": {"volume_growth__target": {"unreachable": True, "msg": "no route"}},
        "t3": {"volume_growth__target": {"failed": False, "msg": "socket absent"}},
        "t4": {},
    }
    found = measurements_of(hostvars, {"target": ["t1", "t2", "t3", "t4", "t5"]})
    assert found["t1"]["target"] == {"bdevs": []}
    assert found["t2"]["errors"] == {"target": "host unreachable: no route"}
    assert found["t3"]["errors"] == {"target": "socket absent"}
    assert "not measured" in found["t4"]["errors"]["target"] and "not measured" in found["t5"]["errors"]["target"]
    assert "lost during this run" in measurements_of(hostvars, {"target": ["t1"]}, answering=["t2"])["t1"]["errors"]["target"]


def test_selection_by_jmespath() -> None:
    rows = audit(two_volumes())
    assert [row["volume"] for row in select(rows, "[?pool=='pool-1' && image == 'vol-2' && image_bytes < `107374182400`]")] == ["pool-1/vol-2"]
    with pytest.raises(SelectError, match="not valid JMESPath"):
        select(rows, "[?pool==")
    with pytest.raises(SelectError, match="must keep whole volumes"):
        select(rows, "[].image")


def test_addresses_by_network() -> None:
    assert address_in(["192.168.1.5/24", "10.1.1.7"], "10.1.1.0/24") == "10.1.1.7"
    assert address_in(["fd00:1::7", "10.1.1.7"], "fd00:1::/64") == "fd00:1::7"
    for addresses, network, text in (
        ([], "10.0.0.0/8", "no address of none"),
        (["10.0.0.1", "10.0.0.2"], "10.0.0.0/8", "several"),
        (["x"], "10.0.0.0/8", "not an IP"),
        ([], "x", "not a network"),
    ):
        with pytest.raises(SelectError, match=text):
            address_in(addresses, network)


# -- a lease that another run holds ----------------------------------------------------------------------------------

LEASE = {"owner": "job-9@t1", "by": "root@t1:7", "since": "2026-01-01T12:00:00Z", "duration_seconds": 120, "remaining_seconds": 90}


def leased(**more: t.Any) -> list[dict[str, t.Any]]:
    measurements = fleet()
    measurements["t1"]["target"]["bdevs"][0]["lease"] = {**LEASE, **more}
    return build(measurements)


def test_a_lease_of_another_run_blocks_a_plan_that_does_not_wait() -> None:
    (volume,) = leased()
    assert volume["lease"] == LEASE
    found = plan([volume], "2G")
    assert found["blocked"] and not found["targets"]
    (line,) = [line for line in found["lines"] if "BLOCKED" in line]
    assert "held by another run: job-9@t1 (root@t1:7) since 2026-01-01T12:00:00Z, for another 90 s" in line and "ends by itself" in line
    assert plan([volume], "2G", lease_wait=89)["blocked"]
    assert plan(leased(remaining_seconds=None), "2G", lease_wait=1000)["blocked"]


def test_a_lease_is_waited_for_taken_over_or_of_no_interest() -> None:
    waiting = plan(leased(), "2G", lease_wait=90)
    assert not waiting["blocked"] and waiting["targets"] and any(line.endswith("waited for") for line in waiting["lines"])
    own = plan(leased(), "2G", lease_owner="job-9")
    assert not own["blocked"] and any(line.endswith("taken over") for line in own["lines"])
    assert plan(leased(), "2G", lease_owner="job")["blocked"], "another owner that begins alike"
    nothing = plan(leased(), "1G")
    assert not nothing["blocked"] and not any("lease" in line for line in nothing["lines"])


def test_of_two_readings_of_a_lease_the_longer_one_counts() -> None:
    measurements = fleet(t2={"target": target(), "errors": {}})
    measurements["t1"]["target"]["bdevs"][0]["lease"] = {**LEASE, "remaining_seconds": 5}
    measurements["t2"]["target"]["bdevs"][0]["lease"] = LEASE
    (volume,) = build(measurements)
    assert volume["lease"]["remaining_seconds"] == 90
    entry = {"pool": "pool-1", "rados_namespace": None, "image": "vol-1", "exists": True, "size_bytes": GIB, "error": None}
    measurements["c1"] = {"images": {"fsid": None, "images": [{**entry, "lease": {**LEASE, "remaining_seconds": None}}]}, "errors": {}}
    (volume,) = build(measurements)
    assert volume["lease"]["remaining_seconds"] is None
