# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Layers between a host's device and its user (dm-multipath, LUKS, LVM): the bytes each should have, what stands in the way, whose work they are.

A *chain* is a list of ``[overhead_bytes, unit_bytes]`` from the device up to a layer, as ``nvme_info`` with ``layer_details`` tells them; ``None`` when one of
them is unknown. Imports nothing of this collection, so that every other plugin util may import it.
"""

from __future__ import annotations

import typing as t

#: What ``nvme_info`` tells of a layer with ``layer_details``.
DETAILS = ("overhead_bytes", "unit_bytes", "grown_by", "blocker", "remedy")
#: ``code`` of the problems of a volume that only say that there is a layer.
LAYERS, LUKS = "layers", "luks"


def details_of(layer: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The details of a measured layer; empty when the host was not asked for them."""
    return {key: layer.get(key) for key in DETAILS} if "grown_by" in layer else {}


def expected(chain: t.Sequence[t.Sequence[int]], goal: int) -> int:
    """What is left of ``goal`` bytes of the device at the end of a chain."""
    size = goal
    for overhead, unit in chain:
        size = max(0, size - overhead) // unit * unit
    return size


def note_chains(volume: dict[str, t.Any]) -> None:
    """Write into the volume's layers, and into the readings of disks and guests on them, their ``chain`` (null: unknown)."""
    chains: dict[tuple[str, str], list[list[int]] | None] = {}
    named: dict[tuple[str, str], dict[str, t.Any]] = {}
    on_devices: dict[str, set[str]] = {}
    for layer in volume["layers"]:
        on_devices.setdefault(layer["host"], set()).update(f"/dev/{name}" for name in layer.pop("devices", None) or [])
    for layer in volume["layers"]:  # the lower ones first
        host = layer["host"]
        below = [chains[host, device] if (host, device) in chains else [] if device in on_devices[host] else None for device in layer["on"]]
        known = layer.get("overhead_bytes") is not None and below and all(chain is not None and chain == below[0] for chain in below)
        layer["chain"] = [*t.cast("list[list[int]]", below[0]), [layer["overhead_bytes"], layer["unit_bytes"]]] if known else None
        if layer["kind"] != "lvm-pv":  # a physical volume has no device of its own
            chains[host, layer["device"]] = layer["chain"]
            named[host, layer["object"]] = layer
    for hop in ("disk", "guest"):
        for reading in volume["readings"][hop]:
            if reading.get("layers"):
                top = named.get((reading["host"], reading["layers"][0]))
                reading["chain"] = top["chain"] if top else None


def lagging_layers(volume: t.Mapping[str, t.Any], goal: int) -> list[tuple[str, dict[str, t.Any]]]:
    """The layers with less than they should have when their device has ``goal`` bytes, as ``("layer", reading)``."""
    return [
        ("layer", layer)
        for layer in volume.get("layers") or []
        if layer.get("chain") and layer["bytes"] is not None and layer["bytes"] < expected(layer["chain"], goal)
    ]


def _blocker(code: str, hop: str, obj: str, problem: str, remedy: str) -> dict[str, str]:
    return {"code": code, "hop": hop, "object": obj, "problem": problem, "remedy": remedy, "severity": "blocker"}


