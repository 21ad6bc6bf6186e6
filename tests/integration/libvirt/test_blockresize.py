# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_blockresize against a real libvirtd and QEMU, with the mini guest as the witness."""

from __future__ import annotations

import os
import re

from private_libvirt import MIB, wait_for


def test_grow_under_load(hypervisor, mini_guest, loops, domains, resize, disk_info):
    """The guest learns the size by an interrupt and uses the new part; all data stays right."""
    loop = loops(8)
    domain = domains("mini", [{"target": "vda", "source": loop.device}], **mini_guest)
    domain.start()
    domain.send("w")
    domain.wait_line("gen=1 ")
    loop.grow(24 * MIB)
    (before,) = disk_info(domain=[domain.name])
    assert (before["capacity_bytes"], before["physical_bytes"], before["held"]) == (8 * MIB, 24 * MIB, True)
    result = resize(domain=domain.name, target="vda", size="24M")
    assert not result["failed"], result
    assert result["changed"]
    (disk,) = result["disks"]
    assert disk["before_bytes"] == 8 * MIB
    assert (disk["capacity_bytes"], disk["physical_bytes"], disk["satisfied"], disk["changed"]) == (24 * MIB, 24 * MIB, True, True)
    assert result["diff"][0]["before"] == {"capacity_bytes": 8 * MIB}
    assert result["diff"][0]["after"] == {"capacity_bytes": 24 * MIB}
    assert hypervisor.block_info(domain.name, "vda") == (24 * MIB, 24 * MIB)
    assert re.search(r"vda=49152 isr=0x03", domain.wait_line("vda=49152"))
    # 256 sectors before, 256 more in the new part; a round over all of them must begin and end after the growth
    generation = int(re.search(r"gen=(\d+)", domain.wait_line("slots=512")).group(1))
    domain.wait_line(f"gen={generation + 2} ")
    domain.send("x")
    domain.send("v")
    assert domain.wait_line("VERIFY").strip() == "VERIFY ok=512 err=0 bad=0"
    assert not re.search(r"IOERR|BAD", domain.output())

    again = resize(domain=domain.name, target="vda", size="24M")
    assert not again["failed"]
    assert not again["changed"]
    assert again["disks"][0]["satisfied"]
    assert again["diff"] == []


def test_check_mode_touches_nothing(hypervisor, mini_guest, loops, domains, resize):
    """Check mode tells what the real run would do."""
    loop = loops(8)
    domain = domains("mini", [{"target": "vda", "source": loop.device}], **mini_guest)
    domain.start("--paused")
    assert not resize(check=True, domain=domain.name, target="vda")["changed"]
    loop.grow(16 * MIB)
    result = resize(check=True, source=loop.device)
    assert result["changed"] and not result["failed"]
    assert result["changes"] == [
        {"kind": "disk", "name": f"{domain.name}:vda", "action": "grow", "before": {"capacity_bytes": 8 * MIB}, "after": {"capacity_bytes": 16 * MIB}}
    ]
    assert hypervisor.block_info(domain.name, "vda") == (8 * MIB, 16 * MIB)
    not_yet = resize(check=True, domain=domain.name, target="vda", size="32M")
    assert not_yet["changed"] and not not_yet["failed"]
    assert not not_yet["disks"][0]["satisfied"]
    assert "hop device lags" in not_yet["disks"][0]["message"]


def test_paused_domain(mini_guest, loops, domains, resize, disk_info):
    """A paused domain is resized; its problem list says that the guest sees it later."""
    loop = loops(8)
    domain = domains("mini", [{"target": "vda", "source": loop.device}], **mini_guest)
    domain.start()
    domain.host.virsh("suspend", domain.name)
    loop.grow(16 * MIB)
    (disk,) = disk_info(domain=[domain.uuid])
    assert disk["domain_state"] == "paused"
    assert [problem["code"] for problem in disk["problems"]] == ["paused"]
    result = resize(source=loop.device)
    assert result["changed"] and result["disks"][0]["satisfied"]
    assert "resumed" in result["disks"][0]["message"]
    assert domain.capacities() == {"vda": 8 * MIB}
    domain.host.virsh("resume", domain.name)
    domain.wait_line("vda=32768 isr=0x03")


def test_shut_off_domain(mini_guest, loops, domains, resize, disk_info):
    """Nothing to do: the size is picked up at the start."""
    loop = loops(8)
    domain = domains("mini", [{"target": "vda", "source": loop.device}], **mini_guest)
    loop.grow(16 * MIB)
    (disk,) = disk_info(domain=[domain.name])
    assert (disk["domain_state"], disk["held"], disk["capacity_bytes"]) == ("shut off", None, 16 * MIB)
    assert [problem["code"] for problem in disk["problems"]] == ["shut_off"]
    result = resize(domain=domain.name, target="vda", size="16M")
    assert not result["failed"] and not result["changed"]
    assert result["disks"][0]["satisfied"] and "next start" in result["disks"][0]["message"]
    domain.start()
    assert domain.capacities() == {"vda": 16 * MIB}


