# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""The host of a pair after failover.py, read without the collection's own modules."""

from __future__ import annotations

import re
import typing as t

testinfra_hosts = ["ansible://hypervisors"]

#: The size to which failover.py has grown vol-1.
BYTES = 192 * 2**20


def test_every_path_is_live_optimized_and_of_the_new_size(host: t.Any) -> None:
    """Two portals of two targets, one device."""
    uuid = host.ansible.get_variables()["lab_volumes"]["vol-1"]["uuid"]
    head = host.check_output("basename $(readlink -f /dev/disk/by-id/nvme-uuid.%s)", uuid)
    assert host.check_output("cat /sys/block/%s/size", head) == str(BYTES // 512)
    nsid = host.check_output("cat /sys/block/%s/nsid", head)
    listing = "for p in /sys/class/nvme/nvme*/nvme*c*n*; do [ $(cat $p/nsid) = %s ] && echo $(cat $p/../state) $(cat $p/ana_state) $(cat $p/size); done; true"
    assert host.check_output(listing, nsid).splitlines() == [f"live optimized {BYTES // 512}"] * 4


def test_the_guest_saw_the_growth_and_lost_nothing(host: t.Any, guest: t.Any) -> None:
    """Every sector it wrote through two outages and an upgrade is right, and no request has failed."""
    small = guest("g1")
    assert f"vda={BYTES // 512} isr=0x03" in small.console()
    assert "IOERR" not in small.console()
    assert {(int(failed), int(bad)) for failed, bad in re.findall(r"IO ok=\d+ err=(\d+) bad=(\d+)", small.console())} == {(0, 0)}
    good, failed, bad = small.verify()
    assert good > 0
    assert (failed, bad) == (0, 0)
