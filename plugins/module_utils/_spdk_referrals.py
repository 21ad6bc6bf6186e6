# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Referrals of a target's discovery service wanted against found.

SPDK tells referrals apart by address and subsystem NQN; ``secure_channel`` cannot change, so such a referral is removed and
added again. No I/O goes through a referral.
"""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._jsonrpc import RpcError
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Change, Changes
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_facts import DISCOVERY_NQN, listen_address, listener_facts
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_hosts import check_nqn
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target, TimedOut, hop_error

PARTS = ("trtype", "adrfam", "traddr", "trsvcid", "subnqn")
#: The order in which calls are sent: what changes goes first.
ORDER = ("nvmf_discovery_remove_referral", "nvmf_discovery_add_referral")


def referral_key(referral: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    return tuple(referral[part] for part in PARTS)


def referral_name(referral: t.Mapping[str, t.Any]) -> str:
    """How a referral is called in changes and errors."""
    host = f"[{referral['traddr']}]" if ":" in referral["traddr"] else referral["traddr"]
    name = f"{referral['trtype']} {host}:{referral['trsvcid']}"
    return name if referral["subnqn"] == DISCOVERY_NQN else f"{name} {referral['subnqn']}"


def _facts(address: t.Mapping[str, t.Any], subnqn: str | None, secure: t.Any) -> dict[str, t.Any]:
    facts = {part: value for part, value in listener_facts(address).items() if part in PARTS}
    return {**facts, "subnqn": subnqn or DISCOVERY_NQN, "secure_channel": secure}


def referrals(target: Target) -> list[dict[str, t.Any]]:
    """The target's referrals in one call; none before 24.01."""
    if not target.table.has("nvmf_discovery_get_referrals"):
        return []
    try:
        raw = target.read("nvmf_discovery_get_referrals", hop="path")
    except RpcError as error:
        raise hop_error(error, target.client.path, "path") from error
    return [_facts(entry["address"], entry.get("subnqn"), entry.get("secure_channel")) for entry in raw]


