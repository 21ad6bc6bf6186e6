# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Trouble on demand, for tests of those who talk to a target. See README.md for the switches."""

from __future__ import annotations

import time
from typing import Any

from .decode import RpcError


class Faults:
    """The switches as they stand; `update` takes the JSON object of the control socket."""

    def __init__(self) -> None:
        self.freeze = False
        self.delay: dict[str, float] = {}
        self.drop: set[str] = set()
        self.fail: dict[str, tuple[int, str]] = {}
        self.watch = True
        self.controllers: dict[str, list[str]] = {}

    def update(self, given: dict[str, Any]) -> None:
        """Replace the switches named in `given`; an unknown one is a ValueError."""
        unknown = set(given) - {"freeze", "delay", "drop", "fail", "watch", "controllers"}
        if unknown:
            raise ValueError(f"no such switch: {', '.join(sorted(unknown))}")
        self.freeze = bool(given.get("freeze", self.freeze))
        self.delay = {method: float(seconds) for method, seconds in given.get("delay", self.delay).items()}
        self.drop = set(given.get("drop", self.drop))
        self.fail = {method: (int(code), str(text)) for method, (code, text) in given.get("fail", self.fail).items()}
        self.watch = bool(given.get("watch", self.watch))
        self.controllers = {nqn: [str(host) for host in hosts] for nqn, hosts in given.get("controllers", self.controllers).items()}

    def describe(self) -> dict[str, Any]:
        """The switches, as JSON."""
        fails = {method: list(answer) for method, answer in self.fail.items()}
        shown = {"freeze": self.freeze, "delay": self.delay, "drop": sorted(self.drop), "fail": fails, "watch": self.watch}
        return {**shown, "controllers": self.controllers}

    def played(self, nqn: str) -> list[dict[str, Any]]:
        """Controllers of hosts that are not there, in the shape of nvmf_subsystem_get_controllers."""
        return [{"cntlid": 65000 + number, "hostnqn": host, "hostid": "", "num_io_qpairs": 1} for number, host in enumerate(self.controllers.get(nqn, []))]

    def before(self, method: str) -> None:
        """What happens to a call before it does anything: it blocks the one and only thread, or is refused."""
        if method in self.delay:
            time.sleep(self.delay[method])
        if method in self.fail:
            raise RpcError(*self.fail[method])
