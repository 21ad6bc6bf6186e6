# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The nvmf methods. Nearly every refusal is "Invalid parameters", as recorded; what a host sees is made by the exporter."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Any

from .bdev import Bdev
from .decode import RpcError, errno_error, internal_error, invalid_params
from .export import ExportError
from .nvmf_model import ANA_STATES, DISCOVERY, Listener, Namespace, Subsystem, nqn_ok

if TYPE_CHECKING:
    from .target import Target

TRANSPORT = {
    "trtype": "TCP",
    "max_queue_depth": 128,
    "max_io_qpairs_per_ctrlr": 127,
    "in_capsule_data_size": 4096,
    "max_io_size": 131072,
    "max_aq_depth": 128,
    "iobuf_small_cache_size": 4294967295,
    "iobuf_large_cache_size": 4294967295,
    "dif_insert_or_strip": False,
    "zcopy": False,
    "c2h_success": True,
    "sock_priority": 0,
    "abort_timeout_sec": 1,
    "ack_timeout": 0,
    "data_wr_pool_size": 0,
    "disable_command_passthru": False,
    "kas": 100,
    "min_kato": 10000,
}
# not recorded (the recorded target had no RDMA device): by lib/nvmf/rdma.c of 26.05
RDMA_TRANSPORT = {key: value for key, value in TRANSPORT.items() if key not in ("c2h_success", "sock_priority")} | {
    "max_srq_depth": 4096,
    "no_srq": False,
    "acceptor_backlog": 100,
    "no_wr_batching": False,
}
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


class Nvmf:
    """The one NVMe-oF target of the process."""

    def __init__(self, target: "Target") -> None:
        self.target = target
        self.subsystems: dict[str, Subsystem] = {DISCOVERY: Subsystem(DISCOVERY, {})}
        self.transports: list[dict[str, Any]] = []
        self.referrals: list[dict[str, Any]] = []
        self.max_subsystems: int | None = None
        self.crdt = [0, 0, 0]
        self.config_options: dict[str, Any] = {}

    # -- helpers ------------------------------------------------------------------------------------------------------------------

    def _target(self, p: dict[str, Any]) -> None:
        if p.get("tgt_name", TARGET_NAME) != TARGET_NAME:
            raise RpcError(-32603, "Unable to find a target.")

    def _subsystem(self, p: dict[str, Any]) -> Subsystem:
        self._target(p)
        subsystem = self.subsystems.get(p["nqn"])
        if subsystem is None:
            raise invalid_params()
        return subsystem

    def _address(self, given: dict[str, str]) -> tuple[str, str, str, str]:
        trtype = given["trtype"].upper()
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
        if kind not in ("TCP", "RDMA"):
            raise RpcError(-32602, f"Invalid transport type '{p['trtype']}'")
        if any(item["trtype"] == kind for item in self.transports):
            raise RpcError(-32603, f"Transport type '{p['trtype']}' already exists")
        if not self.target.exporter.supports(kind):
            # no RDMA device here
            raise RpcError(-32603, "Failed to create transport.")
        shape = TRANSPORT if kind == "TCP" else RDMA_TRANSPORT
        self.transports.append(shape | {key: value for key, value in p.items() if key in shape} | {"trtype": kind})
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
            raise RpcError(-32603, f"Unable to create subsystem {nqn}")
        for key, limit in (("serial_number", 20), ("model_number", 40)):
            text = p.get(key, "")
            if len(text.encode()) > limit or not all(" " <= char <= "~" for char in text):
                raise invalid_params()
        if not (1 <= low <= 65519 and 1 <= high <= 65519 and low <= high):
            raise RpcError(-32602, f"Invalid cntlid range [{low}-{high}]")
        self.subsystems[nqn] = Subsystem(nqn, p)
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
        if subsystem.find_listener(address) or not re.fullmatch(r"\d{1,5}", address[3]) or int(address[3]) > 65535:
            raise invalid_params()
        listener = Listener(address, subsystem.max_namespaces, p.get("ana_state", "optimized"), secure, p.get("sock_impl"))
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
            shape: dict[str, Any] = {"address": item.address()}
            if subsystem.ana_reporting:
                shape["ana_states"] = [{"ana_group": group, "ana_state": state} for group, state in item.ana.items()]
            shapes.append(shape)
        return shapes

    def rpc_nvmf_subsystem_get_controllers(self, p: dict[str, Any]) -> list[dict[str, Any]]:
        return self.target.exporter.controllers(self._subsystem(p))

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
        bdev = self.target.bdevs.find(given["bdev_name"])
        nsid = given.get("nsid", 0)
        if not nsid:
            nsid = next((free for free in range(1, subsystem.max_namespaces + 1) if free not in subsystem.namespaces), 0)
        refused = subsystem.discovery or bdev is None or bdev.claimed or not 1 <= nsid <= subsystem.max_namespaces
        if refused or nsid in subsystem.namespaces or given.get("anagrpid", 0) > subsystem.max_namespaces:
            raise invalid_params()
        assert bdev is not None
        bdev.claimed = True
        bdev.users += 1
        subsystem.namespaces[nsid] = Namespace(nsid, bdev, given)
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

    def rpc_nvmf_subsystem_add_host(self, p: dict[str, Any]) -> bool:
        subsystem = self._subsystem(p)
        keys = self.target.keyring
        if any(key in p and not keys.has(p[key]) for key in ("dhchap_key", "dhchap_ctrlr_key")):
            raise invalid_params()
        refused = subsystem.find_host(p["host"]) or not nqn_ok(p["host"]) or "psk" in p and not keys.has(p["psk"])
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
        entries: list[dict[str, Any]] = [
            {"method": "nvmf_set_config", "params": first},
            {"method": "nvmf_set_max_subsystems", "params": {"max_subsystems": self.max_subsystems or 1024}},
            {"method": "nvmf_set_crdt", "params": {f"crdt{number}": self.crdt[number - 1] for number in (1, 2, 3)}},
        ]
        entries += [{"method": "nvmf_create_transport", "params": item} for item in self.transports]
        entries += [{"method": "nvmf_discovery_add_referral", "params": item} for item in self.referrals]
        ordered = [self.subsystems[nqn] for nqn in sorted(self.subsystems)]
        real = [item for item in ordered if not item.discovery]
        entries += [item.config() for item in real]
        for item in real:
            for host in item.hosts:
                keys = {key: value for key, value in host.items() if key != "nqn"}
                entries.append({"method": "nvmf_subsystem_add_host", "params": {"nqn": item.nqn, "host": host["nqn"], **keys}})
        for item in real:
            entries += [item.namespaces[nsid].config(item.nqn, item.ana_reporting) for nsid in sorted(item.namespaces)]
        for item in real:
            for nsid in sorted(item.namespaces):
                entries += [{"method": "nvmf_ns_add_host", "params": {"nqn": item.nqn, "nsid": nsid, "host": host}} for host in item.namespaces[nsid].hosts]
        for item in ordered:
            for listener in item.listeners:
                params: dict[str, Any] = {"nqn": item.nqn, "listen_address": listener.address(), "secure_channel": listener.secure}
                if listener.sock_impl:
                    params["sock_impl"] = listener.sock_impl
                entries.append({"method": "nvmf_subsystem_add_listener", "params": params})
        return entries


def _mask_within(mask: str, cores: int) -> bool:
    try:
        value = int(mask, 16)
    except ValueError:
        return False
    return bool(value) and not value & ~cores
