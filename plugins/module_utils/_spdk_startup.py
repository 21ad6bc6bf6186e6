# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""A start-up document: its calls, the objects they make, and whether it can be executed.

The document is what ``spdk_tgt --json`` reads: ``{"subsystems": [{"subsystem": ..., "config": [{"method": ..., "params": ...}]}]}``.
What the target says of itself (``framework_get_config``) is made of the same calls, so declared, saved and live state become
objects by the same code. Everything here is pure: no file, no target.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_clusters import SECRET_PARAMS
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_qos import LIMITS, rounded
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import METHODS, ReleaseTable
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_facts import DISCOVERY_NQN, listener_facts, listener_key

#: What a call means when its optional parameter is not given, where leaving it out and giving it must compare alike.
DEFAULTS: dict[str, dict[str, t.Any]] = {
    "bdev": {"read_only": False, "rados_namespace": None, **dict.fromkeys(LIMITS, 0)},
    "cluster": {"user_id": None, "config_file": None, "key_file": None, "config_param": {}, "core_mask": None},
    "subsystem": {"allow_any_host": False, "ana_reporting": False},
    "host": {"psk": None, "dhchap_key": None, "dhchap_ctrlr_key": None},
    "namespace": {"no_auto_visible": False, "ptpl_file": None, "eui64": None, "hosts": []},
    "listener": {"secure_channel": False, "sock_impl": None},
    "referral": {"secure_channel": False},
}
#: Calls that must come before the framework is initialised: a running target takes them no more.
STARTUP_ONLY = ("nvmf_set_config", "nvmf_set_max_subsystems", "nvmf_set_crdt")
#: Smallest block size of a bdev.
MIN_BLOCK_SIZE = 512
#: Calls that resize an image; the second is a patch's, in no release.
RESIZES = ("bdev_rbd_resize", "resize_rbd_bdev")
#: Calls that make nothing.
_IGNORED = ("bdev_wait_for_examine",)
_PRESENT_NAMES = {method.legacy: name for name, method in METHODS.items() if method.legacy}
_MASK = "********"

Objects = t.Dict[t.Tuple[str, str], t.Dict[str, t.Any]]


class Call(t.NamedTuple):
    section: str
    method: str  # under its present name
    params: dict[str, t.Any]
    wire: str  # as written


def calls_of(document: t.Any, what: str = "the start-up document") -> list[Call]:
    """The calls of a document in order; :class:`HopError` for something that SPDK could not read."""

    def bad(message: str) -> HopError:
        return HopError(message, obj=what, hop="bdev", remedy='it must be {"subsystems": [{"subsystem": NAME, "config": [{"method": ..., "params": {...}}]}]}')

    sections = document.get("subsystems") if isinstance(document, dict) else None
    if not isinstance(sections, list):
        raise bad("there is no list subsystems in it")
    calls = []
    for section in sections:
        if not isinstance(section, dict) or not isinstance(section.get("subsystem"), str) or not isinstance(section.get("config") or [], list):
            raise bad("a subsystem has no name or no list config")
        calls += config_calls(section["subsystem"], section.get("config") or [], bad)
    return calls


def config_calls(section: str, entries: t.Sequence[t.Any], bad: t.Callable[[str], HopError] | None = None) -> list[Call]:
    """The calls of one section, as ``framework_get_config`` answers it, too; arrays (batches, 26.05) in their order."""
    calls = []
    for entry in entries:
        for one in entry if isinstance(entry, list) else [entry]:
            if not isinstance(one, dict) or not isinstance(one.get("method"), str) or set(one) - {"method", "params"}:
                if bad is None:
                    continue
                raise bad(f"an entry of {section} is no call: {one!r}")
            params = one.get("params") or {}
            calls.append(Call(section, _PRESENT_NAMES.get(one["method"], one["method"]), dict(params), one["method"]))
    return calls


# -- objects ---------------------------------------------------------------------------------------------------------


