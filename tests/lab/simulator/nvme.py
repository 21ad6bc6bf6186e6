# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""bdev_nvme: there is no NVMe device in the simulator, so attaching fails as it does on a target without one."""

from __future__ import annotations

import errno
from typing import Any

from .decode import RpcError, errno_error
from .nvmf import DHGROUPS, DIGESTS
from .release import Release

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


class NvmeHost:
    """The initiator side of SPDK."""

    def __init__(self, release: Release) -> None:
        self.old = not release.does("bdev_errno")
        self.options = dict(OLD_OPTIONS if self.old else OPTIONS)
        self.hotplug = {"period_us": 100000, "enable": False}

    def rpc_bdev_nvme_attach_controller(self, p: dict[str, Any]) -> list[str]:
        if self.old:
            raise RpcError(-32602, "Invalid parameters")
        if not p["name"]:
            raise errno_error(errno.EINVAL)
        raise errno_error(errno.EIO if p["trtype"].upper() in ("TCP", "RDMA") else errno.ENODEV)

    def rpc_bdev_nvme_detach_controller(self, p: dict[str, Any]) -> bool:
        raise errno_error(errno.ENODEV)

    def rpc_bdev_nvme_get_controllers(self, p: dict[str, Any]) -> list[Any]:
        if "name" in p:
            raise RpcError(-errno.EINVAL, f"Controller {p['name']} does not exist")
        return []

    def rpc_bdev_nvme_set_options(self, p: dict[str, Any]) -> bool:
        self.options |= p
        return True

    def rpc_bdev_nvme_set_hotplug(self, p: dict[str, Any]) -> bool:
        self.hotplug |= p
        return True

    def config(self) -> list[dict[str, Any]]:
        """Its entries in the bdev section of framework_get_config."""
        return [{"method": "bdev_nvme_set_options", "params": self.options}, {"method": "bdev_nvme_set_hotplug", "params": self.hotplug}]
