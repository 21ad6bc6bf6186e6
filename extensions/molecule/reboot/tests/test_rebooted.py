# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""The paths of the rebooted hypervisor were connected by its own unit, before any playbook came."""

from __future__ import annotations

import typing as t

testinfra_hosts = ["ansible://h2"]


def test_the_unit_connected_the_paths(host: t.Any) -> None:
    """The unit succeeded in this boot, and both controllers are live."""
    assert host.check_output("systemctl show -p Result --value nvmeof-spdk-connect") == "success"
    assert host.check_output("systemctl show -p ActiveState --value nvmeof-spdk-connect") == "active"
    states = host.check_output("for c in /sys/class/nvme/nvme*; do [ $(cat $c/transport) = tcp ] && cat $c/state; done; true").split()
    assert states == ["live", "live"]


def test_the_device_has_the_size_of_its_image(host: t.Any) -> None:
    """Found again by UUID."""
    for volume in host.ansible.get_variables()["lab_volumes"].values():
        assert host.file("/dev/disk/by-id/nvme-uuid." + volume["uuid"]).exists


def test_the_io_policy_is_that_of_the_rule(host: t.Any) -> None:
    """Nobody but udev could have set it in this boot."""
    nqn = host.ansible.get_variables()["lab_nqn"]
    found = host.check_output("cd /sys/class/nvme-subsystem; for s in *; do [ $(cat $s/subsysnqn) = %s ] && cat $s/iopolicy; done; true", nqn)
    assert found.split() == ["round-robin"]
