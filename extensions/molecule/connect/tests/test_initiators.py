# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""The hypervisors after connect_initiators.yml, read from sysfs."""

from __future__ import annotations

import typing as t

testinfra_hosts = ["ansible://nvme_initiators"]

#: host NQN by host, over the runs of one test for all hosts.
SEEN: dict[str, str] = {}


def controllers(host: t.Any) -> list[dict[str, str]]:
    """Every fabrics controller: address, state, ctrl_loss_tmo."""
    listing = host.check_output(
        "for c in /sys/class/nvme/nvme*; do [ $(cat $c/transport) = tcp ] && echo $(cat $c/state) $(cat $c/ctrl_loss_tmo) $(cat $c/address); done; true"
    )
    return [dict(zip(("state", "ctrl_loss_tmo", "address"), line.split(maxsplit=2))) for line in listing.splitlines()]


def test_both_paths_are_live_and_never_given_up(host: t.Any) -> None:
    """One controller per portal, live, ctrl_loss_tmo off: an expired one would remove the device under the guest."""
    portals = {portal["traddr"] for portal in host.ansible.get_variables()["lab_portals"]}
    found = controllers(host)
    assert {dict(part.split("=", 1) for part in one["address"].split(","))["traddr"] for one in found} == portals
    assert [one["state"] for one in found] == ["live"] * len(portals)
    assert {one["ctrl_loss_tmo"] for one in found} == {"off"}


def test_every_volume_is_one_multipath_device_of_its_size(host: t.Any) -> None:
    """The link by UUID leads to a head whose size is the image's."""
    for volume in host.ansible.get_variables()["lab_volumes"].values():
        device = host.check_output("readlink -f /dev/disk/by-id/nvme-uuid.%s", volume["uuid"])
        assert host.check_output("cat /sys/block/%s/size", device.rsplit("/", 1)[1]) == str(volume["size_bytes"] // 512)


def test_the_host_has_an_identity_of_its_own(host: t.Any) -> None:
    """hostnqn and hostid belong together; two hosts of one image must not share them."""
    nqn = host.file("/etc/nvme/hostnqn").content_string.strip()
    assert nqn == "nqn.2014-08.org.nvmexpress:uuid:" + host.file("/etc/nvme/hostid").content_string.strip()
    shared = [other for other in SEEN if other != host.backend.host and SEEN[other] == nqn]
    SEEN[host.backend.host] = nqn
    assert shared == []


def test_the_paths_are_connected_again_at_boot(host: t.Any) -> None:
    """A unit of the role, enabled, with one line per path and no host identity in it."""
    assert host.service("nvmeof-spdk-connect").is_enabled
    lines = [line for line in host.file("/etc/nvme/nvmeof-spdk.connections").content_string.splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(host.ansible.get_variables()["lab_portals"])
    assert all(line.startswith("transport=tcp,traddr=") and ",ctrl_loss_tmo=-1," in line for line in lines)


def test_the_kernel_is_prepared_now_and_at_boot(host: t.Any) -> None:
    """Modules of the transport, and an io policy that the subsystem got when it appeared, from udev."""
    lines = host.file("/etc/modules-load.d/nvmeof-spdk.conf").content_string.split("\n")
    assert [line for line in lines if line and not line.startswith("#")] == ["nvme-fabrics", "nvme-tcp"]
    assert "options nvme_core multipath=Y" in host.file("/etc/modprobe.d/nvmeof-spdk.conf").content_string
    nqn = host.ansible.get_variables()["lab_nqn"]
    found = host.check_output("cd /sys/class/nvme-subsystem; for s in *; do [ $(cat $s/subsysnqn) = %s ] && cat $s/iopolicy; done; true", nqn)
    assert found.split() == ["round-robin"]
