# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Joins what the hosts measured into volumes: one record per image, one list of readings per hop.

A *measurement* is what one host answered, by inventory name::

    {"t1": {"target": {...}, "images": {...}, "host": {...}, "disks": [...], "errors": {"target": "text"}}}

``target`` is the result of ``spdk_target_info``, ``images`` of ``rbd_image_info``, ``host`` of ``nvme_info`` and ``disks`` of
``virt_disk_info``. What was asked for and not answered has its reason in ``errors`` under the same key.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ._gaps import connected, note_lost_disks, note_missing_devices, note_silent_hosts
from ._growth_headroom import join_pools
from ._growth_layers import LAYERS, LUKS, details_of, note_chains
from ._lease import later_lease
from ._measured_again import latest

HOPS = ("image", "bdev", "namespace", "path", "device", "disk", "guest")

#: Which measurement a hop needs.
SOURCES = {"image": "images", "bdev": "target", "namespace": "target", "path": "host", "device": "host", "disk": "disks", "guest": "disks"}

#: The error of a host that nobody asked because the operator limited the run: nothing is down, so nothing may go on without it.
LEFT_OUT = "left out by --limit"

Volume = t.Mapping[str, t.Any]

_REGISTERED = {"target": "volume_growth__target", "images": "volume_growth__images", "host": "volume_growth__host", "disks": "volume_growth__disks"}
#: What the same hosts answered when they were measured again, in the order in which that was.
_AGAIN = "volume_growth__again"


def known_of(hostvars: t.Mapping[str, t.Any], name: str) -> t.Mapping[str, t.Any]:
    """The variables of a host, nothing for a host that the inventory does not have."""
    if name in hostvars:  # HostVars answers [] for an unknown host with an undefined value, not with an error
        return hostvars[name]
    return {}


def measurements_of(
    hostvars: t.Mapping[str, t.Any],
    asked: t.Mapping[str, t.Sequence[str]],
    answering: t.Container[str] | None = None,
    registered_as: t.Mapping[str, str] | None = None,
    playing: t.Container[str] | None = None,
) -> dict[str, dict[str, t.Any]]:
    """The measurements that a role registered (as ``registered_as`` says, else as the role volume_growth does).

    ``asked`` has the hosts that were asked, by measurement.

    A host without an answer (unreachable, failed, left out by ``--limit``) gets an entry in ``errors``: it is remembered. So does, where
    ``answering`` is given, a host that is not in it: what it said earlier in the run is no longer known to be true; ``before`` keeps it, because it tells
    which volumes the host has. ``playing`` are the hosts that the run may talk to at all (``ansible_play_hosts_all``): a host that is not among them and
    was not asked has the error ``LEFT_OUT``.
    """
    names = registered_as or _REGISTERED
    found: dict[str, dict[str, t.Any]] = {}
    for kind, hosts in asked.items():
        for name in hosts:
            entry = found.setdefault(name, {"errors": {}})
            known = known_of(hostvars, name)
            registered = known.get(names[kind]) or {}
            answer, before, error = latest(kind, registered, [] if registered_as else known.get(_AGAIN) or [])
            if registered and answering is not None and name not in answering:
                answer, before, error = None, answer or before, "the host failed or was lost during this run; see its own error above"
            if before is not None:
                entry.setdefault("before", {})[kind] = before
            if answer is not None:
                entry[kind] = answer
            elif error is not None:
                entry["errors"][kind] = error
            elif registered:
                continue
            elif playing is not None and name not in playing:
                entry["errors"][kind] = LEFT_OUT
            else:
                entry["errors"][kind] = "not measured (host left out by --limit, or lost earlier in this run)"
    return found


def declared_of(hostvars: t.Mapping[str, t.Any], names: t.Iterable[str]) -> dict[str, dict[str, t.Any]]:
    """What the inventory says a target exports (``images``) and an initiator is connected to (``nqns``); null where it says nothing."""
    declared = {}
    for name in names:
        known = known_of(hostvars, name)
        bdevs, connections = known.get("spdk_target_rbd_bdevs"), known.get("nvme_initiator_connections")
        volumes = [entry for entry in known.get("spdk_target_volumes") or [] if not entry.get("targets") or name in entry["targets"]]
        bdevs = [*(bdevs or []), *volumes] if volumes else bdevs
        declared[name] = {
            "images": None if bdevs is None else [label_of(bdev.get("pool"), bdev.get("rados_namespace"), bdev.get("image")) for bdev in bdevs],
            "nqns": None if connections is None else [connection.get("nqn") for connection in connections],
        }
    return declared


