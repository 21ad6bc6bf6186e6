# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Whether the pools can take the whole growth, before any of it: MAX AVAIL, quota, full and nearly full OSDs, over-commitment.

The growth of a thin image writes nothing, so these are guards against tomorrow's full pool, not against a failing resize. Only a full pool stops the
resize itself: its writes to the image's header wait until there is room again.
"""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human

MODES = ("auto", "require", "warn", "off")

_LOWEST = ("free_bytes", "max_bytes")
_HIGHEST = ("stored_bytes", "provisioned_bytes")


class HeadroomError(Exception):
    """The options cannot be meant; the text says what would be right."""


def join_pools(measurements: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[tuple[str | None, str], dict[str, t.Any]]:
    """What targets and Ceph clients said of pools, by fsid and pool; of several answers the one that leaves less room."""
    found: dict[tuple[str | None, str], dict[str, t.Any]] = {}
    for measured in measurements.values():
        for answer in (measured.get("target"), measured.get("images")):
            for fact in (answer or {}).get("pools") or []:
                known = found.setdefault(((answer or {}).get("fsid"), fact["pool"]), {"pool": fact["pool"]})
                for key in _LOWEST + _HIGHEST + ("full", "nearfull"):
                    values = [value for value in (known.get(key), fact.get(key)) if value is not None]
                    known[key] = (min(values) if key in _LOWEST else max(values)) if values else None
                known["error"] = known.get("error") or fact.get("error")
    return found


def ratio_of(text: t.Any) -> float | None:
    """An over-commit ratio (1.5: half as much again as there is); None for nothing."""
    if str(text if text is not None else "").strip() == "":
        return None
    try:
        ratio = float(str(text))
    except ValueError:
        ratio = 0
    if not 0 < ratio < float("inf"):
        raise HeadroomError(f"over-commit ratio {text!r} is not a number above 0; write 1.5 for half as much again as the pool can hold, or nothing")
    return ratio


def check(growths: t.Sequence[tuple[dict[str, t.Any], int]], mode: str, overcommit: t.Any = "") -> dict[str, t.Any]:
    """What the pools say to these growths: (volume, bytes that its image grows by).

    ``mode``: ``auto`` stops on what the figures forbid, and tells where there are none; ``require`` also stops where figures are missing; ``warn`` only tells,
    but for a full pool; ``off`` looks at nothing. A ratio that was asked for and cannot be told stops unless ``warn``.

    Returns ``blockers`` (by the volume's name), ``lines`` (for people) and ``pools`` (the figures). Raises :class:`HeadroomError`.
    """
    if mode not in MODES:
        raise HeadroomError(f"headroom is {mode!r}; it is one of {', '.join(MODES)}")
    ratio = ratio_of(overcommit)
    by_pool: dict[tuple[str | None, str], list[tuple[dict[str, t.Any], int]]] = {}
    for volume, growth in growths:
        if growth > 0:
            by_pool.setdefault((volume["fsid"], volume["pool"]), []).append((volume, growth))
    result: dict[str, t.Any] = {"blockers": {}, "lines": [], "pools": []}
    if mode == "off":
        return result
    for (fsid, pool), members in sorted(by_pool.items(), key=lambda item: (item[0][0] or "", item[0][1])):
        facts = members[0][0].get("pool_facts") or {"pool": pool}
        growth = sum(size for _volume, size in members)
        result["pools"].append({"fsid": fsid, "growth_bytes": growth, "volumes": len(members), **facts})
        for code, problem, remedy, stops in _problems(facts, growth, len(members), mode, ratio):
            text = f"pool {pool}: {problem}"
            if not stops:
                result["lines"].append(f"  note ({code}): {text}")
                continue
            for volume, _size in members:
                blocker = {"hop": "image", "object": volume["volume"], "problem": text, "remedy": remedy, "severity": "blocker", "code": code}
                result["blockers"].setdefault(volume["volume"], []).append(blocker)
    return result


def _problems(facts: t.Mapping[str, t.Any], growth: int, count: int, mode: str, ratio: float | None) -> list[tuple[str, str, str, bool]]:
    """(code, problem, remedy, whether it stops)."""
    strict = mode != "warn"
    less = "free or add space, grow fewer volumes or by less, or go on with headroom=warn if they are known not to fill up"
    batch = f"{count} volume(s) grow by {human(growth)} together"
    found: list[tuple[str, str, str, bool]] = []
    unknown: list[str] = []
    if facts.get("full"):
        remedy = "free or add space, or raise the quota; a resize would wait for it and hold the lock of the image meanwhile"
        found.append(("pool_full", "it takes no more data: its quota is reached or an OSD of it is full", remedy, True))
    elif facts.get("nearfull"):
        found.append(("pool_nearfull", "it, or an OSD of it, is nearly full", "rebalance, free or add space; headroom=warn goes on", strict))
    elif facts.get("full") is None:
        unknown.append("flags and quota")
    free, stored, quota = facts.get("free_bytes"), facts.get("stored_bytes"), facts.get("max_bytes")
    if free is None:
        unknown.append("MAX AVAIL")
    elif growth > free:
        found.append(("pool_headroom", f"{batch}, MAX AVAIL is {human(free)}", less, strict))
    if quota is not None and stored is None:
        unknown.append("what it stores (for its quota)")
    elif quota is not None and growth > quota - t.cast(int, stored):
        text = f"{batch}, its quota of {human(quota)} leaves {human(max(0, quota - t.cast(int, stored)))}"
        found.append(("pool_quota", text, "raise the quota (ceph osd pool set-quota), grow by less, or go on with headroom=warn", strict))
    if unknown:
        remedy = "give the Ceph user the cap mon 'profile rbd' on a target or a host of the group ceph_clients, or go on with headroom=warn"
        why = f" ({facts['error']})" if facts.get("error") else ""
        found.append(("pool_unknown", f"nobody could tell {', '.join(unknown)}{why}; {batch}", remedy, mode == "require"))
    if ratio is not None:
        found += _overcommitted(facts, growth, batch, ratio, strict)
    return found


def _overcommitted(facts: t.Mapping[str, t.Any], growth: int, batch: str, ratio: float, strict: bool) -> list[tuple[str, str, str, bool]]:
    promised, free, stored = facts.get("provisioned_bytes"), facts.get("free_bytes"), facts.get("stored_bytes")
    if promised is None or free is None or stored is None:
        remedy = "let the Ceph user open all images of the pool and ask for df, or leave the over-commit ratio empty"
        text = "the over-commit ratio cannot be told: what all its images have, or what it can hold, is not known"
        return [("overcommit_unknown", text, remedy, strict)]
    capacity, after = free + stored, promised + growth
    if after <= ratio * capacity:
        return []
    text = f"{batch}; its images would have {human(after)} of {human(capacity)} that it can hold, more than {ratio:g} times"
    return [("overcommit", text, "add space, grow by less, or allow a higher over-commit ratio", strict)]
