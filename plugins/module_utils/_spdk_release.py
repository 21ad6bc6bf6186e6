# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What each SPDK release calls things: names, parameters and hazards as data.

A release is ``(major, minor)``, such as ``(26, 5)`` for 26.05. The tables cover 19.01 to 26.05 and were read from SPDK's
decoders at every release tag; 19.01.1, 23.01 and 26.05 were also measured. There is no release 25.01.
The only question other code asks is "does this target have it": :class:`ReleaseTable`.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._jsonrpc import MAX_REQUEST, MAX_REQUEST_OLD

Release = t.Tuple[int, int]

#: The oldest release in these tables; it has no version call and is known by that.
OLDEST: Release = (19, 1)
#: "Since always", as far as these tables reach.
ALWAYS: Release = OLDEST
#: The release in which every method got its present name; until 22.01 the older names were answered, too.
RENAMED: Release = (19, 10)


@dataclass(frozen=True)
class Span:
    """The releases that have something: from ``since`` up to, but without, ``until``. ``since=None``: no release has it."""

    since: Release | None = ALWAYS
    until: Release | None = None

    def holds(self, release: Release) -> bool:
        return self.since is not None and self.since <= release and (self.until is None or release < self.until)


@dataclass(frozen=True)
class Method:
    """One method: its releases, its name before 19.10 (None: there was none) and the spans of its parameters."""

    span: Span = Span()
    legacy: str | None = None
    params: dict[str, Span] = field(default_factory=dict)


def _params(always: str = "", **since: Release | Span | None) -> dict[str, Span]:
    """Spans by name: ``always`` lists names that were always there, ``since`` gives a first release or a span."""
    table = {name: Span() for name in always.split()}
    for name, value in since.items():
        table[name] = value if isinstance(value, Span) else Span(value)
    return table


_TGT = Span((19, 10))

