# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The measurements of an audit with the volumes built from them, by all that a finding can be about; and the findings so far."""

from __future__ import annotations

import functools
import ipaddress
import typing as t

SEVERITIES = ("critical", "warning", "info")

#: A listener on every address that its host has.
ANY_ADDRESS = ("0.0.0.0", "::")
#: How many names a text lists before it counts the rest.
_NAMED = 6

Volume = t.Mapping[str, t.Any]


def some(names: t.Iterable[str]) -> str:
    """Names for a text: the first few, then how many more."""
    listed = list(names)
    return ", ".join(listed[:_NAMED]) + (f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else "")


@functools.lru_cache(maxsize=4096)
def same_ip(address: t.Any) -> str:
    """An IP address in its one spelling; other text as it is."""
    try:
        return str(ipaddress.ip_address(str(address)))
    except ValueError:
        return str(address)


def note_targets(volumes: t.Sequence[dict[str, t.Any]], measurements: t.Mapping[str, dict[str, t.Any]]) -> None:
    """Write into every path's reading which target is behind it (``target``: host name, or null), by the listeners' addresses.

    ``may_lead_to`` has all that it can be: several targets listen on all of their addresses, or two on one address.
    """
    listeners: dict[tuple[str, str, str], list[str]] = {}
    for name, measured in measurements.items():
        for subsystem in (measured.get("target") or {}).get("subsystems") or []:
            for listener in subsystem.get("listeners") or []:
                key = (subsystem["nqn"], same_ip(listener["traddr"]), str(listener["trsvcid"]))
                listeners.setdefault(key, []).append(name)
    for volume in volumes:
        for reading in volume["readings"]["path"]:
            nqn, port = reading.get("nqn") or "", str(reading.get("trsvcid"))
            behind = listeners.get((nqn, same_ip(reading.get("traddr")), port)) or []
            behind = behind or [name for address in ANY_ADDRESS for name in listeners.get((nqn, address, port)) or []]
            reading["may_lead_to"] = list(dict.fromkeys(behind))
            reading["target"] = reading["may_lead_to"][0] if len(reading["may_lead_to"]) == 1 else None


class Fleet:
    """What was measured and what was found in it; finds the volumes that an object of a host is part of."""

    def __init__(self, measurements: t.Mapping[str, dict[str, t.Any]], volumes: t.Sequence[dict[str, t.Any]]) -> None:
        self.measurements = measurements
        self.volumes = volumes
        self.targets = {name: measured["target"] for name, measured in measurements.items() if measured.get("target")}
        self.hosts = {name: measured["host"] for name, measured in measurements.items() if measured.get("host")}
        self.disks = {name: measured["disks"] for name, measured in measurements.items() if measured.get("disks") is not None}
        self.found: list[dict[str, t.Any]] = []
        self._covered: set[tuple[str | None, str, str]] = set()
        #: By target and name of a bdev.
        self.of_bdev = {
            (reading["host"], reading["object"]): volume for volume in volumes for reading in volume["readings"]["bdev"] if not reading.get("silent")
        }
        self._by_uuid: dict[str, list[Volume]] = {}
        self._parts: dict[tuple[str, str], list[Volume]] = {}
        self._whole: dict[str, list[Volume]] = {}
        labels: dict[str, int] = {}
        for volume in volumes:
            labels[volume["volume"]] = labels.get(volume["volume"], 0) + 1
            for uuid in volume["uuids"]:
                self._by_uuid.setdefault(uuid, []).append(volume)
            self._index(volume)
        self._ambiguous = {label for label, count in labels.items() if count > 1}

    def _index(self, volume: Volume) -> None:
        """Remember which hosts, and which objects of them, the volume is part of."""
        parts = {(disk["host"], disk["object"]) for disk in volume.get("attached") or []}
        for hop, readings in volume["readings"].items():
            for reading in readings:
                parts.add((reading["host"], reading["object"]))
                if hop == "namespace":
                    parts.add((reading["host"], reading["nqn"]))
                elif hop == "path":
                    parts.add((reading["host"], reading["controller"]))
        for part in parts:
            self._parts.setdefault(part, []).append(volume)
        for host in {host for host, _object in parts}:
            self._whole.setdefault(host, []).append(volume)

    def of_uuid(self, uuid: str | None) -> list[Volume]:
        """The volumes with a namespace of this UUID: one, none, or several where the UUID is in two places."""
        return self._by_uuid.get((uuid or "").lower()) or []

    def of_part(self, host: str, obj: str) -> list[Volume]:
        """The volumes that this object of the host (a bdev, ``NQN``, ``NQN#nsid``, a controller, a device, ``domain:disk``) is part of."""
        return self._parts.get((host, obj)) or []

    def of_host(self, host: str) -> list[Volume]:
        """All volumes that the host has, or may have if it did not answer."""
        return self._whole.get(host) or []

    def name(self, volume: Volume) -> str:
        """A name that no other volume has: two clusters can have images of one name."""
        return f"{volume['volume']} of cluster {volume['fsid']}" if volume["volume"] in self._ambiguous else volume["volume"]

    def add(
        self,
        severity: str,
        kind: str,
        hop: str,
        host: str,
        obj: str,
        text: str,
        remedy: str,
        about: t.Iterable[Volume] = (),
        touches: t.Iterable[Volume] = (),
    ) -> None:
        """A finding ``about`` these volumes, or about something wider that ``touches`` volumes."""
        named = list(dict.fromkeys(volume["volume"] for volume in about))
        wide = list(dict.fromkeys(volume["volume"] for volume in touches))
        own = named[0] if named else wide[0] if len(wide) == 1 else None
        place = {"severity": severity, "kind": kind, "hop": hop, "host": host, "object": obj}
        self.found.append({**place, "volume": own, "volumes": list(dict.fromkeys(named + wide)), "text": text, "remedy": remedy})

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

    def deaf(self) -> bool:
        """Whether a host that may use volumes was asked and did not answer: then nothing can be called unused."""
        return any("host" in measured["errors"] for measured in self.measurements.values())


def live_paths(volume: Volume, target: str) -> list[dict[str, t.Any]]:
    """The volume's paths that look live and lead, or may lead, to this target."""
    return [reading for reading in volume["readings"]["path"] if reading.get("state") == "live" and target in (reading.get("may_lead_to") or [])]
