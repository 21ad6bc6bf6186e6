# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""The hypervisor after converge: two paths by RDMA, the grown size, and data that goes both ways. Read from sysfs."""

from __future__ import annotations

import typing as t

testinfra_hosts = ["ansible://nvme_initiators"]

BYTES = 128 * 2**20


def test_both_paths_are_rdma_and_live(host: t.Any) -> None:
    """One controller per portal; no TCP one."""
    listing = host.check_output("for c in /sys/class/nvme/nvme*; do echo $(cat $c/transport) $(cat $c/state) $(cat $c/address); done")
    found = [line.split(maxsplit=2) for line in listing.splitlines()]
    assert [(transport, state) for transport, state, _address in found] == [("rdma", "live")] * 2
    portals = {portal["traddr"] for portal in host.ansible.get_variables()["lab_portals"]}
    assert {address.split("traddr=")[1].split(",")[0] for _transport, _state, address in found} == portals


def test_the_device_has_the_new_size(host: t.Any) -> None:
    """It followed the target over RDMA."""
    uuid = host.ansible.get_variables()["lab_volumes"]["vol-1"]["uuid"]
    device = host.check_output("basename $(readlink -f /dev/disk/by-id/nvme-uuid.%s)", uuid)
    assert host.check_output("cat /sys/block/%s/size", device) == str(BYTES // 512)


def test_what_is_written_in_the_new_part_is_read_again(host: t.Any) -> None:
    """The last MiB, past the page cache."""
    device = "/dev/disk/by-id/nvme-uuid." + host.ansible.get_variables()["lab_volumes"]["vol-1"]["uuid"]
    host.check_output("head -c 1M /dev/urandom >/tmp/pattern; dd if=/tmp/pattern of=%s bs=1M seek=127 oflag=direct status=none", device)
    assert host.run("dd if=%s bs=1M skip=127 count=1 iflag=direct status=none | cmp - /tmp/pattern", device).rc == 0


def test_the_paths_are_connected_again_at_boot_by_rdma(host: t.Any) -> None:
    """The file of the boot says so."""
    lines = host.file("/etc/nvme/nvmeof-spdk.connections").content_string.splitlines()[1:]
    assert len(lines) == 2
    assert all(line.startswith("transport=rdma,") for line in lines)
