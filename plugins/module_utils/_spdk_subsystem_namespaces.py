# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The namespaces of a subsystem: which volume under which nsid, in which ANA group, seen by whom.

A namespace that becomes another volume under a running guest makes the guest read zeros. So an identity (bdev, nsid, uuid, nguid,
eui64) that differs is an error without force, whether or not a host is connected.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_facts import normal_nguid, normal_uuid
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_hosts import check_nqn
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_plan import Plan

if t.TYPE_CHECKING:
    from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_wish import SubsystemWish

Bdevs = t.Dict[str, t.Dict[str, t.Any]]

#: By these hosts tell volumes apart.
IDENTITY = ("bdev", "uuid", "nguid", "eui64")


def wanted_namespaces(entries: t.Sequence[t.Mapping[str, t.Any]] | None, bad: t.Callable[..., HopError]) -> list[dict[str, t.Any]] | None:
    if entries is None:
        return None
    namespaces: list[dict[str, t.Any]] = []
    seen: set[tuple[str, t.Any]] = set()
    for entry in entries:
        name = entry["bdev"]
        try:
            uuid = normal_uuid(entry.get("uuid"))
        except ValueError:
            raise bad(f"uuid {entry['uuid']!r} of namespace {name} is not a UUID", "correct it") from None
        wish: dict[str, t.Any] = {"bdev": name, "nsid": entry.get("nsid"), "uuid": uuid}
        for key, digits in (("nguid", 32), ("eui64", 16)):
            wish[key] = normal_nguid(entry.get(key))
            if wish[key] is not None and not re.match(rf"[0-9a-f]{{{digits}}}$", wish[key]):
                raise bad(f"{key} {entry[key]!r} of namespace {name} is not {digits} hex digits", "correct it")
        for key in ("nsid", "anagrpid"):
            if entry.get(key) is not None and entry[key] < 1:
                raise bad(f"{key} {entry[key]} of namespace {name} is below 1", "use 1 or more, or leave it out")
        wish["state"] = entry.get("state") or "present"
        wish["anagrpid"] = entry.get("anagrpid")
        wish["auto_visible"] = entry.get("auto_visible")
        wish["ptpl_file"] = entry.get("ptpl_file") or None
        hosts = entry.get("hosts")
        wish["hosts"] = None if hosts is None else sorted(set(hosts))
        for host in hosts or []:
            check_nqn(host, "host")
        if hosts is not None and wish["auto_visible"] is not False:
            raise bad(f"namespace {name} names hosts, but is visible to all of the subsystem's", "set auto_visible to false, or leave its hosts out")
        for key in ("bdev", "nsid", "uuid", "nguid", "eui64"):
            if wish[key] is None:
                continue
            if (key, wish[key]) in seen:
                raise bad(f"two namespaces have the same {key} {wish[key]}", "name each once")
            seen.add((key, wish[key]))
        namespaces.append(wish)
    return namespaces


