# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The batches into which ``serial`` cuts the hosts of a play."""

from __future__ import annotations

import typing as t


def sizes_of(count: int, serial: t.Any) -> list[int]:
    """How many of ``count`` hosts each batch has. ``serial``: a number, a percentage, a list of them (its last counts for the rest); none for one batch."""
    steps = list(serial) if isinstance(serial, (list, tuple)) else [serial]
    found: list[int] = []
    left = count
    while left > 0:
        step = str(steps[min(len(found), len(steps) - 1)] or 0).strip() if steps else "0"
        size = (int(int(step[:-1]) * count / 100) or 1) if step.endswith("%") else int(step)
        found.append(min(left, size) if size > 0 else left)
        left -= found[-1]
    return found


def place(batch: t.Sequence[str], hosts: t.Sequence[str], serial: t.Any) -> str:
    """``2 of 5``: which batch begins where ``batch`` does."""
    sizes = sizes_of(len(hosts), serial)
    where = hosts.index(batch[0]) if batch and batch[0] in hosts else 0
    number = next((count for count in range(1, len(sizes) + 1) if where < sum(sizes[:count])), len(sizes))
    return f"{number} of {len(sizes)}"
