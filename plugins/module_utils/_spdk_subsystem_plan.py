# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The calls that a subsystem needs, in stages, and what they take from hosts."""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Change, Changes
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import ReleaseTable

#: The order in which kinds of calls are sent; calls of one stage are pipelined. Hosts are named before ``allow`` ends
#: "any host" and after it a listener may be secure; listeners come last, so that a host finds the subsystem complete.
STAGES = (
    "delete",
    "create",
    "remove_listener",
    "remove_namespace_host",
    "remove_namespace",
    "remove_host",
    "add_host",
    "set_keys",
    "allow",
    "add_namespace",
    "ana_group",
    "add_namespace_host",
    "add_listener",
    "ana_state",
)


def every_host(nqn: str) -> bool:
    """Whom a call concerns that takes something from every connected host."""
    return bool(nqn)


class Planned(t.NamedTuple):
    """One call. ``takes``: what it takes from connected hosts (None: nothing), from those for which ``concerns`` is true."""

    stage: str
    method: str
    params: dict[str, t.Any]
    nqn: str
    change: Change
    takes: str | None
    concerns: t.Callable[[str], bool]


class NamedKey(t.NamedTuple):
    """A key of the target's keyring that a planned call names."""

    nqn: str
    host: str
    option: str
    name: str


def _not_applied() -> None:
    """Stands in a change's ``apply``: the calls are carried out in pipelined stages."""


class Plan:
    """What is to be sent, collected over all subsystems of one module call."""

    def __init__(self, table: ReleaseTable, transports: t.Collection[str]) -> None:
        self.table = table
        #: Types of the target's transports, in upper case.
        self.transports = transports
        self.changes = Changes()
        self.calls: list[Planned] = []
        self.changed: set[str] = set()
        #: Keys that must be in the keyring before anything is sent.
        self.keys: list[NamedKey] = []
        #: What was declared and cannot be read back from this release: neither equal nor different.
        self.unproven: list[str] = []

    def add(
        self,
        stage: str,
        method: str,
        params: dict[str, t.Any],
        nqn: str,
        before: dict[str, t.Any] | None = None,
        after: dict[str, t.Any] | None = None,
        takes: str | None = None,
        concerns: t.Callable[[str], bool] = every_host,
    ) -> None:
        change = self.changes.add("subsystem", nqn, stage, before, after, _not_applied)
        self.calls.append(Planned(stage, method, params, nqn, change, takes, concerns))
        self.changed.add(nqn)

    def ordered(self) -> list[Planned]:
        """The calls in the order in which they are sent."""
        return [call for stage in STAGES for call in self.calls if call.stage == stage]