def identity(entry: t.Mapping[str, t.Any], bdev: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
    """Bdev, uuid, nguid and eui64 a namespace is to have: the bdev's uuid, and that without dashes, unless given."""
    uuid = entry["uuid"] or (bdev["uuid"] if bdev else None)
    return {
        "bdev": bdev["name"] if bdev else entry["bdev"],
        "uuid": uuid,
        "nguid": entry["nguid"] or (uuid.replace("-", "") if uuid else None),
        "eui64": entry["eui64"],
    }


def plan_namespaces(plan: Plan, wish: SubsystemWish, now: dict[str, t.Any], bdevs: Bdevs) -> None:
    """Add, change and (with purge) remove namespaces; ``now`` becomes what will be there."""
    if wish.namespaces is None:
        return
    leaving = {_plan_absent(plan, wish, now, entry) for entry in wish.namespaces if entry["state"] == "absent"}
    by_nsid = {there["nsid"]: there for there in now["namespaces"]}
    by_bdev = {there["bdev"]: there for there in now["namespaces"]}
    kept: set[int] = set()
    gone: dict[int, dict[str, t.Any]] = {}
    missing: list[dict[str, t.Any]] = []
    for entry in wish.namespaces:
        if entry["state"] == "absent":
            continue
        if entry["nsid"] in leaving - {None} and not wish.force:
            raise HopError(
                f"nsid {entry['nsid']} would become another volume in the call that takes it away",
                obj=f"{wish.nqn}#{entry['nsid']}",
                hop="namespace",
                cause="hosts would find another disk, or zeros, under a running guest",
                remedy="use another nsid, or set force when no host uses this namespace",
            )
        bdev = bdevs.get(entry["bdev"])
        holder = by_bdev.get(bdev["name"] if bdev else entry["bdev"])
        there = holder if entry["nsid"] is None else by_nsid.get(entry["nsid"])
        problem = _moved(wish, entry, holder, there) or (there and _differs(plan, wish, entry, there, identity(entry, bdev)))
        if problem is None and there is not None:
            _set_group(plan, wish, now, entry, there)
            _set_hosts(plan, wish, entry, there)
            kept.add(there["nsid"])
            continue
        if problem is not None and not wish.force:
            raise problem
        for old in (holder, there):
            if old is not None:
                gone[old["nsid"]] = old
        missing.append({**entry, "nsid": entry["nsid"] or (there["nsid"] if there else None)})
    for nsid, old in gone.items():
        if nsid not in kept:
            _remove(plan, wish.nqn, now, old, "giving a namespace another identity")
    if wish.purge:
        for old in [old for old in now["namespaces"] if old["nsid"] not in kept]:
            _remove(plan, wish.nqn, now, old, "removing a namespace")
    taken = {entry["nsid"] for entry in [*wish.namespaces, *missing] if entry["nsid"]} | (leaving - {None}) | {old["nsid"] for old in now["namespaces"]}
    for entry in missing:
        _add(plan, wish, now, entry, bdevs, taken)


def _plan_absent(plan: Plan, wish: SubsystemWish, now: dict[str, t.Any], entry: dict[str, t.Any]) -> int | None:
    """Remove the namespace of a bdev, and tell its nsid. Another nsid or uuid than the named one is an error, also with force: it would be another volume."""
    there = next((there for there in now["namespaces"] if there["bdev"] == entry["bdev"]), None)
    if there is None:
        return None
    differs = [f"{key} is {there[key]!r}, not {entry[key]!r}" for key in ("nsid", "uuid") if entry[key] is not None and there[key] != entry[key]]
    if differs:
        raise HopError(
            f"the namespace of the bdev {entry['bdev']} is another one than the one to remove: {' and '.join(differs)}",
            obj=f"{wish.nqn}#{there['nsid']}",
            hop="namespace",
            remedy="read the target (spdk_target_info) and name the namespace that is meant",
        )
    _remove(plan, wish.nqn, now, there, "removing a namespace")
    return int(there["nsid"])


def _moved(wish: SubsystemWish, entry: dict[str, t.Any], holder: dict[str, t.Any] | None, there: dict[str, t.Any] | None) -> HopError | None:
    """The error of a bdev that is already a namespace under another nsid."""
    if holder is None or holder is there:
        return None
    return HopError(
        f"the bdev {holder['bdev']} is already namespace {holder['nsid']}",
        obj=f"{wish.nqn}#{entry['nsid']}",
        hop="namespace",
        cause="a bdev can be one namespace only, and hosts know a namespace by its nsid, too",
        remedy=f"ask for nsid {holder['nsid']}, or set force when no host uses that namespace",
    )


def _differs(plan: Plan, wish: SubsystemWish, entry: dict[str, t.Any], there: dict[str, t.Any], wanted: dict[str, t.Any]) -> HopError | None:
    """The error of a namespace that holds another volume, or has what SPDK takes only when it adds a namespace."""
    label = f"{wish.nqn}#{there['nsid']}"
    differs = [
        f"{key} is {there[key]!r}, not {wanted[key]!r}"
        for key in IDENTITY
        # an identity that was not asked for is left as it is
        if wanted[key] is not None and there[key] != wanted[key] and (key == "bdev" or entry[key])
    ]
    if differs:
        return HopError(
            f"namespace {there['nsid']} holds another volume: {' and '.join(differs)}",
            obj=label,
            hop="namespace",
            cause="hosts would find another disk, or zeros, under a running guest",
            remedy="use another nsid, or set force when no host uses this namespace",
        )
    for key, unknown in (("auto_visible", there["auto_visible"] is None), ("ptpl_file", there["hosts"] is None and there["ptpl_file"] is None)):
        if entry[key] is None or entry[key] == there[key]:
            continue
        if unknown:
            plan.unproven.append(f"{label}: SPDK {plan.table.name} does not show {key} of the namespace")
        else:
            differs.append(f"{key} is {there[key]!r}, not {entry[key]!r}")
    if not differs:
        return None
    return HopError(
        f"namespace {there['nsid']} exists, and {' and '.join(differs)}",
        obj=label,
        hop="namespace",
        cause="SPDK takes it only when it adds a namespace",
        remedy="use another nsid, or set force when no host uses this namespace: it is removed and added again",
    )


def _remove(plan: Plan, nqn: str, now: dict[str, t.Any], there: dict[str, t.Any], takes: str) -> None:
    plan.add(
        "remove_namespace",
        "nvmf_subsystem_remove_ns",
        {"nqn": nqn, "nsid": there["nsid"]},
        nqn,
        before={"namespaces": [{key: there[key] for key in ("nsid", "bdev", "uuid")}]},
        after={"namespaces": []},
        takes=takes,
    )
    now["namespaces"].remove(there)


def _check_group(wish: SubsystemWish, now: dict[str, t.Any], label: str, group: int | None) -> None:
    if group is None:
        return
    if now["ana_reporting"] is False:
        raise HopError(
            "anagrpid is asked for, but the subsystem does not report ANA",
            obj=label,
            hop="namespace",
            cause="without ANA no host is told the group, and SPDK does not show it",
            remedy="leave anagrpid out, or create the subsystem with ana_reporting, which cannot be changed later",
        )
    if now["max_namespaces"] and group > now["max_namespaces"]:
        raise HopError(
            f"ANA group {group} is above max_namespaces {now['max_namespaces']}",
            obj=label,
            hop="namespace",
            cause="SPDK has as many ANA groups as a subsystem may have namespaces",
            remedy="use a lower group, or another subsystem",
        )


def _set_group(plan: Plan, wish: SubsystemWish, now: dict[str, t.Any], entry: dict[str, t.Any], there: dict[str, t.Any]) -> None:
    group, label = entry["anagrpid"], f"{wish.nqn}#{there['nsid']}"
    _check_group(wish, now, label, group)
    if group is None or there["anagrpid"] == group:
        return
    if there["anagrpid"] is None:
        plan.unproven.append(f"{label}: SPDK {plan.table.name} does not show anagrpid of the namespace")
        return
    plan.add(
        "ana_group",
        "nvmf_subsystem_set_ns_ana_group",
        {"nqn": wish.nqn, "nsid": there["nsid"], "anagrpid": group},
        wish.nqn,
        before={f"anagrpid of {there['nsid']}": there["anagrpid"]},
        after={f"anagrpid of {there['nsid']}": group},
    )
    there["anagrpid"] = group


def _set_hosts(plan: Plan, wish: SubsystemWish, entry: dict[str, t.Any], there: dict[str, t.Any]) -> None:
    """Who sees a namespace that is not visible to all; with purge nobody else does."""
    nsid, wanted = there["nsid"], entry["hosts"]
    if wanted is None or there["auto_visible"] is not False:
        return
    label = f"hosts of {nsid}"
    for host in wanted:
        if host not in there["hosts"]:
            params = {"nqn": wish.nqn, "nsid": nsid, "host": host}
            plan.add("add_namespace_host", "nvmf_ns_add_host", params, wish.nqn, before={label: []}, after={label: [host]})
    stays = [host for host in there["hosts"] if host in wanted or not wish.purge]
    for host in there["hosts"]:
        if host not in stays:
            plan.add(
                "remove_namespace_host",
                "nvmf_ns_remove_host",
                {"nqn": wish.nqn, "nsid": nsid, "host": host},
                wish.nqn,
                before={label: [host]},
                after={label: []},
                takes="hiding a namespace",
                concerns=host.__eq__,
            )
    there["hosts"] = sorted({*stays, *wanted})


def _add(plan: Plan, wish: SubsystemWish, now: dict[str, t.Any], entry: dict[str, t.Any], bdevs: Bdevs, taken: set[int]) -> None:
    bdev = bdevs.get(entry["bdev"])
    label = f"{wish.nqn}#{entry['nsid'] or entry['bdev']}"
    if bdev is None:
        raise HopError(
            f"the target has no bdev {entry['bdev']}",
            obj=label,
            hop="bdev",
            call="bdev_get_bdevs",
            remedy="create it first (nvmeof.spdk.spdk_rbd_bdev), or correct the name",
        )
    _check_group(wish, now, label, entry["anagrpid"])
    limit, nsid = now.get("max_namespaces"), entry["nsid"]
    if nsid is None:
        # the lowest free one, as SPDK would choose, but not one that the list gives to another bdev
        nsid = next(number for number in range(1, len(taken) + 2) if number not in taken)
    if limit and nsid > limit:
        raise HopError(
            f"nsid {nsid} is above max_namespaces {limit}",
            obj=label,
            hop="namespace",
            cause="SPDK cannot change max_namespaces in a subsystem",
            remedy="use a lower nsid, or another subsystem",
        )
    taken.add(nsid)
    ids = identity(entry, bdev)
    namespace: dict[str, t.Any] = {"bdev_name": ids["bdev"], "nsid": nsid}
    for key, value in (*((key, ids[key]) for key in ("uuid", "nguid", "eui64")), *((key, entry[key]) for key in ("anagrpid", "ptpl_file"))):
        if value is not None:
            namespace[key] = value
    if entry["auto_visible"] is False:
        namespace["no_auto_visible"] = True
    plan.add(
        "add_namespace",
        "nvmf_subsystem_add_ns",
        {"nqn": wish.nqn, "namespace": namespace},
        wish.nqn,
        before={"namespaces": []},
        after={"namespaces": [{"nsid": nsid, "bdev": ids["bdev"], "uuid": ids["uuid"]}]},
    )
    shows_group = now["ana_reporting"] and plan.table.has("nvmf_subsystem_add_ns", "namespace.anagrpid")
    there = {
        "nsid": nsid,
        **ids,
        "anagrpid": (entry["anagrpid"] or nsid) if shows_group else None,
        "auto_visible": entry["auto_visible"] is not False,
        "hosts": [],
        "ptpl_file": entry["ptpl_file"],
    }
    now["namespaces"].append(there)
    _set_hosts(plan, wish, entry, there)


def check_claims(plan: Plan, found: t.Iterable[dict[str, t.Any]], bdevs: Bdevs) -> None:
    """Raise for a bdev that is to become a namespace and is in use by what stays; a bdev is one namespace of one subsystem."""
    holders = {there["bdev"]: (entry["nqn"], there["nsid"]) for entry in found for there in entry["namespaces"]}
    freed = {(call.nqn, call.params.get("nsid")) for call in plan.calls if call.stage in ("remove_namespace", "delete")}
    added: dict[str, str] = {}
    for call in plan.calls:
        if call.stage != "add_namespace":
            continue
        name = call.params["namespace"]["bdev_name"]
        label = f"{call.nqn}#{call.params['namespace']['nsid']}"
        holder = holders.get(name)
        free = not bdevs[name]["claimed"] or (holder is not None and (holder in freed or (holder[0], None) in freed))
        if free and added.setdefault(name, label) == label:
            continue
        user = added.get(name) or (f"{holder[0]}#{holder[1]}" if holder else "something else")
        raise HopError(
            f"the bdev {name} is already in use by {user}",
            obj=label,
            hop="namespace",
            cause="a bdev can be one namespace only, of one subsystem",
            remedy="look with nvmeof.spdk.spdk_target_info where it is used",
        )
