# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real libvirtd of our own with loop devices as disks. The machine's own libvirt is neither seen nor touched."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import typing as t
import uuid

import jinja2

HERE = os.path.dirname(os.path.abspath(__file__))
GUEST = os.path.join(HERE, "..", "..", "lab", "guest")
MIB = 1024**2

# linux/loop.h; struct loop_info64 has five 64-bit and three 32-bit numbers before its flags
LOOP_SET_STATUS64, LOOP_GET_STATUS64 = 0x4C04, 0x4C05
LOOP_INFO_SIZE, LOOP_FLAGS_OFFSET, LOOP_AUTOCLEAR = 232, 52, 4


def wait_for(what: str, condition: t.Callable[[], t.Any], seconds: float = 120) -> t.Any:
    """The first true value of ``condition()``; an error naming ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.05)


class Loop:
    """A loop device over a file of its own."""

    def __init__(self, folder: str, size: int) -> None:
        """Make the file and the device; ``size`` is in bytes."""
        self.file = os.path.join(folder, f"disk-{uuid.uuid4().hex}.img")
        with open(self.file, "wb") as handle:
            handle.truncate(size)
        self.device = self._attach()
        # From here on the kernel detaches it with the last close, however these tests end.
        self._handle = os.open(self.device, os.O_RDWR)
        info = bytearray(LOOP_INFO_SIZE)
        fcntl.ioctl(self._handle, LOOP_GET_STATUS64, info)
        info[LOOP_FLAGS_OFFSET] |= LOOP_AUTOCLEAR
        fcntl.ioctl(self._handle, LOOP_SET_STATUS64, info)

    def _attach(self) -> str:
        for _attempt in range(5):
            done = subprocess.run(["losetup", "--find", "--show", self.file], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return done.stdout.strip()
            # Without udev a new number may lack its node, and somebody else may take a free number first.
            name = subprocess.run(["losetup", "--find"], capture_output=True, text=True, check=True).stdout.strip()
            if not os.path.exists(name):
                subprocess.run(["mknod", "-m", "600", name, "b", "7", name[len("/dev/loop") :]], check=False)
        raise AssertionError(f"no loop device: {done.stderr}")

    def grow(self, size: int) -> None:
        """Give file and device ``size`` bytes."""
        os.truncate(self.file, size)
        subprocess.run(["losetup", "--set-capacity", self.device], check=True)

    def close(self) -> None:
        """Detach the device and remove the file."""
        os.close(self._handle)
        os.unlink(self.file)


class Domain:
    """A defined domain with its serial line and console log."""

    def __init__(self, host: PrivateLibvirt, kind: str, disks: list[dict[str, t.Any]], **parameters: t.Any) -> None:
        """Define it; ``kind`` is ``mini`` or ``linux``."""
        self.host = host
        self.uuid = str(uuid.uuid4())
        self.name = f"{kind}-{self.uuid[:8]}"
        self.serial = os.path.join(host.folder, self.name + ".serial")
        self.log = os.path.join(host.folder, self.name + ".log")
        with open(os.path.join(GUEST, f"domain_{kind}.xml.j2"), encoding="utf-8") as handle:
            template = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True).from_string(handle.read())
        path = os.path.join(host.folder, self.name + ".xml")
        with open(path, "w", encoding="utf-8") as handle:
            handle.write(template.render(name=self.name, uuid=self.uuid, serial=self.serial, log=self.log, disks=disks, **parameters))
        host.virsh("define", path)

    def start(self, *options: str) -> None:
        """Start it; unless ``--paused``, wait until the guest is ready."""
        if os.path.exists(self.log):
            os.unlink(self.log)
        self.host.virsh("start", self.name, *options)
        if "--paused" not in options:
            self.wait_line("GUEST ready")

    def output(self) -> str:
        """What the guest has printed."""
        with open(self.log, encoding="utf-8", errors="replace") as handle:
            return handle.read()

    def wait_line(self, part: str, seconds: float = 120) -> str:
        """The first line of the guest with ``part`` in it."""
        return wait_for(f"{part!r} from {self.name}", lambda: next((line for line in self.output().splitlines() if part in line), None), seconds)

    def send(self, letters: str) -> None:
        """Write to the serial line."""
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(self.serial)
            line.sendall(letters.encode())
            time.sleep(0.1)  # QEMU drops what it has not read when the other side hangs up

    def capacities(self) -> dict[str, int]:
        """The sizes (bytes) in the guest's last CAPS line."""
        last = [line for line in self.output().splitlines() if line.startswith("CAPS")][-1]
        words = dict(word.split("=", 1) for word in last.split()[1:])
        return {name: int(value) * 512 for name, value in words.items() if name[:2] in ("vd", "sd")}

    def remove(self) -> None:
        """Stop and undefine it."""
        self.host.virsh("destroy", self.name, check=False)
        self.host.virsh("undefine", self.name, check=False)


