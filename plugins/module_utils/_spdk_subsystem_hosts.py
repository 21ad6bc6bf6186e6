# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The hosts of a subsystem: who may connect, and by which keys.

Keys are NAMES of keys in the target's keyring, never their content. A key that was not asked for is left as it is, an empty name
takes it away. DH-HMAC-CHAP keys change in place (24.09); a PSK, and every key before 24.09, only by removing the host and adding
it again, which breaks its connections.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_keyring import looks_like_key
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import ReleaseTable
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_facts import HOST_KEYS
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_plan import NamedKey, Plan

if t.TYPE_CHECKING:
    from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_wish import SubsystemWish

MAX_NQN_BYTES = 223


def check_nqn(nqn: str, what: str = "nqn") -> None:
    """Raise :class:`HopError` for a name that no SPDK release takes (lib/nvmf/subsystem.c)."""
    if not re.match(r"nqn\.[0-9]{4}-[0-9]{2}\..+", nqn or "") or len(nqn.encode("utf-8")) > MAX_NQN_BYTES:
        raise HopError(
            f"{what} {nqn!r} is not an NQN",
            obj=nqn or what,
            hop="namespace",
            remedy=f"write nqn.yyyy-mm.reversed.domain:name, at most {MAX_NQN_BYTES} bytes",
        )


def wanted_hosts(entries: t.Sequence[t.Any] | None, bad: t.Callable[..., HopError]) -> list[dict[str, t.Any]] | None:
    """Each host as ``nqn`` and key names (None: not said, "": none). Raises for what cannot be meant, never with a key's value in it."""
    if entries is None:
        return None
    hosts: dict[str, dict[str, t.Any]] = {}
    for entry in entries:
        if isinstance(entry, str):
            entry = {"nqn": entry}
        if not isinstance(entry, dict):
            raise bad("an entry of hosts is neither an NQN nor a dictionary", "write the NQN, or nqn, psk, dhchap_key and dhchap_ctrlr_key")
        unknown = sorted(str(key) for key in set(entry) - {"nqn", *HOST_KEYS})
        if unknown:
            raise bad(f"a host has no option {', '.join(unknown)}", f"known are nqn, {', '.join(HOST_KEYS)}")
        check_nqn(str(entry.get("nqn") or ""), "host")
        host = {"nqn": str(entry["nqn"]), **{key: entry.get(key) for key in HOST_KEYS}}
        for key in HOST_KEYS:
            if host[key] is not None and not isinstance(host[key], str):
                raise bad(f"{key} of host {host['nqn']} is no text", "name a key of the target's keyring")
            if looks_like_key(host[key]):
                raise bad(f"{key} of host {host['nqn']} is a key itself, not a key's name", "put it into a file, and that by name into the keyring")
        if host["dhchap_ctrlr_key"] and not host["dhchap_key"]:
            raise bad(f"host {host['nqn']} has a dhchap_ctrlr_key without a dhchap_key", "SPDK authenticates the controller only to a host with a key")
        if hosts.setdefault(host["nqn"], host) != host:
            raise bad(f"the host {host['nqn']} is named twice with different keys", "name it once")
    return list(hosts.values())


def plan_hosts(plan: Plan, wish: SubsystemWish, now: dict[str, t.Any]) -> None:
    """Add, change and (with purge) remove hosts; ``now`` becomes what will be there."""
    there = {entry["nqn"]: entry for entry in now["host_keys"]}
    for host in wish.hosts or []:
        found = there.get(host["nqn"])
        if found is None:
            _add(plan, wish.nqn, now, host["nqn"], {key: host[key] or None for key in HOST_KEYS})
        else:
            _change_keys(plan, wish.nqn, now, host, found)
    if wish.hosts is not None and wish.purge:
        wanted = {host["nqn"] for host in wish.hosts}
        for nqn in [nqn for nqn in now["hosts"] if nqn not in wanted]:
            _remove(plan, wish.nqn, now, nqn, "removing a host")
    if wish.allow_any_host is not None and wish.allow_any_host != now["allow_any_host"]:
        named = frozenset(now["hosts"])
        plan.add(
            "allow",
            "nvmf_subsystem_allow_any_host",
            {"nqn": wish.nqn, "allow_any_host": wish.allow_any_host},
            wish.nqn,
            before={"allow_any_host": now["allow_any_host"]},
            after={"allow_any_host": wish.allow_any_host},
            # a connected host that the list does not name would not come back
            takes=None if wish.allow_any_host else "ending allow_any_host",
            concerns=lambda nqn: nqn not in named,
        )
        now["allow_any_host"] = wish.allow_any_host


