# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The start-up JSON of a target, from the declared state.

SPDK's own ``save_config`` loses registered clusters, ``cluster_name``, ``read_only`` and ANA states (measured on 26.05: a
read-only export came back writable), so the file is rendered from what the inventory declares, in the order in which SPDK
saves it: hosts before namespaces, listeners last, so that a host that connects finds the subsystem complete.
Names of methods and what a release has come from its table; what it lacks is an error, never left out.
"""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_clusters import REGISTER, access_for, bdev_access, cluster_params, has_clusters
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_qos import METHOD as SET_LIMITS
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_qos import wanted_limits
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import METHODS, ReleaseTable
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_startup import check_document
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_facts import listener_facts

#: The release that is taken when none is given: the newest stable one the tables know.
DEFAULT_RELEASE = (26, 5)
#: What the file's lists may be called; anything else is a mistyped name.
KEYS = frozenset(
    ("keys", "clusters", "config_defaults", "bdevs", "controllers", "transports", "referrals", "subsystems", "max_subsystems", "nvmf_config", "crdt")
)
_HOST_KEYS = ("psk", "dhchap_key", "dhchap_ctrlr_key")
#: Parameters of nvmf_create_subsystem that are made here; the others go through by their names.
_OWN = ("nqn", "serial_number", "model_number", "max_namespaces", "allow_any_host", "ana_reporting", "tgt_name")


class StartupConfigError(Exception):
    """The declared state cannot be rendered; the text names the object."""


def render(declared: t.Mapping[str, t.Any], found: t.Mapping[str, t.Any] | None = None) -> dict[str, t.Any]:
    """The content of the start-up file.

    ``declared`` has the lists of the role (:data:`KEYS`), ``found`` what the modules read back: ``bdevs``, ``subsystems`` (UUIDs and
    nsids that the operator left open) and ``release`` (``major``, ``minor``). Raises :class:`StartupConfigError`.
    """
    unknown = sorted(set(declared) - KEYS)
    if unknown:
        raise StartupConfigError(f"the declared state has no {', '.join(unknown)}; it may have {', '.join(sorted(KEYS))}")
    found = found or {}
    release = found.get("release") or {}
    table = ReleaseTable((int(release["major"]), int(release["minor"])) if release else DEFAULT_RELEASE, None, "the start-up file")
    try:
        document = _Renderer(table, declared, found).document()
        check_document(document, table)
    except HopError as error:
        raise StartupConfigError(str(error)) from error
    return document


def _given(**values: t.Any) -> dict[str, t.Any]:
    """Without what is not set: strict decoders refuse a null."""
    return {key: value for key, value in values.items() if value is not None and value != ""}


def _present(entries: t.Sequence[dict[str, t.Any]] | None) -> list[dict[str, t.Any]]:
    return [entry for entry in entries or [] if (entry.get("state") or "present") != "absent"]


def _address(entry: t.Mapping[str, t.Any]) -> dict[str, str]:
    facts = listener_facts({**entry, "trtype": entry.get("trtype") or "TCP", "trsvcid": entry.get("trsvcid") or 4420})
    return {key: facts[key] for key in ("trtype", "adrfam", "traddr", "trsvcid")}  # all strings: a number for the port is refused


class _Renderer:
    def __init__(self, table: ReleaseTable, declared: t.Mapping[str, t.Any], found: t.Mapping[str, t.Any]) -> None:
        self.table = table
        self.declared = declared
        self.bdevs = list(found.get("bdevs") or [])
        self.subsystems = {entry["nqn"]: entry for entry in found.get("subsystems") or []}

    def call(self, method: str, params: dict[str, t.Any], obj: str) -> dict[str, t.Any]:
        return {"method": self.table.require(method, obj), "params": params}

    def document(self) -> dict[str, t.Any]:
        keys = [self.call("keyring_file_add_key", {"name": key["name"], "path": key["path"]}, key["name"]) for key in _present(self.declared.get("keys"))]
        sections = [{"subsystem": "keyring", "config": keys}] if keys else []
        return {"subsystems": [*sections, {"subsystem": "bdev", "config": self.bdev_calls()}, {"subsystem": "nvmf", "config": self.nvmf_calls()}]}

    # -- bdevs ---------------------------------------------------------------------------------------------------------

    def bdev_calls(self) -> list[dict[str, t.Any]]:
        clusters = self.declared.get("clusters") or []
        calls = []
        for cluster in clusters if has_clusters(self.table) else []:
            calls.append(self.call(REGISTER, cluster_params(cluster, self.table, self.declared.get("config_defaults")), cluster["name"]))
        for controller in _present(self.declared.get("controllers")):
            params = {"name": controller["name"], "trtype": "PCIe", "traddr": controller["traddr"]}
            calls.append(self.call("bdev_nvme_attach_controller", params, controller["name"]))
        for bdev in _present(self.declared.get("bdevs")):
            calls.append(self.call("bdev_rbd_create", self.bdev_params(bdev, clusters), bdev["name"]))
            limits = {key: value for key, value in wanted_limits(bdev.get("qos"), bdev["name"]).items() if value}
            if limits:
                calls.append(self.call(SET_LIMITS, {"name": bdev["name"], **limits}, bdev["name"]))
        if self.table.has("bdev_wait_for_examine"):
            calls.append({"method": "bdev_wait_for_examine"})
        return calls

    def bdev_params(self, bdev: t.Mapping[str, t.Any], clusters: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
        name = bdev["name"]
        seen = next((entry for entry in self.bdevs if entry.get("name") == name), None)
        if seen is None:
            image = (bdev["pool"], bdev.get("rados_namespace") or None, bdev["image"])
            seen = next((entry for entry in self.bdevs if (entry.get("pool"), entry.get("rados_namespace") or None, entry.get("image")) == image), {})
        params = _given(pool_name=bdev["pool"], rbd_name=bdev["image"], namespace_name=bdev.get("rados_namespace"))
        params = {"name": name, **params, "block_size": int(bdev.get("block_size") or 512)}
        if has_clusters(self.table):
            params["cluster_name"] = self.cluster_of(bdev, seen, clusters)
        else:
            access = bdev_access(clusters, self.table, self.declared.get("config_defaults"))
            params.update(access_for(name, bdev.get("cluster") or seen.get("cluster"), access, self.table)[1])
        uuid = seen.get("uuid") or bdev.get("uuid")
        if self.table.has("bdev_rbd_create", "uuid"):
            if not uuid:
                raise StartupConfigError(f"bdev {name} has no UUID: without it the namespace's identity would change at every start")
            params["uuid"] = uuid
        elif bdev.get("uuid"):
            params["uuid"] = bdev["uuid"]
        if bdev.get("read_only"):
            params["read_only"] = True
        return params

    @staticmethod
    def cluster_of(bdev: t.Mapping[str, t.Any], seen: t.Mapping[str, t.Any], clusters: t.Sequence[t.Mapping[str, t.Any]]) -> str:
        name = bdev.get("cluster") or seen.get("cluster") or (clusters[0]["name"] if len(clusters) == 1 else None)
        if not name:
            raise StartupConfigError(
                f"bdev {bdev['name']} names no cluster, and {len(clusters) or 'none'} are declared: after a restart it could not be opened the same way"
            )
        return name

    # -- nvmf ----------------------------------------------------------------------------------------------------------

    def nvmf_calls(self) -> list[dict[str, t.Any]]:
        calls = []
        if self.declared.get("nvmf_config"):
            calls.append(self.call("nvmf_set_config", dict(self.declared["nvmf_config"]), "nvmf_config"))
        if self.declared.get("max_subsystems"):
            calls.append(self.call("nvmf_set_max_subsystems", {"max_subsystems": int(self.declared["max_subsystems"])}, "max_subsystems"))
        if self.declared.get("crdt"):
            crdt = [int(value) for value in self.declared["crdt"]]
            if len(crdt) != 3:
                raise StartupConfigError("crdt must be three numbers (units of 100 ms)")
            calls.append(self.call("nvmf_set_crdt", {f"crdt{number}": value for number, value in enumerate(crdt, start=1)}, "crdt"))
        for transport in self.declared.get("transports") or []:
            trtype = str(transport["trtype"]).upper()
            calls.append(self.call("nvmf_create_transport", {"trtype": trtype, **(transport.get("options") or {})}, trtype))
        for referral in _present(self.declared.get("referrals")):
            params: dict[str, t.Any] = {"address": _address({**referral, "trsvcid": referral.get("trsvcid") or 8009}), **_given(subnqn=referral.get("subnqn"))}
            if referral.get("secure_channel"):
                params["secure_channel"] = True
            calls.append(self.call("nvmf_discovery_add_referral", params, str(referral["traddr"])))
        subsystems = _present(self.declared.get("subsystems"))
        for part in (self.subsystem, self.hosts, self.namespaces, self.namespace_hosts, self.listeners):
            for subsystem in subsystems:
                calls += part(subsystem, self.subsystems.get(subsystem["nqn"]) or {})
        return calls

    def subsystem(self, subsystem: t.Mapping[str, t.Any], found: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
        params = _given(
            nqn=subsystem["nqn"],
            serial_number=found.get("serial_number") or subsystem.get("serial_number"),
            max_namespaces=int(found.get("max_namespaces") or subsystem.get("max_namespaces") or 256),
        )
        params["allow_any_host"] = bool(subsystem.get("allow_any_host"))
        model = found.get("model_number") or subsystem.get("model_number")
        if model and (subsystem.get("model_number") or self.table.has("nvmf_create_subsystem", "model_number")):
            params["model_number"] = model
        if subsystem.get("ana_reporting"):
            params["ana_reporting"] = True  # off is every release's default, and before 20.10 the only state
        for name in METHODS["nvmf_create_subsystem"].params:
            if name not in _OWN and subsystem.get(name) is not None:
                params[name] = subsystem[name]
        return [self.call("nvmf_create_subsystem", params, subsystem["nqn"])]

    def hosts(self, subsystem: t.Mapping[str, t.Any], _found: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
        calls = []
        for host in subsystem.get("hosts") or []:
            entry = {"nqn": host} if isinstance(host, str) else host
            params = {"nqn": subsystem["nqn"], "host": entry["nqn"], **_given(**{key: entry.get(key) for key in _HOST_KEYS})}
            calls.append(self.call("nvmf_subsystem_add_host", params, f"{subsystem['nqn']} host {entry['nqn']}"))
        return calls

    def _nsid(self, subsystem: t.Mapping[str, t.Any], namespace: t.Mapping[str, t.Any], found: t.Mapping[str, t.Any]) -> tuple[int, dict[str, t.Any]]:
        seen = next((entry for entry in found.get("namespaces") or [] if entry["bdev"] == namespace["bdev"]), {})
        nsid = seen.get("nsid") or namespace.get("nsid")
        if not nsid:
            raise StartupConfigError(f"namespace of bdev {namespace['bdev']} in {subsystem['nqn']} has no nsid: it must not depend on the order of creation")
        return int(nsid), seen

    def namespaces(self, subsystem: t.Mapping[str, t.Any], found: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
        calls = []
        bdevs = {bdev.get("name"): bdev for bdev in self.bdevs}
        for namespace in _present(subsystem.get("namespaces")):
            nsid, seen = self._nsid(subsystem, namespace, found)
            # a namespace that is not live, because its image is missing, has the identity that it will have
            uuid = seen.get("uuid") or namespace.get("uuid") or (bdevs.get(namespace["bdev"]) or {}).get("uuid")
            nguid = seen.get("nguid") or namespace.get("nguid") or (uuid or "").replace("-", "")
            params = _given(
                nsid=nsid,
                bdev_name=namespace["bdev"],
                uuid=uuid,
                nguid=nguid.replace("-", "").upper(),
                eui64=(namespace.get("eui64") or "").replace("-", "").upper(),
                ptpl_file=namespace.get("ptpl_file"),
                anagrpid=int(namespace["anagrpid"]) if namespace.get("anagrpid") else None,
            )
            if namespace.get("auto_visible") is False:
                params["no_auto_visible"] = True
            calls.append(self.call("nvmf_subsystem_add_ns", {"nqn": subsystem["nqn"], "namespace": params}, f"{subsystem['nqn']} namespace {nsid}"))
        return calls

    def namespace_hosts(self, subsystem: t.Mapping[str, t.Any], found: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
        calls = []
        for namespace in _present(subsystem.get("namespaces")):
            for host in namespace.get("hosts") or []:
                nsid, _seen = self._nsid(subsystem, namespace, found)
                calls.append(self.call("nvmf_ns_add_host", {"nqn": subsystem["nqn"], "nsid": nsid, "host": host}, f"{subsystem['nqn']} namespace {nsid}"))
        return calls

    def listeners(self, subsystem: t.Mapping[str, t.Any], _found: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
        calls = []
        for listener in subsystem.get("listeners") or []:
            obj = f"{subsystem['nqn']} listener {listener['traddr']}"
            base: dict[str, t.Any] = {"nqn": subsystem["nqn"], "listen_address": _address(listener)}
            options: dict[str, t.Any] = {"secure_channel": True} if listener.get("secure_channel") else {}
            options.update(_given(sock_impl=listener.get("sock_impl")))
            state = listener.get("ana_state")
            later: list[dict[str, t.Any]] = []
            if state and self.table.has("nvmf_subsystem_add_listener", "ana_state"):
                options["ana_state"] = state
            elif state:
                later.append(self.call("nvmf_subsystem_listener_set_ana_state", {**base, "ana_state": state}, obj))
            for group, word in _groups(listener.get("ana_states")):
                later.append(self.call("nvmf_subsystem_listener_set_ana_state", {**base, "ana_state": word, "anagrpid": group}, obj))
            if (state not in (None, "optimized") or later) and not subsystem.get("ana_reporting"):
                raise StartupConfigError(f"{obj} has ANA states, but its subsystem does not set ana_reporting")
            calls += [self.call("nvmf_subsystem_add_listener", {**base, **options}, obj), *later]
        return calls


def _groups(states: t.Sequence[t.Mapping[str, t.Any]] | None) -> list[tuple[int, str]]:
    return sorted((int(entry["anagrpid"]), entry["ana_state"]) for entry in states or [])
