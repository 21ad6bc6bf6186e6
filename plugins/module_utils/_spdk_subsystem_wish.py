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
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import (
    DISCOVERY_NQN,
    listener_facts,
    listener_key,
    normal_nguid,
    normal_uuid,
)

#: Attributes that SPDK only takes at creation.
NOT_CHANGEABLE = ("serial_number", "model_number", "max_namespaces", "ana_reporting", "min_cntlid", "max_cntlid")
#: SPDK's own default is 32 (0 before 21.01, which then cannot grow while hosts are connected).
DEFAULT_MAX_NAMESPACES = 256
MAX_NQN_BYTES = 223


def derived_serial(nqn: str) -> str:
    """A serial number of 20 characters that follows from the NQN: the same on every target that exports the subsystem."""
    return "SPDK" + hashlib.sha256(nqn.encode("utf-8")).hexdigest()[:16].upper()


def check_nqn(nqn: str, what: str = "nqn") -> None:
    """Raise :class:`HopError` for a name that no SPDK release takes (lib/nvmf/subsystem.c)."""
    if not re.match(r"nqn\.[0-9]{4}-[0-9]{2}\..+", nqn or "") or len(nqn.encode("utf-8")) > MAX_NQN_BYTES:
        raise HopError(
            f"{what} {nqn!r} is not an NQN",
            obj=nqn or what,
            hop="namespace",
            remedy=f"write nqn.yyyy-mm.reversed.domain:name, at most {MAX_NQN_BYTES} bytes",
        )


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
    hosts: list[str] | None = None
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

    def predicted(self) -> dict[str, t.Any]:
        """The subsystem right after its creation, in the shape of ``subsystem_facts``."""
        params = self.create_params()
        return {
            "nqn": self.nqn,
            "serial_number": params["serial_number"],
            "model_number": self.model_number or "SPDK bdev Controller",
            "max_namespaces": params["max_namespaces"],
            "ana_reporting": bool(self.ana_reporting),
            "min_cntlid": self.min_cntlid,
            "max_cntlid": self.max_cntlid,
            "allow_any_host": params["allow_any_host"],
            "hosts": [],
            "listeners": [],
            "namespaces": [],
            "controllers": [],
        }

    @staticmethod
    def identity(entry: t.Mapping[str, t.Any], bdev: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
        """Bdev, uuid and nguid a namespace is to have: the bdev's uuid, and that without dashes, unless given."""
        uuid = entry["uuid"] or (bdev["uuid"] if bdev else None)
        return {
            "bdev": bdev["name"] if bdev else entry["bdev"],
            "uuid": uuid,
            "nguid": entry["nguid"] or (uuid.replace("-", "") if uuid else None),
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
    if any(value is not None and not 1 <= value <= 65519 for value in (low, high)) or (low or 1) > (high or 65519):
        raise bad(f"the controller ids {low or 1} to {high or 65519} are no range within 1 to 65519", "correct min_cntlid and max_cntlid")
    hosts = entry.get("hosts")
    for host in hosts or []:
        check_nqn(host, "host")
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
        hosts=None if hosts is None else list(dict.fromkeys(hosts)),
        listeners=_listeners(entry.get("listeners"), bad),
        namespaces=_namespaces(entry.get("namespaces"), bad),
        purge=bool(entry.get("purge")),
        force=bool(entry.get("force")),
    )


def _listeners(entries: t.Sequence[t.Mapping[str, t.Any]] | None, bad: t.Callable[..., HopError]) -> list[dict[str, t.Any]] | None:
    if entries is None:
        return None
    listeners: dict[t.Any, dict[str, t.Any]] = {}
    for entry in entries:
        listener = {**listener_facts(entry), "ana_state": entry.get("ana_state")}
        port = listener["trsvcid"]
        if not port.isdigit() or not 1 <= int(port) <= 65535:
            raise bad(f"trsvcid {port!r} is not a port", "use a number from 1 to 65535, such as 4420", "path")
        if not listener["traddr"]:
            raise bad("a listener has no traddr", "give the IP address to listen on", "path")
        if listener_key(listener) in listeners:
            raise bad(f"the listener {listener['traddr']}:{port} is named twice", "name each once", "path")
        listeners[listener_key(listener)] = listener
    return list(listeners.values())


def _namespaces(entries: t.Sequence[t.Mapping[str, t.Any]] | None, bad: t.Callable[..., HopError]) -> list[dict[str, t.Any]] | None:
    if entries is None:
        return None
    namespaces: list[dict[str, t.Any]] = []
    for entry in entries:
        try:
            uuid = normal_uuid(entry.get("uuid"))
        except ValueError:
            raise bad(f"uuid {entry['uuid']!r} of namespace {entry['bdev']} is not a UUID", "correct it") from None
        nguid = normal_nguid(entry.get("nguid"))
        if nguid is not None and not re.match(r"[0-9a-f]{32}$", nguid):
            raise bad(f"nguid {entry['nguid']!r} of namespace {entry['bdev']} is not 32 hex digits", "correct it")
        nsid = entry.get("nsid")
        if nsid is not None and nsid < 1:
            raise bad(f"nsid {nsid} is not a namespace id", "use 1 or more, or leave it out")
        wish = {"bdev": entry["bdev"], "nsid": nsid, "uuid": uuid, "nguid": nguid, "anagrpid": entry.get("anagrpid")}
        for other in namespaces:
            for key in ("bdev", "nsid", "uuid", "nguid"):
                if wish[key] is not None and wish[key] == other[key]:
                    raise bad(f"two namespaces have the same {key} {wish[key]}", "name each once")
        namespaces.append(wish)
    return namespaces


def wanted_subsystems(entries: t.Sequence[t.Mapping[str, t.Any]]) -> list[SubsystemWish]:
    """All wishes of one call; an NQN that is named twice is an error."""
    wishes: dict[str, SubsystemWish] = {}
    for entry in entries:
        wish = wanted_subsystem(entry)
        if wish.nqn in wishes:
            raise HopError("the list names this subsystem twice", obj=wish.nqn, hop="namespace", remedy="name each once")
        wishes[wish.nqn] = wish
    return list(wishes.values())
