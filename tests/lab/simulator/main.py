# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program: options, start-up, signals, exit codes."""

from __future__ import annotations

import getopt
import json
import os
import selectors
import signal
import socket
import sys
from typing import Any, Callable

from .config import ConfigError, Loader
from .decode import RUNTIME, STARTUP
from .export import Exporter, PortsOnly
from .rbd_backend import Backend, LibrbdBackend, MemoryBackend
from .release import DEFAULT, OPTIONS, Release, number
from .server import Server, SocketInUse
from .target import Target

SHORT = "c:de:f:ghi:m:n:p:r:s:uvA:B:L:RW"
LONG = [
    "config=",
    "json=",
    "json-ignore-init-errors",
    "limit-coredump",
    "tpoint-group=",
    "single-file-segments",
    "help",
    "shm-id=",
    "cpumask=",
    "mem-channels=",
    "main-core=",
    "rpc-socket=",
    "mem-size=",
    "no-pci",
    "version",
    "pci-allowed=",
    "pci-blocked=",
    "logflag=",
    "huge-unlink",
    "huge-dir=",
    "iova-mode=",
    "base-virtaddr=",
    "num-trace-entries=",
    "env-context=",
    "wait-for-rpc",
    "rpcs-allowed=",
    "silence-noticelog",
    "disable-cpumask-locks",
    "lcores=",
    "msg-mempool-size=",
    "vfio-vf-token=",
    "interrupt-mode",
    "no-huge",
    "no-rpc-server",
    "enforce-numa",
    "sim-memory=",
    "sim-release=",
]
USAGE = """(a simulator of SPDK)
usage: spdk_tgt [options]
 -c, --config, --json <config>  JSON config file
     --json-ignore-init-errors  don't exit on invalid config entry
 -r, --rpc-socket <path>        RPC listen address (default /var/tmp/spdk.sock)
     --wait-for-rpc             wait for RPCs to initialize subsystems
 -m, --cpumask <mask or list>   core mask (like 0xF) or core list of '[]' embraced
 -s, --mem-size <size>          memory size in MB (ignored)
 -f <file>                      write the process id there
 -u, --no-pci; --no-huge; --interrupt-mode; -i, -p, -n, -e, -g, -L, -R, -A, -B: accepted
 -v, --version                  print SPDK version
 -h, --help                     show this usage
     --sim-memory <file>        simulator only: images come from this JSON file instead of Ceph
     --sim-release <release>    simulator only: play this release, such as 19.01.1 or 23.01 (default 26.05)
"""
DEFAULT_SOCKET = "/var/tmp/spdk.sock"


