# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks attached and detached: in the running domain and its definition, and every refusal."""

from __future__ import annotations

import typing as t
from xml.etree import ElementTree

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_attach import DiskManager, DiskWish, changes_of, disk_result, disk_xml, parse_disk_wish
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_device import HostDevices
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_disk import Hypervisor
from ansible_collections.nvmeof.spdk.tests.unit.plugins.module_utils.fake_libvirt import (
    DOMAIN_UUID,
    GIB,
    UUID,
    FakeDomain,
    FakeHost,
    FakeLibvirt,
    domain_xml,
)
from ansible_collections.nvmeof.spdk.tests.unit.plugins.module_utils.fake_libvirt import (
    disk_xml as fake_disk,
)

OTHER = "2f1e6f0a-9a70-4c0c-8a5b-1b6a7d9e0c22"
BY_ID = "/dev/disk/by-id/nvme-uuid."


class World:
    """Two domains, two namespaces, one hypervisor."""

    def __init__(self, tmp_path) -> None:
        self.host = FakeHost(tmp_path)
        for number, uuid in enumerate((UUID, OTHER)):
            self.host.add_block(f"nvme0n{number + 1}", (259, number + 1), GIB, uuid=uuid)
            self.host.link(BY_ID + uuid, f"/dev/nvme0n{number + 1}")
        self.host.add_block("sda", (8, 0), GIB)
        self.host.link("/dev/disk/by-id/ata-1", "/dev/sda")
        self.host.add_qemu(200, DOMAIN_UUID, "/dev/sda", "/dev/nvme0n1", "/dev/nvme0n2")
        self.db1 = FakeDomain(domain_xml(fake_disk("vda", "/dev/disk/by-id/ata-1")))
        self.web1 = FakeDomain(domain_xml(name="web1", uuid=OTHER), state=5, name="web1")

    def run(self, *wishes: dict[str, t.Any], check: bool = False, wait: float = 0.3) -> list[DiskWish]:
        hypervisor = Hypervisor(FakeLibvirt(self.db1, self.web1), "qemu:///system", check, HostDevices(**self.host.arguments()))
        parsed = [parse_disk_wish(wish) for wish in wishes]
        manager = DiskManager(hypervisor, wait)
        manager.plan(parsed)
        if not check and not any(wish.error for wish in parsed):
            manager.apply(parsed)
        return parsed


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def disks(xml: str | None) -> dict[str, str]:
    return {node.find("target").get("dev"): node.find("source").get("dev") for node in ElementTree.fromstring(str(xml)).findall("devices/disk")}


def test_a_disk_comes_into_both_once_and_goes_again(world):
    wish = {"domain": "db1", "uuid": UUID}
    (checked,) = world.run(wish, check=True)
    assert world.db1.calls == []
    (done,) = world.run(wish)
    assert (done.error, done.target, done.serial, done.done) == (None, "vdb", UUID.replace("-", "")[:20], ["live", "config"])
    assert changes_of([checked], False).diff() == changes_of([done], True).diff()
    assert disks(world.db1.xml) == disks(world.db1.config) == {"vda": "/dev/disk/by-id/ata-1", "vdb": BY_ID + UUID}
    assert world.db1.calls == [("attach", 0, 3)]
    assert disk_result(done)["held"] is True
    assert not world.run(wish)[0].changed
    (gone,) = world.run({**wish, "state": "absent", "detach_running": True})
    assert (gone.error, gone.done) == (None, ["live", "config"])
    assert "vdb" not in disks(world.db1.xml) and "vdb" not in disks(world.db1.config)
    assert not world.run({**wish, "state": "absent"})[0].changed


