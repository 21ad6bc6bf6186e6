# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""NVMe-oF subsystems wanted against found: read, plan, carry out, read back.

SPDK has no call that changes a subsystem's serial number, model, namespace limit, ANA reporting or controller ids: such
differences are errors, never a re-creation under connected hosts. Hosts, listeners and namespaces have files of their own.
"""

from __future__ import annotations

import copy
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Changes
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_keyring import present_keys
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_hosts import plan_hosts
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_listeners import plan_listeners, reads_ana
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_namespaces import check_claims, plan_namespaces
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_plan import STAGES, Plan, Planned
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_wish import NOT_CHANGEABLE, SubsystemWish
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target, TimedOut


class SubsystemManager:
    """One call of the module. Reading costs three calls whatever the number of subsystems, and only where it is needed: one
    more for the keyring, one per subsystem for ANA states that are declared, one per subsystem that something is taken from."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._plan = Plan(target.table, ())
        self.predicted: dict[str, dict[str, t.Any] | None] = {}

    @property
    def changes(self) -> Changes:
        return self._plan.changes

    @property
    def calls(self) -> list[Planned]:
        return self._plan.calls

    @property
    def unproven(self) -> list[str]:
        """Declared, and not to be read back from this release: neither equal nor different."""
        return self._plan.unproven

    # -- read and plan -----------------------------------------------------------------------------------------

    def plan(self, wishes: t.Sequence[SubsystemWish]) -> None:
        """Read the target and decide; touches nothing."""
        found = {entry["nqn"]: entry for entry in self.target.subsystems()}
        self.predicted = {}
        self._plan = plan = Plan(self.target.table, self.target.saved.transports)
        bdevs = {}
        if any(wish.namespaces for wish in wishes):
            for bdev in self.target.bdevs():
                bdevs[bdev["name"]] = bdev
                if bdev["uuid"]:
                    bdevs.setdefault(bdev["uuid"], bdev)  # SPDK takes a bdev's uuid for its name
        self.target.add_ana_states([found[wish.nqn] for wish in wishes if wish.nqn in found and reads_ana(wish)])
        for wish in wishes:
            self._plan_one(wish, copy.deepcopy(found.get(wish.nqn)), bdevs)
        for call in plan.calls:
            self.target.check_call(call.method, call.params, call.nqn, "namespace")
        check_claims(plan, found.values(), bdevs)
        self._check_keys()
        self._refuse_disruption({wish.nqn: wish for wish in wishes}, found)

    def _plan_one(self, wish: SubsystemWish, now: dict[str, t.Any] | None, bdevs: dict[str, dict[str, t.Any]]) -> None:
        nqn, plan = wish.nqn, self._plan
        if wish.state == "absent":
            self.predicted[nqn] = None
            if now is not None:
                before = {"state": "present", **_shown(now)}
                plan.add("delete", "nvmf_delete_subsystem", {"nqn": nqn}, nqn, before=before, after=None, takes="deleting it")
            return
        if now is None:
            params = wish.create_params()
            plan.add("create", "nvmf_create_subsystem", params, nqn, before=None, after={"state": "present", **params})
            now = wish.predicted(plan.table)
        else:
            _compare(wish, now)
        self.predicted[nqn] = now
        plan_hosts(plan, wish, now)
        plan_namespaces(plan, wish, now, bdevs)
        plan_listeners(plan, wish, now)

    def _check_keys(self) -> None:
        """Every key that a call names must be in the keyring: SPDK answers only that the call failed, a host half changed."""
        if not self._plan.keys:
            return
        there = present_keys(self.target)
        for key in self._plan.keys:
            if key.name not in there:
                raise HopError(
                    f"the target's keyring has no key {key.name}, which is to be {key.option} of host {key.host}",
                    obj=key.nqn,
                    hop="path",
                    call="keyring_get_keys",
                    remedy="add it first (nvmeof.spdk.spdk_keyring), or correct the name",
                )

    def _refuse_disruption(self, wishes: dict[str, SubsystemWish], found: dict[str, dict[str, t.Any]]) -> None:
        """Nothing is taken from connected hosts without force: ask who is connected, but only where something would go."""
        risky = [call for call in self.calls if call.takes is not None and not wishes[call.nqn].force]
        entries = {call.nqn: found[call.nqn] for call in risky}
        self.target.add_controllers(list(entries.values()))
        for call in risky:
            controllers = entries[call.nqn]["controllers"]
            if controllers is None:
                raise HopError(
                    f"{call.takes} may take disks from hosts, and SPDK {self.target.table.name} cannot tell who is connected",
                    obj=call.nqn,
                    hop="path",
                    call="nvmf_subsystem_get_controllers",
                    remedy="make sure that no host uses the subsystem, then set force",
                )
            hosts = sorted({str(controller["hostnqn"]) for controller in controllers if call.concerns(str(controller["hostnqn"]))})
            if hosts:
                raise HopError(
                    f"{call.takes} would take disks or paths from connected hosts: {', '.join(hosts)}",
                    obj=call.nqn,
                    hop="path",
                    remedy="disconnect those hosts first, or set force",
                )

    # -- carry out and read back -------------------------------------------------------------------------------

    def ordered(self) -> list[Planned]:
        """The planned calls in the order in which they are sent."""
        return self._plan.ordered()

    def apply(self, wishes: t.Sequence[SubsystemWish]) -> None:
        """Send the calls stage by stage. After a time-out the state is read and planned anew: done means done."""
        pipelined = not self.target.table.is_so("subsystem_busy")
        for stage in STAGES:
            calls = [call for call in self.calls if call.stage == stage]
            if not calls:
                continue
            failure: HopError | None = None
            try:
                outcomes = self.target.change([(call.method, call.params, call.nqn) for call in calls], "namespace", pipelined)
            except TimedOut as error:
                again = SubsystemManager(self.target)
                again.plan(wishes)
                left = [(call.method, call.params) for call in again.calls]
                outcomes = [error if (call.method, call.params) in left else True for call in calls]
                failure = error if any(call.stage == stage for call in again.calls) else None
            for call, outcome in zip(calls, outcomes):
                if isinstance(outcome, HopError):
                    failure = failure or outcome
                else:
                    call.change.done = True
            if failure is not None:
                raise failure

    def verify(self, wishes: t.Sequence[SubsystemWish]) -> None:
        """Plan again against what is there now: anything left over is an error (a result is what was read back)."""
        again = SubsystemManager(self.target)
        again.plan(wishes)
        if again.calls:
            call = again.calls[0]
            raise HopError(
                "the target took the call, but reading back shows that it did not happen",
                obj=call.nqn,
                hop="namespace",
                call=call.method,
                remedy="look at the target's log, and for somebody else who changes the subsystem",
            )
        self.predicted = again.predicted
        self._plan.unproven = again.unproven

    def result(self, nqn: str) -> dict[str, t.Any]:
        entry, changed = self.predicted.get(nqn), nqn in self._plan.changed
        if entry is None:
            return {"nqn": nqn, "state": "absent", "changed": changed}
        return {**entry, "state": "present", "changed": changed}


def _compare(wish: SubsystemWish, now: dict[str, t.Any]) -> None:
    """Raise for a difference in what SPDK cannot change."""
    for option in NOT_CHANGEABLE:
        wanted, there = getattr(wish, option), now.get(option)
        if wanted is None or there is None or wanted == there or (option == "max_namespaces" and not wish.max_namespaces_given):
            continue
        raise HopError(
            f"{option} is {there!r}, not {wanted!r}",
            obj=wish.nqn,
            hop="namespace",
            cause="SPDK cannot change it in a subsystem",
            remedy="ask for what it has, or delete the subsystem (state=absent) when no host uses it and declare it anew",
        )


def _shown(now: dict[str, t.Any]) -> dict[str, t.Any]:
    return {
        "serial_number": now["serial_number"],
        "hosts": now["hosts"],
        "namespaces": [{key: there[key] for key in ("nsid", "bdev", "uuid")} for there in now["namespaces"]],
    }
