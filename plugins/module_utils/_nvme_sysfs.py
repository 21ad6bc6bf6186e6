# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What the kernel knows about NVMe: controllers, namespaces and their paths, read from sysfs.

nvme-cli is not used: its JSON changed shape in 2.0, 2.11, 2.15 and 3.0, while these attributes have kept their
names. Any of them can be missing (older kernel) or vanish while it is read (a path goes): both give ``None``.

Names (Linux 6.1, 6.12): with native multipath ``nvmeXnY`` is the head, X the *subsystem's* instance, and the
hidden ``nvmeXcCnY`` are its paths through the controllers ``nvmeC``; without it every path is a block device of
its own. Y is not the nsid. ``size`` counts 512-byte sectors whatever the logical block size is.
"""

from __future__ import annotations

import ipaddress
import os
import re
import typing as t
import uuid as uuid_module

from ansible_collections.nvmeof.spdk.plugins.module_utils import _nvme_discovery
from ansible_collections.nvmeof.spdk.plugins.module_utils._block_layers import layers_above
from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import human
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_kernel import rescan_hazard

#: Unit of the ``size`` attribute of every block device (Documentation/ABI/stable/sysfs-block).
SECTOR = 512
LIVE = "live"

_CONTROLLER = re.compile(r"^nvme[0-9]+$")
_DEVICE = re.compile(r"^nvme[0-9]+n[0-9]+$")
_PATH = re.compile(r"^(nvme[0-9]+)c[0-9]+(n[0-9]+)$")
_NIL_UUID = "00000000-0000-0000-0000-000000000000"


def parse_address(text: str | None, transport: str | None) -> dict[str, str]:
    """A controller's ``address`` as a dict (``traddr``, ``trsvcid``, ``host_traddr``, ``src_addr``).

    ``src_addr`` came with Linux 6.1 and is missing while the controller connects, so the text is never compared
    as a whole. A PCIe controller's address is its slot and becomes ``traddr``.
    """
    if not text:
        return {}
    if "=" not in text:
        return {"traddr": text} if transport == "pcie" else {}
    return {key.strip(): value.strip() for key, _sep, value in (part.partition("=") for part in text.split(","))}


def same_address(one: str | None, other: str | None) -> bool:
    """Whether two transport addresses mean the same host (``::1`` is ``0:0:0:0:0:0:0:1``)."""
    if one is None or other is None:
        return one == other
    try:
        # a scope ("%eth0") is no part of the address before Python 3.9
        left, _sep, left_scope = one.partition("%")
        right, _sep, right_scope = other.partition("%")
        return ipaddress.ip_address(left) == ipaddress.ip_address(right) and left_scope == right_scope
    except ValueError:
        return one == other


def normal_uuid(value: str | None) -> str | None:
    """A UUID in lower case with dashes; ``None`` for nothing, the nil UUID or something else."""
    if not value:
        return None
    try:
        text = str(uuid_module.UUID(value.strip()))
    except ValueError:
        return None
    return None if text == _NIL_UUID else text


def problem(obj: str, hop: str, text: str, remedy: str, severity: str) -> dict[str, str]:
    """One entry of a ``problems`` list."""
    return {"object": obj, "hop": hop, "problem": text, "remedy": remedy, "severity": severity}


def where(path: dict[str, t.Any]) -> str:
    """A path or a controller for reading: ``nvme1 (tcp 192.0.2.1:4420)``."""
    name = path.get("controller") or path.get("name")
    port = f":{path['trsvcid']}" if path.get("trsvcid") else ""
    return f"{name} ({path.get('transport') or 'unknown transport'} {path.get('traddr') or 'unknown address'}{port})"


class SysfsNvme:
    """One host's NVMe as sysfs shows it; every call reads anew."""

    def __init__(self, root: str = "/sys", dev: str = "/dev", proc: str = "/proc", etc: str = "/etc/nvme", kernel: str | None = None) -> None:
        """``kernel`` is a release (``uname -r``), this machine's own if None."""
        self.root = root
        self.dev = dev
        self.proc = proc
        self.etc = etc
        self.kernel = kernel

    #: So that a caller which is handed a SysfsNvme needs no import of this file.
    same_address = staticmethod(same_address)

    # -- reading ---------------------------------------------------------------------------------------------

    @staticmethod
    def _text(*parts: str) -> str | None:
        try:
            with open(os.path.join(*parts), encoding="utf-8", errors="replace") as file:
                return file.read().strip()
        except OSError:
            return None

    @classmethod
    def _number(cls, *parts: str) -> int | None:
        text = cls._text(*parts)
        # the kernel prints an endless ctrl_loss_tmo or reconnect_delay as "off"; it is written as -1
        if text == "off":
            return -1
        try:
            return int(text) if text is not None else None
        except ValueError:
            return None

    @staticmethod
    def _names(*parts: str) -> list[str]:
        try:
            names = os.listdir(os.path.join(*parts))
        except OSError:
            return []
        return sorted(names, key=lambda name: [int(piece) if piece.isdigit() else piece for piece in re.split(r"([0-9]+)", name)])

    def controller_dir(self, name: str) -> str:
        return os.path.join(self.root, "class", "nvme", name)

    def block_dir(self, name: str) -> str:
        return os.path.join(self.root, "block", name)

    def multipath(self) -> bool | None:
        """Whether native multipath is on; ``None`` when the kernel does not say (module not loaded, built without)."""
        text = self._text(self.root, "module", "nvme_core", "parameters", "multipath")
        return {"Y": True, "1": True, "N": False, "0": False}.get(text or "")

    def host_identity(self) -> tuple[str | None, str | None]:
        """This host's NQN and id as nvme-cli's files under ``/etc/nvme`` give them."""
        return self._text(self.etc, "hostnqn") or None, self._text(self.etc, "hostid") or None

    def controller(self, name: str) -> dict[str, t.Any] | None:
        """One controller, or ``None`` when it is gone. Times are in seconds, -1 is endless."""
        base = self.controller_dir(name)
        state = self._text(base, "state")
        if state is None and not os.path.isdir(base):
            return None
        transport = self._text(base, "transport")
        address = self._text(base, "address")
        parts = parse_address(address, transport)
        return {
            "name": name,
            "nqn": self._text(base, "subsysnqn"),
            "transport": transport,
            "address": address,
            "traddr": parts.get("traddr"),
            "trsvcid": parts.get("trsvcid"),
            "host_traddr": parts.get("host_traddr"),
            "state": state,
            "cntlid": self._number(base, "cntlid"),
            "cntrltype": self._text(base, "cntrltype"),
            "hostnqn": self._text(base, "hostnqn"),
            "ctrl_loss_tmo": self._number(base, "ctrl_loss_tmo"),
            "reconnect_delay": self._number(base, "reconnect_delay"),
            "fast_io_fail_tmo": self._number(base, "fast_io_fail_tmo"),
            "keep_alive_tmo": self._number(base, "kato"),
            "queue_count": self._number(base, "queue_count"),
        }

    def security(self, name: str) -> dict[str, str | None]:
        """Secrets and key serial (hex) of a controller: ``dhchap_secret``, ``dhchap_ctrl_secret``, ``tls_key``; ``None`` without. Never to be shown."""
        found: dict[str, str | None] = {}
        for key in ("dhchap_secret", "dhchap_ctrl_secret", "tls_key"):
            text = self._text(self.controller_dir(name), key)
            found[key] = text if text and text != "none" and text.strip("0") else None
        return found

    def rdma_devices(self) -> list[str]:
        """Names of this host's RDMA devices."""
        return self._names(self.root, "class", "infiniband")

    def controllers(self) -> list[dict[str, t.Any]]:
        """All controllers, PCIe ones too, in the order of their numbers."""
        found = (self.controller(name) for name in self._names(self.root, "class", "nvme") if _CONTROLLER.match(name))
        return [controller for controller in found if controller is not None]

    def size_bytes(self, block: str) -> int | None:
        """The size of a block device or hidden path in bytes."""
        sectors = self._number(self.block_dir(block), "size")
        return None if sectors is None else sectors * SECTOR

    def rdevs(self, device: str) -> list[str]:
        """``major:minor`` of a block device and of its partitions."""
        base = self.block_dir(os.path.basename(device))
        found = [self._text(base, "dev")]
        found += [self._text(base, name, "dev") for name in self._names(base) if name.startswith(os.path.basename(device) + "p")]
        return [dev for dev in found if dev]

    def holders(self, device: str) -> list[str]:
        """Names of the devices (dm, md) on top of a block device or of its partitions."""
        base = self.block_dir(os.path.basename(device))
        found = set(self._names(base, "holders"))
        for name in self._names(base):
            if name.startswith(os.path.basename(device) + "p"):
                found.update(self._names(base, name, "holders"))
        return sorted(found)

    def mounts(self, device: str) -> list[str]:
        """Mount points of a block device or of its partitions, by number and not by name."""
        rdevs = set(self.rdevs(device))
        found = set()
        for line in (self._text(self.proc, "self", "mountinfo") or "").splitlines():
            fields = line.split()
            if len(fields) > 4 and fields[2] in rdevs:
                found.add(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), fields[4]))
        return sorted(found)

    def by_id(self, uuid: str | None) -> tuple[str | None, str | None]:
        """udev's link for a namespace UUID and the device name it leads to."""
        if uuid is None:
            return None, None
        link = os.path.join("disk", "by-id", "nvme-uuid." + uuid)
        try:
            target = os.readlink(os.path.join(self.dev, link))
        except OSError:
            return None, None
        return os.path.join("/dev", link), os.path.basename(target)

    def _identity(self, base: str) -> dict[str, t.Any]:
        wwid = self._text(base, "wwid") or ""
        nguid = (self._text(base, "nguid") or "").replace("-", "").lower()
        return {
            "uuid": normal_uuid(self._text(base, "uuid")) or normal_uuid(wwid[5:] if wwid.startswith("uuid.") else None),
            "nguid": nguid if nguid.strip("0") else None,
            "nsid": self._number(base, "nsid"),
        }

    def _path(self, name: str, controller: dict[str, t.Any]) -> dict[str, t.Any]:
        sectors = self._number(self.controller_dir(controller["name"]), name, "size")
        return {
            "name": name,
            "controller": controller["name"],
            "address": controller["address"],
            "traddr": controller["traddr"],
            "trsvcid": controller["trsvcid"],
            "transport": controller["transport"],
            "state": controller["state"],
            "ana_state": self._text(self.controller_dir(controller["name"]), name, "ana_state"),
            "size_bytes": None if sectors is None else sectors * SECTOR,
        }

    def namespaces(self, controllers: list[dict[str, t.Any]] | None = None) -> list[dict[str, t.Any]]:
        """All namespaces with their paths.

        Without native multipath the devices of one namespace (same NQN, nsid and UUID) are one entry; ``device``
        is then the one that the by-id link leads to, else the first.
        """
        paths: dict[str, list[dict[str, t.Any]]] = {}
        nqns: dict[str, str | None] = {}
        for controller in self.controllers() if controllers is None else controllers:
            for name in self._names(self.controller_dir(controller["name"])):
                match = _PATH.match(name)
                if match:
                    device = match.group(1) + match.group(2)
                elif _DEVICE.match(name):
                    device = name
                else:
                    continue
                paths.setdefault(device, []).append(self._path(name, controller))
                nqns[device] = controller["nqn"]
        # a head outlives its last path while it is held open (Linux 6.16 even keeps it for a while)
        for name in self._names(self.root, "class", "nvme-subsystem"):
            base = os.path.join(self.root, "class", "nvme-subsystem", name)
            for device in self._names(base):
                if _DEVICE.match(device) and device not in paths:
                    paths[device] = []
                    nqns[device] = self._text(base, "subsysnqn")

        joined: dict[t.Any, dict[str, t.Any]] = {}
        for device in sorted(paths, key=lambda name: [int(piece) for piece in re.findall(r"[0-9]+", name)]):
            base = self.block_dir(device)
            identity = self._identity(base)
            if identity["nsid"] is None and not os.path.isdir(base):
                continue
            own = bool(paths[device]) and paths[device][0]["name"] == device
            key: t.Any = (nqns[device], identity["nsid"], identity["uuid"]) if own and identity["uuid"] else device
            entry = joined.setdefault(key, {**identity, "nqn": nqns[device], "devices": [], "paths": []})
            entry["devices"].append(device)
            entry["paths"] += paths[device]
        return [self._finish(entry) for entry in joined.values()]

    def _finish(self, entry: dict[str, t.Any]) -> dict[str, t.Any]:
        """The fields that belong to the device which stands for the namespace."""
        link, target = self.by_id(entry["uuid"])
        devices = entry["devices"]
        device = target if target in devices else devices[0]
        base = self.block_dir(device)
        read_only = self._number(base, "ro")
        entry.update(
            device=os.path.join("/dev", device),
            by_id=link,
            by_id_target=target,
            size_bytes=self.size_bytes(device),
            block_size=self._number(base, "queue", "logical_block_size"),
            read_only=None if read_only is None else bool(read_only),
            holders=sorted({holder for name in devices for holder in self.holders(name)}),
            mounts=sorted({mount for name in devices for mount in self.mounts(name)}),
            layers=layers_above(self.root, devices),
        )
        return entry

    def refresh(self, namespace: dict[str, t.Any]) -> None:
        """Read the sizes and states of one namespace again, in place (for polling: few files, no listing)."""
        namespace["size_bytes"] = self.size_bytes(os.path.basename(namespace["device"]))
        for path in namespace["paths"]:
            base = self.controller_dir(path["controller"])
            sectors = self._number(base, path["name"], "size")
            path["size_bytes"] = None if sectors is None else sectors * SECTOR
            path["state"] = self._text(base, "state") or "gone"
            path["ana_state"] = self._text(base, path["name"], "ana_state")

    def rescan(self, controller: str) -> None:
        """Ask the kernel to read a controller's namespaces again; it returns before any size changes.

        Harmful on a controller that serves an old size: the head takes the size of the path scanned last (Linux
        6.1, ``nvme_mpath_revalidate_paths``). The caller has proven with Identify that it does not.
        """
        file = os.path.join(self.controller_dir(controller), "rescan_controller")
        try:
            with open(file, "w", encoding="ascii") as handle:
                handle.write("1")
        except OSError as exc:
            raise HopError(
                f"controller {controller} cannot be rescanned",
                obj=controller,
                hop="path",
                call=f"write {file}",
                cause=exc.strerror or str(exc),
                remedy="check that the controller is still connected (nvme_info) and that the task runs as root",
            ) from exc

    # -- the whole host --------------------------------------------------------------------------------------

    def host(self) -> dict[str, t.Any]:
        """Everything, in the shape of ``nvme_info``'s ``host`` (plus ``devices`` of each namespace for internal use)."""
        controllers = self.controllers()
        namespaces = self.namespaces(controllers)
        hostnqn, hostid = self.host_identity()
        host = {
            "hostnqn": hostnqn,
            "hostid": hostid,
            "multipath": self.multipath(),
            "kernel": os.uname().release if self.kernel is None else self.kernel,
            "controllers": controllers,
            "namespaces": namespaces,
        }
        host["rescan_hazard"] = rescan_hazard(host["kernel"])
        host["problems"] = find_problems(host)
        return host


