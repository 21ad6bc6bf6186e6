# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Ceph cluster of one node - mon, mgr and one bluestore OSD - below one directory.

Needs root or any user who may run Debian's ceph-mon, ceph-mgr, ceph-osd and ceph-common; nothing outside the directory is read or written.

    with CephNode("/tmp/ceph") as ceph:
        ceph.create_pool("pool-1")
        ceph.create_image("pool-1", "vol-1", 64 * 2**20)
        ... rados/rbd clients use ceph.conf and ceph.keyring ...

or from a shell: ``ceph_node.py start DIR``, ``ceph_node.py status DIR``, ``ceph_node.py ceph DIR osd tree``, ``ceph_node.py stop DIR``,
``ceph_node.py destroy DIR``.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Iterator, Sequence

MIB = 1024 * 1024
PROGRAMS = ("ceph-mon", "ceph-mgr", "ceph-osd", "ceph-authtool", "monmaptool", "ceph", "rbd")

# bluestore, not memstore: a memstore OSD of Ceph 16 does not find its placement groups again after a restart.
# One OSD, so: size 1, failure domain osd, and a short report timeout because no peer would report a dead OSD.
# osd_fast_shutdown is safe with bluestore and saves a second at every stop.
CONFIG = """\
[global]
fsid = {fsid}
mon initial members = a
mon host = [v2:{address}:{port}/0]
public addr = {address}
cluster addr = {address}
ms bind msgr1 = false
ms bind msgr2 = true
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {directory}/ceph.$name.keyring
run dir = {directory}/run
admin socket = {directory}/run/$name.asok
pid file = {directory}/run/$name.pid
crash dir = {directory}/crash
log file = {directory}/log/$name.log
log to syslog = false
err to syslog = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0

[mon]
mon data = {directory}/mon
mon cluster log file = {directory}/log/cluster.log
mon allow pool delete = true
mon allow pool size one = true
mon warn on pool no redundancy = false
mon osd report timeout = 30
mon data avail warn = 2
mon data avail crit = 1
auth allow insecure global id reclaim = false
mgr initial modules =

[mgr]
mgr data = {directory}/mgr
mgr stats period = 1

[osd]
osd data = {directory}/osd
osd objectstore = bluestore
bluestore block create = true
bluestore block size = {osd_bytes}
bluestore cache autotune = false
bluestore cache size = 67108864
osd class update on start = false
osd max object name len = 256
osd max object namespace len = 64

[client]
admin socket =
log file =
client mount timeout = 30
"""

