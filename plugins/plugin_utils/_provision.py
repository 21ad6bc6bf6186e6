# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Volumes that are to be made: what the operator wrote, checked as a whole, and the work of every host.

All problems are told at once and nothing is touched while there is one. What is there already is left as it is, so the plan of a
run that was interrupted is the rest of it, and that of a finished one is empty.
"""

from __future__ import annotations

import re
import typing as t
import uuid as uuid_module
from dataclasses import asdict, dataclass

import yaml
from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import CapacityError, human, parse_image_size

from ._plain import as_list
from ._volumes import known_of, label_of

Measured = t.Mapping[str, t.Mapping[str, t.Any]]

_NAME = re.compile(r"^[^/@\s]+$")
#: What an entry has where it says nothing; text as YAML and JSON write it.
_NOTHING = (None, "", "null", "~")
_PREFIX = {"virtio": "vd", "scsi": "sd"}
DEFAULT_MAX_NAMESPACES = 256


class ProvisionError(Exception):
    """The list of volumes cannot be read at all."""


@dataclass
class Volume:
    """One volume as wanted. ``size_bytes`` 0: not given. ``targets``: the SPDK targets that export it, empty for all with the NQN."""

    pool: str = ""
    image: str = ""
    rados_namespace: str = ""
    size: str = ""
    nqn: str = ""
    nsid: int = 0
    uuid: str = ""
    bdev: str = ""
    cluster: str = ""
    block_size: int = 0
    targets: t.Sequence[str] = ()
    host: str = ""
    domain: str = ""
    target: str = ""
    bus: str = "virtio"
    serial: str = ""
    size_bytes: int = 0

    @property
    def label(self) -> str:
        return label_of(self.pool, self.rados_namespace, self.image) or "a volume without pool and image"

    @property
    def place(self) -> tuple[str, str, str]:
        return (self.pool, self.rados_namespace, self.image)


KEYS = tuple(key for key in Volume.__dataclass_fields__ if key != "size_bytes")


def derived_uuid(fsid: str, volume: Volume) -> str:
    """The UUID that ``spdk_rbd_bdev`` gives to the bdev of an image, the same on every target."""
    return str(uuid_module.uuid5(uuid_module.UUID(fsid), "/".join(volume.place)))


# -- what the operator wrote -------------------------------------------------------------------------------------------


def entries_of(volumes: t.Any, defaults: t.Mapping[str, t.Any] | None = None) -> list[dict[str, t.Any]]:
    """The list of volumes from a list, or from text (YAML or JSON) as a form delivers it; ``defaults`` fill what an entry leaves out.

    Without a list the defaults are the only volume. Raises :class:`ProvisionError`.
    """
    given = {key: value for key, value in (defaults or {}).items() if value not in (None, "", [], 0)}
    if isinstance(volumes, str):
        try:
            # every scalar as the text it is: an image 007 or a serial number 0123 is no number
            volumes = yaml.load(volumes, Loader=yaml.BaseLoader)
        except yaml.YAMLError as error:
            raise ProvisionError(f"the list of volumes is neither YAML nor JSON: {' '.join(str(error).split())}") from error
    if isinstance(volumes, dict):
        volumes = volumes["volumes"] if isinstance(volumes.get("volumes"), list) else [volumes]
    if not volumes:
        volumes = [{}] if given.get("image") else []
    if not isinstance(volumes, list) or not all(isinstance(entry, dict) for entry in volumes):
        raise ProvisionError("volumes must be a list of dictionaries, each with pool, image and so on")
    return [{**given, **{key: value for key, value in entry.items() if value not in _NOTHING}} for entry in volumes]


def parse(volumes: t.Any, defaults: t.Mapping[str, t.Any] | None, needed: t.Sequence[str]) -> tuple[list[Volume], list[str]]:
    """The volumes and everything that is wrong with them by themselves; ``needed`` are the keys that none may lack."""
    found, problems = [], []
    for entry in entries_of(volumes, defaults):
        volume = Volume()
        for key, value in entry.items():
            if key not in KEYS:
                problems.append(f"{_label(entry)}: {key!r} is no key of a volume (known: {', '.join(KEYS)})")
            elif key in ("nsid", "block_size"):
                if isinstance(value, bool) or not re.match(r"^[1-9][0-9]*$", str(value)):
                    problems.append(f"{_label(entry)}: {key} {value!r} is not a whole number above 0")
                else:
                    setattr(volume, key, int(value))
            elif key == "targets":
                volume.targets = as_list(value)
            elif isinstance(value, (dict, list, bool)):
                problems.append(f"{_label(entry)}: {key} {value!r} is not text")
            else:
                setattr(volume, key, str(value).strip())
        problems += [f"{volume.label}: {text}" for text in _wrong(volume, needed)]
        found.append(volume)
    if not found:
        problems.append("no volume was given: use volumes (a list), or pool, image and so on for one")
    return found, problems + _clashes(found)


def _label(entry: t.Mapping[str, t.Any]) -> str:
    return label_of(str(entry.get("pool") or ""), str(entry.get("rados_namespace") or ""), str(entry.get("image") or "")) or "a volume"


def _wrong(volume: Volume, needed: t.Sequence[str]) -> list[str]:
    found = [f"{key} is missing" for key in needed if not getattr(volume, key)]
    for key in ("pool", "image", "rados_namespace", "bdev", "cluster"):
        value = getattr(volume, key)
        if value and not _NAME.match(value):
            found.append(f"{key} {value!r} is not a name (no /, @ or spaces)")
    if volume.size:
        try:
            volume.size_bytes = parse_image_size(volume.size)
        except CapacityError as error:
            found.append(str(error))
    if volume.uuid:
        try:
            volume.uuid = str(uuid_module.UUID(volume.uuid))
        except ValueError:
            found.append(f"uuid {volume.uuid!r} is not a UUID")
    if volume.nqn and not (volume.nqn.startswith("nqn.") and len(volume.nqn) <= 223):
        found.append(f"nqn {volume.nqn!r} is not an NQN")
    if volume.domain and not volume.host:
        found.append("domain is given without the host that runs it")
    if volume.bus not in _PREFIX:
        found.append(f"bus {volume.bus!r} is neither virtio nor scsi")
    elif volume.target and not re.match(rf"^{_PREFIX[volume.bus]}[a-z]+$", volume.target):
        found.append(f"target {volume.target!r} is no disk of bus {volume.bus}")
    if volume.target and not volume.domain:
        found.append("target (the disk's name) is given without a domain")
    if volume.serial and not re.match(r"^[A-Za-z0-9_.+-]{1,20}$", volume.serial):
        found.append(f"serial {volume.serial!r} is not 1 to 20 letters, digits, or _ . + -")
    volume.bdev = volume.bdev or volume.image
    return found


def _clashes(volumes: t.Sequence[Volume]) -> list[str]:
    """What two volumes of the list may not both have."""
    problems = []
    seen: dict[tuple[t.Any, ...], str] = {}
    for volume in volumes:
        keys: list[tuple[t.Any, ...]] = [("image", *volume.place)] if volume.image else []
        keys += [("uuid", volume.uuid)] if volume.uuid else []
        keys += [("bdev", volume.bdev)] if volume.bdev else []
        keys += [("nsid", volume.nqn, volume.nsid)] if volume.nsid else []
        keys += [("disk", volume.host, volume.domain, volume.target)] if volume.target else []
        for key in keys:
            if key in seen:
                problems.append(f"{volume.label} and {seen[key]} have the same {key[0]} ({', '.join(str(part) for part in key[1:] if part)})")
            else:
                seen[key] = volume.label
    return problems


# -- against what was measured -----------------------------------------------------------------------------------------


def bdev_of(target: t.Mapping[str, t.Any], volume: Volume) -> dict[str, t.Any] | None:
    """The bdev of the volume's image on a target."""
    for bdev in target.get("bdevs") or []:
        if (bdev.get("pool"), bdev.get("rados_namespace") or "", bdev.get("image")) == volume.place:
            return bdev
    return None


