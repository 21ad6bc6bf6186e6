# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Rate limits of bdevs, wanted against ``assigned_rate_limits``.

SPDK rounds I/Os per second up to whole thousands (26.05: 1500 reads back as 2000), so wishes are compared rounded.
"""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Change, Changes
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target, TimedOut

if t.TYPE_CHECKING:
    from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdev_wish import WantedBdev

METHOD = "bdev_set_qos_limit"
#: I/Os per second, and MiB per second; 0 is unlimited.
LIMITS = ("rw_ios_per_sec", "rw_mbytes_per_sec", "r_mbytes_per_sec", "w_mbytes_per_sec")


def rounded(name: str, value: t.Any) -> int:
    """A limit as the target keeps it."""
    return -(-int(value) // 1000) * 1000 if name == "rw_ios_per_sec" else int(value)


def wanted_limits(qos: t.Mapping[str, t.Any] | None, obj: str) -> dict[str, int]:
    """The given limits as the target will show them; limits that are not given are left alone."""
    limits = {}
    for name in LIMITS:
        value = (qos or {}).get(name)
        if value is None:
            continue
        if int(value) < 0:
            raise HopError(f"the limit {name} is negative", obj=obj, hop="bdev", remedy="give 0 for unlimited, or a positive number")
        limits[name] = rounded(name, value)
    return limits


class QosManager:
    """The limits of one module call: planned after the bdevs, set after they exist, read back."""

    def __init__(self, target: Target, changes: Changes) -> None:
        self.target = target
        self.changes = changes
        self.work: list[tuple[WantedBdev, dict[str, int], Change]] = []

    def plan(self, items: t.Sequence[WantedBdev]) -> list[dict[str, t.Any]]:
        """The calls that will be sent (``method``, ``params``); touches nothing."""
        calls = []
        for item in items:
            wanted = wanted_limits(item.wish.get("qos"), item.bdev_name)
            if item.state == "absent" or item.error is not None or not wanted:
                continue
            there = (item.found or {}).get("qos") or dict.fromkeys(LIMITS, 0)
            differs = {name: value for name, value in wanted.items() if value != there.get(name, 0)}
            if not differs:
                continue
            params = {"name": item.bdev_name, **differs}
            self.target.check_call(METHOD, params, item.bdev_name, "bdev")
            change = self.changes.add("bdev", item.bdev_name, "limit", {name: there.get(name, 0) for name in differs}, differs, lambda: None)
            item.changed = True
            self.work.append((item, params, change))
            calls.append({"method": METHOD, "params": params})
        return calls

    def apply(self) -> None:
        """Set the limits of the bdevs that exist and read them back; what fails becomes the item's ``error``."""
        work = [entry for entry in self.work if entry[0].error is None]
        if not work:
            return
        try:
            outcomes = self.target.change([(METHOD, params, item.bdev_name) for item, params, _change in work], "bdev")
        except TimedOut:
            outcomes = [None] * len(work)  # what is there decides
        there = {bdev["name"]: bdev for bdev in self.target.bdevs()}
        for (item, params, change), outcome in zip(work, outcomes):
            shown = (there.get(item.bdev_name) or {}).get("qos") or {}
            if isinstance(outcome, HopError):
                item.error = _explained(outcome)
            elif any(shown.get(name) != value for name, value in params.items() if name != "name"):
                item.error = HopError(
                    "the target said it set the limits, but shows others",
                    obj=item.bdev_name,
                    hop="bdev",
                    call=METHOD,
                    cause=", ".join(f"{name}={shown.get(name)}" for name in params if name != "name"),
                    remedy="look at the target's log",
                )
            else:
                change.done = True


def _explained(error: HopError) -> HopError:
    """SPDK 26.05 takes the limits of a bdev that nobody ever opened only once; after that its answer says nothing of the reason."""
    if "temporarily unavailable" not in (error.cause or "").lower():
        return error
    return HopError(
        "the limits of a bdev that nothing has opened yet cannot be changed a second time",
        obj=error.obj,
        hop="bdev",
        call=METHOD,
        cause=error.cause,
        remedy="export the bdev as a namespace (nvmeof.spdk.nvmf_subsystem), then run this again",
    )
