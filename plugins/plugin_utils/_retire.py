# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Volumes that are to go: who uses them, on every host of the inventory, and the work of each host.

A namespace that is taken from a host that uses it makes its guests read zeros. So a use that nobody could rule out (a host that did
not answer, a connected host that the inventory does not know) is a problem as well as a use that was seen.
"""

from __future__ import annotations

import typing as t

from ._gaps import is_lost
from ._provision import Measured, Volume, bdev_of, declared_entry, derived_uuid, namespaces_of, parse
from ._volumes import silent_hosts

RUNNING = ("running", "paused", "blocked", "in shutdown", "pmsuspended")


class _Retirement:
    def __init__(self, measured: Measured, force: bool, detach_running: bool) -> None:
        self.measured = measured
        self.force = force
        self.detach_running = detach_running
        self.problems: list[str] = []
        self.lines: list[str] = []
        self.targets: dict[str, dict[str, list[t.Any]]] = {}
        self.detach: dict[str, list[dict[str, t.Any]]] = {}
        self.fsid = next((entry["target"].get("fsid") for entry in measured.values() if (entry.get("target") or {}).get("fsid")), None)

    def doubt(self, text: str) -> None:
        """Something that is not proven: a problem, or with force a line."""
        if self.force:
            self.lines.append(f"FORCED: {text}")
        else:
            self.problems.append(text + "; force goes on without this proof")

    def volume(self, volume: Volume) -> None:
        uuids = {volume.uuid} if volume.uuid else set()
        for name, entry in self.measured.items():
            bdev = bdev_of(entry["target"], volume) if entry.get("target") else None
            if bdev is None:
                continue
            uuids.add(bdev["uuid"])
            work = self.targets.setdefault(name, {"bdevs": [], "subsystems": []})
            work["bdevs"].append({"name": bdev["name"], "pool": volume.pool, "image": volume.image, "state": "absent"})
            if volume.rados_namespace:
                work["bdevs"][-1]["rados_namespace"] = volume.rados_namespace
            for nqn, namespace in namespaces_of(entry["target"], bdev["name"]):
                if namespace["uuid"]:
                    uuids.add(namespace["uuid"])
                subsystem = next((item for item in work["subsystems"] if item["nqn"] == nqn), None)
                if subsystem is None:
                    subsystem = {"nqn": nqn, "namespaces": [], "force": True}
                    work["subsystems"].append(subsystem)
                subsystem["namespaces"].append({"bdev": bdev["name"], "nsid": namespace["nsid"], "uuid": namespace["uuid"], "state": "absent"})
                self.lines.append(f"{volume.label}: namespace {namespace['nsid']} of {nqn} and bdev {bdev['name']} on {name}")
                self._strangers(volume, entry["target"], nqn)
        if volume.uuid and len(uuids) > 1:
            self.problems.append(f"{volume.label}: its uuid is {', '.join(sorted(uuids - {volume.uuid}))}, not {volume.uuid}")
        if self.fsid:
            uuids.add(derived_uuid(self.fsid, volume))  # a domain can name it although no target exports it any more
        self._hosts(volume, uuids)

    def _strangers(self, volume: Volume, target: t.Mapping[str, t.Any], nqn: str) -> None:
        """Hosts that are connected and were not asked what they use."""
        known = {entry["host"]["hostnqn"] for entry in self.measured.values() if entry.get("host")}
        for subsystem in target["subsystems"]:
            if subsystem["nqn"] != nqn:
                continue
            if subsystem.get("controllers") is None:
                self.doubt(f"{volume.label}: the target cannot tell who is connected to {nqn}")
                continue
            nameless = sum(1 for item in subsystem["controllers"] if not item["hostnqn"])
            ours = self._connections(nqn, {listener["traddr"] for listener in subsystem.get("listeners") or []})
            if nameless > ours:
                self.doubt(f"{volume.label}: {nameless} controllers of {nqn} have no host NQN, the inventory's hosts have {ours} connections to it")
            for hostnqn in sorted({str(item["hostnqn"]) for item in subsystem["controllers"] if item["hostnqn"]} - known):
                self.doubt(f"{volume.label}: host {hostnqn} is connected to {nqn} and nobody asked it what it uses")

    def _connections(self, nqn: str, addresses: set[str]) -> int:
        """How many live connections the inventory's hosts have to a subsystem at these addresses: each is one controller of the target."""
        found = [item for entry in self.measured.values() for item in (entry.get("host") or {}).get("controllers") or []]
        return sum(1 for item in found if item["nqn"] == nqn and item["state"] == "live" and item.get("traddr") in addresses)

    def _hosts(self, volume: Volume, uuids: set[str]) -> None:
        for name, entry in sorted(self.measured.items()):
            for device in (entry.get("host") or {}).get("namespaces") or []:
                if device["uuid"] not in uuids:
                    continue
                uses = [f"held by {holder}" for holder in device.get("holders") or []] + [f"mounted on {mount}" for mount in device.get("mounts") or []]
                if uses:
                    self.problems.append(f"{volume.label}: {device['device']} on {name} is {' and '.join(uses)}; end that first, there is no force for it")
            for disk in entry.get("disks") or []:
                if disk["namespace_uuid"] not in uuids:
                    continue
                label = f"{volume.label}: disk {disk['target']} of the domain {disk['domain']} on {name}"
                running = disk["domain_state"] in RUNNING
                if disk.get("layers"):
                    self.problems.append(f"{label} lies on {', '.join(disk['layers'])}; take that apart first")
                elif running and not self.detach_running:
                    self.problems.append(f"{label}, which is {disk['domain_state']}; unmount it in the guest and set detach_running, or shut the domain down")
                else:
                    wish = {"domain": disk["domain"], "target": disk["target"], "source": disk["source"], "state": "absent", "detach_running": running}
                    self.detach.setdefault(name, []).append(wish)
                    self.lines.append(f"{label} is detached")


