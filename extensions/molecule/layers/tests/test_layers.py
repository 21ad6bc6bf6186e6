# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""A guest on LUKS on a namespace, after one growth; read on the host without the collection's own modules."""

from __future__ import annotations

import json
import os
import re
import typing as t

testinfra_hosts = ["ansible://hypervisors"]

BYTES = 128 * 2**20
INSIDE = BYTES - 16 * 2**20


def test_device_mapping_and_disk(host: t.Any) -> None:
    """The mapping has the device less its header; QEMU has the mapping."""
    uuid = host.ansible.get_variables()["lab_volumes"]["vol-1"]["uuid"]
    head = host.check_output("basename $(readlink -f /dev/disk/by-id/nvme-uuid.%s)", uuid)
    assert host.check_output("cat /sys/block/%s/size", head) == str(BYTES // 512)
    status = host.check_output("cryptsetup status luks-1")
    assert re.search(r"key location:\s+keyring", status)
    assert host.check_output("blockdev --getsize64 /dev/mapper/luks-1") == str(INSIDE)
    info = dict(re.findall(r"(\w+):\s+(\d+)", host.check_output("virsh domblkinfo g1 vda")))
    assert (info["Capacity"], info["Physical"]) == (str(INSIDE), str(INSIDE))


def test_the_guest_saw_it_and_lost_nothing(host: t.Any, guest: t.Any) -> None:
    """Written before, during and after; read back through dm-crypt."""
    small = guest("g1")
    assert f"vda={INSIDE // 512} isr=0x03" in small.console()
    good, failed, bad = small.verify()
    assert good > 0
    assert (failed, bad) == (0, 0)


def test_the_report(host: t.Any) -> None:
    """The row has the layer, and no lag."""
    assert host.check_output("virsh domstate g1") == "running"
    with open(os.path.join(os.environ["LAB_RESULTS"], "layers.json"), encoding="utf-8") as file:
        (row,) = json.load(file)
    assert row["verdict"] == "unproven at guest"  # the small guest has no agent
    assert (row["bytes"]["device"], row["bytes"]["disk"]) == (BYTES, INSIDE)
    (layer,) = row["layers"]
    assert (layer["object"], layer["kind"], layer["bytes"], layer["overhead_bytes"]) == ("luks-1", "dm-crypt", INSIDE, 16 * 2**20)
