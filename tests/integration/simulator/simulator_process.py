# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starting the simulator as a process and talking to it without the collection's own client."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "tests" / "lab" / "simulator" / "spdk_tgt"
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from simulator.rbd_backend import edit_memory  # noqa: E402


class Answer(Exception):
    """A JSON-RPC error answer."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error)
        self.code, self.message = error["code"], error["message"]


def connect(path: Path | str, timeout: float = 20.0, process: subprocess.Popen[bytes] | None = None) -> socket.socket:
    """A connected socket; waits for the server to be there, unless its `process` has ended."""
    end = time.monotonic() + timeout
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            sock.connect(str(path))
            return sock
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            if time.monotonic() > end or process is not None and process.poll() is not None:
                raise
            time.sleep(0.02)


def exchange(sock: socket.socket, data: bytes, values: int, timeout: float = 20.0) -> tuple[list[Any], bool]:
    """Send bytes; read `values` JSON values or until the peer closes: (values, closed)."""
    sock.settimeout(timeout)
    try:
        sock.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        return [], True
    found: list[Any] = []
    text = ""
    while len(found) < values:
        try:
            part = sock.recv(1 << 20)
        except ConnectionResetError:
            return found, True
        if not part:
            return found, True
        text += part.decode()
        while text.strip():
            try:
                value, end = json.JSONDecoder().raw_decode(text)
            except json.JSONDecodeError:
                break
            found.append(value)
            text = text[end:].lstrip()
    return found, False


class Simulator:
    """A running simulator; `call` raises `Answer` for error answers."""

    def __init__(
        self, directory: Path, *options: str, memory: dict[str, Any] | None = None, environment: dict[str, str] | None = None, wait: bool = True
    ) -> None:
        self.directory = directory
        self.socket = directory / "spdk.sock"
        self.memory = directory / "ceph.json"
        self.log = directory / "spdk.log"
        arguments = [str(PROGRAM), "-r", str(self.socket), *options]
        if memory is not None:
            self.memory.write_text(json.dumps(memory))
            arguments += ["--sim-memory", str(self.memory)]
        variables = {"PATH": os.environ["PATH"], "SPDK_SIM_EXPORT": "none", **(environment or {})}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(arguments, stdout=log, stderr=log, env=variables)
        self._sock: socket.socket | None = None
        self._id = 0
        if wait:
            self._ready("--wait-for-rpc" in options)

    def _ready(self, starting: bool) -> None:
        """Wait until it answers: up to 19.07 under the older names, and 19.01 has no version call."""
        for method in ("rpc_get_methods", "get_rpc_methods") if starting else ("framework_wait_init", "wait_subsystem_init"):
            try:
                self.call(method)
                return
            except Answer as error:
                if error.code != -32601:
                    raise
        raise AssertionError("the simulator knows none of its own names")

    def call(self, method: str, params: Any = None) -> Any:
        """One call over a kept connection."""
        if self._sock is None:
            self._sock = connect(self.socket, process=self.process)
        self._id += 1
        request: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "id": self._id}
        if params is not None:
            request["params"] = params
        answers, closed = exchange(self._sock, json.dumps(request).encode(), 1)
        if closed or not answers:
            raise ConnectionError("closed")
        assert answers[0]["id"] == self._id
        if "error" in answers[0]:
            raise Answer(answers[0]["error"])
        return answers[0]["result"]

    def set_image(self, pool: str, image: str, size: int | None) -> None:
        """What ``rbd resize`` outside does."""
        edit_memory(str(self.memory), pool, image, size)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=20)

    def __enter__(self) -> "Simulator":
        return self

    def __exit__(self, *_error: Any) -> None:
        self.stop()


def eventually(check: Any, timeout: float = 10.0) -> Any:
    """The first true value of `check()`."""
    end = time.monotonic() + timeout
    while True:
        value = check()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.005)


def tell(control: str, switches: dict) -> dict:
    """One message to the control socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(control + ".client")
        try:
            sock.settimeout(10)
            sock.sendto(json.dumps(switches).encode(), control)
            return json.loads(sock.recv(65536))
        finally:
            Path(control + ".client").unlink()
