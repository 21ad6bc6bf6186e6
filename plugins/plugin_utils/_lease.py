# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What a lease that another run holds on an image means for a plan."""

from __future__ import annotations

import typing as t

Lease = t.Mapping[str, t.Any]


def later_lease(one: Lease | None, other: Lease | None) -> Lease | None:
    """Of two readings of an image's lease the one that lasts longer."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda lease: float("inf") if lease.get("remaining_seconds") is None else lease["remaining_seconds"])


def is_own(lease: Lease, owner: str) -> bool:
    """Whether a lease is of the run ``owner`` (each host of a run has ``owner@host``), which takes it over."""
    return bool(owner) and (lease["owner"] == owner or lease["owner"].startswith(owner + "@"))


def told(lease: Lease) -> str:
    """A lease in words."""
    by = f" ({lease['by']})" if lease.get("by") and not lease["owner"].startswith(lease["by"]) else ""
    since = f" since {lease['since']}" if lease.get("since") else ""
    rest = lease.get("remaining_seconds")
    return f"{lease['owner']}{by}{since}, " + ("without an end" if rest is None else f"for another {rest} s unless it is renewed")


def lease_blocker(volume: t.Mapping[str, t.Any], owner: str, wait: int) -> dict[str, str] | None:
    """The blocker for a volume whose image another run holds for longer than ``wait`` seconds, else None."""
    lease = volume.get("lease")
    if not lease or is_own(lease, owner):
        return None
    rest = lease.get("remaining_seconds")
    if rest is not None and rest <= wait:
        return None
    return {
        "hop": "image",
        "object": volume["volume"],
        "problem": f"a lease on the image is held by another run: {told(lease)}",
        "remedy": "let that run end; if it was killed, its lease ends by itself"
        if rest is not None
        else "find out who set this lock; without an end it stays until it is broken (rados lock break)",
        "severity": "blocker",
    }


def lease_line(volume: t.Mapping[str, t.Any], owner: str) -> str | None:
    """What a plan that is not blocked says of the lease, None if nobody holds one."""
    lease = volume.get("lease")
    if not lease:
        return None
    return f"lease of {told(lease)}: " + ("an earlier try of this run, taken over" if is_own(lease, owner) else "waited for")
