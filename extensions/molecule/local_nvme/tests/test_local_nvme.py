# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""A drive in the target's PCI slot, as the host sees it, and as the target's kernel sees it when it is given back."""

from __future__ import annotations

import json
import typing as t

import pytest

testinfra_hosts = ["ansible://spdk_targets"]

ADDRESS = "0000:00:10.0"
UUID = "33333333-3333-4333-8333-333333333310"
DEVICE = f"/dev/disk/by-id/nvme-uuid.{UUID}"
# Linux ignores the UUIDs of QEMU's drives
LOCAL = "/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_LABNVME10"
CALL = """
import json, socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.settimeout(60)
    connection.connect("/var/tmp/spdk.sock")
    connection.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": sys.argv[1], "params": json.loads(sys.argv[2])}).encode())
    text = b""
    while not text.endswith(b"\\n"):
        text += connection.recv(1 << 20)
print(json.dumps(json.loads(text)["result"]))
"""


def ask(host: t.Any, method: str, **params: t.Any) -> t.Any:
    """One call to the target."""
    return json.loads(host.check_output("python3 -c %s %s %s", CALL, method, json.dumps(params)))


@pytest.fixture(name="initiator")
def _initiator(host: t.Any) -> t.Any:
    """The hypervisor."""
    from testinfra.host import Host

    return Host.get_host("ansible://h1", ansible_inventory=host.backend.ansible_inventory)


def test_the_target_drives_the_slot(host: t.Any) -> None:
    """The kernel's own driver does not have it, and its disk is gone."""
    assert host.check_output("basename $(readlink /sys/bus/pci/devices/%s/driver)", ADDRESS) == "uio_pci_generic"
    assert host.run("ls /sys/bus/pci/devices/%s/nvme", ADDRESS).rc != 0
    (bdev,) = ask(host, "bdev_get_bdevs", name="Nvme0n1")
    assert (bdev["uuid"], bdev["num_blocks"] * bdev["block_size"], bdev["claimed"]) == (UUID, 64 * 2**20, True)


def test_the_drive_comes_back_with_a_restarted_target(host: t.Any) -> None:
    """From the start-up file."""
    calls = [call for part in json.loads(host.file("/etc/spdk/spdk_tgt.json").content_string)["subsystems"] for call in part["config"]]
    (attach,) = [call["params"] for call in calls if call["method"] == "bdev_nvme_attach_controller"]
    assert (attach["name"], attach["traddr"]) == ("Nvme0", ADDRESS)


def test_what_the_host_writes_is_on_the_drive(host: t.Any, initiator: t.Any) -> None:
    """Written through the fabric, then read by the kernel that has the drive back."""
    device = initiator.check_output("basename $(readlink -f %s)", DEVICE)
    assert initiator.check_output("cat /sys/block/%s/size", device) == str(64 * 2**20 // 512)
    initiator.check_output("yes nvmeof | head -c 1M | dd of=%s bs=1M seek=3 oflag=direct status=none", DEVICE)
    wanted = initiator.check_output("yes nvmeof | head -c 1M | md5sum")
    nqn = host.ansible.get_variables()["lab_nqn"]
    assert ask(host, "nvmf_subsystem_remove_ns", nqn=nqn, nsid=1)
    assert ask(host, "bdev_nvme_detach_controller", name="Nvme0")
    base = f"/sys/bus/pci/devices/{ADDRESS}"
    host.check_output(
        "echo nvme >%s/driver_override; echo %s >%s/driver/unbind; echo %s >/sys/bus/pci/drivers_probe; udevadm settle", base, ADDRESS, base, ADDRESS
    )
    assert host.check_output("dd if=%s bs=1M skip=3 count=1 iflag=direct status=none | md5sum", LOCAL) == wanted
    host.check_output("echo uio_pci_generic >%s/driver_override; echo %s >%s/driver/unbind; echo %s >/sys/bus/pci/drivers_probe", base, ADDRESS, base, ADDRESS)
