# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Ceph clusters that a target opens images through: registered before the first bdev that uses them, never changed, never unregistered."""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import ReleaseTable
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target, TimedOut

REGISTER = "bdev_rbd_register_cluster"

#: config_param entries that are secrets: SPDK shows config_param to everybody who may read, so they belong into a keyring file.
SECRET_PARAMS = ("key",)


def clusters_to_register(
    target: Target, clusters: t.Sequence[t.Mapping[str, t.Any]], config_defaults: t.Mapping[str, t.Any] | None = None
) -> tuple[list[dict[str, t.Any]], list[str]]:
    """Parameters of the calls that are needed, and the names that are registered after them.

    ``clusters`` is the module's option of that name; ``config_defaults`` (see :func:`cluster_params`) only goes into new ones.
    Raises :class:`HopError` for a cluster that is registered differently, as one in use cannot be changed; touches nothing.
    """
    existing = {entry["name"]: entry for entry in target.clusters()}
    needed: list[dict[str, t.Any]] = []
    seen: set[str] = set()
    for cluster in clusters:
        name = cluster["name"]
        if not name or name in seen:
            raise HopError("clusters names this cluster twice, or a cluster has no name", obj=name or "clusters", hop="bdev", remedy="name each once")
        seen.add(name)
        if name in existing:
            _compare(existing[name], cluster_params(cluster))
        else:
            params = cluster_params(cluster, target.table, config_defaults)
            target.check_call(REGISTER, params, name, "bdev")
            needed.append(params)
    return needed, sorted(set(existing) | seen)


def cluster_params(cluster: t.Mapping[str, t.Any], table: ReleaseTable | None = None, config_defaults: t.Mapping[str, t.Any] | None = None) -> dict[str, t.Any]:
    """One cluster as the call takes it; the live call and the start-up file are made of this.

    ``config_defaults`` (time-outs, so that a lost mon does not stop the target for 300 s) are added to config_param where the
    release of ``table`` takes it beside config_file (22.01).
    """
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
    config = dict(cluster.get("config_param") or {})
    if table is not None and table.has(REGISTER, "config_file"):
        config = {**(config_defaults or {}), **config}
    if config:
        # every value must be a JSON string
        params["config_param"] = {key: str(value) for key, value in config.items()}
    return params


def cluster_for(name: str, wanted: str | None, registered: t.Sequence[str], declared: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """The cluster through which the bdev ``name`` opens its image: the wanted one, or the only one there is."""
    if wanted is None:
        if len(declared) == 1:
            return declared[0]["name"]
        if len(registered) == 1:
            return registered[0]
        raise HopError(
            "it is not clear through which registered cluster the image is to be opened",
            obj=name,
            hop="bdev",
            cause="registered are " + (", ".join(registered) or "none"),
            remedy="name one in the option cluster (and register it with the option clusters); without one each bdev costs its own 16 threads",
        )
    if wanted not in registered:
        raise HopError(
            f"no cluster {wanted} is registered at the target",
            obj=name,
            hop="bdev",
            cause="registered are " + (", ".join(registered) or "none"),
            remedy="register it with the option clusters",
        )
    return wanted


def _compare(there: t.Mapping[str, t.Any], params: t.Mapping[str, t.Any]) -> None:
    """Raise when the registered cluster ``there`` is not the wanted one; what is not asked for is not compared."""
    for option, param in (("user", "user_id"), ("config_file",) * 2, ("key_file",) * 2, ("config_param",) * 2):
        if param not in params or params[param] == there[option]:
            continue
        if option == "config_param":  # it may hold somebody's secret; entries beyond the wanted ones came from config_defaults
            present = there[option] or {}
            keys = sorted(key for key in params[param] if present.get(key) != params[param][key])
            if not keys:
                continue
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
