# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Ceph of one node for all tests here, and the SPDK simulator on it. Run with a python that sees Debian's python3-rbd."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from module_runner import run_module

from ceph_node import CephNode

TESTS = Path(__file__).resolve().parents[2]
POOL = "pool-1"


@pytest.fixture(scope="session")
def ceph():
    """The cluster, with a pool and the client ``spdk``."""
    with tempfile.TemporaryDirectory(prefix="nvmeof-ceph-") as directory:
        node = CephNode(Path(directory) / "ceph", address="127.0.0.31")
        try:
            node.start()
            node.create_pool(POOL)
            node.create_client("spdk", [POOL])
            yield node
        finally:
            node.destroy()


@pytest.fixture
def reach(ceph):
    """Options with which a module reaches the cluster."""
    return {"ceph_conf": str(ceph.conf), "ceph_keyring": str(ceph.keyring)}


@pytest.fixture
def new_image(ceph):
    """Make images with exact sizes; they are removed at the end."""
    made = []

    def make(size, pool=POOL):
        name = f"image-{os.getpid()}-{time.monotonic_ns()}"
        ceph.rbd("create", "--no-progress", "--size", f"{size}B", f"{pool}/{name}")
        made.append(f"{pool}/{name}")
        return name

    yield make
    for name in made:
        ceph.rbd("rm", "--no-progress", name)


class Simulator:
    """The SPDK simulator as a process, with its socket for trouble."""

    def __init__(self, directory, ceph):
        self._directory = directory
        self.socket = str(directory / "spdk.sock")
        self._control = str(directory / "control.sock")
        self.cluster = {"name": "c0", "config_file": str(ceph.conf), "key_file": str(ceph.keyring)}
        self.start()

    def start(self):
        """Start it, empty."""
        self._log = (self._directory / "log").open("ab")
        environment = {**os.environ, "SPDK_SIM_CONTROL": self._control, "SPDK_SIM_EXPORT": "none"}
        command = [str(TESTS / "lab" / "simulator" / "spdk_tgt"), "-r", self.socket]
        self.process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT, env=environment)
        deadline = time.monotonic() + 30
        while not os.path.exists(self.socket):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the simulator did not start: {(self._directory / 'log').read_text()}")
            time.sleep(0.05)

    def kill(self):
        """SIGKILL: nothing is given back to Ceph."""
        self.process.kill()
        self.process.wait(20)
        self._log.close()
        for path in (self.socket, self._control):
            if os.path.exists(path):
                os.unlink(path)

    def call(self, method, **params):
        """One RPC call without the collection's own client."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(60)
            client.connect(self.socket)
            client.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, **({"params": params} if params else {})}).encode())
            text = ""
            while True:
                text += client.recv(1 << 20).decode()
                try:
                    answer = json.loads(text)
                    break
                except ValueError:
                    continue
        assert "error" not in answer, answer
        return answer["result"]

    def export(self, bdev):
        """Put the bdev into use, as a namespace."""
        nqn = f"nqn.2026-01.org.example:{bdev}"
        self.call("nvmf_create_subsystem", nqn=nqn, allow_any_host=True)
        self.call("nvmf_subsystem_add_ns", nqn=nqn, namespace={"bdev_name": bdev})

    def bdev_bytes(self, name):
        (entry,) = self.call("bdev_get_bdevs", name=name)
        return entry["num_blocks"] * entry["block_size"]

    def trouble(self, **switches):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            path = str(self._directory / f"client-{time.monotonic_ns()}")
            client.bind(path)
            client.settimeout(10)
            client.sendto(json.dumps(switches).encode(), self._control)
            answer = client.recv(65536)
            os.unlink(path)
        return json.loads(answer)

    def stop(self):
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)
        self._log.close()


@pytest.fixture
def simulator(tmp_path, ceph):
    running = Simulator(tmp_path, ceph)
    yield running
    running.stop()


@pytest.fixture
def second(tmp_path, ceph):
    """Another target."""
    (tmp_path / "second").mkdir()
    running = Simulator(tmp_path / "second", ceph)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def without_bindings(tmp_path_factory):
    """The environment of a module on a host that has the programs of ceph-common and no python3-rbd."""
    hidden = tmp_path_factory.mktemp("hidden")
    for name in ("rbd", "rados"):
        (hidden / f"{name}.py").write_text("raise ImportError('hidden')\n")
    # a module that was already respawned does not look for another python again
    (hidden / "sitecustomize.py").write_text("import ansible.module_utils.common.respawn as r\nr.has_respawned = lambda: True\n")
    return {"EXTRA_PYTHONPATH": str(hidden)}


@pytest.fixture
def bdev(simulator, reach):
    """Run spdk_rbd_bdev against the simulator."""

    def run(check=False, **params):
        return run_module("spdk_rbd_bdev", {"socket": simulator.socket, **reach, **params}, check=check, diff=True)

    return run
