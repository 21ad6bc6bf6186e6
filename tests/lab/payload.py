# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab brings into its machines over ssh: the SPDK target (or its simulator) and Ceph's configuration for targets, guests for hypervisors."""

from __future__ import annotations

import functools
import io
import json
import os
import re
import subprocess
import tarfile
import threading
from pathlib import Path

import bytecode
from ceph_node import CephNode
from machine import Machine, MachineError

HERE = Path(__file__).resolve().parent
_LOCK = threading.Lock()
SIMULATOR = HERE / "simulator"
GUEST = HERE / "guest"

CEPH_CONF = """\
# The lab's cluster, as its clients see it.
[global]
fsid = {fsid}
mon host = [v2:{address}:{port}/0]
auth cluster required = cephx
auth service required = cephx
auth client required = cephx

[client]
client mount timeout = 30
"""
#: The machine's Python takes in the bytecode that it has not yet.
REMEMBER = "systemctl kill --kill-who=main --signal=HUP lab-python"
REAL_WRAPPER = """\
#!/bin/sh
# A real SPDK target with those of its libraries that this machine has not.
LD_LIBRARY_PATH=/opt/spdk/lib exec /opt/spdk/bin/{name} "$@"
"""


class Archive:
    """A tar archive in memory, everything in it root's."""

    def __init__(self) -> None:
        self.buffer = io.BytesIO()
        self.tar = tarfile.TarFile(fileobj=self.buffer, mode="w")

    def add(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """One file; ``name`` is absolute in the machine."""
        info = tarfile.TarInfo(name.lstrip("/"))
        info.size, info.mode = len(data), mode
        self.tar.addfile(info, io.BytesIO(data))

    def link(self, name: str, target: str) -> None:
        """One symbolic link."""
        info = tarfile.TarInfo(name.lstrip("/"))
        info.type, info.linkname = tarfile.SYMTYPE, target
        self.tar.addfile(info)

    def add_tree(self, source: Path, name: str) -> None:
        """All files below a directory but Python's caches."""
        for path in sorted(source.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                self.add(f"{name}/{path.relative_to(source)}", path.read_bytes(), 0o755 if os.access(path, os.X_OK) else 0o644)

    def send(self, machine: Machine) -> None:
        """Unpack it in the root of a machine."""
        self.tar.close()
        machine.run("tar -x --no-same-owner --no-overwrite-dir -C / -f -", timeout=120, stdin=self.buffer.getvalue())


@functools.lru_cache(maxsize=2)
def _bytecode(part: str, magic: str) -> list[tuple[str, bytes]]:
    """The same for all machines, made once."""
    return list((bytecode.core_files if part == "core" else bytecode.own_files)(magic))


def add_bytecode(archive: Archive, machine: Machine, part: str) -> None:
    """What spares the machine's emulated processor most of a module run: of ansible-core (``core``, in the template already) or of the collection."""
    magic = machine.run("python3 -c 'import importlib.util; print(importlib.util.MAGIC_NUMBER.hex())'").strip()
    with _LOCK:
        made = _bytecode(part, magic)
    for name, data in made:
        archive.add(name, data)


def push_core(machine: Machine) -> None:
    """Bring the template what all machines need of ansible-core, and let its Python import it."""
    archive = Archive()
    add_bytecode(archive, machine, "core")
    archive.send(machine)
    machine.run("systemctl restart lab-python && echo pass | lab-python", timeout=120)


def push_target(machine: Machine, ceph: CephNode) -> None:
    """Bring a target its program as /opt/spdk/spdk_tgt (the simulator, or the real one that SPDK_TGT names) and the access of client.spdk to Ceph."""
    archive = Archive()
    archive.add("/etc/ceph/ceph.conf", CEPH_CONF.format(fsid=ceph.fsid, address=ceph.address, port=ceph.port).encode())
    archive.add("/etc/ceph/ceph.client.spdk.keyring", ceph.keyring_of("spdk").read_bytes(), 0o600)
    real = os.environ.get("SPDK_TGT")
    if real:
        _add_real_target(archive, machine, Path(real))
    else:
        archive.add_tree(SIMULATOR, "/opt/spdk/simulator")
        archive.link("/opt/spdk/spdk_tgt", "simulator/spdk_tgt")
        archive.add("/opt/spdk/drives.json", json.dumps([machine.drive] if machine.spec.local_nvme else []).encode())
    add_bytecode(archive, machine, "own")
    archive.send(machine)
    machine.run(REMEMBER)


def _add_real_target(archive: Archive, machine: Machine, program: Path) -> None:
    """A real SPDK program and the shared libraries that ldd names and the machine lacks."""
    if not os.access(program, os.X_OK) or not program.is_file():
        raise MachineError(f"SPDK_TGT={program} is not an executable program")
    shown = subprocess.run(["ldd", str(program)], text=True, capture_output=True, check=False).stdout
    absent = re.findall(r"^\s*(\S+) => not found", shown, re.MULTILINE)
    if absent:
        raise MachineError(f"SPDK_TGT={program} needs {', '.join(absent)}, which this machine does not have either")
    present = set(re.findall(r"^\s*(\S+) \(", machine.run("/sbin/ldconfig -p"), re.MULTILINE))
    for name, path in re.findall(r"^\s*(\S+) => (/\S+)", shown, re.MULTILINE):
        if name not in present:
            archive.add(f"/opt/spdk/lib/{name}", Path(path).read_bytes(), 0o755)
    archive.add(f"/opt/spdk/bin/{program.name}", program.read_bytes(), 0o755)
    archive.add("/opt/spdk/spdk_tgt", REAL_WRAPPER.format(name=program.name).encode(), 0o755)


def push_hypervisor(machine: Machine, guests: list[Path]) -> None:
    """Bring a hypervisor the small guests, to /opt/guest."""
    archive = Archive()
    for guest in guests:
        archive.add(f"/opt/guest/{guest.name}", guest.read_bytes())
    add_bytecode(archive, machine, "own")
    archive.send(machine)
    machine.run(REMEMBER)
