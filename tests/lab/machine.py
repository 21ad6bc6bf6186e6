# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One virtual machine of the lab: its disk, its QEMU, and the way into it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from ceph_node import process_state
from network import NETWORKS, Network

# random.trust_cpu: no waiting for entropy; net.ifnames=0: eth0 and eth1; mitigations and audit only cost time in an emulated processor
KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on tsc=reliable nokaslr audit=0 net.ifnames=0 systemd.show_status=0"
# Without AVX, for which glibc picks string functions that an emulator runs slowly: modules take a quarter less time than with -cpu max.
# Linux >= 6.12 dies under QEMU 7.2's emulation right after cmpxchg16b; no machine needs that instruction.
CPU = "qemu64,-cx16,+ssse3,+sse4.1,+sse4.2,+popcnt"
ACCEL = "tcg,thread=multi,tb-size=256"
# all machines are alike, so that all can wake up from one template; memory that a machine does not touch costs nothing
CPUS, MEMORY_MIB = 2, 2048
DISK_BYTES = 2 * 2**30
# The emulated local NVMe drive of a target, in a slot of the PCI bus that no other device is given. Its medium is a second disk, too (TWIN): through it the
# simulator reaches what the drive holds while the drive has a user-space driver and the kernel does not see it.
LOCAL_NVME = {"bytes": 64 * 2**20, "address": "0000:00:10.0", "uuid": "33333333-3333-4333-8333-3333333333", "serial": "LABNVME"}
TWIN, TWIN_SLOT = "nvme-twin", "11.0"
# a boot takes 10 s on an idle machine and 90 s on one with ten times the load it can bear
PATIENCE = 300.0


class MachineError(Exception):
    """A machine does not do what was asked; the text says which and why."""


@dataclass(frozen=True)
class Spec:
    """What a machine is. ``number`` is the last part of its addresses."""

    name: str
    number: int
    role: str  # target, hypervisor or template
    local_nvme: bool = False

    @property
    def addresses(self) -> list[str]:
        """One address in each of the lab's networks."""
        return [f"{network}.{self.number}" for network in NETWORKS]


def specs(targets: int, hypervisors: int, local_nvme: bool = False) -> list[Spec]:
    """The machines of a lab: t1, t2 ... (with a PCIe NVMe drive of their own if ``local_nvme``) and h1, h2 ..."""
    found = [Spec(f"t{n + 1}", 10 + n, "target", local_nvme) for n in range(targets)]
    return found + [Spec(f"h{n + 1}", 21 + n, "hypervisor") for n in range(hypervisors)]


