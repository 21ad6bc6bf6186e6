# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What each SPDK release has, as data: methods, parameters, transport options and other behaviour.

A release is ``(major, minor)``, such as ``(26, 5)`` for 26.05. The tables cover 19.01 to 26.05 and the development branch
(26.09-pre), and were read from SPDK's decoders at every release tag; 19.01.1, 23.01 and 26.05 were also measured. There is
no release 25.01. Asked through :class:`_spdk_release.ReleaseTable`.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

Release = t.Tuple[int, int]

#: Every release of these tables, oldest first; the last is the development branch, whose version says 26.09-pre.
RELEASES: tuple[Release, ...] = (
    *((19, 1), (19, 4), (19, 7), (19, 10), (20, 1), (20, 4), (20, 7), (20, 10), (21, 1), (21, 4), (21, 7), (21, 10)),
    *((22, 1), (22, 5), (22, 9), (23, 1), (23, 5), (23, 9), (24, 1), (24, 5), (24, 9), (25, 5), (25, 9), (26, 1), (26, 5), (26, 9)),
)
#: The oldest release in these tables; it has no version call and is known by that.
OLDEST: Release = RELEASES[0]
#: The newest release in these tables.
NEWEST: Release = RELEASES[-1]
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
    """One method: its releases, its older name (None: there was none), the spans of its parameters, when it may be called."""

    span: Span = Span()
    legacy: str | None = None
    params: dict[str, Span] = field(default_factory=dict)
    #: The first release with the present name.
    renamed: Release = RENAMED
    #: Only before framework_start_init (a target started with --wait-for-rpc, or its start-up configuration).
    startup: bool = False


def _params(always: str = "", **since: Release | Span | None) -> dict[str, Span]:
    """Spans by name: ``always`` lists names that were always there, ``since`` gives a first release or a span."""
    table = {name: Span() for name in always.split()}
    for name, value in since.items():
        table[name] = value if isinstance(value, Span) else Span(value)
    return table


_TGT = Span((19, 10))
_LISTENER = "listen_address listen_address.trtype listen_address.adrfam listen_address.traddr listen_address.trsvcid"
_ADDRESS = "address address.trtype address.adrfam address.traddr address.trsvcid"

