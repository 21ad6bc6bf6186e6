# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""An audit as one result: rows, findings, the answer to what was asked, and a summary small enough for a workflow."""

from __future__ import annotations

import typing as t

from ._findings import SEVERITIES, findings
from ._growth import audit
from ._lookup import chains, find
from ._select import select
from ._verdict import table_lines
from ._volumes import build, silent_hosts

#: How many critical texts and silent hosts a summary names; the rest is counted.
SUMMARY_CAP = 20


def verdict_class(verdict: str) -> str:
    """The verdict without its reason: ``critical``, ``blocked``, ``lagging at disk``, ``ok``."""
    return verdict.partition(":")[0]


def summary(rows: t.Sequence[t.Mapping[str, t.Any]], found: t.Sequence[t.Mapping[str, t.Any]], silent: t.Sequence[str]) -> dict[str, t.Any]:
    """Counts, and the first critical texts: what ``set_stats`` hands to a workflow."""
    verdicts: dict[str, int] = {}
    for row in rows:
        verdicts[verdict_class(row["verdict"])] = verdicts.get(verdict_class(row["verdict"]), 0) + 1
    worst = [item for item in found if item["severity"] == "critical"]
    told = {item["volume"] for item in worst}
    critical = [f"{item['kind']} {item['host']} {item['object']}: {item['text']}" for item in worst]
    critical += [f"{row['volume']}: {row['verdict']}" for row in rows if row["verdict"].startswith("critical") and row["volume"] not in told]
    return {
        "volumes": len(rows),
        "verdicts": dict(sorted(verdicts.items())),
        "findings": {severity: len([item for item in found if item["severity"] == severity]) for severity in SEVERITIES},
        "critical": [text[:300] for text in critical[:SUMMARY_CAP]],
        "critical_not_listed": max(0, len(critical) - SUMMARY_CAP),
        "not_heard": [text[:300] for text in silent[:SUMMARY_CAP]],
        "not_heard_not_listed": max(0, len(silent) - SUMMARY_CAP),
    }


def finding_lines(found: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """Findings for reading: two lines each."""
    lines = []
    for item in found:
        lines.append(f"{item['severity'].upper():<8} {item['kind']}: {item['host']} {item['object']}: {item['text']}")
        lines.append(f"         Next step: {item['remedy']}")
    return lines


def report(
    measurements: t.Mapping[str, dict[str, t.Any]],
    declared: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
    expression: str = "",
    wanted: t.Any = "",
) -> dict[str, t.Any]:
    """The audit of what was measured.

    ``expression`` (JMESPath) and ``wanted`` (handles) narrow the ``volumes`` and with them the ``findings``, which without them are all there are.
    Returns ``volumes`` (rows of the truth table), ``findings``, ``paths`` (lines: the way from each handle), ``lines`` (everything for reading),
    ``summary`` and ``not_heard``. Raises ``SelectError`` and ``LookupFailure``.
    """
    volumes = build(measurements, declared)
    rows = audit(volumes)
    silent = silent_hosts(measurements)
    found = findings(measurements, volumes)
    paths: list[str] = []
    chosen = rows
    if expression:
        chosen = select(chosen, expression)
    if wanted:
        matches = find(volumes, wanted, silent, measurements)
        paths = chains(matches, volumes, rows)
        named = {id(volume) for _handle, matching in matches for volume in matching}
        of_row = {id(row): id(volume) for row, volume in zip(rows, volumes)}
        chosen = [row for row in chosen if of_row[id(row)] in named]
    narrowed = bool(expression or wanted)
    if narrowed:
        names = {row["volume"] for row in chosen}
        found = [item for item in found if item["volume"] in names]
    nothing = "no volume matches the selection" if narrowed else "no target of the inventory exports an RBD image"
    lines = table_lines(chosen) if chosen else [nothing]
    lines += ["", *paths] if paths else []
    lines += ["", *finding_lines(found)] if found else []
    if not narrowed:
        lines += ["", "no findings"] if not found else []
    return {
        "volumes": chosen,
        "findings": found,
        "paths": paths,
        "lines": lines,
        "summary": summary(chosen, found, silent),
        "not_heard": silent,
    }
