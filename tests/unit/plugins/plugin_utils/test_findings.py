# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault put into a healthy fleet is found, at its place, and nothing else is."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._findings import findings
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth import audit
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._volumes import build
from ansible_collections.nvmeof.spdk.tests.fixtures.fleet import GIB, SIZE, bdev, fleet, namespace, nqn, uuid

Fleet = t.Dict[str, t.Dict[str, t.Any]]


def found_in(measurements: Fleet) -> list[dict[str, t.Any]]:
    return findings(measurements, build(measurements))


def bdevs(measurements: Fleet, name: str) -> list[dict[str, t.Any]]:
    return measurements[name]["target"]["bdevs"]


def subsystem(measurements: Fleet, name: str) -> dict[str, t.Any]:
    return measurements[name]["target"]["subsystems"][0]


def devices(measurements: Fleet, name: str) -> list[dict[str, t.Any]]:
    return measurements[name]["host"]["namespaces"]


def resize(measurements: Fleet, number: int, size: int, *, leaving: t.Container[str] = ()) -> None:
    """Volume ``number`` everywhere at ``size`` bytes, except in the bdevs of the targets in ``leaving``."""
    for name, measured in measurements.items():
        for item in (measured.get("target") or {}).get("bdevs") or []:
            if item["uuid"] == uuid(number):
                item["image_bytes"] = size
                if name not in leaving:
                    item["size_bytes"] = size
        for item in (measured.get("host") or {}).get("namespaces") or []:
            if item["uuid"] == uuid(number):
                item["size_bytes"] = size
                for path in item["paths"]:
                    path["size_bytes"] = size
        for item in measured.get("disks") or []:
            if item["namespace_uuid"] == uuid(number):
                item.update(capacity_bytes=size, physical_bytes=size, guest_bytes=size)


def namespace_that_nobody_connects(measurements: Fleet) -> None:
    bdevs(measurements, "t1").append(bdev(9))
    other = {**subsystem(measurements, "t1"), "nqn": "nqn.2026-01.org.example:spare", "serial_number": "SPARE", "namespaces": [namespace(9, 1)]}
    measurements["t1"]["target"]["subsystems"].append(other)


def device_that_nobody_uses(measurements: Fleet) -> None:
    measurements["h2"]["disks"] = []


def disk_by_kernel_name(measurements: Fleet) -> None:
    measurements["h1"]["disks"][0].update(source="/dev/nvme0n1", problems=[{"code": "unstable_name", "problem": "x", "remedy": "y", "severity": "warning"}])


def disk_by_path(measurements: Fleet) -> None:
    measurements["h1"]["disks"][0]["source"] = "/dev/disk/by-path/pci-0000:00:04.0-nvme-1"


def disk_by_serial_number(measurements: Fleet) -> None:
    measurements["h1"]["disks"][0]["source"] = "/dev/disk/by-id/nvme-SPDK_bdev_Controller_SPDKA0001"


def disk_by_device_number(measurements: Fleet) -> None:
    measurements["h1"]["disks"][0]["source"] = "/dev/block/259:3"


def two_images_with_one_uuid(measurements: Fleet) -> None:
    for name in ("t3", "t4"):
        subsystem(measurements, name)["namespaces"][0].update(uuid=uuid(1), nguid=uuid(1).replace("-", ""))
        bdevs(measurements, name)[0]["uuid"] = uuid(1)
    for name in ("h4", "h5", "h6"):
        devices(measurements, name)[0]["uuid"] = uuid(1)
    measurements["h4"]["disks"][0].update(namespace_uuid=uuid(1), source="/dev/disk/by-id/nvme-uuid." + uuid(1))


def images_of_one_name_in_two_clusters(measurements: Fleet) -> None:
    measurements["t2"]["target"]["fsid"] = "99999999-2222-4333-8444-555555555555"
    for item in bdevs(measurements, "t2")[1:]:
        item["image"] += "-b"  # one pair of names is enough


def one_image_in_two_subsystems(measurements: Fleet) -> None:
    other = {**subsystem(measurements, "t1"), "nqn": "nqn.2026-01.org.example:again", "serial_number": "AGAIN", "namespaces": [namespace(1, 7)]}
    measurements["t1"]["target"]["subsystems"].append(other)


def two_devices_with_one_uuid(measurements: Fleet) -> None:
    twin = copy.deepcopy(devices(measurements, "h1")[0])
    twin.update(nqn="nqn.2020-01.org.example:foreign", device="/dev/nvme4n1")
    devices(measurements, "h1").append(twin)
    measurements["h1"]["host"]["problems"].append({"object": uuid(1), "hop": "namespace", "problem": "claimed", "remedy": "x", "severity": "critical"})


