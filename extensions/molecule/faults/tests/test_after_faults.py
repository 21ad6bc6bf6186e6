# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""After the faults: the last size everywhere, and not one wrong sector."""

from __future__ import annotations

import json
import os
import pathlib
import re
import typing as t

testinfra_hosts = ["ansible://hypervisors"]


def last(volume: str) -> int:
    """The bytes that the last growth wanted, as its report says."""
    rows = json.loads((pathlib.Path(os.environ["LAB_RESULTS"]) / "faults" / "last.json").read_text())
    return next(row["goal_bytes"] for row in rows if row["volume"] == f"pool-1/{volume}")


def test_the_last_size_is_everywhere(host: t.Any) -> None:
    """Heads by sysfs, QEMU by libvirt."""
    for name, volume in (("g1", "vol-1"), ("g2", "vol-2")):
        size = last(volume)
        uuid = host.ansible.get_variables()["lab_volumes"][volume]["uuid"]
        head = host.check_output("basename $(readlink -f /dev/disk/by-id/nvme-uuid.%s)", uuid)
        assert host.check_output("cat /sys/block/%s/size", head) == str(size // 512)
        if host.run("virsh domstate %s", name).stdout.strip() == "running":
            info = dict(re.findall(r"(\w+):\s+(\d+)", host.check_output("virsh domblkinfo %s vda", name)))
            assert (info["Capacity"], info["Physical"]) == (str(size), str(size))


def test_no_sector_was_lost(host: t.Any, guest: t.Any) -> None:
    """The guest that wrote all the while reads everything back."""
    small = guest("g1")
    if not small.is_here:
        assert host.check_output("virsh domstate g2") == "running"  # the hypervisor of the other guest
        return
    good, failed, bad = small.verify()
    assert good > 0
    assert (failed, bad) == (0, 0)
    assert f"vda={last('vol-1') // 512} isr=0x03" in small.console()
