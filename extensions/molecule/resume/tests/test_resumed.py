# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""After the interrupted growths: the last size everywhere, and not one wrong sector."""

from __future__ import annotations

import re
import typing as t

testinfra_hosts = ["ansible://hypervisors"]

#: 256 MiB and three steps of 32 MiB: see converge.yml and the moments of tests/lab/interrupt.py.
BYTES = (256 + 3 * 32) * 2**20


def test_the_last_size_is_everywhere(host: t.Any) -> None:
    """Head by sysfs, QEMU by libvirt."""
    uuid = host.ansible.get_variables()["lab_volumes"]["vol-1"]["uuid"]
    head = host.check_output("basename $(readlink -f /dev/disk/by-id/nvme-uuid.%s)", uuid)
    assert host.check_output("cat /sys/block/%s/size", head) == str(BYTES // 512)
    if host.run("virsh domstate g1").rc == 0:
        info = dict(re.findall(r"(\w+):\s+(\d+)", host.check_output("virsh domblkinfo g1 vda")))
        assert (info["Capacity"], info["Physical"]) == (str(BYTES), str(BYTES))


def test_no_sector_was_lost(host: t.Any, guest: t.Any) -> None:
    """The guest reads back everything it wrote, old part and new parts."""
    small = guest("g1")
    if not small.is_here:
        assert host.check_output("virsh domstate g2") == "running"  # the hypervisor of the other guest
        return
    good, failed, bad = small.verify()
    assert good > 0
    assert (failed, bad) == (0, 0)
    assert f"vda={BYTES // 512} isr=0x03" in small.console()
