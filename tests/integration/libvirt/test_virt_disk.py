# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_disk against a real libvirtd and QEMU."""

from __future__ import annotations

import os
from xml.etree import ElementTree

import pytest
from private_libvirt import MIB


@pytest.fixture
def stable(hypervisor):
    """Gives a loop device a name as udev gives one to a namespace; the links end with the test."""
    links = []

    def make(loop):
        links.append(os.path.join(hypervisor.folder, f"by-id-{os.path.basename(loop.device)}"))
        os.symlink(loop.device, links[-1])
        return links[-1]

    yield make
    for link in links:
        os.unlink(link)


def disks(hypervisor, domain, *options):
    """Target -> (source, serial, cache, io) as virsh shows it."""
    root = ElementTree.fromstring(hypervisor.virsh("dumpxml", domain.name, *options).stdout)
    found = {}
    for node in root.findall("devices/disk"):
        driver = node.find("driver")
        found[node.find("target").get("dev")] = (node.find("source").get("dev"), node.findtext("serial"), driver.get("cache"), driver.get("io"))
    return found


def test_attach_and_detach_of_a_running_domain(hypervisor, mini_guest, loops, domains, stable, disk):
    """Live and definition, once; gone again when the guest has let go of it."""
    first, second, third = loops(8), loops(16), loops(24)
    domain = domains("mini", [{"target": "vda", "source": first.device}], **mini_guest)
    domain.start()
    items = [{"domain": domain.name, "source": stable(second), "serial": "vol-2"}, {"domain": domain.name, "source": stable(third), "target": "vdc"}]
    checked = disk(check=True, disks=items)
    assert list(disks(hypervisor, domain)) == ["vda"]
    result = disk(disks=items)
    assert not result["failed"], result
    assert result["changed"] and checked["changed"]
    assert checked["diff"] == result["diff"] and checked["changes"] == result["changes"]
    assert [(entry["target"], entry["capacity_bytes"], entry["held"]) for entry in result["disks"]] == [("vdb", 16 * MIB, True), ("vdc", 24 * MIB, True)]
    for options in ((), ("--inactive",)):
        shown = disks(hypervisor, domain, *options)
        assert shown["vdb"] == (items[0]["source"], "vol-2", "none", "native")
        assert set(shown) == {"vda", "vdb", "vdc"}
    again = disk(disks=items)
    assert not again["failed"] and not again["changed"]

    gone = [{**item, "state": "absent"} for item in items]
    refused = disk(disks=gone)
    assert refused["failed"] and not refused["changed"]
    assert "guest may use the disk" in refused["msg"]
    assert set(disks(hypervisor, domain)) == {"vda", "vdb", "vdc"}
    result = disk(disks=[{**item, "detach_running": True} for item in gone])
    assert not result["failed"], result
    for options in ((), ("--inactive",)):
        assert set(disks(hypervisor, domain, *options)) == {"vda"}
    again = disk(disks=gone)
    assert not again["failed"] and not again["changed"]


def test_a_paused_guest_does_not_let_go(hypervisor, mini_guest, loops, domains, stable, disk):
    """The request is with the guest, the definition keeps the disk; the run after the resume ends it."""
    first, second = loops(8), loops(16)
    domain = domains("mini", [{"target": "vda", "source": first.device}], **mini_guest)
    domain.start()
    source = stable(second)
    assert disk(domain=domain.name, source=source)["changed"]
    hypervisor.virsh("suspend", domain.name)
    result = disk(domain=domain.name, source=source, state="absent", detach_running=True, wait_timeout=1)
    assert result["failed"] and "has not let go" in result["msg"], result
    assert "vdb" in disks(hypervisor, domain, "--inactive")
    hypervisor.virsh("resume", domain.name)
    result = disk(domain=domain.name, source=source, state="absent", detach_running=True)
    assert not result["failed"], result
    assert set(disks(hypervisor, domain)) == set(disks(hypervisor, domain, "--inactive")) == {"vda"}


def test_a_source_of_another_domain_or_an_unstable_one(hypervisor, mini_guest, loops, domains, stable, disk):
    """Also when that domain does not run, and whatever name its source has."""
    first, second = loops(8), loops(8)
    owner = domains("mini", [{"target": "vda", "source": first.device}], **mini_guest)
    other = domains("mini", [{"target": "vda", "source": second.device}], **mini_guest)
    result = disk(domain=other.name, source=stable(first))
    assert result["failed"] and f"already the disk vda of the domain {owner.name}" in result["msg"]
    assert set(disks(hypervisor, other)) == {"vda"}
    result = disk(domain=other.name, source="/dev/nvme9n9")
    assert result["failed"] and "after the next start" in result["msg"]


def test_a_domain_that_does_not_run(hypervisor, mini_guest, loops, domains, stable, disk):
    """Only the definition; on a virtio-scsi controller, and refused without one."""
    first, second = loops(8), loops(16)
    domain = domains("mini", [{"target": "vda", "source": first.device}], **mini_guest)
    source = stable(second)
    refused = disk(domain=domain.name, source=source, bus="scsi")
    assert refused["failed"] and "virtio-scsi" in refused["msg"]
    path = os.path.join(hypervisor.folder, "controller.xml")
    with open(path, "w", encoding="utf-8") as handle:
        handle.write("<controller type='scsi' index='0' model='virtio-scsi'/>")
    hypervisor.virsh("attach-device", domain.name, path, "--config")
    result = disk(domain=domain.name, source=source, bus="scsi")
    assert not result["failed"], result
    assert (result["disks"][0]["target"], result["disks"][0]["live"], result["disks"][0]["config"]) == ("sda", "none", "attach")
    domain.start("--paused")
    # QEMU takes a disk of virtio-scsi away without asking the guest
    assert not disk(domain=domain.name, source=source, bus="scsi")["changed"]
    result = disk(domain=domain.name, source=source, bus="scsi", state="absent", detach_running=True)
    assert not result["failed"], result
    assert set(disks(hypervisor, domain)) == {"vda"}
