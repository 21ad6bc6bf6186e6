# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet: targets that are simulators, and hosts that are a real sshd each in a mount namespace with a made-up /sys, /dev and /etc/nvme.

It must run in mount, network and process namespaces of its own (``bench``), for it replaces /run and /etc and leaves them behind.
Volume N (from 1) is image, bdev and domain ``vol-N`` and ``vm-N``, a namespace of one subsystem on both targets of a pair, and a disk of one host.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import sshd
from options import ROOT, Options

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT / "tests" / "fixtures" / "sysfs"), str(HERE / "standins")]

from fake_host import FakeHost  # noqa: E402
from light_store import Store  # noqa: E402

RUN = Path("/run")
PORT = 2222
POOL = "bench"
CLONE_NEWNS, MS_REC, MS_BIND, MS_PRIVATE = 0x20000, 0x4000, 0x1000, 1 << 18
#: Device nodes that programs on a light host may open.
NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}


def uuid_of(number: int, kind: int = 0) -> str:
    """A UUID of a volume (kind 0), domain (1) or host (2)."""
    return f"0a1b2c3d-{kind:04x}-5000-8000-{number:012d}"


def _mount(source: str | None, target: str, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source and source.encode(), target.encode(), None, flags, None):
        raise OSError(ctypes.get_errno(), f"mount on {target}")


def _enter(binds: t.Mapping[str, str]) -> None:
    """A mount namespace of this process's own, in which ``binds`` (place -> what is to be seen there) hold."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    _mount(None, "/", MS_REC | MS_PRIVATE)
    for place, source in binds.items():
        _mount(source, place, MS_BIND | MS_REC)


def _descendants(pid: int) -> list[int]:
    """Children of a process, theirs, and so on."""
    found = []
    with contextlib.suppress(OSError):
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()):
            found += [child, *_descendants(child)]
    return found


class Target:
    """A simulator, and the sshd through which Ansible reaches it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"t{number}"
        self.folder = RUN / "targets" / self.name
        self.socket = self.folder / "spdk.sock"
        self.address = f"127.78.0.{number}"
        self.followers: dict[str, list[str]] = {}
        self.process: subprocess.Popen[bytes]

    def call(self, method: str, params: dict[str, t.Any] | None = None) -> t.Any:
        """One JSON-RPC call over a connection of its own."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.socket))
            request = {"jsonrpc": "2.0", "id": 1, "method": method, **({"params": params} if params else {})}
            sock.sendall(json.dumps(request).encode())
            data = b""
            while True:
                part = sock.recv(1 << 20)
                data += part
                try:
                    answer = json.loads(data)
                except ValueError:
                    if not part:
                        raise
                    continue
                return answer["result"]

    def usage(self) -> tuple[float, int]:
        """CPU seconds and the highest resident KiB so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), peak


