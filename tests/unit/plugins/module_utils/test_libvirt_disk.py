# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_device import HostDevices
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_disk import Hypervisor, read_disks, same_path
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_domain import parse_domain, problems
from ansible_collections.nvmeof.spdk.tests.unit.plugins.module_utils.fake_libvirt import (
    DOMAIN_UUID,
    GIB,
    UUID,
    FakeAgent,
    FakeDomain,
    FakeError,
    FakeHost,
    FakeLibvirt,
    disk_xml,
    domain_xml,
)

if t.TYPE_CHECKING:
    from pathlib import Path

BY_ID = f"/dev/disk/by-id/nvme-uuid.{UUID}"
PCI = {"domain": 0, "bus": 0, "slot": 4, "function": 0}


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """A host with one namespace that a running QEMU holds."""
    host = FakeHost(tmp_path)
    host.add_block("nvme0n1", (259, 1), GIB, uuid=UUID)
    host.link(BY_ID, "/dev/nvme0n1")
    host.add_qemu(200, DOMAIN_UUID, "/dev/nvme0n1")
    return host


def read(host: FakeHost, domain: FakeDomain, agent: FakeAgent | None = None, **options: t.Any) -> list[dict[str, t.Any]]:
    """The results of all disks of one domain."""
    hypervisor = Hypervisor(FakeLibvirt(domain), "qemu:///system", True, HostDevices(**host.arguments()), agent)
    disks, errors = read_disks(hypervisor, **options)
    assert errors == []
    return [disk.result() for disk in disks]


def codes(disk: dict[str, t.Any]) -> list[str]:
    return [problem["code"] for problem in disk["problems"]]


def test_healthy_disk(host):
    domain = FakeDomain(domain_xml(disk_xml(source=BY_ID, extra="<serial>volume-7</serial>")))
    domain.sizes["vda"] = [GIB, 2 * GIB]
    assert read(host, domain) == [
        {
            "domain": "db1",
            "domain_uuid": DOMAIN_UUID,
            "domain_state": "running",
            "target": "vda",
            "bus": "virtio",
            "source": BY_ID,
            "source_type": "block",
            "serial": "volume-7",
            "namespace_uuid": UUID,
            "device": "/dev/nvme0n1",
            "layers": [],
            "capacity_bytes": GIB,
            "physical_bytes": 2 * GIB,
            "read_only": False,
            "block_job": None,
            "domain_job": None,
            "held": True,
            "guest_bytes": None,
            "guest_device": None,
            "guest_error": None,
            "problems": [],
        }
    ]


def test_namespace_that_came_back_as_another_device(host):
    """Capacity and physical are equal, the domain runs, and yet the guest reads zeros: only the descriptor tells."""
    host.add_block("nvme0n2", (259, 2), GIB, uuid=UUID)
    host.link(BY_ID, "/dev/nvme0n2")
    domain = FakeDomain(domain_xml(disk_xml(source=BY_ID)))
    domain.sizes["vda"] = [GIB, GIB]
    (disk,) = read(host, domain)
    assert (disk["held"], disk["device"], disk["namespace_uuid"]) == (False, "/dev/nvme0n2", UUID)
    assert (codes(disk), disk["problems"][0]["severity"]) == (["held"], "critical")
    assert "another name" in disk["problems"][0]["remedy"] and "db1" in disk["problems"][0]["remedy"]


def test_namespace_that_is_gone_keeps_its_identity(host):
    del host.nodes[BY_ID]
    domain = FakeDomain(domain_xml(disk_xml(source=BY_ID)))
    (disk,) = read(host, domain, uuids=[UUID.upper()])
    assert (disk["held"], disk["device"], disk["namespace_uuid"]) == (False, None, UUID)
    assert (disk["capacity_bytes"], disk["physical_bytes"]) == (None, None)
    assert codes(disk) == ["held", "no_device", "no_info"]
    assert [problem["severity"] for problem in disk["problems"]] == ["critical", "critical", "blocker"]


def test_held_cannot_be_checked(host):
    domain = FakeDomain(domain_xml(disk_xml(source=BY_ID), uuid=UUID))
    domain.sizes["vda"] = [GIB, GIB]
    (disk,) = read(host, domain)
    assert disk["held"] is None
    assert (codes(disk), disk["problems"][0]["severity"]) == (["held_unknown"], "blocker")


def test_shut_off_domain(host):
    domain = FakeDomain(domain_xml(disk_xml(source=BY_ID)), state=5)
    domain.sizes["vda"] = [GIB, GIB]
    (disk,) = read(host, domain)
    assert (disk["domain_state"], disk["held"], codes(disk)) == ("shut off", None, ["shut_off"])
    assert disk["problems"][0]["severity"] == "info"


