# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""Every hop after grow_volume.yml, read on the hosts without the collection's own modules."""

from __future__ import annotations

import json
import os
import re
import typing as t

testinfra_hosts = ["ansible://hypervisors"]

BYTES = 192 * 2**20


def rows() -> list[dict[str, t.Any]]:
    """The report that the playbook wrote."""
    with open(os.path.join(os.environ["LAB_RESULTS"], "grow.json"), encoding="utf-8") as file:
        return json.load(file)


def test_paths_and_head_have_the_new_size(host: t.Any) -> None:
    """Both hypervisors see it, whoever runs the guest."""
    uuid = host.ansible.get_variables()["lab_volumes"]["vol-1"]["uuid"]
    head = host.check_output("basename $(readlink -f /dev/disk/by-id/nvme-uuid.%s)", uuid)
    assert host.check_output("cat /sys/block/%s/size", head) == str(BYTES // 512)
    nsid = host.check_output("cat /sys/block/%s/nsid", head)
    paths = host.check_output("for p in /sys/class/nvme/nvme*/nvme*c*n*; do [ $(cat $p/nsid) = %s ] && cat $p/size; done; true", nsid).split()
    assert paths == [str(BYTES // 512)] * 2


def test_libvirt_shows_the_new_size(host: t.Any) -> None:
    """Capacity is QEMU's figure, Physical the device's."""
    if host.run("virsh domstate g1").rc != 0:
        assert host.check_output("virsh domstate g2") == "running"  # the hypervisor of the other guest
        return
    info = dict(re.findall(r"(\w+):\s+(\d+)", host.check_output("virsh domblkinfo g1 vda")))
    assert (info["Capacity"], info["Physical"]) == (str(BYTES), str(BYTES))


def test_the_other_volume_was_left_alone(host: t.Any) -> None:
    """Only the named volume grew."""
    volume = host.ansible.get_variables()["lab_volumes"]["vol-2"]
    head = host.check_output("basename $(readlink -f /dev/disk/by-id/nvme-uuid.%s)", volume["uuid"])
    assert host.check_output("cat /sys/block/%s/size", head) == str(volume["size_bytes"] // 512)


def test_the_report_has_bytes_per_hop_and_an_honest_verdict() -> None:
    """The small guest has no agent: its hop is unproven, never ok."""
    (row,) = rows()
    assert row["volume"] == "pool-1/vol-1"
    assert {hop: size for hop, size in row["bytes"].items() if hop != "guest"} == dict.fromkeys(("image", "bdev", "namespace", "path", "device", "disk"), BYTES)
    assert row["bytes"]["guest"] is None
    assert row["verdict"] == "unproven at guest"
    assert len(row["readings"]["path"]) == 4


def test_the_guest_saw_the_capacity_by_interrupt_and_lost_nothing(host: t.Any, guest: t.Any) -> None:
    """CAPS with the configuration-change bit, and writes that went on into the new part without an error or a wrong sector."""
    small = guest("g1")
    if not small.is_here:
        assert host.check_output("virsh domstate g2") == "running"  # the hypervisor of the other guest
        return
    assert f"vda={BYTES // 512} isr=0x03" in small.console()
    good, failed, bad = small.verify()
    assert good > 0
    assert (failed, bad) == (0, 0)