def test_only_the_missing_half_is_attached(world):
    world.db1.config = domain_xml(fake_disk("vda", "/dev/disk/by-id/ata-1"), fake_disk("vdb", BY_ID + UUID))
    (wish,) = world.run({"domain": "db1", "uuid": UUID, "target": "vdb"})
    assert (wish.error, wish.live, wish.config) == (None, "attach", "none")
    assert world.db1.calls == [("attach", 0, 1)]
    (off,) = world.run({"domain": "web1", "uuid": OTHER})
    assert (off.error, off.live, off.config, off.target) == (None, "none", "attach", "vda")


def test_several_disks_of_one_call_get_targets_of_their_own(world):
    first, second = world.run({"domain": "db1", "uuid": UUID}, {"domain": DOMAIN_UUID, "uuid": OTHER})
    assert (first.target, second.target, first.error, second.error) == ("vdb", "vdc", None, None)


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ([{"domain": "none", "uuid": UUID}], "domains here: db1, web1"),
        ([{"domain": "web1", "source": "/dev/disk/by-id/ata-1"}], "already the disk vda of the domain db1"),
        ([{"domain": "db1", "uuid": UUID, "target": "vda"}], "is another disk"),
        ([{"domain": "db1", "source": "/dev/disk/by-id/ata-1", "target": "vdb"}], "already the disk vda of this domain"),
        ([{"domain": "db1", "uuid": UUID, "source": BY_ID + OTHER}], f"leads to the namespace {OTHER}"),
        ([{"domain": "db1", "uuid": "7c5a4f6e-0000-4d6a-9a53-0d7f1c7d2b11"}], "no block device"),
        ([{"domain": "db1", "uuid": UUID, "bus": "scsi"}], "no virtio-scsi controller"),
        ([{"domain": "db1", "uuid": UUID}, {"domain": "web1", "uuid": UUID}], "names this source twice"),
        ([{"domain": "db1", "uuid": UUID, "target": "vdb"}, {"domain": "db1", "uuid": OTHER, "target": "vdb"}], "names this target twice"),
        ([{"domain": "db1", "target": "vda", "state": "absent"}], "its guest may use the disk"),
        ([{"domain": "db1", "target": "vda", "uuid": UUID, "state": "absent", "detach_running": True}], "is /dev/disk/by-id/ata-1, not"),
    ],
)
def test_what_is_refused_touches_nothing(world, wishes, words):
    parsed = world.run(*wishes)
    (error,) = [wish.error for wish in parsed if wish.error]
    assert words in str(error) and error.remedy
    assert world.db1.calls == world.web1.calls == []


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"source": "/dev/nvme0n1"}, "another volume after the next start"),
        ({"source": "/dev/sda"}, "another volume after the next start"),
        ({}, "names no volume"),
        ({"uuid": "7c5a"}, "not a UUID"),
        ({"uuid": UUID, "target": "sdb"}, "does not fit bus virtio"),
        ({"uuid": UUID, "target": "vdb'/>"}, "not the name of a disk"),
        ({"uuid": UUID, "serial": "a<b"}, "serial"),
    ],
)
def test_what_cannot_be_meant(wish, words):
    with pytest.raises(HopError, match=words) as caught:
        parse_disk_wish({"domain": "db1", **wish})
    assert caught.value.remedy


def test_a_guest_that_does_not_let_go_keeps_its_disk_and_its_definition(world):
    world.run({"domain": "db1", "uuid": UUID})
    world.db1.lets_go = False
    (wish,) = world.run({"domain": "db1", "uuid": UUID, "state": "absent", "detach_running": True}, wait=0)
    assert "has not let go" in str(wish.error) and wish.done == []
    assert "vdb" in disks(world.db1.config)
    world.db1.lets_go = True
    (again,) = world.run({"domain": "db1", "uuid": UUID, "state": "absent", "detach_running": True})
    assert again.error is None and "vdb" not in disks(world.db1.config)


def test_every_value_is_escaped():
    wish = parse_disk_wish({"domain": "db1", "source": "/dev/disk/by-id/a'/><x y=\"&", "target": "vdb"})
    assert ElementTree.fromstring(disk_xml(wish)).find("source").get("dev") == wish.source