@pytest.mark.parametrize(
    ("xml", "sizes", "code", "severity"),
    [
        (disk_xml(), [2 * GIB, GIB], "shrunk", "critical"),
        (disk_xml(extra="<readonly/>"), [GIB, GIB], "read_only", "blocker"),
        (disk_xml(format="qcow2"), [GIB, GIB], "format", "blocker"),
        (disk_xml(extra="<encryption format='luks'/>"), [GIB, GIB], "format", "blocker"),
        (disk_xml(extra="<mirror type='block' job='copy'/>"), [GIB, GIB], "block_job", "blocker"),
        (disk_xml(bus="sata"), [GIB, GIB], "bus", "warning"),
        (disk_xml(bus="ide"), [GIB, GIB], "bus", "warning"),
        (disk_xml(), [GIB, GIB], "unstable_name", "warning"),
        (disk_xml(source="/images/a.img", type="file"), [GIB, GIB], "not_block", "info"),
        (disk_xml(source=None, device="cdrom", bus="sata"), [GIB, GIB], "not_a_disk", "info"),
        (disk_xml(source=None), [GIB, GIB], "not_a_disk", "info"),
    ],
)
def test_problems(host, xml, sizes, code, severity):
    domain = FakeDomain(domain_xml(xml))
    domain.sizes["vda"] = sizes
    (disk,) = read(host, domain)
    assert (code, severity) in [(problem["code"], problem["severity"]) for problem in disk["problems"]]
    assert all(problem["problem"] and problem["remedy"] for problem in disk["problems"])


def test_slice(host):
    xml = disk_xml().replace("<source dev='/dev/nvme0n1'/>", "<source dev='/dev/nvme0n1'><slices><slice type='storage' offset='0' size='1'/></slices></source>")
    domain = FakeDomain(domain_xml(xml))
    domain.sizes["vda"] = [GIB, GIB]
    assert "slice" in codes(read(host, domain)[0])


def test_running_block_job(host):
    domain = FakeDomain(domain_xml(disk_xml(source=BY_ID)))
    domain.sizes["vda"], domain.jobs["vda"] = [GIB, GIB], {"type": 5, "cur": 1, "end": 2}
    (disk,) = read(host, domain)
    assert (disk["block_job"], codes(disk)) == ("backup", ["block_job"])


@pytest.mark.parametrize(
    ("job", "word"),
    [
        ({"type": 2, "operation": 5}, "live migration (outgoing)"),
        ({"type": 1, "operation": 4}, "live migration (incoming)"),
        ({"type": 2, "operation": 99}, "operation 99"),
        ({"type": 2}, "unknown operation"),
        ({"type": 2, "operation": 9}, None),  # a backup shows at its disks
        ({"type": 3, "operation": 5}, None),  # completed
        ({"type": 0}, None),
    ],
)
def test_a_job_of_the_domain_blocks_all_its_disks(host, job, word):
    host.add_block("nvme0n5", (259, 5), GIB)
    domain = FakeDomain(domain_xml(disk_xml(source=BY_ID), disk_xml(target="vdb", source="/dev/nvme0n5")))
    domain.sizes = {"vda": [GIB, GIB], "vdb": [GIB, GIB]}
    domain.job = job
    for disk in read(host, domain):
        assert disk["domain_job"] == word
        assert [problem["severity"] for problem in disk["problems"] if problem["code"] == "domain_job"] == (["blocker"] if word else [])


def test_a_driver_that_tells_no_jobs_is_no_reason_to_stop(host):
    domain = FakeDomain(domain_xml(disk_xml(source=BY_ID)))
    domain.sizes["vda"] = [GIB, GIB]

    def no_jobs(_flags):
        raise FakeError(3, "this function is not supported by the connection driver")

    domain.jobStats = no_jobs
    (disk,) = read(host, domain)
    assert (disk["domain_job"], codes(disk)) == (None, [])


def test_a_device_as_the_file_of_a_disk_is_a_user_of_the_namespace(host):
    """Unnoticed it would keep the old size; resized it would be treated as a file."""
    domain = FakeDomain(domain_xml(disk_xml(source="/dev/nvme0n1", type="file")))
    domain.sizes["vda"] = [GIB, GIB]
    (disk,) = read(host, domain)
    assert (disk["namespace_uuid"], codes(disk), disk["problems"][0]["severity"]) == (UUID, ["not_block"], "blocker")


def test_dm_layer_is_a_blocker(host):
    upper = host.add_block("dm-0", (254, 0), GIB, dm_name="vg-lv")
    host.add_slave(upper, host.root / "sys/devices/nvme0n1")
    host.link("/dev/mapper/vg-lv", "/dev/dm-0")
    host.nodes[f"{host.root}/proc/200/fd/3"] = os.makedev(254, 0)
    domain = FakeDomain(domain_xml(disk_xml(source="/dev/mapper/vg-lv")))
    domain.sizes["vda"] = [GIB, GIB]
    (disk,) = read(host, domain)
    assert (disk["namespace_uuid"], disk["layers"], disk["held"]) == (UUID, ["vg-lv"], True)
    assert (codes(disk), disk["problems"][0]["severity"]) == (["layers"], "blocker")


def test_paused_domain(host):
    domain = FakeDomain(domain_xml(disk_xml(source=BY_ID)), state=3)
    domain.sizes["vda"] = [GIB, GIB]
    (disk,) = read(host, domain)
    assert (disk["domain_state"], disk["held"], codes(disk)) == ("paused", True, ["paused"])