def namespaces_of(target: t.Mapping[str, t.Any], bdev: str) -> list[tuple[str, dict[str, t.Any]]]:
    """(NQN, namespace) of a bdev on a target."""
    return [(entry["nqn"], there) for entry in target.get("subsystems") or [] for there in entry.get("namespaces") or [] if there["bdev"] == bdev]


class Planner:
    """Plans the volumes of one run. ``images`` is the result of ``rbd_image_info`` on the Ceph client, ``domains`` by hypervisor."""

    def __init__(self, measured: Measured, asked: t.Mapping[str, t.Sequence[str]], images: t.Mapping[str, t.Any], domains: t.Mapping[str, t.Any]) -> None:
        self.measured = measured
        self.asked = asked
        self.images = {(entry["pool"], entry.get("rados_namespace") or "", entry["image"]): entry for entry in images.get("images") or []}
        self.pools = {entry["pool"]: entry for entry in images.get("pools") or []}
        self.image_error = None if images.get("images") is not None else str(images.get("msg") or "not asked")
        self.domains = domains
        self.fsid = images.get("fsid") or next((entry["target"].get("fsid") for entry in measured.values() if (entry.get("target") or {}).get("fsid")), None)
        self.problems: list[str] = []
        self.lines: list[str] = []
        self.nsids: dict[str, set[int]] = {}

    def targets_of(self, volume: Volume) -> dict[str, dict[str, t.Any]]:
        """The targets that are to export the volume, with their subsystem; notes a problem for what cannot be known."""
        found, known = {}, set()
        wanted = volume.targets or self.asked.get("target") or []
        for name in wanted:
            if name not in (self.asked.get("target") or []):
                self.problems.append(f"{volume.label}: the inventory has no target {name}")
                continue
            target = (self.measured.get(name) or {}).get("target")
            if target is None:
                reason = ((self.measured.get(name) or {}).get("errors") or {}).get("target") or "not measured"
                self.problems.append(f"{volume.label}: target {name} did not answer, so what it exports is unknown ({reason})")
                continue
            known |= {entry["nqn"] for entry in target["subsystems"]}
            subsystem = next((entry for entry in target["subsystems"] if entry["nqn"] == volume.nqn), None)
            if subsystem is not None:
                found[name] = subsystem
            elif volume.targets:
                self.problems.append(f"{volume.label}: target {name} has no subsystem {volume.nqn}")
        if not found and volume.nqn and not volume.targets:
            self.problems.append(f"{volume.label}: no target has the subsystem {volume.nqn} (known: {', '.join(sorted(known)) or 'none'})")
        return found

    def identify(self, volume: Volume, targets: t.Mapping[str, dict[str, t.Any]]) -> None:
        """Fill in bdev, uuid and nsid: those that are there, else the same new ones for all targets."""
        there: dict[str, set[t.Any]] = {"uuid": set(), "nsid": set()}
        bdev_uuids: set[str] = set()
        for name in targets:
            target = self.measured[name]["target"]
            bdev = bdev_of(target, volume)
            other = next((entry for entry in target["bdevs"] if entry["name"] == (bdev or {}).get("name", volume.bdev)), None)
            if bdev is None and other is not None:
                self.problems.append(f"{volume.label}: the bdev {volume.bdev} of target {name} is another image; give the volume another bdev name")
            if bdev is None:
                continue
            volume.bdev = bdev["name"]
            bdev_uuids.add(bdev["uuid"])
            for nqn, namespace in namespaces_of(target, bdev["name"]):
                if nqn != volume.nqn:
                    self.problems.append(f"{volume.label}: on target {name} it is already namespace {namespace['nsid']} of {nqn}, not of {volume.nqn}")
                else:
                    there["nsid"].add(namespace["nsid"])
                    there["uuid"].add(namespace["uuid"])
        there["uuid"] = there["uuid"] or bdev_uuids  # hosts know the namespace's; a bdev's own is random in old releases
        for key, values in there.items():
            if len(values) > 1:
                self.problems.append(
                    f"{volume.label}: its {key} differs between bdevs, namespaces and targets: {', '.join(str(value) for value in sorted(values))}"
                )
            elif values and getattr(volume, key) and getattr(volume, key) not in values:
                self.problems.append(f"{volume.label}: its {key} is {next(iter(values))}, not {getattr(volume, key)}; an identity never changes")
            elif values:
                setattr(volume, key, next(iter(values)))
        if not volume.uuid:
            if self.fsid is None:
                self.problems.append(f"{volume.label}: nobody told the cluster's fsid, so its uuid cannot be derived; give uuid")
            else:
                volume.uuid = derived_uuid(self.fsid, volume)
        self._nsid(volume, targets, bool(there["nsid"]))

    def _nsid(self, volume: Volume, targets: t.Mapping[str, dict[str, t.Any]], is_there: bool) -> None:
        taken = self.nsids.setdefault(volume.nqn, set())
        limit = min((entry.get("max_namespaces") or DEFAULT_MAX_NAMESPACES for entry in targets.values()), default=0)
        for name, subsystem in targets.items():
            for there in subsystem["namespaces"]:
                taken.add(there["nsid"])
                if there["nsid"] == volume.nsid and there["bdev"] != volume.bdev:
                    self.problems.append(f"{volume.label}: nsid {volume.nsid} of {volume.nqn} on target {name} is the volume {there['bdev']} already")
                if there.get("uuid") == volume.uuid and there["bdev"] != volume.bdev:
                    self.problems.append(f"{volume.label}: its uuid {volume.uuid} is that of the volume {there['bdev']} on target {name}")
        if not volume.nsid and targets:
            volume.nsid = next(number for number in range(1, len(taken) + 2) if number not in taken)
        if targets and volume.nsid > limit:
            self.problems.append(f"{volume.label}: nsid {volume.nsid} is above max_namespaces {limit} of {volume.nqn}")
        if not is_there:
            taken.add(volume.nsid)

    def host(self, volume: Volume) -> None:
        """Whether the host is connected to the NQN; connecting is another playbook's job."""
        if not volume.host:
            return
        if volume.host not in (self.asked.get("host") or []):
            self.problems.append(f"{volume.label}: the inventory has no initiator {volume.host}")
            return
        entry = self.measured.get(volume.host) or {}
        if entry.get("host") is None:
            self.problems.append(f"{volume.label}: host {volume.host} did not answer ({(entry.get('errors') or {}).get('host') or 'not measured'})")
        elif not any(item["nqn"] == volume.nqn and item["state"] == "live" for item in entry["host"]["controllers"]):
            self.problems.append(
                f"{volume.label}: host {volume.host} has no live connection to {volume.nqn}; connect it first (nvmeof.spdk.connect_initiators)"
            )
        if volume.domain:
            self._domain(volume, entry)

    def _domain(self, volume: Volume, entry: t.Mapping[str, t.Any]) -> None:
        domains = self.domains.get(volume.host)
        if entry.get("disks") is None or domains is None:
            self.problems.append(f"{volume.label}: the domains of {volume.host} are not known ({(entry.get('errors') or {}).get('disks') or 'not measured'})")
            return
        names = sorted(domain["domain"] for domain in domains)
        if volume.domain not in names:
            self.problems.append(f"{volume.label}: host {volume.host} has no domain {volume.domain} (it has {', '.join(names) or 'none'})")
        for disk in entry["disks"]:
            mine = disk["namespace_uuid"] == volume.uuid
            if mine and disk["domain"] != volume.domain:
                self.problems.append(f"{volume.label}: it is already the disk {disk['target']} of the domain {disk['domain']}")
            if disk["domain"] == volume.domain and volume.target and mine != (disk["target"] == volume.target):
                what = f"it is already the disk {disk['target']}" if mine else f"the disk {volume.target} is another volume"
                self.problems.append(f"{volume.label}: in the domain {volume.domain} {what}")

    def headroom(self, volumes: t.Sequence[Volume], overcommit: bool) -> None:
        """Whether the pools can take all new images in full."""
        if self.image_error is not None:
            self.problems.append(f"the images could not be read: {self.image_error}")
            return
        wanted: dict[str, int] = {}
        for volume in volumes:
            image = self.images.get(volume.place) or {}
            if image.get("exists"):
                if volume.size_bytes and (image.get("size_bytes") or 0) < volume.size_bytes:
                    has = human(image.get("size_bytes"))
                    self.problems.append(f"{volume.label}: the image is there with {has}, less than {volume.size}; grow it with nvmeof.spdk.grow_volume")
            elif image.get("error") and image.get("exists") is not False:
                self.problems.append(f"{volume.label}: the image cannot be read: {image['error']}")
            else:
                wanted[volume.pool] = wanted.get(volume.pool, 0) + volume.size_bytes
        for name, size in sorted(wanted.items()):
            pool = self.pools.get(name) or {}
            if pool.get("exists") is False:
                self.problems.append(f"the cluster has no pool {name}")
                continue
            if pool.get("full"):
                self.problems.append(f"pool {name} is full")
            quota, stored = pool.get("max_bytes"), pool.get("stored_bytes")
            left = None if quota is None else max(0, quota - (stored or 0))
            for room, what in ((pool.get("free_bytes"), "free"), (left, f"left of its quota of {human(quota)}")):
                if room is not None and size > room:
                    text = f"pool {name} has {human(room)} {what}, the new images need {human(size)}"
                    (self.lines if overcommit else self.problems).append(text + ("" if overcommit else "; set overcommit to provision more than there is"))
            if pool.get("nearfull"):
                self.lines.append(f"WARNING: pool {name} is nearly full")
            if quota is not None and stored is None:
                self.lines.append(f"WARNING: nobody may ask what pool {name} stores, so its quota counts as if it were empty")
            if pool.get("free_bytes") is None:
                self.lines.append(f"WARNING: nobody may ask what pool {name} can still take")


