# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What is wrong or risky in a fleet besides the rows of the truth table: what only shows when hosts are compared with each other.

A finding is ``severity`` (critical, warning, info), ``kind`` (a word that stays the same), ``hop``, ``host`` (or hosts, with commas), ``object``,
``volume`` (the row it belongs to, or null), ``volumes`` (all rows that it is about or touches: a subsystem's, a host's), ``text`` and ``remedy``. One cause
is told once: what a single host noticed itself is left out where the comparison says more.
"""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human

from ._findings_fleet import ANY_ADDRESS, SEVERITIES, Fleet, Volume, live_paths, note_targets, same_ip, some
from ._findings_hosts import domains, layers_between, told_by_hosts, told_by_targets
from ._gaps import connected
from ._verdict import hop_bytes
from ._volumes import LEFT_OUT


def findings(measurements: t.Mapping[str, dict[str, t.Any]], volumes: t.Sequence[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Everything found in ``measurements`` (by host, as :mod:`._volumes` has them) and in the ``volumes`` built from them; the worst first."""
    fleet = Fleet(measurements, volumes)
    note_targets(volumes, measurements)
    for check in (_silent_targets, _silence, _uuids, _identities, _sizes, _stale_targets, _stale_paths, _unused_bdevs, _unused_namespaces, _unused_devices):
        check(fleet)
    for check in (_without_image, _shared_hosts, domains, layers_between, told_by_targets, told_by_hosts):
        check(fleet)
    order = {severity: number for number, severity in enumerate(SEVERITIES)}
    return sorted(fleet.found, key=lambda item: (order[item["severity"]], item["kind"], item["volume"] or "", item["host"], item["object"]))


def _silent_targets(fleet: Fleet) -> None:
    """Targets that cannot be read while paths that look live lead there, or to no target that answers: what they serve nobody knows."""
    silent = [name for name, measured in fleet.measurements.items() if measured["errors"].get("target") not in (None, LEFT_OUT)]
    if not silent:
        return
    answering = {
        (subsystem["nqn"], same_ip(listener["traddr"]), str(listener["trsvcid"]))
        for target in fleet.targets.values()
        for subsystem in target.get("subsystems") or []
        for listener in subsystem.get("listeners") or []
    }
    led: dict[str, tuple[list[str], list[Volume]]] = {}
    doubtful = False
    for host, measured in fleet.hosts.items():
        for namespace in measured.get("namespaces") or []:
            volumes = fleet.of_uuid(namespace.get("uuid"))
            may = {reading["host"] for volume in volumes for reading in volume["readings"]["bdev"] if reading.get("silent")}
            for path in namespace.get("paths") or []:
                away = path.get("transport") in ("pcie", None) or path.get("state") != "live"
                nqn, port = namespace.get("nqn"), str(path.get("trsvcid"))
                if away or (nqn, same_ip(path.get("traddr")), port) in answering:
                    continue
                doubtful = doubtful or any((nqn, address, port) in answering for address in ANY_ADDRESS)
                for name in silent:
                    if name in may or not volumes:
                        paths, touched = led.setdefault(name, ([], []))
                        paths.append(f"{host} {path.get('controller')}")
                        touched += volumes
    for name, (paths, touched) in led.items():
        text = f"not heard of its target: {fleet.measurements[name]['errors']['target']}; paths that look live "
        others = [other for other in led if other != name] + (["a target that listens on all of its addresses"] if doubtful else [])
        text += f"lead there, or to {some(others)}" if others else "lead there"
        text += f": {some(dict.fromkeys(paths))}; what they serve is unknown"
        remedy = "let the target answer, or stop it so that hosts leave it; never rescan these controllers before it was read"
        fleet.add("warning", "silent-target", "bdev", name, name, text, remedy, touches=touched or fleet.of_host(name))
        fleet.cover(name, name, "target")


