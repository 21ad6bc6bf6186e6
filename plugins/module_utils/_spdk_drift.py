# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Declared, saved and live state of a target, compared object by object.

Live state is what the target says of itself, in calls (``framework_get_config``), completed by what only other calls show:
clusters, read-only flags, ANA states. What no call shows is named as not readable and never taken for equal.
"""

from __future__ import annotations

import re
import socket
import struct
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._jsonrpc import RpcError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_startup import (
    DEFAULTS,
    STARTUP_ONLY,
    Call,
    Objects,
    config_calls,
    listener_name,
    masked_param,
    ns_name,
    objects_of,
)
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target, hop_error

#: Objects that are no drift when only the target has them: defaults of its own, and what other software makes.
_ONLY_IF_DECLARED = ("setting", "call")
NOT_READABLE = "not readable"


class Live(t.NamedTuple):
    objects: Objects
    #: (kind, attribute): no call of this release shows it
    hidden: frozenset[tuple[str, str]]


def read_live(target: Target) -> Live:
    """The objects of a running target; a few calls, and one for each subsystem with ANA reporting (which pauses it for a moment)."""
    calls: list[Call] = []
    hidden = {("bdev", "cluster_name")}
    for section in ("keyring", "bdev", "nvmf"):
        if section == "keyring" and not target.table.has("keyring_get_keys"):
            continue
        try:
            calls += config_calls(section, target.read("framework_get_config", {"name": section}) or [])
        except RpcError as error:
            raise hop_error(error, target.client.path, "bdev") from error
    objects = objects_of(calls)
    for cluster in target.clusters():
        entry = {"user_id": cluster["user"], **{key: cluster[key] for key in ("config_file", "key_file", "core_mask")}}
        entry["config_param"] = masked_param(cluster["config_param"])
        objects[("cluster", cluster["name"])] = {key: value for key, value in entry.items() if value}
    if target.table.is_so("shows_read_only"):
        for bdev in target.bdevs():
            if ("bdev", bdev["name"]) in objects:
                objects[("bdev", bdev["name"])]["read_only"] = bool(bdev["read_only"])
    else:
        hidden.add(("bdev", "read_only"))
    if not target.table.has("bdev_rbd_create", "uuid"):
        hidden.add(("bdev", "uuid"))
    _read_namespaces(target, objects)
    _read_ana(target, objects, hidden)
    return Live(objects, frozenset(hidden))


def _read_namespaces(target: Target, objects: Objects) -> None:
    """Identities that old releases leave out of their configuration (19.01.1 saves a namespace without uuid and nguid)."""
    try:
        subsystems = target.read("nvmf_get_subsystems", hop="namespace")
    except RpcError as error:
        raise hop_error(error, target.client.path, "namespace") from error
    for raw in subsystems:
        for namespace in raw.get("namespaces") or []:
            entry = objects.get(("namespace", ns_name(raw["nqn"], namespace["nsid"])))
            for key in ("uuid", "nguid"):
                if entry is not None and namespace.get(key):
                    entry[key] = str(namespace[key]).lower()


def _read_ana(target: Target, objects: Objects, hidden: set[tuple[str, str]]) -> None:
    reporting = [name for (kind, name), entry in objects.items() if kind == "subsystem" and entry.get("ana_reporting")]
    if not target.table.has("nvmf_subsystem_get_listeners"):
        hidden.add(("listener", "ana_states"))
        return
    answers = target.read_many([("nvmf_subsystem_get_listeners", {"nqn": nqn}) for nqn in reporting], "path")
    for nqn, answer in zip(reporting, answers):
        if isinstance(answer, RpcError):
            raise hop_error(answer, nqn, "path") from answer
        for raw in answer:
            entry = objects.get(("listener", listener_name(nqn, raw["address"])))
            if entry is None:
                continue
            if raw.get("ana_states") is not None:
                entry["ana_states"] = {group["ana_group"]: group["ana_state"] for group in raw["ana_states"]}
            elif raw.get("ana_state"):
                entry["ana_states"] = {0: raw["ana_state"]}


def compare(declared: Objects, saved: Objects | None, live: Live | None) -> tuple[list[dict[str, t.Any]], list[dict[str, t.Any]]]:
    """Drifts (``kind``, ``object``, ``declared``, ``saved``, ``live``) and what could not be read (``kind``, ``attribute``, ``objects``).

    A side is None where the object is not there, otherwise it holds the attributes in which the sides differ; ``saved`` or ``live``
    of None was not read and is not compared.
    """
    drifts: list[dict[str, t.Any]] = []
    unread: dict[tuple[str, str], list[str]] = {}
    sides: dict[str, Objects | None] = {"saved": saved, "live": None if live is None else live.objects}
    keys = list(declared)
    for side in sides.values():
        keys += [key for key in side or {} if key not in declared and key not in keys and key[0] not in _ONLY_IF_DECLARED]
    for key in sorted(set(saved or {}) - set(keys), key=str):
        keys.append(key)  # a setting that is saved, but no longer declared
    for kind, name in keys:
        wanted = declared.get((kind, name))
        drift: dict[str, t.Any] = {"kind": kind, "object": name, "declared": None, "saved": None, "live": None}
        differs: set[str] = set()
        gone = False
        for label, side in sides.items():
            if side is None or (label == "live" and kind == "call"):
                continue
            there = side.get((kind, name))
            if (there is None) != (wanted is None):
                if label == "live" and there is None and kind in _ONLY_IF_DECLARED:
                    continue
                if wanted is None and label == "live" and kind in _ONLY_IF_DECLARED:
                    continue
                gone = True
            elif there is not None and wanted is not None:
                hidden = live.hidden if live is not None and label == "live" else frozenset()
                differs |= _differences(kind, wanted, there, label, hidden)
        if live is not None and wanted is not None and live.objects.get((kind, name)) is not None:
            for attribute in wanted:
                if (kind, attribute) in live.hidden and _shown(kind, wanted, attribute) is not None:
                    unread.setdefault((kind, attribute), []).append(name)
        if not differs and not gone:
            continue
        for label, side in (("declared", declared), *sides.items()):
            entry = (side or {}).get((kind, name))
            if entry is not None:
                hidden = live.hidden if live is not None and label == "live" else frozenset()
                drift[label] = {
                    attribute: NOT_READABLE if (kind, attribute) in hidden else _shown(kind, entry, attribute) for attribute in sorted(differs or entry)
                }
        drifts.append(drift)
    return drifts, [{"kind": kind, "attribute": attribute, "objects": names} for (kind, attribute), names in sorted(unread.items())]


#: By these hosts tell namespaces apart, and what is in them; parameters of the calls that make the object.
IDENTITY: dict[str, tuple[str, ...]] = {
    "namespace": ("bdev_name", "uuid", "nguid", "eui64"),
    "bdev": ("pool_name", "namespace_name", "rbd_name"),
    "controller": ("traddr",),
    "subsystem": (),
}


def taken_at_the_next_start(declared: Objects, saved: Objects | None, live: Objects) -> dict[str, str]:
    """What the target has now, would still have after a start from the saved file, and not after one from the declared document: text by NQN.

    ``saved`` of None could not be read, so it may have everything. Bdevs count where they are a namespace.
    """
    exported = {entry["bdev_name"]: name.partition(" ")[0] for (kind, name), entry in live.items() if kind == "namespace" and entry.get("bdev_name")}
    taken: dict[str, str] = {}
    for (kind, name), there in live.items():
        kept = there if saved is None else saved.get((kind, name))
        if kind not in IDENTITY or kept is None:
            continue
        wanted = declared.get((kind, name))
        if wanted is None:
            what = f"the {kind} {name}"
        else:
            differs = [key for key in IDENTITY[kind] if wanted.get(key) and wanted[key] != there.get(key) and kept.get(key) in (None, there.get(key))]
            if not differs:
                continue
            what = f"{' and '.join(differs)} of the {kind} {name}"
        if kind == "bdev":
            nqns = [exported[name]] if name in exported else []
        elif kind == "controller":
            nqns = [nqn for bdev, nqn in exported.items() if re.match(re.escape(name) + r"n[0-9]+(p[0-9]+)?$", bdev)]
        else:
            nqns = [name.partition(" ")[0]]
        for nqn in nqns:
            taken.setdefault(nqn, what)
    return taken


def _shown(kind: str, entry: t.Mapping[str, t.Any], attribute: str) -> t.Any:
    value = entry.get(attribute)
    return DEFAULTS.get(kind, {}).get(attribute) if value is None else value


def _differences(kind: str, wanted: t.Mapping[str, t.Any], there: t.Mapping[str, t.Any], label: str, hidden: frozenset[tuple[str, str]]) -> set[str]:
    """The attributes that differ: the wanted ones and those with a known default; of a file, all."""
    names = set(wanted) | set(DEFAULTS.get(kind, {}))
    if label == "saved":
        names |= set(there)
    found = set()
    for name in names:
        if (kind, name) in hidden:
            continue
        left, right = _shown(kind, wanted, name), _shown(kind, there, name)
        if name == "ana_states":
            if not _same_states(left or {}, right or {}):
                found.add(name)
        elif label == "live" and isinstance(left, dict) and isinstance(right, dict):
            if any(right.get(key) != value for key, value in left.items()):  # the target shows its defaults, too
                found.add(name)
        elif left != right:
            found.add(name)
    return found


def _same_states(left: t.Mapping[int, str], right: t.Mapping[int, str]) -> bool:
    groups = (set(left) | set(right)) - {0}

    def state(states: t.Mapping[int, str], group: int) -> str:
        return states.get(group, states.get(0, "optimized"))

    return all(state(left, group) == state(right, group) for group in groups or {1})


# -- the process -------------------------------------------------------------------------------------------------------


def listener_pid(path: str) -> int | None:
    """The process that listens on a unix socket (SO_PEERCRED: who called listen), or None."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(5)
            connection.connect(path)
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return None
    return struct.unpack("3i", raw)[0] or None