#: Methods by their present name.
METHODS: dict[str, Method] = {
    "rpc_get_methods": Method(Span(), "get_rpc_methods", _params("current", include_aliases=(19, 10))),
    "spdk_get_version": Method(Span((19, 4)), "get_spdk_version"),
    "framework_wait_init": Method(Span(), "wait_subsystem_init"),
    "framework_get_config": Method(Span(), "get_subsystem_config", _params("name", with_batches=(26, 5))),
    "bdev_get_bdevs": Method(Span(), "get_bdevs", _params("name", timeout=(22, 5))),
    "bdev_set_qos_limit": Method(Span(), "set_bdev_qos_limit", _params("name rw_ios_per_sec rw_mbytes_per_sec r_mbytes_per_sec w_mbytes_per_sec")),
    "bdev_rbd_create": Method(
        Span(),
        "construct_rbd_bdev",
        _params(
            "name pool_name rbd_name block_size user_id config",
            cluster_name=(21, 7),
            uuid=(21, 10),
            read_only=(25, 9),
            namespace_name=None,
        ),
    ),
    "bdev_rbd_delete": Method(Span(), "delete_rbd_bdev", _params("name")),
    "bdev_rbd_resize": Method(Span((20, 4)), None, _params("name new_size")),
    "bdev_rbd_register_cluster": Method(
        Span((21, 7)),
        None,
        # config_file came in 21.07 with a wrong decoder and works from 22.01 on
        _params(name=(21, 7), user_id=(21, 7), config_param=(21, 7), config_file=(22, 1), key_file=(22, 1), core_mask=(23, 5)),
    ),
    "bdev_rbd_unregister_cluster": Method(Span((21, 7)), None, _params("name")),
    "bdev_rbd_get_clusters_info": Method(Span((21, 7)), None, _params("name")),
    "nvmf_create_transport": Method(Span(), "nvmf_create_transport"),
    "nvmf_get_transports": Method(Span(), "get_nvmf_transports", _params(tgt_name=_TGT, trtype=(21, 10))),
    "nvmf_create_subsystem": Method(
        Span(),
        "nvmf_subsystem_create",
        _params(
            "nqn serial_number allow_any_host max_namespaces",
            model_number=(19, 4),
            tgt_name=_TGT,
            ana_reporting=(20, 10),
            min_cntlid=(21, 7),
            max_cntlid=(21, 7),
            passthrough=(24, 9),
            enable_nssr=(25, 9),
            max_discard_size_kib=(24, 1),
            max_write_zeroes_size_kib=(24, 1),
            dmrsl=(26, 5),
            wzsl=(26, 5),
        ),
    ),
    "nvmf_delete_subsystem": Method(Span(), "delete_nvmf_subsystem", _params("nqn", tgt_name=_TGT)),
    "nvmf_get_subsystems": Method(Span(), "get_nvmf_subsystems", _params(tgt_name=_TGT, nqn=(21, 10))),
    "nvmf_subsystem_add_listener": Method(
        Span(),
        "nvmf_subsystem_add_listener",
        _params("nqn listen_address", tgt_name=_TGT, secure_channel=(23, 5), ana_state=(24, 1), sock_impl=(24, 9), numa_id=(26, 5)),
    ),
    "nvmf_subsystem_remove_listener": Method(Span(), "nvmf_subsystem_remove_listener", _params("nqn listen_address", tgt_name=_TGT)),
    "nvmf_subsystem_listener_set_ana_state": Method(Span((20, 10)), None, _params("nqn listen_address ana_state", tgt_name=_TGT, anagrpid=(21, 10))),
    "nvmf_subsystem_get_listeners": Method(Span((20, 10)), None, _params("nqn", tgt_name=_TGT)),
    "nvmf_subsystem_get_controllers": Method(Span((20, 10)), None, _params("nqn", tgt_name=_TGT)),
    "nvmf_subsystem_add_ns": Method(
        Span(),
        "nvmf_subsystem_add_ns",
        {
            **_params("nqn namespace namespace.bdev_name namespace.nsid namespace.nguid namespace.eui64 namespace.uuid", tgt_name=_TGT),
            "namespace.ptpl_file": Span((19, 7)),
            "namespace.anagrpid": Span((21, 10)),
            "namespace.no_auto_visible": Span((24, 5)),
        },
    ),
    "nvmf_subsystem_remove_ns": Method(Span(), "nvmf_subsystem_remove_ns", _params("nqn nsid", tgt_name=_TGT)),
    "nvmf_subsystem_set_ns_ana_group": Method(Span((24, 9)), None, _params("nqn nsid anagrpid", tgt_name=_TGT)),
    "nvmf_ns_add_host": Method(Span((24, 5)), None, _params("nqn nsid host", tgt_name=_TGT)),
    "nvmf_ns_remove_host": Method(Span((24, 5)), None, _params("nqn nsid host", tgt_name=_TGT)),
    "nvmf_subsystem_add_host": Method(
        Span(), "nvmf_subsystem_add_host", _params("nqn host", tgt_name=_TGT, psk=(23, 5), dhchap_key=(24, 5), dhchap_ctrlr_key=(24, 5))
    ),
    "nvmf_subsystem_remove_host": Method(Span(), "nvmf_subsystem_remove_host", _params("nqn host", tgt_name=_TGT, timeout_ms=(26, 5))),
    "nvmf_subsystem_set_keys": Method(Span((24, 9)), None, _params("nqn host dhchap_key dhchap_ctrlr_key", tgt_name=_TGT)),
    "nvmf_subsystem_allow_any_host": Method(Span(), "nvmf_subsystem_allow_any_host", _params("nqn allow_any_host", tgt_name=_TGT)),
}

