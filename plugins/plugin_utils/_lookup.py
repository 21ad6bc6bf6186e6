# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What is behind this disk, and who uses this image: the whole path of a volume, from any of its names."""

from __future__ import annotations

import difflib
import typing as t

from ._growth import handles_of
from ._plain import as_list
from ._verdict import goal_at, goal_of
from ._volumes import HOPS


class LookupFailure(Exception):
    """Nothing in the inventory has this name; the text says what comes near and who was not heard."""


def _elsewhere(measurements: t.Mapping[str, dict[str, t.Any]], handle: str) -> list[str]:
    """What is known of a disk, device or bdev that belongs to no volume (another kind of bdev, a local disk)."""
    found = []
    for host, measured in measurements.items():
        for disk in measured.get("disks") or []:
            name = f"{disk.get('domain')}:{disk.get('target')}"
            if handle in (name, f"{host}:{name}"):
                found.append(f"{host}:{name} is attached by {disk.get('source')} (namespace UUID {disk.get('namespace_uuid') or 'none'})")
        for namespace in (measured.get("host") or {}).get("namespaces") or []:
            if handle in (namespace["device"], f"{host}:{namespace['device']}"):
                found.append(f"{host}:{namespace['device']} is {namespace.get('nqn')}#{namespace.get('nsid')} (UUID {namespace.get('uuid') or 'none'})")
        for bdev in (measured.get("target") or {}).get("bdevs") or []:
            if not bdev.get("image") and handle in (bdev["name"], f"{host}:{bdev['name']}"):
                found.append(f"{host}:{bdev['name']} is a bdev of kind {bdev.get('product')} ({bdev.get('size_bytes')} bytes)")
    return found


def _names_of(volume: t.Mapping[str, t.Any]) -> set[str]:
    """The handles of a growth, and what only a question can mean: a layer, a whole domain."""
    names = handles_of(volume)
    for layer in volume.get("layers") or []:
        own = {layer["object"], layer["device"], f"/dev/mapper/{layer['object']}"}
        names |= own | {f"{layer['host']}:{name}" for name in own}
    for disk in volume.get("attached") or []:
        domain = disk["object"].rpartition(":")[0]
        names |= {domain, f"{disk['host']}:{domain}"}
    return names


def find(
    volumes: t.Sequence[dict[str, t.Any]],
    wanted: t.Any,
    silent: t.Sequence[str] = (),
    measurements: t.Mapping[str, dict[str, t.Any]] | None = None,
) -> list[tuple[str, list[dict[str, t.Any]]]]:
    """For each handle in ``wanted`` (a list, or text with commas) the volumes that have it, orphans too; several where a name is not unique.

    Handles are those of a growth (:func:`._growth.handles_of`), the layers on devices, and domains without a disk. Raises :class:`LookupFailure` for one
    that nothing has.
    """
    known = [(volume, _names_of(volume)) for volume in volumes]
    found = []
    for handle in as_list(wanted):
        matching = [volume for volume, names in known if handle in names or handle.lower() in volume["uuids"] or handle.lower() == volume["uuid"]]
        others = [] if matching else _elsewhere(measurements or {}, handle)
        if others:
            raise LookupFailure(f"behind {handle!r} is no RBD image that a target of the inventory exports: " + "; ".join(others))
        if not matching:
            near = difflib.get_close_matches(handle, sorted({name for _volume, names in known for name in names}), n=5)
            text = f"nothing behind {handle!r}: it is no image (pool/image), bdev, UUID, NQN#nsid, SERIAL#nsid, host:device, layer, domain or domain:disk"
            text += " of the inventory"
            text += f"; near: {', '.join(near)}" if near else ""
            raise LookupFailure(text + (f"; not heard: {' | '.join(silent)}" if silent else ""))
        found.append((handle, matching))
    return found


def _size(size: int | None) -> str:
    return f"{size} bytes" if size is not None else "unknown"


def _named(reading: t.Mapping[str, t.Any]) -> str:
    return f"{reading['host']}:{reading['object']}"


def _detail(hop: str, reading: t.Mapping[str, t.Any]) -> str:
    """What an operator needs beside the name of a hop."""
    if hop == "image":
        return f"read on {reading['host']}"
    if hop == "namespace":
        return f"serial number {reading['serial_number']}, uuid {reading['uuid']}" if reading.get("serial_number") else f"uuid {reading['uuid']}"
    if hop == "path":
        behind = f", to {reading['target']}" if reading.get("target") else ""
        return f"{reading.get('state')}, {reading.get('ana_state') or 'no ANA'}{behind}"
    if hop == "device":
        return reading.get("by_id") or ""
    if hop == "guest":
        return f"in the guest /dev/{reading['device']}" if reading.get("device") else ""
    return ""


