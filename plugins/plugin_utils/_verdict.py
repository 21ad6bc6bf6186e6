# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Verdicts over the hops of a volume, and the truth table."""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human

from ._growth_layers import expected, lagging_layers
from ._volumes import HOPS


def hop_bytes(volume: t.Mapping[str, t.Any], hop: str) -> int | None:
    """The capacity of a hop in bytes: the smallest of its readings; null when it has none or one is unknown."""
    sizes = [reading["bytes"] for reading in volume["readings"][hop]]
    if not sizes or any(size is None for size in sizes):
        return None
    return min(sizes)


def goal_of(volume: t.Mapping[str, t.Any], wanted: int | None) -> int | None:
    """The bytes every hop should have: ``wanted``, or the image's size where that is larger (or nothing is wanted).

    Without any reading of the image the largest bdev counts: what a target serves is the least that must arrive.
    """
    known = [reading["bytes"] for reading in volume["readings"]["image"] if reading["bytes"] is not None]
    if not known:
        known = [reading["bytes"] for reading in volume["readings"]["bdev"] if reading["bytes"] is not None]
    return max([size for size in [wanted, *known] if size is not None], default=None)


def critical_of(volume: t.Mapping[str, t.Any]) -> list[dict[str, str]]:
    """What must stop everything: data is lost or I/O fails already, or would with the next step."""
    found = [problem for problem in volume["problems"] if problem["severity"] == "critical"]
    image = hop_bytes(volume, "image")
    for reading in volume["readings"]["bdev"]:
        if image is not None and reading["bytes"] is not None and image < reading["bytes"]:
            found.append(
                {
                    "code": "image_smaller",
                    "hop": "image",
                    "object": volume["volume"],
                    "problem": f"image smaller than bdev: {image} bytes in Ceph, {reading['bytes']} bytes on {reading['host']}",
                    "remedy": "the image was shrunk under its users; stop them, check their data, then restore the image's size",
                    "severity": "critical",
                }
            )
    for reading in volume["readings"]["disk"]:
        if reading["bytes"] is not None and reading.get("physical_bytes") is not None and reading["bytes"] > reading["physical_bytes"]:
            found.append(
                {
                    "code": "shrunk",
                    "hop": "disk",
                    "object": f"{reading['host']}:{reading['object']}",
                    "problem": f"QEMU's disk has {reading['bytes']} bytes, its device only {reading['physical_bytes']}",
                    "remedy": "the device shrank under the domain; do not resize the disk, find out which hop lost the size",
                    "severity": "critical",
                }
            )
    unique: list[dict[str, str]] = []
    for problem in found:
        if not any(problem["hop"] == seen["hop"] and problem["object"] == seen["object"] and problem["problem"] == seen["problem"] for seen in unique):
            unique.append(problem)
    return unique


def lagging(volume: t.Mapping[str, t.Any], goal: int | None) -> list[tuple[str, dict[str, t.Any]]]:
    """The readings below ``goal`` bytes, in the order of the hops; behind ``device``, with the hop ``layer``, the layers on it."""
    if goal is None:
        return []
    found = []
    for hop in HOPS:
        found += [(hop, reading) for reading in volume["readings"][hop] if reading["bytes"] is not None and reading["bytes"] < goal_at(reading, goal)]
        found += lagging_layers(volume, goal) if hop == "device" else []
    return found


def goal_at(reading: t.Mapping[str, t.Any], goal: int) -> int:
    """The bytes that one reading should have: ``goal``, or behind a layer (LUKS, LVM, a partition) the bytes of what that layer gives.

    A layer is smaller than its device by what it keeps for itself (where that is known, the rest is what counts), or as small as somebody made it, so the
    image's size says nothing there.
    """
    if reading.get("chain"):
        return expected(reading["chain"], goal)
    below = reading.get("physical_bytes")
    return min(goal, below) if reading.get("layers") and below is not None else goal


def unproven(volume: t.Mapping[str, t.Any]) -> list[tuple[str, dict[str, t.Any]]]:
    """The readings that nobody could take, in the order of the hops."""
    return [(hop, reading) for hop in HOPS for reading in volume["readings"][hop] if reading["bytes"] is None]