def missing_namespaces(host: dict[str, t.Any]) -> list[tuple[dict[str, t.Any], list[dict[str, t.Any]]]]:
    """Live controllers and the namespaces which only *other* controllers of their subsystem have a path of."""
    found = []
    for controller in host["controllers"]:
        if controller["state"] != LIVE or controller["transport"] == "pcie":
            continue
        lacking = [
            namespace
            for namespace in host["namespaces"]
            if namespace["nqn"] == controller["nqn"] and namespace["paths"] and controller["name"] not in [path["controller"] for path in namespace["paths"]]
        ]
        if lacking:
            found.append((controller, lacking))
    return found


def duplicates(namespaces: list[dict[str, t.Any]]) -> dict[str, list[dict[str, t.Any]]]:
    """UUIDs that more than one namespace of this host claims."""
    groups: dict[str, list[dict[str, t.Any]]] = {}
    for namespace in namespaces:
        if namespace["uuid"]:
            groups.setdefault(namespace["uuid"], []).append(namespace)
    return {uuid: group for uuid, group in groups.items() if len(group) > 1}


def find_problems(host: dict[str, t.Any]) -> list[dict[str, str]]:
    """What is wrong or risky on a host, from :meth:`SysfsNvme.host`'s parts."""
    fabrics = [item for item in host["controllers"] if item["transport"] not in (None, "pcie") and item["nqn"] != _nvme_discovery.NQN]
    return _identity_problems(host, fabrics) + _controller_problems(host, fabrics) + _namespace_problems(host)