#: Options of nvmf_create_transport: releases, and type as the target decodes it. The decoder ignores unknown keys from
#: 20.10 on, so this table is the only thing that notices a mistyped name.
TRANSPORT_OPTIONS: dict[str, tuple[Span, type]] = {
    "max_queue_depth": (Span(), int),
    "max_qpairs_per_ctrlr": (Span(ALWAYS, (22, 5)), int),
    "max_io_qpairs_per_ctrlr": (Span((20, 7)), int),
    "in_capsule_data_size": (Span(), int),
    "max_io_size": (Span(), int),
    "io_unit_size": (Span(), int),
    "max_aq_depth": (Span(), int),
    "num_shared_buffers": (Span(), int),
    "buf_cache_size": (Span(), int),
    "max_srq_depth": (Span((19, 4)), int),
    "no_srq": (Span((19, 7)), bool),
    "c2h_success": (Span((19, 7)), bool),
    "dif_insert_or_strip": (Span((19, 7)), bool),
    "sock_priority": (Span((19, 7)), int),
    "acceptor_backlog": (Span((20, 7)), int),
    "abort_timeout_sec": (Span((20, 7)), int),
    "no_wr_batching": (Span((20, 10)), bool),
    "control_msg_num": (Span((20, 10)), int),
    "num_cqe": (Span((21, 1)), int),
    "zcopy": (Span((22, 1)), bool),
    "acceptor_poll_rate": (Span((22, 1)), int),
    "ack_timeout": (Span((24, 5)), int),
    "data_wr_pool_size": (Span((24, 5)), int),
    "disable_command_passthru": (Span((24, 9)), bool),
    "kas": (Span((25, 5)), int),
    "min_kato": (Span((25, 5)), int),
    "masked_oncs": (Span((26, 1)), list),
    "masked_fuses": (Span((26, 1)), list),
    "iobuf_small_cache_size": (Span((26, 5)), int),
    "iobuf_large_cache_size": (Span((26, 5)), int),
    "disable_mappable_bar0": (Span((26, 5)), bool),
    "disable_adaptive_irq": (Span((26, 5)), bool),
    "disable_shadow_doorbells": (Span((26, 5)), bool),
}

#: Behaviour other than names: ``traits`` a caller asks for with :meth:`ReleaseTable.is_so`.
TRAITS: dict[str, Span] = {
    # An image grown in Ceph moves the bdev by itself (rbd_update_watch, 24.01).
    "follows_image": Span((24, 1)),
    # Two changes of one subsystem at once fail with "Internal error" (EBUSY); queued from 24.05 on.
    "subsystem_busy": Span((20, 10), (24, 5)),
    # Creating a bdev of a missing image answers success with a bdev of 0 blocks (fixed in 22.09).
    "creates_empty_bdev": Span((21, 10), (22, 9)),
    # A failed deletion answers false in place of an error (fixed in 22.05).
    "false_is_failure": Span(ALWAYS, (22, 5)),
    # A namespace's NGUID follows its bdev's UUID if not given.
    "nguid_from_uuid": Span((21, 10)),
    # ANA state as one word per listener; a list per ANA group from 21.10 on.
    "ana_state_scalar": Span((20, 10), (21, 10)),
    # supported_io_types tells a read-only RBD bdev.
    "shows_read_only": Span((25, 9)),
    "large_requests": Span((26, 5)),
}


def release_name(release: Release) -> str:
    """``26.05`` for ``(26, 5)``."""
    return f"{release[0]}.{release[1]:02d}"


class UnsupportedError(HopError):
    """The running release lacks a method or a parameter that was asked for."""