def silent_hosts(measurements: t.Mapping[str, dict[str, t.Any]]) -> list[str]:
    """Who did not answer what, and why: one text per host and measurement."""
    return [f"{name} ({kind}): {reason}" for name, measured in sorted(measurements.items()) for kind, reason in sorted(measured["errors"].items())]


def exported_images(hostvars: t.Mapping[str, t.Any], targets: t.Sequence[str], only: t.Container[str] | None = None) -> list[dict[str, str]]:
    """The images behind the bdevs of ``targets``, as ``rbd_image_info`` takes them, each once; ``only`` those of these volumes."""
    found: dict[tuple[t.Any, ...], dict[str, str]] = {}
    for name in targets:
        answer = (known_of(hostvars, name).get(_REGISTERED["target"]) or {}).get("target") or {}
        for bdev in answer.get("bdevs") or []:
            image = {"pool": bdev.get("pool"), "rados_namespace": bdev.get("rados_namespace") or "", "image": bdev.get("image")}
            if image["image"] and (only is None or label_of(*image.values()) in only):
                found.setdefault(tuple(image.values()), image)
    return list(found.values())


def label_of(pool: str | None, rados_namespace: str | None, image: str | None) -> str:
    """The handle of an image as operators write it: ``pool/image`` or ``pool/namespace/image``."""
    return "/".join(part for part in (pool, rados_namespace, image) if part)


def portal_of(address: t.Mapping[str, t.Any]) -> str:
    """``address:port`` of a listener or a path, the same text for both (IPv6 has several spellings)."""
    text = str(address.get("traddr") or "").partition("%")[0]
    try:
        text = str(ipaddress.ip_address(text))
    except ValueError:
        pass  # a name, or an address of another transport
    return f"{text}:{address.get('trsvcid') or ''}"


def _problem(code: str, hop: str, obj: str, text: str, remedy: str, severity: str = "blocker") -> dict[str, str]:
    return {"code": code, "hop": hop, "object": obj, "problem": text, "remedy": remedy, "severity": severity}


def _new_volume(label: str) -> dict[str, t.Any]:
    return {
        "volume": label,
        "uuid": None,
        "uuids": [],
        "fsid": None,
        "pool": None,
        "rados_namespace": None,
        "image": None,
        "lease": None,
        "primary": None,
        "pool_facts": None,
        "readings": {hop: [] for hop in HOPS},
        "layers": [],
        "attached": [],
        "problems": [],
    }


def _add_targets(volumes: dict[tuple, dict], measurements: t.Mapping[str, dict]) -> None:
    for name, measured in measurements.items():
        target = measured.get("target")
        if target is None:
            continue
        hazards = [hazard for hazard in target.get("hazards") or [] if hazard.get("growth")]
        by_bdev: dict[str, list[dict]] = {}
        in_namespaces: dict[str, list[tuple[dict, dict]]] = {}
        for subsystem in target.get("subsystems") or []:
            for namespace in subsystem.get("namespaces") or []:
                in_namespaces.setdefault(namespace["bdev"], []).append((subsystem, namespace))
        for bdev in target.get("bdevs") or []:
            if not bdev.get("image"):
                continue
            label = label_of(bdev.get("pool"), bdev.get("rados_namespace"), bdev["image"])
            volume = volumes.setdefault((target.get("fsid"), label), _new_volume(label))
            volume.update(
                fsid=volume["fsid"] or target.get("fsid"),
                pool=bdev.get("pool"),
                rados_namespace=bdev.get("rados_namespace"),
                image=bdev["image"],
            )
            volume["lease"] = later_lease(volume["lease"], bdev.get("lease"))
            volume["primary"] = volume["primary"] or bdev.get("image_primary")
            by_bdev.setdefault(bdev["name"], []).append(volume)
            readings = volume["readings"]
            readings["bdev"].append(
                {
                    "host": name,
                    "object": bdev["name"],
                    "bytes": bdev.get("size_bytes"),
                    "uuid": bdev.get("uuid"),
                    "watched": bdev.get("watched"),
                    "hazards": hazards,
                    "error": None,
                }
            )
            readings["image"].append({"host": name, "object": label, "bytes": bdev.get("image_bytes"), "error": bdev.get("image_error")})
            for subsystem, namespace in in_namespaces.get(bdev["name"], []):
                uuid = (namespace.get("uuid") or "").lower() or None
                readings["namespace"].append(
                    {
                        "host": name,
                        "object": f"{subsystem['nqn']}#{namespace['nsid']}",
                        "nqn": subsystem["nqn"],
                        "nsid": namespace["nsid"],
                        "serial_number": subsystem.get("serial_number"),
                        "bdev": bdev["name"],
                        "uuid": uuid,
                        "bytes": bdev.get("size_bytes"),
                        "portals": [portal_of(listener) for listener in subsystem.get("listeners") or []],
                        "visible_to": namespace.get("hosts") or [] if namespace.get("auto_visible") is False else None,
                        "error": None,
                    }
                )
                if uuid and uuid not in volume["uuids"]:
                    volume["uuids"].append(uuid)
        for problem in target.get("problems") or []:
            for volume in by_bdev.get(problem.get("object"), []):
                volume["problems"].append(
                    _problem(
                        problem.get("code") or "target",
                        problem.get("hop", "bdev"),
                        f"{name}:{problem.get('object')}",
                        problem.get("problem", ""),
                        problem.get("remedy", ""),
                        problem.get("severity", "warning"),
                    )
                )


