# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What is wrong or risky in a fleet besides the rows of the truth table: what only shows when hosts are compared with each other.

A finding is ``severity`` (critical, warning, info), ``kind`` (a word that stays the same), ``hop``, ``host`` (or hosts, with commas), ``object``,
``volume`` (the row it belongs to, or null), ``text`` and ``remedy``. One cause is told once: what a single host noticed itself is left out
where the comparison says more.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human

from ._verdict import hop_bytes

SEVERITIES = ("critical", "warning", "info")

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
_UNSTABLE = re.compile(r"^/dev/(nvme\d+n\d+(p\d+)?|dm-\d+|disk/by-path/.*)$")
_UUID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
#: Problems of virt_disk_info that are findings of this file, or none at all.
_DISK_CODES_SEEN = ("held", "shrunk", "unstable_name", "layers", "shut_off", "not_a_disk", "not_block")
_RUNNING = ("running", "paused", "blocked", "pmsuspended")
#: How many names a text lists before it counts the rest.
_NAMED = 6


def some(names: t.Iterable[str]) -> str:
    """Names for a text: the first few, then how many more."""
    listed = list(names)
    return ", ".join(listed[:_NAMED]) + (f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else "")


def same_ip(address: t.Any) -> str:
    """An IP address in its one spelling; other text as it is."""
    try:
        return str(ipaddress.ip_address(str(address)))
    except ValueError:
        return str(address)


def note_targets(volumes: t.Sequence[dict[str, t.Any]], measurements: t.Mapping[str, dict[str, t.Any]]) -> None:
    """Write into every path's reading which target is behind it (``target``: host name, or null), by the listeners' addresses."""
    listeners: dict[tuple[str, str, str], list[str]] = {}
    for name, measured in measurements.items():
        for subsystem in (measured.get("target") or {}).get("subsystems") or []:
            for listener in subsystem.get("listeners") or []:
                key = (subsystem["nqn"], same_ip(listener["traddr"]), str(listener["trsvcid"]))
                listeners.setdefault(key, []).append(name)
    for volume in volumes:
        for reading in volume["readings"]["path"]:
            behind = listeners.get((reading.get("nqn") or "", same_ip(reading.get("traddr")), str(reading.get("trsvcid")))) or []
            reading["target"] = behind[0] if len(behind) == 1 else None


class _Fleet:
    """The measurements, and what was found in them so far."""

    def __init__(self, measurements: t.Mapping[str, dict[str, t.Any]], volumes: t.Sequence[dict[str, t.Any]]) -> None:
        self.measurements = measurements
        self.volumes = volumes
        self.targets = {name: measured["target"] for name, measured in measurements.items() if measured.get("target")}
        self.hosts = {name: measured["host"] for name, measured in measurements.items() if measured.get("host")}
        self.disks = {name: measured["disks"] for name, measured in measurements.items() if measured.get("disks") is not None}
        self.found: list[dict[str, t.Any]] = []
        self._covered: set[tuple[str | None, str, str]] = set()
        self.of_bdev = {
            (reading["host"], reading["object"]): volume for volume in volumes for reading in volume["readings"]["bdev"] if not reading.get("silent")
        }
        self.of_uuid = {uuid: volume for volume in volumes for uuid in volume["uuids"]}

    def add(self, severity: str, kind: str, hop: str, host: str, obj: str, text: str, remedy: str, volume: t.Mapping[str, t.Any] | None = None) -> None:
        label = volume["volume"] if volume else None
        self.found.append(
            {"severity": severity, "kind": kind, "hop": hop, "host": host, "object": obj, "volume": label, "text": text, "remedy": remedy},
        )

    def cover(self, host: str | None, obj: str, hop: str) -> None:
        """What this host (``None``: any) says itself of this object is told already."""
        self._covered.add((host, obj, hop))

    def covered(self, host: str, obj: str, hop: str) -> bool:
        return bool({(host, obj, hop), (None, obj, hop)} & self._covered)

    def exported(self) -> t.Iterator[tuple[str, dict[str, t.Any], dict[str, t.Any]]]:
        """Every namespace of every target: target, subsystem, namespace."""
        for name, target in self.targets.items():
            for subsystem in target.get("subsystems") or []:
                for namespace in subsystem.get("namespaces") or []:
                    yield name, subsystem, namespace


