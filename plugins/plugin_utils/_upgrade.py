# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Whether a target may be stopped now, and whether the hosts have left it or come back to it: from measurements, never from what is declared."""

from __future__ import annotations

import typing as t

from ._volumes import portal_of

#: Where the role registers its measurements.
REGISTERED = {"target": "target_upgrade__target", "host": "target_upgrade__host"}

#: ANA states through which a host does I/O; null and "" come from subsystems that report none.
USABLE = ("optimized", "non-optimized", "non_optimized", None, "")

Measurements = t.Mapping[str, t.Mapping[str, t.Any]]


def _accessible(state: str | None) -> bool:
    return state in USABLE


def _good(path: t.Mapping[str, t.Any], size: int | None) -> bool:
    """Whether a host can do I/O through a path: live, accessible, and as large as its device (a path of another size is not used)."""
    return path.get("state") == "live" and _accessible(path.get("ana_state")) and size is not None and path.get("size_bytes") == size


def _describe(path: t.Mapping[str, t.Any], size: int | None) -> str:
    said = f"{path.get('state')}, ANA {path.get('ana_state') or 'not reported'}"
    if path.get("state") == "live" and path.get("size_bytes") != size:
        said += f", {path.get('size_bytes')} bytes instead of {size}"
    return f"{path.get('controller')} {portal_of(path)} ({said})"


def _troubled(target: t.Mapping[str, t.Any]) -> set[str]:
    """Names of bdevs and namespaces of which a target says that they lose or have lost data, and "target" for all of them."""
    return {problem["object"] for problem in target.get("problems") or [] if problem.get("severity") == "critical"}


def _served_by(measured: Measurements, other: str, nqn: str, namespace: t.Mapping[str, t.Any]) -> str | None:
    """Why target ``other`` is no replacement for a namespace; null when it is one."""
    entry = measured[other]
    if entry.get("target") is None:
        return f"{other} cannot be read: {entry['errors'].get('target', 'not asked')}"
    target = entry["target"]
    subsystem = next((one for one in target.get("subsystems") or [] if one["nqn"] == nqn), None)
    if subsystem is None:
        return f"{other} does not export {nqn}"
    there = next((one for one in subsystem.get("namespaces") or [] if one["nsid"] == namespace["nsid"]), None)
    if there is None or (there.get("uuid") or "").lower() != (namespace.get("uuid") or "").lower():
        return f"{other} has {'no' if there is None else 'another'} namespace {namespace['nsid']}"
    if not any(_accessible(listener.get("ana_state")) for listener in subsystem.get("listeners") or []):
        return f"{other} has no accessible listener for it"
    if {"target", nqn, there.get("bdev"), f"{nqn}#{there['nsid']}"} & _troubled(target):
        return f"{other} has a critical problem with it"
    return None


def _portals(target: t.Mapping[str, t.Any] | None, declared: t.Sequence[t.Mapping[str, t.Any]]) -> set[tuple[str, str]]:
    """(NQN, address:port) of every listener that a target has, or, when it cannot be read, is declared to have."""
    found = set()
    for subsystem in declared if target is None else target.get("subsystems") or []:
        for listener in subsystem.get("listeners") or []:
            found.add((subsystem["nqn"], portal_of({"traddr": listener.get("traddr"), "trsvcid": listener.get("trsvcid") or 4420})))
    return found


def _ana(target: t.Mapping[str, t.Any], state: str | None) -> list[dict[str, t.Any]]:
    """``subsystems`` for ``nvmf_subsystem``: every listener of those that report ANA in ``state``, or with null as it is now.

    A listener whose groups have several states ("mixed") could not be put back: its subsystem is left out.
    """
    found = []
    for subsystem in target.get("subsystems") or []:
        keys = ("trtype", "adrfam", "traddr", "trsvcid")
        listeners = [
            {**{key: listener[key] for key in keys if listener.get(key)}, "ana_state": state or listener["ana_state"]}
            for listener in subsystem.get("listeners") or []
            if listener.get("ana_state")
        ]
        if subsystem.get("ana_reporting") and listeners and not any(listener.get("ana_state") == "mixed" for listener in subsystem["listeners"]):
            found.append({"nqn": subsystem["nqn"], "listeners": listeners})
    return found