def _silence(fleet: Fleet) -> None:
    words = {"target": ("bdev", "its target"), "images": ("image", "its images"), "host": ("device", "its devices"), "disks": ("disk", "its domains")}
    for name, measured in fleet.measurements.items():
        reasons: dict[str, list[str]] = {}
        for kind, reason in measured["errors"].items():
            if not (kind == "target" and fleet.covered(name, name, "target")):
                reasons.setdefault(reason, []).append(kind)
        for reason, kinds in reasons.items():
            text = f"not heard of {' and '.join(words[kind][1] for kind in kinds)}: {reason}"
            severity, remedy = "warning", "let the host answer and run the audit again; what it has is unproven"
            if reason == LEFT_OUT:
                severity, remedy = "info", "none for the volumes of this audit; run it without --limit for the others"
            fleet.add(severity, "not-heard", words[kinds[0]][0], name, name, text, remedy, touches=fleet.of_host(name))


def _uuids(fleet: Fleet) -> None:
    """One UUID in two places, and one image under two UUIDs."""
    places: dict[str, dict[str, list[tuple[str, str, str]]]] = {}
    for name, subsystem, namespace in fleet.exported():
        uuid = (namespace.get("uuid") or "").lower()
        if uuid:
            volume = fleet.of_bdev.get((name, namespace["bdev"]))
            image = fleet.name(volume) if volume else f"{name}:{namespace['bdev']}"
            label = f"{subsystem['nqn']}#{namespace['nsid']}"
            places.setdefault(uuid, {}).setdefault(image, []).append((name, namespace["bdev"], label))
    seen: dict[str, dict[str, list[str]]] = {}
    for name, host in fleet.hosts.items():
        for namespace in host.get("namespaces") or []:
            if namespace.get("uuid"):
                seen.setdefault(namespace["uuid"].lower(), {}).setdefault(name, []).append(namespace["device"])
    for uuid, images in places.items():
        labels = sorted({label for exports in images.values() for _host, _bdev, label in exports})
        if len(images) < 2 and len(labels) < 2:
            continue
        hosts = sorted({host for exports in images.values() for host, _bdev, _label in exports})
        what = " and ".join(f"{image} ({some(sorted({f'{host} {label}' for host, _bdev, label in exports}))})" for image, exports in sorted(images.items()))
        shown = [f"{host} {device}" for host, devices in sorted(seen.get(uuid, {}).items()) for device in devices]
        text = f"one UUID in {max(len(images), len(labels))} places: {what}" + (f"; shown as {some(shown)}" if shown else "")
        remedy = "give every volume a UUID of its own: a host takes both for one volume, or drops one without a word"
        fleet.add("critical", "uuid-twice", "namespace", ", ".join(hosts), uuid, text, remedy, fleet.of_uuid(uuid))
        fleet.cover(None, uuid, "namespace")
        for exports in images.values():
            for host, bdev, label in exports:
                fleet.cover(host, bdev, "bdev")
                fleet.cover(host, label, "namespace")
    for uuid, by_host in seen.items():
        for host, devices in by_host.items():
            if len(devices) > 1 and not fleet.covered(host, uuid, "namespace"):
                text = f"one UUID on several devices of this host: {some(devices)}"
                remedy = "disconnect the subsystem that is not meant; no target of the inventory exports this UUID twice"
                fleet.add("critical", "uuid-twice", "device", host, uuid, text, remedy, fleet.of_uuid(uuid))
                fleet.cover(host, uuid, "namespace")


