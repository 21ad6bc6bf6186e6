# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Volumes put into a target's start-up document and taken out of it; everything else in it stays as it is.

Rendering the document from the inventory alone would lose what an earlier run provisioned and nobody has declared yet.
"""

from __future__ import annotations

import copy
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_clusters import REGISTER, has_clusters
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import ReleaseTable

from ._startup_config import StartupConfigError, _Renderer

Calls = t.List[t.Dict[str, t.Any]]

_BEFORE_LAST = {"bdev": ("bdev_wait_for_examine",), "nvmf": ("nvmf_subsystem_add_listener", "nvmf_subsystem_listener_set_ana_state", "nvmf_ns_add_host")}


def merge(
    document: t.Mapping[str, t.Any], add: t.Mapping[str, t.Any], remove: t.Sequence[t.Mapping[str, t.Any]], found: t.Mapping[str, t.Any]
) -> dict[str, t.Any]:
    """The document with the ``bdevs`` and ``subsystems`` of ``add`` (as the modules were given them, with ``clusters`` and
    ``config_defaults`` for releases that register no clusters), without the bdevs of the images in
    ``remove`` (``pool``, ``rados_namespace``, ``image``).

    ``found`` is what the modules read back (``bdevs``, ``subsystems``, ``release``). Raises :class:`StartupConfigError`.
    """
    result = copy.deepcopy(dict(document))
    sections = result.get("subsystems")
    if not isinstance(sections, list):
        raise StartupConfigError("the start-up file has no list subsystems")
    removed = _names_of(sections, remove)
    bdev_calls, nvmf_calls = _new_calls(add, found, [call for section in sections for call in section.get("config") or []])
    for section, fresh in (("bdev", bdev_calls), ("nvmf", nvmf_calls)):
        part = next((entry for entry in sections if entry.get("subsystem") == section), None)
        if part is None:
            if fresh:
                sections.append({"subsystem": section, "config": fresh})
            continue
        part["config"] = _merged(part.get("config") or [], fresh, removed, _BEFORE_LAST[section])
    return result


def _names_of(sections: t.Sequence[t.Mapping[str, t.Any]], images: t.Sequence[t.Mapping[str, t.Any]]) -> set[str]:
    """The bdevs of these images in the document: a name alone could be another pool's image."""
    places = {(entry["pool"], entry.get("rados_namespace") or "", entry["image"]) for entry in images}
    names = set()
    for section in sections:
        for call in section.get("config") or []:
            params = (call.get("params") or {}) if isinstance(call, dict) else {}
            if "rbd_name" in params and (params.get("pool_name"), params.get("namespace_name") or "", params["rbd_name"]) in places:
                names.add(str(params.get("name")))
    return names


def _new_calls(add: t.Mapping[str, t.Any], found: t.Mapping[str, t.Any], calls: t.Sequence[t.Any]) -> tuple[Calls, Calls]:
    """The calls for what the document lacks. What it has was declared, and may say more than a target shows (clusters, limits)."""
    there = {(call["method"], _name(call)) for call in calls if _name(call) is not None}
    clusters = [{"name": call["params"]["name"]} for call in calls if isinstance(call, dict) and call.get("method") == REGISTER]
    bdevs = [bdev for bdev in add.get("bdevs") or [] if ("bdev_rbd_create", bdev["name"]) not in there]
    subsystems = []
    for subsystem in add.get("subsystems") or []:
        missing = [namespace for namespace in subsystem["namespaces"] if ("nvmf_subsystem_add_ns", namespace["bdev"]) not in there]
        subsystems += [{**subsystem, "namespaces": missing}] if missing else []
    if not bdevs and not subsystems:
        return [], []
    release = found["release"]
    try:
        table = ReleaseTable((int(release["major"]), int(release["minor"])), None, "the start-up file")
        renderer = _Renderer(table, {"config_defaults": add.get("config_defaults")}, found)
        if not has_clusters(table):
            clusters = list(add.get("clusters") or [])  # nothing in the document shows how its bdevs are opened
        return (
            [renderer.call("bdev_rbd_create", renderer.bdev_params(bdev, clusters), bdev["name"]) for bdev in bdevs],
            [call for entry in subsystems for call in renderer.namespaces(entry, renderer.subsystems.get(entry["nqn"]) or {})],
        )
    except HopError as error:
        raise StartupConfigError(str(error)) from error


def _name(call: t.Any) -> str | None:
    """The bdev that a call makes, limits or exports."""
    if not isinstance(call, dict):
        return None  # a batch: written by hand, and left alone
    params = call.get("params") or {}
    if call.get("method") in ("bdev_rbd_create", "construct_rbd_bdev", "bdev_set_qos_limit", "set_bdev_qos_limit"):
        return params.get("name")
    if call.get("method") == "nvmf_subsystem_add_ns":
        return (params.get("namespace") or {}).get("bdev_name")
    return None


def _merged(calls: list[t.Any], fresh: Calls, removed: t.Collection[str], last: t.Sequence[str]) -> list[t.Any]:
    """``calls`` without those of ``removed``, and with ``fresh`` before the first of ``last``."""
    nsids = {
        (call["params"]["nqn"], call["params"]["namespace"].get("nsid"))
        for call in calls
        if _name(call) in removed and call["method"] == "nvmf_subsystem_add_ns"
    }
    kept = [call for call in calls if _name(call) not in removed]
    kept = [
        call
        for call in kept
        if not (isinstance(call, dict) and call.get("method") == "nvmf_ns_add_host" and (call["params"]["nqn"], call["params"]["nsid"]) in nsids)
    ]
    place = next((number for number, call in enumerate(kept) if isinstance(call, dict) and call.get("method") in last), len(kept))
    return kept[:place] + fresh + kept[place:]