def plan(
    volumes: t.Any,
    defaults: t.Mapping[str, t.Any] | None,
    measured: Measured,
    asked: t.Mapping[str, t.Sequence[str]],
    images: t.Mapping[str, t.Any],
    domains: t.Mapping[str, t.Any],
    overcommit: bool = False,
) -> dict[str, t.Any]:
    """The work of every host: ``images``, ``targets``, ``hosts`` and ``disks`` by host, ``volumes`` as they will be, ``lines``, ``problems``."""
    found, problems = parse(volumes, defaults, ("pool", "image", "size", "nqn"))
    planner = Planner(measured, asked, images, domains)
    targets: dict[str, dict[str, list[t.Any]]] = {}
    hosts: dict[str, list[dict[str, t.Any]]] = {}
    disks: dict[str, list[dict[str, t.Any]]] = {}
    # given numbers first: one that is chosen here must not take what a later volume asks for
    for volume in found:
        if volume.nsid:
            planner.nsids.setdefault(volume.nqn, set()).add(volume.nsid)
    for volume in found:
        exporting = planner.targets_of(volume) if volume.nqn else {}
        planner.identify(volume, exporting)
        planner.host(volume)
        for name in exporting:
            work = targets.setdefault(name, {"bdevs": [], "subsystems": []})
            bdev = {"name": volume.bdev, "pool": volume.pool, "image": volume.image, "uuid": volume.uuid}
            bdev.update({key: getattr(volume, key) for key in ("rados_namespace", "cluster", "block_size") if getattr(volume, key)})
            work["bdevs"].append(bdev)
            subsystem = next((entry for entry in work["subsystems"] if entry["nqn"] == volume.nqn), None)
            if subsystem is None:
                subsystem = {"nqn": volume.nqn, "namespaces": []}
                work["subsystems"].append(subsystem)
            subsystem["namespaces"].append({"bdev": volume.bdev, "nsid": volume.nsid, "uuid": volume.uuid})
        if volume.host:
            hosts.setdefault(volume.host, []).append({"uuid": volume.uuid, "size": volume.size})
        if volume.domain:
            disk = {"domain": volume.domain, "uuid": volume.uuid, "bus": volume.bus, "state": "present"}
            disk.update({key: getattr(volume, key) for key in ("target", "serial") if getattr(volume, key)})
            disks.setdefault(volume.host, []).append(disk)
        where = f"{volume.nqn} nsid {volume.nsid} on {', '.join(exporting) or 'no target'}"
        user = f", host {volume.host}" + (f", domain {volume.domain}" if volume.domain else "") if volume.host else ""
        planner.lines.append(f"{volume.label}: {volume.size}, uuid {volume.uuid}, {where}{user}")
    planner.headroom(found, overcommit)
    problems += _clashes(found) + planner.problems
    return {
        "problems": list(dict.fromkeys(problems)),
        "lines": planner.lines,
        "images": [
            {"pool": item.pool, "rados_namespace": item.rados_namespace or None, "image": item.image, "size": item.size, "state": "present"} for item in found
        ],
        "targets": targets,
        "hosts": hosts,
        "disks": disks,
        "volumes": [declared_entry(volume) for volume in found],
    }