def test_filters(host):
    host.add_block("nvme0n5", (259, 5), GIB)
    first = FakeDomain(domain_xml(disk_xml(source=BY_ID), disk_xml(target="vdb", source="/dev/nvme0n5")))
    second = FakeDomain(domain_xml(disk_xml(source=BY_ID), name="web1", uuid=UUID), name="web1")
    gone = FakeDomain(domain_xml(disk_xml(), name="gone"))
    gone.gone = True
    hypervisor = Hypervisor(FakeLibvirt(second, gone, first), "qemu:///system", True, HostDevices(**host.arguments()))

    def labels(**options: t.Any) -> list[str]:
        return [disk.label for disk in read_disks(hypervisor, **options)[0]]

    assert labels() == ["db1:vda", "db1:vdb", "web1:vda"]
    assert labels(domains=["web1"]) == ["web1:vda"]
    assert labels(domains=[DOMAIN_UUID]) == ["db1:vda", "db1:vdb"]
    assert labels(uuids=[UUID]) == ["db1:vda", "web1:vda"]
    assert labels(uuids=[UUID], domains=["db1"]) == ["db1:vda"]
    assert labels(sources=["/dev/nvme0n5"]) == ["db1:vdb"]
    assert labels(sources=["/dev/none"]) == []
    with pytest.raises(HopError, match="is not a UUID"):
        labels(uuids=["7c5a"])


def test_same_path_follows_links(tmp_path):
    (tmp_path / "device").write_text("", encoding="ascii")
    (tmp_path / "name").symlink_to(tmp_path / "device")
    assert same_path(str(tmp_path / "name"), str(tmp_path / "device"))
    assert not same_path(str(tmp_path / "name"), str(tmp_path / "other"))
    assert not same_path(None, None)


def test_addresses_for_the_guest_agent():
    scsi = "<controller type='scsi' index='0'><address type='pci' domain='0x0000' bus='0x00' slot='0x1a' function='0x2'/></controller>"
    drive = disk_xml(target="sdb", bus="scsi").replace(
        "type='pci' domain='0x0000' bus='0x00' slot='0x04' function='0x0'", "type='drive' controller='0' bus='0' target='0' unit='3'"
    )
    first, second = parse_domain(domain_xml(disk_xml(), drive).replace("<devices>", "<devices>" + scsi), "running")
    assert (first.address, first.controller) == (PCI, None)
    assert second.address == {"controller": 0, "bus": 0, "target": 0, "unit": 3}
    assert second.controller == {"domain": 0, "bus": 0, "slot": 26, "function": 2}
    assert [problem.code for problem in problems(first)][-1] == "unstable_name"


def guest_disk(name: str = "/dev/vda") -> dict[str, t.Any]:
    return {"name": name, "partition": False, "address": {"bus-type": "virtio", "pci-controller": PCI}}


def test_guest_size(host):
    domain = FakeDomain(domain_xml(disk_xml(source=BY_ID)))
    domain.sizes["vda"] = [GIB, GIB]
    agent = FakeAgent([guest_disk("/dev/vdc")], {"vdc": ["2097152\n"]})
    (disk,) = read(host, domain, agent, guest_agent="require")
    assert (disk["guest_bytes"], disk["guest_device"], disk["guest_error"]) == (GIB, "/dev/vdc", None)


def test_guest_that_cannot_be_asked(host):
    domain = FakeDomain(domain_xml(disk_xml(source=BY_ID)))
    domain.sizes["vda"] = [GIB, GIB]
    agent = FakeAgent([], {})
    agent.error = FakeError(86, "Guest agent is not responding: QEMU guest agent is not connected")
    (disk,) = read(host, domain, agent, guest_agent="auto")
    assert disk["guest_bytes"] is None
    assert disk["guest_error"] == "guest agent: libvirt code 86: Guest agent is not responding: QEMU guest agent is not connected"
    hypervisor = Hypervisor(FakeLibvirt(domain), "qemu:///system", False, HostDevices(**host.arguments()), agent)
    disks, errors = read_disks(hypervisor, guest_agent="require")
    assert len(disks) == 1
    assert [(error.obj, error.hop) for error in errors] == [("db1:vda", "guest")]


def test_connection_errors_are_explained():
    libvirt = FakeLibvirt()
    libvirt.refuse = FakeError(38, "Failed to connect socket to '/run/libvirt/libvirt-sock': No such file or directory")
    with pytest.raises(HopError) as caught:
        Hypervisor(libvirt, "qemu:///system", True)
    assert caught.value.obj == "qemu:///system"
    assert caught.value.cause == "libvirt code 38: Failed to connect socket to '/run/libvirt/libvirt-sock': No such file or directory"
    assert "systemctl start libvirtd" in caught.value.remedy
    # libvirt's own handler would print to stderr
    assert libvirt.handler("context", "error") is None
    assert libvirt.opened == [("qemu:///system", True)]
