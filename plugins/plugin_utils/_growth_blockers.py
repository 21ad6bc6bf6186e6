# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What stands in the way of one volume's growth, all of it at once; and what does not, but should be known.

A blocker has ``hop``, ``object``, ``problem``, ``remedy``, ``severity`` (``critical`` or ``blocker``) and ``code``, a word for its kind.
"""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human

from ._growth_layers import problems_of
from ._verdict import critical_of, goal_of, hop_bytes
from ._volumes import HOPS, LEFT_OUT, Volume

Blocker = dict[str, str]


def blocker(code: str, hop: str, obj: str, problem: str, remedy: str) -> Blocker:
    return {"hop": hop, "object": obj, "problem": problem, "remedy": remedy, "severity": "blocker", "code": code}


def blockers_of(volume: Volume, wanted: int, exact: bool, allow_degraded: bool, grow_layers: bool = False) -> list[Blocker]:
    """What forbids to touch this volume; ``wanted`` in bytes."""
    goal = goal_of(volume, wanted) or wanted
    found = list(critical_of(volume))
    found += problems_of(volume, goal, grow_layers)
    found += _of_image(volume, wanted, exact)
    found += _of_the_limit(volume)
    found += _of_targets(volume, goal, allow_degraded)
    found += _of_paths(volume, allow_degraded)
    found += _of_twins(volume)
    found += _of_kernels(volume, goal)
    return found


def _of_image(volume: Volume, wanted: int, exact: bool) -> list[Blocker]:
    image = hop_bytes(volume, "image")
    if image is None:
        errors = "; ".join(f"{reading['host']}: {reading['error']}" for reading in volume["readings"]["image"]) or "no host was asked"
        problem = f"nobody can read the image's true size ({errors})"
        remedy = "give the target or a host of the group ceph_clients python3-rbd (or the rbd tool) and a keyring; without the size nothing is resized"
        return [blocker("size_unknown", "image", volume["volume"], problem, remedy)]
    if exact and image > wanted:
        problem = f"the image has {human(image)}, more than the exact {human(wanted)}"
        return [blocker("shrink", "image", volume["volume"], problem, "capacity only grows; ask for the larger size")]
    if image < wanted and volume.get("primary"):
        problem = "the image is the secondary of a mirror and read-only; its primary is " + volume["primary"]
        remedy = "grow the primary: mirroring brings the new size here, and the rest of the path is then grown by this playbook"
        return [blocker("mirror_secondary", "image", volume["volume"], problem, remedy)]
    return []


def _of_the_limit(volume: Volume) -> list[Blocker]:
    left_out = {reading["host"]: hop for hop in ("bdev", "device", "disk") for reading in volume["readings"][hop] if reading["error"] == LEFT_OUT}
    if not left_out:
        return []
    names = ", ".join(sorted(left_out))
    problem = f"{LEFT_OUT}: {names}; the volume is on them, or nobody knows that it is not"
    remedy = "run it without --limit; what grows is chosen with volume=..."
    return [blocker("left_out", HOPS[min(map(HOPS.index, left_out.values()))], names, problem, remedy)]


def _of_targets(volume: Volume, goal: int, allow_degraded: bool) -> list[Blocker]:
    found = []
    readers = {reading["host"] for reading in volume["readings"]["image"] if reading["bytes"] is not None}
    for reading in volume["readings"]["bdev"]:
        label = f"{reading['host']}:{reading['object']}"
        if reading["bytes"] is None:
            if reading["error"] != LEFT_OUT and not allow_degraded:
                remedy = "bring the target back; every target must show the new size before a host may see it (allow_degraded goes on without it)"
                found.append(blocker("target_silent", "bdev", label, f"target {reading['host']} cannot be read: {reading['error']}", remedy))
            continue
        for hazard in reading.get("hazards") or []:
            blind = hazard["growth"] == "needs_image" and reading["host"] not in readers
            if reading["bytes"] < goal and (hazard["growth"] == "blocked" or blind):
                text = hazard["text"] + (", and this one cannot read the image itself" if blind else "")
                found.append(blocker("spdk_" + hazard["hazard"], "bdev", label, text, hazard["remedy"]))
    return found


def silent_targets(volume: Volume) -> list[str]:
    return [reading["host"] for reading in volume["readings"]["bdev"] if reading["bytes"] is None]


def _of_paths(volume: Volume, allow_degraded: bool) -> list[Blocker]:
    found = []
    portals = {portal for reading in volume["readings"]["namespace"] for portal in reading.get("portals") or []}
    # a listener on all addresses of its host
    ports = {portal.rpartition(":")[2] for portal in portals if portal.rpartition(":")[0] in ("0.0.0.0", "::")}
    silent = ", ".join(silent_targets(volume))
    devices = {(reading["host"], reading["object"]): reading["bytes"] for reading in volume["readings"]["device"]}
    for reading in volume["readings"]["path"]:
        label = f"{reading['host']}:{reading['object']}"
        known = reading["portal"] in portals
        if reading["state"] != "live":
            if not allow_degraded:
                remedy = "restore the path, or disconnect it if it is gone for good"
                found.append(blocker("path_down", "path", label, f"the path is {reading['state']}", remedy))
            continue
        if silent and not known:
            remedy = f"make {silent} answer, or stop it, so that hosts leave it: with a living path of the old size the device would fall back to that size"
            text = f"the path is live, and no target that answers listens there; {silent} cannot be read"
            found.append(blocker("path_to_silence", "path", label, text, remedy))
            continue
        head = devices.get((reading["host"], reading.get("device")))
        stranger = not known and reading["portal"].rpartition(":")[2] not in ports
        if stranger and head is not None and reading["bytes"] is not None and reading["bytes"] < head:
            text = f"the path serves {human(reading['bytes'])}, less than its device ({human(head)}), and no target of the inventory listens there"
            remedy = "put that target into the inventory, or disconnect the path; never rescan its controller by hand, the device would fall back"
            found.append(blocker("path_stale", "path", label, text, remedy))
    return found


def _of_twins(volume: Volume) -> list[Blocker]:
    """Hosts that show the UUID by several subsystems: for them these are two disks, and ``nvme_rescan`` would follow neither."""
    nqns: dict[str, set[str]] = {}
    for reading in volume["readings"]["path"]:
        nqns.setdefault(reading["host"], set()).add(reading["nqn"])
    remedy = "give every volume its own UUID and export an image by one subsystem only, or disconnect one of them"
    return [
        blocker("device_twice", "device", host, f"the host shows the UUID as namespaces of several subsystems: {', '.join(sorted(found))}", remedy)
        for host, found in sorted(nqns.items())
        if len(found) > 1
    ]


def _of_kernels(volume: Volume, goal: int) -> list[Blocker]:
    """Hosts whose kernel can hang in a rescan, where one is certain: the target sends no event, or the event is over and a path lags."""
    found = []
    served = [reading["bytes"] for reading in volume["readings"]["bdev"] if reading["bytes"] is not None]
    no_event = any(hazard["growth"] == "rescan" for reading in volume["readings"]["bdev"] for hazard in reading.get("hazards") or [])
    late: set[str] = set()
    for reading in volume["readings"]["path"]:
        if served and reading["bytes"] is not None and reading["bytes"] < min(served):
            late.add(reading["host"])
    for reading in volume["readings"]["device"]:
        hazard = reading.get("rescan_hazard")
        if not hazard or reading["bytes"] is None or not (no_event or reading["host"] in late):
            continue
        if reading["bytes"] < goal or reading["host"] in late:
            why = "its target tells no growth" if no_event else "a path lags behind its target"
            text = f"{hazard['text']}, and one is needed: {why}"
            found.append(blocker("kernel", "device", f"{reading['host']}:{reading['object']}", text, hazard["remedy"]))
    return found


def notes_of(volume: Volume) -> list[Blocker]:
    """What does not stand in the way of the capacity and should be known: warnings, guests that must reboot, domains that are shut off."""
    told = {}
    for problem in volume["problems"]:
        if problem["severity"] == "warning" or problem["code"] == "shut_off":
            note = {key: problem[key] for key in ("code", "hop", "object", "problem")}
            told[tuple(note.values())] = note
    return list(told.values())


def fleet_notes(volumes: t.Sequence[Volume]) -> list[str]:
    """What releases and kernels mean for these volumes, once for each target and host."""
    told: list[str] = []
    for volume in volumes:
        for reading in volume["readings"]["bdev"]:
            told += [
                f"note (spdk_{hazard['hazard']}): target {reading['host']}: {hazard['text']}. {hazard['guard']}"
                for hazard in reading.get("hazards") or []
                if hazard["growth"] != "blocked"
            ]
        for reading in volume["readings"]["device"]:
            if reading.get("rescan_hazard"):
                told.append(f"note (kernel): {reading['host']}: {reading['rescan_hazard']['text']}")
    return list(dict.fromkeys(told))