KEYS = {
    # entity: capabilities
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *", "mds": "allow *", "mgr": "allow *"},
    "mgr.a": {"mon": "allow profile mgr", "osd": "allow *", "mds": "allow *"},
    "osd.0": {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": "allow *"},
}


class CephError(Exception):
    """The cluster could not do what was asked; the text names the command and its output."""


def process_state(pid: int) -> str:
    """The state letter of a process from /proc ("R", "S", "T", "Z", ...), or "" when there is none. A zombie still answers kill -0, so this is what counts."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[0]


class CephNode:
    """One cluster in one directory. All methods raise CephError with one sentence that names the command and its output."""

    def __init__(self, directory: str | Path, address: str = "127.0.0.1", port: int = 13300, netns: str | None = None, osd_bytes: int = 4096 * MIB) -> None:
        """``netns`` runs everything in that network namespace; ``osd_bytes`` is the sparse file of the OSD (only what is written costs space)."""
        self.directory = Path(directory).absolute()
        self.address, self.port, self.netns, self.osd_bytes = address, port, netns, osd_bytes
        self.conf = self.directory / "ceph.conf"
        self.keyring = self.keyring_of("admin")
        # a unix socket's name may have 107 characters
        if len(str(self.directory)) > 80:
            raise CephError(f"the directory {self.directory} is too long for Ceph's admin sockets: choose one below 80 characters")

    # ---------------------------------------------------------------- commands
    def run(self, argv: Sequence[str], timeout: float = 60, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess:
        """Run a program as a client of this cluster. ``timeout`` in seconds always applies: clients of a dead cluster hang for minutes."""
        prefix = ["ip", "netns", "exec", self.netns] if self.netns else []
        env = dict(os.environ, CEPH_CONF=str(self.conf), LC_ALL="C.UTF-8")
        env.pop("CEPH_ARGS", None)
        # Debian's ceph tools are scripts for the system's python; a virtual environment's variables mislead them
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
            env.pop(name, None)
        try:
            done = subprocess.run([*prefix, *argv], timeout=timeout, text=True, capture_output=True, env=env, input=stdin, cwd="/", check=False)
        except subprocess.TimeoutExpired:
            raise CephError(f"{' '.join(argv)}: no answer within {timeout} s (see {self.directory}/log)") from None
        except FileNotFoundError as error:
            raise CephError(f"{error.filename} is not installed: see tests/lab/requirements.apt") from None
        if check and done.returncode:
            raise CephError(f"{' '.join(argv)}: exit code {done.returncode}: {(done.stderr or done.stdout).strip()}")
        return done

    def ceph(self, *args: str, timeout: float = 60) -> str:
        """``ceph ARGS`` as client.admin; the standard output."""
        return self.run(["ceph", "--connect-timeout", str(max(1, int(timeout))), *args], timeout=timeout + 5).stdout

    def ceph_json(self, *args: str, timeout: float = 60) -> dict | list:
        """``ceph ARGS -f json``, parsed."""
        return json.loads(self.ceph(*args, "-f", "json", timeout=timeout))

    def rbd(self, *args: str, timeout: float = 60) -> str:
        """``rbd ARGS`` as client.admin; the standard output."""
        return self.run(["rbd", *args], timeout=timeout).stdout

    # ---------------------------------------------------------------- processes
    def pid(self, daemon: str) -> int | None:
        """The live process of "mon.a", "mgr.a" or "osd.0", or None. A recycled pid is recognised by the directory in its command line."""
        try:
            pid = int((self.directory / "run" / f"{daemon}.pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        if process_state(pid) in ("", "Z") or str(self.conf).encode() not in command:
            return None
        return pid

    def signal(self, daemon: str, number: int) -> None:
        """Send a signal to a daemon: SIGSTOP and SIGCONT freeze and thaw it."""
        pid = self.pid(daemon)
        if pid is None:
            raise CephError(f"{daemon} in {self.directory} does not run")
        os.kill(pid, number)

    def _spawn(self, daemon: str) -> None:
        """Start one daemon unless it runs; it goes to the background by itself once its sockets are bound."""
        if self.pid(daemon):
            return
        kind, _dot, name = daemon.partition(".")
        self.run([f"ceph-{kind}", "-i", name, "-c", str(self.conf)], timeout=60)

    def running(self) -> bool:
        """Whether all three daemons live."""
        return all(self.pid(daemon) for daemon in ("mon.a", "mgr.a", "osd.0"))

    # ---------------------------------------------------------------- life
    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Two starts or stops of the same directory take turns."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with open(self.directory / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def start(self) -> CephNode:
        """Create the cluster if the directory is empty, start what does not run, wait until it serves. Idempotent. About 12 s for a new one."""
        missing = [name for name in PROGRAMS if not shutil.which(name)]
        if missing:
            raise CephError(f"not installed: {', '.join(missing)}; see tests/lab/requirements.apt")
        with self._locked():
            if not (self.directory / "complete").exists():
                self._clear()
                self._create()
            elif f"[v2:{self.address}:{self.port}/0]" not in self.conf.read_text():
                raise CephError(f"{self.directory} holds a cluster of another address: destroy it or choose another directory")
            (self.directory / "run").mkdir(exist_ok=True)
            try:
                self._spawn("mon.a")
                self._spawn("mgr.a")
                self._spawn("osd.0")
                self.wait_healthy()
            except CephError:
                self._stop()
                raise
        return self

    def _create(self) -> None:
        """Make the monitor's and the OSD's stores. The keys go into the monitor at its creation, so that no daemon has to ask for one."""
        for name in ("mon", "mgr", "osd", "run", "log", "crash"):
            (self.directory / name).mkdir(parents=True)
        fsid = str(uuid.uuid4())
        self.conf.write_text(CONFIG.format(fsid=fsid, address=self.address, port=self.port, directory=self.directory, osd_bytes=self.osd_bytes))
        seed = self.directory / "seed.keyring"
        for entity, caps in KEYS.items():
            path = self.directory / "ceph.{}.keyring".format(entity if entity != "mon." else "mon.a")
            argv = ["ceph-authtool", "--create-keyring", str(path), "--gen-key", "-n", entity]
            for service, cap in caps.items():
                argv += ["--cap", service, cap]
            self.run(argv)
            path.chmod(0o600)
            with open(seed, "a") as out:
                out.write(path.read_text())
        seed.chmod(0o600)
        monmap = self.directory / "monmap"
        self.run(["monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", f"[v2:{self.address}:{self.port}/0]", str(monmap)])
        self.run(["ceph-mon", "--mkfs", "-i", "a", "-c", str(self.conf), "--monmap", str(monmap), "--keyring", str(seed)])
        (self.directory / "mon" / "keyring").write_text((self.directory / "ceph.mon.a.keyring").read_text())
        seed.unlink()
        self._spawn("mon.a")
        try:
            osd_uuid = str(uuid.uuid4())
            self.ceph("osd", "new", osd_uuid, "0")
            self.run(["ceph-osd", "-i", "0", "-c", str(self.conf), "--mkfs", "--osd-uuid", osd_uuid, "--monmap", str(monmap)], timeout=120)
        except CephError:
            self._stop()
            raise
        (self.directory / "complete").write_text("")

    def wait_healthy(self, seconds: float = 60) -> None:
        """Wait until the OSD is up and in, the manager is active and no placement group is unready."""
        deadline = time.monotonic() + seconds
        while True:
            status = self.ceph_json("status", timeout=max(1.0, deadline - time.monotonic()))
            groups = status["pgmap"].get("pgs_by_state", [])
            unready = [group for group in groups if group["state_name"] != "active+clean"]
            if status["osdmap"]["num_up_osds"] == 1 and status["osdmap"]["num_in_osds"] == 1 and status["mgrmap"]["available"] and not unready:
                return
            if time.monotonic() > deadline:
                raise CephError(f"the cluster in {self.directory} did not become healthy within {seconds} s: {status['health']}, see its log directory")
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop all daemons; the data stays and ``start`` brings it back. Nothing happens when nothing runs."""
        if not self.directory.exists():
            return
        with self._locked():
            self._stop()

    def _stop(self) -> None:
        # clients of the mon last: the OSD tells the mon that it leaves, which spares the next start a time-out
        for daemon in ("mgr.a", "osd.0", "mon.a"):
            pid = self.pid(daemon)
            if pid is None:
                continue
            for number, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                    os.kill(pid, number)
                deadline = time.monotonic() + patience
                while self.pid(daemon) == pid and time.monotonic() < deadline:
                    time.sleep(0.05)
                if self.pid(daemon) != pid:
                    break
            else:
                raise CephError(f"{daemon} (pid {pid}) does not die")
            (self.directory / "run" / f"{daemon}.pid").unlink(missing_ok=True)

    def _clear(self) -> None:
        """Remove a half-made cluster, and nothing that is not ours."""
        self._stop()
        ours = {"ceph.conf", "monmap", "seed.keyring", "complete", ".lock", "mon", "mgr", "osd", "run", "log", "crash"}
        strangers = [p.name for p in self.directory.iterdir() if p.name not in ours and not p.name.startswith("ceph.")]
        if strangers:
            raise CephError(f"{self.directory} holds other files ({', '.join(sorted(strangers)[:5])}): choose an empty directory")
        for path in self.directory.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()

    def destroy(self) -> None:
        """Stop all daemons and remove the directory."""
        if not self.directory.exists():
            return
        with self._locked():
            self._clear()
        (self.directory / ".lock").unlink(missing_ok=True)
        self.directory.rmdir()

    def __enter__(self) -> CephNode:
        return self.start()

    def __exit__(self, *_exc) -> None:
        self.destroy()

    # ---------------------------------------------------------------- contents
    def keyring_of(self, client: str) -> Path:
        """The keyring file of ``client`` (an id without "client."); ceph.conf names the same place, so a client needs only the conf and its id."""
        return self.directory / f"ceph.client.{client}.keyring"

    @property
    def fsid(self) -> str:
        """The cluster's id, from its configuration."""
        for line in self.conf.read_text().splitlines():
            if line.startswith("fsid ="):
                return line.partition("=")[2].strip()
        raise CephError(f"{self.conf} names no fsid")

    def create_pool(self, pool: str) -> None:
        """Make a pool for RBD images; an existing one stays as it is."""
        if pool in self.ceph_json("osd", "pool", "ls"):
            return
        self.ceph("osd", "pool", "create", pool, "8", "8", "replicated")
        self.ceph("osd", "pool", "application", "enable", pool, "rbd")
        self.rbd("pool", "init", pool)
        self.wait_healthy()

    def create_client(self, client: str, pools: Sequence[str]) -> Path:
        """A client that may use the images of these pools and nothing else (Ceph's rbd profile); returns its keyring file."""
        osd = ", ".join(f"profile rbd pool={pool}" for pool in pools)
        path = self.keyring_of(client)
        text = self.ceph("auth", "get-or-create", f"client.{client}", "mon", "profile rbd", "osd", osd, "mgr", "profile rbd")
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    def create_image(self, pool: str, image: str, size_bytes: int) -> None:
        """Make a sparse image of ``size_bytes``; an existing one stays as it is, whatever its size."""
        if image not in json.loads(self.rbd("ls", "--format", "json", pool)):
            self.rbd("create", "--size", f"{size_bytes}B", f"{pool}/{image}")

    def image_bytes(self, pool: str, image: str) -> int:
        """The image's size in bytes as the rbd tool tells it."""
        return json.loads(self.rbd("info", "--format", "json", f"{pool}/{image}"))["size"]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; see the module's text."""
    parser = argparse.ArgumentParser(prog="ceph_node", description="A Ceph cluster of one node below one directory.")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=13300)
    parser.add_argument("--netns")
    parser.add_argument("--pool", action="append", default=[], help="start: make this pool and let client.spdk use it (repeatable)")
    parser.add_argument("action", choices=("start", "stop", "destroy", "status", "ceph", "rbd"))
    parser.add_argument("directory")
    parser.add_argument("args", nargs=argparse.REMAINDER, help="for ceph and rbd")
    options = parser.parse_args(argv)
    try:
        node = CephNode(options.directory, options.address, options.port, options.netns)
        if options.action == "start":
            node.start()
            for pool in options.pool:
                node.create_pool(pool)
            if options.pool:
                node.create_client("spdk", options.pool)
            print(f"conf={node.conf} keyring={node.keyring}")
        elif options.action in ("stop", "destroy"):
            getattr(node, options.action)()
        elif options.action == "status":
            print(node.ceph("status", timeout=10) if node.running() else "not running", end="\n")
            return 0 if node.running() else 1
        else:
            print(getattr(node, options.action)(*options.args), end="")
    except CephError as error:
        print(f"ceph_node: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