def _shown(nqn: str, keys: t.Mapping[str, str | None]) -> t.Any:
    """A host in a change: the NQN alone, or with the names of its keys."""
    names = {key: keys[key] for key in HOST_KEYS if keys.get(key)}
    return {"nqn": nqn, **names} if names else nqn


def _add(plan: Plan, nqn: str, now: dict[str, t.Any], host: str, keys: dict[str, str | None]) -> None:
    for option in HOST_KEYS:
        if keys[option]:
            _check_key(plan, nqn, host, option, str(keys[option]))
    params = {"nqn": nqn, "host": host, **{key: name for key, name in keys.items() if name}}
    plan.add("add_host", "nvmf_subsystem_add_host", params, nqn, before={"hosts": []}, after={"hosts": [_shown(host, keys)]})
    now["hosts"].append(host)
    now["host_keys"].append({"nqn": host, **keys})


def _remove(plan: Plan, nqn: str, now: dict[str, t.Any], host: str, takes: str) -> None:
    keys = next(entry for entry in now["host_keys"] if entry["nqn"] == host)
    plan.add(
        "remove_host",
        "nvmf_subsystem_remove_host",
        {"nqn": nqn, "host": host},
        nqn,
        before={"hosts": [_shown(host, keys)]},
        after={"hosts": []},
        takes=takes,
        concerns=host.__eq__,
    )
    now["hosts"].remove(host)
    now["host_keys"].remove(keys)


def _change_keys(plan: Plan, nqn: str, now: dict[str, t.Any], host: dict[str, t.Any], found: dict[str, t.Any]) -> None:
    table, differs = plan.table, []
    for key in HOST_KEYS:
        if host[key] is None or (host[key] or None) == found[key]:
            continue
        if key == "psk" and found[key] is None and not table.is_so("shows_psk"):
            if not host[key] and not table.has("nvmf_subsystem_add_host", key):
                continue
            if host[key]:
                _check_key(plan, nqn, host["nqn"], key, host[key])  # what cannot be compared can still be refused
            plan.unproven.append(f"{nqn}: SPDK {table.name} does not show the PSK of host {host['nqn']}; to be sure, remove the host and add it again")
            continue
        differs.append(key)
    if not differs:
        return
    keys = {key: found[key] if host[key] is None else host[key] or None for key in HOST_KEYS}
    if "psk" not in differs and keys["dhchap_key"] and table.has("nvmf_subsystem_set_keys"):
        # both are sent: the call replaces the two, and takes away the one that is left out
        names = {key: keys[key] for key in ("dhchap_key", "dhchap_ctrlr_key") if keys[key]}
        for option, name in names.items():
            _check_key(plan, nqn, host["nqn"], option, str(name))
        plan.add(
            "set_keys",
            "nvmf_subsystem_set_keys",
            {"nqn": nqn, "host": host["nqn"], **names},
            nqn,
            before={"hosts": [_shown(host["nqn"], found)]},
            after={"hosts": [_shown(host["nqn"], keys)]},
        )
        found.update(keys)
        return
    _remove(plan, nqn, now, host["nqn"], f"changing {' and '.join(differs)} of a host")
    _add(plan, nqn, now, host["nqn"], keys)


def _check_key(plan: Plan, nqn: str, host: str, option: str, name: str) -> None:
    """Refuse what SPDK would drop or refuse without a word; note what must be in the keyring."""
    table: ReleaseTable = plan.table

    def bad(message: str, remedy: str, cause: str | None = None) -> HopError:
        return HopError(message, obj=nqn, hop="path", call="nvmf_subsystem_add_host", cause=cause, remedy=remedy)

    table.check_params("nvmf_subsystem_add_host", {option: name}, nqn, "path")
    if option == "psk":
        if "TCP" not in plan.transports:
            raise bad(f"host {host} has a psk, but the target has no TCP transport", "create the transport first", "SPDK would drop the psk silently")
        path = name.startswith("/")
        if path and not table.is_so("psk_is_path"):
            raise bad(f"psk {name} of host {host} is a path", "add the file to the keyring (nvmeof.spdk.spdk_keyring) and give the key's name")
        if not path and not table.is_so("psk_is_key"):
            raise bad(f"psk {name} of host {host} is no absolute path", f"SPDK {table.name} has no keyring: give the path of the file, or upgrade to 24.05")
        if path:
            return
    plan.keys.append(NamedKey(nqn, host, option, name))