def upgrade_plan(measured: Measurements, target: str, declared: t.Sequence[t.Mapping[str, t.Any]] = (), allow_outage: bool = False) -> dict[str, t.Any]:
    """Whether ``target`` may be taken out of service now, and how.

    ``measured``: by host, as :func:`_volumes.measurements_of` gives them, with ``target`` and ``host``. ``declared``: the subsystems that the inventory
    declares for the target, which count when it cannot be read. Returns ``blockers`` (text), ``notes`` (what ``allow_outage`` let pass), ``drain`` and
    ``restore`` (``subsystems`` for ``nvmf_subsystem``), ``expected`` (host -> the paths that must come back), ``running`` (whether the target answers) and
    ``lines``.
    """
    own = measured.get(target, {}).get("target")
    error = measured.get(target, {}).get("errors", {}).get("target", "not measured")
    portals = _portals(own, declared)
    nqns = {nqn for nqn, _portal in portals}
    hard: list[str] = []
    soft: list[str] = []
    if own is None and error.startswith("host unreachable"):
        hard.append(f"{target} cannot be reached: {error}")
    others = [name for name in measured if name != target and ("target" in measured[name] or "target" in measured[name]["errors"])]
    volumes = 0
    for subsystem in (own or {}).get("subsystems") or []:
        for namespace in subsystem.get("namespaces") or []:
            volumes += 1
            reasons = [_served_by(measured, other, subsystem["nqn"], namespace) for other in others]
            if None not in reasons:
                told = "; ".join(reason for reason in reasons if reason) or "there is no other target"
                soft.append(f"{subsystem['nqn']}#{namespace['nsid']} ({namespace.get('bdev')}) is served by no other living target: {told}")
    expected: dict[str, list[dict[str, t.Any]]] = {}
    hostnqns = set()
    for name, entry in measured.items():
        if "host" in entry.get("errors", {}):
            hard.append(f"{name} cannot be read, so nobody knows whether it has another path: {entry['errors']['host']}")
        host = entry.get("host") or {}
        hostnqns.add(host.get("hostnqn"))
        for namespace in host.get("namespaces") or []:
            found = _host_paths(name, namespace, portals, own is not None)
            hard += found["hard"]
            soft += found["soft"]
            if found["expected"]:
                expected.setdefault(name, []).extend(found["expected"])
    for subsystem in (own or {}).get("subsystems") or []:
        strangers = {one.get("hostnqn") for one in subsystem.get("controllers") or []} - hostnqns - {None, ""}
        soft += [
            f"{stranger} is connected to {subsystem['nqn']} and is no host of the inventory, so its other paths are unknown" for stranger in sorted(strangers)
        ]
    blockers = hard if allow_outage else hard + soft
    notes = soft if allow_outage else []
    # where nobody can take over, ANA would only let I/O hang before the stop does
    drain = [] if own is None or notes else _ana(own, "inaccessible")
    drained = {entry["nqn"] for entry in drain}
    for paths in expected.values():
        for path in paths:
            path["drains"] = path["nqn"] in drained
    state = (
        f"{volumes} namespace(s), {sum(len(paths) for paths in expected.values())} path(s) of {len(expected)} host(s)" if own else f"does not answer ({error})"
    )
    lines = [f"{target}: {state}: {'BLOCKED' if blockers else 'may be stopped'}"]
    lines += [f"  BLOCKED: {text}" for text in blockers] + [f"  outage allowed: {text}" for text in notes]
    if own is not None and not blockers:
        lines += [f"  {nqn} is not made inaccessible first: hosts notice the stop by their connections" for nqn in sorted(nqns - drained)]
    return {
        "target": target,
        "running": own is not None,
        "blockers": blockers,
        "notes": notes,
        "drain": drain,
        "restore": _ana(own, None) if drain else [],
        "expected": expected,
        "lines": lines,
    }


def _host_paths(name: str, namespace: t.Mapping[str, t.Any], portals: set[tuple[str, str]], running: bool) -> dict[str, list[t.Any]]:
    """What one namespace of one host says about stopping the target that listens at ``portals``."""
    found: dict[str, list[t.Any]] = {"hard": [], "soft": [], "expected": []}
    nqn, size = namespace.get("nqn"), namespace.get("size_bytes")
    paths = namespace.get("paths") or []
    through = [path for path in paths if (nqn, portal_of(path)) in portals]
    if not through:
        return found
    label = f"{name}: {namespace.get('device')} ({nqn}#{namespace.get('nsid')})"
    if not running:
        found["hard"] += [
            f"{label}: the target does not answer, but its path {_describe(path, size)} is live. Find out why before it is stopped"
            for path in through
            if path.get("state") == "live"
        ]
    elsewhere = [path for path in paths if path not in through]
    if not any(_good(path, size) for path in elsewhere):
        told = ", ".join(_describe(path, size) for path in elsewhere) or "it has none"
        found["soft"].append(f"{label} has no usable path to another target: {told}")
    # what was down before need not come back; what a stopped target (an earlier, interrupted run) took down must
    found["expected"] = [
        {
            "nqn": nqn,
            "nsid": namespace.get("nsid"),
            "uuid": namespace.get("uuid"),
            "portal": portal_of(path),
            "optimized": _good(path, size) and path.get("ana_state") == "optimized",
        }
        for path in through
        if path.get("state") == "live" or not running
    ]
    return found


def path_problems(host: t.Mapping[str, t.Any], expected: t.Sequence[t.Mapping[str, t.Any]], drained: bool = False) -> list[str]:
    """What is not yet as it must be on one host (a result of ``nvme_info``): every path of ``expected`` must be live, accessible (optimized, if it was) and
    of its device's size; with ``drained`` instead, none may be accessible while another target's path must be."""
    found = []
    leaving = {one["portal"] for one in expected}
    for wish in expected:
        if drained and not wish["drains"]:
            continue
        same = [one for one in host.get("namespaces") or [] if all(one.get(key) == wish[key] for key in ("nqn", "nsid", "uuid"))]
        # a held, dead device can stand beside the namespace's new one
        namespace = max(same, key=lambda one: len([path for path in one.get("paths") or [] if path.get("state") == "live"]), default=None)
        label = f"{wish['nqn']}#{wish['nsid']} through {wish['portal']}"
        if namespace is None:
            found.append(f"{label}: the namespace is gone")
            continue
        size = namespace.get("size_bytes")
        paths = [path for path in namespace.get("paths") or [] if portal_of(path) == wish["portal"]]
        if drained:
            if any(path.get("state") == "live" and _accessible(path.get("ana_state")) for path in paths):
                found.append(f"{label}: still accessible")
            if not any(_good(path, size) for path in namespace.get("paths") or [] if portal_of(path) not in leaving):
                found.append(f"{label}: no other path is usable")
        elif not any(_good(path, size) and (not wish["optimized"] or path.get("ana_state") == "optimized") for path in paths):
            found.append(f"{label}: {', '.join(_describe(path, size) for path in paths) or 'no such path'}")
    return found
