# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of the fake target that show themselves in ``framework_get_config`` only: keys, hosts of namespaces, referrals."""

from __future__ import annotations

import json
import os
import typing as t

DISCOVERY = "nqn.2014-08.org.nvmexpress.discovery"
KEYS = ("psk", "dhchap_key", "dhchap_ctrlr_key")


class Refused(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class FakeNvmf:
    """Mixed into :class:`fake_target.FakeTarget`."""

    release: tuple[int, int]
    subsystems: dict[str, dict[str, t.Any]]
    transports: dict[str, dict[str, t.Any]]

    #: First release of the methods here.
    SINCE: t.ClassVar[dict[str, tuple[int, int]]] = {
        "keyring_file_add_key": (24, 5),
        "keyring_file_remove_key": (24, 5),
        "keyring_get_keys": (24, 5),
        "nvmf_ns_add_host": (24, 5),
        "nvmf_ns_remove_host": (24, 5),
        "nvmf_subsystem_set_keys": (24, 9),
        "nvmf_discovery_add_referral": (24, 1),
        "nvmf_discovery_remove_referral": (24, 1),
        "nvmf_discovery_get_referrals": (24, 1),
    }

    def start_nvmf(self) -> None:
        self.keys: dict[str, str] = {}
        self.removed_keys: list[str] = []
        self.referrals: list[dict[str, t.Any]] = []
        #: What the saved configuration does not show: (method, parameter).
        self.hidden: set[tuple[str, str]] = set()

    # -- keys --------------------------------------------------------------------------------------------------

    def key_users(self, name: str) -> int:
        return sum(host.get(key) == name for entry in self.subsystems.values() for host in entry["hosts"].values() for key in KEYS)

    def keyring_file_add_key(self, name: str, path: str) -> bool:
        if name in self.keys:
            raise Refused(-17, "File exists")
        if not os.path.isabs(path) or os.stat(path).st_mode & 0o077:
            raise Refused(-1, "Operation not permitted")
        self.keys[name] = path
        return True

    def keyring_file_remove_key(self, name: str) -> bool:
        if name not in self.keys:
            raise Refused(-126, "Required key not available")
        del self.keys[name]
        if self.key_users(name):
            self.removed_keys.append(name)
        return True

    def keyring_get_keys(self) -> list[dict[str, t.Any]]:
        common = {"module": "keyring_file", "probed": False}
        there = [{"name": name, "removed": False, "refcnt": 1 + self.key_users(name), "path": path, **common} for name, path in self.keys.items()]
        return there + [{"name": name, "removed": True, "refcnt": self.key_users(name), **common} for name in self.removed_keys]

    def check_keys(self, given: dict[str, str]) -> None:
        if set(given) - set(KEYS) or (self.release < (23, 5) and given):
            raise Refused(-32602, "Invalid parameters")
        if self.release < (24, 5) and set(given) - {"psk"}:
            raise AssertionError("this release would ignore the key silently")
        if "psk" in given and "TCP" not in self.transports:
            raise AssertionError("SPDK would drop the psk silently")
        for key, name in given.items():
            if name not in self.keys and not (key == "psk" and name.startswith("/") and self.release < (24, 9)):
                raise Refused(-32603, "Internal error")

    def nvmf_subsystem_set_keys(self, nqn: str, host: str, **keys: str) -> bool:
        entry = self.subsystems[nqn]["hosts"].get(host)
        if entry is None or "dhchap_key" not in keys:
            raise Refused(-32602, "Invalid parameters")
        self.check_keys(keys)
        for key in ("dhchap_key", "dhchap_ctrlr_key"):
            entry.pop(key, None)
        entry.update(keys)
        return True

    # -- hosts of namespaces -----------------------------------------------------------------------------------

    def _masked(self, nqn: str, nsid: int) -> list[str]:
        namespace = self.subsystems[nqn]["namespaces"].get(nsid, {})
        if not namespace.get("no_auto_visible"):
            raise Refused(-32602, "Invalid parameters")
        return namespace.setdefault("_hosts", [])

    def nvmf_ns_add_host(self, nqn: str, nsid: int, host: str) -> bool:
        self._masked(nqn, nsid).append(host)
        return True

    def nvmf_ns_remove_host(self, nqn: str, nsid: int, host: str) -> bool:
        self._masked(nqn, nsid).remove(host)
        return True

    # -- referrals ---------------------------------------------------------------------------------------------

    def nvmf_discovery_add_referral(self, address: dict[str, str], secure_channel: bool = False, subnqn: str = DISCOVERY) -> bool:
        if any(entry["address"] == address and entry["subnqn"] == subnqn for entry in self.referrals):
            raise Refused(-32603, "Internal error")
        self.referrals.append({"address": address, "secure_channel": secure_channel, "subnqn": subnqn})
        return True

    def nvmf_discovery_remove_referral(self, address: dict[str, str], subnqn: str = DISCOVERY) -> bool:
        there = [entry for entry in self.referrals if entry["address"] == address and entry["subnqn"] == subnqn]
        if not there:
            raise Refused(-32603, "Unable to remove a referral.")
        self.referrals.remove(there[0])
        return True

    def nvmf_discovery_get_referrals(self) -> list[dict[str, t.Any]]:
        return self.referrals

    # -- the saved configuration -------------------------------------------------------------------------------

    def framework_get_config(self, name: str) -> list[dict[str, t.Any]]:
        """As recorded of 26.05, without what ``hidden`` names."""
        assert name == "nvmf"
        entries: list[tuple[str, dict[str, t.Any]]] = [("nvmf_create_transport", {"trtype": trtype}) for trtype in self.transports]
        for nqn, subsystem in self.subsystems.items():
            entries.append(("nvmf_create_subsystem", {"nqn": nqn, "ana_reporting": subsystem["ana_reporting"]}))
            entries += [("nvmf_subsystem_add_host", {"nqn": nqn, "host": host, **keys}) for host, keys in subsystem["hosts"].items()]
            for nsid, namespace in subsystem["namespaces"].items():
                inner = {"nsid": nsid, **{key: value for key, value in namespace.items() if not key.startswith("_")}}
                if self.release >= (24, 5):
                    inner["no_auto_visible"] = namespace.get("no_auto_visible", False)
                for method, param in self.hidden:
                    if method == "nvmf_subsystem_add_ns":
                        inner.pop(param, None)
                entries.append(("nvmf_subsystem_add_ns", {"nqn": nqn, "namespace": inner}))
                entries += [("nvmf_ns_add_host", {"nqn": nqn, "nsid": nsid, "host": host}) for host in namespace.get("_hosts", [])]
            for address, listener in subsystem["listeners"].items():
                params = {"nqn": nqn, "listen_address": json.loads(address), "secure_channel": False, **listener["options"]}
                entries.append(("nvmf_subsystem_add_listener", params))
        return [{"method": method, "params": {key: value for key, value in params.items() if (method, key) not in self.hidden}} for method, params in entries]
