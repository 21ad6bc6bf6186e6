# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What is missing from a volume: hosts that should show it and do not, and hosts that did not answer and may have it."""

from __future__ import annotations

import typing as t


def connected(measurements: t.Mapping[str, dict]) -> dict[str, dict[str, list[str]]]:
    """By subsystem and host the controllers that are connected to it."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, measured in measurements.items():
        for one in (measured.get("host") or {}).get("controllers") or []:
            if one.get("nqn"):
                found.setdefault(one["nqn"], {}).setdefault(name, []).append(one["name"])
    return found


def _may_see(host: t.Mapping[str, t.Any], readings: t.Sequence[t.Mapping[str, t.Any]]) -> bool:
    """Whether any of the namespaces is shown to this host: each to all hosts of its subsystem (``visible_to`` null), or to those it names."""
    return any(reading.get("visible_to") is None or host.get("hostnqn") in reading["visible_to"] for reading in readings)


def note_missing_devices(volume: dict, by_nqn: t.Mapping[str, t.Mapping[str, t.Sequence[str]]], measurements: t.Mapping[str, dict]) -> None:
    """A host that is connected to the subsystem and shows no device for the namespace: every path looks live, and the volume is not there.

    A host that the target does not show the namespace to lacks nothing.
    """
    shown = {reading["host"] for reading in volume["readings"]["device"]}
    missing: dict[str, list[str]] = {}
    for nqn in sorted({reading["nqn"] for reading in volume["readings"]["namespace"]}):
        here = [reading for reading in volume["readings"]["namespace"] if reading["nqn"] == nqn]
        for name, controllers in by_nqn.get(nqn, {}).items():
            if name not in shown and _may_see(measurements[name]["host"], here):
                missing.setdefault(name, []).extend(controllers)
    for name, controllers in missing.items():
        error = f"connected to the subsystem by {', '.join(controllers)}, but no device has the UUID {' or '.join(volume['uuids'])}"
        volume["readings"]["device"].append({"host": name, "object": name, "bytes": None, "holders": [], "error": error, "silent": True})


def note_silent_hosts(volume: dict, measurements: t.Mapping[str, dict], declared: t.Mapping[str, t.Mapping[str, t.Any]]) -> None:
    nqns = {reading["nqn"] for reading in volume["readings"]["namespace"]}
    shown = {reading["host"] for reading in volume["readings"]["device"]}
    for name, measured in measurements.items():
        said = declared.get(name) or {}
        errors = measured["errors"]
        if "target" in errors and (said.get("images") is None or volume["volume"] in said["images"]):
            volume["readings"]["bdev"].append(
                {"host": name, "object": name, "bytes": None, "uuid": None, "watched": None, "error": errors["target"], "silent": True}
            )
        if "images" in errors and all(reading["bytes"] is None for reading in volume["readings"]["image"]):
            volume["readings"]["image"].append({"host": name, "object": volume["volume"], "bytes": None, "error": errors["images"]})
        if not nqns:
            continue
        if said.get("nqns") is not None and not nqns & set(said["nqns"]):
            continue
        if "host" in errors:
            volume["readings"]["device"].append({"host": name, "object": name, "bytes": None, "holders": [], "error": errors["host"], "silent": True})
        if "disks" in errors and ("host" in errors or name in shown):
            volume["readings"]["disk"].append({"host": name, "object": name, "bytes": None, "held": None, "error": errors["disks"], "silent": True})