def command_line(pid: int) -> list[str] | None:
    """The arguments of a process, the program first; None when it cannot be read."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return [part.decode("utf-8", "replace") for part in file.read().split(b"\0")[:-1]]
    except OSError:
        return None


def command_drift(wanted: t.Sequence[str], path: str) -> dict[str, t.Any] | None:
    """A drift when the running target was started with other arguments; an interpreter before the program, or another path to it, does not count."""
    pid = listener_pid(path)
    running = None if pid is None else command_line(pid)
    if running is None:
        return None
    options = list(wanted[1:])
    if not options or running[-len(options) :] == options and len(running) > len(options):
        return None
    return {"kind": "command line", "object": path, "declared": options, "saved": None, "live": running[1:]}


def restart_reasons(drifts: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """What only takes effect when the target starts again, in words."""
    reasons = []
    for drift in drifts:
        if drift["kind"] == "command line":
            reasons.append("the target runs with other arguments than the unit's: " + " ".join(drift["live"]))
        elif drift["live"] is None or drift["declared"] is None or drift["declared"] == drift["live"]:
            continue
        elif drift["kind"] == "setting" and drift["object"] in STARTUP_ONLY:
            reasons.append(f"{drift['object']} differs in {', '.join(drift['declared'])}")
        elif drift["kind"] in ("cluster", "transport"):
            reasons.append(f"{drift['kind']} {drift['object']} differs in {', '.join(drift['declared'])}")
        elif drift["kind"] == "bdev" and {"user_id", "config"} & set(drift["declared"]):
            # releases without clusters; the file has what is declared, and the target opens the image so at its next start
            reasons.append(f"bdev {drift['object']} is opened with another user or configuration of Ceph")
    return reasons
