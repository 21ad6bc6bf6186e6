# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""NVMe-oF transports: created where absent. No release can change or remove one, so options that differ are errors."""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Changes
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target, TimedOut

#: Options that only one type's own decoder knows (lib/nvmf/tcp.c, rdma.c, vfio_user.c); to another type they say nothing, without an error.
ONLY_FOR: dict[str, str] = {
    "c2h_success": "TCP",
    "control_msg_num": "TCP",
    "sock_priority": "TCP",
    "max_srq_depth": "RDMA",
    "no_srq": "RDMA",
    "no_wr_batching": "RDMA",
    "num_cqe": "RDMA",
    "acceptor_backlog": "RDMA",
    "disable_mappable_bar0": "VFIOUSER",
    "disable_adaptive_irq": "VFIOUSER",
    "disable_shadow_doorbells": "VFIOUSER",
}


class TransportDiffersError(HopError):
    """A transport has other options than it should; only a start with another start-up file brings them."""


def _not_applied() -> None:
    """Stands in a change's ``apply``: the calls are sent together."""


def _differences(there: t.Mapping[str, t.Any], options: t.Mapping[str, t.Any]) -> list[str]:
    return [f"{key} is {there[key]!r}, not {value!r}" for key, value in options.items() if key in there and there[key] != value]


class TransportManager:
    """One call of the module: read, plan, create, read back."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.changes = Changes()
        self.calls: list[tuple[str, dict[str, t.Any], str]] = []
        self.changed: set[str] = set()
        self.there: dict[str, dict[str, t.Any]] = {}
        #: Options that were declared and that the target does not show: neither equal nor different.
        self.unproven: list[str] = []
        #: The first transport that has other options; what is missing is created all the same.
        self.differing: TransportDiffersError | None = None
        self._wishes: t.Sequence[t.Mapping[str, t.Any]] = ()

    def plan(self, wishes: t.Sequence[t.Mapping[str, t.Any]]) -> None:
        """``wishes``: ``trtype`` in upper case and ``options``."""
        self.changes, self.calls, self.changed, self.unproven, self._wishes = Changes(), [], set(), [], wishes
        self.differing = None
        self.there = {entry["trtype"]: entry for entry in self.target.transports()}
        for wish in wishes:
            trtype, options = wish["trtype"], dict(wish["options"] or {})
            self.target.table.check_transport_options(trtype, options)
            for name in options:
                if ONLY_FOR.get(name, trtype) != trtype:
                    raise HopError(
                        f"the option {name} is one of {ONLY_FOR[name]}, not of {trtype}",
                        obj=trtype,
                        hop="path",
                        call="nvmf_create_transport",
                        cause="SPDK would ignore it silently",
                        remedy="leave the option out",
                    )
            there = self.there.get(trtype)
            if there is None:
                params = {"trtype": trtype, **options}
                self.changes.add("transport", trtype, "create", None, {"state": "present", **options}, _not_applied)
                self.calls.append(("nvmf_create_transport", params, trtype))
                self.changed.add(trtype)
                self.there[trtype] = params
                continue
            differs = _differences(there, options)
            if differs:
                self.differing = self.differing or TransportDiffersError(
                    f"the transport {trtype} exists, and " + " and ".join(differs),
                    obj=trtype,
                    hop="path",
                    cause="no SPDK release can change or remove a transport",
                    remedy="ask for what it has, or change the start-up configuration and restart the target",
                )
            self._note_unproven(there, wish)

    def _note_unproven(self, there: t.Mapping[str, t.Any], wish: t.Mapping[str, t.Any]) -> None:
        self.unproven += [
            f"{wish['trtype']}: SPDK {self.target.table.name} does not show the option {key}" for key in wish["options"] or {} if key not in there
        ]

    def apply(self) -> None:
        """Create what is missing, then read back; options that the target took otherwise are errors."""
        if not self.calls:
            return
        try:
            outcomes = self.target.change(self.calls, "path")
        except TimedOut as error:
            outcomes = [error] * len(self.calls)
        there = {entry["trtype"]: entry for entry in self.target.transports()}
        for change, (method, _params, trtype), outcome in zip(self.changes.items, self.calls, outcomes):
            change.done = trtype in there
            if change.done:
                continue
            if isinstance(outcome, HopError):
                raise outcome
            raise HopError("the transport is not there after it was created", obj=trtype, hop="path", call=method, remedy="look at the target's log")
        for outcome in outcomes:
            if isinstance(outcome, HopError) and not isinstance(outcome, TimedOut):
                raise outcome
        self.there = there
        for wish in self._wishes:
            if wish["trtype"] not in self.changed:
                continue
            differs = _differences(there[wish["trtype"]], wish["options"] or {})
            if differs:
                raise HopError(
                    f"the transport {wish['trtype']} was created, and " + " and ".join(differs),
                    obj=wish["trtype"],
                    hop="path",
                    call="nvmf_create_transport",
                    cause="the target takes other values than it was asked for",
                    remedy="ask for what it has; only a restart with another start-up configuration removes a transport",
                )
            self._note_unproven(there[wish["trtype"]], wish)
