# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The drawing of a volume's path: a column per hop, a box per reading, lines from what serves to what is served.

Everything goes through :func:`el`, which escapes every text and attribute that is not markup already. Colours are classes of
the page's style sheet.
"""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human
from markupsafe import Markup, escape

from ._verdict import goal_at, goal_of
from ._volumes import HOPS

VOID = ("meta", "input", "rect", "path")
WIDTH, HEIGHT, GAP_X, GAP_Y, TOP = 154, 62, 26, 12, 22  # frame and bar have the same numbers in the style sheet
RIGHT, BAR = WIDTH - 8, WIDTH - 16
#: A column shows at most so many boxes: those that lag or are unproven first, then those of hosts that use the volume.
MOST_BOXES = 10


def el(name: str, attributes: t.Mapping[str, t.Any] | None = None, *children: t.Any) -> Markup:
    """An element of HTML or SVG. Text and attribute values are escaped; ``None`` and ``False`` leave an attribute or a child out."""
    head = name
    for key, value in (attributes or {}).items():
        if value is True:
            head += " " + key
        elif value is not None and value is not False:
            head += f' {key}="{escape(str(value))}"'
    if name in VOID:
        return Markup(f"<{head}/>")
    inner = "".join([escape(child) for child in children if child is not None and child is not False])
    return Markup(f"<{head}>{inner}</{name}>")


def shorten(text: str, most: int = 20) -> str:
    """A name that fits a box: its middle goes, because its end tells it from others."""
    if len(text) <= most:
        return text
    head = most // 3
    return text[:head] + "…" + text[-(most - head - 1) :]


def state_of(hop: str, reading: t.Mapping[str, t.Any], row: t.Mapping[str, t.Any]) -> str:
    """What a reading of ``row`` is shown as: ``critical`` (larger than what is behind it, or dead), ``lagging``, ``unproven`` or ``ok``."""
    size, goal = reading["bytes"], goal_of(row, None)
    if reading.get("held") is False:
        return "critical"
    if size is None:
        return "unproven"
    if hop == "image":
        return "critical" if any((bdev["bytes"] or 0) > size for bdev in row["readings"]["bdev"]) else "ok"
    wanted = None if goal is None else goal_at(reading, goal)
    below = reading.get("physical_bytes")
    if wanted is not None and (size > wanted or (below is not None and size > below)):
        return "critical"
    return "lagging" if wanted is not None and size < wanted else "ok"


def layer_state(layer: t.Mapping[str, t.Any], goal: int | None) -> str:
    """What a layer is shown as: ``unproven``, ``lagging`` where it is known what it should have, else ``layer``."""
    if layer["bytes"] is None:
        return "unproven"
    return "lagging" if goal is not None and layer.get("chain") and layer["bytes"] < goal_at(layer, goal) else "layer"


def _columns(row: t.Mapping[str, t.Any]) -> list[tuple[str, list[dict[str, t.Any]]]]:
    """The hops that the volume has, each with its boxes (``reading``, ``state``)."""
    goal = goal_of(row, None)
    found = []
    for hop in HOPS:
        readings = row["readings"][hop]
        if hop == "image":  # one image, however many hosts have read it
            readings = list({reading["bytes"]: reading for reading in readings}.values())
        if readings:
            found.append((hop, [{"reading": reading, "state": state_of(hop, reading, row), "goal": goal} for reading in readings]))
        if hop == "device" and row.get("layers"):
            boxes = [{"reading": layer, "state": layer_state(layer, goal), "goal": goal} for layer in row["layers"]]
            found.append(("layer", boxes))
    return found


def _shown(boxes: list[dict[str, t.Any]], users: t.Container[str]) -> tuple[list[dict[str, t.Any]], int]:
    """The boxes that fit a column, and how many do not."""
    if len(boxes) <= MOST_BOXES:
        return boxes, 0
    chosen = sorted(range(len(boxes)), key=lambda number: (boxes[number]["state"] in ("ok", "layer"), boxes[number]["reading"]["host"] not in users, number))[
        : MOST_BOXES - 1
    ]
    return [boxes[number] for number in sorted(chosen)], len(boxes) - len(chosen)


def _serves(hop: str, one: t.Mapping[str, t.Any], other_hop: str, other: t.Mapping[str, t.Any]) -> bool:
    """Whether the reading ``one`` is directly behind ``other``."""
    same_host = one["host"] == other["host"]
    if hop == "image":
        return True
    if hop == "bdev":
        return same_host and other.get("bdev", one["object"]) == one["object"]
    if hop == "namespace":
        if other_hop == "path":
            return one.get("nqn") == other.get("nqn") and other.get("target") in (None, one["host"])
        return True
    if (hop, other_hop) == ("disk", "guest"):
        return same_host and one["object"] == other["object"]
    return same_host


def _lines(left: tuple[str, list[dict[str, t.Any]]], right: tuple[str, list[dict[str, t.Any]]]) -> t.Iterator[Markup]:
    for one in left[1]:
        for other in right[1]:
            if _serves(left[0], one["reading"], right[0], other["reading"]):
                x1, y1, x2, y2 = one["x"] + WIDTH, one["y"] + HEIGHT // 2, other["x"], other["y"] + HEIGHT // 2
                middle = (x1 + x2) // 2
                yield el("path", {"class": f"line {other['state']}", "d": f"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"})


def _box(hop: str, box: t.Mapping[str, t.Any]) -> Markup:
    """A box; what all boxes have alike (frame, bar) has its place and size from the style sheet, since a page has thousands."""
    reading, size, goal = box["reading"], box["reading"]["bytes"], box["goal"]
    host = "" if hop == "image" else reading["host"]
    note = {"lagging": "lags", "critical": "critical", "unproven": "unproven"}.get(box["state"], "")
    exact = "unknown" if size is None else f"{size} B"
    full = f"{hop} {host}{':' if host else ''}{reading['object']}: {exact}" + (f" ({reading['error']})" if reading.get("error") else "")
    share = min(1.0, size / max(goal, 1)) if size is not None and goal else 0.0
    return el(
        "g",
        {"class": f"box {box['state']}", "transform": f"translate({box['x']} {box['y']})"},
        el("title", None, full),
        el("rect", {"class": "frame"}),
        el("text", {"class": "name", "x": 8, "y": 16}, shorten(str(reading["object"]))),
        el("text", {"class": "host", "x": 8, "y": 30}, shorten(host)) if host else None,
        el("text", {"class": "note", "x": RIGHT, "y": 30}, note) if note else None,
        el("text", {"class": "size", "x": 8, "y": 47}, human(size)),
        el("text", {"class": "exact", "x": RIGHT, "y": 47}, str(size)) if size is not None else None,
        el("rect", {"class": "all"}),
        el("rect", {"class": "part", "width": round(BAR * share, 1)}) if share else None,
    )


def drawing(row: t.Mapping[str, t.Any]) -> Markup:
    """The path of a row of the truth table as one ``<svg>``."""
    columns, more = [], {}
    users = {disk["host"] for disk in row.get("attached") or []}
    for hop, boxes in _columns(row):
        shown, rest = _shown(boxes, users)
        columns.append((hop, shown))
        more[hop] = rest
    tallest = max([len(boxes) + bool(more[hop]) for hop, boxes in columns], default=1)
    body = TOP + tallest * (HEIGHT + GAP_Y)
    heads, notes = [], []
    for place, (hop, boxes) in enumerate(columns):
        x = place * (WIDTH + GAP_X) + 1
        heads.append(el("text", {"class": "hop", "x": x, "y": 12}, hop))
        y = TOP + (tallest - len(boxes) - bool(more[hop])) * (HEIGHT + GAP_Y) // 2
        for number, box in enumerate(boxes):
            box.update(x=x, y=y + number * (HEIGHT + GAP_Y))
        if more[hop]:
            below = y + len(boxes) * (HEIGHT + GAP_Y) + HEIGHT // 2
            notes.append(el("text", {"class": "more", "x": x + 8, "y": below}, f"and {more[hop]} more, listed below"))
    lines = [line for left, right in zip(columns, columns[1:]) for line in _lines(left, right)]
    drawn = [_box(hop, box) for hop, boxes in columns for box in boxes]
    width = len(columns) * (WIDTH + GAP_X) - GAP_X + 2
    label = f"Path of {row['volume']}: {row['verdict']}"
    return el(
        "svg",
        {"viewBox": f"0 0 {max(width, 1)} {body}", "width": max(width, 1), "height": body, "role": "img", "aria-label": label},
        *heads,
        *lines,
        *drawn,
        *notes,
    )