def _identity_problems(host: dict[str, t.Any], fabrics: list[dict[str, t.Any]]) -> list[dict[str, str]]:
    problems = []
    hostnqn, hostid = host["hostnqn"], host["hostid"]
    fresh = "write a new pair: uuidgen > /etc/nvme/hostid; echo nqn.2014-08.org.nvmexpress:uuid:$(cat /etc/nvme/hostid) > /etc/nvme/hostnqn"
    if hostnqn is None:
        problems.append(problem("/etc/nvme/hostnqn", "path", "this host has no NQN of its own", fresh, "warning"))
    elif not hostnqn.startswith("nqn.") or _NIL_UUID in hostnqn:
        problems.append(problem("/etc/nvme/hostnqn", "path", f"{hostnqn!r} is not a host NQN of this host alone", fresh, "critical"))
    elif ":uuid:" in hostnqn and hostid and normal_uuid(hostnqn.rpartition(":")[2]) != normal_uuid(hostid):
        # Debian's package writes both at its installation, so every machine cloned from that image shares them
        problems.append(
            problem(
                "/etc/nvme/hostnqn",
                "path",
                "hostnqn and hostid do not belong together; they may be an image's default that other hosts share",
                "compare them with other hosts; if shared, " + fresh,
                "warning",
            )
        )
    for controller in fabrics:
        if hostnqn and controller["hostnqn"] and controller["hostnqn"] != hostnqn:
            text = f"{where(controller)} is connected as {controller['hostnqn']}, not as this host's {hostnqn}"
            problems.append(problem(controller["name"], "path", text, "disconnect and connect it again", "warning"))
    if host["multipath"] is False and fabrics:
        problems.append(
            problem(
                "nvme_core",
                "device",
                "native NVMe multipath is off: every path is a block device of its own",
                "set multipath with nvme_kernel, and reboot",
                "critical" if any(len(item["devices"]) > 1 for item in host["namespaces"]) else "warning",
            )
        )
    return problems


