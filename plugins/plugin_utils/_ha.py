# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Targets that export the same subsystem: what the inventory declares for each must make one subsystem for the hosts.

A host takes all controllers of one NQN for one subsystem. What it meets when two targets disagree (Linux 6.1, measured):
controller ids that overlap let the second connect fail; another UUID or image under one nsid leaves a controller that is "live" and
a path that is not there, and only the kernel log tells.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ._volumes import known_of, label_of

#: The controller ids that NVMe-oF gives to dynamic controllers: 1 to FFEFh.
FIRST_CNTLID, LAST_CNTLID = 1, 65519
#: Ids of one target where they follow from its place in the inventory: 32 targets, and one more moves none of those before it.
RANGE_IDS = 2047
SLOTS = LAST_CNTLID // RANGE_IDS

Declared = t.Mapping[str, t.Mapping[str, t.Any]]
Range = t.Tuple[int, int]


class HaError(Exception):
    """The declared state cannot be made consistent; the text says why."""


def declared_of(hostvars: t.Mapping[str, t.Any], targets: t.Sequence[str]) -> dict[str, dict[str, t.Any]]:
    """What the inventory declares for each of ``targets``, in their order: ``subsystems`` (without those to be absent) and ``bdevs`` by name."""
    found: dict[str, dict[str, t.Any]] = {}
    for name in targets:
        known = known_of(hostvars, name)
        subsystems = [one for one in known.get("spdk_target_subsystems") or [] if (one.get("state") or "present") != "absent"]
        bdevs = {one.get("name"): one for one in known.get("spdk_target_rbd_bdevs") or [] if (one.get("state") or "present") != "absent"}
        found[name] = {"subsystems": subsystems, "bdevs": bdevs}
    return found


def shared(declared: Declared) -> dict[str, dict[str, t.Mapping[str, t.Any]]]:
    """The subsystems that several targets export: NQN -> target -> subsystem."""
    by_nqn: dict[str, dict[str, t.Mapping[str, t.Any]]] = {}
    for name, state in declared.items():
        for subsystem in state["subsystems"]:
            by_nqn.setdefault(subsystem["nqn"], {})[name] = subsystem
    return {nqn: exports for nqn, exports in by_nqn.items() if len(exports) > 1}


def _number(value: t.Any) -> int | None:
    return None if value is None or value == "" else int(value)


def _range_of(subsystem: t.Mapping[str, t.Any]) -> Range | None:
    """The controller ids that a subsystem declares; null when it declares none. One end alone leaves the other to SPDK's default."""
    low, high = _number(subsystem.get("min_cntlid")), _number(subsystem.get("max_cntlid"))
    if low is None and high is None:
        return None
    return low or FIRST_CNTLID, high or LAST_CNTLID


