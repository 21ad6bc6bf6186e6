# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Export through the Linux kernel's own NVMe target, so that hosts meet a real NVMe/TCP target and never our own data path.

An RBD bdev becomes: the image mapped by the kernel's rbd, then a dm-linear device of *exactly the bdev's size*, then an nvmet namespace.
A local drive's bdev is the same over the disk that has its medium.
The middle layer is what keeps it honest: nvmet re-reads a device's size at every Identify, and krbd follows the image by itself, so without
it a host would see a size that the target does not have yet. When the bdev grows, the linear device is reloaded and nvmet told to look
again (``revalidate_size``), which sends hosts the event that SPDK sends.

Everything made is written to a journal first. A guardian process holds a pipe from the simulator; when the simulator dies, however it dies,
the guardian takes the exports down, and a new simulator waits for that.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import sys
import time
from typing import Any

from . import kernel, tls_keys
from .bdev import Bdev
from .bdev_rbd import RbdBdev
from .export import Address, Exporter, ExportError, bind_port
from .nvme import NvmeBdev
from .nvmf_model import Listener, Namespace, Subsystem
from .rbd_backend import BackendError

STATE = "/run/spdk-simulator"
NO_HOSTID = "00000000-0000-0000-0000-000000000000"
# 127, not the 128 that nvmet names: its array_index_nospec() turns group 128 of a namespace into 0, which no host ever sees as live (Linux 6.1).
GROUPS = 127
_ANA = {"optimized": "optimized", "non_optimized": "non-optimized", "inaccessible": "inaccessible"}


def available() -> bool:
    """Whether this kernel can export (modules are loaded if need be)."""
    return kernel.load_modules()


