# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils import _libvirt_disk, _libvirt_resize
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_device import HostDevices
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_disk import Hypervisor
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_resize import Outcome, changes_of, converge, parse_wish
from ansible_collections.nvmeof.spdk.tests.unit.plugins.module_utils.fake_libvirt import (
    DOMAIN_UUID,
    GIB,
    UUID,
    FakeAgent,
    FakeDomain,
    FakeError,
    FakeHost,
    FakeLibvirt,
    FakeLibvirt11,
    disk_xml,
    domain_xml,
    lagging,
)

if t.TYPE_CHECKING:
    from pathlib import Path

BY_ID = f"/dev/disk/by-id/nvme-uuid.{UUID}"
AT = {"domain": "db1", "target": "vda"}


class FakeTime:
    """A clock that only moves by sleeping, so that waiting costs nothing and always ends at the same try."""

    def __init__(self) -> None:
        """Start at zero."""
        self.now = 0.0

    def monotonic(self) -> float:
        """Seconds since the start."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Go on."""
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """The modules' clock."""
    fake = FakeTime()
    monkeypatch.setattr(_libvirt_resize, "time", fake)
    monkeypatch.setattr(_libvirt_disk, "time", fake)
    return fake


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """A host whose namespace has 2 GiB by now."""
    host = FakeHost(tmp_path)
    host.add_block("nvme0n1", (259, 1), 2 * GIB, uuid=UUID)
    host.link(BY_ID, "/dev/nvme0n1")
    host.add_qemu(200, DOMAIN_UUID, "/dev/nvme0n1")
    return host


@pytest.fixture
def domain() -> FakeDomain:
    """A running domain that still shows 1 GiB."""
    domain = FakeDomain(domain_xml(disk_xml(source=BY_ID)))
    domain.sizes["vda"] = [GIB, 2 * GIB]
    return domain


def run(
    host: FakeHost, libvirt: FakeLibvirt, *items: dict[str, t.Any], agent: t.Any = None, mode: str = "never", wait: float = 5, check: bool = False
) -> tuple[list[Outcome], list[HopError]]:
    hypervisor = Hypervisor(libvirt, "qemu:///system", False, HostDevices(**host.arguments()), agent)
    return converge(hypervisor, [parse_wish(item) for item in items], mode, wait, check)


@pytest.mark.parametrize("size", [None, "2G", "2147483648B"])
def test_grow(host, domain, size):
    (outcome,), errors = run(host, FakeLibvirt(domain), dict(AT, size=size))
    assert errors == []
    assert domain.calls == [("vda", 2 * GIB, 1)]
    assert (outcome.before_bytes, outcome.disk.capacity_bytes, outcome.changed, outcome.satisfied) == (GIB, 2 * GIB, True, True)
    assert changes_of([outcome]).summaries() == [
        {"kind": "disk", "name": "db1:vda", "action": "grow", "before": {"capacity_bytes": GIB}, "after": {"capacity_bytes": 2 * GIB}}
    ]


def on_luks(host, domain, capacity, physical):
    """The disk's source is a LUKS mapping on the namespace."""
    lower = host.root / "sys/devices/nvme0n1"
    host.add_slave(host.add_block("dm-0", (254, 0), physical, dm_name="luks-1"), lower)
    host.link("/dev/mapper/luks-1", "/dev/dm-0")
    host.add_qemu(201, DOMAIN_UUID.replace("0", "1"), "/dev/dm-0")
    domain.xml = domain_xml(disk_xml(source="/dev/mapper/luks-1"), uuid=DOMAIN_UUID.replace("0", "1"))
    domain.sizes["vda"] = [capacity, physical]
    return 16 * 1024**2


@pytest.mark.parametrize("item", [{"uuid": UUID, "size": "2G"}, {"uuid": UUID}, {**AT, "size": f"{2 * GIB - 16 * 1024**2}B"}, {"source": "/dev/mapper/luks-1"}])
def test_a_disk_on_a_layer_takes_the_layers_size(host, domain, item):
    """Named by the namespace, the size is the namespace's; otherwise it is the layer's own."""
    header = 16 * 1024**2
    on_luks(host, domain, GIB - header, 2 * GIB - header)
    (outcome,), errors = run(host, FakeLibvirt(domain), item)
    assert errors == []
    assert domain.calls == [("vda", 2 * GIB - header, 1)]
    assert (outcome.disk.capacity_bytes, outcome.satisfied, outcome.disk.device.layers) == (2 * GIB - header, True, ["luks-1"])
    (outcome,), errors = run(host, FakeLibvirt(domain), item)
    assert (errors, outcome.changed, outcome.satisfied) == ([], False, True)


