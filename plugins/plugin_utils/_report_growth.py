# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What became of a growth as a page like that of an audit: each hop before and after, how long it took, and which hosts failed or were lost."""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human
from markupsafe import Markup

from ._growth_evidence import told
from ._report_html import count_of, document, hop_cell, listed, volumes, worst_first
from ._report_svg import el

LEGEND = (
    "Per hop what it has now, the smallest of its readings (n/m: so many of the readings show it), what it had before where that is less, and how long the "
    "calls took that grew it. A call does all volumes of its host, so they share its seconds. The exact bytes are in each path."
)
#: The hop whose call also moves a hop that has none of its own: a namespace is as large as its bdev, a path as its device.
MOVED_BY = {
    "image": ("image", "bdev"),
    "bdev": ("bdev",),
    "namespace": (),
    "path": (),
    "device": ("device",),
    "layer": ("layer",),
    "disk": ("disk",),
    "guest": (),
}


def seconds_at(row: t.Mapping[str, t.Any], hop: str) -> float | None:
    """The seconds of the call that grew this hop; an image grows in the call of its target, or of a Ceph client."""
    return next((row["seconds"][name] for name in MOVED_BY[hop] if name in row["seconds"]), None)


def _cell(row: t.Mapping[str, t.Any], hop: str) -> Markup:
    before, now = row["before_bytes"].get(hop), row["bytes"].get(hop)
    words = [f"was {human(before)}"] if before is not None and before != now else []
    taken = seconds_at(row, hop)
    words += [f"{taken} s"] if taken is not None and (words or hop == "layer") else []
    if not words:
        return hop_cell(row, hop)
    known = [f"before {before} bytes" if before is not None else "", f"now {now} bytes" if now is not None else "not read now"]
    return hop_cell(row, hop, el("small", {"class": "before"}, ", ".join(words)), ", ".join(text for text in known if text))


def growth_page(
    outcome: t.Mapping[str, t.Any],
    evidence: t.Mapping[str, t.Any],
    style: str,
    script: str,
    about: t.Mapping[str, t.Any] | None = None,
    notes: t.Sequence[str] = (),
) -> str:
    """The page for an outcome (:func:`._growth.outcome`) and its evidence; ``notes`` are what stopped it. Raises ``ValueError`` as :func:`document` does."""
    rows = worst_first(outcome["volumes"])
    failed, hosts = len(outcome["failed"]), evidence.get("hosts") or []
    grown = len([row for row in rows if row["changed_hops"]])
    return document(
        "Volume growth",
        f"Volume growth: {count_of(len(rows), 'volume')}, {failed} not as wanted",
        {**(about or {}), "volumes": len(rows), "grown": grown, "not as wanted": failed, "hosts failed or lost": len(hosts)},
        rows,
        [
            listed("stopped", "Why it was stopped", notes),
            listed("hosts", "Hosts that failed or were lost", [told(entry) for entry in hosts]),
            volumes(rows, _cell, LEGEND),
        ],
        style,
        script,
    )
