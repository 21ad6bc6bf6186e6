# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab as a whole, and its command line."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Iterator, Sequence

import image
import inventory
import payload
import template
from ceph_node import CephError, CephNode, process_state
from domain import DomainError, console, define, send
from machine import Machine, MachineError, specs
from network import NETWORKS, Network, NetworkError

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
CEPH_PORT = 13300


class LabError(Exception):
    """The lab cannot do what was asked."""


ERRORS = (LabError, CephError, DomainError, MachineError, NetworkError, image.ImageError, OSError)


def say(text: str) -> None:
    """A line for the person who waits."""
    print(text, file=sys.stderr, flush=True)


class Lab:
    """Everything below LAB_STATE, LAB_CACHE and the namespace LAB_NETNS."""

    def __init__(self) -> None:
        self.state = Path(os.environ.get("LAB_STATE") or REPOSITORY / "build" / "lab").absolute()
        self.cache = Path(os.environ.get("LAB_CACHE") or REPOSITORY / "build" / "cache").absolute()
        if len(str(self.state)) > 70:
            raise LabError(f"LAB_STATE={self.state} is too long for unix sockets: choose a directory below 70 characters")
        # ssh adds 40 + 17 characters to its control sockets: they need a shorter place than the state
        self.control = Path("/tmp") / ("nvmeof-lab-" + hashlib.sha256(str(self.state).encode()).hexdigest()[:8])
        self.ssh_dir = self.state / "ssh"
        self.inventory = self.state / "inventory.yml"
        self.network = Network(os.environ.get("LAB_NETNS") or "nvmeof-lab", self.state)
        self.ceph = CephNode(self.state / "ceph", f"{NETWORKS[0]}.1", CEPH_PORT, self.network.name)
        self.machines: dict[str, Machine] = {}
        self.shape: dict[str, object] = {}
        with contextlib.suppress(OSError, ValueError, KeyError):
            told = json.loads((self.state / "lab.json").read_text())
            self._make(told["targets"], told["hypervisors"], told.get("local_nvme", False))
            self.shape = told

    def _make(self, targets: int, hypervisors: int, local_nvme: bool) -> None:
        """The machines of a lab with so many targets and hypervisors."""
        self.machines = {
            spec.name: Machine(spec, self.state / "machines" / spec.name, self.ssh_dir, self.control, self.network)
            for spec in specs(targets, hypervisors, local_nvme)
        }

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Two commands that change a lab take turns."""
        self.cache.mkdir(parents=True, exist_ok=True)
        with open(self.cache / f".lab.{self.network.name}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another lab command is at work: waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # ---------------------------------------------------------------- prerequisites
    def missing(self) -> list[str]:
        """What this machine lacks, one sentence each; empty when the lab can start."""
        lacks = []
        if os.geteuid() != 0:
            lacks.append("root: network namespaces, taps and mmdebstrap need it")
        listed = [line.strip() for line in (HERE / "requirements.apt").read_text().splitlines() if line.strip() and not line.startswith("#")]
        shown = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n", *listed], text=True, capture_output=True, check=False).stdout
        installed = {line.split()[0] for line in shown.splitlines() if line.split()[1:2] == ["ii"]}
        absent = [name for name in listed if name not in installed]
        if absent:
            lacks.append(f"Debian packages: apt-get install {' '.join(absent)}")
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            lacks.append("/dev/net/tun: the machines' network cards are taps")
        accel = os.environ.get("LAB_ACCEL", "")
        if accel.startswith("kvm") and not os.access("/dev/kvm", os.R_OK | os.W_OK):
            lacks.append("/dev/kvm, which LAB_ACCEL=kvm asks for: unset LAB_ACCEL to emulate")
        free = shutil.disk_usage(self.cache if self.cache.exists() else "/").free
        if free < 3 * 2**30:
            lacks.append(f"disk space: {free // 2**20} MiB free, 3 GiB needed")
        return lacks

    def require(self) -> None:
        """Fail with everything that is missing."""
        lacks = self.missing()
        if lacks:
            raise LabError("this machine cannot run the lab. Missing: " + "; ".join(lacks))

    # ---------------------------------------------------------------- up
    def up(self, targets: int, hypervisors: int, variant: str = "cloud", local_nvme: bool = False, linux: bool = False) -> None:
        """Bring the lab up, or what is missing of it. Idempotent. All machines are of one variant of the image."""
        self.require()
        begin = time.monotonic()

        def stage(text: str) -> None:
            say(f"[{time.monotonic() - begin:6.1f} s] {text}")

        with self.locked():
            shape = {"targets": targets, "hypervisors": hypervisors, "variant": variant, "local_nvme": local_nvme, "netns": self.network.name}
            if self.shape not in ({}, shape):
                raise LabError(f"a lab of another shape exists ({self.shape}): lab down first")
            self.network.up()
            self.state.mkdir(parents=True, exist_ok=True)
            self._make(targets, hypervisors, local_nvme)
            (self.state / "lab.json").write_text(json.dumps(shape) + "\n")
            self.control.mkdir(mode=0o700, exist_ok=True)
            with ThreadPoolExecutor() as pool:
                # Ceph and the image need different things; only the targets' payload needs both
                ceph = pool.submit(self._ceph_up, stage)
                guests = pool.submit(self._guests, linux)
                directory = image.build(self.cache, variant)
                stage("image")
                model = template.build(self.cache, directory, self.network, self.state / "machines" / template.NAME, self.control)
                stage("template")
                if not self.ssh_dir.exists():
                    shutil.copytree(model / "ssh", self.ssh_dir)
                waits = [pool.submit(self._ready, machine, directory, model, ceph.result, guests.result, stage) for machine in self.machines.values()]
                for future in (ceph, guests, *waits):
                    future.result()
            inventory.write(self.inventory, [machine.spec for machine in self.machines.values()], self.ssh_dir, self.control)
        stage(f"up; inventory: {self.inventory}; run commands by: {HERE / 'lab'} exec ...")

    def _ceph_up(self, stage: Callable[[str], None]) -> None:
        """The cluster with the pool, the images and the client of the declared state."""
        self.ceph.start()
        self.ceph.create_pool(inventory.POOL)
        self.ceph.create_client("spdk", [inventory.POOL])
        for name, size in inventory.IMAGES.items():
            self.ceph.create_image(inventory.POOL, name, size)
        stage("Ceph")

    def _guests(self, linux: bool) -> list[Path]:
        """The guests, built into the cache: the mini guest always anew (under a second), the Linux guest once."""
        target = self.cache / "guest"
        target.mkdir(parents=True, exist_ok=True)
        files = [target / "mini.elf"]
        steps = [["build_mini.sh", str(files[0])]]
        if linux:
            files += [target / "vmlinuz", target / "initrd.img"]
            if not all(path.exists() for path in files[1:]):
                steps += [["fetch_kernel.sh", str(target / "kernel")], ["build_linux.sh", str(target / "kernel"), str(target)]]
        for script, *arguments in steps:
            done = subprocess.run(["sh", str(payload.GUEST / script), *arguments], text=True, capture_output=True, check=False)
            if done.returncode:
                raise LabError(f"{payload.GUEST / script} failed: {(done.stderr or done.stdout).strip()[-500:]}")
        shutil.rmtree(target / "kernel", ignore_errors=True)
        return files

    def _ready(
        self, machine: Machine, directory: Path, model: Path, ceph: Callable[[], None], guests: Callable[[], list[Path]], stage: Callable[[str], None]
    ) -> None:
        """Start one machine, wait for it and bring it what it needs."""
        names = [("outer", f"{NETWORKS[0]}.1"), *((one.name, one.spec.addresses[0]) for one in self.machines.values())]
        template.wake(machine, directory, model, "127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in names))
        machine.wait()
        stage(f"{machine.name} answers")
        if machine.spec.role == "target":
            ceph()
            payload.push_target(machine, self.ceph)
        else:
            payload.push_hypervisor(machine, guests())

    # ---------------------------------------------------------------- down
    def strangers(self) -> list[int]:
        """Processes of this lab wherever they run.

        They are in the namespace, or have the state or control directory in the command line of a QEMU, a Ceph daemon or ssh.
        """
        found = set(self.network.processes()) if self.network.found_owner() == str(self.state) else set()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                program = os.path.basename(command.split(b"\0")[0].split(b" ")[0].rstrip(b":"))
                ours = str(self.state).encode() + b"/" in command or str(self.control).encode() + b"/" in command
                if ours and (program.startswith((b"qemu-system", b"ceph-")) or program == b"ssh"):
                    found.add(int(entry.name))
        return sorted(pid for pid in found if process_state(pid) not in ("", "Z"))

    def down(self) -> None:
        """Remove the whole lab; only the cache stays. Works on half a lab and on none."""
        with self.locked():
            self.network.check_ours()
            problems = []
            for step in [*(machine.stop for machine in self.machines.values()), self.ceph.stop]:
                try:
                    step()
                except ERRORS as error:
                    problems.append(str(error))
            for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
                deadline = time.monotonic() + patience
                for pid in self.strangers():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                while self.strangers() and time.monotonic() < deadline:
                    time.sleep(0.1)
            left = self.strangers()
            if left:
                raise LabError(f"processes {left} of the lab do not die ({'; '.join(problems)})")
            self.network.down()
            for directory in (self.control, self.state):
                if directory.exists():
                    self._check_ours(directory)
                    image.remove_tree(directory)

    def _check_ours(self, directory: Path) -> None:
        """Refuse to remove a directory that no lab made, such as LAB_STATE=/home."""
        strangers = sorted(path.name for path in directory.iterdir())
        if directory == self.state and strangers and not (directory / "lab.json").exists():
            raise LabError(f"{directory} holds {', '.join(strangers[:5])} and was not made by a lab: not removed")

    # ---------------------------------------------------------------- use
    def machine(self, name: str) -> Machine:
        """A machine by its name."""
        if not self.machines:
            raise LabError("no lab is up: lab up first")
        if name not in self.machines:
            raise LabError(f"the lab has no machine {name}: there are {', '.join(self.machines)}")
        return self.machines[name]

    def status(self) -> int:
        """Print one line per part; 0 when everything runs."""
        if not self.machines:
            print("no lab")
            return 1
        up = {"network": self.network.found_owner() == str(self.state), "ceph": self.ceph.running()}
        up.update((name, bool(machine.pid())) for name, machine in self.machines.items())
        for name, works in up.items():
            others = {"network": self.network.name, "ceph": f"{self.ceph.address}:{CEPH_PORT}"}
            where = " ".join(self.machines[name].spec.addresses) if name in self.machines else others[name]
            print(f"{name:8} {'up' if works else 'DOWN':5} {where}")
        return 0 if all(up.values()) else 1

    def path(self, action: str, initiator: str, target: str, number: int) -> None:
        """Cut or restore one path: the initiator's frames to that portal go to a card that nobody has, silently, as with a broken switch."""
        host, other = self.machine(initiator), self.machine(target)
        if number not in range(1, len(NETWORKS) + 1):
            raise LabError(f"there is no path {number}: there are paths 1 to {len(NETWORKS)}")
        address, nic = other.spec.addresses[number - 1], f"eth{number - 1}"
        if action == "cut-path":
            host.run(f"ip neigh replace {address} lladdr 02:00:00:00:00:01 dev {nic} nud permanent")
        else:
            host.run(f"ip neigh del {address} dev {nic} 2>/dev/null || true")


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    about = "Virtual machines, Ceph and a network for the tests. Environment: LAB_STATE, LAB_CACHE, LAB_NETNS, LAB_ACCEL, SPDK_TGT."
    top = argparse.ArgumentParser(prog="lab", description=about)
    sub = top.add_subparsers(dest="action", required=True, metavar="COMMAND")
    sub.add_parser("prerequisites", help="say what this machine lacks")
    one = sub.add_parser("image", help="build the machines' image into the cache")
    one.add_argument("--variant", choices=image.VARIANTS, default="cloud")
    up = sub.add_parser("up", help="bring the lab up")
    up.add_argument("--targets", type=int, choices=(1, 2), default=1)
    up.add_argument("--hypervisors", type=int, choices=(0, 1, 2), default=2)
    up.add_argument(
        "--variant",
        choices=image.VARIANTS,
        default="cloud",
        help="the machines' kernel and tools: generic has RDMA, trixie DH-HMAC-CHAP and TLS, layers LUKS, podman what installs",
    )
    up.add_argument("--local-nvme", action="store_true", help="give the targets an emulated PCIe NVMe drive")
    up.add_argument("--linux-guest", action="store_true", help="bring hypervisors the Linux guest too")
    sub.add_parser("down", help="remove everything but the cache")
    sub.add_parser("status", help="what runs")
    for name, text in (
        ("ssh", "a shell or a command in a machine"),
        ("exec", "a command of this machine in the lab's network"),
        ("ceph", "the ceph tool as admin"),
        ("rbd", "the rbd tool as admin"),
    ):
        one = sub.add_parser(name, help=text)
        if name == "ssh":
            one.add_argument("host")
        one.add_argument("command", nargs=argparse.REMAINDER)
    reboot = sub.add_parser("reboot", help="reboot a machine and wait until it is back")
    reboot.add_argument("host")
    reboot.add_argument("--hard", action="store_true", help="by the reset button")
    for name, text in (("cut-path", "cut one initiator's path to one portal"), ("restore-path", "undo cut-path")):
        one = sub.add_parser(name, help=text)
        one.add_argument("initiator")
        one.add_argument("target")
        one.add_argument("number", type=int, help="1: the first network, 2: the second")
    one = sub.add_parser("define-domain", help="define and start a guest on a namespace")
    one.add_argument("host")
    one.add_argument("domain")
    one.add_argument("volume", help="an image of the lab, such as vol-1, or a namespace's uuid")
    one.add_argument("--bus", choices=("virtio", "scsi"), default="virtio")
    one.add_argument("--guest", choices=("mini", "linux"), default="mini")
    one.add_argument("--source", help="another path for the disk, such as a LUKS mapping on the namespace")
    one = sub.add_parser("guest-console", help="what a guest printed, or with --interactive its serial line")
    one.add_argument("host")
    one.add_argument("domain")
    one.add_argument("--interactive", action="store_true")
    one = sub.add_parser("guest-send", help="write letters to a guest's serial line")
    one.add_argument("host")
    one.add_argument("domain")
    one.add_argument("letters")
    one = sub.add_parser("grow-outside", help="resize an image behind everybody's back")
    one.add_argument("image")
    one.add_argument("size", help="as the rbd tool reads it, such as 128M")
    one = sub.add_parser("push", help="bring targets and hypervisors the present simulator, configuration and guests again")
    one.add_argument("--linux-guest", action="store_true", help="the Linux guest too")
    return top


