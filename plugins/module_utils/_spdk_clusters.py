# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Ceph clusters that a target opens images through: registered before the first bdev that uses them, never changed, never unregistered.

Releases before 21.07 register none: there a declared cluster becomes the user and the configuration of each bdev (:func:`bdev_access`).
"""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import METHODS, ReleaseTable, UnsupportedError, release_name
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target, TimedOut

REGISTER = "bdev_rbd_register_cluster"

#: config_param entries that are secrets: SPDK shows config_param to everybody who may read, so they belong into a keyring file.
SECRET_PARAMS = ("key",)
#: Where librados looks by itself: releases without clusters can name neither file.
DEFAULT_CONFIG_FILE = "/etc/ceph/ceph.conf"
DEFAULT_KEY_FILE = "/etc/ceph/ceph.client.{user}.keyring"
DEFAULT_USER = "admin"


def has_clusters(table: ReleaseTable) -> bool:
    """Whether bdevs are opened through registered clusters (21.07)."""
    return table.has("bdev_rbd_create", "cluster_name")


def clusters_to_register(
    target: Target, clusters: t.Sequence[t.Mapping[str, t.Any]], config_defaults: t.Mapping[str, t.Any] | None = None, keep: bool = False
) -> tuple[list[dict[str, t.Any]], list[str]]:
    """Parameters of the calls that are needed, and the names that are registered after them.

    ``clusters`` is the module's option of that name; ``config_defaults`` (see :func:`cluster_params`) only goes into new ones.
    Both are empty for a release without clusters. With ``keep`` a registered cluster stays what it is; otherwise :class:`HopError` is
    raised for one that is registered differently, as one in use cannot be changed, and in any case for what the release cannot honour;
    touches nothing.
    """
    if not has_clusters(target.table):
        bdev_access(clusters, target.table, config_defaults)
        return [], []
    existing = {entry["name"]: entry for entry in target.clusters()}
    needed: list[dict[str, t.Any]] = []
    seen: set[str] = set()
    for cluster in clusters:
        name = _once(cluster, seen)
        if name in existing:
            target.check_call(REGISTER, cluster_params(cluster), name, "bdev")  # what the release lacks cannot be in it either
            if not keep:
                _compare(existing[name], cluster_params(cluster))
        else:
            params = cluster_params(cluster, target.table, config_defaults)
            target.check_call(REGISTER, params, name, "bdev")
            needed.append(params)
    return needed, sorted(set(existing) | seen)


def _once(cluster: t.Mapping[str, t.Any], seen: set[str]) -> str:
    """The cluster's name, noted in ``seen``."""
    name = cluster["name"]
    if not name or name in seen:
        raise HopError("clusters names this cluster twice, or a cluster has no name", obj=name or "clusters", hop="bdev", remedy="name each once")
    seen.add(name)
    return name


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


def bdev_access(
    clusters: t.Sequence[t.Mapping[str, t.Any]], table: ReleaseTable, config_defaults: t.Mapping[str, t.Any] | None = None
) -> dict[str, dict[str, t.Any]]:
    """Of each declared cluster what bdev_rbd_create of a release without clusters takes instead: ``user_id`` and ``config``.

    Such a release reads the default file of librados, or with ``config`` no file at all (bdev_rbd.c: either rados_conf_read_file
    or rados_conf_set), so other files cannot be named: an :class:`UnsupportedError`, never left out. ``config_defaults`` go
    into a ``config`` that there is anyway.
    """
    found: dict[str, dict[str, t.Any]] = {}
    seen: set[str] = set()
    for cluster in clusters:
        name = _once(cluster, seen)
        params = cluster_params(cluster)
        config = params.get("config_param")
        key_file = params.get("key_file")
        if params.get("core_mask"):
            raise _cannot(table, name, "core_mask", "leave it out")
        if params.get("config_file") and (config or params["config_file"] != DEFAULT_CONFIG_FILE):
            other = "leave config_file or config_param out" if config else f"use {DEFAULT_CONFIG_FILE}, or give all that it says (mon_host) in config_param"
            raise _cannot(table, name, "config_file", other, " beside config_param" if config else " other than " + DEFAULT_CONFIG_FILE)
        usual = DEFAULT_KEY_FILE.format(user=params.get("user_id") or DEFAULT_USER)
        if key_file and not config and key_file != usual:
            other = f"put the key into {usual}, or give all that {DEFAULT_CONFIG_FILE} says (mon_host) in config_param"
            raise _cannot(table, name, "key_file", other, f" other than {usual} without config_param")
        access: dict[str, t.Any] = {"user_id": params["user_id"]} if params.get("user_id") else {}
        if config:
            defaults = {key: str(value) for key, value in (config_defaults or {}).items()}
            access["config"] = {**defaults, **config, **({"keyring": key_file} if key_file else {})}
        found[name] = access
    return found


def _cannot(table: ReleaseTable, name: str, option: str, remedy: str, which: str = "") -> UnsupportedError:
    since = METHODS[REGISTER].params[option].since
    return UnsupportedError(
        f"SPDK {table.name} opens each bdev with a Ceph client of its own, which takes no {option}{which}",
        obj=name,
        hop="bdev",
        call="bdev_rbd_create",
        cause=f"the target {table.socket} runs SPDK {table.name}",
        remedy=remedy + (f", or upgrade SPDK to {release_name(since)} or later" if since else ""),
    )


def access_for(name: str, wanted: str | None, access: t.Mapping[str, dict[str, t.Any]], table: ReleaseTable) -> tuple[str | None, dict[str, t.Any]]:
    """The declared cluster that the bdev ``name`` is opened like, and the parameters for it; ``access`` is :func:`bdev_access`.

    Without a declared cluster that is librados' own configuration and client.admin: there the name is None.
    """
    if wanted is None and len(access) > 1:
        raise HopError(
            "it is not clear like which declared cluster the image is to be opened",
            obj=name,
            hop="bdev",
            cause="declared are " + ", ".join(sorted(access)),
            remedy="name one in the option cluster",
        )
    if wanted is None:
        wanted = next(iter(access), None)
        return (None, {}) if wanted is None else (wanted, access[wanted])
    if wanted not in access:
        raise UnsupportedError(
            f"the cluster {wanted} is not declared, and SPDK {table.name} has no registered clusters",
            obj=name,
            hop="bdev",
            call="bdev_rbd_create",
            cause="declared are " + (", ".join(sorted(access)) or "none"),
            remedy=f"declare its user and configuration with the option clusters, or upgrade SPDK to {_since_clusters()} or later",
        )
    return wanted, access[wanted]


def _since_clusters() -> str:
    since = METHODS["bdev_rbd_create"].params["cluster_name"].since
    return release_name(since) if since else "a release with clusters"


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
            remedy="register it under another name, or change the start-up file and restart the target; a cluster in use cannot be changed or unregistered",
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