def _controller_problems(host: dict[str, t.Any], fabrics: list[dict[str, t.Any]]) -> list[dict[str, str]]:
    problems = []
    if host.get("rescan_hazard") and fabrics:
        problems.append(problem("kernel", "path", host["rescan_hazard"]["text"], host["rescan_hazard"]["remedy"], "warning"))
    for controller in fabrics:
        if controller["state"] != LIVE:
            cut_off = [
                namespace["device"]
                for namespace in host["namespaces"]
                if controller["name"] in [path["controller"] for path in namespace["paths"]] and not any(path["state"] == LIVE for path in namespace["paths"])
            ]
            text = f"{where(controller)} of {controller['nqn']} is {controller['state'] or 'in an unknown state'}, not live"
            if cut_off:
                text += f"; {', '.join(cut_off)} has no live path"
            remedy = "check that target and its listener; the kernel reconnects by itself"
            problems.append(problem(controller["name"], "path", text, remedy, "critical" if cut_off else "warning"))
        if controller["ctrl_loss_tmo"] not in (None, -1):
            text = f"{where(controller)} is given up for good after {controller['ctrl_loss_tmo']} s without its target, and its devices with it"
            problems.append(problem(controller["name"], "path", text, "set ctrl_loss_tmo to -1 with nvme_connection", "warning"))
    served = {path["controller"] for namespace in host["namespaces"] for path in namespace["paths"]}
    missing = missing_namespaces(host)
    for controller in fabrics:
        if controller["state"] == LIVE and controller["name"] not in [item["name"] for item, _lacking in missing] + sorted(served):
            text = f"{where(controller)} of {controller['nqn']} is live but this host has no namespace of it"
            remedy = "check that the subsystem has namespaces, and dmesg for one that was dropped because another subsystem has the same uuid"
            problems.append(problem(controller["name"], "namespace", text, remedy, "warning"))
    for controller, lacking in missing:
        text = (
            f"{where(controller)} of {controller['nqn']} is live but has no path of nsid "
            f"{', '.join(str(item['nsid']) for item in lacking)}, which other controllers have"
        )
        remedy = "give the namespace the same nsid, uuid and nguid on every target (the kernel drops a path whose ids differ, without an error)"
        problems.append(problem(controller["name"], "namespace", text, remedy, "critical"))
    return problems


