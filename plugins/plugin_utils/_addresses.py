# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Addresses by network: where targets listen, which paths a host has to them, and from which of its addresses.

A host's addresses are what its inventory says (``spdk_target_addresses``), else the facts of its network.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ._plain import as_list, plain
from ._select import SelectError, address_in
from ._volumes import known_of

Entry = t.Mapping[str, t.Any]


class AddressError(Exception):
    """No one address can be chosen; the text says for what, and what to do."""


def _ip(text: t.Any) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(str(text).partition("%")[0])
    except ValueError:
        return None


def _networks(value: t.Any) -> list[str]:
    """Networks from a list or from text; each is one, written right."""
    found = as_list(value)
    for network in found:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError as exc:
            raise AddressError(f"{network!r} is not a network; write it as 10.1.1.0/24 or fd00:1::/64") from exc
    return found


def _within(address: str, network: str) -> bool:
    ip = _ip(address)
    return ip is not None and ip in ipaddress.ip_network(network, strict=False)


def _choose(addresses: t.Sequence[str] | None, network: str, whose: str, remedy: str) -> str:
    """The one address in a network, or an error that says for whom there is none or too many."""
    if addresses is None:
        raise AddressError(f"{whose}: its addresses are not known. Next step: {remedy}")
    try:
        return address_in(list(addresses), network)
    except SelectError as exc:
        raise AddressError(f"{whose}: {exc}") from exc


# -- targets ---------------------------------------------------------------------------------------------------------


def addresses_of(hostvars: t.Mapping[str, t.Any], name: str) -> list[str] | None:
    """The addresses of a target; ``None`` when nobody says."""
    known = known_of(hostvars, name)
    given = as_list(plain(known.get("spdk_target_addresses")))
    if given:
        return given
    facts = known.get("ansible_facts") or {}
    if "all_ipv4_addresses" not in facts and "all_ipv6_addresses" not in facts:
        return None
    return [str(address) for key in ("all_ipv4_addresses", "all_ipv6_addresses") for address in facts.get(key) or []]


_ASK = "set spdk_target_addresses in the inventory, or gather the facts of that host"


def resolved(subsystems: t.Sequence[Entry], addresses: t.Sequence[str] | None, networks: t.Any, whose: str = "the target") -> list[dict[str, t.Any]]:
    """Subsystems in which every listener has a ``traddr``: its own, else the target's address in its ``network``.

    A listener with neither becomes one for each of ``networks``.
    """
    common = _networks(networks)
    found = []
    for subsystem in subsystems:
        if not any(not listener.get("traddr") for listener in subsystem.get("listeners") or []):
            found.append(dict(subsystem))
            continue
        listeners: list[dict[str, t.Any]] = []
        for listener in subsystem["listeners"]:
            if listener.get("traddr"):
                listeners.append(dict(listener))
                continue
            label = f"{whose}, listener of {subsystem['nqn']}"
            chosen = _networks(listener.get("network")) or common
            if not chosen:
                raise AddressError(f"{label}: it has neither traddr nor network. Next step: give it one, or set storage_network for all")
            rest = {key: value for key, value in listener.items() if key not in ("network", "traddr")}
            listeners += [{**rest, "traddr": _choose(addresses, network, label, _ASK)} for network in chosen]
        found.append({**subsystem, "listeners": listeners})
    return found


def _present(entries: t.Sequence[Entry] | None) -> list[Entry]:
    return [entry for entry in entries or [] if (entry.get("state") or "present") != "absent"]


def _is_open(listener: Entry) -> bool:
    """Whether a listener's address follows from the target's addresses, not from the declaration alone."""
    ip = _ip(listener.get("traddr"))
    return not listener.get("traddr") or ip is not None and ip.is_unspecified


def unknown(hostvars: t.Mapping[str, t.Any], targets: t.Sequence[str]) -> list[str]:
    """The targets whose addresses are needed for their listeners, and not known."""
    found = []
    for name in targets:
        subsystems = _present(plain(known_of(hostvars, name).get("spdk_target_subsystems")))
        if any(_is_open(listener) for one in subsystems for listener in one.get("listeners") or []) and addresses_of(hostvars, name) is None:
            found.append(name)
    return found


def declared_of_target(hostvars: t.Mapping[str, t.Any], name: str) -> list[dict[str, t.Any]]:
    """The present subsystems that a target declares, resolved."""
    known = known_of(hostvars, name)
    subsystems = _present(plain(known.get("spdk_target_subsystems")))
    networks = plain(known.get("spdk_target_storage_network") or known.get("storage_network"))
    return resolved(subsystems, addresses_of(hostvars, name), networks, f"target {name}")


