# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The target as a whole: its parts, the dispatch of a call, and the framework's own methods."""

from __future__ import annotations

import copy
import os
import signal
import sys
import time
from typing import Any, Callable

from .bdev import Bdevs
from .bdev_rbd import Rbd
from .decode import RUNTIME, STARTUP, RpcError, decode, invalid_params
from .export import Exporter
from .faults import Faults
from .keyring import Keyring
from .nvme import NvmeHost
from .nvmf import PAUSING, Nvmf
from .rbd_backend import Backend
from .release import Release
from .server import Deferred

TOO_EARLY = "Method may only be called after framework is initialized using framework_start_init RPC."
TOO_LATE = (
    "Method may only be called before framework is initialized. Use --wait-for-rpc command line parameter and then issue this RPC "
    "before the framework_start_init RPC."
)
SUBSYSTEMS: list[tuple[str, list[str]]] = [
    ("scheduler", []),
    ("vmd", []),
    ("sock", []),
    ("iobuf", []),
    ("keyring", []),
    ("accel", ["iobuf"]),
    ("bdev", ["accel", "keyring", "vmd", "sock", "iobuf"]),
    ("nvmf", ["bdev", "keyring", "sock", "accel", "iobuf"]),
    ("nbd", ["bdev"]),
]
#: As recorded of 19.01.1.
OLD_SUBSYSTEMS: dict[str, list[str]] = {
    "copy": [],
    "interface": [],
    "net_framework": ["interface"],
    "bdev": ["copy"],
    "nvmf": ["bdev"],
    "nbd": ["bdev"],
}
_SOCK = {
    "recv_buf_size": 4096,
    "send_buf_size": 4096,
    "enable_recv_pipe": True,
    "enable_quickack": False,
    "enable_placement_id": 0,
    "enable_zerocopy_send_server": True,
    "enable_zerocopy_send_client": False,
    "zerocopy_threshold": 0,
    "tls_version": 0,
    "enable_ktls": False,
}


