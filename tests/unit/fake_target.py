# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A strict, small stand-in for an SPDK target's RPC server, for unit tests (the full one is the simulator).

It keeps bdevs, clusters, transports and subsystems of one process in plain dicts, refuses parameters that the played release lacks,
notes every call in ``calls``, and plays trouble: ``fail`` (method -> error), ``silent`` (answered never), ``hang_up``
(closes at that call), ``slow`` (method -> seconds). An unknown method is answered with -32601 and noted in ``unexpected``.
"""

from __future__ import annotations

import json
import socket
import threading
import time
import typing as t

from fake_nvmf import FakeNvmf, Refused

MIB = 1024**2


class Scripted:
    """A unix socket whose every connection is served by ``serve(connection)`` in a thread of its own."""

    def __init__(self, path: str, serve: t.Callable[[socket.socket], None]) -> None:
        self.path = path
        self._serve = serve
        self._connections: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _unused = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        try:
            self._serve(connection)
        except OSError:
            pass
        finally:
            connection.close()

    def close(self) -> None:
        self._listener.close()
        for connection in self._connections:
            connection.close()


def requests_of(connection: socket.socket) -> t.Iterator[dict[str, t.Any]]:
    """The requests that come over a connection, whatever the packets are."""
    decoder, text = json.JSONDecoder(), ""
    while True:
        data = connection.recv(65536)
        if not data:
            return
        text += data.decode()
        while text.strip():
            text = text.lstrip()
            try:
                request, end = decoder.raw_decode(text)
            except ValueError:
                break
            text = text[end:]
            yield request


def reply(connection: socket.socket, number: t.Any, result: t.Any) -> None:
    connection.sendall(json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode() + b"\n")


class FakeTarget(FakeNvmf):
    def __init__(self, path: str, release: tuple[int, int] = (26, 5), images: dict[tuple[str, str], int] | None = None) -> None:
        self.path = path
        self.release = release
        #: (pool, image) -> bytes; shared with FakeCeph
        self.images = {} if images is None else images
        self.bdevs: dict[str, dict[str, t.Any]] = {}
        self.clusters: dict[str, dict[str, t.Any]] = {}
        self.transports: dict[str, dict[str, t.Any]] = {}
        self.subsystems: dict[str, dict[str, t.Any]] = {}
        self.controllers: dict[str, list[dict[str, t.Any]]] = {}
        #: local NVMe controllers: name -> PCI address; and the addresses that can be attached
        self.nvme: dict[str, str] = {}
        self.pci: set[str] = set()
        self.watch = release >= (24, 1)
        self.calls: list[tuple[str, dict[str, t.Any]]] = []
        self.unexpected: list[str] = []
        self.fail: dict[str, tuple[int, str]] = {}
        self.silent: set[str] = set()
        self.hang_up: set[str] = set()
        self.slow: dict[str, float] = {}
        self.without: set[str] = set()
        #: bytes of one unit of the patched resize_rbd_bdev; None: not patched
        self.patched: int | None = None
        self.connections = 0
        self.start_nvmf()
        self._lock = threading.Lock()
        self._server = Scripted(path, self._serve)

    def close(self) -> None:
        self._server.close()

    # -- wire --------------------------------------------------------------------------------------------------

    def _serve(self, connection: socket.socket) -> None:
        self.connections += 1
        for request in requests_of(connection):
            method, params = request["method"], request.get("params", {})
            with self._lock:
                self.calls.append((method, params))
            if method in self.hang_up:
                return
            if method in self.slow:
                time.sleep(self.slow[method])
            answer: dict[str, t.Any] = {"jsonrpc": "2.0", "id": request["id"]}
            try:
                with self._lock:
                    answer["result"] = self._dispatch(method, params)
            except Refused as error:
                answer["error"] = {"code": error.code, "message": error.message}
            if method not in self.silent:
                connection.sendall(json.dumps(answer).encode() + b"\n")

    def _dispatch(self, method: str, params: dict[str, t.Any]) -> t.Any:
        if method in self.fail:
            raise Refused(*self.fail[method])
        handler = self.methods().get(method)
        if handler is None:
            if method != "rpc_get_methods":
                self.unexpected.append(method)
            raise Refused(-32601, "Method not found")
        return handler(**params)

    def methods(self) -> dict[str, t.Callable[..., t.Any]]:
        new = self.release >= (19, 10)
        table: dict[str, t.Callable[..., t.Any]] = {}
        names = {
            "bdev_get_bdevs": "get_bdevs",
            "bdev_rbd_create": "construct_rbd_bdev",
            "bdev_rbd_delete": "delete_rbd_bdev",
            "bdev_set_qos_limit": "set_bdev_qos_limit",
            "bdev_nvme_attach_controller": "construct_nvme_bdev",
            "bdev_nvme_detach_controller": "delete_nvme_controller",
            "bdev_nvme_get_controllers": "get_nvme_controllers",
            "framework_get_config": "get_subsystem_config",
            "nvmf_create_transport": "nvmf_create_transport",
            "nvmf_get_transports": "get_nvmf_transports",
            "nvmf_create_subsystem": "nvmf_subsystem_create",
            "nvmf_delete_subsystem": "delete_nvmf_subsystem",
            "nvmf_get_subsystems": "get_nvmf_subsystems",
            "nvmf_subsystem_add_listener": "nvmf_subsystem_add_listener",
            "nvmf_subsystem_remove_listener": "nvmf_subsystem_remove_listener",
            "nvmf_subsystem_add_ns": "nvmf_subsystem_add_ns",
            "nvmf_subsystem_remove_ns": "nvmf_subsystem_remove_ns",
            "nvmf_subsystem_add_host": "nvmf_subsystem_add_host",
            "nvmf_subsystem_remove_host": "nvmf_subsystem_remove_host",
            "nvmf_subsystem_allow_any_host": "nvmf_subsystem_allow_any_host",
        }
        for name, legacy in names.items():
            table[name if new else legacy] = getattr(self, name)
        since = {
            "spdk_get_version": (19, 10),
            "bdev_rbd_resize": (20, 4),
            "nvmf_subsystem_listener_set_ana_state": (20, 10),
            "nvmf_subsystem_get_listeners": (20, 10),
            "nvmf_subsystem_get_controllers": (20, 10),
            "bdev_rbd_register_cluster": (21, 7),
            "bdev_rbd_get_clusters_info": (21, 7),
            "nvmf_subsystem_set_ns_ana_group": (24, 9),
            **self.SINCE,
        }
        for name, release in since.items():
            if self.release >= release:
                table[name] = getattr(self, name)
        if self.patched:
            table["resize_rbd_bdev"] = self.resize_rbd_bdev
        lister = "rpc_get_methods" if self.release >= (19, 7) else "get_rpc_methods"
        table[lister] = lambda: sorted(table)
        for name in self.without:
            table.pop(name, None)
        return table

    def spdk_get_version(self) -> dict[str, t.Any]:
        major, minor = self.release
        return {"version": f"SPDK v{major}.{minor:02d}", "fields": {"major": major, "minor": minor, "patch": 0, "suffix": ""}}

    # -- bdevs -------------------------------------------------------------------------------------------------

    def _shown(self, bdev: dict[str, t.Any]) -> dict[str, t.Any]:
        if self.watch and bdev["driver_specific"].get("rbd"):
            size = self.images.get((bdev["driver_specific"]["rbd"]["pool_name"], bdev["driver_specific"]["rbd"]["rbd_name"]))
            if size is not None and size // bdev["block_size"] > bdev["num_blocks"]:
                bdev["num_blocks"] = size // bdev["block_size"]
        return bdev

    def bdev_get_bdevs(self, name: str | None = None) -> list[dict[str, t.Any]]:
        if name is None:
            return [self._shown(bdev) for bdev in self.bdevs.values()]
        for bdev in self.bdevs.values():
            if name in (bdev["name"], bdev["uuid"]):
                return [self._shown(bdev)]
        raise Refused(-19, "No such device")

    def bdev_rbd_create(
        self,
        pool_name: str,
        rbd_name: str,
        block_size: int,
        name: str,
        cluster_name: str | None = None,
        uuid: str | None = None,
        read_only: bool = False,
        user_id: str | None = None,
        config: dict[str, str] | None = None,
    ) -> str:
        if self.release < (21, 7) and cluster_name or self.release < (21, 10) and uuid or self.release < (25, 9) and read_only:
            raise Refused(-32603, "spdk_json_decode_object failed")
        if block_size <= 0:
            raise AssertionError("a block size of 0 crashes old targets")
        if (pool_name, rbd_name) not in self.images or (cluster_name is not None and cluster_name not in self.clusters):
            raise Refused(-1, "Operation not permitted")
        if name in self.bdevs:
            raise Refused(-17, "File exists")
        self.add_bdev(name, pool_name, rbd_name, block_size=block_size, uuid=uuid, read_only=read_only)
        self.bdevs[name]["driver_specific"]["rbd"].update({key: value for key, value in (("user_id", user_id), ("config", config)) if value})
        return name

    def add_bdev(self, name, pool, image, block_size=512, uuid=None, read_only=False, size=None) -> None:
        self.bdevs[name] = {
            "name": name,
            "aliases": [],
            "product_name": "Ceph Rbd Disk",
            "block_size": block_size,
            "num_blocks": (self.images[(pool, image)] if size is None else size) // block_size,
            "uuid": uuid or f"00000000-0000-4000-8000-{len(self.bdevs):012d}",
            "claimed": False,
            "assigned_rate_limits": {"rw_ios_per_sec": 0, "rw_mbytes_per_sec": 0, "r_mbytes_per_sec": 0, "w_mbytes_per_sec": 0},
            "supported_io_types": {"read": True, "write": not read_only},
            "driver_specific": {"rbd": {"pool_name": pool, "rbd_name": image}},
        }

    def bdev_rbd_delete(self, name: str) -> bool:
        if name not in self.bdevs:
            raise Refused(-19, "No such device")
        del self.bdevs[name]
        return True

    def bdev_set_qos_limit(self, name: str, **limits: int) -> bool:
        """26.05 takes the limits of a bdev that nothing has opened only once."""
        bdev = self.bdevs[name]
        if bdev.get("stuck") and not bdev["claimed"]:
            raise Refused(-32602, "Failed to configure rate limit: Resource temporarily unavailable")
        bdev["stuck"] = True
        for key, value in limits.items():
            bdev["assigned_rate_limits"][key] = -(-value // 1000) * 1000 if key == "rw_ios_per_sec" else value
        return True

    def bdev_nvme_attach_controller(self, name: str, trtype: str, traddr: str) -> list[str]:
        assert trtype == "PCIe" and name not in self.nvme
        if traddr not in self.pci:
            raise Refused(-32602, "Invalid parameters") if self.release < (19, 10) else Refused(-19, "No such device")
        self.nvme[name] = traddr
        uuid = "00000000-0000-4000-8000-00000000beef"
        shape = {"name": f"{name}n1", "aliases": [], "product_name": "NVMe disk", "block_size": 512, "num_blocks": 2048, "uuid": uuid, "claimed": False}
        self.bdevs[f"{name}n1"] = {**shape, "driver_specific": {"nvme": [{"pci_address": traddr}]}}
        return [f"{name}n1"]

    def bdev_nvme_detach_controller(self, name: str) -> bool:
        del self.nvme[name], self.bdevs[f"{name}n1"]
        return True

    def bdev_nvme_get_controllers(self) -> list[dict[str, t.Any]]:
        if self.release >= (21, 10):
            return [{"name": name, "ctrlrs": [{"state": "enabled", "trid": {"trtype": "PCIe", "traddr": address}}]} for name, address in self.nvme.items()]
        return [{"name": name, "trid": {"trtype": "PCIe", "traddr": address}} for name, address in self.nvme.items()]

    def bdev_rbd_resize(self, name: str, new_size: int) -> bool:
        """As SPDK does it: compares with the bdev in whole MiB, then resizes the image, also down."""
        bdev = self.bdevs[name]
        if bdev["num_blocks"] * bdev["block_size"] // MIB > new_size:
            raise Refused(-22, "Invalid argument")
        rbd = bdev["driver_specific"]["rbd"]
        self.images[(rbd["pool_name"], rbd["rbd_name"])] = new_size * MIB
        bdev["num_blocks"] = new_size * MIB // bdev["block_size"]
        return True

    def resize_rbd_bdev(self, name: str, size: int) -> bool:
        """The patch that no release took: no guard."""
        rbd = self.bdevs[name]["driver_specific"]["rbd"]
        assert self.patched
        self.images[(rbd["pool_name"], rbd["rbd_name"])] = size * self.patched
        self.bdevs[name]["num_blocks"] = size * self.patched // self.bdevs[name]["block_size"]
        return True

    def bdev_rbd_register_cluster(self, name: str, **params: t.Any) -> str:
        if set(params) - {"user_id", "config_file", "key_file", "config_param", "core_mask"}:
            raise Refused(-32603, "spdk_json_decode_object failed")
        if name in self.clusters:
            raise Refused(-1, "Operation not permitted")
        self.clusters[name] = {"cluster_name": name, **params}
        return name

    def bdev_rbd_get_clusters_info(self) -> list[dict[str, t.Any]]:
        if not self.clusters:
            raise Refused(-2, "No such file or directory")
        return list(self.clusters.values())

    # -- nvmf --------------------------------------------------------------------------------------------------

    def nvmf_create_transport(self, trtype: str, **options: t.Any) -> bool:
        if trtype in self.transports:
            raise Refused(-32603, f"Transport type '{trtype}' already exists")
        self.transports[trtype] = {"trtype": trtype, "max_io_size": 131072, "c2h_success": True, **options}
        return True

    def nvmf_get_transports(self) -> list[dict[str, t.Any]]:
        return list(self.transports.values())

    def nvmf_create_subsystem(self, nqn: str, serial_number: str, max_namespaces: int, allow_any_host: bool, **options: t.Any) -> bool:
        if nqn in self.subsystems:
            raise Refused(-32603, f"Unable to create subsystem {nqn}")
        self.subsystems[nqn] = {
            "serial_number": serial_number,
            "model_number": options.pop("model_number", "SPDK bdev Controller"),
            "max_namespaces": max_namespaces,
            "allow_any_host": allow_any_host,
            "ana_reporting": options.pop("ana_reporting", False),
            "min_cntlid": options.pop("min_cntlid", 1),
            "max_cntlid": options.pop("max_cntlid", 65519),
            "hosts": {},
            "listeners": {},
            "namespaces": {},
        }
        assert not options, options
        return True

    def nvmf_delete_subsystem(self, nqn: str) -> bool:
        self._subsystem(nqn)
        for namespace in self.subsystems.pop(nqn)["namespaces"].values():
            self.bdevs[namespace["bdev_name"]]["claimed"] = False
        return True

    def _subsystem(self, nqn: str) -> dict[str, t.Any]:
        if nqn not in self.subsystems:
            raise Refused(-32602, "Invalid parameters")
        return self.subsystems[nqn]

    def nvmf_get_subsystems(self) -> list[dict[str, t.Any]]:
        shown: list[dict[str, t.Any]] = [
            {"nqn": "nqn.2014-08.org.nvmexpress.discovery", "subtype": "Discovery", "listen_addresses": [], "allow_any_host": True, "hosts": []}
        ]
        for nqn, entry in self.subsystems.items():
            shown.append(
                {
                    "nqn": nqn,
                    "subtype": "NVMe",
                    "listen_addresses": [json.loads(key) for key in entry["listeners"]],
                    "allow_any_host": entry["allow_any_host"],
                    "hosts": [{"nqn": host, **{key: name for key, name in keys.items() if key != "psk"}} for host, keys in entry["hosts"].items()],
                    **{key: entry[key] for key in ("serial_number", "model_number", "max_namespaces", "min_cntlid", "max_cntlid")},
                    "namespaces": [
                        {
                            **{key: value for key, value in namespace.items() if key in ("bdev_name", "uuid", "eui64")},
                            **({"anagrpid": namespace["anagrpid"]} if entry["ana_reporting"] else {}),
                            "nsid": nsid,
                            "name": namespace["bdev_name"],
                            "nguid": namespace["nguid"].upper(),
                        }
                        for nsid, namespace in entry["namespaces"].items()
                    ],
                }
            )
        return shown

    def nvmf_subsystem_add_ns(self, nqn: str, namespace: dict[str, t.Any]) -> int:
        entry = self._subsystem(nqn)
        bdev = self.bdevs.get(namespace["bdev_name"])
        nsid = namespace.pop("nsid")
        if bdev is None or bdev["claimed"] or nsid in entry["namespaces"] or nsid > entry["max_namespaces"]:
            raise Refused(-32602, "Invalid parameters")
        if set(namespace) - {"bdev_name", "uuid", "nguid", "eui64", "anagrpid", "ptpl_file", "no_auto_visible"}:
            raise Refused(-32602, "Invalid parameters")
        bdev["claimed"] = True
        namespace.setdefault("anagrpid", nsid)
        entry["namespaces"][nsid] = namespace
        return nsid

    def nvmf_subsystem_remove_ns(self, nqn: str, nsid: int) -> bool:
        namespaces = self._subsystem(nqn)["namespaces"]
        if nsid not in namespaces:
            raise Refused(-32602, "Invalid parameters")
        self.bdevs[namespaces.pop(nsid)["bdev_name"]]["claimed"] = False
        return True

    def nvmf_subsystem_set_ns_ana_group(self, nqn: str, nsid: int, anagrpid: int) -> bool:
        self._subsystem(nqn)["namespaces"][nsid]["anagrpid"] = anagrpid
        return True

    def nvmf_subsystem_add_host(self, nqn: str, host: str, **keys: str) -> bool:
        hosts = self._subsystem(nqn)["hosts"]
        if host in hosts:
            raise Refused(-32603, "Internal error")
        self.check_keys(keys)
        hosts[host] = keys
        return True

    def nvmf_subsystem_remove_host(self, nqn: str, host: str) -> bool:
        hosts = self._subsystem(nqn)["hosts"]
        if host not in hosts:
            raise Refused(-32603, "Internal error")
        for name in hosts.pop(host).values():
            if name in self.removed_keys and not self.key_users(name):
                self.removed_keys.remove(name)
        return True

    def nvmf_subsystem_allow_any_host(self, nqn: str, allow_any_host: bool) -> bool:
        self._subsystem(nqn)["allow_any_host"] = allow_any_host
        return True

    def nvmf_subsystem_add_listener(self, nqn: str, listen_address: dict[str, str], ana_state: str = "optimized", **options: t.Any) -> bool:
        entry, key = self._subsystem(nqn), json.dumps(listen_address, sort_keys=True)
        if key in entry["listeners"] or listen_address["trtype"] not in self.transports or not isinstance(listen_address["trsvcid"], str):
            raise Refused(-32602, "Invalid parameters")
        if options.get("secure_channel") and entry["allow_any_host"]:
            raise Refused(-32603, "Cannot establish secure channel, when 'allow_any_host' is set")
        assert not set(options) - {"secure_channel", "sock_impl"} and (not options or self.release >= (23, 5)), options
        groups = dict.fromkeys(range(1, entry["max_namespaces"] + 1), ana_state)
        entry["listeners"][key] = {"ana": groups, "options": options}
        return True

    def nvmf_subsystem_remove_listener(self, nqn: str, listen_address: dict[str, str]) -> bool:
        if self._subsystem(nqn)["listeners"].pop(json.dumps(listen_address, sort_keys=True), None) is None:
            raise Refused(-32602, "Invalid parameters")
        return True

    def nvmf_subsystem_listener_set_ana_state(self, nqn: str, listen_address: dict[str, str], ana_state: str, anagrpid: int = 0) -> bool:
        entry, key = self._subsystem(nqn), json.dumps(listen_address, sort_keys=True)
        if not entry["ana_reporting"] or key not in entry["listeners"] or anagrpid > entry["max_namespaces"]:
            raise Refused(-32603, "error setting ANA state: -22")
        groups = entry["listeners"][key]["ana"]
        groups.update(dict.fromkeys([anagrpid] if anagrpid else list(groups), ana_state))
        return True

    def nvmf_subsystem_get_listeners(self, nqn: str) -> list[dict[str, t.Any]]:
        return [
            {"address": json.loads(key), "ana_states": [{"ana_group": group, "ana_state": state} for group, state in listener["ana"].items()]}
            for key, listener in self._subsystem(nqn)["listeners"].items()
        ]

    def nvmf_subsystem_get_controllers(self, nqn: str) -> list[dict[str, t.Any]]:
        self._subsystem(nqn)
        return self.controllers.get(nqn, [])
