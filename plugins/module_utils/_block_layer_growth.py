# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Growing what lies on a namespace's device: dm-multipath, then LUKS, then LVM's physical volume.

The bytes that a layer should have are ``(bytes below - overhead_bytes)`` rounded down to ``unit_bytes``: for dm-crypt the payload's offset and the
sector size, for a physical volume what LVM keeps and the extent size. From the bottom up, each is grown only when what is below has its bytes, and read back.
Nothing is guessed: a layer that is not known here, or that somebody else may own, is a named blocker, and then no layer of that namespace is touched.
"""

from __future__ import annotations

import os
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.nvmeof.spdk.plugins.module_utils._block_layer_tools import LayerTools, ToolError
from ansible_collections.nvmeof.spdk.plugins.module_utils._block_layers import SECTOR
from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Changes

#: How often a layer's size is read while it is awaited, in seconds.
PAUSE = 0.1
#: dm-crypt mappings whose ``dm/uuid`` begins so can be resized; others (integrity, verity, BitLocker ...) cannot or are not known.
_RESIZABLE = ("CRYPT-LUKS1-", "CRYPT-LUKS2-", "CRYPT-PLAIN-")


def _text(*parts: str) -> str:
    try:
        with open(os.path.join(*parts), encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def size_of(root: str, device: str) -> int | None:
    """Bytes of a block device (``/dev/NAME``, a partition too) from sysfs; ``None`` when it cannot be read."""
    name = os.path.basename(device)
    text = _text(root, "class", "block", name, "size") or _text(root, "block", name, "size")
    return int(text) * SECTOR if text.isdigit() else None


def expected_bytes(layer: t.Mapping[str, t.Any], below: int | None) -> int | None:
    """What a layer should have over ``below`` bytes; ``None`` when that is not known."""
    if below is None or layer.get("overhead_bytes") is None:
        return None
    return max(0, below - layer["overhead_bytes"]) // layer["unit_bytes"] * layer["unit_bytes"]


def describe(root: str, namespaces: t.Sequence[dict[str, t.Any]], tools: LayerTools) -> None:
    """Add to the ``layers`` of each namespace of :class:`SysfsNvme <_nvme_sysfs.SysfsNvme>` what growing them needs, in place.

    ``overhead_bytes``, ``unit_bytes`` (``None``: unknown), ``grown_by`` (the program, or ``None``), ``blocker`` and ``remedy`` (``None``: it can be
    grown). A device with active LVM volumes gets a layer of its own, kind ``lvm-pv``, for the physical volume: its size is that of its extents.
    The programs are asked once for all namespaces, and only where there are such layers.
    """
    layers = [layer for namespace in namespaces for layer in namespace["layers"]]
    facts = _Facts(root, tools, layers)
    for namespace in namespaces:
        found = []
        for layer in namespace["layers"]:
            if layer["kind"] == "lvm":
                found += [facts.physical_volume(device) for device in layer["on"] if not _named(found, device)]
            found.append({**layer, **facts.of(layer)})
        namespace["layers"] = found


def _named(layers: t.Sequence[t.Mapping[str, t.Any]], device: str) -> bool:
    return any(layer["kind"] == "lvm-pv" and layer["device"] == device for layer in layers)


def _verdict(overhead: int | None, unit: int | None, grown_by: str | None, blocker: str | None = None, remedy: str | None = None) -> dict[str, t.Any]:
    return {"overhead_bytes": overhead, "unit_bytes": unit, "grown_by": None if blocker else grown_by, "blocker": blocker, "remedy": remedy, "unlock": []}


class _Facts:
    """What the programs said, asked once."""

    def __init__(self, root: str, tools: LayerTools, layers: t.Sequence[t.Mapping[str, t.Any]]) -> None:
        self.root = root
        self.tools = tools
        self.errors: dict[str, ToolError] = {}
        self.crypt: dict[str, t.Any] = {}
        self.volumes: dict[int, t.Any] = {}
        below_lvm = sorted({device for layer in layers if layer["kind"] == "lvm" for device in layer["on"]})
        try:
            if any(layer["kind"] == "dm-crypt" for layer in layers):
                self.crypt = tools.crypt_tables()
        except ToolError as error:
            self.errors["dm-crypt"] = error
        try:
            if below_lvm:
                self.volumes = tools.physical_volumes(below_lvm)
        except ToolError as error:
            self.errors["lvm"] = error

    def of(self, layer: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        kind = layer["kind"]
        if kind == "multipath":
            return self._multipath(layer)
        if kind == "dm-crypt":
            return self._crypt(layer)
        if kind == "lvm":
            # a logical volume is somebody's own size; the way of a namespace's bytes ends at its physical volume
            return _verdict(None, None, None)
        what = {"partition": f"the partition {layer['name']}", "md": f"the RAID device {layer['name']}"}.get(kind, f"{layer['name']} (device-mapper)")
        return _verdict(None, None, None, f"{what} keeps its size; this collection does not change it", f"grow {layer['name']} with its own tool, by hand")

    def _multipath(self, layer: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        name = os.path.basename(layer["device"])
        try:
            slaves = sorted(os.listdir(os.path.join(self.root, "block", name, "slaves")))
        except OSError:
            slaves = []
        strangers = [slave for slave in slaves if "/dev/" + slave not in layer["on"]]
        if strangers:
            text = f"the multipath map {layer['name']} also has {', '.join(strangers)}, which is no path to this namespace"
            return _verdict(0, SECTOR, None, text, "look at multipath -ll; a map is over the paths of one namespace")
        return _verdict(0, SECTOR, "multipathd")

    def _crypt(self, layer: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        name = layer["name"]
        if "dm-crypt" in self.errors:
            error = self.errors["dm-crypt"]
            return _verdict(None, None, None, f"the payload's offset of {name} cannot be read: {error}", "install dmsetup and cryptsetup, and run as root")
        table = self.crypt.get(name)
        if table is None:
            return _verdict(None, None, None, f"{name} has no dm-crypt table of its own", "look at dmsetup table and cryptsetup status")
        uuid = _text(self.root, "block", os.path.basename(layer["device"]), "dm", "uuid")
        found = _verdict(table.offset_bytes, table.sector_bytes, "cryptsetup")
        if not uuid.startswith(_RESIZABLE):
            found.update(grown_by=None, blocker=f"{name} is neither LUKS nor plain dm-crypt ({uuid.partition('-')[2].partition('-')[0] or 'no kind'})")
            found.update(remedy="grow it with its own tool, by hand")
            return found
        words = self.tools.key_file_words(name)
        if words is not None:
            found["unlock"] = words
        elif table.keyring and self.tools.has_token(layer["on"][0]):
            found["unlock"] = ["--token-only"]
        elif table.keyring:
            found.update(
                grown_by=None,
                blocker=f"the key of {name} is in the kernel's keyring, so cryptsetup resize asks for a passphrase, and nobody can answer",
                remedy=f"run 'cryptsetup resize {name}' by hand, or name its key file in /etc/crypttab, or add a token to its header, or open it with "
                "--disable-keyring",
            )
        return found

    def physical_volume(self, device: str) -> dict[str, t.Any]:
        """The physical volume on a device, as a layer."""
        layer = {"name": device, "device": device, "kind": "lvm-pv", "size_bytes": None, "on": [device]}
        error = self.errors.get("lvm")
        number = self.tools.number(device)
        volume = self.volumes.get(number) if number is not None else None
        if volume is None:
            text = f"the physical volume {device} cannot be read: {error or 'pvs does not show it'}"
            return {**layer, **_verdict(None, None, None, text, "install lvm2 and run as root; look at LVM's filter or devices file")}
        layer.update(name=f"{device} (physical volume of {volume.vg})", size_bytes=volume.extents_bytes)
        found = _verdict(volume.overhead_bytes, volume.extent_bytes, "pvresize")
        users = self.tools.users_of(t.cast(int, number))
        if users:
            # two writers of one volume's metadata destroy it
            found.update(
                grown_by=None,
                blocker=f"{', '.join(users)} has {device} open: the volume group {volume.vg} on it may belong to a guest, and is active on the host, too",
                remedy=f"deactivate it here (vgchange -an {volume.vg}), and keep the host off guests' disks with LVM's global_filter or devices file",
            )
        return {**layer, **found}


# -- acting ------------------------------------------------------------------------------------------------------


@dataclass
class Wish:
    """One namespace: ``size_bytes`` is what its device must have (``None``: what it has)."""

    uuid: str
    size_bytes: int | None = None
    namespace: dict[str, t.Any] | None = None
    layers: list[dict[str, t.Any]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    satisfied: bool = False
    error: HopError | None = None

    @property
    def changed(self) -> bool:
        return any(layer["changed"] for layer in self.layers)

    def result(self) -> dict[str, t.Any]:
        namespace = self.namespace or {}
        return {
            "uuid": self.uuid,
            "device": namespace.get("device"),
            "device_bytes": namespace.get("size_bytes"),
            "wanted_bytes": self.size_bytes,
            "layers": [{key: value for key, value in layer.items() if key not in ("unlock", "unit_bytes")} for layer in self.layers],
            "changed": self.changed,
            "satisfied": self.satisfied,
            "message": "; ".join(self.messages) or "nothing to grow",
            "error": self.error.as_dict() if self.error else None,
        }


class LayerGrowth:
    """Grows the layers of a host's namespaces. ``sysfs`` is a :class:`SysfsNvme <_nvme_sysfs.SysfsNvme>`."""

    def __init__(self, sysfs: t.Any, tools: LayerTools, wait_timeout: float, check_mode: bool, clock: t.Any = time) -> None:
        self.sysfs = sysfs
        self.tools = tools
        self.wait_timeout = wait_timeout
        self.check_mode = check_mode
        self.clock = clock

    def run(self, wishes: t.Sequence[Wish]) -> None:
        """All wishes; what fails is in the wish's ``error`` and does not keep the others."""
        by_uuid: dict[str, list[dict[str, t.Any]]] = {}
        for namespace in self.sysfs.namespaces():
            if namespace["uuid"]:
                by_uuid.setdefault(namespace["uuid"], []).append(namespace)
        chosen = []
        for wish in wishes:
            found = by_uuid.get(wish.uuid, [])
            if len(found) == 1:
                wish.namespace = found[0]
                chosen.append(found[0])
            else:
                text = "no namespace of this host has this UUID" if not found else f"{len(found)} namespaces of this host have this UUID"
                wish.error = HopError(text, obj=f"uuid {wish.uuid}", hop="device", remedy="look at the host with nvmeof.spdk.nvme_info")
        describe(self.sysfs.root, chosen, self.tools)
        for wish in wishes:
            if wish.error is None:
                try:
                    self._plan(wish)
                    if not self.check_mode:
                        self._grow(wish)
                except HopError as error:
                    wish.error = error
        if not self.check_mode:
            self._read_back(wishes)

    def _plan(self, wish: Wish) -> None:
        """What every layer should have; raises for a device that is behind, and for a blocker."""
        namespace = t.cast("dict[str, t.Any]", wish.namespace)
        sizes = {"/dev/" + device: self.sysfs.size_bytes(device) for device in namespace["devices"]}
        if wish.size_bytes is None:
            wish.size_bytes = namespace["size_bytes"]
        behind = [name for name, size in sizes.items() if size is None or size < (wish.size_bytes or 0)]
        if behind and not self.check_mode:
            shown = sizes[behind[0]]
            raise HopError(
                f"the device has {human(shown)} ({shown} bytes), {human(wish.size_bytes)} are wanted; no layer on it is touched",
                obj=behind[0],
                hop="device",
                remedy="bring the device up with nvmeof.spdk.nvme_rescan, then run again",
            )
        for device in behind:
            sizes[device] = wish.size_bytes
        used = _used(namespace)
        blockers = []
        for layer in used:
            below = [sizes.get(device) for device in layer["on"]]
            layer["before_bytes"] = layer["size_bytes"]
            layer["wanted_bytes"] = None if any(size is None for size in below) or not below else expected_bytes(layer, min(t.cast("list[int]", below)))
            layer["changed"] = False
            wanted, shown = layer["wanted_bytes"], layer["size_bytes"]
            layer["lags"] = wanted is not None and (shown is None or shown < wanted)
            if layer["kind"] != "lvm-pv":  # a physical volume is no device of its own
                sizes[layer["device"]] = max(wanted or 0, shown or 0) or None
            if layer["blocker"] and (layer["lags"] or wanted is None):
                blockers.append(layer)
            wish.layers.append(layer)
        if blockers:
            first = blockers[0]
            raise HopError(
                "; ".join(layer["blocker"] for layer in blockers) + "; no layer of this namespace was touched",
                obj=f"{namespace['device']} {first['name']}",
                hop="device",
                remedy=first["remedy"],
            )
        for layer in wish.layers:
            if layer["lags"]:
                layer["changed"] = True
                wish.messages.append(f"{layer['name']} from {human(layer['before_bytes'])} to {human(layer['wanted_bytes'])} by {layer['grown_by']}")
            elif layer["wanted_bytes"] is not None:
                wish.messages.append(f"{layer['name']} has {human(layer['size_bytes'])} already")
        wish.satisfied = not wish.changed

    def _grow(self, wish: Wish) -> None:
        todo = [layer for layer in wish.layers if layer["changed"]]
        for layer in todo:
            layer["changed"] = False
        for layer in todo:
            self._grow_one(layer)
        wish.satisfied = True

    def _grow_one(self, layer: dict[str, t.Any]) -> None:
        call = " ".join(self.tools.command(layer))
        said = cause = None
        deadline = self.clock.monotonic() + self.wait_timeout
        while True:
            try:
                said, cause = self.tools.grow(layer), None
            except ToolError as error:
                cause = error.cause
            shown = self._shown(layer, deadline if cause is None else 0)
            # multipathd answers "timeout" while udev keeps it busy, and "fail" until it has seen the paths' events
            if layer["kind"] != "multipath" or shown == layer["wanted_bytes"] or self.clock.monotonic() >= deadline:
                break
            self.clock.sleep(1)
        layer["changed"] = shown != layer["before_bytes"]
        layer["size_bytes"] = shown
        if shown is None or shown < layer["wanted_bytes"]:
            raise HopError(
                f"it has {human(shown)} ({shown} bytes), {human(layer['wanted_bytes'])} ({layer['wanted_bytes']} bytes) are wanted",
                obj=layer["name"],
                hop="device",
                call=call,
                cause=cause or said,
                remedy=_REMEDIES[layer["kind"]],
            )

    def _shown(self, layer: t.Mapping[str, t.Any], deadline: float) -> int | None:
        """What the layer has now, awaited until ``deadline``."""
        if layer["kind"] == "lvm-pv":
            try:
                volume = self.tools.physical_volumes([layer["device"]]).get(self.tools.number(layer["device"]) or -1)
            except ToolError:
                return None
            return volume.extents_bytes if volume else None
        # multipathd has a try of its own again after a while
        until = min(deadline, self.clock.monotonic() + 2) if layer["kind"] == "multipath" else deadline
        while True:
            shown = size_of(self.sysfs.root, layer["device"])
            if (shown is not None and shown >= layer["wanted_bytes"]) or self.clock.monotonic() >= until:
                return shown
            self.clock.sleep(PAUSE)

    def _read_back(self, wishes: t.Sequence[Wish]) -> None:
        """The sizes at the end, of everything on the namespaces: what was planned is no proof."""
        for wish in wishes:
            if wish.namespace is not None:
                wish.namespace["size_bytes"] = size_of(self.sysfs.root, wish.namespace["device"])
            for layer in wish.layers:
                if layer["kind"] != "lvm-pv":
                    layer["size_bytes"] = size_of(self.sysfs.root, layer["device"])


_REMEDIES = {
    "multipath": "look at multipathd (is it running? multipathd show maps) and at the sizes of the paths, then run again",
    "dm-crypt": "run cryptsetup resize by hand; a mapping whose key is in the kernel's keyring needs a key file in /etc/crypttab or a token in its header",
    "lvm-pv": "look at pvs and at LVM's filter or devices file, then run again",
}


def _used(namespace: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The layers that this host uses. A partition with nothing on it is in the table of a guest's own disk, or nobody's."""
    below = {device for layer in namespace["layers"] for device in layer["on"]}
    return [layer for layer in namespace["layers"] if layer["kind"] != "partition" or layer["device"] in below or namespace["mounts"]]


def changes_of(wishes: t.Sequence[Wish], check_mode: bool) -> Changes:
    """What was, or in check mode would be, grown, for ``changed``, ``changes`` and the diff."""
    changes = Changes()
    for wish in wishes:
        for layer in wish.layers:
            if layer["changed"]:
                after = layer["wanted_bytes"] if check_mode else layer["size_bytes"]
                changes.add(layer["kind"], layer["name"], "grow", {"size_bytes": layer["before_bytes"]}, {"size_bytes": after}, lambda: None)
    return changes
