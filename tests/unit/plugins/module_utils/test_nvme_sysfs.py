# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sysfs reader against recorded and made-up trees."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_sysfs import normal_uuid, parse_address, same_address
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.fake_host import MIB, NQN, UUID1, UUID2, FakeHost


@pytest.fixture(name="host")
def _host(tmp_path: pathlib.Path) -> FakeHost:
    return FakeHost(tmp_path)


def problems(host: FakeHost) -> list[tuple[str, str, str]]:
    return [(item["object"], item["hop"], item["severity"]) for item in host.sysfs.host()["problems"]]


def test_recorded_6_1_with_two_paths(tmp_path: pathlib.Path) -> None:
    host = FakeHost(tmp_path, multipath=None)
    host.load("linux-6.1-multipath-on-two-paths.txt")
    found = host.sysfs.host()
    assert found["multipath"] is True
    assert [(item["name"], item["traddr"], item["trsvcid"], item["state"], item["cntlid"]) for item in found["controllers"]] == [
        ("nvme0", "192.168.77.10", "4420", "live", 1),
        ("nvme1", "192.168.78.10", "4420", "live", 2),
    ]
    assert [item["ctrl_loss_tmo"] for item in found["controllers"]] == [600, 600]
    assert [item["fast_io_fail_tmo"] for item in found["controllers"]] == [-1, -1]
    first, second = found["namespaces"]
    assert (first["uuid"], first["nqn"], first["nsid"], first["device"]) == (UUID1, NQN, 1, "/dev/nvme0n1")
    assert first["by_id"] == f"/dev/disk/by-id/nvme-uuid.{UUID1}"
    # a 4096-byte format: sysfs still counts in 512
    assert (first["block_size"], first["size_bytes"], second["block_size"], second["size_bytes"]) == (4096, 64 * MIB, 512, 32 * MIB)
    assert [(path["name"], path["controller"], path["ana_state"], path["size_bytes"]) for path in first["paths"]] == [
        ("nvme0c0n1", "nvme0", "optimized", 64 * MIB),
        ("nvme0c1n1", "nvme1", "optimized", 64 * MIB),
    ]
    assert first["read_only"] is False


def test_recorded_6_12_device_number_is_not_the_nsid(tmp_path: pathlib.Path) -> None:
    host = FakeHost(tmp_path, multipath=None)
    host.load("linux-6.12-multipath-on-two-paths.txt")
    assert {item["device"]: item["nsid"] for item in host.sysfs.namespaces()} == {"/dev/nvme0n1": 2, "/dev/nvme0n2": 1}


def test_recorded_multipath_off_joins_the_devices_of_a_namespace(tmp_path: pathlib.Path) -> None:
    host = FakeHost(tmp_path, multipath=None)
    host.load("linux-6.1-multipath-off-two-paths.txt")
    found = host.sysfs.host()
    assert found["multipath"] is False
    first, second = found["namespaces"]
    # udev's link leads to the device that came last
    assert (first["uuid"], first["device"], [path["name"] for path in first["paths"]]) == (UUID1, "/dev/nvme1n1", ["nvme0n1", "nvme1n1"])
    assert (second["nsid"], len(second["paths"])) == (2, 2)
    assert ("nvme_core", "device", "critical") in problems(host)


def test_local_drive_beside_fabrics_keeps_the_numbers_apart(host: FakeHost) -> None:
    host.controller("nvme0", nqn="nqn.2019-08.org.qemu:LOCAL", transport="pcie", address="0000:00:04.0", ctrl_loss_tmo=None, reconnect_delay=None, hostnqn=None)
    host.single("nvme0n1", 1, None, 128 * MIB, "nvme0")
    host.controller("nvme1")
    host.controller("nvme2", trsvcid="4430")
    host.namespace("nvme1n1", 1, UUID1, 64 * MIB, ["nvme1", "nvme2"])
    local, remote = host.sysfs.namespaces()
    assert (local["device"], local["uuid"], local["paths"][0]["transport"], local["paths"][0]["traddr"]) == ("/dev/nvme0n1", None, "pcie", "0000:00:04.0")
    assert (remote["device"], [path["name"] for path in remote["paths"]]) == ("/dev/nvme1n1", ["nvme1c1n1", "nvme1c2n1"])
    assert problems(host) == []