class Machine:
    """One machine below ``directory``; ``ssh_dir`` holds the lab's keys, ``control`` the short directory of ssh's control sockets."""

    def __init__(self, spec: Spec, directory: Path, ssh_dir: Path, control: Path, network: Network) -> None:
        self.spec, self.directory, self.ssh_dir, self.control, self.network = spec, directory, ssh_dir, control, network
        self.name = spec.name
        self.disk, self.console = directory / "disk.ext4", directory / "console.log"
        self.local_nvme = directory / "nvme.raw"
        self.pid_file, self.qmp_socket, self.serial_socket = directory / "pid", directory / "qmp", directory / "serial"
        self.woken = directory / "woken"

    # ---------------------------------------------------------------- life
    def pid(self) -> int | None:
        """The machine's QEMU, or None."""
        try:
            pid = int(self.pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if process_state(pid) not in ("", "Z") and str(self.qmp_socket).encode() in command else None

    @property
    def nics(self) -> list[str]:
        """The hardware addresses of eth0 and eth1."""
        return [f"52:54:00:{77 + number}:00:{self.spec.number:02d}" for number in range(len(NETWORKS))]

    def make_disk(self) -> None:
        """A new disk: the upper layer of the machine's root with name, keys and machine id. It is what survives reboots."""
        self.directory.mkdir(parents=True, exist_ok=True)
        upper = self.directory / "seed" / "upper"
        shutil.rmtree(self.directory / "seed", ignore_errors=True)
        for name in ("etc/ssh", "root/.ssh"):
            (upper / name).mkdir(parents=True)
        # directories of the upper layer hide the modes of the lower ones
        (upper / "root").chmod(0o700)
        (upper / "root/.ssh").chmod(0o700)
        (self.directory / "seed" / "work").mkdir()
        (upper / "etc/hostname").write_text(self.name + "\n")
        (upper / "etc/machine-id").write_text(uuid.uuid4().hex + "\n")
        (upper / "etc/machine-id").chmod(0o444)
        for name, mode in (("ssh_host_ed25519_key", 0o600), ("ssh_host_ed25519_key.pub", 0o644)):
            shutil.copyfile(self.ssh_dir / name, upper / "etc/ssh" / name)
            (upper / "etc/ssh" / name).chmod(mode)
        shutil.copyfile(self.ssh_dir / "id_ed25519.pub", upper / "root/.ssh/authorized_keys")
        (upper / "root/.ssh/authorized_keys").chmod(0o600)
        half = self.disk.with_suffix(".new")
        with open(half, "wb") as out:
            out.truncate(DISK_BYTES)
        make = ["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", "-J", "size=16"]
        done = subprocess.run([*make, "-d", str(self.directory / "seed"), str(half)], text=True, capture_output=True, check=False)
        if done.returncode:
            raise MachineError(f"{self.name}: mke2fs failed: {done.stderr.strip()}")
        half.rename(self.disk)
        shutil.rmtree(self.directory / "seed")

    def start(self, image: Path, memory: Path | None = None) -> None:
        """Start QEMU unless it runs: booting, or waking up from the saved ``memory`` of a machine with the same disk. It goes to the background by itself."""
        if self.pid():
            return
        self.pid_file.unlink(missing_ok=True)
        accel = os.environ.get("LAB_ACCEL") or ACCEL
        addresses = " ".join(f"lab.ip{n}={address}/24" for n, address in enumerate(self.spec.addresses))
        argv = [
            *self.network.prefix(),
            "qemu-system-x86_64",
            "-name",
            self.name,
            "-machine",
            "q35",
            "-accel",
            accel,
            "-cpu",
            "host" if accel.startswith("kvm") else CPU,
            "-smp",
            str(CPUS),
            "-m",
            str(MEMORY_MIB),
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-kernel",
            str(image / "vmlinuz"),
            "-initrd",
            str(image / "initrd.img"),
            "-append",
            f"{KERNEL_ARGUMENTS} {addresses}",
            "-drive",
            f"if=virtio,format=raw,readonly=on,file={image / 'root.squashfs'}",
            # unsafe means the page cache of the outer machine: it survives the machine and even its QEMU
            "-drive",
            f"if=virtio,format=raw,cache=unsafe,discard=unmap,file={self.disk}",
            "-device",
            "virtio-rng-pci",
            "-chardev",
            f"file,id=console,append=on,path={self.console}",
            "-serial",
            "chardev:console",
            "-chardev",
            f"socket,id=serial,path={self.serial_socket},server=on,wait=off",
            "-serial",
            "chardev:serial",
            "-qmp",
            f"unix:{self.qmp_socket},server=on,wait=off",
            "-pidfile",
            str(self.pid_file),
            "-daemonize",
        ]
        for number, tap in enumerate(self.network.taps(self.name)):
            argv += ["-netdev", f"tap,id=n{number},ifname={tap},script=no,downscript=no"]
            argv += ["-device", f"virtio-net-pci,netdev=n{number},romfile=,mac={self.nics[number]}"]
        if self.spec.local_nvme:
            argv += self._drive()
        if memory:
            argv += ["-incoming", f"exec:cat {memory}"]
        done = subprocess.run(argv, text=True, capture_output=True, check=False)
        if done.returncode:
            raise MachineError(f"{self.name}: QEMU did not start with acceleration {accel}: {done.stderr.strip()}")

    def _drive(self) -> list[str]:
        """QEMU's arguments for the local NVMe drive and its twin."""
        with open(self.local_nvme, "ab") as medium:
            medium.truncate(LOCAL_NVME["bytes"])
        found = self.drive
        argv = []
        for name in ("local", "twin"):
            argv += ["-drive", f"if=none,id={name},format=raw,cache=unsafe,file.locking=off,file={self.local_nvme}"]
        argv += ["-device", f"nvme,id=nvme,serial={found['serial']},addr={found['address'].rpartition(':')[2]}"]
        argv += ["-device", f"nvme-ns,drive=local,bus=nvme,nsid=1,uuid={found['uuid']},share-rw=on"]
        return [*argv, "-device", f"virtio-blk-pci,drive=twin,serial={TWIN},addr={TWIN_SLOT},share-rw=on"]

    @property
    def drive(self) -> dict[str, str]:
        """What the simulator has to know of the local NVMe drive."""
        number = f"{self.spec.number:02d}"
        found = {"address": LOCAL_NVME["address"], "uuid": LOCAL_NVME["uuid"] + number, "serial": LOCAL_NVME["serial"] + number}
        return {**found, "model": "QEMU NVMe Ctrl", "disk": f"/dev/disk/by-id/virtio-{TWIN}"}

    def stop(self) -> None:
        """End QEMU at once; the disk keeps what was written. Nothing happens when it does not run."""
        pid = self.pid()
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + 5
            while pid and self.pid() == pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                time.sleep(0.1)
                if time.monotonic() > deadline:
                    break
        if pid and self.pid() == pid:
            raise MachineError(f"{self.name}: QEMU (pid {pid}) does not die")

    def qmp(self, command: str, **arguments: object) -> object:
        """One command to QEMU, such as system_reset, stop, cont; its answer."""
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(10)
            try:
                channel.connect(str(self.qmp_socket))
            except OSError as error:
                raise MachineError(f"{self.name} does not run ({error})") from None
            with channel.makefile("rw") as stream:
                stream.readline()
                answer = {}
                for name, given in (("qmp_capabilities", {}), (command, arguments)):
                    stream.write(json.dumps({"execute": name, "arguments": given}) + "\n")
                    stream.flush()
                    answer = json.loads(stream.readline())
                    while "event" in answer:
                        answer = json.loads(stream.readline())
                    if "error" in answer:
                        raise MachineError(f"{self.name}: QEMU refuses {name}: {answer['error'].get('desc')}")
                return answer.get("return")

    def serial(self, script: str, seconds: float = 60) -> str:
        """Run a shell script over the second serial line, for a machine without an address; its output."""
        mark = uuid.uuid4().hex
        deadline = time.monotonic() + seconds
        with socket.socket(socket.AF_UNIX) as channel:
            try:
                channel.connect(str(self.serial_socket))
                channel.sendall(f"{script}\necho {mark[:16]}''{mark[16:]}\n".encode())
                got = b""
                while mark.encode() not in got:
                    channel.settimeout(max(0.1, deadline - time.monotonic()))
                    piece = channel.recv(65536)
                    if not piece:
                        raise MachineError(f"{self.name}: QEMU closed the serial line")
                    got += piece
            except OSError as error:
                raise MachineError(f"{self.name}: no answer on the serial line within {seconds:.0f} s ({error})") from None
        return got.decode(errors="replace").partition(mark)[0]

    def boot_id(self) -> str:
        """Differs after each boot."""
        return self.run("cat /proc/sys/kernel/random/boot_id").strip()

    def reboot(self, hard: bool = False, seconds: float = PATIENCE) -> None:
        """Reboot by systemd, or by the reset button when ``hard``, and wait until the machine answers again from a new boot."""
        before = self.boot_id()
        if hard:
            self.qmp("system_reset")
        else:
            # the connection may end before the answer comes: only the new boot counts
            self.try_run("systemctl reboot", timeout=20)
        self.close_connections()
        self.wait(seconds, unlike=before)

    # ---------------------------------------------------------------- inside
    def ssh_options(self) -> list[str]:
        """Options of ssh for this lab: its own key, its own host key, nothing of the user's configuration."""
        settings = {
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "UserKnownHostsFile": self.ssh_dir / "known_hosts",
            "GlobalKnownHostsFile": "none",
            "HostKeyAlias": "lab",
            "StrictHostKeyChecking": "yes",
            "LogLevel": "ERROR",
            "ControlMaster": "auto",
            "ControlPersist": 120,
            "ControlPath": f"{self.control}/%C",
            "ServerAliveInterval": 10,
            "ServerAliveCountMax": 6,
        }
        options = ["-F", "none", "-i", str(self.ssh_dir / "id_ed25519")]
        for name, value in settings.items():
            options += ["-o", f"{name}={value}"]
        return options

    def ssh_command(self, *command: str, connect_timeout: int = 10, tty: bool = False) -> list[str]:
        """The whole command line that runs ``command`` (or a shell) in the machine."""
        more = ["-o", f"ConnectTimeout={connect_timeout}", *(["-t"] if tty else [])]
        return [*self.network.prefix(), "ssh", *self.ssh_options(), *more, f"root@{self.spec.addresses[0]}", *command]

    def try_run(self, command: str, timeout: float = 60, stdin: bytes | None = None, connect_timeout: int = 10) -> subprocess.CompletedProcess:
        """Run a shell command in the machine, whatever its exit code; 255 is ssh's own, 124 stands for no answer within ``timeout`` seconds."""
        argv = self.ssh_command(command, connect_timeout=connect_timeout)
        # a background control master keeps an inherited stderr open: files instead of pipes, or communicate() would wait for it
        out, err = self.directory / f".out.{os.getpid()}.{uuid.uuid4().hex[:6]}", self.directory / f".err.{os.getpid()}.{uuid.uuid4().hex[:6]}"
        try:
            with open(out, "wb") as stdout, open(err, "wb") as stderr:
                try:
                    given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
                    code = subprocess.run(argv, stdout=stdout, stderr=stderr, timeout=timeout, check=False, **given).returncode
                except subprocess.TimeoutExpired:
                    code = 124
            return subprocess.CompletedProcess(argv, code, out.read_text(errors="replace"), err.read_text(errors="replace"))
        finally:
            out.unlink(missing_ok=True)
            err.unlink(missing_ok=True)

    def run(self, command: str, timeout: float = 60, stdin: bytes | None = None) -> str:
        """Run a shell command in the machine; its output. An exit code other than 0 is an error."""
        done = self.try_run(command, timeout, stdin)
        if done.returncode:
            raise MachineError(f"{self.name}: {command.splitlines()[0][:100]}: exit code {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}")
        return done.stdout

    def close_connections(self) -> None:
        """End the shared ssh connection, which would hang on a machine that has gone."""
        subprocess.run([*self.ssh_command(), "-O", "exit"], capture_output=True, check=False)

    def wait(self, seconds: float = PATIENCE, unlike: str | None = None) -> None:
        """Wait until a command runs in the machine; with ``unlike`` until its boot id differs from that one."""
        deadline = time.monotonic() + seconds
        while True:
            done = self.try_run("cat /proc/sys/kernel/random/boot_id", timeout=15, connect_timeout=2)
            if done.returncode == 0 and done.stdout.strip() != unlike:
                return
            if not self.pid():
                raise MachineError(f"{self.name}: QEMU ended; the machine's console: {self.console}")
            if time.monotonic() > deadline:
                tail = self.console.read_text(errors="replace")[-400:] if self.console.exists() else ""
                raise MachineError(f"{self.name} does not answer over ssh after {seconds:.0f} s ({done.stderr.strip()}); end of its console: {tail!r}")
            if done.returncode == 0:
                self.close_connections()
            time.sleep(0.5)