def plan(
    volumes: t.Any,
    defaults: t.Mapping[str, t.Any] | None,
    measured: Measured,
    force: bool = False,
    detach_running: bool = False,
    delete_image: bool = False,
    trash: bool = True,
    missing: str | None = None,
) -> dict[str, t.Any]:
    """The work of every host: ``detach`` (disks) and ``targets`` by host, ``images``; ``lines`` and all ``problems``.

    ``missing``: the host that would remove the images, if this run may not talk to it.

    After the disks are detached the same plan over new measurements is the proof: ``detach`` must be empty, and no problem be left.
    """
    found, problems = parse(volumes, defaults, ("pool", "image"))
    work = _Retirement(measured, force, detach_running)
    for text in silent_hosts(t.cast(t.Any, measured)):
        if delete_image and "(target)" in text:
            work.problems.append(f"{text}; an image that this target may export is not deleted")
        else:
            work.doubt(text)
    if delete_image and missing is not None:
        text = f"{missing or 'nobody'} is to remove the images and was left out by --limit; run it without --limit, or keep the images"
        work.problems.append(text)
    for name, entry in sorted(measured.items()):
        for disk in (entry.get("disks") or []) if delete_image else []:
            if is_lost(disk):
                work.doubt(f"the domain {disk['domain']} on {name} runs with the disk {disk['source']}, which is gone, and may have been one of these volumes")
    for volume in found:
        if volume.pool and volume.image:
            work.volume(volume)
    state = "trash" if trash else "deletion"
    if delete_image:
        work.lines += [f"{volume.label}: the image goes to the {state}" for volume in found]
    else:
        work.lines.append("the images are kept")
    images = [
        {"pool": item.pool, "rados_namespace": item.rados_namespace or None, "image": item.image, "state": "absent", "trash": trash}
        for item in found
        if delete_image
    ]
    return {
        "problems": list(dict.fromkeys(problems + work.problems)),
        "lines": list(dict.fromkeys(work.lines)),
        "detach": work.detach,
        "targets": work.targets,
        "images": images,
        "volumes": [declared_entry(volume) for volume in found],
    }
