# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What is wrong or risky on single hosts: names and devices of domains, layers, and what targets and hosts found themselves."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human

from ._findings_fleet import Fleet, Volume, live_paths, some
from ._verdict import hop_bytes

#: What each kind of layer needs after its device grew; ``{name}`` is the layer, ``{on}`` the device below it.
LAYER_GROWTH = {
    "partition": "grow the partition (growpart or parted resizepart)",
    "dm-crypt": "cryptsetup resize {name}",
    "lvm": "pvresize {on}, then lvextend {name}",
    "lvm-pv": "pvresize {on}",
    "multipath": "multipathd resize map {name}",
    "md": "mdadm --grow {name} --size=max",
}

#: Disks by a name that another namespace can get. by-path names a port or a slot, unless it holds the namespace's UUID.
_UNSTABLE = re.compile(r"^/dev/(nvme\d+n\d+(p\d+)?|dm-\d+|block/\d+:\d+|disk/by-(path|diskseq)/.*)$")
_UUID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
#: udev's name from model and serial number; the namespace's number is behind them, or it is not.
_BY_SERIAL = re.compile(r"^/dev/disk/by-id/nvme-(?!uuid\.|eui\.|nvme\.)(?P<name>.+?)(-part\d+)?$")
#: Problems of virt_disk_info that are findings of this file, or none at all.
_DISK_CODES_SEEN = ("held", "shrunk", "unstable_name", "layers", "shut_off", "not_a_disk", "not_block")
_RUNNING = ("running", "paused", "blocked", "pmsuspended")


def unstable(source: str, volumes: t.Sequence[Volume]) -> str | None:
    """Why this name of a disk can come to mean another namespace than that of its ``volumes``; None for a name that cannot."""
    if _UNSTABLE.match(source) and not _UUID.search(source):
        return "a name that another namespace can have after the next start"
    serial = _BY_SERIAL.match(source)
    if serial is None or not volumes:
        return None
    # udev puts "_" for what a serial number may have and a name may not
    known = {
        (re.sub(r"[^0-9A-Za-z#+.:=@_-]", "_", str(reading["serial_number"])), reading["nsid"])
        for volume in volumes
        for reading in volume["readings"]["namespace"]
        if reading.get("serial_number")
    }
    numbered = serial["name"].endswith(tuple(f"_{number}_{nsid}" for number, nsid in known))
    if numbered or (re.search(r"_\d+$", serial["name"]) and not serial["name"].endswith(tuple(f"_{number}" for number, _nsid in known))):
        return None
    return "a name without the namespace's number: it leads to whichever namespace of the subsystem came last"


def domains(fleet: Fleet) -> None:
    """Disks of domains: dead devices, unstable names, and what virt_disk_info found itself."""
    for name, disks in fleet.disks.items():
        fabrics = {namespace["device"] for namespace in (fleet.hosts.get(name) or {}).get("namespaces") or []}
        for disk in disks:
            obj = f"{disk.get('domain')}:{disk.get('target')}"
            volumes = fleet.of_uuid(disk.get("namespace_uuid"))
            source = disk.get("source") or ""
            ours = bool(volumes) or source in fabrics or disk.get("device") in fabrics
            if not ours and not re.match(r"^/dev/(nvme|disk/by-id/nvme)", source):
                continue
            if disk.get("held") is False and disk.get("domain_state") in _RUNNING:
                leads = f"not the one {source} leads to now" if disk.get("device") else f"and {source or 'its source'} leads to none now"
                text = f"QEMU holds a dead device, {leads}: the guest reads zeros or errors"
                remedy = f"shut the domain {disk.get('domain')} down and start it, then check the guest's file systems"
                fleet.add("critical", "dead-device", "disk", name, obj, text, remedy, volumes)
            why = unstable(source, volumes if ours else [])
            if why:
                text = f"the domain is attached by {source}, {why}"
                remedy = "use /dev/disk/by-id/nvme-uuid." + (disk.get("namespace_uuid") or "UUID") + " as the disk's source"
                fleet.add("warning", "unstable-name", "disk", name, obj, text, remedy, volumes)
            for problem in disk.get("problems") or []:
                seen = problem.get("code") in _DISK_CODES_SEEN or (problem.get("code") == "no_device" and disk.get("held") is False)
                if not seen and problem.get("severity") != "info":
                    severity = "critical" if problem.get("severity") == "critical" else "warning"
                    fleet.add(severity, "disk-problem", "disk", name, obj, problem["problem"], problem["remedy"], volumes)