def image_smaller_than_its_bdev(measurements: Fleet) -> None:
    for name in ("t1", "t2"):
        bdevs(measurements, name)[1]["image_bytes"] = SIZE // 2


def capacity_above_physical(measurements: Fleet) -> None:
    measurements["h3"]["disks"][0].update(physical_bytes=SIZE // 2)


def stale_target(measurements: Fleet) -> None:
    resize(measurements, 6, 2 * SIZE, leaving=("t4",))
    told = {"object": bdevs(measurements, "t4")[1]["name"], "hop": "bdev", "problem": "shows less", "remedy": "wait", "severity": "warning"}
    measurements["t4"]["target"]["problems"].append(told)


def stale_target_that_nobody_reaches(measurements: Fleet) -> None:
    resize(measurements, 6, 2 * SIZE, leaving=("t4",))
    subsystem(measurements, "t4")["listeners"][0]["traddr"] = "192.0.2.99"


def stale_path(measurements: Fleet) -> None:
    resize(measurements, 5, 2 * SIZE)
    devices(measurements, "h4")[0]["paths"][1]["size_bytes"] = SIZE


def device_above_what_is_served(measurements: Fleet) -> None:
    devices(measurements, "h4")[0]["size_bytes"] = 2 * SIZE
    for path in devices(measurements, "h4")[0]["paths"]:
        path["size_bytes"] = 2 * SIZE


def blocklisted_target(measurements: Fleet) -> None:
    told = {
        "object": bdevs(measurements, "t2")[2]["name"],
        "hop": "image",
        "problem": "Ceph has blocklisted a client",
        "remedy": "restart",
        "severity": "critical",
    }
    measurements["t2"]["target"]["problems"].append(told)


def target_that_is_silent_behind_live_paths(measurements: Fleet) -> None:
    measurements["t2"] = {"errors": {"target": "no answer within 5 s"}}


def target_that_is_silent_and_left(measurements: Fleet) -> None:
    target_that_is_silent_behind_live_paths(measurements)
    for name in ("h1", "h2", "h3"):
        for item in devices(measurements, name):
            item["paths"][1]["state"] = "connecting"


def dead_device(measurements: Fleet) -> None:
    measurements["h5"]["disks"][0].update(held=False, problems=[{"code": "held", "problem": "x", "remedy": "y", "severity": "critical"}])


def device_that_is_gone(measurements: Fleet) -> None:
    told = [{"code": code, "problem": "x", "remedy": "y", "severity": "critical"} for code in ("held", "no_device")]
    measurements["h5"]["disks"][0].update(held=False, device=None, problems=told)


def other_serial_number(measurements: Fleet) -> None:
    subsystem(measurements, "t2")["serial_number"] = "OTHER"


def other_nguid(measurements: Fleet) -> None:
    subsystem(measurements, "t2")["namespaces"][0]["nguid"] = "f" * 32


def other_image_by_one_nsid(measurements: Fleet) -> None:
    one, other = subsystem(measurements, "t2")["namespaces"][:2]
    one["nsid"], other["nsid"] = other["nsid"], one["nsid"]


def namespace_of_another_kind(measurements: Fleet) -> None:
    bdevs(measurements, "t1").append({"name": "Nvme0n1", "uuid": uuid(9), "product": "NVMe disk", "size_bytes": SIZE, "claimed": True, "image": None})
    subsystem(measurements, "t1")["namespaces"].append({**namespace(9, 9), "bdev": "Nvme0n1"})
    local = copy.deepcopy(devices(measurements, "h1")[0])
    local.update(uuid=uuid(9), nsid=9, device="/dev/nvme0n9", mounts=["/srv"])
    devices(measurements, "h1").append(local)


def namespace_that_strangers_connect(measurements: Fleet) -> None:
    namespace_that_nobody_connects(measurements)
    measurements["t1"]["target"]["subsystems"][1]["controllers"] = [{"cntlid": 1, "hostnqn": "nqn.host:stranger"}]


def namespace_that_a_connected_host_lacks(measurements: Fleet) -> None:
    namespace_that_nobody_connects(measurements)
    nqn_of_it = measurements["t1"]["target"]["subsystems"][1]["nqn"]
    measurements["h1"]["host"]["controllers"].append({"name": "nvme7", "nqn": nqn_of_it, "transport": "tcp", "state": "live"})


def one_range_of_controller_ids(measurements: Fleet) -> None:
    for name in ("t1", "t2"):
        subsystem(measurements, name).update(min_cntlid=1, max_cntlid=65519)


def cloned_host(measurements: Fleet) -> None:
    for key in ("hostnqn", "hostid"):
        measurements["h6"]["host"][key] = measurements["h1"]["host"][key]


def bdev_that_no_namespace_uses(measurements: Fleet) -> None:
    bdevs(measurements, "t3").append({**bdev(10), "claimed": False})


def luks_between(measurements: Fleet) -> None:
    layer = {"name": "luks-vm1", "device": "/dev/dm-0", "kind": "dm-crypt", "size_bytes": SIZE - 16 * 1024**2, "on": ["/dev/nvme0n1"]}
    devices(measurements, "h1")[0].update(layers=[layer], holders=["dm-0"])
    small = SIZE - 16 * 1024**2
    measurements["h1"]["disks"][0].update(
        source="/dev/mapper/luks-vm1", device="/dev/dm-0", layers=["luks-vm1"], capacity_bytes=small, physical_bytes=small, guest_bytes=small
    )


def path_that_is_down(measurements: Fleet) -> None:
    measurements["h2"]["host"]["problems"].append({"object": "nvme1", "hop": "path", "problem": "connecting", "remedy": "x", "severity": "warning"})
    for item in devices(measurements, "h2"):
        item["paths"][1]["state"] = "connecting"


def silent_host(measurements: Fleet) -> None:
    measurements["h3"] = {"errors": {"host": "host unreachable: no route", "disks": "host unreachable: no route"}}


def read_only_disk(measurements: Fleet) -> None:
    measurements["h3"]["disks"][0]["problems"].append({"code": "read_only", "problem": "read-only", "remedy": "x", "severity": "blocker"})


#: The seed, and what must be found: severity, kind, host, object.
SEEDS: list[tuple[t.Callable[[Fleet], None], list[tuple[str, str, str, str]]]] = [
    (namespace_that_nobody_connects, [("info", "namespace-unused", "t1", "nqn.2026-01.org.example:spare#1")]),
    (device_that_nobody_uses, [("info", "device-unused", "h1, h2, h3", "/dev/nvme0n2")]),
    (disk_by_kernel_name, [("warning", "unstable-name", "h1", "vm1:vdb")]),
    (disk_by_path, [("warning", "unstable-name", "h1", "vm1:vdb")]),
    (disk_by_serial_number, [("warning", "unstable-name", "h1", "vm1:vdb")]),
    (disk_by_device_number, [("warning", "unstable-name", "h1", "vm1:vdb")]),
    (namespace_of_another_kind, [("info", "no-image", "t1", "Nvme0n1")]),
    (namespace_that_strangers_connect, [("info", "namespace-unused", "t1", "nqn.2026-01.org.example:spare#1")]),
    (namespace_that_a_connected_host_lacks, [("info", "namespace-unused", "t1", "nqn.2026-01.org.example:spare#1")]),
    (target_that_is_silent_behind_live_paths, [("warning", "silent-target", "t2", "t2")]),
    (target_that_is_silent_and_left, [("warning", "not-heard", "t2", "t2")]),
    (
        images_of_one_name_in_two_clusters,
        [("critical", "identity-differs", "t1, t2", f"{nqn('a')}#{nsid}") for nsid in (1, 2, 3, 4)]
        + [("critical", "uuid-twice", "t1, t2", uuid(number)) for number in (1, 2, 3, 4)],
    ),
    (
        other_image_by_one_nsid,
        [("critical", "identity-differs", "t1, t2", f"{nqn('a')}#{nsid}") for nsid in (1, 2)]
        + [("critical", "uuid-twice", "t1, t2", uuid(number)) for number in (1, 2)],
    ),
    (two_images_with_one_uuid, [("critical", "uuid-twice", "t1, t2, t3, t4", uuid(1))]),
    (one_image_in_two_subsystems, [("critical", "uuid-twice", "t1, t2", uuid(1))]),
    (two_devices_with_one_uuid, [("critical", "uuid-twice", "h1", uuid(1))]),
    (
        image_smaller_than_its_bdev,
        [("critical", "image-smaller", "t1", "Ceph-host-rbd-img-2"), ("critical", "image-smaller", "t2", "Ceph-host-rbd-img-2")],
    ),
    (capacity_above_physical, [("critical", "capacity-above-physical", "h3", "vm3:vdb")]),
    (stale_target, [("critical", "stale-target", "t4", "Ceph-host-rbd-img-6")]),
    (stale_target_that_nobody_reaches, [("warning", "bdev-sizes-differ", "t4", "Ceph-host-rbd-img-6")]),
    (stale_path, [("critical", "stale-path", "h4", "/dev/nvme0n1")]),
    (device_above_what_is_served, [("critical", "stale-path", "h4", "/dev/nvme0n1")]),
    (blocklisted_target, [("critical", "target-problem", "t2", "Ceph-host-rbd-img-3")]),
    (dead_device, [("critical", "dead-device", "h5", "vm6:vdb")]),
    (device_that_is_gone, [("critical", "dead-device", "h5", "vm6:vdb")]),
    (other_serial_number, [("warning", "identity-differs", "t1, t2", nqn("a"))]),
    (other_nguid, [("critical", "identity-differs", "t1, t2", nqn("a") + "#1")]),
    (one_range_of_controller_ids, [("warning", "cntlid-overlap", "t1, t2", nqn("a"))]),
    (
        cloned_host,
        [
            ("critical", "host-identity-shared", "h1, h6", "4ca08835-0e71-4c63-85af-000000000001"),
            ("critical", "host-identity-shared", "h1, h6", "nqn.2014-08.org.nvmexpress:uuid:4ca08835-0e71-4c63-85af-000000000001"),
        ],
    ),
    (bdev_that_no_namespace_uses, [("info", "bdev-unused", "t3", "Ceph-host-rbd-img-10")]),
    (luks_between, [("info", "layer", "h1", "/dev/nvme0n1")]),
    (path_that_is_down, [("warning", "host-problem", "h2", "nvme1")]),
    (silent_host, [("warning", "not-heard", "h3", "h3")]),
    (read_only_disk, [("warning", "disk-problem", "h3", "vm3:vdb")]),
]


def places(measurements: Fleet) -> list[tuple[str, str, str, str]]:
    return [(item["severity"], item["kind"], item["host"], item["object"]) for item in found_in(measurements)]


def test_a_healthy_fleet_has_no_findings() -> None:
    measurements = fleet()
    assert places(measurements) == []
    assert {row["verdict"] for row in audit(build(measurements))} == {"ok"}


@pytest.mark.parametrize(("seed", "expected"), SEEDS, ids=[seed.__name__ for seed, _expected in SEEDS])
def test_a_seeded_fault_is_found_and_nothing_else(seed: t.Callable[[Fleet], None], expected: list[tuple[str, str, str, str]]) -> None:
    measurements = fleet()
    seed(measurements)
    assert places(measurements) == sorted(expected)
    for item in found_in(measurements):
        assert item["text"] and item["remedy"]


def volumes_of(measurements: Fleet, kind: str) -> list[tuple[str | None, list[str]]]:
    """What the findings of a kind say they are about: the volume, and all volumes, by the numbers of the images."""
    short = [(item["volume"], item["volumes"]) for item in found_in(measurements) if item["kind"] == kind]
    return [(one and one.rpartition("-")[2], [name.rpartition("-")[2] for name in names]) for one, names in short]


@pytest.mark.parametrize(
    ("seed", "kind", "expected"),
    [
        (other_nguid, "identity-differs", [("1", ["1"])]),
        (other_image_by_one_nsid, "identity-differs", [("1", ["1", "2"]), ("2", ["2", "1"])]),
        (two_images_with_one_uuid, "uuid-twice", [("1", ["1", "5"])]),
        (one_image_in_two_subsystems, "uuid-twice", [("1", ["1"])]),
        (two_devices_with_one_uuid, "uuid-twice", [("1", ["1"])]),
        (other_serial_number, "identity-differs", [(None, ["1", "2", "3", "4"])]),
        (one_range_of_controller_ids, "cntlid-overlap", [(None, ["1", "2", "3", "4"])]),
        (cloned_host, "host-identity-shared", [(None, ["1", "2", "3", "4", "5", "6", "7", "8"])] * 2),
        (silent_host, "not-heard", [(None, ["1", "2", "3", "4", "5", "6", "7", "8"])]),
        (target_that_is_silent_behind_live_paths, "silent-target", [(None, ["1", "2", "3", "4"])]),
        (path_that_is_down, "host-problem", [(None, ["1", "2", "3", "4"])]),
        (blocklisted_target, "target-problem", [("3", ["3"])]),
        (device_that_nobody_uses, "device-unused", [("2", ["2"])]),
        (namespace_that_nobody_connects, "namespace-unused", [("9", ["9"])]),
        (bdev_that_no_namespace_uses, "bdev-unused", [("10", ["10"])]),
        (namespace_of_another_kind, "no-image", [(None, [])]),
        (dead_device, "dead-device", [("6", ["6"])]),
        (luks_between, "layer", [("1", ["1"])]),
    ],
)
def test_a_finding_knows_its_volumes(seed: t.Callable[[Fleet], None], kind: str, expected: list[tuple[str | None, list[str]]]) -> None:
    measurements = fleet()
    seed(measurements)
    assert volumes_of(measurements, kind) == expected


@pytest.mark.parametrize(
    ("place", "obj", "expected"),
    [
        ("t1", nqn("a") + "#2", ("2", ["2"])),
        ("t1", nqn("a"), (None, ["1", "2", "3", "4"])),
        ("t1", "target", (None, ["1", "2", "3", "4"])),
        ("h5", "kernel", (None, ["5", "6", "7", "8"])),
        ("h5", "/dev/nvme0n2", ("6", ["6"])),
        ("h5", uuid(7), ("7", ["7"])),
        ("h5", uuid(77), (None, [])),
    ],
)
def test_what_a_host_found_itself_touches_what_the_object_carries(place: str, obj: str, expected: tuple[str | None, list[str]]) -> None:
    measurements = fleet()
    kind = "target" if place.startswith("t") else "host"
    measurements[place][kind]["problems"].append({"object": obj, "hop": "namespace", "problem": "x", "remedy": "y", "severity": "critical"})
    assert volumes_of(measurements, f"{kind}-problem") == [expected]


@pytest.mark.parametrize(
    ("source", "stable"),
    [
        ("/dev/disk/by-id/nvme-uuid." + uuid(1), True),
        ("/dev/disk/by-id/nvme-SPDK_bdev_Controller_SPDKA0001_1", True),
        ("/dev/disk/by-id/nvme-SPDK_bdev_Controller_SPDKA0001_1-part1", True),
        ("/dev/disk/by-id/nvme-SPDK_bdev_Controller_SPDKA0001", False),
        ("/dev/disk/by-path/ip-192.0.2.1:4420-nvme-1", False),
        ("/dev/disk/by-path/fabrics-nvme-uuid." + uuid(1), True),
        ("/dev/disk/by-diskseq/7", False),
        ("/dev/dm-3", False),
        ("/dev/nvme0n1p1", False),
        ("/dev/mapper/luks-vm1", True),
        ("/dev/vg/lv", True),
    ],
)
def test_which_names_of_a_disk_are_stable(source: str, stable: bool) -> None:
    measurements = fleet()
    measurements["h1"]["disks"][0]["source"] = source
    assert places(measurements) == ([] if stable else [("warning", "unstable-name", "h1", "vm1:vdb")])


def test_a_local_drive_by_its_serial_number_is_nobodys_business() -> None:
    measurements = fleet()
    local = {**measurements["h1"]["disks"][0], "domain": "other", "namespace_uuid": None, "device": "/dev/nvme9n1"}
    measurements["h1"]["disks"].append({**local, "source": "/dev/disk/by-id/nvme-Maker_Drive_S4EV"})
    assert places(measurements) == []


def test_a_silent_target_names_the_paths_and_who_else_it_could_be() -> None:
    measurements = fleet()
    target_that_is_silent_behind_live_paths(measurements)
    (item,) = found_in(measurements)
    assert "paths that look live lead there: h1 nvme1, h2 nvme1, h3 nvme1; what they serve is unknown" in item["text"]
    measurements["t1"] = {"errors": {"target": "no answer within 5 s"}}  # and nothing tells any more which volumes these are
    found = {item["object"]: item for item in found_in(measurements)}
    assert set(found) == {"t1", "t2"} and {item["kind"] for item in found.values()} == {"silent-target"}
    assert "lead there, or to t2: h1 nvme0, h1 nvme1" in found["t1"]["text"]


def test_a_silent_target_that_no_path_can_lead_to_is_only_not_heard() -> None:
    measurements = fleet()
    measurements["t9"] = {"errors": {"target": "no answer within 5 s"}}
    assert places(measurements) == [("warning", "not-heard", "t9", "t9")]


def test_a_namespace_that_somebody_is_connected_to_is_not_called_left_over() -> None:
    measurements = fleet()
    namespace_that_strangers_connect(measurements)
    (item,) = found_in(measurements)
    assert "connected to the subsystem: nqn.host:stranger" in item["text"] and "inventory" in item["remedy"]
    measurements = fleet()
    namespace_that_a_connected_host_lacks(measurements)
    (item,) = found_in(measurements)
    assert item["text"].startswith("h1 is connected to the subsystem, and no host")


def test_faults_do_not_hide_each_other() -> None:
    """All seeds that do not take a host or a device away, in one fleet."""
    apart = (disk_by_kernel_name, image_smaller_than_its_bdev, stale_target, blocklisted_target, other_serial_number, cloned_host, bdev_that_no_namespace_uses)
    measurements = fleet()
    expected: list[tuple[str, str, str, str]] = []
    for seed, places_of in SEEDS:
        if seed in apart:
            seed(measurements)
            expected += places_of
    assert sorted(places(measurements)) == sorted(expected)


def test_a_live_path_to_a_bad_target_is_named() -> None:
    measurements = fleet()
    blocklisted_target(measurements)
    (item,) = found_in(measurements)
    assert "paths that look live lead there: h1 nvme1, h2 nvme1, h3 nvme1" in item["text"]
    assert item["volume"] == "pool-1/host-rbd-img-3"
    measurements = fleet()
    stale_target(measurements)
    (item,) = found_in(measurements)
    assert "behind h4 nvme1, h5 nvme1, h6 nvme1" in item["text"] and f"t4 {SIZE}" in item["text"]


@pytest.mark.parametrize("wild", [("t4",), ("t3", "t4")])
def test_a_target_that_listens_on_all_its_addresses_is_behind_the_paths_that_nobody_else_explains(wild: tuple[str, ...]) -> None:
    """With two of them nobody knows which path leads where, so the stale one may be behind each."""
    measurements = fleet()
    stale_target(measurements)
    for name in wild:
        subsystem(measurements, name)["listeners"][0]["traddr"] = "0.0.0.0"
    (item,) = found_in(measurements)
    assert (item["kind"], item["host"]) == ("stale-target", "t4")
    assert ("h4 nvme0" in item["text"]) == (len(wild) == 2) and "h4 nvme1" in item["text"]
    measurements["t4"] = {"errors": {"target": "no answer"}}
    (item,) = [item for item in found_in(measurements) if item["host"] == "t4"]
    assert item["kind"] == "silent-target" and ("or to a target that listens on all" in item["text"]) == (len(wild) == 2)


def test_layers_are_named_with_what_a_growth_needs_and_are_no_lag() -> None:
    measurements = fleet()
    luks_between(measurements)
    (item,) = found_in(measurements)
    assert "luks-vm1 (dm-crypt, 99.98 GiB)" in item["text"] and "between /dev/nvme0n1 (100 GiB) and vm1:vdb" in item["text"]
    assert "cryptsetup resize luks-vm1; then virsh blockresize" in item["remedy"]
    row = audit(build(measurements))[0]
    assert row["verdict"] == "ok" and row["bytes"]["disk"] == SIZE - 16 * 1024**2
    measurements["h1"]["disks"][0]["capacity_bytes"] -= GIB  # QEMU below what its own layer has now
    assert audit(build(measurements))[0]["verdict"] == "lagging at disk"


def test_partitions_inside_a_guests_disk_are_not_the_hosts_layers() -> None:
    measurements = fleet()
    part = {"name": "nvme0n1p1", "device": "/dev/nvme0n1p1", "kind": "partition", "size_bytes": GIB, "on": ["/dev/nvme0n1"]}
    devices(measurements, "h1")[0]["layers"] = [part]
    assert places(measurements) == []
    measurements["h1"]["disks"][0]["layers"] = ["nvme0n1p1"]
    assert [kind for _severity, kind, _host, _object in places(measurements)] == ["layer"]


def test_nothing_is_called_unused_while_somebody_is_silent() -> None:
    measurements = fleet()
    namespace_that_nobody_connects(measurements)
    device_that_nobody_uses(measurements)
    silent_host(measurements)
    assert [kind for _severity, kind, _host, _object in places(measurements)] == ["not-heard"]


def test_a_target_that_cannot_ask_ceph_is_no_finding_where_another_client_read_the_image() -> None:
    measurements = fleet()
    for item in bdevs(measurements, "t2"):
        item.update(image_bytes=None, image_error="no keyring")
        told = {"object": item["name"], "hop": "image", "problem": "the image's size is unknown: no keyring", "remedy": "x", "severity": "warning"}
        measurements["t2"]["target"]["problems"].append(told)
    assert places(measurements) == []