def run(options: argparse.Namespace) -> int:
    """One command."""
    lab = Lab()
    action = options.action
    if action == "prerequisites":
        lacks = lab.missing()
        for lack in lacks:
            say(f"missing: {lack}")
        return 1 if lacks else 0
    if action == "image":
        lab.require()
        print(image.build(lab.cache, options.variant))
    elif action == "up":
        lab.up(options.targets, options.hypervisors, options.variant, options.local_nvme, options.linux_guest)
    elif action == "down":
        lab.down()
    elif action == "status":
        return lab.status()
    elif action == "ssh":
        machine = lab.machine(options.host)
        command = machine.ssh_command(*options.command, tty=sys.stdin.isatty() and not options.command)
        os.execvp(command[0], command)
    elif action == "exec":
        lab.network.check_ours()
        if not options.command:
            raise LabError("exec needs a command")
        if not lab.network.exists():
            raise LabError("no lab is up: lab up first")
        command = [*lab.network.prefix(), *options.command]
        os.execvp(command[0], command)
    elif action in ("ceph", "rbd"):
        print(getattr(lab.ceph, action)(*options.command), end="")
    elif action == "reboot":
        lab.machine(options.host).reboot(options.hard)
    elif action in ("cut-path", "restore-path"):
        lab.path(action, options.initiator, options.target, options.number)
    elif action == "define-domain":
        define(lab.machine(options.host), options.domain, inventory.UUIDS.get(options.volume, options.volume), options.bus, options.guest, options.source)
    elif action == "guest-console":
        console(lab.machine(options.host), options.domain, options.interactive)
    elif action == "guest-send":
        send(lab.machine(options.host), options.domain, options.letters)
    elif action == "grow-outside":
        lab.ceph.rbd("resize", "--no-progress", "--size", options.size, options.image)
    elif action == "push":
        guests = lab._guests(options.linux_guest)
        for machine in lab.machines.values():
            payload.push_target(machine, lab.ceph) if machine.spec.role == "target" else payload.push_hypervisor(machine, guests)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, and say errors in one sentence."""
    options = parser().parse_args(argv)
    try:
        return run(options)
    except ERRORS as error:
        say(f"lab: {error}")
        return 1
    except KeyboardInterrupt:
        say("lab: interrupted; lab up goes on from here, lab down removes what there is")
        return 130