def objects_of(calls: t.Iterable[Call]) -> Objects:
    """The objects that ``calls`` make, by kind and name, with the parameters they were given in one spelling."""
    found: Objects = {}
    for call in calls:
        maker = _MAKERS.get(call.method)
        if maker is not None:
            try:
                maker(found, call.params)
            except (KeyError, TypeError, AttributeError):  # written by hand, and nothing that SPDK would take
                found[("call", f"{call.method} {call.params.get('name') or ''}".strip())] = dict(call.params)
        elif call.method in STARTUP_ONLY:
            found.setdefault(("setting", call.method), {}).update(call.params)
        elif re.match(r"bdev_\w+_create$|construct_\w+_bdev$", call.method) and "name" in call.params:
            found[("other bdev", call.params["name"])] = {"method": call.method}
        elif call.method not in _IGNORED:
            found[("call", f"{call.method} {call.params.get('name') or call.params.get('impl_name') or ''}".strip())] = dict(call.params)
    return found


def ns_name(nqn: str, nsid: t.Any) -> str:
    return f"{nqn} namespace {nsid}"


def listener_name(nqn: str, address: t.Mapping[str, t.Any]) -> str:
    trtype, _adrfam, traddr, trsvcid = listener_key(listener_facts(address))
    return f"{nqn} listener {trtype} {traddr}:{trsvcid}"


def _key(found: Objects, params: dict[str, t.Any]) -> None:
    found[("key", params["name"])] = {"path": params.get("path")}


def _cluster(found: Objects, params: dict[str, t.Any]) -> None:
    entry = {key: value for key, value in params.items() if key != "name"}
    if "config_param" in entry:
        entry["config_param"] = masked_param(entry["config_param"])
    found[("cluster", params["name"])] = entry