def test_nothing_there_is_not_an_error(tmp_path: pathlib.Path) -> None:
    host = FakeHost(tmp_path, multipath=None)
    (tmp_path / "etc/hostnqn").unlink()
    (tmp_path / "sys/class/nvme").rmdir()
    found = host.sysfs.host()
    assert (found["controllers"], found["namespaces"], found["multipath"], found["hostnqn"]) == ([], [], None, None)
    assert [item["object"] for item in found["problems"]] == ["/etc/nvme/hostnqn"]


def test_missing_attributes_of_an_old_kernel_are_null(host: FakeHost) -> None:
    host.controller("nvme0", ctrl_loss_tmo=None, hostnqn=None, cntrltype=None, kato=None)
    host.namespace("nvme0n1", 1, None, 64 * MIB, ["nvme0"], nguid="0a1b2c3d-0000-4000-8000-00000000000A")
    controller, namespace = host.sysfs.controllers()[0], host.sysfs.namespaces()[0]
    assert (controller["ctrl_loss_tmo"], controller["hostnqn"]) == (None, None)
    assert (namespace["uuid"], namespace["nguid"], namespace["by_id"]) == (None, "0a1b2c3d00004000800000000000000a", None)


def test_a_path_that_vanishes_while_it_is_read(host: FakeHost) -> None:
    host.controller("nvme0")
    host.controller("nvme1", "192.0.2.11")
    host.namespace("nvme0n1", 1, UUID1, 64 * MIB, ["nvme0", "nvme1"])
    namespace = host.sysfs.namespaces()[0]
    host.remove("nvme1")
    host.sysfs.refresh(namespace)
    assert [(path["state"], path["size_bytes"]) for path in namespace["paths"]] == [("live", 64 * MIB), ("gone", None)]
    (host.root / "sys/block/nvme0n1/size").unlink()
    host.sysfs.refresh(namespace)
    assert namespace["size_bytes"] is None


def test_uuid_comes_from_wwid_when_there_is_no_uuid_file(host: FakeHost) -> None:
    host.controller("nvme0")
    host.namespace("nvme0n1", 1, UUID1, 64 * MIB, ["nvme0"])
    (host.root / "sys/block/nvme0n1/uuid").unlink()
    assert host.sysfs.namespaces()[0]["uuid"] == UUID1


def test_holders_and_mounts_include_partitions(host: FakeHost) -> None:
    host.controller("nvme0")
    host.namespace("nvme0n1", 1, UUID1, 64 * MIB, ["nvme0"])
    host.write("sys/block/nvme0n1/nvme0n1p1/dev", "259:77\n")
    (host.root / "sys/block/nvme0n1/nvme0n1p1/holders/dm-3").mkdir(parents=True)
    (host.root / "sys/block/nvme0n1/holders/md0").mkdir()
    host.write("proc/self/mountinfo", "30 1 259:77 / /srv/with\\040blank rw - ext4 /dev/other rw\n31 1 8:1 / /boot rw - ext4 /dev/sda1 rw\n")
    namespace = host.sysfs.namespaces()[0]
    assert (namespace["holders"], namespace["mounts"]) == (["dm-3", "md0"], ["/srv/with blank"])


def test_healthy_host_has_no_problem(host: FakeHost) -> None:
    host.controller("nvme0")
    host.controller("nvme1", "192.0.2.11")
    host.namespace("nvme0n1", 1, UUID1, 64 * MIB, ["nvme0", "nvme1"])
    assert problems(host) == []


def test_connecting_path_is_a_warning_and_the_last_one_critical(host: FakeHost) -> None:
    host.controller("nvme0")
    host.controller("nvme1", state="connecting", address="traddr=192.0.2.11,trsvcid=4420")
    host.namespace("nvme0n1", 1, UUID1, 64 * MIB, ["nvme0", "nvme1"])
    assert problems(host) == [("nvme1", "path", "warning")]
    host.write("sys/class/nvme/nvme0/state", "connecting\n")
    assert problems(host) == [("nvme0", "path", "critical"), ("nvme1", "path", "critical")]
    assert "/dev/nvme0n1 has no live path" in host.sysfs.host()["problems"][0]["problem"]


