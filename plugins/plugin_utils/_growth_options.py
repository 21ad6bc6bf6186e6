# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Answers that only matter after the first change: what is wrong with them must be told before it."""

from __future__ import annotations

import re
import typing as t

import yaml

GUEST_AGENT = ("never", "auto", "require")


def _batch(batch: t.Any) -> str | None:
    try:
        given = yaml.safe_load(batch) if isinstance(batch, str) else batch
    except yaml.YAMLError:
        given = object()
    steps = given if isinstance(given, list) else [given]
    if given in (None, [], 0) or all(not isinstance(step, bool) and re.fullmatch(r"\d+%?", str(step).strip()) for step in steps):
        return None
    return f"batch is {batch!r}; it is a number of hosts (5), a share of them (10%), or a list of these ([1, 10, 50%])"


def _percent(value: t.Any) -> str | None:
    try:
        if 0 <= float(value if value not in (None, "") else 0) <= 100:
            return None
    except (TypeError, ValueError):
        pass
    return f"max_failed_percent is {value!r}; it is a number from 0 to 100"


def wrong(batch: t.Any = "", max_failed_percent: t.Any = 0, guest_agent: t.Any = "auto") -> list[str]:
    """What is wrong with the answers, all of it."""
    found = [_batch(batch), _percent(max_failed_percent)]
    if guest_agent not in GUEST_AGENT:
        found.append(f"guest_agent is {guest_agent!r}; it is one of {', '.join(GUEST_AGENT)}")
    return [text for text in found if text]