def layers_between(fleet: Fleet) -> None:
    """Layers that the host has on a device: named, with their bytes and what a growth would need."""
    for volume in fleet.volumes:
        by_host: dict[str, list[dict[str, t.Any]]] = {}
        for layer in volume.get("layers") or []:
            by_host.setdefault(layer["host"], []).append(layer)
        for disk in volume.get("attached") or []:  # virt_disk_info names layers also where nvme_info could not be asked
            known = {layer["object"] for layer in by_host.get(disk["host"], [])}
            below = [{"object": name, "kind": "dm", "bytes": None, "on": []} for name in reversed(disk["layers"]) if name not in known]
            by_host.setdefault(disk["host"], []).extend(below)
        for host, layers in by_host.items():
            if not layers:
                continue
            device = next((reading for reading in volume["readings"]["device"] if reading["host"] == host), {"object": "the device", "bytes": None})
            users = [disk["object"] for disk in volume["attached"] if disk["host"] == host and disk["layers"]]
            what = ", ".join(f"{layer['object']} ({layer['kind']}, {human(layer['bytes'])})" for layer in layers)
            by_hand = {**LAYER_GROWTH, "lvm": "lvextend {name}"} if any(layer["kind"] == "lvm-pv" for layer in layers) else LAYER_GROWTH
            steps = [
                by_hand.get(layer["kind"], "grow {name} with its own tool").format(name=layer["object"], on=", ".join(layer["on"]) or "its device")
                for layer in layers
            ]
            text = f"between {device['object']} ({human(device['bytes'])}) and {some(users) if users else 'its user'}: {what}"
            remedy = (
                "a growth takes along what it can with grow_layers=true; else, on the host, in this order: "
                + "; ".join(steps)
                + ("; then virsh blockresize" if users else "")
            )
            fleet.add("info", "layer", "device", host, device["object"], text, remedy, [volume])


def told_by_targets(fleet: Fleet) -> None:
    """What a target found itself; where it is bad, with the live paths that lead there."""
    for name, target in fleet.targets.items():
        bdevs = {bdev["name"]: bdev for bdev in target.get("bdevs") or []}
        labels = {subsystem["nqn"] for subsystem in target.get("subsystems") or []}
        for problem in target.get("problems") or []:
            obj, hop, text = problem["object"], problem["hop"], problem["problem"]
            if fleet.covered(name, obj, hop):
                continue
            volume = fleet.of_bdev.get((name, obj))
            if volume and hop == "image" and bdevs.get(obj, {}).get("image_bytes") is None and hop_bytes(volume, "image") is not None:
                continue  # another Ceph client has read what this target cannot
            critical = problem["severity"] == "critical"
            paths = live_paths(volume, name) if volume and critical else []
            if paths:
                text += "; paths that look live lead there: " + some(f"{path['host']} {path['controller']}" for path in paths)
            own = fleet.of_part(name, obj)
            # a bdev without an image or a subsystem without a volume is a matter of its own, anything else of the whole target
            narrow = obj in bdevs or obj.rpartition("#")[0] in labels or obj in labels
            about = own if obj not in labels else []
            touches = [] if about else own if narrow else fleet.of_host(name)
            fleet.add("critical" if critical else "warning", "target-problem", hop, name, obj, text, problem["remedy"], about, touches)


def told_by_hosts(fleet: Fleet) -> None:
    """What a host found itself: of a device, a UUID, a controller or as a whole."""
    for name, host in fleet.hosts.items():
        devices = {namespace["device"] for namespace in host.get("namespaces") or []}
        controllers = {controller["name"] for controller in host.get("controllers") or []}
        for problem in host.get("problems") or []:
            obj = problem["object"]
            if fleet.covered(name, obj, problem["hop"]):
                continue
            about = fleet.of_uuid(obj) or (fleet.of_part(name, obj) if obj in devices else [])
            touches = [] if about or obj in devices or _UUID.fullmatch(obj) else fleet.of_part(name, obj) if obj in controllers else fleet.of_host(name)
            severity = "critical" if problem["severity"] == "critical" else "warning"
            fleet.add(severity, "host-problem", problem["hop"], name, obj, problem["problem"], problem["remedy"], about, touches)