def _image_once(readings: t.Sequence[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """One reading of the image for each size (or reason) that its readers gave, with all their names as ``host``."""
    same: dict[tuple[t.Any, ...], dict[str, t.Any]] = {}
    for reading in readings:
        known = same.setdefault((reading["bytes"], reading["error"]), {**reading, "host": ""})
        known["host"] += (", " if known["host"] else "") + reading["host"]
    return list(same.values())


def hops_of(volume: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The volume's whole path, one entry per hop and place: ``hop``, ``name``, ``bytes``, ``goal_bytes`` (or null), ``detail``, ``error``.

    Layers stand between device and disk; domains that are shut off stand at the end with null bytes.
    """
    goal = goal_of(volume, None)
    entries: list[dict[str, t.Any]] = []
    attached = {(disk["host"], disk["object"]): disk for disk in volume.get("attached") or []}
    for hop in HOPS:
        for reading in _image_once(volume["readings"][hop]) if hop == "image" else volume["readings"][hop]:
            name = reading["object"] if hop == "image" else reading["host"] if reading.get("silent") else _named(reading)
            wanted = None if goal is None else goal_at(reading, goal)
            detail = "" if reading.get("silent") else _detail(hop, reading)
            if hop == "disk" and (reading["host"], reading["object"]) in attached:
                detail = f"attached by {attached[reading['host'], reading['object']]['source']}"
            entries.append({"hop": hop, "name": name, "bytes": reading["bytes"], "goal_bytes": wanted, "detail": detail, "error": reading["error"]})
        if hop == "device":
            for layer in volume.get("layers") or []:
                detail = f"{layer['kind']} on {', '.join(layer['on'])}"
                wanted = goal_at(layer, goal) if goal is not None and layer.get("chain") else None
                entries.append({"hop": "layer", "name": _named(layer), "bytes": layer["bytes"], "goal_bytes": wanted, "detail": detail, "error": None})
    running = {(reading["host"], reading["object"]) for reading in volume["readings"]["disk"]}
    for disk in attached.values():
        if (disk["host"], disk["object"]) not in running:
            detail = f"{disk['state']}, attached by {disk['source']}"
            entries.append({"hop": "disk", "name": _named(disk), "bytes": None, "goal_bytes": None, "detail": detail, "error": None})
    return entries


def chain(row: t.Mapping[str, t.Any], asked: str = "") -> list[str]:
    """The path of a row of the truth table for reading, one hop a line, with bytes; ``<--`` marks what was ``asked`` for."""
    entries = hops_of(row)
    lines = [f"{asked + ' -> ' if asked else ''}{row['volume']} ({row['uuid'] or 'not exported'}): {row['verdict']}"]
    names = max([len(entry["name"]) for entry in entries], default=0)
    for entry in entries:
        lag = entry["bytes"] is not None and entry["goal_bytes"] is not None and entry["bytes"] < entry["goal_bytes"]
        off = entry["hop"] == "disk" and entry["bytes"] is None and entry["error"] is None
        parts = [f"  {entry['hop']:<9} {entry['name']:<{names}}  {'-' if off else _size(entry['bytes']):>22}"]
        parts += [text for text in (entry["detail"], "LAGS" if lag else "", f"({entry['error']})" if entry["error"] else "") if text]
        if asked and (entry["name"] == asked or entry["name"].endswith(":" + asked) or f"uuid {asked.lower()}" in entry["detail"]):
            parts.append("<--")
        lines.append("  ".join(parts).rstrip())
    return lines


def chains(found: t.Sequence[tuple[str, list[dict[str, t.Any]]]], volumes: t.Sequence[dict[str, t.Any]], rows: t.Sequence[dict[str, t.Any]]) -> list[str]:
    """The lines for what :func:`find` found; ``rows`` are the truth table of ``volumes``, in the same order."""
    lines: list[str] = []
    for handle, matching in found:
        if len(matching) > 1:
            lines.append(f"{handle} means {len(matching)} volumes; write host:device, an image or a UUID for one of them")
        for volume in matching:
            row = next(row for row, other in zip(rows, volumes) if other is volume)
            lines += chain(row, handle) + [""]
    return lines[:-1]
