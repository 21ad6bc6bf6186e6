# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""NVMe-oF transports and subsystems wanted against found.

SPDK has no call that changes a subsystem's serial number, model, namespace limit, ANA reporting or controller ids, and none
that removes a transport: such differences are errors, never a re-creation under connected hosts.
"""

from __future__ import annotations

import copy
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Change, Changes
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_wish import NOT_CHANGEABLE, SubsystemWish
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target, TimedOut, listener_key

#: The order in which kinds of calls are sent; calls of one stage are pipelined.
STAGES = (
    "delete",
    "create",
    "remove_listener",
    "remove_namespace",
    "remove_host",
    "allow",
    "add_host",
    "add_namespace",
    "add_listener",
    "ana_state",
)

#: The stages that take something from connected hosts.
DISRUPTIVE = {"delete": "deleting it", "remove_namespace": "removing a namespace", "remove_listener": "removing a listener", "remove_host": "removing a host"}


class Planned(t.NamedTuple):
    stage: str
    method: str
    params: dict[str, t.Any]
    nqn: str
    change: Change


def _not_applied() -> None:
    """Stands in a change's ``apply``: the calls are carried out in pipelined stages."""


class SubsystemManager:
    """One call of the module: read, plan, carry out, read back."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.changes = Changes()
        self.calls: list[Planned] = []
        self.predicted: dict[str, dict[str, t.Any] | None] = {}
        self.changed: set[str] = set()

    # -- read and plan -----------------------------------------------------------------------------------------

    def plan(self, wishes: t.Sequence[SubsystemWish]) -> None:
        """Read the target (three calls, and two for each subsystem only where needed) and decide; touches nothing."""
        self.changes, self.calls, self.predicted, self.changed = Changes(), [], {}, set()
        found = {entry["nqn"]: entry for entry in self.target.subsystems()}
        bdevs = {}
        if any(wish.namespaces for wish in wishes):
            for bdev in self.target.bdevs():
                bdevs[bdev["name"]] = bdev
                if bdev["uuid"]:
                    bdevs.setdefault(bdev["uuid"], bdev)  # SPDK takes a bdev's uuid for its name
        with_ana = [found[wish.nqn] for wish in wishes if wish.nqn in found and any(entry["ana_state"] for entry in wish.listeners or [])]
        self.target.add_ana_states(with_ana)
        for wish in wishes:
            self._plan_one(wish, copy.deepcopy(found.get(wish.nqn)), bdevs)
        self._refuse_disruption({wish.nqn: wish for wish in wishes}, found)
        for call in self.calls:
            self.target.check_call(call.method, call.params, call.nqn, "namespace")

    def _add(
        self,
        stage: str,
        method: str,
        params: dict[str, t.Any],
        nqn: str,
        kind: str = "subsystem",
        before: dict[str, t.Any] | None = None,
        after: dict[str, t.Any] | None = None,
    ) -> None:
        change = self.changes.add(kind, nqn, stage, before, after, _not_applied)
        self.calls.append(Planned(stage, method, params, nqn, change))
        self.changed.add(nqn)

    def _plan_one(self, wish: SubsystemWish, now: dict[str, t.Any] | None, bdevs: dict[str, dict[str, t.Any]]) -> None:
        nqn = wish.nqn
        if wish.state == "absent":
            self.predicted[nqn] = None
            if now is not None:
                self._add("delete", "nvmf_delete_subsystem", {"nqn": nqn}, nqn, before={"state": "present", **_shown(now)}, after=None)
            return
        if now is None:
            params = wish.create_params()
            self._add("create", "nvmf_create_subsystem", params, nqn, before=None, after={"state": "present", **params})
            now = wish.predicted()
        else:
            self._compare(wish, now)
        self.predicted[nqn] = now
        self._plan_hosts(wish, now)
        self._plan_namespaces(wish, now, bdevs)
        self._plan_listeners(wish, now)

    def _compare(self, wish: SubsystemWish, now: dict[str, t.Any]) -> None:
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

    def _plan_hosts(self, wish: SubsystemWish, now: dict[str, t.Any]) -> None:
        nqn = wish.nqn
        if wish.allow_any_host is not None and wish.allow_any_host != now["allow_any_host"]:
            self._add(
                "allow",
                "nvmf_subsystem_allow_any_host",
                {"nqn": nqn, "allow_any_host": wish.allow_any_host},
                nqn,
                before={"allow_any_host": now["allow_any_host"]},
                after={"allow_any_host": wish.allow_any_host},
            )
            now["allow_any_host"] = wish.allow_any_host
        if wish.hosts is None:
            return
        for host in wish.hosts:
            if host not in now["hosts"]:
                self._add("add_host", "nvmf_subsystem_add_host", {"nqn": nqn, "host": host}, nqn, before={"hosts": []}, after={"hosts": [host]})
                now["hosts"].append(host)
        if wish.purge:
            for host in [host for host in now["hosts"] if host not in wish.hosts]:
                self._add("remove_host", "nvmf_subsystem_remove_host", {"nqn": nqn, "host": host}, nqn, before={"hosts": [host]}, after={"hosts": []})
                now["hosts"].remove(host)

    def _plan_namespaces(self, wish: SubsystemWish, now: dict[str, t.Any], bdevs: dict[str, dict[str, t.Any]]) -> None:
        if wish.namespaces is None:
            return
        kept: list[dict[str, t.Any]] = []
        taken = {entry["nsid"] for entry in wish.namespaces if entry["nsid"]}
        missing: list[dict[str, t.Any]] = []
        for entry in wish.namespaces:
            there = self._namespace_of(wish, now, entry, bdevs)
            if there is None:
                missing.append(entry)
                continue
            wanted = wish.identity(entry, bdevs.get(entry["bdev"]))
            differs = [
                f"{key} is {there[key]!r}, not {wanted[key]!r}"
                for key in ("bdev", "uuid", "nguid")
                # an identity that was not asked for is left as it is
                if wanted[key] is not None and there.get(key) != wanted[key] and (key == "bdev" or entry.get(key))
            ]
            if not differs:
                self._plan_ana_group(wish, there, entry)
                kept.append(there)
                taken.add(there["nsid"])
                continue
            if not wish.force:
                raise HopError(
                    f"namespace {there['nsid']} holds another volume: {' and '.join(differs)}",
                    obj=f"{wish.nqn}#{there['nsid']}",
                    hop="namespace",
                    cause="hosts would find another disk, or zeros, under a running guest",
                    remedy="use another nsid, or set force when no host uses this namespace",
                )
            self._remove_namespace(wish.nqn, there)
            now["namespaces"].remove(there)
            missing.append({**entry, "nsid": entry["nsid"] or there["nsid"]})
        if wish.purge:
            for there in [there for there in now["namespaces"] if there not in kept]:
                self._remove_namespace(wish.nqn, there)
                now["namespaces"].remove(there)
        for entry in missing:
            self._add_namespace(wish, now, entry, bdevs, taken)

    def _namespace_of(self, wish: SubsystemWish, now: dict[str, t.Any], entry: dict[str, t.Any], bdevs: dict[str, dict[str, t.Any]]) -> dict[str, t.Any] | None:
        """The namespace that ``entry`` means: by nsid, else by bdev. One bdev under another nsid is an error (it can be claimed once)."""
        bdev = bdevs.get(entry["bdev"])
        name = bdev["name"] if bdev else entry["bdev"]
        by_bdev = next((there for there in now["namespaces"] if there["bdev"] == name), None)
        if entry["nsid"] is None:
            return by_bdev
        by_nsid = next((there for there in now["namespaces"] if there["nsid"] == entry["nsid"]), None)
        if by_bdev is not None and by_bdev is not by_nsid:
            raise HopError(
                f"the bdev {name} is already namespace {by_bdev['nsid']}",
                obj=f"{wish.nqn}#{entry['nsid']}",
                hop="namespace",
                cause="a bdev can be one namespace only",
                remedy=f"ask for nsid {by_bdev['nsid']}, or remove that namespace first when no host uses it",
            )
        return by_nsid

    def _remove_namespace(self, nqn: str, there: dict[str, t.Any]) -> None:
        self._add(
            "remove_namespace",
            "nvmf_subsystem_remove_ns",
            {"nqn": nqn, "nsid": there["nsid"]},
            nqn,
            before={"namespaces": [{key: there[key] for key in ("nsid", "bdev", "uuid")}]},
            after={"namespaces": []},
        )

    def _plan_ana_group(self, wish: SubsystemWish, there: dict[str, t.Any], entry: dict[str, t.Any]) -> None:
        group = entry["anagrpid"]
        if group is None or there["anagrpid"] is None or there["anagrpid"] == group:
            return
        self._add(
            "add_namespace",
            "nvmf_subsystem_set_ns_ana_group",
            {"nqn": wish.nqn, "nsid": there["nsid"], "anagrpid": group},
            wish.nqn,
            before={f"anagrpid of {there['nsid']}": there["anagrpid"]},
            after={f"anagrpid of {there['nsid']}": group},
        )
        there["anagrpid"] = group

    def _add_namespace(self, wish: SubsystemWish, now: dict[str, t.Any], entry: dict[str, t.Any], bdevs: dict[str, dict[str, t.Any]], taken: set[int]) -> None:
        bdev = bdevs.get(entry["bdev"])
        label = f"{wish.nqn}#{entry['nsid'] or entry['bdev']}"
        if bdev is None:
            raise HopError(
                f"the target has no bdev {entry['bdev']}",
                obj=label,
                hop="bdev",
                call="bdev_get_bdevs",
                remedy="create it first (nvmeof.spdk.spdk_rbd_bdev), or correct the name",
            )
        if bdev["claimed"] and not any(call.stage in ("remove_namespace", "delete") for call in self.calls):
            raise HopError(
                f"the bdev {bdev['name']} is already in use by something else",
                obj=label,
                hop="namespace",
                cause="a bdev can be one namespace only, of one subsystem",
                remedy="look with nvmeof.spdk.spdk_target_info where it is used",
            )
        limit = now.get("max_namespaces")
        nsid = entry["nsid"]
        if nsid is None:
            # the lowest free one, as SPDK would choose, but not one that the list gives to another bdev
            used = taken | {there["nsid"] for there in now["namespaces"]}
            nsid = next(number for number in range(1, len(used) + 2) if number not in used)
        if limit and nsid > limit:
            raise HopError(
                f"nsid {nsid} is above max_namespaces {limit}",
                obj=label,
                hop="namespace",
                cause="SPDK cannot change max_namespaces in a subsystem",
                remedy="use a lower nsid, or another subsystem",
            )
        taken.add(nsid)
        identity = wish.identity(entry, bdev)
        namespace: dict[str, t.Any] = {"bdev_name": bdev["name"], "nsid": nsid}
        for key, value in (("uuid", identity["uuid"]), ("nguid", identity["nguid"]), ("anagrpid", entry["anagrpid"])):
            if value is not None:
                namespace[key] = value
        after = {"nsid": nsid, "bdev": bdev["name"], "uuid": identity["uuid"]}
        self._add(
            "add_namespace",
            "nvmf_subsystem_add_ns",
            {"nqn": wish.nqn, "namespace": namespace},
            wish.nqn,
            before={"namespaces": []},
            after={"namespaces": [after]},
        )
        now["namespaces"].append({**identity, "nsid": nsid, "anagrpid": entry["anagrpid"]})

    def _plan_listeners(self, wish: SubsystemWish, now: dict[str, t.Any]) -> None:
        if wish.listeners is None:
            return
        there = {listener_key(entry): entry for entry in now["listeners"]}
        for entry in wish.listeners:
            key = listener_key(entry)
            address = {part: entry[part] for part in ("trtype", "adrfam", "traddr", "trsvcid") if entry[part]}
            state = entry["ana_state"]
            if state is not None and now["ana_reporting"] is False:
                raise HopError(
                    "ana_state is asked for, but the subsystem does not report ANA",
                    obj=wish.nqn,
                    hop="path",
                    call="nvmf_subsystem_listener_set_ana_state",
                    remedy="create the subsystem with ana_reporting, which cannot be changed later",
                )
            current = there.get(key)
            if current is None:
                self._add(
                    "add_listener",
                    "nvmf_subsystem_add_listener",
                    {"nqn": wish.nqn, "listen_address": address},
                    wish.nqn,
                    before={"listeners": []},
                    after={"listeners": [address]},
                )
                current = {**entry, "ana_state": "optimized" if state is not None else None}  # SPDK's state of a new listener
                now["listeners"].append(current)
            if state is not None and current["ana_state"] != state:
                self._add(
                    "ana_state",
                    "nvmf_subsystem_listener_set_ana_state",
                    {"nqn": wish.nqn, "listen_address": address, "ana_state": state},
                    wish.nqn,
                    before={f"ana_state of {address['traddr']}": current["ana_state"]},
                    after={f"ana_state of {address['traddr']}": state},
                )
                current["ana_state"] = state
        if wish.purge:
            wanted = {listener_key(entry) for entry in wish.listeners}
            for key, entry in there.items():
                if key in wanted:
                    continue
                address = {part: entry[part] for part in ("trtype", "adrfam", "traddr", "trsvcid") if entry[part]}
                self._add(
                    "remove_listener",
                    "nvmf_subsystem_remove_listener",
                    {"nqn": wish.nqn, "listen_address": address},
                    wish.nqn,
                    before={"listeners": [address]},
                    after={"listeners": []},
                )
                now["listeners"].remove(entry)

    def _refuse_disruption(self, wishes: dict[str, SubsystemWish], found: dict[str, dict[str, t.Any]]) -> None:
        """Nothing is taken from connected hosts without force: ask who is connected, but only where something would go."""
        risky: dict[str, str] = {}
        for call in self.calls:
            if call.stage in DISRUPTIVE and not wishes[call.nqn].force:
                risky.setdefault(call.nqn, DISRUPTIVE[call.stage])
        if not risky:
            return
        entries = [found[nqn] for nqn in risky]
        self.target.add_controllers(entries)
        for entry in entries:
            what = risky[entry["nqn"]]
            if entry["controllers"] is None:
                raise HopError(
                    f"{what} may take disks from hosts, and SPDK {self.target.table.name} cannot tell who is connected",
                    obj=entry["nqn"],
                    hop="path",
                    call="nvmf_subsystem_get_controllers",
                    remedy="make sure that no host uses the subsystem, then set force",
                )
            if entry["controllers"]:
                hosts = sorted({str(controller["hostnqn"]) for controller in entry["controllers"]})
                raise HopError(
                    f"{what} would take disks or paths from connected hosts: {', '.join(hosts)}",
                    obj=entry["nqn"],
                    hop="path",
                    remedy="disconnect those hosts first, or set force",
                )

    # -- carry out and read back -------------------------------------------------------------------------------

    def ordered(self) -> list[Planned]:
        """The planned calls in the order in which they are sent."""
        return [call for stage in STAGES for call in self.calls if call.stage == stage]

    def apply(self, wishes: t.Sequence[SubsystemWish]) -> None:
        """Send the calls stage by stage. After a time-out the state is read and planned anew: done means done."""
        pipelined = not self.target.table.is_so("subsystem_busy")
        for stage in STAGES:
            calls = [call for call in self.calls if call.stage == stage]
            if not calls:
                continue
            try:
                outcomes = self.target.change([(call.method, call.params, call.nqn) for call in calls], "namespace", pipelined)
            except TimedOut as error:
                again = SubsystemManager(self.target)
                again.plan(wishes)
                if any(call.stage == stage for call in again.calls):
                    raise error
                outcomes = [True] * len(calls)
            failure = None
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

    def result(self, nqn: str) -> dict[str, t.Any]:
        entry = self.predicted.get(nqn)
        if entry is None:
            return {"nqn": nqn, "state": "absent", "changed": nqn in self.changed}
        return {**entry, "state": "present", "changed": nqn in self.changed}


def _shown(now: dict[str, t.Any]) -> dict[str, t.Any]:
    return {
        "serial_number": now["serial_number"],
        "hosts": now["hosts"],
        "namespaces": [{key: there[key] for key in ("nsid", "bdev", "uuid")} for there in now["namespaces"]],
    }


class TransportManager:
    """NVMe-oF transports: created where absent; options that differ are an error, since no release can remove one."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.changes = Changes()
        self.calls: list[tuple[str, dict[str, t.Any], str]] = []
        self.changed: set[str] = set()
        self.there: dict[str, dict[str, t.Any]] = {}

    def plan(self, wishes: t.Sequence[t.Mapping[str, t.Any]]) -> None:
        """``wishes``: ``trtype`` in upper case and ``options``."""
        self.changes, self.calls, self.changed = Changes(), [], set()
        self.there = {entry["trtype"]: entry for entry in self.target.transports()}
        for wish in wishes:
            trtype, options = wish["trtype"], dict(wish["options"] or {})
            self.target.table.check_transport_options(trtype, options)
            there = self.there.get(trtype)
            if there is None:
                params = {"trtype": trtype, **options}
                self.changes.add("transport", trtype, "create", None, {"state": "present", **options}, _not_applied)
                self.calls.append(("nvmf_create_transport", params, trtype))
                self.changed.add(trtype)
                self.there[trtype] = params
                continue
            differs = [f"{key} is {there[key]!r}, not {value!r}" for key, value in options.items() if key in there and there[key] != value]
            if differs:
                raise HopError(
                    f"the transport {trtype} exists, and " + " and ".join(differs),
                    obj=trtype,
                    hop="path",
                    cause="no SPDK release can change or remove a transport",
                    remedy="ask for what it has, or change the start-up configuration and restart the target",
                )

    def apply(self) -> None:
        """Create what is missing, then read back."""
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
