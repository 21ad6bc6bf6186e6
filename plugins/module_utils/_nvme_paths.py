# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The paths of a host, wanted against found: what changes, and what each is then."""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_connect import LIVE, Connector
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_path_wish import label
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_sysfs import SysfsNvme, missing_namespaces, problem, where
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Changes


def plan(path: dict[str, t.Any], connector: Connector, controllers: list[dict[str, t.Any]], changes: Changes, doomed: set[str]) -> None:
    """Add the changes of one path; ``doomed`` collects the controllers that this call takes away."""
    found = connector.find(path, controllers)
    name = label(path)
    if path["state"] == "absent":
        found = [item for item in found if item["name"] not in doomed]
        doomed.update(item["name"] for item in found)
        if found and not path["force"]:
            connector.check_unused(set(doomed), name)
        for item in found:
            before = {"controller": item["name"], "state": item["state"]}
            changes.add("connection", name, "disconnect", before, None, lambda victim=item["name"]: connector.disconnect(victim))
        return
    connector.check(path)
    if not found:
        if name not in [change.name for change in changes.items]:
            changes.add("connection", name, "connect", None, {"state": LIVE}, lambda: t.cast("None", connector.connect(path)))
    else:
        lacks = connector.insecure(path, found[0])
        if lacks:
            raise HopError(
                f"the path exists, but {' and '.join(lacks)}",
                obj=name,
                hop="path",
                call=f"read {connector.sysfs.controller_dir(found[0]['name'])}",
                remedy="disconnect it (state: absent) and connect it again",
            )
        live, _fixed = connector.drift(path, found[0])
        if live:
            before = {key: found[0][key] for key in live}
            changes.add("connection", name, "update", before, dict(live), lambda: connector.adjust(found[0]["name"], live))


class Plan:
    """The changes of several paths: each its own, so that one that fails does not keep the others."""

    def __init__(self, paths: t.Sequence[dict[str, t.Any]], connector: Connector) -> None:
        """Nothing is planned for any path when one is refused; :attr:`errors` has why, by path."""
        self.paths = list(paths)
        self.connector = connector
        self.changes = Changes()
        self.errors: list[HopError | None] = []
        self._parts: list[tuple[int, int]] = []
        controllers = connector.sysfs.controllers()
        doomed: set[str] = set()
        for path in self.paths:
            start = len(self.changes.items)
            try:
                plan(path, connector, controllers, self.changes, doomed)
                self.errors.append(None)
            except HopError as exc:
                self.errors.append(exc)
            self._parts.append((start, len(self.changes.items)))
        self.refused = any(error is not None for error in self.errors)
        if self.refused:
            self.changes = Changes()
            self._parts = [(0, 0)] * len(self.paths)

    def apply(self) -> list[HopError]:
        """Make the changes, those of files last; what is not done is no change any more. The errors are those of files, those of paths are with them."""
        for index, (start, end) in enumerate(self._parts):
            for change in self.changes.items[start:end]:
                try:
                    change.apply()
                    change.done = True
                except HopError as exc:
                    self.errors[index] = exc
                    # a controller that was made but does not become live is a change all the same
                    change.done = change.action == "connect" and bool(self.connector.find(self.paths[index]))
                    break
        failed = []
        for change in self.changes.items:
            if change.kind == "file":
                try:
                    change.apply()
                    change.done = True
                except HopError as exc:
                    failed.append(exc)
        self.changes.items = [change for change in self.changes.items if change.done]
        return failed

    def entries(self) -> list[dict[str, t.Any]]:
        """Every path as it is now, with what became of it."""
        host = self.connector.sysfs.host()
        words = {"connect": "connected", "update": "updated", "disconnect": "disconnected"}
        found = []
        for path, error in zip(self.paths, self.errors):
            entry = describe(path, self.connector, host)
            mine = self.changes.of("connection", label(path))
            entry.update(action=words[mine[0].action] if mine else "none", changed=bool(mine), error=error.as_dict() if error else None)
            found.append(entry)
        return found


def describe(path: dict[str, t.Any], connector: Connector, host: dict[str, t.Any]) -> dict[str, t.Any]:
    """One path as it is now, with what is wrong with it."""
    found = connector.find(path, host["controllers"])
    controller = found[0] if found else None
    entry: dict[str, t.Any] = {key: path[key] for key in ("nqn", "transport", "traddr", "trsvcid", "host_traddr")}
    entry.update(controller=None, state="absent", cntlid=None, namespaces=0, authenticated=None, encrypted=None, differs=[], problems=[])
    if controller is None or path["state"] == "absent":
        if controller is not None:
            entry.update(controller=controller["name"], state=controller["state"])
        return entry
    entry.update(
        controller=controller["name"],
        state=controller["state"],
        cntlid=controller["cntlid"],
        **secured(connector.sysfs, controller["name"]),
        namespaces=sum(controller["name"] in [item["controller"] for item in namespace["paths"]] for namespace in host["namespaces"]),
    )
    place = where(controller)
    if controller["state"] != LIVE:
        entry["problems"].append(
            problem(
                controller["name"],
                "path",
                f"{place} is {controller['state']}, not live",
                "check that target and its listener; the kernel reconnects by itself",
                "warning",
            )
        )
    absent = {one["nsid"] for item, lacking in missing_namespaces(host) if item["name"] == controller["name"] for one in lacking}
    if controller["state"] == LIVE:
        absent.update(connector.dropped(controller["name"]))
    if absent:
        text = f"{place} is live but has no path of nsid {', '.join(str(nsid) for nsid in sorted(absent))}, which it serves or other controllers have"
        remedy = (
            "give the namespace the same nsid, uuid and nguid on every target, and no uuid twice in different subsystems "
            "(the kernel drops such a path, with a line in dmesg only)"
        )
        entry["problems"].append(problem(controller["name"], "namespace", text, remedy, "critical"))
    remedy = "disconnect this path (state: absent) while another one is live, and connect it again"
    entry["differs"] = connector.drift(path, controller)[1]
    texts = [f"{one['option']} is {'not shown by this kernel' if one['found'] is None else one['found']}, not {one['wanted']}" for one in entry["differs"]]
    for text in texts + connector.other_keys(path, controller):
        entry["problems"].append(problem(controller["name"], "path", f"{place}: {text}", remedy, "warning"))
    return entry


def secured(sysfs: SysfsNvme, controller: str) -> dict[str, t.Any]:
    """What protects a path, without any secret."""
    has = sysfs.security(controller)
    sides = "both" if has["dhchap_ctrl_secret"] else "host" if has["dhchap_secret"] else "none"
    return {"authenticated": sides, "encrypted": bool(has["tls_key"])}