def test_a_disk_on_a_layer_waits_for_the_namespace(host, domain):
    """The namespace's device is behind what is asked for."""
    header = on_luks(host, domain, GIB, 2 * GIB)
    (outcome,), (error,) = run(host, FakeLibvirt(domain), {"uuid": UUID, "size": "3G"})
    assert (error.hop, domain.calls, outcome.changed) == ("device", [], False)
    assert "through luks-1" in error.message
    _outcomes, (error,) = run(host, FakeLibvirt(domain), {**AT, "size": f"{3 * GIB - header}B"})
    assert "hop device lags" in error.message


def test_second_run_does_nothing(host, domain):
    run(host, FakeLibvirt(domain), AT)
    (outcome,), errors = run(host, FakeLibvirt(domain), dict(AT, size="2G"))
    assert (errors, len(domain.calls), outcome.changed, outcome.satisfied) == ([], 1, False, True)
    assert not changes_of([outcome]).changed


def test_newer_libvirt_asserts_the_size(host, domain):
    (outcome,), errors = run(host, FakeLibvirt11(domain), AT)
    assert (errors, domain.calls, outcome.satisfied) == ([], [("vda", 2 * GIB, 3)], True)


def test_binding_newer_than_the_daemon(host, domain):
    domain.errors = [FakeError(8, "unsupported flags (0x2) in function qemuDomainBlockResize")]
    (outcome,), errors = run(host, FakeLibvirt11(domain), AT)
    assert (errors, [call[2] for call in domain.calls], outcome.satisfied) == ([], [3, 1], True)


def test_race_between_device_and_descriptor(host, domain):
    """The kernel shows the size before QEMU can have it: tried again, not failed."""
    domain.errors = [lagging(), lagging(), lagging()]
    (outcome,), errors = run(host, FakeLibvirt(domain), AT)
    assert (errors, len(domain.calls), outcome.satisfied) == ([], 4, True)


def test_race_has_an_end(host, domain):
    domain.errors = [lagging() for _number in range(1000)]
    (outcome,), errors = run(host, FakeLibvirt(domain), AT, wait=0.2)
    assert (errors[0].hop, outcome.changed, outcome.satisfied) == ("device", False, False)
    assert "Cannot grow device files" in errors[0].cause
    assert len(domain.calls) == 5


def test_no_retry_when_the_device_itself_lags(host, domain):
    """libvirt's physical was right a moment ago, sysfs is not: waiting here would not help."""
    (host.root / "sys/devices/nvme0n1/size").write_text(f"{GIB // 512}\n", encoding="ascii")
    domain.errors = [lagging() for _number in range(1000)]
    _outcomes, errors = run(host, FakeLibvirt(domain), AT)
    assert len(domain.calls) == 1
    assert errors[0].hop == "device" and "nvme_rescan" in errors[0].remedy


@pytest.mark.parametrize(
    ("size", "reason", "hop"),
    [("3G", "the host has not seen the new size", "device"), ("512M", "capacity only grows", "disk"), ("1500M", "the whole device", "disk")],
)
def test_refused_sizes(host, domain, size, reason, hop):
    (outcome,), errors = run(host, FakeLibvirt(domain), dict(AT, size=size))
    assert domain.calls == []
    assert [(error.obj, error.hop) for error in errors] == [("db1:vda", hop)]
    assert reason in str(errors[0])
    assert not outcome.changed and not outcome.satisfied


def test_present_size_is_satisfied_although_the_device_has_more(host, domain):
    (outcome,), errors = run(host, FakeLibvirt(domain), dict(AT, size="1G"))
    assert (errors, domain.calls, outcome.changed, outcome.satisfied) == ([], [], False, True)


def test_check_mode(host, domain):
    (outcome,), errors = run(host, FakeLibvirt(domain), AT, check=True)
    assert (errors, domain.calls, outcome.changed, outcome.satisfied) == ([], [], True, False)
    (lag,), errors = run(host, FakeLibvirt(domain), dict(AT, size="3G"), check=True)
    assert (errors, domain.calls, lag.changed, lag.satisfied) == ([], [], True, False)
    assert changes_of([lag]).summaries()[0]["after"] == {"capacity_bytes": 3 * GIB}


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (disk_xml(source="/images/a.img", type="file"), "type file"),
        (disk_xml(source=BY_ID, extra="<readonly/>"), "read-only"),
        (disk_xml(source=BY_ID, format="qcow2"), "format qcow2"),
        (disk_xml(source=BY_ID, extra="<mirror type='block' job='copy'/>"), "block job"),
        (disk_xml(source=None, device="cdrom"), "cdrom"),
    ],
)
def test_disks_that_are_left_alone(host, xml, reason):
    domain = FakeDomain(domain_xml(xml))
    domain.sizes["vda"] = [GIB, 2 * GIB]
    _outcomes, errors = run(host, FakeLibvirt(domain), AT)
    assert domain.calls == []
    assert reason in str(errors[0])


def test_dead_device(host, domain):
    host.add_block("nvme0n2", (259, 2), 2 * GIB, uuid=UUID)
    host.link(BY_ID, "/dev/nvme0n2")
    _outcomes, errors = run(host, FakeLibvirt(domain), {"uuid": UUID})
    assert domain.calls == []
    assert "reads zeros" in errors[0].message and "shut the domain db1 down" in errors[0].remedy


