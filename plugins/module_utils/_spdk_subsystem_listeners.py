# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The listeners of a subsystem, and the ANA states of their groups."""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_facts import ana_facts, listen_address, listener_facts, listener_key
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_plan import Plan

if t.TYPE_CHECKING:
    from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_wish import SubsystemWish

#: What SPDK takes only when it adds the listener.
FIXED = ("secure_channel", "sock_impl")


def wanted_listeners(entries: t.Sequence[t.Mapping[str, t.Any]] | None, bad: t.Callable[..., HopError]) -> list[dict[str, t.Any]] | None:
    """The listeners normalised; ``ana_states`` becomes a dictionary of group and state."""
    if entries is None:
        return None
    listeners: dict[t.Any, dict[str, t.Any]] = {}
    for entry in entries:
        listener = {**listener_facts(entry), **{key: entry.get(key) for key in ("ana_state", *FIXED)}}
        port = listener["trsvcid"]
        if not port.isdigit() or not 1 <= int(port) <= 65535:
            raise bad(f"trsvcid {port!r} is not a port", "use a number from 1 to 65535, such as 4420", "path")
        if not listener["traddr"]:
            raise bad("a listener has no traddr", "give the IP address to listen on", "path")
        groups: dict[int, str] = {}
        for state in entry.get("ana_states") or []:
            if state["anagrpid"] < 1 or state["anagrpid"] in groups:
                raise bad(f"ana_states of {listener['traddr']} names group {state['anagrpid']}", "name each group once; they count from 1", "path")
            groups[state["anagrpid"]] = state["ana_state"]
        listener["ana_states"] = groups
        if listener_key(listener) in listeners:
            raise bad(f"the listener {listener['traddr']}:{port} is named twice", "name each once", "path")
        listeners[listener_key(listener)] = listener
    return list(listeners.values())


def reads_ana(wish: SubsystemWish) -> bool:
    """Whether ANA states must be read, one call for each subsystem: they are declared, or a listener may be re-created with them."""
    return any(entry["ana_state"] or entry["ana_states"] or (wish.force and any(entry[key] is not None for key in FIXED)) for entry in wish.listeners or [])


def plan_listeners(plan: Plan, wish: SubsystemWish, now: dict[str, t.Any]) -> None:
    """Add, set and (with purge) remove listeners; ``now`` becomes what will be there."""
    there = {listener_key(entry): entry for entry in now["listeners"]}
    for entry in wish.listeners or []:
        if (entry["ana_state"] or entry["ana_states"]) and now["ana_reporting"] is False:
            raise HopError(
                "ana_state is asked for, but the subsystem does not report ANA",
                obj=wish.nqn,
                hop="path",
                call="nvmf_subsystem_listener_set_ana_state",
                remedy="create the subsystem with ana_reporting, which cannot be changed later",
            )
        current = there.get(listener_key(entry))
        if current is not None and _differs(plan, wish, entry, current):
            _remove(plan, wish, now, current, "re-creating a listener")
            entry, current = _with_states_of(entry, current), None
        if current is None:
            current = _add(plan, wish, now, entry)
        _plan_ana(plan, wish, now, entry, current)
    if wish.listeners is not None and wish.purge:
        wanted = {listener_key(entry) for entry in wish.listeners}
        for key, entry in there.items():
            if key not in wanted:
                _remove(plan, wish, now, entry, "removing a listener")
    _refuse_secure_for_any(wish, now)


def _refuse_secure_for_any(wish: SubsystemWish, now: dict[str, t.Any]) -> None:
    """A secure channel and any host exclude each other, where the wish makes them meet."""
    if not now["allow_any_host"]:
        return
    asked = {listener_key(entry) for entry in wish.listeners or [] if entry["secure_channel"]}
    for entry in now["listeners"]:
        if entry["secure_channel"] and (wish.allow_any_host or listener_key(entry) in asked):
            raise HopError(
                f"the listener {entry['traddr']}:{entry['trsvcid']} has a secure channel, but the subsystem allows any host",
                obj=wish.nqn,
                hop="path",
                call="nvmf_subsystem_add_listener",
                cause="a host without a name in the list has no key for the channel",
                remedy="set allow_any_host to false and name the hosts, or leave secure_channel out",
            )


def _with_states_of(entry: dict[str, t.Any], current: dict[str, t.Any]) -> dict[str, t.Any]:
    """The wish with the ANA states that the listener had, where it names none: a new listener would be optimized."""
    if entry["ana_state"] is not None:
        return entry
    if not current["ana_states"]:
        return {**entry, "ana_state": current["ana_state"]}
    return {**entry, "ana_states": {**{one["anagrpid"]: one["ana_state"] for one in current["ana_states"]}, **entry["ana_states"]}}