def _overlap(one: Range, other: Range) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def proposed_ranges(order: t.Sequence[str], exports: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[str, Range]:
    """Disjoint controller ids for every target of ``exports``: those declared are kept where they clash with none before them,
    the others follow from the target's place in ``order`` (the inventory), so that they are the same in every run."""
    kept: dict[str, Range] = {}
    for name in order:
        wanted = _range_of(exports[name]) if name in exports else None
        if wanted and FIRST_CNTLID <= wanted[0] <= wanted[1] <= LAST_CNTLID and not any(_overlap(wanted, other) for other in kept.values()):
            kept[name] = wanted
    for place, name in enumerate(order):
        if name not in exports or name in kept:
            continue
        slots = [*range(place, SLOTS), *range(min(place, SLOTS))]
        ranges = [(slot * RANGE_IDS + 1, (slot + 1) * RANGE_IDS) for slot in slots]
        free = next((one for one in ranges if not any(_overlap(one, other) for other in kept.values())), None)
        if free is None:
            raise HaError(f"{len(exports)} targets share one NQN: there are controller ids for {SLOTS}")
        kept[name] = free
    return {name: kept[name] for name in order if name in kept}


def with_ranges(declared: Declared) -> dict[str, dict[str, t.Any]]:
    """The declared state with controller ids where a shared subsystem declares none; what is declared stays as it is, also when it clashes."""
    pairs = shared(declared)
    ranges = {nqn: proposed_ranges(list(declared), exports) for nqn, exports in pairs.items()}
    filled: dict[str, dict[str, t.Any]] = {}
    for name, state in declared.items():
        subsystems = []
        for subsystem in state["subsystems"]:
            nqn = subsystem["nqn"]
            if nqn in pairs and _range_of(subsystem) is None:
                low, high = ranges[nqn][name]
                subsystem = {**subsystem, "min_cntlid": low, "max_cntlid": high}
            subsystems.append(subsystem)
        filled[name] = {**state, "subsystems": subsystems}
    return filled


# -- problems ------------------------------------------------------------------------------------------------------


def _names(names: t.Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _told(values: t.Mapping[str, t.Any]) -> str:
    """``X on t1 and t2, Y on t3``."""
    groups: list[tuple[t.Any, list[str]]] = []
    for name, value in values.items():
        for seen, names in groups:
            if seen == value:
                names.append(name)
                break
        else:
            groups.append((value, [name]))
    return ", ".join(f"{'none' if value is None else value} on {_names(names)}" for value, names in groups)


def _differ(values: t.Mapping[str, t.Any]) -> bool:
    listed = list(values.values())
    return any(value != listed[0] for value in listed[1:])


def _problem(nqn: str, targets: t.Sequence[str], kind: str, text: str, remedy: str) -> dict[str, t.Any]:
    return {"nqn": nqn, "targets": list(targets), "kind": kind, "problem": text, "remedy": remedy}


def _cntlid_problems(nqn: str, order: t.Sequence[str], exports: t.Mapping[str, t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    ranges = {name: _range_of(subsystem) for name, subsystem in exports.items()}
    wrong = []
    for name, one in ranges.items():
        if one is None:
            wrong.append(f"{name} has none (SPDK's default is {FIRST_CNTLID} to {LAST_CNTLID})")
        elif not FIRST_CNTLID <= one[0] <= one[1] <= LAST_CNTLID:
            wrong.append(f"{name} has {one[0]} to {one[1]}, no range within {FIRST_CNTLID} to {LAST_CNTLID}")
    known = [(name, one) for name, one in ranges.items() if one is not None]
    for place, (name, one) in enumerate(known):
        wrong += [f"{other} has {there[0]} to {there[1]}, which {name} has, too" for other, there in known[:place] if _overlap(one, there)]
    if not wrong:
        return []
    lines = [f"{name}: {{min_cntlid: {low}, max_cntlid: {high}}}" for name, (low, high) in proposed_ranges(order, exports).items()]
    remedy = (
        f"declare in the subsystem of each target: {'; '.join(lines)} (spdk_target_auto_cntlid: true fills in what is not declared). "
        "SPDK takes them only when it creates a subsystem"
    )
    return [_problem(nqn, list(exports), "cntlid", "ranges of controller ids must be there and be disjoint: " + "; ".join(wrong), remedy)]


def _identity_problems(nqn: str, exports: t.Mapping[str, t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    found = []
    for option in ("serial_number", "model_number"):
        values = {name: subsystem.get(option) or None for name, subsystem in exports.items()}
        if _differ(values):
            remedy = "declare the same on every target: for a host it is one subsystem"
            found.append(_problem(nqn, list(exports), option, f"{option} differs: {_told(values)}", remedy))
    values = {name: bool(subsystem.get("ana_reporting")) for name, subsystem in exports.items()}
    if _differ(values):
        remedy = "declare ana_reporting alike, true where a target shall be taken out of service without a pause"
        found.append(_problem(nqn, list(exports), "ana_reporting", f"ana_reporting differs: {_told(values)}", remedy))
    allowed = {name: "any host" if subsystem.get("allow_any_host") else sorted(subsystem.get("hosts") or []) for name, subsystem in exports.items()}
    if _differ(allowed):
        remedy = "allow the same hosts on every target, or those that only one lets in have no second path"
        told = _told({name: value if isinstance(value, str) else ", ".join(value) or "nobody" for name, value in allowed.items()})
        found.append(_problem(nqn, list(exports), "hosts", f"the hosts that may connect differ: {told}", remedy))
    return found


def _namespaces_of(name: str, subsystem: t.Mapping[str, t.Any], declared: Declared) -> tuple[dict[int, dict[str, t.Any]], list[str]]:
    """The declared namespaces by nsid, and the bdevs of those without one."""
    known: dict[int, dict[str, t.Any]] = {}
    loose = []
    for namespace in subsystem.get("namespaces") or []:
        if namespace.get("state") == "absent":
            continue
        bdev = declared[name]["bdevs"].get(namespace.get("bdev"), {})
        label = label_of(bdev.get("pool"), bdev.get("rados_namespace"), bdev.get("image"))
        uuid = str(namespace.get("uuid") or bdev.get("uuid") or "").lower()
        nsid = _number(namespace.get("nsid"))
        if nsid is None:
            loose.append(str(namespace.get("bdev")))
            continue
        known[nsid] = {
            "image": label or f"bdev {namespace.get('bdev')}, which is no declared RBD bdev",
            "uuid": uuid or None,
            "nguid": str(namespace.get("nguid") or uuid).replace("-", "").lower() or None,
            "ANA group": _number(namespace.get("anagrpid")) or nsid,
            "block size": _number(bdev.get("block_size")) or 512,
            "read-only flag": bool(bdev.get("read_only")),
        }
    return known, loose


def _namespace_problems(nqn: str, exports: t.Mapping[str, t.Mapping[str, t.Any]], declared: Declared) -> list[dict[str, t.Any]]:
    found = []
    by_target: dict[str, dict[int, dict[str, t.Any]]] = {}
    for name, subsystem in exports.items():
        by_target[name], loose = _namespaces_of(name, subsystem, declared)
        if loose:
            remedy = "declare the nsid: otherwise it follows from the order of creation"
            found.append(_problem(nqn, [name], "nsid", f"on {name} the namespace of {_names(loose)} has no nsid", remedy))
    for nsid in sorted({nsid for known in by_target.values() for nsid in known}):
        there = {name: known[nsid] for name, known in by_target.items() if nsid in known}
        missing = [name for name in by_target if name not in there]
        if missing:
            text = f"namespace {nsid} ({_told({name: entry['image'] for name, entry in there.items()})}) is not on {_names(missing)}"
            remedy = "declare it on every target, with the same image, nsid and UUID"
            found.append(_problem(nqn, list(exports), "namespace", text, remedy))
        for key in ("image", "uuid", "nguid", "ANA group", "block size", "read-only flag"):
            values = {name: entry[key] for name, entry in there.items()}
            if key == "nguid" and _differ({name: entry["uuid"] for name, entry in there.items()}):
                continue  # it follows the UUID, which is told
            if _differ(values):
                remedy = "declare the same on every target: a host refuses the path, or reads another disk"
                found.append(_problem(nqn, list(there), key, f"the {key} of namespace {nsid} differs: {_told(values)}", remedy))
        if len(there) > 1 and all(entry["uuid"] is None for entry in there.values()):
            remedy = "declare the bdev's uuid, the same on every target: SPDK makes up another one on each"
            found.append(_problem(nqn, list(there), "uuid", f"namespace {nsid} has no declared UUID on {_names(list(there))}", remedy))
    return found


def _ana_problems(nqn: str, exports: t.Mapping[str, t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    states = [listener.get("ana_state") for subsystem in exports.values() for listener in subsystem.get("listeners") or []]
    if not states:
        return [_problem(nqn, list(exports), "listeners", "no target has a listener for it", "declare listeners")]
    if all(state == "inaccessible" for state in states):
        remedy = "declare optimized or non_optimized on at least one target"
        return [_problem(nqn, list(exports), "ana_state", "the ANA state of every listener is inaccessible: hosts have no usable path", remedy)]
    return []


def _address(listener: t.Mapping[str, t.Any]) -> str | None:
    """A listener's address and port as text that compares; null for one that every host has (wildcard, loopback) or that is chosen by network."""
    text = str(listener.get("traddr") or "")
    if not text:
        return None
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
        if address.is_unspecified or address.is_loopback or address.is_link_local:
            return None
        text = str(address)
    except ValueError:
        pass
    return f"{text}:{listener.get('trsvcid') or 4420}"


def _listener_problems(declared: Declared) -> list[dict[str, t.Any]]:
    users: dict[str, dict[str, str]] = {}
    for name, state in declared.items():
        for subsystem in state["subsystems"]:
            for listener in subsystem.get("listeners") or []:
                address = _address(listener)
                if address is not None:
                    users.setdefault(address, {}).setdefault(name, subsystem["nqn"])
    found = []
    for address, by_target in users.items():
        if len(by_target) > 1:
            remedy = "give each target listeners on its own addresses"
            nqn = next(iter(by_target.values()))
            found.append(_problem(nqn, list(by_target), "listeners", f"{_names(list(by_target))} all listen on {address}", remedy))
    return found


def pair_problems(declared: Declared, auto_cntlid: bool = False) -> list[dict[str, t.Any]]:
    """What forbids to deploy ``declared`` (target -> ``subsystems``, ``bdevs``): one entry per difference, with ``nqn``, ``targets``, ``kind``,
    ``problem``, ``remedy``. With ``auto_cntlid`` undeclared controller ids are those of :func:`with_ranges`.
    """
    if auto_cntlid:
        declared = with_ranges(declared)
    found = []
    for nqn, exports in shared(declared).items():
        found += _cntlid_problems(nqn, list(declared), exports)
        found += _identity_problems(nqn, exports)
        found += _namespace_problems(nqn, exports, declared)
        found += _ana_problems(nqn, exports)
    return found + _listener_problems(declared)


def problem_lines(problems: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """The problems as sentences: targets, NQN, what differs, what to do."""
    return [f"{_names(problem['targets'])}: {problem['nqn']}: {problem['problem']}. Next step: {problem['remedy']}" for problem in problems]