class Fleet:
    """Everything that the bench measures against."""

    def __init__(self, options: Options, size: int) -> None:
        """``size``: bytes of every volume at the start."""
        self.options = options
        self.size = size
        self.targets = [Target(number) for number in range(1, options.targets + 1)]
        self.hosts = [f"h{number:03d}" for number in range(1, options.hosts + 1)]
        self.store = Store(str(RUN / "ceph"))
        self.log = RUN / "modules.jsonl"
        self.servers: list[subprocess.Popen[bytes]] = []
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    # -- who has what

    def subsystem_of(self, volume: int) -> int:
        """Subsystems are numbered from 0."""
        return (volume - 1) % self.options.subsystems

    def nqn(self, subsystem: int) -> str:
        return f"nqn.2026-01.org.example:bench-{subsystem}"

    def nsid(self, volume: int) -> int:
        return 1 + (volume - 1) // self.options.subsystems

    def host_of(self, subsystem: int) -> str:
        return self.hosts[subsystem % self.options.hosts]

    def targets_of(self, subsystem: int) -> list[Target]:
        return [self.targets[number - 1] for number in self.options.targets_of(subsystem % self.options.pairs)]

    def volumes_of(self, target: Target) -> list[int]:
        return [volume for volume in range(1, self.options.volumes + 1) if target in self.targets_of(self.subsystem_of(volume))]

    def bdevs(self, target: Target) -> list[dict[str, t.Any]]:
        """What ``spdk_rbd_bdev`` is to make there."""
        return [{"name": f"vol-{volume}", "pool": POOL, "image": f"vol-{volume}", "uuid": uuid_of(volume)} for volume in self.volumes_of(target)]

    def subsystems(self, target: Target) -> list[dict[str, t.Any]]:
        """What ``nvmf_subsystem`` is to make there."""
        found: dict[int, dict[str, t.Any]] = {}
        for volume in self.volumes_of(target):
            number = self.subsystem_of(volume)
            entry = found.setdefault(
                number,
                {
                    "nqn": self.nqn(number),
                    "serial_number": f"BENCH{number:06d}",
                    "max_namespaces": self.nsid(self.options.volumes),
                    "ana_reporting": True,
                    "min_cntlid": 1 + 1000 * target.number,
                    "max_cntlid": 999 + 1000 * target.number,
                    "hosts": [self.hostnqn(self.host_of(number))],
                    "listeners": [{"trtype": "TCP", "adrfam": "IPv4", "traddr": target.address, "trsvcid": "4420"}],
                    "namespaces": [],
                },
            )
            entry["namespaces"].append({"bdev": f"vol-{volume}", "nsid": self.nsid(volume), "anagrpid": 1})
        return list(found.values())

    def hostnqn(self, host: str) -> str:
        return "nqn.2014-08.org.nvmexpress:uuid:" + uuid_of(int(host[1:]), 2)

    def inventory(self) -> dict[str, t.Any]:
        """For Ansible."""
        common = {
            "ansible_port": PORT,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(RUN / "ssh" / "client"),
            "ansible_ssh_common_args": f"-F /dev/null -o UserKnownHostsFile={RUN}/ssh/known -o StrictHostKeyChecking=no -o LogLevel=ERROR",
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_remote_tmp": "/run/tmp",
            "spdk_target_ceph_conf": str(RUN / "ceph" / "ceph.conf"),
        }
        targets = {target.name: {"ansible_host": target.address, "spdk_target_socket": str(target.socket)} for target in self.targets}
        hosts = {name: {"ansible_host": self._address(name)} for name in self.hosts}
        return {"all": {"vars": common, "children": {"spdk_targets": {"hosts": targets}, "nvme_initiators": {"hosts": hosts}}}}

    @staticmethod
    def _address(host: str) -> str:
        return f"127.77.0.{int(host[1:])}"

    # -- making it

    def start(self) -> None:
        """Make and start everything; targets are empty."""
        self._private()
        self.store.prepare()
        (RUN / "ceph" / "ceph.conf").write_text("[global]\n", encoding="ascii")
        for volume in range(1, self.options.volumes + 1):
            self.store.set_size(POOL, f"vol-{volume}", self.size)
        for name in self.hosts:
            self._host(name)
        for target in self.targets:
            self._target(target)
        for name in self.hosts:
            self._sshd(name, self._address(name), RUN / "hosts" / name)
        for target in self.targets:
            self._sshd(target.name, target.address, target.folder)
        for name, address in [(name, self._address(name)) for name in self.hosts] + [(target.name, target.address) for target in self.targets]:
            self._await(name, address)

    def _private(self) -> None:
        """/run and /etc of our own: nothing of the machine is changed, and nothing of the bench stays."""
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,dev", "tmpfs", str(RUN)], check=True)
        for name in ("sshd", "ssh", "tmp", "home", "targets", "hosts", "libvirt/qemu", "lock"):
            (RUN / name).mkdir(parents=True)
        (RUN / "sshd").chmod(0o755)
        # only what programs on hosts look at; whole trees such as certificates are of no use here
        skip = shutil.ignore_patterns("ssl", "ca-certificates", "alternatives", "apt", "systemd", "X11", "fonts", "ssh")
        shutil.copytree("/etc", RUN / "etc", symlinks=True, ignore=skip)
        (RUN / "etc" / "nvme").mkdir(exist_ok=True)
        accounts = ["root:x:0:0:root:/run/home:/bin/sh", "sshd:x:64100:65534::/run/sshd:/usr/sbin/nologin", "nobody:x:65534:65534::/:/usr/sbin/nologin"]
        (RUN / "etc" / "passwd").write_text("\n".join(accounts) + "\n", encoding="ascii")
        # a locked account (!) could not log in by key either
        (RUN / "etc" / "shadow").write_text("root:*:19000:0:99999:7:::\n", encoding="ascii")
        subprocess.run(["mount", "--bind", str(RUN / "etc"), "/etc"], check=True)
        for name in ("host", "client"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(RUN / "ssh" / name)], check=True)
        standins = RUN / "standins"
        shutil.copytree(HERE / "standins", standins, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "tests" / "unit" / "plugins" / "module_utils" / "fake_libvirt.py", standins)

    def environment(self, host: str) -> dict[str, str]:
        """What Python on a light host is to know."""
        return {
            "PYTHONPATH": str(RUN / "standins"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LIGHT_HOST": str(RUN / "hosts" / host),
            "LIGHT_CEPH": self.store.folder,
            "LIGHT_CEPH_MS": str(self.options.ceph_ms),
            "LIGHT_LOG": str(self.log),
        }

    def _host(self, name: str) -> None:
        """The tree of one host: two controllers for each of its subsystems, a head and two paths for each volume."""
        folder = RUN / "hosts" / name
        made = FakeHost(folder)
        made.write("etc/hostnqn", self.hostnqn(name) + "\n")
        made.write("etc/hostid", uuid_of(int(name[1:]), 2) + "\n")
        (folder / "sys/dev/block").mkdir(parents=True)
        (folder / "capacity").mkdir()
        (folder / "libvirt/qemu").mkdir(parents=True)
        for node, number in NODES.items():
            os.mknod(folder / "dev" / node, stat.S_IFCHR | 0o666, os.makedev(*number))
            (folder / "dev" / node).chmod(0o666)
        for link, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
            (folder / "dev" / link).symlink_to(f"/proc/self/{target}")
        domains: dict[str, dict[str, str]] = {}
        controller = 0
        own = [number for number in range(self.options.subsystems) if self.host_of(number) == name]
        for instance, subsystem in enumerate(own):
            paths = []
            for target in self.targets_of(subsystem):
                paths.append((f"nvme{controller}", target))
                made.controller(f"nvme{controller}", target.address, "4420", self.nqn(subsystem), hostnqn=self.hostnqn(name))
                controller += 1
            for volume in range(subsystem + 1, self.options.volumes + 1, self.options.subsystems):
                device = f"nvme{instance}n{self.nsid(volume)}"
                made.namespace(device, self.nsid(volume), uuid_of(volume), self.size, [path for path, _target in paths])
                number = (folder / "sys/block" / device / "dev").read_text(encoding="ascii").strip()
                (folder / "sys/dev/block" / number).symlink_to(f"../../block/{device}")
                major, minor = number.split(":")
                os.mknod(folder / "dev" / device, stat.S_IFBLK | 0o600, os.makedev(int(major), int(minor)))
                for path, target in paths:
                    files = [f"nvme{instance}c{path[4:]}n{self.nsid(volume)}", device]
                    target.followers[f"vol-{volume}"] = [str(folder / "sys/block" / block / "size") for block in files]
                domains[f"vm-{volume}"] = {"uuid": uuid_of(volume, 1), "volume": uuid_of(volume), "device": device}
                (folder / "capacity" / f"vm-{volume}").write_text(str(self.size), encoding="ascii")
        (folder / "domains.json").write_text(json.dumps(domains), encoding="ascii")
        self._qemu(folder, domains)

    def _qemu(self, folder: Path, domains: t.Mapping[str, t.Mapping[str, str]]) -> None:
        """One process that passes for the QEMU of all domains of a host: their UUIDs on its command line, their devices held (not opened) by it."""
        held = [os.open(folder / "dev" / known["device"], os.O_PATH) for known in domains.values()]
        words = [word for known in domains.values() for word in ("-uuid", known["uuid"])]
        command = ["/bin/sh", "-c", "read line", "light-qemu", *words]
        qemu = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=held)
        self.servers.append(qemu)
        for handle in held:
            os.close(handle)
        for name in domains:
            (folder / "libvirt/qemu" / f"{name}.pid").write_text(f"{qemu.pid}\n", encoding="ascii")

    def _target(self, target: Target) -> None:
        target.folder.mkdir()
        followers = target.folder / "followers.json"
        followers.write_text(json.dumps(target.followers), encoding="ascii")
        log = open(self.options.out / f"{target.name}.log", "wb")  # noqa: SIM115  # for the life of the process
        command = ["/usr/bin/python3", "-B", str(HERE / "target.py"), str(followers), "-r", str(target.socket), "--sim-memory", self.store.folder]
        env = {"PATH": os.environ["PATH"], "SPDK_SIM_EXPORT": "none"}
        target.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        until = time.monotonic() + 60
        while not target.socket.exists():
            if target.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{target.name} does not start, see {log.name}")
            time.sleep(0.05)

    def _sshd(self, name: str, address: str, folder: Path) -> None:
        program, libraries = sshd.sshd()
        settings = {
            "ListenAddress": f"{address}:{PORT}",
            "HostKey": RUN / "ssh" / "host",
            "AuthorizedKeysFile": RUN / "ssh" / "client.pub",
            "PidFile": "none",
            "PermitRootLogin": "yes",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "PrintMotd": "no",
            "UseDNS": "no",
            "MaxStartups": "1000",
            "MaxSessions": "100",
            "SetEnv": " ".join(f"{key}={value}" for key, value in self.environment(name).items()),
        }
        config = RUN / "ssh" / f"{name}.conf"
        config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()), encoding="ascii")
        log = open(self.options.out / "sshd.log", "ab")  # noqa: SIM115  # for the life of the process
        binds = {}
        if name in self.hosts:
            binds = {"/sys": folder / "sys", "/dev": folder / "dev", "/etc/nvme": folder / "etc", "/run/libvirt": folder / "libvirt"}
        process = subprocess.Popen(
            [program, "-D", "-e", "-f", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": libraries},
            preexec_fn=functools.partial(_enter, {place: str(source) for place, source in binds.items()}),
        )
        self.servers.append(process)
        self.daemons[name] = process
        log.close()

    def _await(self, name: str, address: str) -> None:
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection((address, PORT), 5).close()
                return
            except OSError as error:
                if time.monotonic() > until:
                    raise RuntimeError(f"the sshd of {name} does not answer ({error}), see {self.options.out / 'sshd.log'}") from error
                time.sleep(0.05)

    # -- hosts that nobody reaches

    def cut(self, names: t.Iterable[str]) -> None:
        """From now on nobody reaches these hosts: their sshd is killed, with every connection that it has."""
        for name in names:
            daemon = self.daemons.pop(name)
            for pid in [daemon.pid, *_descendants(daemon.pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            daemon.wait()

    def restore(self, names: t.Iterable[str]) -> None:
        """They are back."""
        for name in names:
            self._sshd(name, self._address(name), RUN / "hosts" / name)
            self._await(name, self._address(name))

    # -- what there is in the end

    def wrong_sizes(self, size: int, volumes: t.Iterable[int] | None = None) -> list[str]:
        """The volumes that do not have ``size`` bytes at every hop, asked without the collection."""
        found = []
        wanted = range(1, self.options.volumes + 1) if volumes is None else volumes
        shown = {target.name: {bdev["name"]: bdev["num_blocks"] * bdev["block_size"] for bdev in target.call("bdev_get_bdevs")} for target in self.targets}
        for volume in wanted:
            name, subsystem = f"vol-{volume}", self.subsystem_of(volume)
            folder = RUN / "hosts" / self.host_of(subsystem)
            sizes = {"image": self.store.size(POOL, name), "disk": int((folder / "capacity" / f"vm-{volume}").read_text(encoding="ascii"))}
            for target in self.targets_of(subsystem):
                sizes[f"bdev on {target.name}"] = shown[target.name].get(name)
                for file in target.followers[name]:
                    sizes[file] = int(Path(file).read_text(encoding="ascii")) * 512
            found += [f"{name}: {hop} has {got} bytes, not {size}" for hop, got in sizes.items() if got != size]
        return found

    def counts(self) -> dict[str, dict[str, int]]:
        """How often each method was called so far, by target."""
        return {target.name: target.call("light_counts") for target in self.targets}