def _identities(fleet: Fleet) -> None:
    """Targets that export one NQN (paths of one volume, for a host) must give it one identity."""
    by_nqn: dict[str, list[tuple[str, dict[str, t.Any]]]] = {}
    for name, target in fleet.targets.items():
        for subsystem in target.get("subsystems") or []:
            by_nqn.setdefault(subsystem["nqn"], []).append((name, subsystem))
    for nqn, exports in by_nqn.items():
        hosts = ", ".join(name for name, _subsystem in exports)
        inside = [volume for name, _subsystem in exports for volume in fleet.of_part(name, nqn)]
        for key, word in (("serial_number", "serial number"), ("model_number", "model number")):
            values = {name: subsystem.get(key) for name, subsystem in exports if subsystem.get(key)}
            if len(set(values.values())) > 1:
                text = f"targets give one NQN different {word}s: " + some(f"{name} {value!r}" for name, value in values.items())
                fleet.add("warning", "identity-differs", "namespace", hosts, nqn, text, f"declare the same {word} on every target", touches=inside)
        ids: dict[int, dict[tuple[t.Any, ...], list[str]]] = {}
        behind: dict[int, list[Volume]] = {}
        for name, subsystem in exports:
            for namespace in subsystem.get("namespaces") or []:
                volume = fleet.of_bdev.get((name, namespace["bdev"]))
                image = fleet.name(volume) if volume else namespace["bdev"]
                identity = ((namespace.get("uuid") or "").lower() or None, namespace.get("nguid"), image)
                behind.setdefault(namespace["nsid"], []).extend([volume] if volume else [])
                ids.setdefault(namespace["nsid"], {}).setdefault(identity, []).append(name)
        for nsid, identities in ids.items():
            if len(identities) > 1:
                what = " and ".join(f"{', '.join(names)}: {image} uuid {uuid} nguid {nguid}" for (uuid, nguid, image), names in identities.items())
                remedy = "give the namespace the same nsid, uuid, nguid and image on every target: hosts drop a path whose identity differs"
                text = f"targets give one namespace different identities: {what}"
                fleet.add("critical", "identity-differs", "namespace", hosts, f"{nqn}#{nsid}", text, remedy, behind[nsid])
                for name in {name for names in identities.values() for name in names}:
                    fleet.cover(name, f"{nqn}#{nsid}", "namespace")
        ranges = sorted((s["min_cntlid"], s["max_cntlid"], name) for name, s in exports if s.get("min_cntlid") and s.get("max_cntlid"))
        clash = [(one, other) for one, other in zip(ranges, ranges[1:]) if other[0] <= one[1]]
        if clash:
            text = "targets give controller ids of one NQN from the same range: " + some(f"{name} {low}-{high}" for low, high, name in ranges)
            remedy = "give every target a range of its own (min_cntlid, max_cntlid): a host refuses a second controller with the same id"
            fleet.add("warning", "cntlid-overlap", "path", hosts, nqn, text, remedy, touches=inside)


def _sizes(fleet: Fleet) -> None:
    """Images smaller than their bdevs; disks larger than their devices."""
    for volume in fleet.volumes:
        image = hop_bytes(volume, "image")
        for reading in volume["readings"]["bdev"]:
            if image is not None and reading["bytes"] is not None and image < reading["bytes"]:
                text = f"image smaller than bdev: {image} bytes in Ceph, {reading['bytes']} bytes in the target"
                remedy = "the image was shrunk under its users; stop them, check their data, then restore the image's size"
                fleet.add("critical", "image-smaller", "image", reading["host"], reading["object"], text, remedy, [volume])
                fleet.cover(reading["host"], reading["object"], "image")
        for reading in volume["readings"]["disk"]:
            if reading["bytes"] is not None and reading.get("physical_bytes") is not None and reading["bytes"] > reading["physical_bytes"]:
                text = f"Capacity above Physical: QEMU's disk has {reading['bytes']} bytes, its device only {reading['physical_bytes']}"
                remedy = "the device shrank under the domain; do not resize the disk, find out which hop lost the size"
                fleet.add("critical", "capacity-above-physical", "disk", reading["host"], reading["object"], text, remedy, [volume])


