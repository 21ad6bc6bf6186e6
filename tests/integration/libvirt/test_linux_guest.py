# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Linux guest with virtio-blk and virtio-scsi disks and a guest agent."""

from __future__ import annotations

from private_libvirt import MIB


def test_guest_agent_proves_both_buses(linux_guest, loops, domains, resize, disk_info):
    """What the agent says is what the guest's kernel prints by itself."""
    blk, scsi = loops(32), loops(48)
    domain = domains(
        "linux",
        [{"target": "vda", "source": blk.device}, {"target": "sda", "source": scsi.device, "bus": "scsi"}],
        **linux_guest,
    )
    domain.start()
    before = {disk["target"]: disk for disk in disk_info(domain=[domain.name], guest_agent="require")}
    assert (before["vda"]["guest_bytes"], before["vda"]["guest_device"]) == (32 * MIB, "/dev/vda")
    assert (before["sda"]["guest_bytes"], before["sda"]["guest_device"]) == (48 * MIB, "/dev/sda")
    blk.grow(64 * MIB)
    scsi.grow(80 * MIB)
    lagging = {disk["target"]: disk for disk in disk_info(domain=[domain.name], guest_agent="auto")}
    assert {name: (disk["capacity_bytes"], disk["physical_bytes"], disk["guest_bytes"]) for name, disk in lagging.items()} == {
        "vda": (32 * MIB, 64 * MIB, 32 * MIB),
        "sda": (48 * MIB, 80 * MIB, 48 * MIB),
    }
    result = resize(
        disks=[{"source": blk.device, "size": "64M"}, {"domain": domain.name, "target": "sda"}],
        guest_agent="require",
    )
    assert not result["failed"], result
    after = {disk["target"]: disk for disk in result["disks"]}
    assert {name: (disk["capacity_bytes"], disk["guest_bytes"], disk["satisfied"]) for name, disk in after.items()} == {
        "vda": (64 * MIB, 64 * MIB, True),
        "sda": (80 * MIB, 80 * MIB, True),
    }
    domain.wait_line("vda=131072 sda=163840")
    assert domain.capacities() == {"vda": 64 * MIB, "sda": 80 * MIB}
    assert not resize(source=blk.device, guest_agent="require")["changed"]


def test_guest_without_agent(mini_guest, loops, domains, resize, disk_info):
    """``auto`` says why the guest's size is unknown, ``require`` fails; the resize itself is done and reported either way."""
    loop = loops(8)
    domain = domains("mini", [{"target": "vda", "source": loop.device}], **mini_guest)
    domain.start()
    loop.grow(16 * MIB)
    result = resize(domain=domain.name, target="vda", guest_agent="auto")
    assert not result["failed"] and result["changed"]
    (disk,) = result["disks"]
    assert disk["satisfied"] and disk["guest_bytes"] is None and "agent" in disk["guest_error"]
    loop.grow(24 * MIB)
    required = resize(domain=domain.name, target="vda", guest_agent="require")
    assert required["failed"] and required["changed"]
    assert required["error"]["hop"] == "guest" and "qemu-guest-agent" in required["error"]["remedy"]
    assert required["disks"][0]["capacity_bytes"] == 24 * MIB and not required["disks"][0]["satisfied"]
    (shown,) = disk_info(domain=[domain.name], guest_agent="auto")
    assert shown["guest_bytes"] is None and shown["guest_error"]
