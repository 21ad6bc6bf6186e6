# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Over 500 lines: one handler for each call of SPDK's lib/nvmf/nvmf_rpc.c, in its order.

"""The nvmf methods. Nearly every refusal is "Invalid parameters", as recorded; what a host sees is made by the exporter."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Any, Callable

from .bdev import Bdev
from .decode import RpcError, errno_error, internal_error, invalid_params
from .export import ExportError
from .nvmf_model import ANA_STATES, DISCOVERY, Listener, Namespace, Subsystem, nqn_ok, transport_defaults
from .server import Deferred

if TYPE_CHECKING:
    from .target import Target

# not recorded (the recorded targets had no RDMA device): by lib/nvmf/rdma.c of 26.05
RDMA_TRANSPORT = {"max_srq_depth": 4096, "no_srq": False, "acceptor_backlog": 100, "no_wr_batching": False}
PASSTHRU = (
    "identify_ctrlr",
    "identify_uuid_list",
    "get_log_page",
    "get_set_features",
    "sanitize",
    "security_send_recv",
    "fw_update",
    "nvme_mi",
    "vendor_specific",
)
DIGESTS = ["sha256", "sha384", "sha512"]
DHGROUPS = ["null", "ffdhe2048", "ffdhe3072", "ffdhe4096", "ffdhe6144", "ffdhe8192"]
TARGET_NAME = "nvmf_tgt"
#: Calls that pause and resume their subsystem, or start or stop it.
PAUSING = {"nvmf_create_subsystem", "nvmf_delete_subsystem", "nvmf_subsystem_add_ns", "nvmf_subsystem_remove_ns", "nvmf_subsystem_add_listener"}
PAUSING |= {"nvmf_subsystem_remove_listener", "nvmf_subsystem_listener_set_ana_state", "nvmf_subsystem_get_listeners"}
PAUSING |= {"nvmf_subsystem_get_controllers", "nvmf_subsystem_get_qpairs"}


class Nvmf:
    """The one NVMe-oF target of the process."""

    def __init__(self, target: "Target") -> None:
        self.target = target
        self.release = target.release
        self.subsystems: dict[str, Subsystem] = {DISCOVERY: Subsystem(DISCOVERY, {}, self.release)}
        self.transports: list[dict[str, Any]] = []
        self.referrals: list[dict[str, Any]] = []
        self.max_subsystems: int | None = None
        self.crdt = [0, 0, 0]
        self.config_options: dict[str, Any] = {}

    # -- helpers ------------------------------------------------------------------------------------------------------------------

    def paused(self, name: str, p: dict[str, Any], handler: Callable[[dict[str, Any]], Any]) -> Any:
        """Run a `PAUSING` call of a release that refuses a second change of a subsystem while the first is under way."""
        subsystem = self.subsystems.get(p["nqn"])
        if subsystem is not None and subsystem.pausing:
            if name == "nvmf_delete_subsystem":
                raise RpcError(-32603, "Subsystem currently in another state change try again later.")
            raise internal_error()
        result = handler(p)
        changing = subsystem or self.subsystems[p["nqn"]]
        changing.pausing = True

        def resumed() -> tuple[bool, Any]:
            changing.pausing = False
            return True, result

        return Deferred(resumed)

    def _target(self, p: dict[str, Any]) -> None:
        if p.get("tgt_name", TARGET_NAME) != TARGET_NAME:
            if self.release.does("target_named"):
                raise RpcError(-32602, f"NVMf target '{p['tgt_name']}' not found")
            raise RpcError(-32603, "Unable to find a target.")

    def _subsystem(self, p: dict[str, Any]) -> Subsystem:
        self._target(p)
        subsystem = self.subsystems.get(p["nqn"])
        if subsystem is None:
            raise RpcError(-32602, f"Subsystem with NQN '{p['nqn']}' not found") if self.release.does("nqn_named") else invalid_params()
        return subsystem

    def _address(self, given: dict[str, str]) -> tuple[str, str, str, str]:
        trtype = (given.get("trtype") or given.get("transport") or "").upper()
        families = {"ipv4": "IPv4", "ipv6": "IPv6"}
        adrfam = families.get(given.get("adrfam", "IPv4").lower())
        if trtype not in ("TCP", "RDMA") or adrfam is None:
            raise invalid_params()
        return trtype, adrfam, given["traddr"], given.get("trsvcid", "")

    def sync(self) -> None:
        """Bring the exporter to the present state; what it cannot do is logged, as a data path's trouble would be."""
        try:
            self.target.exporter.sync(self.subsystems)
        except ExportError as error:
            self.target.log("ERROR", str(error))

    def bdev_removed(self, bdev: Bdev) -> None:
        """SPDK's hot removal: the namespaces on the device vanish."""
        for subsystem in self.subsystems.values():
            for nsid in [nsid for nsid, ns in subsystem.namespaces.items() if ns.bdev is bdev]:
                self._drop_namespace(subsystem, nsid)
        self.sync()

    def bdev_resized(self, bdev: Bdev) -> None:
        """Tell the hosts."""
        if bdev.claimed:
            self.sync()

    def _drop_namespace(self, subsystem: Subsystem, nsid: int) -> None:
        bdev = subsystem.namespaces.pop(nsid).bdev
        bdev.claimed = False
        bdev.users -= 1

    # -- transports ---------------------------------------------------------------------------------------------------------------

    def rpc_nvmf_create_transport(self, p: dict[str, Any]) -> bool:
        self._target(p)
        kind = p["trtype"].upper()
        newline = "\n" if self.release.does("transport_newline") else ""
        if kind not in ("TCP", "RDMA") or kind == "RDMA" and self.release.does("built_without_rdma"):
            raise RpcError(-32602, f"Invalid transport type '{p['trtype']}'{newline}")
        if any(item["trtype"] == kind for item in self.transports):
            raise RpcError(-32603, f"Transport type '{p['trtype']}' already exists{newline}")
        if not self.target.exporter.supports(kind):
            # no RDMA device here
            raise RpcError(-32603, "Failed to create transport.")
        defaults = transport_defaults(self.release)
        if kind == "RDMA":
            defaults = {key: value for key, value in defaults.items() if key not in ("c2h_success", "sock_priority")} | RDMA_TRANSPORT
        self.transports.append(defaults | {key: value for key, value in p.items() if key in defaults} | {"trtype": kind})
        return True

    def rpc_nvmf_get_transports(self, p: dict[str, Any]) -> list[dict[str, Any]]:
        self._target(p)
        if "trtype" not in p:
            return self.transports
        found = [item for item in self.transports if item["trtype"] == p["trtype"].upper()]
        if not found:
            raise errno_error(errno.ENODEV)
        return found

    # -- subsystems ---------------------------------------------------------------------------------------------------------------

    def rpc_nvmf_get_subsystems(self, p: dict[str, Any]) -> list[dict[str, Any]]:
        self._target(p)
        if "nqn" in p:
            if p["nqn"] not in self.subsystems:
                raise errno_error(errno.ENODEV)
            return [self.subsystems[p["nqn"]].describe()]
        return [self.subsystems[nqn].describe() for nqn in sorted(self.subsystems)]

    def rpc_nvmf_create_subsystem(self, p: dict[str, Any]) -> bool:
        if p.get("tgt_name", TARGET_NAME) != TARGET_NAME:
            raise RpcError(-32603, f"Unable to find target {p['tgt_name']}")
        nqn = p["nqn"]
        low, high = p.get("min_cntlid", 1), p.get("max_cntlid", 65519)
        full = len(self.subsystems) >= (self.max_subsystems or 1024)
        if not nqn_ok(nqn) or nqn in self.subsystems or nqn == DISCOVERY or full:
            raise RpcError(-32603, f"Unable to create subsystem {nqn}") if self.release.does("create_subsystem_named") else invalid_params()
        for key, limit in (("serial_number", 20), ("model_number", 40)):
            text = p.get(key, "")
            if len(text.encode()) > limit or not all(" " <= char <= "~" for char in text):
                if self.release.does("half_created_subsystem"):
                    self.subsystems[nqn] = Subsystem(nqn, {}, self.release)
                    self.subsystems[nqn].active = False
                raise invalid_params()
        if not (1 <= low <= 65519 and 1 <= high <= 65519 and low <= high):
            raise RpcError(-32602, f"Invalid cntlid range [{low}-{high}]")
        self.subsystems[nqn] = Subsystem(nqn, p, self.release)
        self.sync()
        return True

    def rpc_nvmf_delete_subsystem(self, p: dict[str, Any]) -> bool:
        subsystem = self._subsystem(p)
        for nsid in list(subsystem.namespaces):
            self._drop_namespace(subsystem, nsid)
        for host in subsystem.hosts:
            self._host_keys(host, -1)
        for listener in subsystem.listeners:
            self._release(subsystem, listener)
        del self.subsystems[subsystem.nqn]
        self.sync()
        return True

    # -- listeners ----------------------------------------------------------------------------------------------------------------

    def rpc_nvmf_subsystem_add_listener(self, p: dict[str, Any]) -> bool:
        subsystem = self._subsystem(p)
        address = self._address(p["listen_address"])
        secure = p.get("secure_channel", False)
        if secure and subsystem.allow_any_host:
            raise RpcError(-32603, "Cannot establish secure channel, when 'allow_any_host' is set")
        if not any(item["trtype"] == address[0] for item in self.transports) or p.get("sock_impl", "posix") not in ("posix", "ssl"):
            raise invalid_params()
        if subsystem.find_listener(address) and self.release.does("duplicate_listener"):
            return True
        if subsystem.find_listener(address) or not re.fullmatch(r"\d{1,5}", address[3]) or int(address[3]) > 65535:
            raise invalid_params()
        listener = Listener(address, subsystem.max_namespaces or 1, p.get("ana_state", "optimized"), secure, p.get("sock_impl"))
        subsystem.listeners.insert(0, listener)
        try:
            self.target.exporter.listen(address, secure)
        except ExportError as error:
            subsystem.listeners.remove(listener)
            self.target.log("ERROR", str(error))
            raise invalid_params() from None
        self.sync()
        return True

    def _release(self, subsystem: Subsystem, listener: Listener) -> None:
        if not any(listener.key == item.key for other in self.subsystems.values() if other is not subsystem for item in other.listeners):
            self.target.exporter.unlisten(listener.key)

    def rpc_nvmf_subsystem_remove_listener(self, p: dict[str, Any]) -> bool:
        subsystem = self._subsystem(p)
        listener = subsystem.find_listener(self._address(p["listen_address"]))
        if listener is None:
            raise invalid_params()
        subsystem.listeners.remove(listener)
        self.sync()
        self._release(subsystem, listener)
        return True

    def rpc_nvmf_subsystem_listener_set_ana_state(self, p: dict[str, Any]) -> bool:
        self._target(p)
        subsystem = self.subsystems.get(p["nqn"])
        if subsystem is None:
            raise RpcError(-32602, f"Unable to find subsystem with NQN {p['nqn']}")
        if p["ana_state"] not in ANA_STATES:
            raise invalid_params()
        listener = subsystem.find_listener(self._address(p["listen_address"]))
        group = p.get("anagrpid", 0)
        if listener is None or not subsystem.ana_reporting or group > subsystem.max_namespaces:
            raise RpcError(-32603, "error setting ANA state: -22")
        for one in [group] if group else list(listener.ana):
            listener.ana[one] = p["ana_state"]
        self.sync()
        return True

    def rpc_nvmf_subsystem_get_listeners(self, p: dict[str, Any]) -> list[dict[str, Any]]:
        subsystem = self._subsystem(p)
        shapes = []
        for item in subsystem.listeners:
            shape: dict[str, Any] = {"address": item.address(self.release)}
            if subsystem.ana_reporting and self.release.does("ana_state_scalar"):
                shape["ana_state"] = item.ana[1]
            elif subsystem.ana_reporting:
                shape["ana_states"] = [{"ana_group": group, "ana_state": state} for group, state in item.ana.items()]
            shapes.append(shape)
        return shapes

    def rpc_nvmf_subsystem_get_controllers(self, p: dict[str, Any]) -> list[dict[str, Any]]:
        return self.target.exporter.controllers(self._subsystem(p)) + self.target.faults.played(p["nqn"])

    def rpc_nvmf_subsystem_get_qpairs(self, p: dict[str, Any]) -> list[dict[str, Any]]:
        self._subsystem(p)
        return []

    # -- namespaces ---------------------------------------------------------------------------------------------------------------

    def rpc_nvmf_subsystem_add_ns(self, p: dict[str, Any]) -> int:
        subsystem = self._subsystem(p)
        given = p["namespace"]
        for key, length in (("nguid", 32), ("eui64", 16)):
            if key in given and not re.fullmatch(r"[0-9A-Fa-f]{%d}" % length, given[key]):
                raise invalid_params()
        if not subsystem.active:
            raise internal_error()
        bdev = self.target.bdevs.find(given["bdev_name"])
        nsid = given.get("nsid", 0)
        if not nsid:
            nsid = next((free for free in range(1, subsystem.limit + 1) if free not in subsystem.namespaces), 0)
        refused = subsystem.discovery or bdev is None or bdev.claimed or not 1 <= nsid <= subsystem.limit
        if refused or nsid in subsystem.namespaces or given.get("anagrpid", 0) > subsystem.limit:
            raise invalid_params()
        assert bdev is not None
        self.target.rbd.opened(bdev)
        bdev.claimed = True
        bdev.users += 1
        subsystem.namespaces[nsid] = Namespace(nsid, bdev, given, self.release)
        self.sync()
        return nsid

    def rpc_nvmf_subsystem_remove_ns(self, p: dict[str, Any]) -> bool:
        subsystem = self._subsystem(p)
        if p["nsid"] not in subsystem.namespaces:
            raise invalid_params()
        self._drop_namespace(subsystem, p["nsid"])
        self.sync()
        return True

    def rpc_nvmf_subsystem_set_ns_ana_group(self, p: dict[str, Any]) -> bool:
        subsystem = self._subsystem(p)
        namespace = subsystem.namespaces.get(p["nsid"])
        if namespace is None or not 1 <= p["anagrpid"] <= subsystem.max_namespaces:
            raise invalid_params()
        namespace.anagrpid = p["anagrpid"]
        self.sync()
        return True

    def _visible(self, p: dict[str, Any]) -> Namespace:
        namespace = self._subsystem(p).namespaces.get(p["nsid"])
        if namespace is None or not namespace.no_auto_visible or not nqn_ok(p["host"]):
            raise invalid_params()
        return namespace

    def rpc_nvmf_ns_add_host(self, p: dict[str, Any]) -> bool:
        namespace = self._visible(p)
        if p["host"] not in namespace.hosts:
            namespace.hosts.append(p["host"])
        return True

    def rpc_nvmf_ns_remove_host(self, p: dict[str, Any]) -> bool:
        namespace = self._visible(p)
        if p["host"] in namespace.hosts:
            namespace.hosts.remove(p["host"])
        return True

    # -- hosts --------------------------------------------------------------------------------------------------------------------

    def _host_keys(self, host: dict[str, Any], step: int) -> None:
        for key in ("psk", "dhchap_key", "dhchap_ctrlr_key"):
            if key in host:
                self.target.keyring.refer(host[key], step)

    def _psk_usable(self, psk: str) -> bool:
        """A key of the keyring; a file's path up to 24.05."""
        if self.target.keyring.has(psk):
            return True
        return self.release.does("psk_path") and psk.startswith("/") and os.path.isfile(psk)

    def rpc_nvmf_subsystem_add_host(self, p: dict[str, Any]) -> bool:
        subsystem = self._subsystem(p)
        if subsystem.find_host(p["host"]) and self.release.does("duplicate_host"):
            return True
        keys = self.target.keyring
        if any(key in p and not keys.has(p[key]) for key in ("dhchap_key", "dhchap_ctrlr_key")):
            raise invalid_params()
        refused = subsystem.find_host(p["host"]) or not nqn_ok(p["host"]) or "psk" in p and not self._psk_usable(p["psk"])
        if refused or "dhchap_ctrlr_key" in p and "dhchap_key" not in p:
            raise internal_error()
        host = {"nqn": p["host"], **{key: p[key] for key in ("psk", "dhchap_key", "dhchap_ctrlr_key") if key in p}}
        self._host_keys(host, 1)
        subsystem.hosts.insert(0, host)
        self.sync()
        return True

    def rpc_nvmf_subsystem_remove_host(self, p: dict[str, Any]) -> bool:
        subsystem = self._subsystem(p)
        host = subsystem.find_host(p["host"])
        if host is None:
            raise internal_error()
        subsystem.hosts.remove(host)
        self._host_keys(host, -1)
        self.sync()
        return True

    def rpc_nvmf_subsystem_set_keys(self, p: dict[str, Any]) -> bool:
        host = self._subsystem(p).find_host(p["host"])
        given = {key: p[key] for key in ("dhchap_key", "dhchap_ctrlr_key") if key in p}
        if host is None or any(not self.target.keyring.has(name) for name in given.values()) or "dhchap_key" not in given:
            raise invalid_params()
        self._host_keys({key: host[key] for key in ("dhchap_key", "dhchap_ctrlr_key") if key in host}, -1)
        for key in ("dhchap_key", "dhchap_ctrlr_key"):
            host.pop(key, None)
        host.update(given)
        self._host_keys(given, 1)
        self.sync()
        return True

    def rpc_nvmf_subsystem_allow_any_host(self, p: dict[str, Any]) -> bool:
        subsystem = self._subsystem(p)
        subsystem.allow_any_host = p["allow_any_host"]
        self.sync()
        return True

    # -- discovery, target options, statistics ------------------------------------------------------------------------------------

    def rpc_nvmf_discovery_add_referral(self, p: dict[str, Any]) -> bool:
        self._target(p)
        trtype, adrfam, traddr, trsvcid = self._address(p["address"])
        address = {"trtype": trtype, "adrfam": adrfam, "traddr": traddr, "trsvcid": trsvcid}
        entry = {"address": address, "secure_channel": p.get("secure_channel", False), "subnqn": p.get("subnqn", DISCOVERY)}
        if any(item["address"] == address and item["subnqn"] == entry["subnqn"] for item in self.referrals):
            raise internal_error()
        self.referrals.append(entry)
        return True

    def rpc_nvmf_discovery_remove_referral(self, p: dict[str, Any]) -> bool:
        self._target(p)
        trtype, adrfam, traddr, trsvcid = self._address(p["address"])
        address = {"trtype": trtype, "adrfam": adrfam, "traddr": traddr, "trsvcid": trsvcid}
        for item in self.referrals:
            if item["address"] == address and item["subnqn"] == p.get("subnqn", DISCOVERY):
                self.referrals.remove(item)
                return True
        raise RpcError(-32603, "Unable to remove a referral.")

    def rpc_nvmf_discovery_get_referrals(self, p: dict[str, Any]) -> list[dict[str, Any]]:
        self._target(p)
        return self.referrals

    def rpc_nvmf_get_targets(self, p: dict[str, Any]) -> list[str]:
        return [TARGET_NAME]

    def rpc_nvmf_set_max_subsystems(self, p: dict[str, Any]) -> bool:
        if self.max_subsystems is not None:
            raise RpcError(-32603, "Must not call more than once")
        self.max_subsystems = p["max_subsystems"]
        return True

    def rpc_nvmf_set_crdt(self, p: dict[str, Any]) -> bool:
        self.crdt = [p.get(f"crdt{number}", self.crdt[number - 1]) for number in (1, 2, 3)]
        return True

    def rpc_nvmf_set_config(self, p: dict[str, Any]) -> bool:
        filters = p.get("discovery_filter", "match_any").split(",")
        if any(item not in ("match_any", "transport", "address", "svcid") for item in filters):
            raise invalid_params()
        if "poll_groups_mask" in p and not _mask_within(p["poll_groups_mask"], self.target.cores):
            raise invalid_params()
        self.config_options |= p
        return True

    def config(self) -> list[dict[str, Any]]:
        """The nvmf section of framework_get_config: listeners last, ANA states nowhere (recorded)."""
        options = self.config_options
        passthru = {key: options.get("admin_cmd_passthru", {}).get(key, False) for key in PASSTHRU}
        first = {"discovery_filter": options.get("discovery_filter", "match_any"), "admin_cmd_passthru": passthru}
        if "poll_groups_mask" in options:
            first["poll_groups_mask"] = options["poll_groups_mask"]
        first |= {
            "dhchap_digests": options.get("dhchap_digests", DIGESTS),
            "dhchap_dhgroups": options.get("dhchap_dhgroups", DHGROUPS),
            "dup_host_policy": options.get("dup_host_policy", "allow"),
        }
        known = self.release.methods.get("set_nvmf_target_config", self.release.methods.get("nvmf_set_config", {})).get("params", {})
        if "conn_sched" in known:
            first = {"acceptor_poll_rate": 10000, "conn_sched": "roundrobin", **first}
        entries: list[dict[str, Any]] = [
            {"method": "nvmf_set_config", "params": first},
            {"method": "nvmf_set_max_subsystems", "params": {"max_subsystems": self.max_subsystems or 1024}},
            {"method": "nvmf_set_crdt", "params": {f"crdt{number}": self.crdt[number - 1] for number in (1, 2, 3)}},
        ]
        unsaved = ("num_shared_buffers", "buf_cache_size") if self.release.does("built_without_rdma") else ()
        transports = [{key: value for key, value in item.items() if key not in unsaved} for item in self.transports]
        entries += [{"method": "nvmf_create_transport", "params": item} for item in transports]
        entries += [{"method": "nvmf_discovery_add_referral", "params": item} for item in self.referrals]
        ordered = [self.subsystems[nqn] for nqn in sorted(self.subsystems)]
        real = [item for item in ordered if not item.discovery]
        if self.release.does("config_by_subsystem"):
            for item in real:
                entries += [item.config(), *self._listener_entries(item), *self._host_entries(item), *self._namespace_entries(item)]
            return entries
        entries += [item.config() for item in real]
        for part in (self._host_entries, self._namespace_entries, self._namespace_host_entries):
            for item in real:
                entries += part(item)
        for item in ordered:
            entries += self._listener_entries(item)
        return entries

    @staticmethod
    def _host_entries(item: Subsystem) -> list[dict[str, Any]]:
        made = []
        for host in item.hosts:
            keys = {key: value for key, value in host.items() if key != "nqn"}
            made.append({"method": "nvmf_subsystem_add_host", "params": {"nqn": item.nqn, "host": host["nqn"], **keys}})
        return made

    def _namespace_entries(self, item: Subsystem) -> list[dict[str, Any]]:
        ana = item.ana_reporting and self.release.does("anagrpid")
        return [item.namespaces[nsid].config(item.nqn, ana, self.release) for nsid in sorted(item.namespaces)]

    @staticmethod
    def _namespace_host_entries(item: Subsystem) -> list[dict[str, Any]]:
        pairs = [(nsid, host) for nsid in sorted(item.namespaces) for host in item.namespaces[nsid].hosts]
        return [{"method": "nvmf_ns_add_host", "params": {"nqn": item.nqn, "nsid": nsid, "host": host}} for nsid, host in pairs]

    @staticmethod
    def _listener_entries(item: Subsystem) -> list[dict[str, Any]]:
        made = []
        for listener in item.listeners:
            params: dict[str, Any] = {"nqn": item.nqn, "listen_address": listener.address(), "secure_channel": listener.secure}
            if listener.sock_impl:
                params["sock_impl"] = listener.sock_impl
            made.append({"method": "nvmf_subsystem_add_listener", "params": params})
        return made


def _mask_within(mask: str, cores: int) -> bool:
    try:
        value = int(mask, 16)
    except ValueError:
        return False
    return bool(value) and not value & ~cores
