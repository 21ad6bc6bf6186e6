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
from ._volumes import HOPS, LEFT_OUT, build, silent_hosts

#: How many critical texts and silent hosts a summary names; the rest is counted.
SUMMARY_CAP = 20


class AuditError(Exception):
    """The audit would not say what was asked; the text names who is missing."""


def verdict_class(verdict: str) -> str:
    """The verdict without its reason: ``critical``, ``blocked``, ``lagging at disk``, ``ok``."""
    return verdict.partition(":")[0]


def by_severity(found: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, int]:
    """How many findings there are of each severity."""
    return {severity: len([item for item in found if item["severity"] == severity]) for severity in SEVERITIES}


def summary(rows: t.Sequence[t.Mapping[str, t.Any]], found: t.Sequence[t.Mapping[str, t.Any]], silent: t.Sequence[str]) -> dict[str, t.Any]:
    """Counts, and the first critical texts: what ``set_stats`` hands to a workflow."""
    verdicts: dict[str, int] = {}
    for row in rows:
        verdicts[verdict_class(row["verdict"])] = verdicts.get(verdict_class(row["verdict"]), 0) + 1
    worst = [item for item in found if item["severity"] == "critical"]
    told = {name for item in worst if item["volume"] for name in item["volumes"]}
    critical = [f"{item['kind']} {item['host']} {item['object']}: {item['text']}" for item in worst]
    critical += [f"{row['volume']}: {row['verdict']}" for row in rows if row["verdict"].startswith("critical") and row["volume"] not in told]
    return {
        "volumes": len(rows),
        "verdicts": dict(sorted(verdicts.items())),
        "findings": by_severity(found),
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


def _shown_elsewhere(measurements: t.Mapping[str, dict[str, t.Any]]) -> bool:
    """Whether a host shows a namespace that no target that answered exports."""
    exported: set[t.Any] = set()
    for measured in measurements.values():
        for subsystem in (measured.get("target") or {}).get("subsystems") or []:
            exported |= {(namespace.get("uuid") or "").lower() for namespace in subsystem.get("namespaces") or []}
    for measured in measurements.values():
        for namespace in (measured.get("host") or {}).get("namespaces") or []:
            remote = any(path.get("transport") not in ("pcie", None) for path in namespace.get("paths") or [])
            if remote and (namespace.get("uuid") or "").lower() not in exported:
                return True
    return False


def _check_the_limit(measurements: t.Mapping[str, dict[str, t.Any]], rows: t.Sequence[t.Mapping[str, t.Any]], narrowed: bool) -> None:
    """Raise :class:`AuditError` when ``--limit`` left out hosts that have, or may have, a part of these rows.

    A target that was left out is also needed where no row is left, or a host shows what no other target exports: its rows would be missing without a word.
    """
    needed: dict[str, list[str]] = {}
    for row in rows:
        for hop in HOPS:
            for reading in row["readings"][hop]:
                if reading["error"] == LEFT_OUT:
                    needed.setdefault(reading["host"], []).append(row["volume"])
    if not rows or (not narrowed and _shown_elsewhere(measurements)):
        for name, measured in measurements.items():
            if measured["errors"].get("target") == LEFT_OUT:
                needed.setdefault(name, [])
    if not needed:
        return
    told = []
    for name, volumes in sorted(needed.items()):
        few = list(dict.fromkeys(volumes))
        more = f" and {len(few) - 3} more" if len(few) > 3 else ""
        told.append(f"{name} (has or may have {', '.join(few[:3])}{more})" if few else f"{name} (a target that may export what is missing)")
    raise AuditError(
        f"{LEFT_OUT}, and needed: {'; '.join(told)}. An audit without them would leave their hops out. "
        "Run it without --limit; volumes are chosen with find=... or select=..."
    )


def report(
    measurements: t.Mapping[str, dict[str, t.Any]],
    declared: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
    expression: str = "",
    wanted: t.Any = "",
) -> dict[str, t.Any]:
    """The audit of what was measured.

    ``expression`` (JMESPath) and ``wanted`` (handles) narrow the ``volumes`` and with them the ``findings`` to those that are about these volumes or touch
    them, by their subsystem or a host; the others are counted in ``findings_elsewhere`` (by severity). Without the two there are all findings.
    Returns ``volumes`` (rows of the truth table), ``findings``, ``paths`` (lines: the way from each handle), ``lines`` (everything for reading),
    ``summary`` and ``not_heard``. Raises ``SelectError``, ``LookupFailure`` and ``AuditError`` (hosts with the error ``LEFT_OUT`` are needed).
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
    _check_the_limit(measurements, chosen, narrowed)
    elsewhere: list[dict[str, t.Any]] = []
    if narrowed:
        names = {row["volume"] for row in chosen}
        elsewhere = [item for item in found if names.isdisjoint(item["volumes"])]
        found = [item for item in found if not names.isdisjoint(item["volumes"])]
    nothing = "no volume matches the selection" if narrowed else "no target of the inventory exports an RBD image"
    lines = table_lines(chosen) if chosen else [nothing]
    lines += ["", *paths] if paths else []
    lines += ["", *finding_lines(found)] if found else []
    if elsewhere:
        count = ", ".join(f"{number} {severity}" for severity, number in by_severity(elsewhere).items() if number)
        lines += ["", f"findings about other volumes, not shown: {count}"]
    if not narrowed:
        lines += ["", "no findings"] if not found else []
    return {
        "volumes": chosen,
        "findings": found,
        "findings_elsewhere": by_severity(elsewhere),
        "paths": paths,
        "lines": lines,
        "summary": summary(chosen, found, silent),
        "not_heard": silent,
    }
