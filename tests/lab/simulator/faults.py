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

    def update(self, given: dict[str, Any]) -> None:
        """Replace the switches named in `given`; an unknown one is a ValueError."""
        unknown = set(given) - {"freeze", "delay", "drop", "fail", "watch"}
        if unknown:
            raise ValueError(f"no such switch: {', '.join(sorted(unknown))}")
        self.freeze = bool(given.get("freeze", self.freeze))
        self.delay = {method: float(seconds) for method, seconds in given.get("delay", self.delay).items()}
        self.drop = set(given.get("drop", self.drop))
        self.fail = {method: (int(code), str(text)) for method, (code, text) in given.get("fail", self.fail).items()}
        self.watch = bool(given.get("watch", self.watch))

    def describe(self) -> dict[str, Any]:
        """The switches, as JSON."""
        return {"freeze": self.freeze, "delay": self.delay, "drop": sorted(self.drop), "fail": {k: list(v) for k, v in self.fail.items()}, "watch": self.watch}

    def before(self, method: str) -> None:
        """What happens to a call before it does anything: it blocks the one and only thread, or is refused."""
        if method in self.delay:
            time.sleep(self.delay[method])
        if method in self.fail:
            raise RpcError(*self.fail[method])
