# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""A subsystem as the collection shows it, out of the two answers that describe it.

``nvmf_get_subsystems`` shows neither PSKs, nor who may see a namespace, nor a listener's secure channel; the section ``nvmf`` of
``framework_get_config`` does (26.05), and for all subsystems in one call. What neither shows is None: unknown, never a default.
"""

from __future__ import annotations

import ipaddress
import typing as t
import uuid as uuid_module

from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import ReleaseTable

DISCOVERY_NQN = "nqn.2014-08.org.nvmexpress.discovery"
#: The three names of keys that a host may have.
HOST_KEYS = ("psk", "dhchap_key", "dhchap_ctrlr_key")


def normal_uuid(value: t.Any) -> str | None:
    """A UUID in lower case with dashes, or None for none; raises ValueError for something else."""
    if value in (None, ""):
        return None
    return str(uuid_module.UUID(str(value)))


def normal_nguid(value: t.Any) -> str | None:
    """An NGUID or EUI-64 as lower-case hex digits, or None; SPDK shows both in upper case."""
    if value in (None, ""):
        return None
    return str(value).replace("-", "").lower()


def normal_address(value: t.Any) -> str:
    """An IP in its one canonical spelling (SPDK compares texts: ``::1`` and ``0:0:0:0:0:0:0:1`` differ); other text as it is."""
    text = str(value or "")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def listener_facts(raw: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A listen address with normalised parts; releases before 24.05 show ``transport`` beside or instead of ``trtype``."""
    trtype = str(raw.get("trtype") or raw.get("transport") or "").upper()
    traddr = normal_address(raw.get("traddr"))
    adrfam = raw.get("adrfam") or ("IPv6" if ":" in traddr else "IPv4")
    return {
        "trtype": trtype,
        "adrfam": {"ipv4": "IPv4", "ipv6": "IPv6"}.get(str(adrfam).lower(), str(adrfam)),
        "traddr": traddr,
        "trsvcid": str(raw.get("trsvcid") or ""),
        "ana_state": None,
    }


def listener_key(listener: t.Mapping[str, t.Any]) -> tuple[str, str, str, str]:
    return (listener["trtype"], listener["adrfam"], listener["traddr"], listener["trsvcid"])


def listen_address(listener: t.Mapping[str, t.Any]) -> dict[str, str]:
    """The address as SPDK takes it: all four parts, without those that are empty."""
    return {part: listener[part] for part in ("trtype", "adrfam", "traddr", "trsvcid") if listener[part]}


def ana_facts(states: t.Mapping[int, str]) -> dict[str, t.Any]:
    """``ana_state`` (one word where all groups agree, else ``mixed``) and ``ana_states`` (every group, only where they differ)."""
    words = set(states.values())
    if len(words) <= 1:
        return {"ana_state": next(iter(words), None), "ana_states": []}
    return {"ana_state": "mixed", "ana_states": [{"anagrpid": group, "ana_state": states[group]} for group in sorted(states)]}


class SavedConfig:
    """The section ``nvmf`` of ``framework_get_config``, indexed in one pass by what its calls are about."""

    def __init__(self, entries: t.Iterable[t.Any] = ()) -> None:
        self.subsystems: dict[str, dict[str, t.Any]] = {}
        self.hosts: dict[tuple[str, str], dict[str, t.Any]] = {}
        self.namespaces: dict[tuple[str, int], dict[str, t.Any]] = {}
        self.namespace_hosts: dict[tuple[str, int], list[str]] = {}
        self.listeners: dict[tuple[t.Any, ...], dict[str, t.Any]] = {}
        self.transports: set[str] = set()
        for entry in entries:
            if isinstance(entry, dict) and isinstance(entry.get("params"), dict):
                self._take(str(entry.get("method")), entry["params"])

    def _take(self, method: str, params: dict[str, t.Any]) -> None:
        nqn = str(params.get("nqn"))
        if method in ("nvmf_create_subsystem", "nvmf_subsystem_create"):
            self.subsystems[nqn] = params
        elif method == "nvmf_subsystem_add_host":
            self.hosts[nqn, params["host"]] = params
        elif method == "nvmf_subsystem_add_ns":
            self.namespaces[nqn, params["namespace"].get("nsid")] = params["namespace"]
        elif method == "nvmf_ns_add_host":
            self.namespace_hosts.setdefault((nqn, params["nsid"]), []).append(params["host"])
        elif method == "nvmf_subsystem_add_listener":
            self.listeners[(nqn, *listener_key(listener_facts(params["listen_address"])))] = params
        elif method == "nvmf_create_transport":
            self.transports.add(str(params.get("trtype")).upper())


def _host(nqn: str, raw: t.Mapping[str, t.Any], saved: SavedConfig) -> dict[str, t.Any]:
    params = saved.hosts.get((nqn, raw["nqn"]), {})
    return {"nqn": raw["nqn"], **{key: raw.get(key) or params.get(key) for key in HOST_KEYS}}


def _listener(nqn: str, raw: t.Mapping[str, t.Any], saved: SavedConfig, table: ReleaseTable) -> dict[str, t.Any]:
    facts = listener_facts(raw)
    params = saved.listeners.get((nqn, *listener_key(facts)), {})
    can = table.has("nvmf_subsystem_add_listener", "secure_channel")
    return {**facts, "ana_states": [], "secure_channel": params.get("secure_channel") if can else False, "sock_impl": params.get("sock_impl")}


def _namespace(nqn: str, raw: t.Mapping[str, t.Any], saved: SavedConfig, table: ReleaseTable) -> dict[str, t.Any]:
    nsid = raw["nsid"]
    params = saved.namespaces.get((nqn, nsid))
    hidden: bool | None = False
    if table.has("nvmf_subsystem_add_ns", "namespace.no_auto_visible"):
        hidden = None if params is None else params.get("no_auto_visible")
    hosts = saved.namespace_hosts.get((nqn, nsid), [])
    return {
        "nsid": nsid,
        "bdev": raw.get("bdev_name") or raw.get("name"),
        "uuid": normal_uuid(raw.get("uuid")),
        "nguid": normal_nguid(raw.get("nguid")),
        "eui64": normal_nguid(raw.get("eui64")),
        "anagrpid": raw.get("anagrpid"),
        "auto_visible": None if hidden is None else not hidden,
        "hosts": None if hidden is None and not hosts else sorted(hosts),
        "ptpl_file": None if params is None else params.get("ptpl_file"),
    }


def subsystem_facts(raw: t.Mapping[str, t.Any], saved: SavedConfig, table: ReleaseTable) -> dict[str, t.Any]:
    """One entry of ``nvmf_get_subsystems``, with what only the saved configuration shows."""
    nqn = raw["nqn"]
    config = saved.subsystems.get(nqn)
    return {
        "nqn": nqn,
        "serial_number": raw.get("serial_number"),
        "model_number": raw.get("model_number"),
        "max_namespaces": raw.get("max_namespaces"),
        "ana_reporting": None if config is None else bool(config.get("ana_reporting", False)),
        "min_cntlid": raw.get("min_cntlid"),
        "max_cntlid": raw.get("max_cntlid"),
        "allow_any_host": bool(raw.get("allow_any_host")),
        "hosts": [host["nqn"] for host in raw.get("hosts") or []],
        "host_keys": [_host(nqn, host, saved) for host in raw.get("hosts") or []],
        "listeners": [_listener(nqn, address, saved, table) for address in raw.get("listen_addresses") or []],
        "namespaces": [_namespace(nqn, namespace, saved, table) for namespace in raw.get("namespaces") or []],
        "controllers": [],
    }
