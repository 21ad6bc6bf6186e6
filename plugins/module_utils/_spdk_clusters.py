# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Ceph clusters that a target opens images through: registered before the first bdev that uses them, never changed, never unregistered."""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target, TimedOut

REGISTER = "bdev_rbd_register_cluster"

#: config_param entries that are secrets: SPDK shows config_param to everybody who may read, so they belong into a keyring file.
SECRET_PARAMS = ("key",)


def clusters_to_register(target: Target, clusters: t.Sequence[t.Mapping[str, t.Any]]) -> tuple[list[dict[str, t.Any]], list[str]]:
    """Parameters of the calls that are needed, and the names that are registered after them.

    ``clusters`` is the module's option of that name. Raises :class:`HopError` for a cluster that is registered
    differently, as one in use cannot be changed; touches nothing.
    """
    existing = {entry["name"]: entry for entry in target.clusters()}
    needed: list[dict[str, t.Any]] = []
    seen: set[str] = set()
    for cluster in clusters:
        name = cluster["name"]
        if not name or name in seen:
            raise HopError("clusters names this cluster twice, or a cluster has no name", obj=name or "clusters", hop="bdev", remedy="name each once")
        seen.add(name)
        params = _parameters(cluster)
        if name in existing:
            _compare(existing[name], params)
        else:
            target.check_call(REGISTER, params, name, "bdev")
            needed.append(params)
    return needed, sorted(set(existing) | seen)


def _parameters(cluster: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """One cluster as the call takes it."""
    name = cluster["name"]
    secret = [key for key in cluster.get("config_param") or {} if key in SECRET_PARAMS]
    if secret:
        raise HopError(
            f"config_param must not hold the secret {secret[0]}: the target shows config_param to every reader",
            obj=name,
            hop="bdev",
            remedy="put the key into a keyring file on the target and name it in key_file",
        )
    params: dict[str, t.Any] = {"name": name}
    for option, param in (("user", "user_id"), ("config_file",) * 2, ("key_file",) * 2, ("core_mask",) * 2):
        if cluster.get(option):
            params[param] = cluster[option]
    if cluster.get("config_param"):
        # every value must be a JSON string
        params["config_param"] = {key: str(value) for key, value in cluster["config_param"].items()}
    return params


def _compare(there: t.Mapping[str, t.Any], params: t.Mapping[str, t.Any]) -> None:
    """Raise when the registered cluster ``there`` is not the wanted one; what is not asked for is not compared."""
    for option, param in (("user", "user_id"), ("config_file",) * 2, ("key_file",) * 2, ("config_param",) * 2):
        if param not in params or params[param] == there[option]:
            continue
        if option == "config_param":  # it may hold somebody's secret
            present = there[option] or {}
            keys = sorted(key for key in set(present) | set(params[param]) if present.get(key) != params[param].get(key))
            detail = f"they differ in {', '.join(keys)}"
        else:
            detail = f"{there[option]!r}, wanted {params[param]!r}"
        raise HopError(
            f"the cluster is registered with another {option} ({detail})",
            obj=there["name"],
            hop="bdev",
            remedy="register it under another name; a cluster in use cannot be changed or unregistered",
        )


def register_cluster(target: Target, params: dict[str, t.Any]) -> None:
    """Register one cluster; after a time-out what the target lists decides."""
    try:
        outcome = target.change([(REGISTER, params, params["name"])], "bdev")[0]
    except TimedOut:
        if params["name"] not in [entry["name"] for entry in target.clusters()]:
            raise
        return
    if isinstance(outcome, HopError):
        raise outcome