def _host_blockers(volume: t.Mapping[str, t.Any], host: str, layers: t.Sequence[dict[str, t.Any]], goal: int) -> list[dict[str, str]]:
    """What forbids ``nvme_layers`` to grow the layers of one host."""
    lags = [layer for _hop, layer in lagging_layers({"layers": layers}, goal)]
    attached = [disk for disk in volume.get("attached") or [] if disk["host"] == host]
    found = []
    for layer in layers:
        label = f"{host}:{layer['object']}"
        owners = [disk["object"] for disk in attached if layer["kind"] == "lvm-pv" and disk["device"] == layer["device"]]
        if layer["blocker"] and (layer in lags or layer["chain"] is None):
            found.append(_blocker("layer_stays", "device", label, layer["blocker"], layer["remedy"] or "grow it by hand, then run again"))
        elif owners:
            # also of a domain that is shut off: two writers of one volume group's metadata destroy it
            problem = f"the volume group on it is active on the host, but the device is the disk of {', '.join(owners)}: it is the guest's own"
            found.append(_blocker("guest_lvm", "device", label, problem, "deactivate it on the host (vgchange -an), and keep the host's LVM off guests' disks"))
    for disk in attached:
        tops = [layer for layer in layers if disk["layers"] and layer["object"] == disk["layers"][0]]
        if tops and tops[0]["chain"] is None and not any(item["object"] == f"{host}:{tops[0]['object']}" for item in found):
            problem = f"the disk {disk['object']} is on {tops[0]['object']} ({tops[0]['kind']}), which keeps its size"
            found.append(
                _blocker(
                    "layer_below_disk",
                    "disk",
                    f"{host}:{disk['object']}",
                    problem,
                    f"grow {tops[0]['object']} by hand after the device (for LVM with lvextend)",
                )
            )
    return found


def problems_of(volume: t.Mapping[str, t.Any], goal: int, grow_layers: bool) -> list[dict[str, str]]:
    """The blockers among the volume's problems, with those about layers looked at for a growth to ``goal`` bytes.

    Where the host told the details, layers that have all their bytes already block nothing; with ``grow_layers`` neither do those that
    ``nvme_layers`` can grow, and the others are named with their reasons. Without details a layer blocks.
    """
    by_host: dict[str, list[dict[str, t.Any]]] = {}
    for layer in volume.get("layers") or []:
        by_host.setdefault(layer["host"], []).append(layer)
    cleared, found = set(), []
    for host, layers in sorted(by_host.items()):
        if any("grown_by" not in layer for layer in layers):
            continue
        blockers = _host_blockers(volume, host, layers, goal)
        if grow_layers or (not blockers and not lagging_layers({"layers": layers}, goal)):
            cleared.add(host)
            found += blockers
    kept = [
        problem
        for problem in volume["problems"]
        if problem["severity"] == "blocker" and not (problem.get("code") in (LAYERS, LUKS) and problem.get("host") in cleared)
    ]
    return kept + found


def hand_out_layers(work: dict[str, list[dict[str, t.Any]]], volume: t.Mapping[str, t.Any], goal: int) -> None:
    """The volume's layers as ``nvme_layers`` takes them, for each host that has some that can be grown."""
    for host in sorted({layer["host"] for layer in volume.get("layers") or [] if layer.get("grown_by")}):
        work.setdefault(host, []).append({"uuid": volume["uuid"], "size": f"{goal}B"})


def hand_out_disks(volume: t.Mapping[str, t.Any], host: str, goal: int) -> list[dict[str, t.Any]]:
    """The volume's disks on a hypervisor as ``virt_blockresize`` takes them: by the namespace, or, where one is on a layer, each with its own bytes."""
    readings = [reading for reading in volume["readings"]["disk"] if reading["host"] == host and not reading.get("silent")]
    if not any(reading.get("layers") for reading in readings):
        return [{"uuid": volume["uuid"], "size": f"{goal}B"}]
    found = []
    for reading in readings:
        disk = {"domain": reading["domain"], "target": reading["target"]}
        if not reading.get("layers"):
            disk["size"] = f"{goal}B"
        elif reading.get("chain"):
            disk["size"] = f"{expected(reading['chain'], goal)}B"
        found.append(disk)  # without a size it takes what its layer has
    return found


def hand_out_filesystems(work: dict[str, list[dict[str, t.Any]]], volume: t.Mapping[str, t.Any]) -> str | None:
    """The volume's running disk as ``guest_filesystem`` takes it, for its hypervisor; or why there is none.

    A disk of several running domains is left alone: what one guest does to its partitions the others do not see.
    """
    running = [reading for reading in volume["readings"]["disk"] if not reading.get("silent")]
    if len(running) > 1:
        named = ", ".join(f"{reading['host']}:{reading['object']}" for reading in running)
        return f"file system of {volume['volume']} is left alone: several running domains have the disk ({named})"
    for reading in running:
        work.setdefault(reading["host"], []).append({"domain": reading["domain"], "target": reading["target"]})
    return None