def wanted_referrals(entries: t.Sequence[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Wishes in the shape of :func:`referrals` plus ``state``; ``secure_channel`` None is left alone."""
    wishes: dict[tuple[str, ...], dict[str, t.Any]] = {}
    for entry in entries:
        wish = {**_facts(entry, entry.get("subnqn"), entry.get("secure_channel")), "state": entry["state"]}
        if not wish["traddr"]:
            raise HopError("a referral has no traddr", obj="referral", hop="path", remedy="give the IP address of the discovery service")
        name = referral_name(wish)
        if not wish["trsvcid"].isdigit() or not 1 <= int(wish["trsvcid"]) <= 65535:
            raise HopError(f"trsvcid {wish['trsvcid']!r} is not a port", obj=name, hop="path", remedy="use a number from 1 to 65535, such as 8009")
        if wish["subnqn"] != DISCOVERY_NQN:
            check_nqn(wish["subnqn"], "subnqn")
        if referral_key(wish) in wishes:
            raise HopError("the list names this referral twice", obj=name, hop="path", remedy="name each once")
        wishes[referral_key(wish)] = wish
    return list(wishes.values())


def _not_applied() -> None:
    """Stands in a change's ``apply``: the calls are carried out in pipelined stages."""


class ReferralManager:
    """One call of the module: read, plan, carry out, read back."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.changes = Changes()
        self.calls: list[tuple[str, dict[str, t.Any], Change]] = []
        self.there: dict[tuple[str, ...], dict[str, t.Any]] = {}
        self.unproven: list[str] = []

    def plan(self, wishes: t.Sequence[t.Mapping[str, t.Any]], purge: bool = False) -> None:
        """``wishes`` of :func:`wanted_referrals`; with ``purge`` others go. Touches nothing."""
        self.changes, self.calls, self.unproven = Changes(), [], []
        if any(wish["state"] == "present" for wish in wishes):
            self.target.table.require("nvmf_discovery_add_referral", referral_name(wishes[0]), "path")
        self.there = {referral_key(entry): entry for entry in referrals(self.target)}
        found = dict(self.there)
        adding = []
        for wish in wishes:
            old = found.get(referral_key(wish))
            if wish["state"] == "absent":
                if old is not None:
                    self._remove(old)
                continue
            secure = wish["secure_channel"]
            if old is not None and secure is not None and old["secure_channel"] is None:
                self.unproven.append(f"{referral_name(wish)}: SPDK {self.target.table.name} does not show whether the referral has a secure channel")
            elif old is not None and secure is not None and old["secure_channel"] != secure:
                self._remove(old)
                old = None
            if old is None:
                adding.append(wish)
        if purge:
            wanted = {referral_key(wish) for wish in wishes}
            for key, old in found.items():
                if key not in wanted:
                    self._remove(old)
        for wish in adding:
            params: dict[str, t.Any] = {"address": listen_address(wish)}
            if wish["subnqn"] != DISCOVERY_NQN:
                params["subnqn"] = wish["subnqn"]
            if wish["secure_channel"]:
                params["secure_channel"] = True
            self._call("nvmf_discovery_add_referral", params, wish, "add", None, {"state": "present", "secure_channel": bool(wish["secure_channel"])})
            self.there[referral_key(wish)] = {**{part: wish[part] for part in PARTS}, "secure_channel": bool(wish["secure_channel"])}

    def _remove(self, old: dict[str, t.Any]) -> None:
        params: dict[str, t.Any] = {"address": listen_address(old)}
        if old["subnqn"] != DISCOVERY_NQN:
            params["subnqn"] = old["subnqn"]
        before = {"state": "present", "secure_channel": old["secure_channel"]}
        self._call("nvmf_discovery_remove_referral", params, old, "remove", before, None)
        del self.there[referral_key(old)]

    def _call(
        self,
        method: str,
        params: dict[str, t.Any],
        referral: t.Mapping[str, t.Any],
        action: str,
        before: dict[str, t.Any] | None,
        after: dict[str, t.Any] | None,
    ) -> None:
        name = referral_name(referral)
        self.target.check_call(method, params, name, "path")
        self.calls.append((method, params, self.changes.add("referral", name, action, before, after, _not_applied)))

    def ordered(self) -> list[tuple[str, dict[str, t.Any]]]:
        """The planned calls in the order in which they are sent."""
        return [(method, params) for kind in ORDER for method, params, _change in self.calls if method == kind]

    def apply(self, wishes: t.Sequence[t.Mapping[str, t.Any]], purge: bool = False) -> None:
        """Send, removals first, then read back: what is left over is an error."""
        failures = []
        for method in ORDER:
            calls = [(params, change) for called, params, change in self.calls if called == method]
            try:
                outcomes: t.Sequence[t.Any] = self.target.change([(method, params, change.name) for params, change in calls], "path") if calls else []
            except TimedOut as error:
                outcomes = [error] * len(calls)
            for (_params, change), outcome in zip(calls, outcomes):
                change.done = not isinstance(outcome, HopError)
                if not change.done:
                    failures.append(outcome)
        again = ReferralManager(self.target)
        again.plan(wishes, purge)
        left = {change.name for _method, _params, change in again.calls}
        for change in self.changes.items:
            change.done = change.done or change.name not in left
        if left:
            raise next(
                (failure for failure in failures if failure.obj in left or isinstance(failure, TimedOut)),
                HopError(
                    "the target took the call, but reading back shows that it did not happen", obj=min(left), hop="path", remedy="look at the target's log"
                ),
            )
        self.there, self.unproven = again.there, again.unproven

    def result(self, wish: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        found, changed = self.there.get(referral_key(wish)), bool(self.changes.of("referral", referral_name(wish)))
        if found is None:
            return {**{part: wish[part] for part in PARTS}, "secure_channel": None, "state": "absent", "changed": changed}
        return {**found, "state": "present", "changed": changed}