def test_sizes_that_are_refused(hypervisor, mini_guest, loops, domains, resize):
    """QEMU would answer "success" to most of these; nothing may change."""
    loop = loops(16)
    domain = domains("mini", [{"target": "vda", "source": loop.device}], **mini_guest)
    domain.start("--paused")
    lagging = resize(domain=domain.name, target="vda", size="17M")
    assert lagging["failed"] and not lagging["changed"]
    assert lagging["error"]["hop"] == "device"
    assert lagging["error"]["object"] == f"{domain.name}:vda"
    assert "the host has not seen the new size" in lagging["msg"] and "nvme_rescan" in lagging["error"]["remedy"]
    below = resize(domain=domain.name, target="vda", size="15M")
    assert below["failed"] and "capacity only grows" in below["msg"]
    for size, reason in (("16", "no unit"), ("0G", "zero"), ("-1G", "not a size"), ("0.5G", "not a size"), ("16X", "unknown unit")):
        result = resize(domain=domain.name, target="vda", size=size)
        assert result["failed"] and reason in result["msg"], result
    loop.grow(32 * MIB)
    between = resize(domain=domain.name, target="vda", size="24M")
    assert between["failed"] and "the whole device" in between["msg"]
    assert hypervisor.block_info(domain.name, "vda") == (16 * MIB, 32 * MIB)


def test_file_is_never_touched(hypervisor, mini_guest, domains, resize, disk_info):
    """A block resize of a file cuts or extends the file itself, so it is not done."""
    path = os.path.join(hypervisor.folder, "disk.img")
    with open(path, "wb") as handle:
        handle.truncate(16 * MIB)
    domain = domains("mini", [{"target": "vda", "source": path, "type": "file"}], **mini_guest)
    domain.start("--paused")
    for size in ("8M", "16M", "32M", None):
        result = resize(source=path, size=size)
        assert result["failed"] and "type file" in result["msg"], result
        assert os.path.getsize(path) == 16 * MIB
    (disk,) = disk_info(domain=[domain.name])
    assert [problem["code"] for problem in disk["problems"]] == ["not_block"]
    assert disk["held"] is None and disk["device"] is None


def test_read_only_slice_and_empty_drives(mini_guest, loops, domains, resize, disk_info):
    """What QEMU refuses is refused before QEMU is asked, each with its reason; one bad disk does not keep the good one back."""
    first, second, third = loops(8), loops(8), loops(8)
    domain = domains(
        "mini",
        [
            {"target": "vda", "source": first.device},
            {"target": "vdb", "source": second.device, "readonly": True},
            {"target": "vdc", "source": third.device, "slice": 4 * MIB},
            {"target": "hdc", "source": None, "device": "cdrom", "bus": "ide"},
        ],
        **mini_guest,
    )
    domain.start("--paused")
    for loop in (first, second, third):
        loop.grow(16 * MIB)
    codes = {disk["target"]: [problem["code"] for problem in disk["problems"]] for disk in disk_info(domain=[domain.name])}
    assert codes == {"hdc": ["not_a_disk"], "vda": ["paused"], "vdb": ["read_only", "paused"], "vdc": ["slice", "paused"]}
    result = resize(disks=[{"domain": domain.name, "target": target} for target in ("vda", "vdb", "vdc", "hdc", "vdz")])
    assert result["failed"]
    assert result["changed"]
    assert result["msg"].startswith("4 disks failed")
    for word in ("read-only", "slice", "cdrom", "vdz"):
        assert word in result["msg"]
    assert len(result["errors"]) == 4
    assert {disk["target"]: disk["satisfied"] for disk in result["disks"]} == {"hdc": False, "vda": True, "vdb": False, "vdc": False}
    assert domain.host.block_info(domain.name, "vda") == (16 * MIB, 16 * MIB)


def test_block_job(mini_guest, loops, domains, resize, disk_info):
    """A disk that is being copied is left alone until the job is gone."""
    loop, copy = loops(8), loops(8)
    domain = domains("mini", [{"target": "vda", "source": loop.device}], **mini_guest)
    domain.start()
    domain.host.virsh("blockcopy", domain.name, "vda", "--dest", copy.device, "--blockdev", "--format", "raw", "--transient-job")
    loop.grow(16 * MIB)
    (disk,) = disk_info(domain=[domain.name])
    assert disk["block_job"] == "copy"
    result = resize(domain=domain.name, target="vda")
    assert result["failed"] and "block job (copy)" in result["msg"], result
    domain.host.virsh("blockjob", domain.name, "vda", "--abort")
    wait_for("the end of the job", lambda: disk_info(domain=[domain.name])[0]["block_job"] is None)
    assert resize(domain=domain.name, target="vda")["changed"]