def _stale_targets(fleet: Fleet) -> None:
    """A target that shows another size than the others; the worse when hosts reach it by paths that look live."""
    for volume in fleet.volumes:
        bdevs = [reading for reading in volume["readings"]["bdev"] if reading["bytes"] is not None]
        largest = max((reading["bytes"] for reading in bdevs), default=0)
        for reading in bdevs:
            if reading["bytes"] == largest:
                continue
            fleet.cover(reading["host"], reading["object"], "bdev")
            sizes = some(f"{other['host']} {other['bytes']}" for other in bdevs)
            paths = live_paths(volume, reading["host"])
            text = f"targets show different sizes of one image ({sizes} bytes)"
            if paths:
                text = f"stale target behind {some(path['host'] + ' ' + path['controller'] for path in paths)}, which look live: {text}"
                remedy = "let this target follow (grow_volume with the image's size); never rescan these controllers before it does"
                fleet.add("critical", "stale-target", "bdev", reading["host"], reading["object"], text, remedy, [volume])
            else:
                remedy = "run grow_volume with the image's size before any host connects to this target"
                fleet.add("warning", "bdev-sizes-differ", "bdev", reading["host"], reading["object"], text, remedy, [volume])


def _stale_paths(fleet: Fleet) -> None:
    """Live paths that show another size than the device, and devices larger than what the target behind a live path has."""
    for volume in fleet.volumes:
        heads = {reading["host"]: reading for reading in volume["readings"]["device"]}
        served = {reading["host"]: reading["bytes"] for reading in volume["readings"]["bdev"]}
        for host, head in heads.items():
            paths = [reading for reading in volume["readings"]["path"] if reading["host"] == host and reading["bytes"] is not None]
            odd = [path for path in paths if head["bytes"] is not None and path["bytes"] != head["bytes"]]
            above = [path for path in paths if path["bytes"] > (served.get(path.get("target")) or path["bytes"])]
            if odd:
                text = f"the device has {head['bytes']} bytes, " + some(
                    f"{path['object']} ({path.get('target') or 'unknown target'}) {path['bytes']}" for path in odd
                )
                remedy = "find out which target serves the old size (nvme_rescan asks each); never rescan that controller by hand"
                fleet.add("critical", "stale-path", "path", host, head["object"], text, remedy, [volume])
                fleet.cover(host, head["object"], "path")
            elif above and not any(item["kind"] == "stale-target" and item["volume"] == volume["volume"] for item in fleet.found):
                text = f"the device has {head['bytes']} bytes, more than " + some(f"{path['target']} serves ({served[path['target']]})" for path in above)
                remedy = "I/O beyond that fails; bring the target's bdev to the image's size"
                fleet.add("critical", "stale-path", "path", host, head["object"], text, remedy, [volume])


def _unused_bdevs(fleet: Fleet) -> None:
    used = {(name, namespace["bdev"]) for name, _subsystem, namespace in fleet.exported()}
    for name, target in fleet.targets.items():
        for bdev in target.get("bdevs") or []:
            if (name, bdev["name"]) not in used and not bdev.get("claimed"):
                text = f"no namespace uses this bdev ({human(bdev.get('size_bytes'))})"
                remedy = "export it, or remove it if it is left over"
                fleet.add("info", "bdev-unused", "bdev", name, bdev["name"], text, remedy, fleet.of_part(name, bdev["name"]))


def _unused_namespaces(fleet: Fleet) -> None:
    """Namespaces that no host shows; said only of fleets where hosts were asked and all of them answered."""
    if not fleet.hosts or fleet.deaf():
        return
    shown: set[t.Any] = set()
    for host in fleet.hosts.values():
        for namespace in host.get("namespaces") or []:
            shown |= {(namespace.get("uuid") or "").lower(), (namespace.get("nqn"), namespace.get("nsid"))}
    unused: dict[str, list[tuple[str, dict[str, t.Any], dict[str, t.Any]]]] = {}
    for name, subsystem, namespace in fleet.exported():
        if (namespace.get("uuid") or "").lower() not in shown - {""} and (subsystem["nqn"], namespace["nsid"]) not in shown:
            unused.setdefault(f"{subsystem['nqn']}#{namespace['nsid']}", []).append((name, subsystem, namespace))
    here = connected(fleet.measurements)
    known = {host.get("hostnqn") for host in fleet.hosts.values()}
    for label, exports in unused.items():
        bdev, nqn = exports[0][2]["bdev"], exports[0][1]["nqn"]
        strangers = {one.get("hostnqn") for _name, subsystem, _namespace in exports for one in subsystem.get("controllers") or []} - known - {None, ""}
        text, remedy = f"no host of the inventory is connected to this namespace (bdev {bdev})", "connect its hosts, or remove it if it is left over"
        if here.get(nqn):
            text = f"{some(sorted(here[nqn]))} is connected to the subsystem, and no host of the inventory shows this namespace (bdev {bdev})"
            remedy = "look at the host's log for a namespace that was dropped, or remove it if it is hidden from the host and left over"
        if strangers:
            text += f"; hosts that the inventory does not have are connected to the subsystem: {some(sorted(strangers))}"
            remedy = "put those hosts into the inventory before anything is called left over"
        names = [name for name, _subsystem, _namespace in exports]
        about = [volume for name in names for volume in fleet.of_part(name, label)]
        fleet.add("info", "namespace-unused", "namespace", ", ".join(names), label, text, remedy, about)