class Target:
    """State of the process. `post` runs a function in the main loop; `stop` ends it."""

    def __init__(
        self,
        backend: Backend,
        exporter: Exporter,
        post: Callable[[Callable[[], None]], None],
        stop: Callable[[], None],
        cores: int = 1,
        release: Release | None = None,
    ) -> None:
        self.release = release or Release()
        self.post, self.stop, self.cores = post, stop, cores
        self.exporter = exporter
        self.state = STARTUP
        self.initialised = False
        self.faults = Faults()
        self.keyring = Keyring()
        exporter.secret = self.keyring.secret
        self.bdevs = Bdevs(self)
        self.nvme = NvmeHost(self.bdevs, self.release)
        self.rbd = Rbd(self, self.bdevs, backend)
        self.nvmf = Nvmf(self)
        self.start_hook: Callable[[], None] = lambda: None
        self.iobuf = {"small_pool_count": 8192, "large_pool_count": 1024, "small_bufsize": 8192, "large_bufsize": 135168, "enable_numa": False}
        self.sock = {"ssl": dict(_SOCK), "posix": _SOCK | {"recv_buf_size": 2097152, "send_buf_size": 2097152}}
        self.sock_default = "posix"
        self.log_level = "NOTICE"
        self.print_level = "INFO"
        self.scheduler = "static"
        self._handlers: dict[str, Callable[[dict[str, Any]], Any]] = {}
        for part in (self, self.bdevs, self.rbd, self.nvmf, self.keyring, self.nvme):
            for name in dir(part):
                if name.startswith("rpc_"):
                    self._handlers[name[4:]] = getattr(part, name)

    def log(self, level: str, text: str) -> None:
        """A line in SPDK's log format, on standard error."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        print(f"[{stamp}.000000] simulator: *{level}*: {text}", file=sys.stderr, flush=True)

    def call(self, method: str, params: Any, given: bool = True) -> Any:
        """Run one call; `given`: the request had a member "params". Raises `RpcError` with the release's code and text."""
        entry = self.release.methods.get(method)
        if entry is None:
            raise RpcError(-32601, "Method not found")
        name = entry["name"]
        if self.state not in entry["state"]:
            if self.release.does("state_mask_error"):
                mask = sum({STARTUP: 1, RUNTIME: 2}[state] for state in entry["state"])
                raise RpcError(-1, f"Method is allowed in any state in the mask ({mask}), but current state is ({1 if self.state == STARTUP else 2})")
            raise RpcError(-1, TOO_EARLY if self.state == STARTUP else TOO_LATE)
        self.faults.before(name)
        decoded = decode(self.release, method, params, given)
        handler = self._handlers.get(name)
        if handler is None:
            raise RpcError(-32603, f"{method} is not part of the simulator")
        try:
            result = self.nvmf.paused(name, decoded, handler) if name in PAUSING and self.release.does("busy") else handler(decoded)
        except RpcError as error:
            raise self._as_released(name, error) from None
        # an answer is what was true at the time of the call
        return result if isinstance(result, Deferred) else copy.deepcopy(result)

    def _as_released(self, name: str, error: RpcError) -> RpcError:
        """Up to 19.07 the bdev methods have no errno of their own: -32602, and only deletions say more."""
        if self.release.does("bdev_errno") or not -4096 < error.code < 0:
            return error
        return RpcError(-32602, error.message if name.endswith(("_delete", "_detach_controller")) else "Invalid parameters")

    def crash(self, reason: str) -> None:
        """What the release does here: it dies without a word to anybody, and leaves its socket behind."""
        self.log("ERROR", f"crash: {reason}")
        os.kill(os.getpid(), signal.SIGSEGV)

    # -- framework ----------------------------------------------------------------------------------------------------------------

    def rpc_spdk_get_version(self, p: dict[str, Any]) -> dict[str, Any]:
        return self.release.version

    def rpc_rpc_get_methods(self, p: dict[str, Any]) -> list[str]:
        methods = self.release.methods
        shown = [name for name, entry in methods.items() if p.get("include_aliases") or not entry.get("alias")]
        return [name for name in shown if self.state in methods[name]["state"]] if p.get("current") else shown

    def rpc_framework_start_init(self, p: dict[str, Any]) -> bool:
        self.state = RUNTIME
        self.initialised = True
        self.start_hook()
        return True

    def rpc_framework_wait_init(self, p: dict[str, Any]) -> Any:
        if self.initialised:
            return True
        return Deferred(lambda: (self.initialised, True))

    def rpc_framework_get_subsystems(self, p: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"subsystem": name, "depends_on": list(needs)} for name, needs in self._subsystems().items()]

    def _subsystems(self) -> dict[str, list[str]]:
        return OLD_SUBSYSTEMS if self.release.does("state_mask_error") else dict(SUBSYSTEMS)

    def rpc_framework_get_config(self, p: dict[str, Any]) -> Any:
        name = p["name"]
        if name not in self._subsystems():
            raise RpcError(-32602, f"Subsystem '{name}' not found")
        return self._released_entries(self._config(name, p))

    def _released_entries(self, entries: list[Any]) -> list[Any]:
        made = [self._released_entries(entry) if isinstance(entry, list) else self.release.config_entry(entry) for entry in entries]
        return [entry for entry in made if entry is not None]

    def _config(self, name: str, p: dict[str, Any]) -> list[Any]:
        if name == "bdev":
            return self.bdevs.config(self.nvme.config(), p.get("with_batches", False))
        if name == "nvmf":
            return self.nvmf.config()
        if name == "keyring":
            return self.keyring.config()
        if name == "iobuf":
            return [{"method": "iobuf_set_options", "params": self.iobuf}]
        if name == "accel":
            counts = {"small_cache_size": 128, "large_cache_size": 16, "task_count": 2048, "sequence_count": 2048, "buf_count": 2048}
            return [{"method": "accel_set_options", "params": counts}]
        if name == "scheduler":
            return [{"method": "framework_set_scheduler", "params": {"name": self.scheduler}}]
        if name == "sock":
            entries: list[dict[str, Any]] = [{"method": "sock_set_default_impl", "params": {"impl_name": self.sock_default}}]
            return entries + [{"method": "sock_impl_set_options", "params": {"impl_name": impl, **options}} for impl, options in self.sock.items()]
        return []

    def rpc_framework_get_scheduler(self, p: dict[str, Any]) -> dict[str, Any]:
        shape: dict[str, Any] = {"scheduler_name": self.scheduler} if self.initialised else {}
        return shape | {"scheduler_period": 0, "isolated_core_mask": "0", "scheduling_core": 0}

    def rpc_framework_set_scheduler(self, p: dict[str, Any]) -> bool:
        if p["name"] not in ("static", "dynamic", "gscheduler"):
            raise RpcError(-32602, "Invalid argument")
        self.scheduler = p["name"]
        return True

    def rpc_framework_get_pci_devices(self, p: dict[str, Any]) -> list[Any]:
        return []

    def rpc_framework_get_reactors(self, p: dict[str, Any]) -> dict[str, Any]:
        pid = os.getpid()
        ticks = time.monotonic_ns()
        names = ("app_thread", "nvmf_tgt_poll_group_000")
        threads = [{"name": name, "id": number, "cpumask": "1", "elapsed": ticks} for number, name in enumerate(names, start=1)]
        reactor = {"lcore": 0, "numa_id": 0, "tid": pid, "busy": 0, "idle": ticks, "in_interrupt": False, "irq": 0, "sys": 0, "usr": 0, "lw_threads": threads}
        return {"tick_rate": 1000000000, "pid": pid, "reactors": [reactor]}

    # -- start-up options of parts nobody measures here ------------------------------------------------------------------------------

    def rpc_iobuf_set_options(self, p: dict[str, Any]) -> bool:
        self.iobuf |= p
        return True

    def rpc_sock_set_default_impl(self, p: dict[str, Any]) -> bool:
        if p["impl_name"] not in self.sock:
            raise invalid_params()
        self.sock_default = p["impl_name"]
        return True

    def rpc_sock_get_default_impl(self, p: dict[str, Any]) -> dict[str, str]:
        return {"impl_name": self.sock_default}

    def rpc_sock_impl_set_options(self, p: dict[str, Any]) -> bool:
        name = p.pop("impl_name")
        if name not in self.sock:
            raise invalid_params()
        self.sock[name] |= p
        return True

    def rpc_accel_set_options(self, p: dict[str, Any]) -> bool:
        return True

    def rpc_bdev_raid_set_options(self, p: dict[str, Any]) -> bool:
        return True

    # -- log, notifications, end ------------------------------------------------------------------------------------------------------

    def rpc_log_get_level(self, p: dict[str, Any]) -> str:
        return self.log_level

    def rpc_log_set_level(self, p: dict[str, Any]) -> bool:
        self.log_level = p["level"]
        return True

    def rpc_log_get_print_level(self, p: dict[str, Any]) -> str:
        return self.print_level

    def rpc_log_set_print_level(self, p: dict[str, Any]) -> bool:
        self.print_level = p["level"]
        return True

    def rpc_notify_get_types(self, p: dict[str, Any]) -> list[str]:
        return ["bdev_register", "bdev_unregister", "bdev_resize"]

    def rpc_notify_get_notifications(self, p: dict[str, Any]) -> list[dict[str, Any]]:
        first, most = p.get("id", 0), p.get("max", 1000)
        return [{**event, "id": number} for number, event in enumerate(self.bdevs.events)][first : first + most]

    def rpc_spdk_kill_instance(self, p: dict[str, Any]) -> bool:
        given = p["sig_name"]
        number = int(given) if given.isdigit() else signal.Signals[given]
        self.post(lambda: os.kill(os.getpid(), number))
        return True