def test_finite_ctrl_loss_tmo_is_a_warning(host: FakeHost) -> None:
    host.controller("nvme0", ctrl_loss_tmo="600")
    host.namespace("nvme0n1", 1, UUID1, 64 * MIB, ["nvme0"])
    assert problems(host) == [("nvme0", "path", "warning")]


def test_live_controller_without_the_paths_of_its_peer(host: FakeHost) -> None:
    host.controller("nvme0")
    host.controller("nvme1", "192.0.2.11")
    host.namespace("nvme0n1", 1, UUID1, 64 * MIB, ["nvme0"])
    assert problems(host) == [("nvme1", "namespace", "critical")]


def test_live_controller_without_any_namespace(host: FakeHost) -> None:
    # Linux 6.1 ignores a namespace whose uuid another subsystem has, and says so in dmesg only
    host.controller("nvme0")
    assert problems(host) == [("nvme0", "namespace", "warning")]


def test_size_of_a_path_that_differs(host: FakeHost) -> None:
    host.controller("nvme0")
    host.namespace("nvme0n1", 1, UUID1, 64 * MIB, ["nvme0"])
    host.resize("nvme0c0n1", 80 * MIB)
    assert problems(host) == [("/dev/nvme0n1", "path", "critical")]


def test_one_uuid_on_two_subsystems(host: FakeHost) -> None:
    host.controller("nvme0")
    host.controller("nvme1", nqn=NQN + "-other")
    host.namespace("nvme0n1", 1, UUID1, 64 * MIB, ["nvme0"])
    host.namespace("nvme1n1", 1, UUID1, 64 * MIB, ["nvme1"])
    assert problems(host) == [(UUID1, "namespace", "critical")]


def test_head_without_any_path(host: FakeHost) -> None:
    host.namespace("nvme0n1", 1, UUID1, 64 * MIB, [])
    assert host.sysfs.namespaces()[0]["nqn"] == NQN
    assert problems(host) == [("/dev/nvme0n1", "path", "critical")]


def test_by_id_link_to_a_dead_device(host: FakeHost) -> None:
    host.controller("nvme0")
    host.namespace("nvme0n2", 1, UUID2, 64 * MIB, ["nvme0"])
    host.by_id(UUID2, "nvme0n1")
    assert problems(host) == [("/dev/nvme0n2", "device", "warning")]


def test_hostnqn_and_hostid_that_do_not_belong_together(host: FakeHost) -> None:
    host.write("etc/hostid", UUID2)
    assert problems(host) == [("/etc/nvme/hostnqn", "path", "warning")]


def test_nil_hostnqn_is_critical(host: FakeHost) -> None:
    host.write("etc/hostnqn", "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-0000-0000-000000000000\n")
    assert problems(host) == [("/etc/nvme/hostnqn", "path", "critical")]


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("2001:db8::1", "2001:0DB8:0:0::0001", True),
        ("fe80::1%eth0", "fe80::1%eth1", False),
        ("192.0.2.1", "192.0.2.10", False),
        (None, "192.0.2.1", False),
        ("target1", "target1", True),
    ],
)
def test_same_address(one: str, other: str, equal: bool) -> None:
    assert same_address(one, other) is equal


def test_address_without_src_addr_and_of_a_slot() -> None:
    assert parse_address("traddr=192.0.2.1,trsvcid=4420", "tcp") == {"traddr": "192.0.2.1", "trsvcid": "4420"}
    assert parse_address("0000:00:04.0", "pcie") == {"traddr": "0000:00:04.0"}
    assert parse_address(None, "tcp") == {}


def test_normal_uuid() -> None:
    assert normal_uuid("AA660174-66C5-434D-AB0F-C1E108208109") == "aa660174-66c5-434d-ab0f-c1e108208109"
    assert [normal_uuid(text) for text in ("", "no", "00000000-0000-0000-0000-000000000000")] == [None, None, None]
