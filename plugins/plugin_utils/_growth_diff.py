# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""A plan as Ansible shows differences: for every volume the bytes of each hop, before and after."""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human

from ._verdict import goal_at
from ._volumes import HOPS


def diffs_of(planned: t.Mapping[str, t.Any]) -> list[dict[str, str]]:
    """One difference for each volume of a plan that is to grow; a blocked one stays as it is and has none."""
    return [
        {
            "before_header": f"{row['volume']} (now)",
            "after_header": f"{row['volume']} (wanted {human(row['wanted_bytes'])})",
            "before": _text(row, None),
            "after": _text(row, row["goal_bytes"]),
        }
        for row in planned["volumes"]
        if row["steps"] and not row["blockers"]
    ]


def _text(row: t.Mapping[str, t.Any], goal: int | None) -> str:
    lines = []
    for hop in HOPS:
        lines += [_line(hop, reading, goal) for reading in row["readings"][hop]]
        if hop == "device":
            # one whose place on the device is not known keeps its size
            lines += [_line("layer", layer, goal if layer.get("chain") else None) for layer in row["layers"]]
    return "".join(lines)


def _line(hop: str, reading: t.Mapping[str, t.Any], goal: int | None) -> str:
    size = reading["bytes"]
    if size is not None and goal is not None:
        size = max(size, goal_at(reading, goal))
    return f"{hop:<9} {reading['host']}:{reading['object']}: {'unknown' if size is None else f'{size} bytes ({human(size)})'}\n"