def findings(measurements: t.Mapping[str, dict[str, t.Any]], volumes: t.Sequence[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Everything found in ``measurements`` (by host, as :mod:`._volumes` has them) and in the ``volumes`` built from them; the worst first."""
    fleet = _Fleet(measurements, volumes)
    note_targets(volumes, measurements)
    for check in (_silence, _uuids, _identities, _sizes, _stale_targets, _stale_paths, _unused_bdevs, _unused_namespaces, _unused_devices):
        check(fleet)
    for check in (_shared_hosts, _domains, _layers, _told_by_targets, _told_by_hosts):
        check(fleet)
    order = {severity: number for number, severity in enumerate(SEVERITIES)}
    return sorted(fleet.found, key=lambda item: (order[item["severity"]], item["kind"], item["volume"] or "", item["host"], item["object"]))


def _silence(fleet: _Fleet) -> None:
    words = {"target": ("bdev", "its target"), "images": ("image", "its images"), "host": ("device", "its devices"), "disks": ("disk", "its domains")}
    for name, measured in fleet.measurements.items():
        reasons: dict[str, list[str]] = {}
        for kind, reason in measured["errors"].items():
            reasons.setdefault(reason, []).append(kind)
        for reason, kinds in reasons.items():
            text = f"not heard of {' and '.join(words[kind][1] for kind in kinds)}: {reason}"
            fleet.add("warning", "not-heard", words[kinds[0]][0], name, name, text, "let the host answer and run the audit again; what it has is unproven")


def _uuids(fleet: _Fleet) -> None:
    """One UUID in two places, and one image under two UUIDs."""
    places: dict[str, dict[str, list[tuple[str, str, str]]]] = {}
    for name, subsystem, namespace in fleet.exported():
        uuid = namespace.get("uuid")
        if uuid:
            volume = fleet.of_bdev.get((name, namespace["bdev"]))
            image = volume["volume"] if volume else f"{name}:{namespace['bdev']}"
            label = f"{subsystem['nqn']}#{namespace['nsid']}"
            places.setdefault(uuid, {}).setdefault(image, []).append((name, namespace["bdev"], label))
    seen: dict[str, dict[str, list[str]]] = {}
    for name, host in fleet.hosts.items():
        for namespace in host.get("namespaces") or []:
            if namespace.get("uuid"):
                seen.setdefault(namespace["uuid"], {}).setdefault(name, []).append(namespace["device"])
    for uuid, images in places.items():
        labels = sorted({label for exports in images.values() for _host, _bdev, label in exports})
        if len(images) < 2 and len(labels) < 2:
            continue
        hosts = sorted({host for exports in images.values() for host, _bdev, _label in exports})
        what = " and ".join(f"{image} ({some(sorted({f'{host} {label}' for host, _bdev, label in exports}))})" for image, exports in sorted(images.items()))
        shown = [f"{host} {device}" for host, devices in sorted(seen.get(uuid, {}).items()) for device in devices]
        text = f"one UUID in {max(len(images), len(labels))} places: {what}" + (f"; shown as {some(shown)}" if shown else "")
        remedy = "give every volume a UUID of its own: a host takes both for one volume, or drops one without a word"
        fleet.add("critical", "uuid-twice", "namespace", ", ".join(hosts), uuid, text, remedy, fleet.of_uuid.get(uuid))
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
                fleet.add("critical", "uuid-twice", "device", host, uuid, text, remedy, fleet.of_uuid.get(uuid))
                fleet.cover(host, uuid, "namespace")


def _identities(fleet: _Fleet) -> None:
    """Targets that export one NQN (paths of one volume, for a host) must give it one identity."""
    by_nqn: dict[str, list[tuple[str, dict[str, t.Any]]]] = {}
    for name, target in fleet.targets.items():
        for subsystem in target.get("subsystems") or []:
            by_nqn.setdefault(subsystem["nqn"], []).append((name, subsystem))
    for nqn, exports in by_nqn.items():
        hosts = ", ".join(name for name, _subsystem in exports)
        for key, word in (("serial_number", "serial number"), ("model_number", "model number")):
            values = {name: subsystem.get(key) for name, subsystem in exports if subsystem.get(key)}
            if len(set(values.values())) > 1:
                text = f"targets give one NQN different {word}s: " + some(f"{name} {value!r}" for name, value in values.items())
                fleet.add("warning", "identity-differs", "namespace", hosts, nqn, text, f"declare the same {word} on every target")
        ids: dict[int, dict[tuple[t.Any, ...], list[str]]] = {}
        for name, subsystem in exports:
            for namespace in subsystem.get("namespaces") or []:
                volume = fleet.of_bdev.get((name, namespace["bdev"]))
                image = volume["volume"] if volume else namespace["bdev"]
                identity = (namespace.get("uuid"), namespace.get("nguid"), image)
                ids.setdefault(namespace["nsid"], {}).setdefault(identity, []).append(name)
        for nsid, identities in ids.items():
            if len(identities) > 1:
                what = " and ".join(f"{', '.join(names)}: {image} uuid {uuid} nguid {nguid}" for (uuid, nguid, image), names in identities.items())
                remedy = "give the namespace the same nsid, uuid, nguid and image on every target: hosts drop a path whose identity differs"
                text = f"targets give one namespace different identities: {what}"
                fleet.add("critical", "identity-differs", "namespace", hosts, f"{nqn}#{nsid}", text, remedy)
                for name in {name for names in identities.values() for name in names}:
                    fleet.cover(name, f"{nqn}#{nsid}", "namespace")
        ranges = sorted((s["min_cntlid"], s["max_cntlid"], name) for name, s in exports if s.get("min_cntlid") and s.get("max_cntlid"))
        clash = [(one, other) for one, other in zip(ranges, ranges[1:]) if other[0] <= one[1]]
        if clash:
            text = "targets give controller ids of one NQN from the same range: " + some(f"{name} {low}-{high}" for low, high, name in ranges)
            remedy = "give every target a range of its own (min_cntlid, max_cntlid): a host refuses a second controller with the same id"
            fleet.add("warning", "cntlid-overlap", "path", hosts, nqn, text, remedy)


def _sizes(fleet: _Fleet) -> None:
    """Images smaller than their bdevs; disks larger than their devices."""
    for volume in fleet.volumes:
        image = hop_bytes(volume, "image")
        for reading in volume["readings"]["bdev"]:
            if image is not None and reading["bytes"] is not None and image < reading["bytes"]:
                text = f"image smaller than bdev: {image} bytes in Ceph, {reading['bytes']} bytes in the target"
                remedy = "the image was shrunk under its users; stop them, check their data, then restore the image's size"
                fleet.add("critical", "image-smaller", "image", reading["host"], reading["object"], text, remedy, volume)
                fleet.cover(reading["host"], reading["object"], "image")
        for reading in volume["readings"]["disk"]:
            if reading["bytes"] is not None and reading.get("physical_bytes") is not None and reading["bytes"] > reading["physical_bytes"]:
                text = f"Capacity above Physical: QEMU's disk has {reading['bytes']} bytes, its device only {reading['physical_bytes']}"
                remedy = "the device shrank under the domain; do not resize the disk, find out which hop lost the size"
                fleet.add("critical", "capacity-above-physical", "disk", reading["host"], reading["object"], text, remedy, volume)


def _live_paths(volume: t.Mapping[str, t.Any], target: str) -> list[dict[str, t.Any]]:
    return [reading for reading in volume["readings"]["path"] if reading.get("state") == "live" and reading.get("target") == target]


def _stale_targets(fleet: _Fleet) -> None:
    """A target that shows another size than the others; the worse when hosts reach it by paths that look live."""
    for volume in fleet.volumes:
        bdevs = [reading for reading in volume["readings"]["bdev"] if reading["bytes"] is not None]
        largest = max((reading["bytes"] for reading in bdevs), default=0)
        for reading in bdevs:
            if reading["bytes"] == largest:
                continue
            fleet.cover(reading["host"], reading["object"], "bdev")
            sizes = some(f"{other['host']} {other['bytes']}" for other in bdevs)
            paths = _live_paths(volume, reading["host"])
            text = f"targets show different sizes of one image ({sizes} bytes)"
            if paths:
                text = f"stale target behind {some(path['host'] + ' ' + path['controller'] for path in paths)}, which look live: {text}"
                remedy = "let this target follow (grow_volume with the image's size); never rescan these controllers before it does"
                fleet.add("critical", "stale-target", "bdev", reading["host"], reading["object"], text, remedy, volume)
            else:
                remedy = "run grow_volume with the image's size before any host connects to this target"
                fleet.add("warning", "bdev-sizes-differ", "bdev", reading["host"], reading["object"], text, remedy, volume)


def _stale_paths(fleet: _Fleet) -> None:
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
                fleet.add("critical", "stale-path", "path", host, head["object"], text, remedy, volume)
                fleet.cover(host, head["object"], "path")
            elif above and not any(item["kind"] == "stale-target" and item["volume"] == volume["volume"] for item in fleet.found):
                text = f"the device has {head['bytes']} bytes, more than " + some(f"{path['target']} serves ({served[path['target']]})" for path in above)
                remedy = "I/O beyond that fails; bring the target's bdev to the image's size"
                fleet.add("critical", "stale-path", "path", host, head["object"], text, remedy, volume)


def _unused_bdevs(fleet: _Fleet) -> None:
    used = {(name, namespace["bdev"]) for name, _subsystem, namespace in fleet.exported()}
    for name, target in fleet.targets.items():
        for bdev in target.get("bdevs") or []:
            if (name, bdev["name"]) not in used and not bdev.get("claimed"):
                text = f"no namespace uses this bdev ({human(bdev.get('size_bytes'))})"
                remedy = "export it, or remove it if it is left over"
                fleet.add("info", "bdev-unused", "bdev", name, bdev["name"], text, remedy, fleet.of_bdev.get((name, bdev["name"])))


def _unused_namespaces(fleet: _Fleet) -> None:
    """Namespaces that no host shows; said only of fleets where hosts were asked and all of them answered."""
    if not fleet.hosts or any("host" in measured["errors"] for measured in fleet.measurements.values()):
        return
    shown: set[t.Any] = set()
    for host in fleet.hosts.values():
        for namespace in host.get("namespaces") or []:
            shown |= {namespace.get("uuid"), (namespace.get("nqn"), namespace.get("nsid"))}
    unused: dict[str, tuple[list[str], dict[str, t.Any]]] = {}
    for name, subsystem, namespace in fleet.exported():
        if namespace.get("uuid") not in shown - {None} and (subsystem["nqn"], namespace["nsid"]) not in shown:
            unused.setdefault(f"{subsystem['nqn']}#{namespace['nsid']}", ([], namespace))[0].append(name)
    for label, (names, namespace) in unused.items():
        text = f"no host of the inventory is connected to this namespace (bdev {namespace['bdev']})"
        fleet.add(
            "info",
            "namespace-unused",
            "namespace",
            ", ".join(names),
            label,
            text,
            "connect its hosts, or remove it if it is left over",
            fleet.of_bdev.get((names[0], namespace["bdev"])),
        )


def _unused_devices(fleet: _Fleet) -> None:
    """Connected volumes that no host uses in any way that can be seen; said only where every host that may use them was heard."""
    if any("host" in measured["errors"] for measured in fleet.measurements.values()):
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
            what = [f"{name}:{namespace['device']}" for name, namespace in places]
            text = f"connected and used by no domain, mount or layer: {some(what)}"
            remedy = "attach it by /dev/disk/by-id/nvme-uuid.UUID, or disconnect it if it is left over"
            fleet.add(
                "info", "device-unused", "device", ", ".join(name for name, _namespace in places), places[0][1]["device"], text, remedy, fleet.of_uuid.get(uuid)
            )


def _shared_hosts(fleet: _Fleet) -> None:
    for key, word in (("hostnqn", "host NQN"), ("hostid", "host id")):
        groups: dict[str, list[str]] = {}
        for name, host in fleet.hosts.items():
            if host.get(key):
                groups.setdefault(str(host[key]).lower(), []).append(name)
        for value, names in groups.items():
            if len(names) > 1:
                text = f"hosts share one {word}: {some(names)}; targets take them for one host (access lists, reservations)"
                remedy = "write a new pair on each (role nvmeof.spdk.nvme_initiator), then disconnect and connect"
                fleet.add("critical", "host-identity-shared", "path", ", ".join(names), value, text, remedy)


def _domains(fleet: _Fleet) -> None:
    """Disks of domains: dead devices, unstable names, and what virt_disk_info found itself."""
    for name, disks in fleet.disks.items():
        fabrics = {namespace["device"] for namespace in (fleet.hosts.get(name) or {}).get("namespaces") or []}
        for disk in disks:
            obj = f"{disk.get('domain')}:{disk.get('target')}"
            volume = fleet.of_uuid.get((disk.get("namespace_uuid") or "").lower())
            source = disk.get("source") or ""
            ours = volume is not None or source in fabrics or disk.get("device") in fabrics
            if not ours and not re.match(r"^/dev/(nvme|disk/by-id/nvme)", source):
                continue
            if disk.get("held") is False and disk.get("domain_state") in _RUNNING:
                leads = f"not the one {source} leads to now" if disk.get("device") else f"and {source or 'its source'} leads to none now"
                text = f"QEMU holds a dead device, {leads}: the guest reads zeros or errors"
                remedy = f"shut the domain {disk.get('domain')} down and start it, then check the guest's file systems"
                fleet.add("critical", "dead-device", "disk", name, obj, text, remedy, volume)
            if _UNSTABLE.match(source) and not _UUID.search(source):
                text = f"the domain is attached by {source}, a name that another namespace can have after the next start"
                remedy = "use /dev/disk/by-id/nvme-uuid." + (disk.get("namespace_uuid") or "UUID") + " as the disk's source"
                fleet.add("warning", "unstable-name", "disk", name, obj, text, remedy, volume)
            for problem in disk.get("problems") or []:
                seen = problem.get("code") in _DISK_CODES_SEEN or (problem.get("code") == "no_device" and disk.get("held") is False)
                if not seen and problem.get("severity") != "info":
                    severity = "critical" if problem.get("severity") == "critical" else "warning"
                    fleet.add(severity, "disk-problem", "disk", name, obj, problem["problem"], problem["remedy"], volume)


def _layers(fleet: _Fleet) -> None:
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
            fleet.add("info", "layer", "device", host, device["object"], text, remedy, volume)


def _told_by_targets(fleet: _Fleet) -> None:
    """What a target found itself; where it is bad, with the live paths that lead there."""
    for name, target in fleet.targets.items():
        bdevs = {bdev["name"]: bdev for bdev in target.get("bdevs") or []}
        for problem in target.get("problems") or []:
            obj, hop, text = problem["object"], problem["hop"], problem["problem"]
            if fleet.covered(name, obj, hop):
                continue
            volume = fleet.of_bdev.get((name, obj))
            if volume and hop == "image" and bdevs.get(obj, {}).get("image_bytes") is None and hop_bytes(volume, "image") is not None:
                continue  # another Ceph client has read what this target cannot
            critical = problem["severity"] == "critical"
            paths = _live_paths(volume, name) if volume and critical else []
            if paths:
                text += "; paths that look live lead there: " + some(f"{path['host']} {path['controller']}" for path in paths)
            fleet.add("critical" if critical else "warning", "target-problem", hop, name, obj, text, problem["remedy"], volume)


def _told_by_hosts(fleet: _Fleet) -> None:
    for name, host in fleet.hosts.items():
        of_device = {namespace["device"]: fleet.of_uuid.get(namespace.get("uuid") or "") for namespace in host.get("namespaces") or []}
        for problem in host.get("problems") or []:
            if not fleet.covered(name, problem["object"], problem["hop"]):
                severity = "critical" if problem["severity"] == "critical" else "warning"
                obj = problem["object"]
                fleet.add(severity, "host-problem", problem["hop"], name, obj, problem["problem"], problem["remedy"], of_device.get(obj))