def test_dead_device_is_found(hypervisor, mini_guest, loops, domains, resize, disk_info):
    """The path leads to another device than QEMU holds: libvirt sees nothing, the module refuses."""
    old, new = loops(8), loops(16)
    path = os.path.join(hypervisor.folder, "by-name")
    os.symlink(old.device, path)
    try:
        domain = domains("mini", [{"target": "vda", "source": path}], **mini_guest)
        domain.start()
        assert disk_info(domain=[domain.name])[0]["held"] is True
        os.unlink(path)
        os.symlink(new.device, path)
        (disk,) = disk_info(source=[path])
        assert (disk["held"], disk["device"]) == (False, new.device)
        assert (disk["problems"][0]["code"], disk["problems"][0]["severity"]) == ("held", "critical")
        result = resize(domain=domain.name, target="vda")
        assert result["failed"] and "reads zeros" in result["msg"] and "shut the domain" in result["msg"]
        assert hypervisor.block_info(domain.name, "vda")[0] == 8 * MIB
        os.unlink(path)
        gone = resize(domain=domain.name, target="vda")
        assert gone["failed"] and "No such file" in gone["msg"]
    finally:
        if os.path.lexists(path):
            os.unlink(path)


def test_shrunken_device_is_critical(hypervisor, mini_guest, loops, domains, resize, disk_info):
    """A block resize would now cut the guest's disk."""
    loop = loops(16)
    domain = domains("mini", [{"target": "vda", "source": loop.device}], **mini_guest)
    domain.start("--paused")
    loop.grow(8 * MIB)
    (disk,) = disk_info(domain=[domain.name])
    assert [(problem["code"], problem["severity"]) for problem in disk["problems"]] == [("shrunk", "critical"), ("paused", "warning")]
    result = resize(domain=domain.name, target="vda")
    assert result["failed"] and "would cut" in result["msg"]
    assert hypervisor.block_info(domain.name, "vda") == (16 * MIB, 8 * MIB)


def test_absent_things_are_named(mini_guest, loops, domains, resize):
    """The error says what there is."""
    loop = loops(8)
    domain = domains("mini", [{"target": "vda", "source": loop.device}], **mini_guest)
    result = resize(domain="nosuch", target="vda")
    assert result["failed"] and "no domain nosuch" in result["msg"] and domain.name in result["msg"]
    result = resize(domain=domain.name, target="vdz")
    assert result["failed"] and f"{domain.name}:vda ({loop.device})" in result["msg"]
    result = resize(uuid="7c5a4f6e-4f0e-4d6a-9a53-0d7f1c7d2b11")
    assert result["failed"] and "no disk matches" in result["msg"]
    result = resize(uuid="not-a-uuid")
    assert result["failed"] and "is not a UUID" in result["msg"]
    result = resize(domain=domain.name)
    assert result["failed"] and "domain and target" in result["msg"]
    result = resize()
    assert result["failed"] and "one of the following is required" in result["msg"]


def test_daemon_unreachable(resize):
    """No traceback: the URI, libvirt's own words and what to do."""
    result = resize(uri="qemu+unix:///system?socket=/nonexistent", domain="any", target="vda")
    assert result["failed"]
    assert result["error"]["object"] == "qemu+unix:///system?socket=/nonexistent"
    assert result["error"]["cause"].startswith("libvirt code 38:")
    assert "systemctl start libvirtd" in result["error"]["remedy"]


def test_disk_of_two_domains(hypervisor, mini_guest, loops, domains, resize):
    """Named by its source, a shared disk grows in every domain; a wish that contradicts itself is refused."""
    loop = loops(8)
    pair = [domains("mini", [{"target": "vda", "source": loop.device, "shared": True}], **mini_guest) for _number in range(2)]
    for domain in pair:
        domain.start()
    loop.grow(16 * MIB)
    twice = resize(disks=[{"source": loop.device, "size": "16M"}, {"domain": pair[0].name, "target": "vda", "size": "12M"}], check=True)
    assert twice["failed"] and "different sizes" in twice["msg"]
    result = resize(source=loop.device)
    assert not result["failed"], result
    assert sorted(disk["domain"] for disk in result["disks"] if disk["changed"]) == sorted(domain.name for domain in pair)
    for domain in pair:
        domain.wait_line("vda=32768 isr=0x03")
        assert hypervisor.block_info(domain.name, "vda") == (16 * MIB, 16 * MIB)
