# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The start-up JSON of a target, from the declared state.

SPDK's own ``save_config`` loses registered clusters, ``cluster_name``, ``read_only`` and ANA states (measured on 26.05: a
read-only export came back writable), so the file is rendered from what the inventory declares, in the order in which
the target can execute it.
"""

from __future__ import annotations

import typing as t


class StartupConfigError(Exception):
    """The declared state cannot be rendered; the text names the object."""


def _params(**values: t.Any) -> dict[str, t.Any]:
    """Without what is not set: strict decoders refuse a null."""
    return {key: value for key, value in values.items() if value is not None and value != ""}


def _listen_address(listener: t.Mapping[str, t.Any]) -> dict[str, str]:
    return {
        "trtype": str(listener.get("trtype") or "TCP").upper(),
        "adrfam": str(listener.get("adrfam") or ("IPv6" if ":" in str(listener["traddr"]) else "IPv4")),
        "traddr": str(listener["traddr"]),
        "trsvcid": str(listener.get("trsvcid") or 4420),  # a string on the wire; a number is refused
    }


def _bdev_calls(clusters: t.Sequence[dict], bdevs: t.Sequence[dict], uuids: t.Mapping[str, str]) -> list[dict[str, t.Any]]:
    calls = []
    for cluster in clusters:
        params = _params(
            name=cluster["name"],
            user_id=cluster.get("user"),
            config_file=cluster.get("config_file"),
            key_file=cluster.get("key_file"),
            config_param=cluster.get("config_param") or None,
            core_mask=cluster.get("core_mask"),
        )
        calls.append({"method": "bdev_rbd_register_cluster", "params": params})
    for bdev in bdevs:
        if (bdev.get("state") or "present") == "absent":
            continue
        uuid = uuids.get(bdev["name"]) or bdev.get("uuid")
        if not uuid:
            raise StartupConfigError(f"bdev {bdev['name']} has no UUID: without it the namespace's identity would change at every start")
        params = _params(
            name=bdev["name"],
            pool_name=bdev["pool"],
            rbd_name=bdev["image"],
            block_size=int(bdev.get("block_size") or 512),
            cluster_name=bdev.get("cluster"),
            uuid=uuid,
        )
        if bdev.get("read_only"):
            params["read_only"] = True
        calls.append({"method": "bdev_rbd_create", "params": params})
    calls.append({"method": "bdev_wait_for_examine"})
    return calls


def _subsystem_calls(subsystem: t.Mapping[str, t.Any], found: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    nqn = subsystem["nqn"]
    params = _params(
        nqn=nqn,
        serial_number=found.get("serial_number") or subsystem.get("serial_number"),
        model_number=found.get("model_number") or subsystem.get("model_number"),
        max_namespaces=int(found.get("max_namespaces") or subsystem.get("max_namespaces") or 256),
        min_cntlid=subsystem.get("min_cntlid"),
        max_cntlid=subsystem.get("max_cntlid"),
    )
    params["allow_any_host"] = bool(subsystem.get("allow_any_host"))
    params["ana_reporting"] = bool(subsystem.get("ana_reporting"))
    calls = [{"method": "nvmf_create_subsystem", "params": params}]
    calls += [{"method": "nvmf_subsystem_add_host", "params": {"nqn": nqn, "host": host}} for host in subsystem.get("hosts") or []]
    live = {namespace["bdev"]: namespace for namespace in found.get("namespaces") or []}
    for namespace in subsystem.get("namespaces") or []:
        seen = live.get(namespace["bdev"], {})
        nsid = seen.get("nsid") or namespace.get("nsid")
        if not nsid:
            raise StartupConfigError(f"namespace of bdev {namespace['bdev']} in {nqn} has no nsid: it must not depend on the order of creation")
        inner = _params(
            nsid=int(nsid),
            bdev_name=namespace["bdev"],
            uuid=seen.get("uuid") or namespace.get("uuid"),
            nguid=(seen.get("nguid") or namespace.get("nguid") or "").replace("-", "").upper() or None,
            anagrpid=int(namespace["anagrpid"]) if namespace.get("anagrpid") else None,
        )
        calls.append({"method": "nvmf_subsystem_add_ns", "params": {"nqn": nqn, "namespace": inner}})
    # listeners last: a host that connects finds the subsystem complete
    for listener in subsystem.get("listeners") or []:
        params = {"nqn": nqn, "listen_address": _listen_address(listener)}
        if listener.get("ana_state"):
            params["ana_state"] = listener["ana_state"]
        calls.append({"method": "nvmf_subsystem_add_listener", "params": params})
    return calls


def render(
    clusters: t.Sequence[dict[str, t.Any]],
    transports: t.Sequence[dict[str, t.Any]],
    bdevs: t.Sequence[dict[str, t.Any]],
    subsystems: t.Sequence[dict[str, t.Any]],
    found_bdevs: t.Sequence[dict[str, t.Any]],
    found_subsystems: t.Sequence[dict[str, t.Any]],
) -> dict[str, t.Any]:
    """The content of the start-up file.

    The first four are the declared state, ``found_*`` what the modules read back (UUIDs and nsids that the operator left open).
    """
    uuids = {bdev["name"]: bdev["uuid"] for bdev in found_bdevs if bdev.get("uuid")}
    found = {subsystem["nqn"]: subsystem for subsystem in found_subsystems}
    nvmf: list[dict[str, t.Any]] = [
        {"method": "nvmf_create_transport", "params": {"trtype": str(transport["trtype"]).upper(), **(transport.get("options") or {})}}
        for transport in transports
    ]
    for subsystem in subsystems:
        if (subsystem.get("state") or "present") != "absent":
            nvmf += _subsystem_calls(subsystem, found.get(subsystem["nqn"], {}))
    return {
        "subsystems": [
            {"subsystem": "bdev", "config": _bdev_calls(clusters, bdevs, uuids)},
            {"subsystem": "nvmf", "config": nvmf},
        ]
    }
