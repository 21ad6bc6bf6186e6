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


def is_lost(disk: t.Mapping[str, t.Any]) -> bool:
    """Whether a running domain's disk has the name of an NVMe device that is gone, and so of a namespace that nobody can tell."""
    gone = disk.get("device") is None and not disk.get("namespace_uuid") and disk.get("domain_state") in ("running", "paused")
    return gone and (disk.get("source") or "").startswith(("/dev/nvme", "/dev/disk/by-id/nvme"))


def note_lost_disks(volume: dict, measurements: t.Mapping[str, dict]) -> None:
    """Running domains whose disk has the name of a device that is gone: nobody knows whose it was, so it may be any volume that no domain has."""
    for name in dict.fromkeys(reading["host"] for reading in volume["readings"]["device"] if not volume["attached"]):
        for disk in measurements[name].get("disks") or []:
            if is_lost(disk):
                obj = f"{name}:{disk.get('domain')}:{disk.get('target')}"
                text = f"the domain's disk is {disk['source']}, which is gone now; if it was this volume, its guest reads zeros or errors and sees no growth"
                remedy = "shut the domain down, attach the disk by /dev/disk/by-id/nvme-uuid.UUID, and start it"
                found = {"code": "lost_disk", "hop": "disk", "object": obj, "problem": text, "remedy": remedy, "severity": "warning"}
                volume["problems"].append(found)


def _had(volume: dict, measured: t.Mapping[str, t.Any], kind: str) -> bool | None:
    """Whether a host that is silent now had the volume when it was measured earlier in the run; None if it never was."""
    earlier = (measured.get("before") or {}).get(kind)
    if earlier is None:
        return None
    if kind == "target":
        image = (volume["pool"], volume["rados_namespace"] or "", volume["image"])
        return any((bdev.get("pool"), bdev.get("rados_namespace") or "", bdev.get("image")) == image for bdev in earlier.get("bdevs") or [])
    uuids = [one.get("uuid") for one in earlier.get("namespaces") or []] if kind == "host" else [one.get("namespace_uuid") for one in earlier]
    return any((uuid or "").lower() in volume["uuids"] for uuid in uuids)


def note_silent_hosts(volume: dict, measurements: t.Mapping[str, dict], declared: t.Mapping[str, t.Mapping[str, t.Any]]) -> None:
    """Gaps for what a host did not answer: where it had the volume, or, if it was never heard, where the inventory allows that it has."""
    nqns = {reading["nqn"] for reading in volume["readings"]["namespace"]}
    shown = {reading["host"] for reading in volume["readings"]["device"]}
    for name, measured in measurements.items():
        said = declared.get(name) or {}
        errors = measured["errors"]
        exports = _had(volume, measured, "target") if "target" in errors else None
        if "target" in errors and (exports if exports is not None else said.get("images") is None or volume["volume"] in said["images"]):
            volume["readings"]["bdev"].append(
                {"host": name, "object": name, "bytes": None, "uuid": None, "watched": None, "error": errors["target"], "silent": True}
            )
        if "images" in errors and all(reading["bytes"] is None for reading in volume["readings"]["image"]):
            volume["readings"]["image"].append({"host": name, "object": volume["volume"], "bytes": None, "error": errors["images"]})
        if not nqns or (said.get("nqns") is not None and not nqns & set(said["nqns"])):
            continue
        had = _had(volume, measured, "host") if "host" in errors else None
        if "host" in errors and had is not False:
            volume["readings"]["device"].append({"host": name, "object": name, "bytes": None, "holders": [], "error": errors["host"], "silent": True})
        attached = _had(volume, measured, "disks") if "disks" in errors else None
        if "disks" in errors and attached is not False and (had is not False if "host" in errors else name in shown):
            volume["readings"]["disk"].append({"host": name, "object": name, "bytes": None, "held": None, "error": errors["disks"], "silent": True})