class PrivateLibvirt:
    """libvirtd in namespaces of its own."""

    def __init__(self) -> None:
        """Start it and wait until it answers."""
        self.folder = tempfile.mkdtemp(prefix="virt-")  # short: it holds unix sockets
        self._process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL"),
                *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private"),
                *(sys.executable, os.path.join(HERE, "namespace_init.py"), self.folder),
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # it complains about being killed, which is how it ends here
        )
        self.pid = 0
        try:
            self._wait_ready()
        except AssertionError as error:
            with open(os.path.join(self.folder, "libvirtd.log"), encoding="utf-8", errors="replace") as handle:
                log = handle.read()
            self.stop()
            raise AssertionError(f"{error}; libvirtd: {log[-3000:]}") from error

    def _wait_ready(self) -> None:
        self.pid = int(wait_for("the namespace", self._child))
        self.python = os.path.join(self.folder, "python3")
        with open(self.python, "w", encoding="utf-8") as handle:
            handle.write(f'#!/bin/sh\nexec {" ".join(self._enter())} /usr/bin/python3 "$@"\n')
        os.chmod(self.python, 0o755)
        wait_for("libvirtd", lambda: self._child() and self.virsh("uri", check=False).returncode == 0)

    def _child(self) -> str:
        if self._process.poll() is not None:
            raise AssertionError(f"unshare ended with {self._process.returncode}")
        with open(f"/proc/{self._process.pid}/task/{self._process.pid}/children", encoding="ascii") as handle:
            return handle.read().strip()

    def _enter(self) -> list[str]:
        return ["nsenter", "--target", str(self.pid), "--mount", "--net", "--pid"]

    def libvirtd(self) -> list[int]:
        """The daemon's process as this machine numbers it: what its namespaces' first process has started under that name."""
        found = []
        with open(f"/proc/{self.pid}/task/{self.pid}/children", encoding="ascii") as handle:
            for pid in handle.read().split():
                with open(f"/proc/{pid}/comm", encoding="utf-8") as name:
                    found += [int(pid)] if name.read().strip() == "libvirtd" else []
        return found

    def kill_libvirtd(self) -> None:
        """SIGKILL for the daemon; the domains go on."""
        for pid in self.libvirtd():
            os.kill(pid, signal.SIGKILL)
        wait_for("the end of libvirtd", lambda: not self.libvirtd())

    def start_libvirtd(self) -> None:
        """Start it again, and wait until it answers."""
        subprocess.run(
            [*self._enter(), "libvirtd", "--daemon"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=60
        )
        wait_for("libvirtd", lambda: self.virsh("uri", check=False).returncode == 0)

    def virsh(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run virsh against this libvirtd."""
        done = subprocess.run([*self._enter(), "virsh", "-c", "qemu:///system", *words], capture_output=True, text=True, check=False, timeout=120)
        assert not check or done.returncode == 0, f"virsh {' '.join(words)}: {done.stderr}"
        return done

    def block_info(self, domain: str, target: str) -> tuple[int, int]:
        """virsh's own opinion: capacity and physical (bytes)."""
        lines = self.virsh("domblkinfo", domain, target).stdout.splitlines()
        values = {line.split(":")[0]: int(line.split(":")[1]) for line in lines if ":" in line}
        return values["Capacity"], values["Physical"]

    def stop(self) -> None:
        """End everything in the namespaces."""
        if self.pid and self._process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self._process.terminate()
        self._process.wait(timeout=30)
        shutil.rmtree(self.folder)