def make(socket_path: str) -> "NvmetExporter":
    """The exporter of the simulator with this socket; waits for what a dead predecessor's guardian still has to do."""
    os.makedirs(STATE, mode=0o700, exist_ok=True)
    tag = hashlib.sha256(socket_path.encode()).hexdigest()[:8]
    lock = os.open(f"{STATE}/{tag}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    journal = Journal(f"{STATE}/{tag}.json")
    journal.undo()
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        _guard(read_end, lock, journal.path)
    os.close(read_end)
    return NvmetExporter(tag, journal, write_end)


def _guard(read_end: int, lock: int, journal: str) -> None:
    """The guardian: wait for the simulator's end, undo the journal, exit. Holds the lock until it is done."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        # a service manager that kills the whole control group must not kill the guardian with it
        with open("/sys/fs/cgroup/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
    except OSError:
        pass
    with open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write("spdk-guardian")
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in (read_end, lock):
            try:
                os.close(int(name))
            except OSError:
                pass
    os.read(read_end, 1)
    code = 0
    try:
        Journal(journal).undo()
    except OSError as error:
        code = 1
        try:
            print(f"spdk simulator's guardian: {error}", file=sys.stderr, flush=True)
        except OSError:
            pass  # nobody listens any more
    os._exit(code)


class Journal:
    """What exists in the kernel because of us, on tmpfs."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.content: dict[str, list[Any]] = {"ports": [], "subsystems": [], "dm": [], "images": [], "rbd": [], "hosts": [], "keys": []}
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                self.content.update(json.load(file))

    def add(self, kind: str, item: Any) -> None:
        """Write an intention down, before the act."""
        if item not in self.content[kind]:
            self.content[kind].append(item)
            self._save()

    def drop(self, kind: str, item: Any) -> None:
        """The thing is gone."""
        if item in self.content[kind]:
            self.content[kind].remove(item)
            self._save()

    def _save(self) -> None:
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            json.dump(self.content, file)
        os.replace(self.path + ".new", self.path)

    def undo(self) -> None:
        """Remove everything named, hosts' connections first. Goes on after an error and raises the first at the end."""
        first: OSError | None = None
        steps: list[tuple[Any, Any]] = [(kernel.remove_port, number) for number in self.content["ports"]]
        steps += [(kernel.remove_subsystem, nqn) for nqn in self.content["subsystems"]]
        steps += [(_remove_host, nqn) for nqn in self.content["hosts"]]
        steps += [(kernel.dm_remove, name) for name in self.content["dm"]]
        steps += [(kernel.rbd_unmap, number) for number in self.content["rbd"]]
        steps += [(tls_keys.remove, serial) for serial in self.content["keys"]]
        for work, item in steps:
            try:
                work(item)
            except OSError as error:
                first = first or error
        # a mapping made in the instant before death has no number in the journal
        for number in kernel.rbd_ids() if self.content["images"] else ():
            try:
                if list(kernel.rbd_image(number)) in self.content["images"]:
                    kernel.rbd_unmap(number)
            except OSError as error:
                first = first or error
        if first is not None:
            raise first
        if os.path.exists(self.path):
            os.unlink(self.path)
        for items in self.content.values():
            items.clear()


def _remove_host(nqn: str) -> None:
    try:
        os.rmdir(f"{kernel.NVMET}/hosts/{nqn}")
    except OSError:
        pass  # another target's subsystem allows it, too


class _Disk:
    """A block device under its linear device; `number` is the mapping's when it is an image's."""

    def __init__(self, bdev: Bdev, number: int | None, source: str, name: str, path: str) -> None:
        self.bdev, self.number, self.source, self.name, self.path = bdev, number, source, name, path
        self.size = bdev.size


class NvmetExporter(Exporter):
    """Keeps nvmet as the simulator's subsystems say; `sync` compares with what it made and changes the rest."""

    def __init__(self, tag: str, journal: Journal, guardian: int) -> None:
        self.tag, self.journal, self.guardian = tag, journal, guardian
        self.ports: dict[Address, int] = {}
        self.links: set[tuple[Address, str]] = set()
        self.made: dict[str, dict[str, Any]] = {}
        self.disks: dict[tuple[str, int], _Disk] = {}
        self.groups: dict[tuple[str, int], int] = {}
        self.states: dict[tuple[int, int], str] = {}
        self.ns_groups: dict[tuple[str, int], int] = {}
        self.count = 0

    # -- ports ----------------------------------------------------------------------------------------------------------------------

    def supports(self, trtype: str) -> bool:
        return trtype == "TCP" or kernel.load_rdma()

    def listen(self, address: Address, secure: bool = False) -> None:
        if address in self.ports:
            return
        if address[0] == "TCP":
            bind_port(address).close()
        elif not kernel.has_address(address[2]):
            raise ExportError(f"listen on {address[2]}: no address of this machine")
        taken = {int(name) for name in os.listdir(f"{kernel.NVMET}/ports")}
        number = next(free for free in range(1, 65535) if free not in taken)
        self.journal.add("ports", number)
        base = f"{kernel.NVMET}/ports/{number}"
        try:
            os.mkdir(base)
            for name, value in zip(("trtype", "adrfam", "traddr", "trsvcid"), (address[0].lower(), address[1].lower(), address[2], address[3])):
                kernel.write(f"{base}/addr_{name}", value)
            if secure:
                kernel.write(f"{base}/addr_tsas", "tls1.3")
                kernel.write(f"{base}/addr_treq", "required")
        except OSError as error:
            kernel.remove_port(number)
            self.journal.drop("ports", number)
            raise ExportError(f"nvmet port {address}: {error}") from None
        self.ports[address] = number

    def unlisten(self, address: Address) -> None:
        number = self.ports.pop(address, None)
        if number is None:
            return
        self.links = {link for link in self.links if link[0] != address}
        self.states = {key: state for key, state in self.states.items() if key[0] != number}
        kernel.remove_port(number)
        self.journal.drop("ports", number)

    # -- the whole ------------------------------------------------------------------------------------------------------------------

    def sync(self, subsystems: dict[str, Subsystem]) -> None:
        wanted = {nqn: item for nqn, item in subsystems.items() if not item.discovery}
        errors: list[str] = []

        def attempt(work: Any, *arguments: Any) -> None:
            try:
                work(*arguments)
            except (OSError, BackendError, ExportError) as error:
                errors.append(f"nvmet: {error}")

        links = {(listener.key, nqn) for nqn, item in wanted.items() for listener in item.listeners if listener.key in self.ports}
        for link in self.links - links:
            attempt(self._unlink, link)
        namespaces = {(nqn, nsid): ns for nqn, item in wanted.items() for nsid, ns in item.namespaces.items() if self._exportable(ns)}
        for key, disk in list(self.disks.items()):
            if key not in namespaces or namespaces[key].bdev is not disk.bdev:
                attempt(self._remove_namespace, key, disk)
        for nqn in [nqn for nqn in self.made if nqn not in wanted]:
            attempt(self._remove_subsystem, nqn)
        for nqn, item in wanted.items():
            attempt(self._subsystem, nqn, item)
        for key, namespace in namespaces.items():
            attempt(self._namespace, wanted[key[0]], key, namespace)
        for item in wanted.values():
            for listener in item.listeners:
                if listener.key in self.ports:
                    attempt(self._states, item, listener)
        for link in links - self.links:
            attempt(self._link, link)
        if errors:
            raise ExportError("; ".join(errors))

    def close(self) -> None:
        try:
            self.journal.undo()
        finally:
            os.close(self.guardian)

    @staticmethod
    def _exportable(namespace: Namespace) -> bool:
        return isinstance(namespace.bdev, (RbdBdev, NvmeBdev)) and namespace.bdev.size >= 512 and not namespace.no_auto_visible

    # -- subsystems -----------------------------------------------------------------------------------------------------------------

    def _subsystem(self, nqn: str, item: Subsystem) -> None:
        base = f"{kernel.NVMET}/subsystems/{nqn}"
        if nqn not in self.made:
            self.journal.add("subsystems", nqn)
            os.mkdir(base)
            self.made[nqn] = {"any": False, "hosts": {}}
            for name, value in (("serial", item.serial), ("model", item.model), ("cntlid_min", item.min_cntlid), ("cntlid_max", item.max_cntlid)):
                if value != "" and os.path.exists(f"{base}/attr_{name}"):
                    kernel.write(f"{base}/attr_{name}", str(value))
        made = self.made[nqn]
        # nvmet refuses the flag and a list together; with the flag SPDK's list has no effect
        hosts = {} if item.allow_any_host else {host["nqn"]: self._secrets(host) for host in item.hosts}
        for host in [host for host, secrets in made["hosts"].items() if hosts.get(host) != secrets]:
            os.unlink(f"{base}/allowed_hosts/{host}")
            _remove_host(host)
            del made["hosts"][host]
        if made["any"] != item.allow_any_host:
            kernel.write(f"{base}/attr_allow_any_host", "1" if item.allow_any_host else "0")
            made["any"] = item.allow_any_host
        for host in hosts.keys() - made["hosts"].keys():
            self._allow(nqn, host, hosts[host])
            made["hosts"][host] = hosts[host]

    def _secrets(self, host: dict[str, Any]) -> dict[str, str | None]:
        """The keys that a host entry names, with what is in their files now."""
        return {kind: self.secret(host[kind]) for kind in ("dhchap_key", "dhchap_ctrlr_key", "psk") if kind in host}

    def _allow(self, nqn: str, host: str, secrets: dict[str, str | None]) -> None:
        """Let a host in, with its keys; a host whose key cannot be read stays out."""
        for kind, secret in secrets.items():
            if secret is None:
                raise ExportError(f"host {host} is not let in: its {kind} cannot be read")
        base = f"{kernel.NVMET}/hosts/{host}"
        self.journal.add("hosts", host)
        if not os.path.isdir(base):
            os.mkdir(base)
        for kind, attribute in (("dhchap_key", "dhchap_key"), ("dhchap_ctrlr_key", "dhchap_ctrl_key")):
            if kind in secrets:
                if not os.path.exists(f"{base}/{attribute}"):
                    raise ExportError(f"host {host} is not let in: this kernel's nvmet has no DH-HMAC-CHAP")
                kernel.write(f"{base}/{attribute}", secrets[kind] or "")
        if secrets.get("psk"):
            try:
                self.journal.add("keys", tls_keys.insert(*tls_keys.derive(secrets["psk"] or "", host, nqn)))
            except ValueError as error:
                raise ExportError(f"host {host} is not let in: its psk is {error}") from None
        os.symlink(base, f"{kernel.NVMET}/subsystems/{nqn}/allowed_hosts/{host}")

    def _remove_subsystem(self, nqn: str) -> None:
        kernel.remove_subsystem(nqn)
        del self.made[nqn]
        self.groups = {key: group for key, group in self.groups.items() if key[0] != nqn}
        self.journal.drop("subsystems", nqn)

    # -- namespaces -----------------------------------------------------------------------------------------------------------------

    def _namespace(self, subsystem: Subsystem, key: tuple[str, int], namespace: Namespace) -> None:
        base = f"{kernel.NVMET}/subsystems/{key[0]}/namespaces/{key[1]}"
        group = self._group(subsystem, namespace)
        disk = self.disks.get(key)
        if disk is not None:
            if self.ns_groups.get(key) != group:
                kernel.write(f"{base}/ana_grpid", str(group))
                self.ns_groups[key] = group
            if disk.size != disk.bdev.size:
                if disk.number is not None:
                    self._wait_for_size(disk.number, disk.bdev)
                kernel.dm_resize(disk.name, disk.source, disk.bdev.size)
                disk.size = disk.bdev.size
                kernel.write(f"{base}/revalidate_size", "1")
            return
        disk = self._attach(namespace.bdev)
        try:
            os.mkdir(base)
            kernel.write(f"{base}/device_path", disk.path)
            kernel.write(f"{base}/device_uuid", namespace.uuid)
            kernel.write(f"{base}/device_nguid", namespace.nguid.lower())
            kernel.write(f"{base}/ana_grpid", str(group))
            kernel.write(f"{base}/enable", "1")
        except OSError:
            kernel.remove_namespace(*key)
            self._detach(disk)
            raise
        self.disks[key] = disk
        self.ns_groups[key] = group

    def _remove_namespace(self, key: tuple[str, int], disk: _Disk) -> None:
        kernel.remove_namespace(*key)
        del self.disks[key]
        self.ns_groups.pop(key, None)
        self._detach(disk)

    def _attach(self, bdev: Bdev) -> _Disk:
        self.count += 1
        name = f"spdksim-{self.tag}-{self.count}"
        if isinstance(bdev, NvmeBdev):
            self.journal.add("dm", name)
            return _Disk(bdev, None, bdev.device, name, kernel.dm_create(name, bdev.device, bdev.size))
        assert isinstance(bdev, RbdBdev)
        monitors, user, secret = bdev.connection.kernel_client()
        if secret is None:
            raise ExportError(f"no key of client.{user} for the kernel's rbd")
        image = [bdev.pool, bdev.image_name]
        self.journal.add("images", image)
        number = kernel.rbd_map(monitors, user, secret, *image)
        self.journal.add("rbd", number)
        try:
            self._wait_for_size(number, bdev)
            self.journal.add("dm", name)
            return _Disk(bdev, number, f"/dev/rbd{number}", name, kernel.dm_create(name, f"/dev/rbd{number}", bdev.size))
        except (OSError, ExportError):
            kernel.rbd_unmap(number)
            self.journal.drop("rbd", number)
            raise

    def _detach(self, disk: _Disk) -> None:
        kernel.dm_remove(disk.name)
        self.journal.drop("dm", disk.name)
        if disk.number is None:
            return
        kernel.rbd_unmap(disk.number)
        self.journal.drop("rbd", disk.number)
        assert isinstance(disk.bdev, RbdBdev)
        image = [disk.bdev.pool, disk.bdev.image_name]
        if not any(isinstance(other.bdev, RbdBdev) and [other.bdev.pool, other.bdev.image_name] == image for other in self.disks.values()):
            self.journal.drop("images", image)

    @staticmethod
    def _wait_for_size(number: int, bdev: Bdev) -> None:
        end = time.monotonic() + 10
        while kernel.device_size(number) < bdev.size:
            if time.monotonic() > end:
                raise ExportError(f"/dev/rbd{number} has {kernel.device_size(number)} bytes after 10 s, bdev {bdev.name} {bdev.size}")
            time.sleep(0.02)

    # -- ANA and links --------------------------------------------------------------------------------------------------------------

    def _group(self, subsystem: Subsystem, namespace: Namespace) -> int:
        """nvmet's group of a namespace. nvmet's groups belong to a port, SPDK's to a listener of one subsystem: no two subsystems share one."""
        key = (subsystem.nqn, namespace.anagrpid if subsystem.ana_reporting else 0)
        if key not in self.groups:
            free = [group for group in range(GROUPS, 0, -1) if group not in self.groups.values()]
            if not free:
                raise ExportError("more ANA groups than nvmet has")
            self.groups[key] = key[1] if key[1] in free else free[0]
        return self.groups[key]

    def _states(self, subsystem: Subsystem, listener: Listener) -> None:
        number = self.ports[listener.key]
        for (nqn, group), kernel_group in self.groups.items():
            if nqn != subsystem.nqn:
                continue
            state = _ANA[listener.ana[group] if group else "optimized"]
            if self.states.get((number, kernel_group)) == state:
                continue
            base = f"{kernel.NVMET}/ports/{number}/ana_groups/{kernel_group}"
            if not os.path.isdir(base):
                os.mkdir(base)
            kernel.write(f"{base}/ana_state", state)
            self.states[number, kernel_group] = state

    def _link(self, link: tuple[Address, str]) -> None:
        os.symlink(f"{kernel.NVMET}/subsystems/{link[1]}", f"{kernel.NVMET}/ports/{self.ports[link[0]]}/subsystems/{link[1]}")
        self.links.add(link)

    def _unlink(self, link: tuple[Address, str]) -> None:
        os.unlink(f"{kernel.NVMET}/ports/{self.ports[link[0]]}/subsystems/{link[1]}")
        self.links.discard(link)

    # -- who is connected -----------------------------------------------------------------------------------------------------------

    def controllers(self, subsystem: Subsystem) -> list[dict[str, Any]]:
        """Linux 6.1 does not list nvmet's controllers: one per listener and peer address with an established connection is assumed."""
        found = []
        host = subsystem.hosts[0]["nqn"] if len(subsystem.hosts) == 1 and not subsystem.allow_any_host else ""
        for listener in subsystem.listeners:
            peers: dict[str, int] = {}
            for local, peer in kernel.connections(int(listener.trsvcid)):
                if listener.traddr in ("0.0.0.0", "::") or local.upper() in kernel.hex_addresses(listener.traddr):
                    peers[peer] = peers.get(peer, 0) + 1
            for count in peers.values():
                shape = {"cntlid": subsystem.min_cntlid + len(found), "cntrltype": "io", "hostnqn": host, "hostid": NO_HOSTID, "num_io_qpairs": count - 1}
                found.append(shape)
        return found