def masked_param(config_param: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
    """config_param without what may be a secret."""
    return {key: _MASK if key in SECRET_PARAMS else value for key, value in (config_param or {}).items()}


def _rbd(found: Objects, params: dict[str, t.Any]) -> None:
    entry = {key: value for key, value in params.items() if key not in ("name", "config")}
    if params.get("config"):
        entry["config"] = masked_param(params["config"])
    if entry.get("uuid"):
        entry["uuid"] = str(entry["uuid"]).lower()
    found[("bdev", params["name"])] = entry


def _qos(found: Objects, params: dict[str, t.Any]) -> None:
    limits = {key: rounded(key, value) for key, value in params.items() if key in LIMITS}
    entry = found.get(("bdev", params["name"]))
    if entry is None:
        entry = found.setdefault(("limits", params["name"]), {})
    entry.update(limits)


def _controller(found: Objects, params: dict[str, t.Any]) -> None:
    found[("controller", params["name"])] = {"trtype": str(params.get("trtype")).lower(), "traddr": str(params.get("traddr")).lower()}


def _transport(found: Objects, params: dict[str, t.Any]) -> None:
    found[("transport", str(params["trtype"]).upper())] = {key: value for key, value in params.items() if key not in ("trtype", "tgt_name")}


def _referral(found: Objects, params: dict[str, t.Any]) -> None:
    trtype, _adrfam, traddr, trsvcid = listener_key(listener_facts(params["address"]))
    name = f"{trtype} {traddr}:{trsvcid} {params.get('subnqn') or DISCOVERY_NQN}"
    found[("referral", name)] = {"secure_channel": bool(params.get("secure_channel"))}


def _subsystem(found: Objects, params: dict[str, t.Any]) -> None:
    found[("subsystem", params["nqn"])] = {key: value for key, value in params.items() if key not in ("nqn", "tgt_name")}


def _host(found: Objects, params: dict[str, t.Any]) -> None:
    found[("host", f"{params['nqn']} host {params['host']}")] = {key: params[key] for key in DEFAULTS["host"] if params.get(key)}


def _allow(found: Objects, params: dict[str, t.Any]) -> None:
    found.setdefault(("subsystem", params["nqn"]), {})["allow_any_host"] = bool(params["allow_any_host"])


def _namespace(found: Objects, params: dict[str, t.Any]) -> None:
    entry = {key: value for key, value in params["namespace"].items() if key != "nsid"}
    for key in ("uuid", "nguid", "eui64"):
        if entry.get(key):
            entry[key] = str(entry[key]).lower()
    entry["hosts"] = []
    found[("namespace", ns_name(params["nqn"], params["namespace"].get("nsid")))] = entry


def _ns_host(found: Objects, params: dict[str, t.Any]) -> None:
    entry = found.setdefault(("namespace", ns_name(params["nqn"], params["nsid"])), {"hosts": []})
    entry["hosts"] = sorted({*entry["hosts"], params["host"]})


def _listener(found: Objects, params: dict[str, t.Any]) -> None:
    entry = {key: params[key] for key in ("secure_channel", "sock_impl") if params.get(key)}
    entry["ana_states"] = {0: params["ana_state"]} if params.get("ana_state") else {}
    found[("listener", listener_name(params["nqn"], params["listen_address"]))] = entry


def _ana(found: Objects, params: dict[str, t.Any]) -> None:
    entry = found.setdefault(("listener", listener_name(params["nqn"], params["listen_address"])), {"ana_states": {}})
    group = params.get("anagrpid") or 0  # 0: all groups
    entry["ana_states"] = {0: params["ana_state"]} if group == 0 else {**entry["ana_states"], group: params["ana_state"]}


_MAKERS: dict[str, t.Callable[[Objects, dict[str, t.Any]], None]] = {
    "keyring_file_add_key": _key,
    "bdev_rbd_register_cluster": _cluster,
    "bdev_rbd_create": _rbd,
    "bdev_set_qos_limit": _qos,
    "bdev_nvme_attach_controller": _controller,
    "nvmf_create_transport": _transport,
    "nvmf_discovery_add_referral": _referral,
    "nvmf_create_subsystem": _subsystem,
    "nvmf_subsystem_add_host": _host,
    "nvmf_subsystem_allow_any_host": _allow,
    "nvmf_subsystem_add_ns": _namespace,
    "nvmf_ns_add_host": _ns_host,
    "nvmf_subsystem_add_listener": _listener,
    "nvmf_subsystem_listener_set_ana_state": _ana,
}


# -- can it be executed? -----------------------------------------------------------------------------------------------


def check_document(document: t.Any, table: ReleaseTable | None = None) -> list[Call]:
    """Its calls, if a target can execute them in their order.

    Raises :class:`HopError` for a call or parameter that the release of ``table`` lacks, and for a name that is used but not
    made before: a cluster, a bdev, a key, a transport, a subsystem. One such entry ends a start, or is skipped with a line in the log only.
    """
    calls = calls_of(document)
    seen: dict[str, set[str]] = {kind: set() for kind in ("key", "cluster", "bdev", "controller", "transport", "subsystem", "masked")}
    any_host: set[str] = set()
    for call in calls:
        params = call.params
        name = str(params.get("name") or params.get("nqn") or params.get("trtype") or call.method)
        if table is not None:
            if call.method in METHODS:
                table.require(call.method, name)
                table.check_params(call.method, params, name)
                if call.method == "nvmf_create_transport":
                    table.check_transport_options(name, {key: value for key, value in params.items() if key not in ("trtype", "tgt_name")})
            elif table.methods is not None and call.wire not in table.methods:
                raise HopError(
                    f"the target has no {call.wire}",
                    obj=name,
                    hop="bdev",
                    call=call.wire,
                    cause=f"it runs SPDK {table.name}",
                    remedy="leave it out, or use a release and a build that have it",
                )
        try:
            _check_references(call, params, seen, any_host)
        except (KeyError, TypeError, AttributeError) as error:
            message = f"{call.wire} lacks the parameter {error}" if isinstance(error, KeyError) else f"a parameter of {call.wire} has the wrong type"
            raise HopError(message, obj=name, hop="bdev", call=call.wire, cause=repr(error), remedy="correct the call") from error
    return calls


def _check_references(call: Call, params: dict[str, t.Any], seen: dict[str, set[str]], any_host: set[str]) -> None:
    nqn = str(params.get("nqn") or "")

    def need(kind: str, name: t.Any, obj: str, hop: str) -> None:
        if str(name) not in seen[kind]:
            raise HopError(
                f"{kind} {name} is used, but not declared before", obj=obj, hop=hop, call=call.method, remedy=f"declare the {kind}, or correct the name"
            )

    def new(kind: str, name: str) -> None:
        if name in seen[kind]:
            raise HopError(f"{kind} {name} is declared twice", obj=name, hop="bdev", call=call.method, remedy="declare each once")
        seen[kind].add(name)

    _refuse_danger(call, params)
    if call.method == "bdev_rbd_register_cluster":
        new("cluster", params["name"])
        if any(key in SECRET_PARAMS for key in params.get("config_param") or {}):
            raise HopError("config_param holds a secret", obj=params["name"], hop="bdev", remedy="put the key into a keyring file and name it in key_file")
    elif call.method == "keyring_file_add_key":
        new("key", params["name"])
    elif call.method == "bdev_nvme_attach_controller":
        new("controller", params["name"])
    elif call.method == "bdev_rbd_create":
        if params.get("cluster_name"):
            need("cluster", params["cluster_name"], params["name"], "bdev")
        new("bdev", params["name"])
    elif re.match(r"bdev_\w+_create$|construct_\w+_bdev$", call.method) and params.get("name"):
        new("bdev", params["name"])
    elif call.method == "bdev_set_qos_limit":
        _need_bdev(params["name"], params["name"], seen, need)
    elif call.method == "nvmf_create_transport":
        new("transport", str(params["trtype"]).upper())
    elif call.method == "nvmf_create_subsystem":
        new("subsystem", nqn)
        if params.get("allow_any_host"):
            any_host.add(nqn)
    elif nqn and call.method.startswith("nvmf_"):
        need("subsystem", nqn, nqn, "namespace")
        if call.method == "nvmf_subsystem_add_ns":
            _need_bdev(params["namespace"]["bdev_name"], nqn, seen, need)
            if params["namespace"].get("no_auto_visible"):
                seen["masked"].add(ns_name(nqn, params["namespace"].get("nsid")))
        elif call.method == "nvmf_ns_add_host" and ns_name(nqn, params["nsid"]) not in seen["masked"]:
            raise HopError(
                f"hosts are given to namespace {params['nsid']}, which every host of the subsystem sees",
                obj=nqn,
                hop="namespace",
                call=call.method,
                remedy="set auto_visible: false for the namespace, or leave its hosts out",
            )
        elif call.method == "nvmf_subsystem_add_host":
            for key in DEFAULTS["host"]:
                if params.get(key) and not (key == "psk" and str(params[key]).startswith("/")):  # a file's path up to 24.05
                    need("key", params[key], f"{nqn} host {params['host']}", "path")
        elif call.method == "nvmf_subsystem_add_listener":
            need("transport", str(params["listen_address"]["trtype"]).upper(), nqn, "path")
            if params.get("secure_channel") and nqn in any_host:
                raise HopError(
                    "a listener with secure_channel does not go with allow_any_host",
                    obj=nqn,
                    hop="path",
                    call=call.method,
                    remedy="name the hosts and their keys, and set allow_any_host: false",
                )


def _refuse_danger(call: Call, params: t.Mapping[str, t.Any]) -> None:
    """Raise for what ends a target, or cuts an image, at every start."""

    def bad(message: str, remedy: str, cause: str) -> HopError:
        return HopError(message, obj=str(params.get("name") or call.wire), hop="bdev", call=call.wire, cause=cause, remedy=remedy)

    if call.method == "bdev_rbd_register_cluster" and not params["name"]:
        raise bad("the cluster has no name", "give it a name", "SPDK before 26.05 ends at once when a cluster without a name is registered")
    if call.method == "bdev_rbd_create" and params["block_size"] < MIN_BLOCK_SIZE:
        raise bad(f"block_size {params['block_size']} is below {MIN_BLOCK_SIZE}", "use 512 or 4096", "SPDK before 26.05 ends at once with a block_size of 0")
    if call.method in RESIZES:
        raise bad("an image is not resized by a start-up file", "leave the call out", "every start would repeat it, and cut what grew meanwhile")


def _need_bdev(name: str, obj: str, seen: dict[str, set[str]], need: t.Callable[[str, t.Any, str, str], None]) -> None:
    """A bdev that was made, or one of a local controller (Nvme0n1 of Nvme0), whose number only the device knows."""
    match = re.match(r"(.+)n[0-9]+(p[0-9]+)?$", str(name))
    if not (match and match.group(1) in seen["controller"]):
        need("bdev", name, obj, "namespace")