def _add_ceph_clients(volumes: dict[tuple, dict], measurements: t.Mapping[str, dict]) -> None:
    by_label: dict[str, list[tuple[str | None, dict]]] = {}
    for (fsid, label), volume in volumes.items():
        by_label.setdefault(label, []).append((fsid, volume))
    for name, measured in measurements.items():
        images = measured.get("images")
        if images is None:
            continue
        for image in images.get("images") or []:
            label = label_of(image.get("pool"), image.get("rados_namespace"), image.get("image"))
            for fsid, volume in by_label.get(label, []):
                if fsid and images.get("fsid") and fsid != images["fsid"]:
                    continue
                volume["fsid"] = volume["fsid"] or images.get("fsid")
                volume["primary"] = volume["primary"] or image.get("primary")
                volume["lease"] = later_lease(volume["lease"], image.get("lease"))
                error = image.get("error") or (None if image.get("exists") else "the image does not exist")
                volume["readings"]["image"].append({"host": name, "object": label, "bytes": image.get("size_bytes"), "error": error})


def _add_host(name: str, host: dict, by_uuid: dict[str, dict], strangers: list[dict]) -> None:
    for namespace in host.get("namespaces") or []:
        uuid = (namespace.get("uuid") or "").lower()
        volume = by_uuid.get(uuid)
        if volume is None:
            if {path.get("transport") for path in namespace.get("paths") or []} - {"pcie", None}:
                known = {"uuid": uuid, "nqn": namespace.get("nqn"), "nsid": namespace.get("nsid"), "bytes": namespace.get("size_bytes")}
                strangers.append({"host": name, "object": namespace.get("device"), **known})
            continue
        for path in namespace.get("paths") or []:
            volume["readings"]["path"].append(
                {
                    "host": name,
                    "object": f"{path.get('controller')} {path.get('traddr')}:{path.get('trsvcid')}",
                    "device": namespace.get("device"),
                    "controller": path.get("controller"),
                    "portal": portal_of(path),
                    "state": path.get("state"),
                    "ana_state": path.get("ana_state"),
                    # a path that is down keeps its last size until it reconnects: that proves nothing
                    "bytes": path.get("size_bytes") if path.get("state") == "live" else None,
                    "error": None if path.get("state") == "live" else f"path is {path.get('state')}",
                    "nqn": namespace.get("nqn"),
                    "traddr": path.get("traddr"),
                    "trsvcid": path.get("trsvcid"),
                }
            )
        volume["readings"]["device"].append(
            {
                "host": name,
                "object": namespace.get("device"),
                "by_id": namespace.get("by_id"),
                "bytes": namespace.get("size_bytes"),
                "holders": namespace.get("holders") or [],
                "rescan_hazard": host.get("rescan_hazard"),
                "error": None,
            }
        )
        for layer in namespace.get("layers") or []:
            volume["layers"].append(
                {"host": name, "object": layer["name"], "device": layer["device"], "kind": layer["kind"], "bytes": layer["size_bytes"], "on": layer["on"]}
            )
            volume["layers"][-1].update(details_of(layer))
            volume["layers"][-1]["mounted"] = bool(namespace.get("mounts"))
            # without native multipath every path is a device of its own
            volume["layers"][-1]["devices"] = [path.get("name") for path in namespace.get("paths") or []] + [(namespace.get("device") or "").rpartition("/")[2]]
        kinds = {layer["device"].rpartition("/")[2]: layer["kind"] for layer in namespace.get("layers") or []}
        for holder in namespace.get("holders") or []:
            kind = kinds.get(holder) or "dm"
            volume["problems"].append(
                _problem(
                    LUKS if kind == "dm-crypt" else LAYERS,
                    "device",
                    f"{name}:{namespace.get('device')}",
                    f"the device is held by {holder} ({kind}), a layer with a size of its own",
                    "grow it with the growth (grow_layers=true) or with its own tools, or use the device without it",
                )
            )
            volume["problems"][-1]["host"] = name


