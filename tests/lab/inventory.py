# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ansible inventory of a running lab. How to reach the machines is said here; what they shall be is declared in ``DECLARED`` and ``declared``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Sequence

from machine import Spec

NQN = "nqn.2016-06.io.spdk:cnode1"
POOL = "pool-1"
# image -> bytes; the uuid is the identity of the namespace, from the target to the guest
IMAGES = {"vol-1": 64 * 2**20, "vol-2": 96 * 2**20}
UUIDS = {"vol-1": "11111111-1111-4111-8111-111111111111", "vol-2": "22222222-2222-4222-8222-222222222222"}
PORT = "4420"


def subsystem(spec: Spec, targets: Sequence[Spec]) -> dict[str, Any]:
    """The subsystem as one target serves it: its own addresses; the same namespaces everywhere. Several targets have controller ids of their own, and ANA."""
    first = targets.index(spec) * 1000 + 1
    pair = {"ana_reporting": True, "min_cntlid": first, "max_cntlid": first + 999} if len(targets) > 1 else {}
    return {
        **pair,
        "nqn": NQN,
        "serial_number": "NVMEOFSPDKLAB0001",
        "max_namespaces": 64,
        "allow_any_host": True,
        "listeners": [{"trtype": "TCP", "traddr": address, "trsvcid": PORT} for address in spec.addresses],
        "namespaces": [{"bdev": image, "nsid": nsid} for nsid, image in enumerate(IMAGES, start=1)],
    }


def declared(targets: Sequence[Spec]) -> dict[str, dict[str, Any]]:
    """Variables of the groups: group -> name -> value. The declared state of targets and initiators that the playbooks of the collection read."""
    keyring = "/etc/ceph/ceph.client.spdk.keyring"
    return {
        "spdk_targets": {
            "spdk_target_binary": "/opt/spdk/spdk_tgt",
            "spdk_target_no_huge": True,
            "spdk_target_memory_mb": 512,
            "spdk_target_ceph_user": "spdk",
            "spdk_target_ceph_keyring": keyring,
            "spdk_target_clusters": [{"name": "ceph", "user": "spdk", "config_file": "/etc/ceph/ceph.conf", "key_file": keyring}],
            "spdk_target_rbd_bdevs": [{"name": image, "pool": POOL, "image": image, "cluster": "ceph", "uuid": UUIDS[image]} for image in IMAGES],
        },
        "nvme_initiators": {
            "nvme_initiator_multipath": True,
            # paths of one target in turn; targets of a pair would hand the image's exclusive lock to and fro (docs/pairs.md)
            "nvme_initiator_iopolicy": "round-robin" if len(targets) == 1 else "numa",
            "nvme_initiator_connections": [
                {"nqn": NQN, "transport": "tcp", "traddr": address, "trsvcid": PORT, "reconnect_delay": 2} for spec in targets for address in spec.addresses
            ],
        },
        "hypervisors": {},
    }


def inventory(machines: Sequence[Spec], ssh_dir: Path, control: Path, netns: str) -> dict[str, Any]:
    """The inventory as a structure: groups spdk_targets, nvme_initiators and hypervisors, and the facts of the lab as variables named lab_*."""
    targets = [spec for spec in machines if spec.role == "target"]
    hypervisors = [spec for spec in machines if spec.role == "hypervisor"]
    variables = declared(targets)
    hosts: dict[str, dict[str, Any]] = {spec.name: {"ansible_host": spec.addresses[0], "lab_addresses": spec.addresses} for spec in machines}
    for spec in targets:
        hosts[spec.name]["spdk_target_subsystems"] = [subsystem(spec, targets)]
    common = [
        "-F none",
        "-o IdentitiesOnly=yes",
        "-o BatchMode=yes",
        f"-o UserKnownHostsFile={ssh_dir / 'known_hosts'}",
        "-o GlobalKnownHostsFile=none",
        # the machines live in a network namespace of their own; this reaches them from outside of it
        f"-o 'ProxyCommand=ip netns exec {netns} busybox nc %h %p'",
        "-o HostKeyAlias=lab",
        "-o StrictHostKeyChecking=yes",
        "-o LogLevel=ERROR",
        # one connection for everybody, testinfra too: an emulated machine needs a second for a new one
        "-o ControlMaster=auto -o ControlPersist=120",
        f"-o ControlPath={control}/%C",
    ]
    return {
        "all": {
            "vars": {
                "ansible_user": "root",
                # /usr/bin/python3, but started already: see python_server/
                "ansible_python_interpreter": "/usr/local/bin/lab-python",
                "ansible_ssh_private_key_file": str(ssh_dir / "id_ed25519"),
                "ansible_ssh_common_args": " ".join(common),
                "ansible_ssh_args": "",
                "ansible_ssh_pipelining": True,
                "lab_nqn": NQN,
                "lab_pool": POOL,
                "lab_volumes": {image: {"uuid": UUIDS[image], "size_bytes": size} for image, size in IMAGES.items()},
                "lab_portals": [{"transport": "tcp", "traddr": address, "trsvcid": PORT} for spec in targets for address in spec.addresses],
            },
            "children": {
                "spdk_targets": {"hosts": {spec.name: hosts[spec.name] for spec in targets}, "vars": variables["spdk_targets"]},
                "nvme_initiators": {"hosts": {spec.name: hosts[spec.name] for spec in hypervisors}, "vars": variables["nvme_initiators"]},
                "hypervisors": {"hosts": {spec.name: {} for spec in hypervisors}, "vars": variables["hypervisors"]},
            },
        },
    }


def yaml_text(value: Any, indent: int = 0) -> str:
    """A structure of dicts, lists and plain values as block YAML; plain values are written as JSON, which YAML reads alike."""
    pad = "  " * indent
    lines = []
    if isinstance(value, dict):
        for name, inner in value.items():
            nested = isinstance(inner, (dict, list)) and inner
            lines.append(f"{pad}{name}:" + ("\n" + yaml_text(inner, indent + 1) if nested else " " + json.dumps(inner)))
    else:
        for inner in value:
            if isinstance(inner, (dict, list)) and inner:
                lines.append(f"{pad}- " + yaml_text(inner, indent + 1).lstrip())
            else:
                lines.append(f"{pad}- {json.dumps(inner)}")
    return "\n".join(lines)


def write(path: Path, machines: Sequence[Spec], ssh_dir: Path, control: Path, netns: str) -> None:
    """Write the inventory file."""
    head = "# Made by tests/lab/lab up; removed by tests/lab/lab down. Works from outside of the lab's network namespace: ansible-playbook -i FILE ..."
    path.write_text(f"---\n{head}\n{yaml_text(inventory(machines, ssh_dir, control, netns))}\n")
