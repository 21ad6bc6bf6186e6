# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A made-up fleet without a fault: two pairs of targets, six hypervisors, eight volumes, each the disk of one domain.

t1 and t2 export volumes 1 to 4 by one NQN, t3 and t4 volumes 5 to 8 by another; h1 to h3 are connected to the first pair, h4 to h6 to the
second, by both targets. Volume N is the disk vdb of domain vmN on one of these hosts.
"""

from __future__ import annotations

import typing as t

GIB = 1024**3
SIZE = 100 * GIB
FSID = "11111111-2222-4333-8444-555555555555"
PAIRS = {"a": (("t1", "t2"), ("h1", "h2", "h3"), (1, 2, 3, 4)), "b": (("t3", "t4"), ("h4", "h5", "h6"), (5, 6, 7, 8))}


def nqn(pair: str) -> str:
    return f"nqn.2026-01.org.example:{pair}"


def uuid(number: int) -> str:
    return f"0a1b2c3d-0000-5000-8000-{number:012d}"


def address(target: str) -> str:
    return f"192.0.2.{target[1:]}"


def bdev(number: int) -> dict[str, t.Any]:
    return {
        "name": f"Ceph-host-rbd-img-{number}",
        "uuid": uuid(number),
        "product": "Ceph Rbd Disk",
        "block_size": 512,
        "size_bytes": SIZE,
        "claimed": True,
        "read_only": False,
        "pool": "pool-1",
        "rados_namespace": None,
        "image": f"host-rbd-img-{number}",
        "image_bytes": SIZE,
        "image_error": None,
        "watched": True,
    }


def namespace(number: int, nsid: int) -> dict[str, t.Any]:
    return {"nsid": nsid, "bdev": f"Ceph-host-rbd-img-{number}", "uuid": uuid(number), "nguid": uuid(number).replace("-", ""), "anagrpid": 1}


def target(name: str, pair: str, numbers: t.Sequence[int]) -> dict[str, t.Any]:
    low = 1 + 1000 * int(name[1:])
    return {
        "socket": "/var/tmp/spdk.sock",
        "fsid": FSID,
        "bdevs": [bdev(number) for number in numbers],
        "transports": [{"trtype": "TCP"}],
        "subsystems": [
            {
                "nqn": nqn(pair),
                "serial_number": f"SPDK{pair.upper()}0001",
                "model_number": "SPDK bdev Controller",
                "min_cntlid": low,
                "max_cntlid": low + 999,
                "allow_any_host": True,
                "hosts": [],
                "listeners": [{"trtype": "TCP", "adrfam": "IPv4", "traddr": address(name), "trsvcid": "4420", "ana_state": "optimized"}],
                "namespaces": [namespace(number, nsid) for nsid, number in enumerate(numbers, start=1)],
                "controllers": None,
            }
        ],
        "problems": [],
    }


def device(number: int, nsid: int, pair: str, targets: t.Sequence[str]) -> dict[str, t.Any]:
    return {
        "uuid": uuid(number),
        "nguid": None,
        "nqn": nqn(pair),
        "nsid": nsid,
        "device": f"/dev/nvme0n{nsid}",
        "by_id": "/dev/disk/by-id/nvme-uuid." + uuid(number),
        "size_bytes": SIZE,
        "block_size": 512,
        "read_only": False,
        "holders": [],
        "mounts": [],
        "layers": [],
        "paths": [
            {
                "name": f"nvme0c{n}n{nsid}",
                "controller": f"nvme{n}",
                "traddr": address(name),
                "trsvcid": "4420",
                "transport": "tcp",
                "state": "live",
                "ana_state": "optimized",
                "size_bytes": SIZE,
            }
            for n, name in enumerate(targets)
        ],
    }


def host(name: str, pair: str, targets: t.Sequence[str], numbers: t.Sequence[int]) -> dict[str, t.Any]:
    hostid = f"4ca08835-0e71-4c63-85af-0000000000{int(name[1:]):02d}"
    return {
        "hostnqn": "nqn.2014-08.org.nvmexpress:uuid:" + hostid,
        "hostid": hostid,
        "multipath": True,
        "controllers": [{"name": f"nvme{n}", "nqn": nqn(pair), "transport": "tcp", "state": "live"} for n, _name in enumerate(targets)],
        "namespaces": [device(number, nsid, pair, targets) for nsid, number in enumerate(numbers, start=1)],
        "problems": [],
    }


def disk(number: int, nsid: int) -> dict[str, t.Any]:
    return {
        "domain": f"vm{number}",
        "target": "vdb",
        "domain_state": "running",
        "bus": "virtio",
        "source": "/dev/disk/by-id/nvme-uuid." + uuid(number),
        "source_type": "block",
        "serial": None,
        "namespace_uuid": uuid(number),
        "device": f"/dev/nvme0n{nsid}",
        "layers": [],
        "capacity_bytes": SIZE,
        "physical_bytes": SIZE,
        "held": True,
        "guest_bytes": SIZE,
        "guest_device": "vdb",
        "guest_error": None,
        "problems": [],
    }


def fleet() -> dict[str, dict[str, t.Any]]:
    """The measurements of the whole fleet, by inventory name; every call makes them anew."""
    found: dict[str, dict[str, t.Any]] = {}
    for pair, (targets, hosts, numbers) in PAIRS.items():
        for name in targets:
            found[name] = {"target": target(name, pair, numbers), "errors": {}}
        for place, name in enumerate(hosts):
            disks = [disk(number, nsid) for nsid, number in enumerate(numbers, start=1) if (nsid - 1) % len(hosts) == place]
            found[name] = {"host": host(name, pair, targets, numbers), "disks": disks, "errors": {}}
    return found


def hostvars(measurements: t.Mapping[str, dict[str, t.Any]]) -> dict[str, dict[str, t.Any]]:
    """The same as the role registers it."""
    found: dict[str, dict[str, t.Any]] = {}
    for name, measured in measurements.items():
        found[name] = {f"volume_growth__{kind}": {kind: measured[kind]} for kind in ("target", "host", "disks") if kind in measured}
        for kind, reason in measured["errors"].items():
            found[name][f"volume_growth__{kind}"] = {"unreachable": True, "msg": reason}
    return found


ASKED = {
    "target": ["t1", "t2", "t3", "t4"],
    "images": [],
    "host": ["h1", "h2", "h3", "h4", "h5", "h6"],
    "disks": ["h1", "h2", "h3", "h4", "h5", "h6"],
}