# -- the declared state ------------------------------------------------------------------------------------------------


def declared_entry(volume: Volume) -> dict[str, t.Any]:
    """The volume as an entry of ``spdk_target_volumes``: what a target needs to make it again."""
    keys = ("pool", "rados_namespace", "image", "bdev", "cluster", "block_size", "uuid", "nqn", "nsid", "targets")
    return {key: list(value) if key == "targets" else value for key, value in asdict(volume).items() if key in keys and value}


def _place(entry: t.Mapping[str, t.Any]) -> tuple[t.Any, ...]:
    return (entry.get("pool"), entry.get("rados_namespace") or "", entry.get("image"))


def declared_text(before: str, add: t.Sequence[dict[str, t.Any]], remove: t.Sequence[dict[str, t.Any]] = ()) -> str:
    """The content of the file of declared volumes, merged by image; anything but that list in the file is an error."""
    loaded = yaml.safe_load(before) if before.strip() else {}
    if loaded is None:
        loaded = {}
    if not isinstance(loaded, dict) or set(loaded) - {"spdk_target_volumes"} or not isinstance(loaded.get("spdk_target_volumes") or [], list):
        raise ProvisionError("the file of declared volumes holds something else than the list spdk_target_volumes; name another file")
    entries = {_place(entry): entry for entry in loaded.get("spdk_target_volumes") or []}
    entries.update({_place(entry): entry for entry in add})
    for entry in remove:
        entries.pop(_place(entry), None)
    head = "# The volumes that nvmeof.spdk.provision_volume made; nvmeof.spdk.retire_volume takes them out. Role spdk_target reads it from group_vars.\n"
    return "---\n" + head + yaml.safe_dump({"spdk_target_volumes": list(entries.values())}, sort_keys=False, default_flow_style=False)