def judge(volume: t.Mapping[str, t.Any], wanted: int | None = None) -> dict[str, t.Any]:
    """``verdict`` (a sentence's start: ok, critical: ..., lagging at HOP, unproven at HOP, orphan) and ``reasons`` (list of text)."""
    if volume.get("orphan"):
        return {"verdict": "orphan", "reasons": ["a host shows this namespace, no target of the inventory exports it"]}
    goal = goal_of(volume, wanted)
    critical = critical_of(volume)
    behind = lagging(volume, goal)
    gaps = unproven(volume)
    reasons = [f"{problem['hop']} {problem['object']}: {problem['problem']}. Next step: {problem['remedy']}" for problem in critical]
    reasons += [
        f"{hop} {reading['host']}:{reading['object']} has {human(reading['bytes'])}, wanted {human(goal_at(reading, goal or 0))}" for hop, reading in behind
    ]
    reasons += [f"{hop} {reading['host']}:{reading['object']} is unproven: {reading['error'] or 'not read'}" for hop, reading in gaps]
    if critical:
        verdict = "critical: " + critical[0]["problem"]
    elif behind:
        verdict = f"lagging at {behind[0][0]}"
    elif gaps:
        verdict = f"unproven at {gaps[0][0]}"
    elif goal is None:
        verdict = "unproven at image"
    else:
        verdict = "ok"
    return {"verdict": verdict, "reasons": reasons}


def row_of(volume: t.Mapping[str, t.Any], wanted: int | None = None, verdict: str | None = None) -> dict[str, t.Any]:
    """One row of the truth table: bytes per hop (the smallest reading, null when unknown or when the volume has no such hop)."""
    judged = judge(volume, wanted)
    return {
        "volume": volume["volume"],
        "uuid": volume["uuid"],
        "pool": volume["pool"],
        "rados_namespace": volume["rados_namespace"],
        "image": volume["image"],
        "wanted_bytes": wanted,
        "goal_bytes": goal_of(volume, wanted),
        "bytes": {hop: hop_bytes(volume, hop) for hop in HOPS},
        "verdict": verdict or judged["verdict"],
        "reasons": judged["reasons"],
        "orphan": bool(volume.get("orphan")),
        "readings": volume["readings"],
        "layers": volume.get("layers") or [],
        "attached": volume.get("attached") or [],
        "problems": volume["problems"],
    }


def _cell(volume: t.Mapping[str, t.Any], hop: str) -> str:
    readings = volume["readings"][hop]
    if not readings:
        return "-"
    known = [reading["bytes"] for reading in readings if reading["bytes"] is not None]
    if not known:
        return "?"
    text = str(min(known))
    if len(readings) > 1 or len(known) < len(readings):
        text += f" ({len([size for size in known if size == min(known)])}/{len(readings)})"
    return text


def layer_bytes(volume: t.Mapping[str, t.Any]) -> int | None:
    """The smallest layer (bytes) between device and disk; null when there is none or its size is unknown."""
    sizes = [layer["bytes"] for layer in volume.get("layers") or []]
    return None if not sizes or any(size is None for size in sizes) else min(sizes)


def _layer_cell(volume: t.Mapping[str, t.Any]) -> str:
    if not volume.get("layers"):
        return "-"
    size = layer_bytes(volume)
    return "?" if size is None else str(size)


def table_lines(volumes: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """The truth table as lines of text: bytes per hop; ``(2/2)`` counts how many readings of a hop show that figure.

    Where any volume has layers on its device, a column ``layer`` shows the smallest of them.
    """
    columns: list[tuple[str, t.Callable[[t.Mapping[str, t.Any]], str]]] = [(hop, lambda volume, hop=hop: _cell(volume, hop)) for hop in HOPS]
    if any(volume.get("layers") for volume in volumes):
        columns.insert(HOPS.index("device") + 1, ("layer", _layer_cell))
    head = ["volume", *(name for name, _cell_of in columns), "verdict"]
    rows = [[volume["volume"], *(cell_of(volume) for _name, cell_of in columns), volume["verdict"]] for volume in volumes]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [text.ljust(width) if column in (0, len(head) - 1) else text.rjust(width) for column, (text, width) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return lines