def _namespace_problems(host: dict[str, t.Any]) -> list[dict[str, str]]:
    problems = []
    clashing = duplicates(host["namespaces"])
    for uuid, group in clashing.items():
        text = f"uuid {uuid} is claimed by " + " and ".join(f"{item['nqn']} nsid {item['nsid']} ({item['device']})" for item in group)
        problems.append(problem(uuid, "namespace", text, "give every volume its own uuid, or disconnect one of the subsystems", "critical"))
    for namespace in host["namespaces"]:
        device = namespace["device"]
        if not namespace["paths"]:
            text = f"{device} ({namespace['nqn']} nsid {namespace['nsid']}) has no path left"
            problems.append(problem(device, "path", text, "connect its subsystem again with nvme_connection", "critical"))
        for path in namespace["paths"]:
            if path["state"] == LIVE and path["size_bytes"] is not None and path["size_bytes"] != namespace["size_bytes"]:
                text = f"{where(path)} shows {human(path['size_bytes'])} for {device}, which has {human(namespace['size_bytes'])}"
                remedy = "find out with nvme_rescan which target serves the old size; never rescan that controller by hand"
                problems.append(problem(device, "path", text, remedy, "critical"))
        target = namespace["by_id_target"]
        if target and target not in namespace["devices"] and namespace["uuid"] not in clashing:
            text = f"{namespace['by_id']} leads to {target}, not to {device}"
            problems.append(problem(device, "device", text, "run udevadm trigger for that device", "warning"))
    return problems