def test_dm_layer_takes_its_own_size_only(host):
    upper = host.add_block("dm-0", (254, 0), GIB, dm_name="vg-lv")
    host.add_slave(upper, host.root / "sys/devices/nvme0n1")
    host.add_qemu(201, UUID, "/dev/dm-0")
    domain = FakeDomain(domain_xml(disk_xml(source="/dev/dm-0"), uuid=UUID))
    domain.sizes["vda"] = [GIB, GIB]
    _outcomes, errors = run(host, FakeLibvirt(domain), dict(AT, size="2G"))
    assert "through vg-lv, which has to be grown first" in errors[0].message
    domain.sizes["vda"] = [GIB // 2, GIB]
    (outcome,), errors = run(host, FakeLibvirt(domain), AT)
    assert (errors, outcome.satisfied) == ([], True)


def test_one_namespace_in_two_domains_and_one_failure(host, domain):
    other = FakeDomain(domain_xml(disk_xml(source=BY_ID), name="web1", uuid=UUID), name="web1")
    other.sizes["vda"] = [GIB, 2 * GIB]
    other.errors = [FakeError(55, "Requested operation is not valid: domain is not running")]
    host.add_qemu(201, UUID, "/dev/nvme0n1")
    outcomes, errors = run(host, FakeLibvirt(domain, other), {"uuid": UUID}, {"domain": "absent", "target": "vda"})
    assert [(outcome.disk.domain, outcome.changed, outcome.satisfied) for outcome in outcomes] == [("db1", True, True), ("web1", False, False)]
    assert [error.message.split(" with")[0] for error in errors] == ["there is no domain absent", "QEMU did not take 2 GiB"]
    assert errors[0].cause == "domains with disks here: db1, web1"
    assert errors[1].cause.startswith("libvirt code 55:")


def test_read_back_decides(host, domain):
    """A success that does not show is none."""
    domain.blockResize = lambda *_arguments: 0
    (outcome,), errors = run(host, FakeLibvirt(domain), AT, wait=0.1)
    assert not outcome.changed and not outcome.satisfied
    assert "after the resize QEMU shows 1 GiB" in errors[0].message


def guest(*sizes: str) -> FakeAgent:
    pci = {"domain": 0, "bus": 0, "slot": 4, "function": 0}
    return FakeAgent([{"name": "/dev/vda", "partition": False, "address": {"bus-type": "virtio", "pci-controller": pci}}], {"vda": list(sizes)})


def test_guest_follows_after_a_while(host, domain):
    (outcome,), errors = run(host, FakeLibvirt(domain), AT, agent=guest("2097152\n", "2097152\n", "4194304\n"), mode="require")
    assert (errors, outcome.satisfied, outcome.disk.guest_bytes, outcome.disk.guest_error) == ([], True, 2 * GIB, None)


@pytest.mark.parametrize(("mode", "failed"), [("auto", False), ("require", True)])
def test_guest_that_does_not_follow(host, domain, mode, failed):
    (outcome,), errors = run(host, FakeLibvirt(domain), AT, agent=guest("2097152\n"), mode=mode, wait=0.3)
    assert (outcome.changed, outcome.satisfied, outcome.disk.guest_bytes) == (True, not failed, GIB)
    assert "still shows 1 GiB" in outcome.disk.guest_error
    assert [error.hop for error in errors] == (["guest"] if failed else [])


def test_cold_bus_is_not_waited_for(host, clock):
    """The guest needs a reboot; that is told, and not waited for."""
    domain = FakeDomain(domain_xml(disk_xml(source=BY_ID, bus="sata", extra="<serial>volume-7</serial>")))
    domain.sizes["vda"] = [GIB, 2 * GIB]
    agent = FakeAgent([{"name": "/dev/sda", "partition": False, "address": {"serial": "volume-7"}}], {"sda": ["2097152\n"]})
    (outcome,), errors = run(host, FakeLibvirt(domain), AT, agent=agent, mode="auto", wait=30)
    assert (errors, outcome.satisfied, outcome.disk.guest_bytes, clock.now) == ([], True, GIB, 0.0)
    assert "still shows 1 GiB" in outcome.disk.guest_error


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"domain": "db1"}, "domain and target"),
        ({"target": "vda"}, "domain and target"),
        ({"uuid": "abc"}, "is not a UUID"),
        ({"source": "/dev/x", "size": "800"}, "no unit"),
    ],
)
def test_wishes_that_cannot_be_meant(item, reason):
    with pytest.raises(HopError, match=reason):
        parse_wish(item)


def test_contradicting_wishes(host, domain):
    _outcomes, errors = run(host, FakeLibvirt(domain), dict(AT, size="2G"), {"uuid": UUID})
    assert domain.calls == []
    assert "different sizes" in errors[0].message
