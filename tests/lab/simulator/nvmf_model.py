# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The objects of an NVMe-oF target: subsystems, namespaces, hosts, listeners; and the rules for their names."""

from __future__ import annotations

import re
from typing import Any

from .bdev import Bdev
from .decode import UUID
from .release import Release

DISCOVERY = "nqn.2014-08.org.nvmexpress.discovery"
_UUID_PREFIX = "nqn.2014-08.org.nvmexpress:uuid:"
_LABEL = re.compile(r"[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")
ANA_STATES = ("optimized", "non_optimized", "inaccessible")


def nqn_ok(nqn: str) -> bool:
    """SPDK's nvmf_nqn_is_valid: 11 to 223 bytes, ``nqn.yyyy-mm.reverse.domain:user`` (the month is not checked), or the UUID form."""
    if not 11 <= len(nqn.encode()) <= 223:
        return False
    if nqn == DISCOVERY:
        return True
    if nqn.startswith(_UUID_PREFIX):
        return bool(UUID.match(nqn[len(_UUID_PREFIX) :]))
    match = re.match(r"nqn\.\d{4}-\d{2}\.([^:]*):(.+)\Z", nqn, re.DOTALL)
    return bool(match) and all(_LABEL.match(label) for label in match.group(1).split("."))


class Listener:
    """Where a subsystem is reached; `ana` maps group to state."""

    def __init__(self, address: tuple[str, str, str, str], groups: int, state: str, secure: bool, sock_impl: str | None) -> None:
        self.trtype, self.adrfam, self.traddr, self.trsvcid = address
        self.ana = dict.fromkeys(range(1, groups + 1), state)
        self.secure, self.sock_impl = secure, sock_impl

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes two listeners the same one (textual, as in SPDK)."""
        return self.trtype, self.adrfam, self.traddr, self.trsvcid

    def address(self, release: Release | None = None) -> dict[str, str]:
        """The shape of listen_addresses; with a release, as that one shows it (`transport` beside `trtype`)."""
        old = {"transport": self.trtype} if release is not None and release.does("transport_key") else {}
        return {**old, "trtype": self.trtype, "adrfam": self.adrfam, "traddr": self.traddr, "trsvcid": self.trsvcid}


class Namespace:
    """A bdev under an nsid."""

    def __init__(self, nsid: int, bdev: Bdev, p: dict[str, Any], release: Release) -> None:
        self.nsid, self.bdev = nsid, bdev
        self.uuid = p.get("uuid") or bdev.uuid
        self.nguid = (p.get("nguid") or (bdev.uuid.replace("-", "") if release.does("nguid_from_bdev") else "")).upper()
        self.eui64 = p["eui64"].upper() if p.get("eui64") else None
        self.anagrpid = p.get("anagrpid") or nsid
        self.ptpl_file = p.get("ptpl_file")
        self.no_auto_visible = p.get("no_auto_visible", False)
        self.hosts: list[str] = []

    def _identity(self) -> dict[str, Any]:
        """What of nguid, eui64 and uuid there is."""
        return {key: value for key, value in (("nguid", self.nguid), ("eui64", self.eui64), ("uuid", self.uuid)) if value}

    def describe(self, ana: bool) -> dict[str, Any]:
        """The shape inside nvmf_get_subsystems."""
        shape: dict[str, Any] = {"nsid": self.nsid, "bdev_name": self.bdev.name, "name": self.bdev.name, **self._identity()}
        if ana:
            shape["anagrpid"] = self.anagrpid
        return shape

    def config(self, nqn: str, ana: bool, release: Release) -> dict[str, Any]:
        """The entry of framework_get_config."""
        params: dict[str, Any] = {"nsid": self.nsid, "bdev_name": self.bdev.name}
        if self.ptpl_file:
            params["ptpl_file"] = self.ptpl_file
        params |= self._identity()
        if ana:
            params["anagrpid"] = self.anagrpid
        params["no_auto_visible"] = self.no_auto_visible
        known = release.objects["nvmf_namespace"]
        return {"method": "nvmf_subsystem_add_ns", "params": {"nqn": nqn, "namespace": {key: value for key, value in params.items() if key in known}}}


class Subsystem:
    """An NVM or the discovery subsystem. Hosts and listeners are listed newest first, as SPDK does."""

    def __init__(self, nqn: str, p: dict[str, Any], release: Release) -> None:
        self.nqn = nqn
        self.release = release
        #: not started: what a failed creation leaves behind up to 19.10
        self.active = True
        #: a change is under way (20.10 to 24.01 refuse another one)
        self.pausing = False
        self.discovery = nqn == DISCOVERY
        self.allow_any_host = p.get("allow_any_host", self.discovery)
        self.serial = p.get("serial_number", "0" * 20 + ("\n" if release.does("serial_newline") else ""))
        self.model = p.get("model_number", "SPDK bdev Controller")
        #: 0: no limit (the default before 21.01)
        self.max_namespaces = p.get("max_namespaces") or (32 if release.does("default_max_namespaces") else 0)
        self.ana_reporting = p.get("ana_reporting", False)
        self.min_cntlid, self.max_cntlid = p.get("min_cntlid", 1), p.get("max_cntlid", 65519)
        self.dmrsl, self.wzsl = p.get("dmrsl", 2097152), p.get("wzsl", 12)
        if "max_discard_size_kib" in p:
            self.dmrsl = p["max_discard_size_kib"] * 2
        if "max_write_zeroes_size_kib" in p:
            self.wzsl = max(0, (p["max_write_zeroes_size_kib"] // 4).bit_length() - 1)
        self.passthrough, self.enable_nssr = p.get("passthrough", False), p.get("enable_nssr", False)
        self.namespaces: dict[int, Namespace] = {}
        self.hosts: list[dict[str, Any]] = []
        self.listeners: list[Listener] = []

    @property
    def limit(self) -> int:
        """The highest nsid."""
        return self.max_namespaces or 2**32 - 2

    def find_listener(self, key: tuple[str, str, str, str]) -> Listener | None:
        """By transport, family, address and service."""
        return next((item for item in self.listeners if item.key == key), None)

    def find_host(self, nqn: str) -> dict[str, Any] | None:
        """The host's entry (`nqn` and key names)."""
        return next((host for host in self.hosts if host["nqn"] == nqn), None)

    def describe(self) -> dict[str, Any]:
        """The shape of nvmf_get_subsystems."""
        does = self.release.does
        shape: dict[str, Any] = {
            "nqn": self.nqn,
            "subtype": "Discovery" if self.discovery else "NVMe",
            # the discovery subsystem does not list its own addresses
            "listen_addresses": [] if self.discovery else [item.address(self.release) for item in self.listeners],
            "allow_any_host": self.allow_any_host,
            "hosts": [{key: value for key, value in host.items() if key != "psk"} for host in self.hosts],
        }
        if self.discovery:
            return shape
        shape["serial_number"] = self.serial
        if does("model_number"):
            shape["model_number"] = self.model
        if self.max_namespaces:
            shape["max_namespaces"] = self.max_namespaces
        if does("passthrough_shown"):
            shape["passthrough"] = self.passthrough
        if does("cntlid_shown"):
            shape.update(min_cntlid=self.min_cntlid, max_cntlid=self.max_cntlid)
        if does("limits_shown"):
            shape.update(dmrsl=self.dmrsl, wzsl=self.wzsl)
        ana = self.ana_reporting and does("anagrpid")
        shape["namespaces"] = [self.namespaces[nsid].describe(ana) for nsid in sorted(self.namespaces)]
        return shape

    def config(self) -> dict[str, Any]:
        """The nvmf_create_subsystem entry of framework_get_config."""
        params = {
            "nqn": self.nqn,
            "allow_any_host": self.allow_any_host,
            "serial_number": self.serial,
            "model_number": self.model,
            "max_namespaces": self.max_namespaces,
            "min_cntlid": self.min_cntlid,
            "max_cntlid": self.max_cntlid,
            "ana_reporting": self.ana_reporting,
            "dmrsl": self.dmrsl,
            "wzsl": self.wzsl,
            "passthrough": self.passthrough,
            "enable_nssr": self.enable_nssr,
        }
        if not self.max_namespaces:
            del params["max_namespaces"]
        return {"method": "nvmf_create_subsystem", "params": params}


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


def transport_defaults(release: Release) -> dict[str, Any]:
    """A TCP transport as nvmf_get_transports shows it."""
    if release.does("limits_shown"):
        return dict(TRANSPORT)
    known = release.methods["nvmf_create_transport"]["params"]
    early = release.does("state_mask_error")
    shape: dict[str, Any] = {"trtype": "TCP", "max_queue_depth": 128}
    shape |= {"max_io_qpairs_per_ctrlr": 127} if release.does("io_qpairs_shown") else {"max_qpairs_per_ctrlr": 64 if early else 128}
    shape |= {"in_capsule_data_size": 4096, "max_io_size": 131072, "io_unit_size": 131072, "max_aq_depth": 128}
    shape |= {"num_shared_buffers": 512 if early else 511, "buf_cache_size": 4294967295 if release.does("watch") else 32}
    return shape | {key: value for key, value in TRANSPORT.items() if key in known and key not in shape and not key.startswith("max_")}