def _differs(plan: Plan, wish: SubsystemWish, entry: dict[str, t.Any], current: dict[str, t.Any]) -> bool:
    """Whether ``current`` must be re-created for what cannot change in place; an error without force."""
    where = f"{entry['traddr']}:{entry['trsvcid']}"
    differs = []
    for key in FIXED:
        if entry[key] is None or entry[key] == current[key]:
            continue
        if entry[key]:
            plan.table.check_params("nvmf_subsystem_add_listener", {key: entry[key]}, wish.nqn, "path")
        if key == "secure_channel" and current[key] is None:
            plan.unproven.append(f"{wish.nqn}: SPDK {plan.table.name} does not show whether the listener {where} has a secure channel")
            continue
        differs.append(f"{key} is {current[key]!r}, not {entry[key]!r}")
    if differs and not wish.force:
        raise HopError(
            f"the listener {where} exists, and {' and '.join(differs)}",
            obj=wish.nqn,
            hop="path",
            cause="SPDK takes it only when it adds a listener",
            remedy="use another port, or set force: the listener is removed and added again, which breaks the connections through it",
        )
    return bool(differs)


def _remove(plan: Plan, wish: SubsystemWish, now: dict[str, t.Any], entry: dict[str, t.Any], takes: str) -> None:
    address = listen_address(entry)
    plan.add(
        "remove_listener",
        "nvmf_subsystem_remove_listener",
        {"nqn": wish.nqn, "listen_address": address},
        wish.nqn,
        before={"listeners": [address]},
        after={"listeners": []},
        takes=takes,
    )
    now["listeners"].remove(entry)


def _add(plan: Plan, wish: SubsystemWish, now: dict[str, t.Any], entry: dict[str, t.Any]) -> dict[str, t.Any]:
    address = listen_address(entry)
    params: dict[str, t.Any] = {"nqn": wish.nqn, "listen_address": address}
    for key in FIXED:
        if entry[key]:  # false is every release's default, and of old ones the only one
            params[key] = entry[key]
    state = None
    if now["ana_reporting"] and reads_ana(wish):
        state = "optimized"  # SPDK's for a new listener
        if entry["ana_state"] and plan.table.has("nvmf_subsystem_add_listener", "ana_state"):
            # with this no host sees the path in another state for a moment
            state = params["ana_state"] = entry["ana_state"]
    shown = {**address, **{key: params[key] for key in ("ana_state", *FIXED) if key in params}}
    plan.add("add_listener", "nvmf_subsystem_add_listener", params, wish.nqn, before={"listeners": []}, after={"listeners": [shown]})
    current = {
        **{key: entry[key] for key in ("trtype", "adrfam", "traddr", "trsvcid", "sock_impl")},
        "secure_channel": bool(entry["secure_channel"]),
        "ana_state": state,
        "ana_states": [],
    }
    now["listeners"].append(current)
    return current


def _plan_ana(plan: Plan, wish: SubsystemWish, now: dict[str, t.Any], entry: dict[str, t.Any], current: dict[str, t.Any]) -> None:
    state, groups = entry["ana_state"], entry["ana_states"]
    if state is None and not groups:
        return
    limit = now["max_namespaces"]
    above = [group for group in groups if limit and group > limit]
    if above:
        raise HopError(
            f"ANA group {above[0]} is above max_namespaces {limit}",
            obj=wish.nqn,
            hop="path",
            call="nvmf_subsystem_listener_set_ana_state",
            cause="SPDK has as many ANA groups as a subsystem may have namespaces",
            remedy="use a lower group, or another subsystem",
        )
    found = {one["anagrpid"]: one["ana_state"] for one in current["ana_states"]} or dict.fromkeys(range(1, (limit or 1) + 1), current["ana_state"])
    lagging = {group: wanted for group, wanted in groups.items() if found.get(group) != wanted}
    if state is not None:
        others = [group for group, word in found.items() if group not in groups and word != state]
        flips = any(wanted != state and group not in lagging for group, wanted in groups.items())
        if others and flips:
            # not through one call for all groups, which would turn groups that are right for a moment
            lagging.update(dict.fromkeys(others, state))
        elif others:
            _set_ana(plan, wish, entry, None, state, current["ana_state"])
            found = dict.fromkeys(found, state)
            lagging = {group: wanted for group, wanted in groups.items() if wanted != state}
    for group in sorted(lagging):
        _set_ana(plan, wish, entry, group, lagging[group], found.get(group))
        found[group] = lagging[group]
    current.update(ana_facts(found))


def _set_ana(plan: Plan, wish: SubsystemWish, entry: dict[str, t.Any], group: int | None, state: str, before: str | None) -> None:
    address = listen_address(entry)
    params: dict[str, t.Any] = {"nqn": wish.nqn, "listen_address": address, "ana_state": state}
    label = f"ana_state of {address['traddr']}:{address['trsvcid']}"
    if group is not None:
        params["anagrpid"] = group
        label += f" group {group}"
    plan.add("ana_state", "nvmf_subsystem_listener_set_ana_state", params, wish.nqn, before={label: before}, after={label: state})