class ReleaseTable:
    """What one running target has. ``methods`` are the names it listed itself (None: unknown), which also shows how it was built."""

    def __init__(self, release: Release, methods: t.Collection[str] | None = None, socket: str = "the target") -> None:
        self.release = release
        self.methods = None if methods is None else frozenset(methods)
        self.socket = socket

    @property
    def name(self) -> str:
        return release_name(self.release)

    @property
    def max_request(self) -> int:
        """Largest request in bytes."""
        return MAX_REQUEST if self.is_so("large_requests") else MAX_REQUEST_OLD

    def is_so(self, trait: str) -> bool:
        return TRAITS[trait].holds(self.release)

    def wire_name(self, method: str) -> str | None:
        """The name to send for ``method``, or None if this target has none."""
        known = METHODS[method]
        if self.methods is not None:
            if method in self.methods:
                return method
            if known.legacy is not None and known.legacy in self.methods:
                return known.legacy
            return None
        if not known.span.holds(self.release):
            return None
        return method if known.legacy is None or self.release >= RENAMED else known.legacy

    def has(self, method: str, param: str | None = None) -> bool:
        if self.wire_name(method) is None:
            return False
        return param is None or METHODS[method].params.get(param, Span(None)).holds(self.release)

    def require(self, method: str, obj: str, hop: str = "bdev") -> str:
        """The name to send, or an :class:`UnsupportedError` that names the release that has the method."""
        name = self.wire_name(method)
        if name is not None:
            return name
        span = METHODS[method].span
        if span.holds(self.release):
            cause = f"the target runs SPDK {self.name} and does not list {method}"
            remedy = "run a target that was built with it" + (" (configure --with-rbd)" if "_rbd_" in method else "")
        else:
            cause = f"the target runs SPDK {self.name}"
            remedy = f"upgrade SPDK to {release_name(span.since)} or later" if span.since and span.since > self.release else "use another release"
        raise UnsupportedError(f"this SPDK release has no {method}", obj=obj, hop=hop, call=method, cause=cause, remedy=remedy)

    def check_params(self, method: str, params: t.Mapping[str, t.Any], obj: str, hop: str = "bdev") -> None:
        """Raise an :class:`UnsupportedError` for a parameter this release lacks; nothing is ever dropped silently."""
        table = METHODS[method].params
        names = [name for name, value in params.items() if value is not None]
        for name in list(names):
            if isinstance(params[name], dict):
                names += [f"{name}.{inner}" for inner in params[name] if f"{name}.{inner}" in table]
        if method == "nvmf_create_transport":
            return
        for name in names:
            span = table.get(name)
            if span is None:
                raise UnsupportedError(f"{method} has no parameter {name}", obj=obj, hop=hop, call=method, remedy="leave the option out")
            if not span.holds(self.release):
                if span.since is None:
                    remedy = "no SPDK release has it up to 26.05; leave the option out"
                elif span.since > self.release:
                    remedy = f"upgrade SPDK to {release_name(span.since)} or later, or leave the option out"
                else:
                    remedy = "leave the option out"
                raise UnsupportedError(
                    f"{method} has no parameter {name} in SPDK {self.name}",
                    obj=obj,
                    hop=hop,
                    call=method,
                    cause=f"the target {self.socket} runs SPDK {self.name}",
                    remedy=remedy,
                )

    def check_transport_options(self, trtype: str, options: t.Mapping[str, t.Any]) -> None:
        """Raise an :class:`UnsupportedError` or :class:`HopError` for an option that is unknown here or of the wrong type."""
        for name, value in options.items():
            known = TRANSPORT_OPTIONS.get(name)
            if known is None:
                raise UnsupportedError(
                    f"nvmf_create_transport has no option {name}",
                    obj=trtype,
                    hop="path",
                    call="nvmf_create_transport",
                    cause="SPDK would ignore it silently",
                    remedy="correct the name; known are " + ", ".join(sorted(n for n, (span, k) in TRANSPORT_OPTIONS.items() if span.holds(self.release))),
                )
            span, kind = known
            if not span.holds(self.release):
                newer = span.since is not None and span.since > self.release
                raise UnsupportedError(
                    f"nvmf_create_transport has no option {name} in SPDK {self.name}",
                    obj=trtype,
                    hop="path",
                    call="nvmf_create_transport",
                    cause="SPDK would ignore it silently",
                    remedy=f"upgrade SPDK to {release_name(span.since)} or later" if newer and span.since else "leave the option out",
                )
            if (kind is int and (isinstance(value, bool) or not isinstance(value, int))) or not isinstance(value, kind):
                raise HopError(
                    f"the option {name} must be a {'whole number' if kind is int else 'boolean' if kind is bool else 'list'}, not {value!r}",
                    obj=trtype,
                    hop="path",
                    call="nvmf_create_transport",
                    remedy="correct the value",
                )
