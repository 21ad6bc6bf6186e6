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

from fleet import MIB, export
from module_runner import PYTHON, run_module

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


#: Writes blocks below the size that the image has at the start, from its end on, until SIGTERM; then reads all of them.
WRITER = """
import hashlib, json, signal, sys, time
import rados, rbd
conf, keyring, pool, name = sys.argv[1:]
BLOCK, stop, written, number = 65536, [], {}, 0
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))

def data(block, number):
    return hashlib.sha256(b"%d %d" % (block, number)).digest() * (BLOCK // 32)

with rados.Rados(conffile=conf, rados_id="admin", conf={"keyring": keyring}) as cluster, cluster.open_ioctx(pool) as ioctx:
    with rbd.Image(ioctx, name) as image:
        blocks = image.size() // BLOCK
        while not stop:
            block = blocks - 1 - number % blocks
            image.write(data(block, number), block * BLOCK)
            written[block] = number
            number += 1
            if number == 16:
                print("writing", flush=True)
            time.sleep(0.01)
        image.flush()
        bad = [block for block, last in written.items() if image.read(block * BLOCK, BLOCK) != data(block, last)]
        print(json.dumps({"written": number, "bad": bad}), flush=True)
"""


@pytest.fixture
def writer(ceph):
    """Start a client that writes on an image; what it found is looked at when the test ends."""
    running = []

    def start(image):
        argv = [PYTHON, "-c", WRITER, str(ceph.conf), str(ceph.keyring), POOL, image]
        running.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
        assert running[-1].stdout.readline() == "writing\n"

    def stop():
        for process in list(running):
            before = process.poll()
            process.send_signal(signal.SIGTERM)
            told = json.loads(process.communicate(timeout=120)[0])
            running.remove(process)
            assert before is None and told["bad"] == [] and told["written"] >= 16, told

    start.stop = stop
    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def volume(simulator, reach, ceph, new_image):
    """An image of 64 MiB that the targets export as the bdev ``a``."""
    exporters, images = [], []

    def make(*targets):
        images.append(new_image(64 * MIB))
        for target in targets or (simulator,):
            export(target, reach, images[-1])
            exporters.append(target)
        return images[-1]

    yield make
    for target in exporters:
        run_module("spdk_rbd_bdev", {"socket": target.socket, **reach, "name": "a", "state": "absent", "force": True})
    for image in images:
        # who is left was killed, and Ceph would wait 30 s for it
        for watcher in json.loads(ceph.rbd("status", "--format", "json", f"{POOL}/{image}"))["watchers"]:
            ceph.ceph("osd", "blocklist", "add", watcher["address"])