def _add_disks(name: str, disks: t.Sequence[dict], by_uuid: dict[str, dict]) -> None:
    for disk in disks:
        volume = by_uuid.get((disk.get("namespace_uuid") or "").lower())
        if volume is None:
            continue
        obj = f"{disk.get('domain')}:{disk.get('target')}"
        running = disk.get("domain_state") in ("running", "paused", "blocked", "pmsuspended")
        for problem in disk.get("problems") or []:
            severity = problem.get("severity", "warning")
            code = problem.get("code") or "disk"
            volume["problems"].append(_problem(code, "disk", f"{name}:{obj}", problem.get("problem", ""), problem.get("remedy", ""), severity))
            volume["problems"][-1]["host"] = name
        # also of domains that are shut off: whoever asks for the users of an image means them too
        layers = disk.get("layers") or []
        volume["attached"].append(
            {
                "host": name,
                "object": obj,
                "state": disk.get("domain_state"),
                "source": disk.get("source"),
                "device": disk.get("device"),
                "serial": disk.get("serial"),
                "layers": layers,
            }
        )
        if not running:
            continue  # nothing holds the old size: the domain takes the device's size when it starts
        volume["readings"]["disk"].append(
            {
                "host": name,
                "object": obj,
                "domain": disk.get("domain"),
                "target": disk.get("target"),
                "bytes": disk.get("capacity_bytes"),
                "physical_bytes": disk.get("physical_bytes"),
                "layers": layers,
                "held": disk.get("held"),
                "error": None if disk.get("capacity_bytes") is not None else "libvirt did not tell the capacity",
            }
        )
        volume["readings"]["guest"].append(
            {
                "host": name,
                "object": obj,
                "device": disk.get("guest_device"),
                "physical_bytes": disk.get("capacity_bytes"),
                "layers": layers,
                "bytes": disk.get("guest_bytes"),
                # a bus without an event for a new size
                "reboot": any(problem.get("code") == "bus" for problem in disk.get("problems") or []),
                "error": None if disk.get("guest_bytes") is not None else disk.get("guest_error") or "no guest agent answered",
            }
        )


def _used_layers(volume: dict) -> list[dict]:
    """The layers that the host itself uses. It also shows the partitions inside a guest's disk, and those are the guest's own."""
    below = {(layer["host"], device) for layer in volume["layers"] for device in layer["on"]}
    named = {(disk["host"], name) for disk in volume["attached"] for name in disk["layers"]}
    found = []
    for layer in volume["layers"]:
        mounted = layer.pop("mounted")
        used = mounted or (layer["host"], layer["device"]) in below or (layer["host"], layer["object"]) in named
        if used or layer["kind"] != "partition":
            found.append(layer)
    return found


def _best_image_reading(readings: list[dict]) -> list[dict]:
    """One image has one size: the readings that succeeded, or all that failed."""
    good = [reading for reading in readings if reading["bytes"] is not None]
    return good or readings


