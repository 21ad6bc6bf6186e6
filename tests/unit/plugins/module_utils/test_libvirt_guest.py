# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import typing as t

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_guest import GuestAgent, GuestError

# As qemu-ga 7.2 answers in a Debian guest: virtio-blk at 00:05.0, virtio-scsi controller at 00:04.0, one partition.
DISKS: list[dict[str, t.Any]] = [
    {
        "name": "/dev/vda",
        "dependencies": [],
        "partition": False,
        "address": {"bus-type": "virtio", "bus": 0, "target": 0, "unit": 0, "pci-controller": {"domain": 0, "bus": 0, "slot": 5, "function": 0}},
    },
    {"name": "/dev/vda1", "dependencies": ["/dev/vda"], "partition": True},
    {
        "name": "/dev/sda",
        "dependencies": [],
        "partition": False,
        "address": {
            "serial": "0QEMU_QEMU_HARDDISK_volume-7",
            "bus-type": "scsi",
            "bus": 0,
            "target": 0,
            "unit": 1,
            "pci-controller": {"domain": 0, "bus": 0, "slot": 4, "function": 0},
        },
    },
    {"name": "/dev/dm-0", "dependencies": ["/dev/vda1"], "partition": False},
]
SCSI = {"domain": 0, "bus": 0, "slot": 4, "function": 0}


def agent(disks: list[dict[str, t.Any]] | None = None) -> GuestAgent:
    return GuestAgent(lambda _command: json.dumps({"return": DISKS if disks is None else disks}))


def test_virtio_by_pci_address():
    assert agent().device("virtio", None, {"domain": 0, "bus": 0, "slot": 5, "function": 0}, None) == "/dev/vda"


def test_scsi_by_controller_and_unit():
    assert agent().device("scsi", None, {"controller": 0, "bus": 0, "target": 0, "unit": 1}, SCSI) == "/dev/sda"


def test_serial_number_wins():
    assert agent().device("virtio", "volume-7", {"domain": 0, "bus": 0, "slot": 9, "function": 0}, None) == "/dev/sda"


def test_serial_number_as_udev_cuts_it():
    disks = [{"name": "/dev/vdb", "partition": False, "address": {"serial": "7c5a4f6e-4f0e-4d6a-9", "bus-type": "virtio"}}]
    assert agent(disks).device("virtio", "7c5a4f6e-4f0e-4d6a-9a53-0d7f1c7d2b11", None, None) == "/dev/vdb"


@pytest.mark.parametrize(
    ("bus", "address", "controller"),
    [
        ("virtio", {"domain": 0, "bus": 0, "slot": 6, "function": 0}, None),
        ("virtio", None, None),
        ("scsi", {"controller": 0, "bus": 0, "target": 0, "unit": 0}, SCSI),
        ("scsi", {"controller": 0, "bus": 0, "target": 0, "unit": 1}, None),
        ("sata", {"controller": 0, "bus": 0, "target": 0, "unit": 1}, SCSI),
    ],
)
def test_never_guessed(bus, address, controller):
    with pytest.raises(GuestError, match="could not be told.*the guest has: /dev/vda, /dev/sda, /dev/dm-0"):
        agent().device(bus, None, address, controller)


def test_two_candidates_are_none():
    with pytest.raises(GuestError, match="could not be told"):
        agent([DISKS[0], dict(DISKS[0], name="/dev/vdb")]).device("virtio", None, {"slot": 5}, None)


def test_size_is_read_and_the_file_closed():
    seen: list[dict[str, t.Any]] = []

    def call(command: str) -> str:
        seen.append(json.loads(command))
        answers = {"guest-file-open": 7, "guest-file-read": {"buf-b64": base64.b64encode(b"2048\n").decode()}, "guest-file-close": {}}
        return json.dumps({"return": answers[seen[-1]["execute"]]})

    assert GuestAgent(call).size("/dev/vda") == 1048576
    assert seen[0]["arguments"] == {"path": "/sys/class/block/vda/size", "mode": "r"}
    assert seen[-1] == {"execute": "guest-file-close", "arguments": {"handle": 7}}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("not json", "is not JSON"), ('{"error": {"desc": "Command guest-get-disks has been disabled"}}', "has been disabled"), ("[]", "no result")],
)
def test_bad_answers(answer, reason):
    with pytest.raises(GuestError, match=reason):
        GuestAgent(lambda _command: answer).device("virtio", None, None, None)


def test_size_that_is_no_number():
    answers = iter([7, {"buf-b64": base64.b64encode(b"many\n").decode()}, {}])
    with pytest.raises(GuestError, match="holds 'many', not a number"):
        GuestAgent(lambda _command: json.dumps({"return": next(answers)})).size("/dev/vda")
