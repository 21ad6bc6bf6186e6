# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""A wanted NVMe-oF subsystem: the module's options, checked and normalised before the target is asked anything."""

from __future__ import annotations

import hashlib
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import ReleaseTable
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_facts import DISCOVERY_NQN
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_hosts import check_nqn, wanted_hosts
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_listeners import wanted_listeners
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_namespaces import wanted_namespaces

#: Attributes that SPDK only takes at creation.
NOT_CHANGEABLE = ("serial_number", "model_number", "max_namespaces", "ana_reporting", "min_cntlid", "max_cntlid")
#: SPDK's own default is 32 (0 before 21.01, which then cannot grow while hosts are connected).
DEFAULT_MAX_NAMESPACES = 256
#: Highest controller id, and SPDK's default.
MAX_CNTLID = 65519


def derived_serial(nqn: str) -> str:
    """A serial number of 20 characters that follows from the NQN: the same on every target that exports the subsystem."""
    return "SPDK" + hashlib.sha256(nqn.encode("utf-8")).hexdigest()[:16].upper()


@dataclass
class SubsystemWish:
    """Lists that are None are left alone; an empty list with ``purge`` empties."""

    nqn: str
    state: str = "present"
    serial_number: str | None = None
    model_number: str | None = None
    max_namespaces: int | None = None
    max_namespaces_given: bool = False
    ana_reporting: bool | None = None
    min_cntlid: int | None = None
    max_cntlid: int | None = None
    allow_any_host: bool | None = None
    hosts: list[dict[str, t.Any]] | None = None
    listeners: list[dict[str, t.Any]] | None = None
    namespaces: list[dict[str, t.Any]] | None = None
    purge: bool = False
    force: bool = False

    def create_params(self) -> dict[str, t.Any]:
        """Parameters of nvmf_create_subsystem; ``allow_any_host`` is sent so that nobody gets in by a default."""
        params: dict[str, t.Any] = {
            "nqn": self.nqn,
            "serial_number": self.serial_number or derived_serial(self.nqn),
            "max_namespaces": self.max_namespaces or DEFAULT_MAX_NAMESPACES,
            "allow_any_host": bool(self.allow_any_host),
        }
        for option in ("model_number", "min_cntlid", "max_cntlid"):
            if getattr(self, option) is not None:
                params[option] = getattr(self, option)
        if self.ana_reporting:
            params["ana_reporting"] = True  # off is every release's default, and before 20.10 the only state
        return params

    def predicted(self, table: ReleaseTable) -> dict[str, t.Any]:
        """The subsystem right after its creation, in the shape of ``subsystem_facts``."""
        params = self.create_params()
        shows_ids = table.has("nvmf_create_subsystem", "min_cntlid")
        return {
            "nqn": self.nqn,
            "serial_number": params["serial_number"],
            "model_number": self.model_number or "SPDK bdev Controller",
            "max_namespaces": params["max_namespaces"],
            "ana_reporting": bool(self.ana_reporting),
            "min_cntlid": (self.min_cntlid or 1) if shows_ids else None,
            "max_cntlid": (self.max_cntlid or MAX_CNTLID) if shows_ids else None,
            "allow_any_host": params["allow_any_host"],
            "hosts": [],
            "host_keys": [],
            "listeners": [],
            "namespaces": [],
            "controllers": [],
        }


def wanted_subsystem(entry: t.Mapping[str, t.Any]) -> SubsystemWish:
    """A wish of the module's options; raises :class:`HopError` for what cannot be meant."""
    nqn = entry["nqn"]

    def bad(message: str, remedy: str, hop: str = "namespace") -> HopError:
        return HopError(message, obj=nqn, hop=hop, remedy=remedy)

    check_nqn(nqn)
    if nqn == DISCOVERY_NQN:
        raise bad("the discovery subsystem is the target's own; once deleted it cannot be created again", "leave it out")
    for option, limit in (("serial_number", 20), ("model_number", 40)):
        text = entry.get(option)
        if text is not None and not re.match(rf"[ -~]{{1,{limit}}}$", text):
            raise bad(f"{option} {text!r} is not 1 to {limit} printable ASCII characters", "correct it")
    if entry.get("max_namespaces") is not None and not 1 <= entry["max_namespaces"] <= 65536:
        raise bad(f"max_namespaces {entry['max_namespaces']} is not between 1 and 65536", "correct it")
    low, high = entry.get("min_cntlid"), entry.get("max_cntlid")
    if any(value is not None and not 1 <= value <= MAX_CNTLID for value in (low, high)) or (low or 1) > (high or MAX_CNTLID):
        raise bad(f"the controller ids {low or 1} to {high or MAX_CNTLID} are no range within 1 to {MAX_CNTLID}", "correct min_cntlid and max_cntlid")
    return SubsystemWish(
        nqn=nqn,
        state=entry.get("state") or "present",
        serial_number=entry.get("serial_number"),
        model_number=entry.get("model_number"),
        max_namespaces=entry.get("max_namespaces"),
        max_namespaces_given=entry.get("max_namespaces") is not None,
        ana_reporting=entry.get("ana_reporting"),
        min_cntlid=low,
        max_cntlid=high,
        allow_any_host=entry.get("allow_any_host"),
        hosts=wanted_hosts(entry.get("hosts"), bad),
        listeners=wanted_listeners(entry.get("listeners"), bad),
        namespaces=wanted_namespaces(entry.get("namespaces"), bad),
        purge=bool(entry.get("purge")),
        force=bool(entry.get("force")),
    )


def wanted_subsystems(entries: t.Sequence[t.Mapping[str, t.Any]]) -> list[SubsystemWish]:
    """All wishes of one call; an NQN that is named twice is an error."""
    wishes: dict[str, SubsystemWish] = {}
    for entry in entries:
        wish = wanted_subsystem(entry)
        if wish.nqn in wishes:
            raise HopError("the list names this subsystem twice", obj=wish.nqn, hop="namespace", remedy="name each once")
        wishes[wish.nqn] = wish
    return list(wishes.values())
