# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""A running SPDK target as an object: what it has, in one shape for all releases, and the calls that change it.

Reading never pauses a subsystem: ``bdev_get_bdevs`` and ``nvmf_get_subsystems`` look, while
``nvmf_subsystem_get_listeners`` and ``_get_controllers`` pause and resume (spoken of per method below).
"""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._jsonrpc import (
    METHOD_NOT_FOUND,
    JsonRpcClient,
    JsonRpcError,
    RpcError,
    RpcTimeoutError,
)
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import OLDEST, ReleaseTable
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_facts import (
    DISCOVERY_NQN,
    SavedConfig,
    ana_facts,
    listener_facts,
    listener_key,
    normal_uuid,
    subsystem_facts,
)

#: SPDK's product_name of an RBD bdev, in every release.
RBD_PRODUCT = "Ceph Rbd Disk"
#: What bdev_rbd_get_clusters_info answers when nothing is registered (26.05: -2 "No such file or directory").
ENOENT = -2
#: What bdev_get_bdevs answers for an absent name.
ENODEV = -19

Call = t.Tuple[str, t.Dict[str, t.Any]]


class TimedOut(HopError):
    """A call had no answer in time; it may still be carried out, so the state must be read again."""


def bdev_facts(raw: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """One entry of ``bdev_get_bdevs`` as the collection shows it; ``size_bytes`` is num_blocks * block_size."""
    specific = raw.get("driver_specific")
    inner = specific.get("rbd") if isinstance(specific, dict) else None
    rbd: dict[str, t.Any] = inner if isinstance(inner, dict) else {}
    is_rbd = raw.get("product_name") == RBD_PRODUCT
    writable = (raw.get("supported_io_types") or {}).get("write")
    return {
        "name": raw["name"],
        "uuid": _uuid_of(raw),
        "product": raw.get("product_name"),
        "block_size": raw.get("block_size"),
        "size_bytes": int(raw.get("num_blocks") or 0) * int(raw.get("block_size") or 0),
        "claimed": bool(raw.get("claimed")),
        "read_only": None if writable is None else not writable,
        "pool": rbd.get("pool_name") if is_rbd else None,
        # no upstream release has RADOS namespaces; a vendor's may show one
        "rados_namespace": (rbd.get("namespace_name") or "") if is_rbd else None,
        "image": rbd.get("rbd_name") if is_rbd else None,
    }


def _uuid_of(raw: t.Mapping[str, t.Any]) -> str | None:
    for candidate in [raw.get("uuid"), *(raw.get("aliases") or [])]:
        try:
            found = normal_uuid(candidate)
        except ValueError:
            continue  # an alias need not be a UUID
        if found is not None:
            return found
    return None


class Target:
    """A connection to one target, its release table, and the record of what was sent (``sent``: ``method``, ``params``)."""

    def __init__(self, client: JsonRpcClient, table: ReleaseTable, version: str) -> None:
        self.client = client
        self.table = table
        self.version = version
        self.sent: list[dict[str, t.Any]] = []
        #: What :meth:`subsystems` read last.
        self.saved = SavedConfig()

    @classmethod
    def open(cls, socket: str, timeout: float = 60.0, wait_for_socket: bool = False) -> Target:
        """Connect, learn the release (two calls); raises :class:`HopError` when no SPDK answers."""
        client = JsonRpcClient(socket, timeout, wait_for_socket=wait_for_socket)
        try:
            try:
                methods = client.call("rpc_get_methods")
            except RpcError as error:
                if error.code != METHOD_NOT_FOUND:
                    raise
                methods = client.call("get_rpc_methods")  # its name up to 19.04
            version = next((name for name in ("spdk_get_version", "get_spdk_version") if name in methods), None)
            text, release, pre = "SPDK v19.01 or older", OLDEST, False
            if version is not None:
                answer = client.call(version)
                text = str(answer.get("version"))
                fields = answer["fields"]
                release = (int(fields["major"]), int(fields["minor"]))
                # "-pre" on the way to a release, "-rc1" before it
                pre = str(fields.get("suffix") or "").startswith(("-pre", "-rc"))
        except JsonRpcError as error:
            client.close()
            raise hop_error(error, socket, "bdev") from error
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            client.close()
            raise HopError(
                f"what listens on {socket} does not answer like an SPDK target",
                obj=socket,
                hop="bdev",
                call="spdk_get_version",
                cause=repr(error),
                remedy="name the socket of the SPDK target",
            ) from error
        table = ReleaseTable(release, methods, socket, pre)
        client.max_request = table.max_request
        return cls(client, table, text)

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *unused: t.Any) -> None:
        self.close()

    def close(self) -> None:
        self.client.close()

    @property
    def release(self) -> dict[str, t.Any]:
        return {"version": self.version, "major": self.table.release[0], "minor": self.table.release[1]}

    # -- calls -------------------------------------------------------------------------------------------------

    def read(self, method: str, params: dict[str, t.Any] | None = None, obj: str | None = None, hop: str = "bdev") -> t.Any:
        """The result of a reading call; errors as :class:`HopError` except the target's own, which stay :class:`RpcError`."""
        name = self.table.require(method, obj or self.client.path, hop)
        self.table.check_params(method, params or {}, obj or self.client.path, hop)
        try:
            return self.client.call(name, params)
        except RpcError:
            raise
        except JsonRpcError as error:
            raise hop_error(error, obj or self.client.path, hop) from error

    def read_many(self, calls: t.Sequence[Call], hop: str = "bdev") -> list[t.Any]:
        """Pipelined reading calls; each outcome a result or an :class:`RpcError`."""
        try:
            return self.client.call_many([(self.table.require(method, self.client.path, hop), params) for method, params in calls])
        except JsonRpcError as error:
            raise hop_error(error, self.client.path, hop) from error

    def check_call(self, method: str, params: dict[str, t.Any], obj: str, hop: str) -> None:
        """Raise if the running release cannot carry this call out as asked; also for check mode."""
        self.table.require(method, obj, hop)
        self.table.check_params(method, params, obj, hop)

    def change(self, calls: t.Sequence[tuple[str, dict[str, t.Any], str]], hop: str, pipelined: bool = True) -> list[t.Any]:
        """Send changing calls ``(method, params, object)``; their outcomes, each a result or a :class:`HopError`.

        All are checked against the release before the first is sent. A time-out raises :class:`TimedOut` after a new
        connection was made ready: the caller reads the state and decides.
        """
        requests = []
        for method, params, obj in calls:
            self.check_call(method, params, obj, hop)
            requests.append((self.table.wire_name(method) or method, params))
        self.sent += [{"method": method, "params": params} for method, params in requests]
        outcomes: list[t.Any] = []
        try:
            if pipelined:
                outcomes = self.client.call_many(requests)
            else:
                for request in requests:
                    outcomes += self.client.call_many([request])
        except RpcTimeoutError as error:
            obj = calls[0][2] if len(calls) == 1 else self.client.path
            raise TimedOut(error.message, obj=obj, hop=hop, call=error.method, cause="time-out", remedy=error.remedy) from error
        except JsonRpcError as error:
            obj = next((obj for method, params, obj in calls if self.table.wire_name(method) == error.method), self.client.path)
            raise hop_error(error, obj, hop) from error
        final: list[t.Any] = []
        for (method, _params, obj), outcome in zip(calls, outcomes):
            if isinstance(outcome, RpcError):
                final.append(hop_error(outcome, obj, hop))
            elif outcome is False and self.table.is_so("false_is_failure"):
                final.append(HopError(f"{method} failed", obj=obj, hop=hop, call=method, cause="result false", remedy=LOG_REMEDY))
            else:
                final.append(outcome)
        return final

    # -- what there is -----------------------------------------------------------------------------------------

    def bdevs(self) -> list[dict[str, t.Any]]:
        """All bdevs (:func:`bdev_facts`) in one call, whatever their number."""
        try:
            return [bdev_facts(raw) for raw in self.read("bdev_get_bdevs")]
        except RpcError as error:
            raise hop_error(error, self.client.path, "bdev") from error

    def bdevs_by_name(self, names: t.Sequence[str]) -> dict[str, dict[str, t.Any]]:
        """The named bdevs that exist, pipelined; cheap even beside thousands of others."""
        outcomes = self.read_many([("bdev_get_bdevs", {"name": name}) for name in names])
        found = {}
        for name, outcome in zip(names, outcomes):
            if isinstance(outcome, RpcError):
                if outcome.code == ENODEV or outcome.code == -32602:  # -32602 up to 19.07
                    continue
                raise hop_error(outcome, name, "bdev") from outcome
            found[name] = bdev_facts(outcome[0])
        return found

    def clusters(self) -> list[dict[str, t.Any]]:
        """Registered Ceph clusters: ``name``, ``user``, ``config_file``, ``key_file``, ``config_param``, ``core_mask``; none before 21.07."""
        if not self.table.has("bdev_rbd_get_clusters_info"):
            return []
        try:
            raw = self.read("bdev_rbd_get_clusters_info")
        except RpcError as error:
            if error.code == ENOENT:
                return []
            raise hop_error(error, self.client.path, "bdev") from error
        if isinstance(raw, dict):
            raw = [raw]
        return [
            {
                "name": entry["cluster_name"],
                "user": entry.get("user_id"),
                "config_file": entry.get("config_file"),
                "key_file": entry.get("key_file"),
                "config_param": entry.get("config_param"),
                "core_mask": entry.get("core_mask"),
            }
            for entry in raw
        ]

    def transports(self) -> list[dict[str, t.Any]]:
        """The transports with their options as the target shows them; ``trtype`` in upper case."""
        try:
            return [{**raw, "trtype": str(raw.get("trtype", "")).upper()} for raw in self.read("nvmf_get_transports", hop="path")]
        except RpcError as error:
            raise hop_error(error, self.client.path, "path") from error

    def subsystems(self) -> list[dict[str, t.Any]]:
        """All subsystems without the discovery subsystem, in two calls (:func:`subsystem_facts`)."""
        try:
            raw = self.read("nvmf_get_subsystems", hop="namespace")
            saved = SavedConfig(self.read("framework_get_config", {"name": "nvmf"}, hop="namespace") or [])
        except RpcError as error:
            raise hop_error(error, self.client.path, "namespace") from error
        self.saved = saved
        return [subsystem_facts(entry, saved, self.table) for entry in raw if entry.get("subtype") != "Discovery" and entry["nqn"] != DISCOVERY_NQN]

    def add_ana_states(self, subsystems: t.Sequence[dict[str, t.Any]]) -> None:
        """Fill ``ana_state`` and ``ana_states`` of the listeners of ``subsystems`` (:func:`ana_facts`). Pauses each subsystem for a moment."""
        if not self.table.has("nvmf_subsystem_get_listeners"):
            return
        outcomes = self.read_many([("nvmf_subsystem_get_listeners", {"nqn": entry["nqn"]}) for entry in subsystems], "path")
        for entry, outcome in zip(subsystems, outcomes):
            if isinstance(outcome, RpcError):
                continue
            states = {}
            for raw in outcome:
                groups = {group["ana_group"]: group.get("ana_state") for group in raw.get("ana_states") or []}
                states[listener_key(listener_facts(raw["address"]))] = ana_facts(groups or {0: raw.get("ana_state")})
            for listener in entry["listeners"]:
                listener.update(states.get(listener_key(listener), {}))

    def add_controllers(self, subsystems: t.Sequence[dict[str, t.Any]]) -> None:
        """Fill ``controllers`` (``cntlid``, ``hostnqn``) of ``subsystems``; None where the release cannot tell (before 20.10)."""
        if not self.table.has("nvmf_subsystem_get_controllers"):
            for entry in subsystems:
                entry["controllers"] = None
            return
        outcomes = self.read_many([("nvmf_subsystem_get_controllers", {"nqn": entry["nqn"]}) for entry in subsystems], "path")
        for entry, outcome in zip(subsystems, outcomes):
            if isinstance(outcome, RpcError):
                entry["controllers"] = None
            else:
                entry["controllers"] = [{"cntlid": raw.get("cntlid"), "hostnqn": raw.get("hostnqn")} for raw in outcome]


