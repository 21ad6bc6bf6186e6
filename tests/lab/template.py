# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines that wake up instead of booting.

Booting three emulated machines costs more than a minute of processor time. So one machine boots once, warms up (libvirt's look at QEMU alone takes 7 s),
and its memory and disk go into the cache. Every machine of every lab starts as a copy and then gets its own name, addresses, ids and random numbers.
Later reboots of a machine are real boots from its disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
import uuid
from pathlib import Path

import bytecode
import image as images
import machine as machines
import payload
from machine import Machine, MachineError, Spec
from network import NETWORKS, Network, ip

NAME = "template"
# what a machine shall have in memory already: libvirt knows its QEMU, nvme-cli and python's modules are read from the compressed root
WARM_UP = """
modprobe nvme-tcp
for u in 1 2; do virsh -q list >/dev/null 2>&1 && break; sleep 1; done
systemctl start virtlogd
virsh -q domcapabilities --machine pc >/dev/null 2>&1
qemu-system-x86_64 --version >/dev/null
nvme list >/dev/null 2>&1
python3 -c 'import json, subprocess, tempfile, zipfile, base64, runpy, argparse, platform, logging, uuid, libvirt, rbd, rados, fcntl, socket' 2>/dev/null
udevadm settle
systemctl is-system-running --wait >/dev/null 2>&1
sync
"""


def _key(image: Path) -> str:
    """Names the template: the image, the emulator, the ansible-core that is prepared in it and this code."""
    version = subprocess.run(["qemu-system-x86_64", "--version"], text=True, capture_output=True, check=True).stdout
    digest = hashlib.sha256(f"{image.name} {version} {os.environ.get('LAB_ACCEL', '')}".encode())
    ansible = bytecode.core()
    for path in (Path(__file__), Path(machines.__file__), Path(bytecode.__file__), *([ansible / "release.py"] if ansible else [])):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def make_keys(directory: Path) -> None:
    """The key that opens the machines and the key by which they are known."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("id_ed25519", "ssh_host_ed25519_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "nvmeof-lab", "-f", str(directory / name)], check=True)
    (directory / "known_hosts").write_text("lab " + (directory / "ssh_host_ed25519_key.pub").read_text())


def build(cache: Path, image: Path, network: Network, scratch: Path, control: Path) -> Path:
    """The template's directory (memory, disk.ext4, ssh/), made now if the cache has none. ``scratch`` is where its machine lives meanwhile."""
    # image-VARIANT-HASH: the newest of every variant is kept
    prefix = f"template-{image.name.split('-')[1]}-"
    done = cache / (prefix + _key(image))
    with open(cache / ".template.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            return done
        half = cache / "template-new"
        shutil.rmtree(half, ignore_errors=True)
        shutil.rmtree(scratch, ignore_errors=True)
        make_keys(half / "ssh")
        source = Machine(Spec(NAME, 9, "template"), scratch, half / "ssh", control, network)
        try:
            source.make_disk()
            source.start(image)
            source.wait()
            payload.push_core(source)
            source.run(WARM_UP, timeout=300)
            source.close_connections()
            source.qmp("stop")
            source.qmp("migrate-set-parameters", **{"max-bandwidth": 2**40})
            source.qmp("migrate", uri=f"exec:cat >{half / 'memory'}")
            deadline = time.monotonic() + 120
            while (state := source.qmp("query-migrate")["status"]) != "completed":
                if state in ("failed", "cancelled") or time.monotonic() > deadline:
                    raise MachineError(f"the template's memory could not be saved: {state}")
                time.sleep(0.1)
            source.stop()
            copy_sparse(source.disk, half / "disk.ext4")
            half.rename(done)
            images.keep_newest(cache, prefix)
        finally:
            source.stop()
            for number in range(len(NETWORKS)):
                ip("-n", network.name, "link", "del", f"{NAME}-{number}", check=False)
            images.remove_tree(half)
            shutil.rmtree(scratch, ignore_errors=True)
        return done


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a disk without its holes."""
    subprocess.run(["cp", "--sparse=always", str(source), str(target)], check=True)


def wake(machine: Machine, image: Path, template: Path, hosts: str) -> None:
    """Start a machine as a copy of the template and make it itself. A machine that did not get that far in an earlier try starts over."""
    if machine.woken.exists():
        machine.start(image)
        return
    machine.stop()
    machine.directory.mkdir(parents=True, exist_ok=True)
    copy_sparse(template / "disk.ext4", machine.disk)
    if machine.spec.local_nvme:
        # a machine with one device more cannot take over the template's memory: it boots
        machine.start(image)
        machine.wait()
    else:
        machine.start(image, memory=template / "memory")
        machine.qmp("cont")
    machine.serial(_identity(machine, hosts))
    machine.woken.write_text("")


def _identity(machine: Machine, hosts: str) -> str:
    """The script that makes a copy a machine of its own. The date and the random numbers are the template's until then."""
    host_id = uuid.uuid4()
    lines = [
        f"date -s @{time.time():.2f} >/dev/null",
        f"hostname {machine.name}; echo {machine.name} >/etc/hostname",
        "cat >/etc/hosts <<'E'\n" + hosts + "E",
        f"chmod u+w /etc/machine-id; echo {uuid.uuid4().hex} >/etc/machine-id; chmod 444 /etc/machine-id",
        f"mkdir -p /etc/nvme; echo {host_id} >/etc/nvme/hostid; echo nqn.2014-08.org.nvmexpress:uuid:{host_id} >/etc/nvme/hostnqn",
        # the random numbers of two copies would be the same: give the pool something of its own and reseed (RNDRESEEDCRNG)
        f'printf %s {os.urandom(32).hex()} >/dev/urandom; python3 -c \'import fcntl; fcntl.ioctl(open("/dev/urandom", "wb"), 0x5207)\'',
    ]
    for number, (address, nic) in enumerate(zip(machine.spec.addresses, machine.nics)):
        # down and up, so that the link-local address is made anew as well
        lines += [
            f"ip addr flush dev eth{number}; ip link set eth{number} down; ip link set eth{number} address {nic}",
            f"ip addr add {address}/24 dev eth{number}; ip link set eth{number} up",
        ]
    # soft-RoCE made its addresses of the template's cards
    lines.append("[ ! -e /etc/systemd/system/lab-rxe.service ] || systemctl restart lab-rxe.service")
    return "\n".join(lines)