#: Methods by their present name.
METHODS: dict[str, Method] = {
    # -- the target as a process
    "rpc_get_methods": Method(Span(), "get_rpc_methods", _params("current", include_aliases=(19, 10)), renamed=(19, 7)),
    "spdk_get_version": Method(Span((19, 4)), "get_spdk_version"),
    "framework_start_init": Method(Span(), "start_subsystem_init", startup=True),
    "framework_wait_init": Method(Span(), "wait_subsystem_init"),
    "framework_get_config": Method(Span(), "get_subsystem_config", _params("name", with_batches=(26, 5))),
    # -- keys
    "keyring_file_add_key": Method(Span((24, 5)), None, _params("name path")),
    "keyring_file_remove_key": Method(Span((24, 5)), None, _params("name")),
    "keyring_get_keys": Method(Span((24, 5))),
    # -- bdevs
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
    "bdev_rbd_resize": Method(Span((20, 4)), None, _params("name new_size")),  # new_size in MiB
    # In no release: a patch for 19.01 that was never merged, known by the target's list. The patch sends bytes, a
    # forerunner MiB, so the unit of `size` must be declared.
    "resize_rbd_bdev": Method(Span(None), None, _params("name size")),
    "bdev_rbd_register_cluster": Method(
        Span((21, 7)),
        None,
        # config_file came in 21.07 with a wrong decoder and works from 22.01 on
        _params(name=(21, 7), user_id=(21, 7), config_param=(21, 7), config_file=(22, 1), key_file=(22, 1), core_mask=(23, 5)),
    ),
    "bdev_rbd_unregister_cluster": Method(Span((21, 7)), None, _params("name")),
    "bdev_rbd_get_clusters_info": Method(Span((21, 7)), None, _params("name")),
    "bdev_nvme_attach_controller": Method(
        Span(),
        "construct_nvme_bdev",
        _params(
            "name trtype traddr adrfam trsvcid subnqn hostnqn hostaddr hostsvcid",
            prchk_reftag=(19, 4),
            prchk_guard=(19, 4),
            priority=(20, 4),
            hdgst=(21, 4),
            ddgst=(21, 4),
            multipath=(21, 10),
            fabrics_connect_timeout_us=(21, 10),
            num_io_queues=(22, 1),
            ctrlr_loss_timeout_sec=(22, 1),
            reconnect_delay_sec=(22, 1),
            fast_io_fail_timeout_sec=(22, 1),
            psk=(22, 9),
            max_bdevs=(23, 5),
            dhchap_key=(24, 5),
            dhchap_ctrlr_key=(24, 5),
            allow_unrecognized_csi=(24, 9),
            multipath_opts=(26, 5),
            disable_sq_flow_control=(26, 9),
        ),
    ),
    "bdev_nvme_detach_controller": Method(
        Span(),
        "delete_nvme_controller",
        _params("name", trtype=(20, 10), traddr=(20, 10), adrfam=(20, 10), trsvcid=(20, 10), subnqn=(20, 10), hostaddr=(21, 10), hostsvcid=(21, 10)),
    ),
    "bdev_nvme_get_controllers": Method(Span(), "get_nvme_controllers", _params("name")),
    # -- the NVMe-oF target as a whole
    "nvmf_set_max_subsystems": Method(Span(), "set_nvmf_target_max_subsystems", _params("max_subsystems"), startup=True),
    "nvmf_set_config": Method(
        Span(),
        "set_nvmf_target_config",
        _params(
            acceptor_poll_rate=Span(ALWAYS, (22, 1)),
            conn_sched=Span(ALWAYS, (22, 5)),
            admin_cmd_passthru=(20, 1),
            poll_groups_mask=(26, 5),
            discovery_filter=(21, 10),
            dhchap_digests=(24, 5),
            dhchap_dhgroups=(24, 5),
            dup_host_policy=(26, 5),
            discovery_filters=(26, 9),
        ),
        startup=True,
    ),
    "nvmf_set_crdt": Method(Span((21, 7)), None, _params("crdt1 crdt2 crdt3"), startup=True),
    # its other parameters are TRANSPORT_OPTIONS
    "nvmf_create_transport": Method(Span(), "nvmf_create_transport", _params("trtype", tgt_name=_TGT)),
    "nvmf_get_transports": Method(Span(), "get_nvmf_transports", _params(tgt_name=_TGT, trtype=(21, 10))),
    "nvmf_discovery_add_referral": Method(Span((24, 1)), None, _params(f"{_ADDRESS} secure_channel subnqn", tgt_name=_TGT)),
    "nvmf_discovery_remove_referral": Method(Span((24, 1)), None, _params(f"{_ADDRESS} subnqn", tgt_name=_TGT, secure_channel=Span((24, 1), (26, 1)))),
    "nvmf_discovery_get_referrals": Method(Span((24, 1)), None, _params(tgt_name=_TGT)),
    # -- subsystems
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
            max_discard_size_kib=Span((24, 1), (26, 9)),
            max_write_zeroes_size_kib=Span((24, 1), (26, 9)),
            dmrsl=(26, 5),
            wzsl=(26, 5),
            admin_label=(26, 9),
        ),
    ),
    "nvmf_delete_subsystem": Method(Span(), "delete_nvmf_subsystem", _params("nqn", tgt_name=_TGT)),
    "nvmf_get_subsystems": Method(Span(), "get_nvmf_subsystems", _params(tgt_name=_TGT, nqn=(21, 10))),
    "nvmf_subsystem_add_listener": Method(
        Span(),
        "nvmf_subsystem_add_listener",
        _params(f"nqn {_LISTENER}", tgt_name=_TGT, secure_channel=(23, 5), ana_state=(24, 1), sock_impl=(24, 9), numa_id=(26, 5)),
    ),
    "nvmf_subsystem_remove_listener": Method(Span(), "nvmf_subsystem_remove_listener", _params(f"nqn {_LISTENER}", tgt_name=_TGT)),
    "nvmf_subsystem_listener_set_ana_state": Method(Span((20, 10)), None, _params(f"nqn {_LISTENER} ana_state", tgt_name=_TGT, anagrpid=(21, 10))),
    "nvmf_subsystem_get_listeners": Method(Span((20, 10)), None, _params("nqn", tgt_name=_TGT)),
    "nvmf_subsystem_get_controllers": Method(Span((20, 10)), None, _params("nqn", tgt_name=_TGT)),
    "nvmf_subsystem_get_qpairs": Method(Span((20, 10)), None, _params("nqn", tgt_name=_TGT)),
    "nvmf_subsystem_add_ns": Method(
        Span(),
        "nvmf_subsystem_add_ns",
        {
            **_params("nqn namespace namespace.bdev_name namespace.nsid namespace.nguid namespace.eui64 namespace.uuid", tgt_name=_TGT),
            "namespace.ptpl_file": Span((19, 7)),
            "namespace.anagrpid": Span((21, 10)),
            "namespace.no_auto_visible": Span((24, 5)),
            "namespace.hide_metadata": Span((25, 5)),
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
    # psk of nvmf_subsystem_add_host names a key of the keyring; a file's path in 23.05 and 24.01.
    "psk_is_key": Span((24, 5)),
    # ... the path was taken beside the name until 24.09.
    "psk_is_path": Span((23, 5), (24, 9)),
    # framework_get_config shows the PSK of a host; whether older releases do is not known.
    "shows_psk": Span((24, 5)),
    # supported_io_types tells a read-only RBD bdev.
    "shows_read_only": Span((25, 9)),
    "large_requests": Span((26, 5)),
    # A bdev that is deleted while the news of a new image size is under way can end the target.
    "delete_races_resize": Span((24, 1), (26, 9)),
    # An unused bdev holds no watcher, so its image can be removed; a namespace of it then ends the target (seen in 23.01).
    "unused_bdev_unwatched": Span(ALWAYS, (24, 1)),
}
