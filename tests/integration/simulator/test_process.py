# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program around the RPC server: options, start-up file, socket, lock, signals, exit codes."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from simulator_process import PROGRAM, Answer, Simulator, connect, eventually, exchange

MIB = 1024 * 1024
MEMORY = {"users": ["admin", "spdk"], "pools": {"pool-1": {"vol-1": 64 * MIB, "vol-2": 32 * MIB}}}
NQN = "nqn.2016-06.io.spdk:p4"
HOST = "nqn.2014-08.org.nvmexpress:uuid:11111111-1111-4111-8111-111111111111"
UUID = "e1e954a2-8047-4f88-a3c0-87511397fd5a"


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short path (Unix sockets allow 107 bytes)."""
    return tmp_path_factory.mktemp("p")


def start_up_file(directory: Path, **changes: Any) -> str:
    """A start-up file as one writes it by hand: with the cluster, read_only and the ANA state that SPDK's own saving loses."""
    (directory / "ceph.conf").write_text("")
    listen = {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": "24421"}
    image = {"pool_name": "pool-1", "block_size": 512, "cluster_name": "c0"}
    bdev = [
        {"method": "bdev_set_options", "params": {"bdev_io_pool_size": 65535, "bdev_io_cache_size": 256}},
        {"method": "bdev_rbd_register_cluster", "params": {"name": "c0", "user_id": "spdk", "config_file": str(directory / "ceph.conf")}},
        {"method": "bdev_rbd_create", "params": {"name": "V1", "rbd_name": "vol-1", **image, "uuid": UUID}},
        {"method": "bdev_set_qos_limit", "params": {"name": "V1", "rw_ios_per_sec": 5000}},
        {"method": "bdev_rbd_create", "params": {"name": "V2", "rbd_name": "vol-2", **image, "read_only": True}},
        *changes.get("bdev", []),
        {"method": "bdev_wait_for_examine"},
    ]
    nvmf = [
        {"method": "nvmf_set_max_subsystems", "params": {"max_subsystems": 1024}},
        {"method": "nvmf_create_transport", "params": {"trtype": "TCP"}},
        {"method": "nvmf_create_subsystem", "params": {"nqn": NQN, "serial_number": "P4", "ana_reporting": True, "max_namespaces": 8}},
        {"method": "nvmf_subsystem_add_host", "params": {"nqn": NQN, "host": HOST}},
        {"method": "nvmf_subsystem_add_ns", "params": {"nqn": NQN, "namespace": {"nsid": 3, "bdev_name": "V1"}}},
        {"method": "nvmf_subsystem_add_listener", "params": {"nqn": NQN, "listen_address": listen, "ana_state": "non_optimized"}},
    ]
    path = directory / "config.json"
    sections = [{"subsystem": "bdev", "config": bdev}, {"subsystem": "nvmf", "config": nvmf}, {"subsystem": "nbd", "config": None}]
    path.write_text("// made by hand\n" + json.dumps({"subsystems": sections}))
    return str(path)


def run(*options: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The program to its end."""
    variables = {"PATH": os.environ["PATH"], "SPDK_SIM_EXPORT": "none", **(environment or {})}
    return subprocess.run([str(PROGRAM), *options], text=True, capture_output=True, timeout=60, check=False, env=variables)


def test_a_restart_from_the_start_up_file_gives_the_same_target(directory: Path) -> None:
    config = start_up_file(directory)
    seen = []
    memory: dict[str, Any] | None = MEMORY
    for _round in range(2):
        environment = {"SPDK_SIM_BACKEND": "memory", "SPDK_SIM_MEMORY_FILE": str(directory / "ceph.json")}
        with Simulator(directory, "-c", config, memory=memory, environment=environment) as simulator:
            bdevs = simulator.call("bdev_get_bdevs")
            assert [bdev["supported_io_types"]["write"] for bdev in bdevs] == [True, False]
            (subsystem,) = simulator.call("nvmf_get_subsystems", {"nqn": NQN})
            (listener,) = simulator.call("nvmf_subsystem_get_listeners", {"nqn": NQN})
            seen.append((bdevs[0], subsystem, listener))
            assert simulator.stop() == 0
        memory = None
    assert seen[0] == seen[1]
    assert {state["ana_state"] for state in seen[0][2]["ana_states"]} == {"non_optimized"}
    assert seen[0][0]["assigned_rate_limits"]["rw_ios_per_sec"] == 5000


def test_what_the_target_says_of_itself_loses_cluster_read_only_and_ana(directory: Path) -> None:
    with Simulator(directory, "-c", start_up_file(directory), memory=MEMORY) as simulator:
        text = json.dumps([simulator.call("framework_get_config", {"name": name}) for name in ("bdev", "nvmf")])
    assert "bdev_rbd_create" in text and "nvmf_subsystem_add_listener" in text
    for lost in ("bdev_rbd_register_cluster", "cluster_name", "read_only", "ana_state"):
        assert lost not in text


def test_a_failing_entry_ends_the_start_unless_errors_are_ignored(directory: Path) -> None:
    missing = {"method": "bdev_rbd_create", "params": {"name": "X", "pool_name": "pool-1", "rbd_name": "gone", "block_size": 512, "cluster_name": "c0"}}
    config = start_up_file(directory, bdev=[missing])
    with Simulator(directory, "-c", config, memory=MEMORY, wait=False) as simulator:
        assert simulator.process.wait(timeout=30) == 234
        assert not simulator.socket.exists()
        assert "Operation not permitted" in simulator.log.read_text()
    with Simulator(directory, "-c", config, "--json-ignore-init-errors", memory=MEMORY) as simulator:
        assert [bdev["name"] for bdev in simulator.call("bdev_get_bdevs")] == ["V1", "V2"]


def test_the_exit_code_says_what_was_wrong(directory: Path) -> None:
    socket_option = ("-r", str(directory / "s"))
    assert run(*socket_option, "-c", str(directory / "absent.json")).returncode == 1
    (directory / "broken.json").write_text('{"subsystems": [')
    assert run(*socket_option, "-c", str(directory / "broken.json")).returncode == 1
    (directory / "unknown.json").write_text('{"subsystems": [{"subsystem": "bdev", "config": [{"method": "construct_rbd_bdev", "params": {}}]}]}')
    assert run(*socket_option, "-c", str(directory / "unknown.json")).returncode == 254
    assert run("--no-such-option").returncode == 2
    assert run("-r", "/" + "x" * 120).returncode == 1
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, "SPDK v26.05 git sha1 d519b163cb\n")
    assert run("-h").returncode == 0


def test_requests_are_held_until_the_start_up_file_is_loaded(directory: Path) -> None:
    faults = json.dumps({"delay": {"nvmf_create_transport": 1.0}})
    with Simulator(directory, "-c", start_up_file(directory), memory=MEMORY, environment={"SPDK_SIM_FAULTS": faults}, wait=False) as simulator:
        with connect(simulator.socket) as sock:
            answers, closed = exchange(sock, b'{"id":1,"method":"nvmf_get_subsystems"}', 1)
        assert not closed and [item["nqn"] for item in answers[0]["result"]][1] == NQN


def test_a_failed_start_resets_whoever_waits(directory: Path) -> None:
    broken = {"method": "nvmf_create_transport", "params": {"trtype": "bogus"}}
    config = start_up_file(directory, bdev=[broken])
    faults = json.dumps({"delay": {"nvmf_create_transport": 1.0}})
    with Simulator(directory, "-c", config, memory=MEMORY, environment={"SPDK_SIM_FAULTS": faults}, wait=False) as simulator:
        with connect(simulator.socket) as sock:
            assert exchange(sock, b'{"id":1,"method":"spdk_get_version"}', 1) == ([], True)
        assert simulator.process.wait(timeout=20) == 234


def test_wait_for_rpc_runs_the_rest_of_the_file_after_the_initialisation(directory: Path) -> None:
    with Simulator(directory, "--wait-for-rpc", "-c", start_up_file(directory), memory=MEMORY) as simulator:
        with pytest.raises(Answer, match="framework_start_init") as caught:
            simulator.call("bdev_get_bdevs")
        assert caught.value.code == -1
        answers: list[Any] = []

        def wait() -> None:
            with connect(simulator.socket) as sock:
                answers.extend(exchange(sock, b'{"id":5,"method":"framework_wait_init"}', 1)[0])

        waiter = threading.Thread(target=wait)
        waiter.start()
        assert simulator.call("framework_start_init") is True
        waiter.join(timeout=20)
        assert answers == [{"jsonrpc": "2.0", "id": 5, "result": True}]
        assert len(simulator.call("bdev_get_bdevs")) == 2
        with pytest.raises(Answer, match="before framework is initialized"):
            simulator.call("framework_start_init")


def test_socket_and_lock(directory: Path) -> None:
    with Simulator(directory, memory=MEMORY) as simulator:
        assert stat.S_IMODE(simulator.socket.stat().st_mode) == 0o777 & ~_umask()
        lock = Path(f"{simulator.socket}.lock")
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600
        second = run("-r", str(simulator.socket))
        assert second.returncode == 1
        assert f"RPC Unix domain socket path {simulator.socket} in use. Specify another." in second.stderr
        assert simulator.call("bdev_get_bdevs") == []
        assert simulator.stop() == 0
        assert not simulator.socket.exists() and not lock.exists()


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def test_a_stale_socket_is_taken_over(directory: Path) -> None:
    with Simulator(directory, memory=MEMORY) as first:
        first.process.kill()
        first.process.wait(timeout=10)
        assert first.socket.exists()
    with Simulator(directory, memory=MEMORY) as second:
        assert second.call("bdev_get_bdevs") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_gracefully(directory: Path, number: signal.Signals) -> None:
    with Simulator(directory, memory=MEMORY) as simulator:
        simulator.process.send_signal(number)
        assert simulator.process.wait(timeout=20) == 0


def test_the_kill_call_ends_it(directory: Path) -> None:
    with Simulator(directory, memory=MEMORY) as simulator:
        assert simulator.call("spdk_kill_instance", {"sig_name": "SIGTERM"}) is True
        assert eventually(lambda: simulator.process.poll() is not None)
        assert simulator.process.returncode == 0


#: The program, with a thread that takes a signal for it when the file named first appears.
SIGNALLED_BESIDE = """
import os, signal, sys, threading, time

def beside(go):
    while not os.path.exists(go):
        time.sleep(0.02)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

threading.Thread(target=beside, args=(sys.argv[2],), daemon=True).start()
sys.path.insert(0, sys.argv[1])
from simulator.main import main
main(sys.argv[3:])
"""


def test_a_signal_that_does_not_interrupt_the_wait_ends_the_program_all_the_same(directory: Path) -> None:
    """As one that comes right before the main loop waits: that it is there must end the wait."""
    sock, go, memory = directory / "spdk.sock", directory / "go", directory / "ceph.json"
    memory.write_text(json.dumps(MEMORY))
    arguments = [str(PROGRAM.parent.parent), str(go), "-r", str(sock), "--sim-memory", str(memory)]
    environment = {"PATH": os.environ["PATH"], "SPDK_SIM_EXPORT": "none"}
    with subprocess.Popen(["/usr/bin/python3", "-I", "-B", "-c", SIGNALLED_BESIDE, *arguments], env=environment) as process:
        try:
            with connect(sock, process=process) as kept:
                exchange(kept, b'{"jsonrpc": "2.0", "method": "framework_wait_init", "id": 1}', 1)
                go.touch()
                assert process.wait(timeout=30) == 0
        finally:
            process.kill()
    assert not sock.exists()