def parse(argv: list[str]) -> dict[str, Any]:
    """Options, or SystemExit: 2 for a bad option, 0 after --help and --version."""
    try:
        pairs, rest = getopt.gnu_getopt(argv, SHORT, LONG)
    except getopt.GetoptError as error:
        print(f"spdk_tgt: {error}\n{USAGE}", file=sys.stderr)
        raise SystemExit(2) from None
    if rest:
        print(f"spdk_tgt: unrecognised argument {rest[0]}", file=sys.stderr)
        raise SystemExit(2)
    found: dict[str, Any] = {"socket": DEFAULT_SOCKET, "config": None, "legacy_config": False, "ignore": False, "wait": False, "cores": 1, "pid_file": None}
    found["memory"] = os.environ.get("SPDK_SIM_MEMORY_FILE") if os.environ.get("SPDK_SIM_BACKEND") == "memory" else None
    wanted = next((value for name, value in reversed(pairs) if name == "--sim-release"), os.environ.get("SPDK_SIM_RELEASE") or DEFAULT)
    try:
        release = found["release"] = Release(wanted)
    except ValueError as error:
        print(f"spdk_tgt: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    for name, value in pairs:
        since = OPTIONS.get(name.lstrip("-"))
        if since is not None and release.number < number(since):
            print(f"spdk_tgt: unrecognized option '{name}'", file=sys.stderr)
            raise SystemExit(2)
        if name in ("-h", "--help"):
            print(f"{release.version['version']} {USAGE}", end="")
            raise SystemExit(0)
        if name in ("-v", "--version"):
            print(release.version["version"])
            raise SystemExit(0)
        if name in ("-c", "--config", "--json"):
            found["config"] = value
            found["legacy_config"] = name != "--json" and not release.does("config_is_json")
        elif name in ("-r", "--rpc-socket"):
            found["socket"] = value
        elif name == "--json-ignore-init-errors":
            found["ignore"] = True
        elif name == "--wait-for-rpc":
            found["wait"] = True
        elif name in ("-m", "--cpumask", "--lcores"):
            found["cores"] = _cores(value)
        elif name == "-f":
            found["pid_file"] = value
        elif name == "--sim-memory":
            found["memory"] = value
    if found["config"] and found["wait"] and not release.does("wait_with_json"):
        print("spdk_tgt: JSON configuration file can't be used together with --wait-for-rpc.", file=sys.stderr)
        raise SystemExit(1)
    if os.environ.get("SPDK_SIM_RESIZE_RBD_BDEV"):
        release.add_patched_resize()
    return found


def _cores(mask: str) -> int:
    try:
        if mask.startswith("["):
            value = 0
            for part in mask.strip("[]").split(","):
                first, _dash, last = part.partition("-")
                for core in range(int(first), int(last or first) + 1):
                    value |= 1 << core
            return value
        return int(mask, 16)
    except ValueError:
        print(f"spdk_tgt: invalid core mask {mask}", file=sys.stderr)
        raise SystemExit(2) from None


class Program:
    """One run of the target."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.stopped = False
        self.server: Server

    def stop(self) -> None:
        """End gracefully; a second request changes nothing."""
        self.stopped = True
        self.server.running = False
        self.server.wake()

    def _exporter(self) -> Exporter:
        selector = self.server.selector
        wanted = os.environ.get("SPDK_SIM_EXPORT", "auto")
        if wanted != "none":
            from .export_nvmet import available, make

            if available():
                return make(self.options["socket"])
            if wanted == "nvmet":
                raise ConfigError("SPDK_SIM_EXPORT=nvmet, but /sys/kernel/config/nvmet is not there", 1)

        def watch(sock: socket.socket, work: Callable[[], None]) -> None:
            selector.register(sock, selectors.EVENT_READ, work)

        return PortsOnly(watch, selector.unregister)

    def _control(self, target: Target) -> None:
        """The tests' own socket: one JSON object per datagram."""
        given = os.environ.get("SPDK_SIM_FAULTS")
        if given:
            target.faults.update(json.loads(given))
        path = os.environ.get("SPDK_SIM_CONTROL")
        if not path:
            return
        if os.path.exists(path):
            os.unlink(path)
        control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        control.bind(path)
        control.setblocking(False)

        def received() -> None:
            data, sender = control.recvfrom(65536)
            try:
                target.faults.update(json.loads(data))
                answer: dict[str, Any] = target.faults.describe()
            except (ValueError, TypeError, AttributeError) as error:
                answer = {"error": str(error)}
            if sender:
                control.sendto(json.dumps(answer).encode(), sender)

        self.server.selector.register(control, selectors.EVENT_READ, received)

    def run(self) -> int:
        """The exit code."""
        path = self.options["socket"]
        if not path.startswith("/"):
            path = os.path.abspath(path)

        release: Release = self.options["release"]

        def answer(method: str, params: Any, given: bool) -> Any:
            return target.call(method, params, given)  # the socket comes before the target: two targets on one socket must not both start

        try:
            self.server = Server(path, answer, release)
        except (SocketInUse, OSError) as error:
            print(f"rpc.c: spdk_rpc_listen: *ERROR*: {error}\napp.c: *ERROR*: Unable to start RPC service at {path}", file=sys.stderr)
            return 1
        exporter: Exporter | None = None
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        for caught in (signal.SIGINT, signal.SIGTERM):
            signal.signal(caught, lambda *_args: self.stop())
        self.server.wake_on_signals()
        try:
            backend: Backend = MemoryBackend(self.options["memory"], self.server.later) if self.options["memory"] else LibrbdBackend()
            exporter = self._exporter()
            target = Target(backend, exporter, self.server.post, self.stop, self.options["cores"], release)
            self._control(target)
            self.server.drop = lambda method: method in target.faults.drop
            self.server.frozen = lambda: target.faults.freeze and not self.stopped
            if self.options["legacy_config"]:
                raise ConfigError(f"{self.options['config']}: -c takes an INI file up to 20.07, which the simulator does not read; use --json", 1)
            loader = Loader(target, self.options["config"], self.options["ignore"], lambda: self.stopped)
            if self.options["pid_file"]:
                with open(self.options["pid_file"], "w", encoding="ascii") as file:
                    file.write(f"{os.getpid()}\n")
            loader.run(STARTUP)
            if self.options["wait"]:
                target.start_hook = lambda: loader.run(RUNTIME)
            else:
                target.state = RUNTIME
                loader.run(RUNTIME)
                target.initialised = True
            self.server.open()
            self.server.run()
        except ConfigError as error:
            print(f"app.c: app_start_application: *ERROR*: {error}", file=sys.stderr)
            return error.exit_code
        finally:
            if exporter is not None:
                exporter.close()
            self.server.close()
            if self.options["pid_file"] and os.path.exists(self.options["pid_file"]):
                os.unlink(self.options["pid_file"])
        return 0


def main(argv: list[str]) -> int:
    """Run with these arguments (without the program's name)."""
    code = Program(parse(argv)).run()
    sys.stderr.flush()
    # librados threads may still be busy; the process is done
    os._exit(code)