LOG_REMEDY = "the target's log holds the reason (SPDK answers nearly all failures with one text)"

#: What to look at when a call is refused, since SPDK's answer hardly says.
REMEDIES = {
    "bdev_rbd_create": "check that the image exists, that the cluster name is registered and its user may use the pool; the target's log holds the reason",
    "bdev_rbd_register_cluster": "check the configuration file, the keyring and the user on the target host, and that the mons answer",
    "resize_rbd_bdev": "read the image's and the bdev's size before anything else; the resize may have happened in part",
    "bdev_rbd_resize": "read the image's and the bdev's size before anything else; the resize may have happened in part",
    "nvmf_create_subsystem": "check the NQN's form (nqn.yyyy-mm.reversed.domain:name, at most 223 bytes) and nvmf_set_max_subsystems",
    "nvmf_subsystem_add_listener": "check that the transport exists and that address and port are this host's and free; the target's log holds the reason",
    "nvmf_subsystem_add_ns": "check that the bdev exists and no other namespace has claimed it, and that nsid is at most max_namespaces",
    "nvmf_subsystem_listener_set_ana_state": "the subsystem must have been created with ana_reporting",
}


def hop_error(error: JsonRpcError, obj: str, hop: str) -> HopError:
    """A :class:`HopError` of a JSON-RPC failure."""
    if isinstance(error, RpcError):
        method = error.method or ""
        return HopError(f"the target refused {method}", obj=obj, hop=hop, call=method, cause=error.cause, remedy=REMEDIES.get(method, LOG_REMEDY))
    return HopError(error.message, obj=obj, hop=hop, call=error.method, cause=type(error).__name__, remedy=error.remedy)
