# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""bdev_nvme: drives in this machine's PCI slots. Other hosts' subsystems cannot be attached, and a slot without a drive fails as recorded.

SPDK drives a device from user space, and so only one that has a driver for that (uio_pci_generic, vfio-pci). The simulator has no such driver:
the lab gives it the medium of the drive as another disk, named in DRIVES.
No release's answers for a drive that is there are recorded; they follow module/bdev/nvme of 26.05.
"""

from __future__ import annotations

import errno
import json
import os
import re
from typing import TYPE_CHECKING, Any

from .bdev import Bdev
from .decode import RpcError, errno_error
from .nvmf import DHGROUPS, DIGESTS
from .release import Release

if TYPE_CHECKING:
    from .bdev import Bdevs

PCI = "/sys/bus/pci/devices"
USER_DRIVERS = ("uio_pci_generic", "vfio-pci", "igb_uio")
#: [{"address", "uuid", "serial", "model", "disk"}]: the drives of this machine, one namespace each.
DRIVES = os.environ.get("SPDK_SIM_DRIVES", "/opt/spdk/drives.json")
OPTIONS: dict[str, Any] = {
    "action_on_timeout": "none",
    "timeout_us": 0,
    "timeout_admin_us": 0,
    "keep_alive_timeout_ms": 10000,
    "arbitration_burst": 0,
    "low_priority_weight": 0,
    "medium_priority_weight": 0,
    "high_priority_weight": 0,
    "nvme_adminq_poll_period_us": 10000,
    "nvme_ioq_poll_period_us": 0,
    "io_queue_requests": 0,
    "delay_cmd_submit": True,
    "transport_retry_count": 4,
    "bdev_retry_count": 3,
    "transport_ack_timeout": 0,
    "ctrlr_loss_timeout_sec": 0,
    "reconnect_delay_sec": 0,
    "fast_io_fail_timeout_sec": 0,
    "disable_auto_failback": False,
    "generate_uuids": False,
    "transport_tos": 0,
    "nvme_error_stat": False,
    "rdma_srq_size": 0,
    "io_path_stat": False,
    "allow_accel_sequence": False,
    "rdma_max_cq_size": 0,
    "rdma_cm_event_timeout_ms": 0,
    "dhchap_digests": DIGESTS,
    "dhchap_dhgroups": DHGROUPS,
    "rdma_umr_per_io": False,
    "tcp_connect_timeout_ms": 0,
    "enable_flush": False,
    "multipath_opts": {"policy": "active_passive"},
}

#: As recorded of 19.01.1.
OLD_OPTIONS: dict[str, Any] = {"action_on_timeout": "none", "timeout_us": 0, "retry_count": 4, "nvme_adminq_poll_period_us": 1000000}
_ADDRESS = re.compile(r"(?:([0-9a-fA-F]{1,4})[:.])?([0-9a-fA-F]{1,2})[:.]([0-9a-fA-F]{1,2})(?:\.([0-7]))?\Z")


def pci_address(text: str) -> str | None:
    """A PCI address in full (``0000:18:00.0``), as spdk_pci_addr_parse reads it; None for anything else."""
    match = _ADDRESS.match(text)
    if match is None:
        return None
    domain, bus, device, function = (int(part or "0", 16) for part in match.groups())
    return f"{domain:04x}:{bus:02x}:{device:02x}.{function}"


def find_drive(address: str) -> dict[str, str] | None:
    """The drive in a PCI slot, if a user-space driver may have it."""
    try:
        with open(DRIVES, encoding="utf-8") as file:
            drives = {drive["address"]: drive for drive in json.load(file)}
        driver = os.path.basename(os.readlink(f"{PCI}/{address}/driver"))
    except OSError:
        return None
    return drives.get(address) if driver in USER_DRIVERS else None


class NvmeBdev(Bdev):
    """The namespace of an attached drive."""

    product = "NVMe disk"
    io_types = frozenset("read write unmap flush reset nvme_admin nvme_io nvme_io_md write_zeroes compare abort".split())
    numa_id = -1

    def __init__(self, controller: "Controller", drive: dict[str, str]) -> None:
        self.controller, self.device = controller, os.path.realpath(drive["disk"])
        with open(self.device, "rb") as medium:
            size = medium.seek(0, os.SEEK_END)
        super().__init__(f"{controller.name}n1", 512, size // 512, drive["uuid"])

    def driver_specific(self) -> dict[str, Any]:
        drive = self.controller.drive
        data = {"cntlid": 0, "vendor_id": "0x1b36", "model_number": drive["model"], "serial_number": drive["serial"]}
        data |= {"firmware_revision": "1.0", "subnqn": f"nqn.2019-08.org.qemu:{drive['serial']}"}
        data |= {"oacs": {"security": 0, "format": 1, "firmware": 0, "ns_manage": 1}, "multi_ctrlr": False, "ana_reporting": False}
        one = {"pci_address": self.controller.address, "trid": self.controller.trid(), "ctrlr_data": data, "vs": {"nvme_version": "1.4"}}
        return {"nvme": [one | {"ns_data": {"id": 1, "can_share": False}}], "mp_policy": "active_passive"}


class Controller:
    """An attached drive."""

    def __init__(self, p: dict[str, Any], address: str, drive: dict[str, str]) -> None:
        self.name, self.address, self.drive = p["name"], address, drive
        self.bdev = NvmeBdev(self, drive)

    def trid(self) -> dict[str, str]:
        """The transport id in the answers."""
        return {"trtype": "PCIe", "traddr": self.address}

    def describe(self) -> dict[str, Any]:
        """The shape of bdev_nvme_get_controllers."""
        one = {"state": "enabled", "trid": self.trid(), "cntlid": 0}
        return {"name": self.name, "ctrlrs": [one | {"host": {"nqn": "", "addr": "", "svcid": ""}, "numa_id": -1}]}

    def config(self) -> dict[str, Any]:
        """The entry of framework_get_config."""
        params: dict[str, Any] = {"name": self.name, **self.trid(), "prchk_reftag": False, "prchk_guard": False}
        params |= {"ctrlr_loss_timeout_sec": 0, "reconnect_delay_sec": 0, "fast_io_fail_timeout_sec": 0, "hdgst": False, "ddgst": False}
        return {"method": "bdev_nvme_attach_controller", "params": params}


class NvmeHost:
    """The initiator side of SPDK."""

    def __init__(self, bdevs: "Bdevs", release: Release) -> None:
        self.bdevs = bdevs
        self.old = not release.does("bdev_errno")
        self.options = dict(OLD_OPTIONS if self.old else OPTIONS)
        self.hotplug = {"period_us": 100000, "enable": False}
        self.controllers: dict[str, Controller] = {}

    def rpc_bdev_nvme_attach_controller(self, p: dict[str, Any]) -> list[str]:
        if self.old:
            raise RpcError(-32602, "Invalid parameters")
        if not p["name"]:
            raise errno_error(errno.EINVAL)
        if p["trtype"].upper() in ("TCP", "RDMA"):
            raise errno_error(errno.EIO)
        address = pci_address(p["traddr"]) if p["trtype"].upper() == "PCIE" else None
        existing = self.controllers.get(p["name"])
        if existing is not None and address == existing.address:
            raise RpcError(-errno.EALREADY, f"A controller named {p['name']} already exists with the specified network path")
        if address is not None and any(item.address == address for item in self.controllers.values()):
            raise errno_error(errno.EEXIST)
        drive = find_drive(address) if address is not None else None
        if existing is not None or address is None or drive is None:
            raise errno_error(errno.ENODEV)
        controller = Controller(p, address, drive)
        self.bdevs.register(controller.bdev)
        self.controllers[controller.name] = controller
        return [controller.bdev.name]

    def rpc_bdev_nvme_detach_controller(self, p: dict[str, Any]) -> bool:
        controller = self.controllers.get(p["name"])
        if controller is None or "traddr" in p and pci_address(p["traddr"]) != controller.address:
            raise errno_error(errno.ENODEV)
        self.bdevs.unregister(controller.bdev)
        del self.controllers[controller.name]
        return True

    def rpc_bdev_nvme_get_controllers(self, p: dict[str, Any]) -> list[Any]:
        if "name" in p:
            if p["name"] not in self.controllers:
                raise RpcError(-errno.EINVAL, f"Controller {p['name']} does not exist")
            return [self.controllers[p["name"]].describe()]
        return [controller.describe() for controller in self.controllers.values()]

    def rpc_bdev_nvme_set_options(self, p: dict[str, Any]) -> bool:
        self.options |= p
        return True

    def rpc_bdev_nvme_set_hotplug(self, p: dict[str, Any]) -> bool:
        self.hotplug |= p
        return True

    def config(self) -> list[dict[str, Any]]:
        """Its entries in the bdev section of framework_get_config: the options first, hot plug last."""
        entries: list[dict[str, Any]] = [{"method": "bdev_nvme_set_options", "params": self.options}]
        entries += [controller.config() for controller in self.controllers.values()]
        return [*entries, {"method": "bdev_nvme_set_hotplug", "params": self.hotplug}]