def build(
    measurements: t.Mapping[str, dict[str, t.Any]],
    declared: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
) -> list[dict[str, t.Any]]:
    """The volumes of an inventory, sorted by name.

    ``declared`` tells, by host, what the inventory says of it: ``images`` (handles that a target is meant to export, or
    null when it declares nothing) and ``nqns`` (subsystems that an initiator is meant to be connected to, or null). It decides whose
    silence matters: a host that could not be read and may carry a volume leaves a gap in that volume's readings.
    """
    declared = declared or {}
    volumes: dict[tuple, dict[str, t.Any]] = {}
    _add_targets(volumes, measurements)
    _merge_unknown_clusters(volumes)
    _add_ceph_clients(volumes, measurements)
    pools = join_pools(measurements)
    by_uuid: dict[str, dict] = {}
    for volume in volumes.values():
        volume["pool_facts"] = pools.get((volume["fsid"], volume["pool"]))
        for uuid in volume["uuids"]:
            other = by_uuid.setdefault(uuid, volume)
            if other is not volume:
                for first, second in ((volume, other), (other, volume)):
                    text = f"the namespace UUID is also that of {second['volume']}"
                    first["problems"].append(_problem("uuid_twice", "namespace", uuid, text, "give every namespace its own UUID", "critical"))
        volume["uuid"] = volume["uuids"][0] if volume["uuids"] else None
        if len(volume["uuids"]) > 1:
            volume["problems"].append(
                _problem(
                    "several_uuids",
                    "namespace",
                    volume["volume"],
                    "one image is exported under several namespace UUIDs: " + ", ".join(volume["uuids"]),
                    "export it under one UUID on every target",
                    "critical",
                )
            )
        volume["readings"]["image"] = _best_image_reading(volume["readings"]["image"])
    strangers: list[dict] = []
    for name, measured in measurements.items():
        if measured.get("host") is not None:
            _add_host(name, measured["host"], by_uuid, strangers)
        if measured.get("disks") is not None:
            _add_disks(name, measured["disks"], by_uuid)
    by_nqn = connected(measurements)
    silent = {name: measured for name, measured in measurements.items() if measured["errors"]}
    for volume in volumes.values():
        volume["layers"] = _used_layers(volume)
        note_chains(volume)
        note_missing_devices(volume, by_nqn, measurements)
        note_lost_disks(volume, measurements)
        note_silent_hosts(volume, silent, declared)
    return sorted(volumes.values(), key=lambda volume: volume["volume"]) + _orphans(strangers, measurements)


def _merge_unknown_clusters(volumes: dict[tuple, dict[str, t.Any]]) -> None:
    """A target without a Ceph client cannot tell its cluster's fsid; its image is that of the same name, if only one cluster has it."""
    for key in [key for key in volumes if key[0] is None]:
        same = [other for other in volumes if other[0] is not None and other[1] == key[1]]
        if len(same) == 1:
            orphan, home = volumes.pop(key), volumes[same[0]]
            for hop in HOPS:
                home["readings"][hop].extend(orphan["readings"][hop])
            home["uuids"].extend(uuid for uuid in orphan["uuids"] if uuid not in home["uuids"])
            home["problems"].extend(orphan["problems"])
            home["lease"] = later_lease(home["lease"], orphan["lease"])
            home["primary"] = home["primary"] or orphan["primary"]


def _exported(measurements: t.Mapping[str, dict]) -> set[t.Any]:
    """What identifies every namespace that a target exports, whatever its bdev is: its UUID, and the pair of NQN and nsid."""
    found: set[t.Any] = set()
    for measured in measurements.values():
        for subsystem in (measured.get("target") or {}).get("subsystems") or []:
            for namespace in subsystem.get("namespaces") or []:
                found |= {(namespace.get("uuid") or "").lower(), (subsystem["nqn"], namespace["nsid"])}
    return found - {""}


def _orphans(strangers: list[dict], measurements: t.Mapping[str, dict]) -> list[dict[str, t.Any]]:
    """Namespaces that a host shows and no target exports, with all that hosts and domains have of them; told only when every target could be read."""
    if any("target" in measured["errors"] for measured in measurements.values()):
        return []
    exported = _exported(measurements)
    found: dict[str, dict] = {}
    for stranger in strangers:
        if (stranger["uuid"] or (stranger["nqn"], stranger["nsid"])) in exported:
            continue  # a bdev without an image
        volume = found.setdefault(stranger["uuid"] or f"{stranger['host']}:{stranger['object']}", _new_volume(f"{stranger['nqn']} {stranger['uuid']}"))
        volume.update(orphan=True, uuid=stranger["uuid"] or None, uuids=[stranger["uuid"]] if stranger["uuid"] else [])
        if not stranger["uuid"]:
            reading = {"host": stranger["host"], "object": stranger["object"], "bytes": stranger["bytes"], "holders": [], "error": None}
            volume["readings"]["device"].append(reading)
    by_uuid = {volume["uuid"]: volume for volume in found.values() if volume["uuid"]}
    for name, measured in measurements.items():
        _add_host(name, measured.get("host") or {}, by_uuid, [])
        _add_disks(name, measured.get("disks") or [], by_uuid)
    for volume in found.values():
        volume["layers"] = _used_layers(volume)
        note_chains(volume)
    return sorted(found.values(), key=lambda volume: volume["volume"])