def with_volumes(declared: t.Mapping[str, t.Any], volumes: t.Sequence[t.Mapping[str, t.Any]], host: str) -> dict[str, t.Any]:
    """``bdevs`` and ``subsystems`` of a target with the volumes that are declared apart. A subsystem the target lacks is not made."""
    bdevs = list(declared.get("bdevs") or [])
    subsystems = [dict(entry) for entry in declared.get("subsystems") or []]
    by_nqn = {entry["nqn"]: entry for entry in subsystems}
    places = {_place(entry) for entry in bdevs}
    for volume in volumes:
        if (volume.get("targets") and host not in volume["targets"]) or volume["nqn"] not in by_nqn or _place(volume) in places:
            continue
        name = volume.get("bdev") or volume["image"]
        bdev = {"name": name, **{key: volume[key] for key in ("pool", "rados_namespace", "image", "cluster", "block_size", "uuid") if volume.get(key)}}
        bdevs.append(bdev)
        subsystem = by_nqn[volume["nqn"]]
        namespace = {"bdev": name, **{key: volume[key] for key in ("nsid", "uuid") if volume.get(key)}}
        subsystem["namespaces"] = [*(subsystem.get("namespaces") or []), namespace]
    return {"bdevs": bdevs, "subsystems": subsystems}


def registered(hostvars: t.Mapping[str, t.Any], host: str, name: str) -> dict[str, t.Any]:
    """A registered result of a host, empty where there is none."""
    return known_of(hostvars, host).get(name) or {}
