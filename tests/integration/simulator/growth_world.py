# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Four volumes with a host each, as answers of a world."""

from __future__ import annotations

from typing import Any

MIB = 2**20
OLD, NEW = 64 * MIB, 128 * MIB
NQN = "nqn.2016-06.io.spdk:cnode1"
HOSTNQN = "nqn.2014-08.org.nvmexpress:uuid:5f1c6d3a-0d3e-4d8e-9a55-0f6a3f0b7a11"
NUMBERS = (1, 2, 3, 4)
ACTING = ("spdk_rbd_bdev", "nvme_rescan")
LOCAL = {"ansible_connection": "local"}


def uuid(number: int) -> str:
    return f"0a1b2c3d-0000-5000-8000-00000000000{number}"


def target(*grown: int, numbers: tuple[int, ...] = NUMBERS) -> dict[str, Any]:
    """What spdk_target_info answers when these volumes have the new size."""
    bdevs = [
        {
            "name": f"vol-{number}",
            "uuid": uuid(number),
            "size_bytes": NEW if number in grown else OLD,
            "pool": "rbd",
            "rados_namespace": "",
            "image": f"vol-{number}",
            "image_bytes": NEW if number in grown else OLD,
            "image_error": None,
            "watched": True,
        }
        for number in numbers
    ]
    subsystem = {
        "nqn": NQN,
        "ana_reporting": True,
        "listeners": [{"trtype": "TCP", "adrfam": "IPv4", "traddr": "192.0.2.10", "trsvcid": "4420", "ana_state": "optimized"}],
        "namespaces": [{"nsid": number, "bdev": f"vol-{number}", "uuid": uuid(number)} for number in numbers],
        "controllers": [{"cntlid": 1, "hostnqn": HOSTNQN}],
    }
    return {"target": {"fsid": "f", "bdevs": bdevs, "subsystems": [subsystem], "problems": []}}


def initiator(number: int, size: int) -> dict[str, Any]:
    """What nvme_info answers on the host that has volume ``number``."""
    path = {"controller": "nvme0", "traddr": "192.0.2.10", "trsvcid": "4420", "transport": "tcp", "state": "live", "ana_state": "optimized", "size_bytes": size}
    namespace = {
        "uuid": uuid(number),
        "nqn": NQN,
        "nsid": number,
        "device": f"/dev/nvme0n{number}",
        "by_id": None,
        "size_bytes": size,
        "holders": [],
        "paths": [path],
    }
    return {"host": {"hostnqn": HOSTNQN, "controllers": [], "namespaces": [namespace]}}