# -- hosts -----------------------------------------------------------------------------------------------------------


def _lets_in(subsystem: Entry, hostnqn: str | None) -> bool:
    """Whether a subsystem allows a host; one that is not known is let in everywhere."""
    if not hostnqn or subsystem.get("allow_any_host") in (True, "true", "True", "yes"):
        return True
    hosts = [{"nqn": host} if isinstance(host, str) else host for host in subsystem.get("hosts") or []]
    return any(host.get("nqn") == hostnqn for host in _present(hosts))


def _portals(subsystem: Entry, addresses: t.Sequence[str] | None, networks: t.Sequence[str], whose: str, local: bool) -> list[dict[str, t.Any]]:
    """The listeners of a subsystem that a host can use, with an address each."""
    usable = [one for one in subsystem.get("listeners") or [] if str(one.get("trtype") or "TCP").lower() in ("tcp", "rdma")]
    found = []
    for listener in usable:
        ip = _ip(listener["traddr"])
        if ip is not None and ip.is_unspecified:
            if not networks:
                raise AddressError(f"{whose} listens on all addresses. Next step: say by nvme_initiator_storage_network which one to connect to")
            family = [network for network in networks if ipaddress.ip_network(network, strict=False).version == ip.version]
            found += [{**listener, "traddr": _choose(addresses, network, whose, _ASK)} for network in family]
        elif ip is not None and ip.is_loopback and not local:
            continue
        elif not networks or any(_within(listener["traddr"], network) for network in networks):
            found.append(dict(listener))
    if networks and usable and not found:
        there = ", ".join(str(one["traddr"]) for one in usable)
        raise AddressError(f"{whose}: none of its listeners ({there}) lies in {', '.join(networks)}. Next step: correct nvme_initiator_storage_network")
    return found


def declared_paths(
    hostvars: t.Mapping[str, t.Any],
    targets: t.Sequence[str],
    host: str | None = None,
    hostnqn: str | None = None,
    networks: t.Any = None,
    options: Entry | None = None,
) -> list[dict[str, t.Any]]:
    """The paths of a host to all that ``targets`` declare, as ``nvme_connection`` takes them; ``options`` go into each."""
    wanted = _networks(networks)
    found: list[dict[str, t.Any]] = []
    for name in targets:
        addresses = addresses_of(hostvars, name)
        for subsystem in declared_of_target(hostvars, name):
            if not _lets_in(subsystem, hostnqn):
                continue
            for listener in _portals(subsystem, addresses, wanted, f"target {name}, {subsystem['nqn']}", name == host):
                place = {
                    "nqn": subsystem["nqn"],
                    "transport": str(listener.get("trtype") or "TCP").lower(),
                    "traddr": str(listener["traddr"]),
                    "trsvcid": str(listener.get("trsvcid") or 4420),
                }
                path = {"tls": bool(listener.get("secure_channel")), **(options or {}), **place}
                if not path["tls"]:
                    path.pop("tls_psk_file", None)
                if not any(all(path[key] == other[key] for key in place) for other in found):
                    found.append(path)
    return found


def from_host(paths: t.Sequence[Entry], addresses: t.Sequence[str] | None, networks: t.Any) -> list[dict[str, t.Any]]:
    """Paths with ``host_traddr``: this host's address in one of ``networks``, for those that have none and shall be present.

    Of several networks that one counts in which the target's address lies, too, else the only one of its family.
    """
    wanted = _networks(networks)
    found = []
    for path in paths:
        ip = _ip(path.get("traddr"))
        if not wanted or ip is None or path.get("host_traddr") or (path.get("state") or "present") == "absent":
            found.append(dict(path))
            continue
        family = [network for network in wanted if ipaddress.ip_network(network, strict=False).version == ip.version]
        same = [network for network in family if _within(str(ip), network)] or family
        label = f"this host's address for the path to {path['traddr']}"
        if len(same) != 1:
            told = f"several of its host networks fit: {', '.join(same)}" if same else f"none of its host networks ({', '.join(wanted)}) is IPv{ip.version}"
            raise AddressError(f"{label}: {told}. Next step: correct nvme_initiator_host_network, or give the path a host_traddr")
        found.append({**path, "host_traddr": _choose(addresses, same[0], label, "set nvme_initiator_addresses, or gather the facts of this host")})
    return found