def _unused_devices(fleet: Fleet) -> None:
    """Connected volumes that no host uses in any way that can be seen; said only where every host that may use them was heard."""
    if fleet.deaf():
        return
    devices: dict[str, list[tuple[str, dict[str, t.Any]]]] = {}
    for name, host in fleet.hosts.items():
        for namespace in host.get("namespaces") or []:
            if any(path.get("transport") not in ("pcie", None) for path in namespace.get("paths") or []):
                devices.setdefault(namespace.get("uuid") or f"{name}:{namespace['device']}", []).append((name, namespace))
    for uuid, places in devices.items():
        used = False
        for name, namespace in places:
            disks = fleet.disks.get(name) or []
            used = used or bool(namespace.get("holders") or namespace.get("mounts")) or "disks" in fleet.measurements[name]["errors"]
            used = used or any(disk.get("namespace_uuid") == uuid or disk.get("device") == namespace["device"] for disk in disks)
        if not used:
            hosts, first = ", ".join(name for name, _namespace in places), places[0][1]["device"]
            text = "connected and used by no domain, mount or layer: " + some(f"{name}:{namespace['device']}" for name, namespace in places)
            remedy = "attach it by /dev/disk/by-id/nvme-uuid.UUID, or disconnect it if it is left over"
            fleet.add("info", "device-unused", "device", hosts, first, text, remedy, fleet.of_uuid(uuid))


def _without_image(fleet: Fleet) -> None:
    """Devices of hosts that a target exports and that have no image: they are in no row, and no orphans either."""
    shown: dict[str, list[str]] = {}
    for name, host in fleet.hosts.items():
        for namespace in host.get("namespaces") or []:
            if namespace.get("uuid"):
                shown.setdefault(namespace["uuid"].lower(), []).append(f"{name}:{namespace['device']}")
    products = {(name, bdev["name"]): bdev.get("product") for name, target in fleet.targets.items() for bdev in target.get("bdevs") or []}
    for name, subsystem, namespace in fleet.exported():
        places = shown.get((namespace.get("uuid") or "").lower())
        key = (name, namespace["bdev"])
        if places and key in products and key not in fleet.of_bdev:
            text = f"{some(places)} is {subsystem['nqn']}#{namespace['nsid']} of this bdev ({products[key]}), which is no RBD image; it has no row"
            fleet.add("info", "no-image", "bdev", name, namespace["bdev"], text, "none: this collection follows RBD images only")


def _shared_hosts(fleet: Fleet) -> None:
    for key, word in (("hostnqn", "host NQN"), ("hostid", "host id")):
        groups: dict[str, list[str]] = {}
        for name, host in fleet.hosts.items():
            if host.get(key):
                groups.setdefault(str(host[key]).lower(), []).append(name)
        for value, names in groups.items():
            if len(names) > 1:
                text = f"hosts share one {word}: {some(names)}; targets take them for one host (access lists, reservations)"
                remedy = "write a new pair on each (role nvmeof.spdk.nvme_initiator), then disconnect and connect"
                touched = [volume for name in names for volume in fleet.of_host(name)]
                fleet.add("critical", "host-identity-shared", "path", ", ".join(names), value, text, remedy, touches=touched)
