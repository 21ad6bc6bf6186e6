# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_config import masked
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_drift import NOT_READABLE, Live, compare, restart_reasons
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import ReleaseTable
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_startup import calls_of, check_document, config_calls, objects_of
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_facts import DISCOVERY_NQN

NQN = "nqn.2016-06.io.spdk:cnode1"
ADDRESS = {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": "4420"}

#: as 19.01.1 answered get_subsystem_config
OLD = [
    {"method": "set_nvmf_target_max_subsystems", "params": {"max_subsystems": 1024}},
    {"method": "nvmf_create_transport", "params": {"trtype": "TCP", "max_queue_depth": 128, "max_qpairs_per_ctrlr": 64}},
    {"method": "nvmf_subsystem_create", "params": {"nqn": NQN, "allow_any_host": False, "serial_number": "SPDK00000000000001", "max_namespaces": 20}},
    {"method": "nvmf_subsystem_add_listener", "params": {"nqn": NQN, "listen_address": ADDRESS}},
    {"method": "nvmf_subsystem_add_host", "params": {"nqn": NQN, "host": "nqn.2016-06.io.spdk:init"}},
    {"method": "nvmf_subsystem_add_ns", "params": {"nqn": NQN, "namespace": {"nsid": 1, "bdev_name": "Ceph0"}}},
]


def document(*calls, section="nvmf"):
    return {"subsystems": [{"subsystem": section, "config": [{"method": method, "params": params} for method, params in calls]}]}


def test_old_and_present_names_make_the_same_objects():
    new = [dict(entry) for entry in OLD]
    new[0]["method"], new[2]["method"] = "nvmf_set_max_subsystems", "nvmf_create_subsystem"
    assert objects_of(config_calls("nvmf", OLD)) == objects_of(config_calls("nvmf", [new])), "a batch (26.05) is its calls"
    old = objects_of(
        config_calls("bdev", [{"method": "construct_rbd_bdev", "params": {"name": "Ceph0", "pool_name": "p", "rbd_name": "i", "block_size": 512}}])
    )
    assert old == {("bdev", "Ceph0"): {"pool_name": "p", "rbd_name": "i", "block_size": 512}}
    assert ("other bdev", "Null0") in objects_of(config_calls("bdev", [{"method": "construct_null_bdev", "params": {"name": "Null0"}}]))


def test_what_is_hidden_is_neither_equal_nor_a_drift():
    bdev = {"pool_name": "p", "rbd_name": "i", "cluster_name": "ceph", "read_only": True}
    live = Live({("bdev", "a"): {"pool_name": "p", "rbd_name": "i"}}, frozenset({("bdev", "cluster_name"), ("bdev", "read_only")}))
    drifts, unread = compare({("bdev", "a"): bdev}, None, live)
    assert drifts == []
    assert unread == [{"kind": "bdev", "attribute": "cluster_name", "objects": ["a"]}, {"kind": "bdev", "attribute": "read_only", "objects": ["a"]}]
    # in a drift of another attribute of the file it is said as well
    ((drift,), _unread) = compare({("bdev", "a"): bdev}, {("bdev", "a"): {**bdev, "cluster_name": "other"}}, live)
    assert drift["saved"] == {"cluster_name": "other"} and drift["live"] == {"cluster_name": NOT_READABLE}


@pytest.mark.parametrize(
    ("kind", "declared", "live", "differs"),
    [
        ("host", {}, {"psk": "k"}, {"psk"}),
        ("host", {"dhchap_key": "k"}, {}, {"dhchap_key"}),
        ("namespace", {"bdev_name": "a", "hosts": []}, {"bdev_name": "a", "no_auto_visible": False, "hosts": []}, None),
        ("namespace", {"bdev_name": "a", "no_auto_visible": True, "hosts": ["h"]}, {"bdev_name": "a", "hosts": []}, {"no_auto_visible", "hosts"}),
        ("transport", {"max_io_size": 1}, {"max_io_size": 1, "zcopy": False}, None),
        ("subsystem", {"serial_number": "a"}, {"serial_number": "a", "allow_any_host": True}, {"allow_any_host"}),
        ("setting", {"admin_cmd_passthru": {"sanitize": True}}, {"admin_cmd_passthru": {"sanitize": True, "nvme_mi": False}}, None),
        ("listener", {"ana_states": {}}, {"ana_states": {1: "optimized", 2: "optimized"}}, None),
        ("listener", {"ana_states": {0: "inaccessible", 2: "optimized"}}, {"ana_states": {1: "inaccessible", 2: "optimized"}}, None),
        ("listener", {"ana_states": {0: "inaccessible"}}, {"ana_states": {1: "inaccessible", 2: "optimized"}}, {"ana_states"}),
        ("listener", {"ana_states": {}}, {"ana_states": {}, "secure_channel": True}, {"secure_channel"}),
        ("cluster", {"config_param": {"a": "1"}}, {"config_param": {"a": "1", "b": "2"}}, None),
        ("cluster", {"config_param": {"a": "1"}}, {}, {"config_param"}),
        ("bdev", {"rw_ios_per_sec": 0}, {}, None),
        ("bdev", {}, {"rw_ios_per_sec": 1000}, {"rw_ios_per_sec"}),
    ],
)
def test_attributes_compared_with_the_target(kind, declared, live, differs):
    drifts, _unread = compare({(kind, "x"): declared}, None, Live({(kind, "x"): live}, frozenset()))
    assert [set(drift["declared"]) for drift in drifts] == ([] if differs is None else [differs])


def test_objects_that_only_one_side_has():
    live = Live({("bdev", "by-hand"): {}, ("setting", "nvmf_set_crdt"): {"crdt1": 0}, ("call", "bdev_set_options"): {}}, frozenset())
    saved = {("bdev", "old"): {}, ("setting", "nvmf_set_config"): {"x": 1}}
    drifts, _unread = compare({("bdev", "a"): {}}, saved, live)
    found = {drift["object"]: [drift[side] is not None for side in ("declared", "saved", "live")] for drift in drifts}
    # what a target has of itself is no drift; what the file has and nobody declared is one
    assert found == {"a": [True, False, False], "by-hand": [False, False, True], "old": [False, True, False], "nvmf_set_config": [False, True, False]}


def test_only_what_a_start_brings_needs_one():
    drifts, _unread = compare(
        {("setting", "nvmf_set_crdt"): {"crdt1": 1}, ("cluster", "c"): {"user_id": "a"}, ("bdev", "a"): {"read_only": True}, ("key", "k"): {"path": "/k"}},
        None,
        Live({("setting", "nvmf_set_crdt"): {"crdt1": 0}, ("cluster", "c"): {"user_id": "b"}, ("bdev", "a"): {"read_only": False}}, frozenset()),
    )
    assert len(drifts) == 4 and restart_reasons(drifts) == ["nvmf_set_crdt differs in crdt1", "cluster c differs in user_id"]


def test_secrets_of_a_file_are_not_shown():
    call = ("bdev_rbd_register_cluster", {"name": "c", "config_param": {"key": "AQsecret==", "mon_host": "a"}})
    own = ("bdev_rbd_create", {"name": "b", "pool_name": "p", "rbd_name": "i", "block_size": 512, "config": {"key": "AQsecret=="}})
    content = document(call, own, section="bdev")
    assert "AQsecret" not in str(masked(content)) and "mon_host" in str(masked(content))
    assert "AQsecret" not in str(objects_of(calls_of(content)))
    with pytest.raises(HopError) as caught:
        check_document(content)
    assert "AQsecret" not in str(caught.value) and "key_file" in caught.value.remedy


@pytest.mark.parametrize(
    "broken", [None, [], {}, {"subsystems": {}}, {"subsystems": [{}]}, {"subsystems": [{"subsystem": "bdev", "config": [{"params": {}}]}]}]
)
def test_what_spdk_could_not_read(broken):
    with pytest.raises(HopError, match="start-up document"):
        calls_of(broken)


def test_a_method_that_the_target_does_not_list():
    table = ReleaseTable((26, 5), ["sock_set_default_impl", "nvmf_create_transport"])
    check_document(document(("sock_set_default_impl", {"impl_name": "ssl"}), ("nvmf_create_transport", {"trtype": "TCP", "zcopy": True})), table)
    for call in (("sock_impl_set_options", {}), ("nvmf_set_crdt", {"crdt1": 1}), ("nvmf_create_transport", {"trtype": "TCP", "zcop": True})):
        with pytest.raises(HopError):
            check_document(document(call), table)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("bdev_rbd_create", {"name": "a", "pool_name": "p", "rbd_name": "i", "block_size": 0}), "block_size 0 is below 512"),
        (("construct_rbd_bdev", {"name": "a", "pool_name": "p", "rbd_name": "i", "block_size": 511}), "block_size 511 is below 512"),
        (("bdev_rbd_create", {"name": "a", "pool_name": "p", "rbd_name": "i"}), "lacks the parameter 'block_size'"),
        (("bdev_rbd_create", {"name": "a", "pool_name": "p", "rbd_name": "i", "block_size": "512"}), "has the wrong type"),
        (("bdev_rbd_register_cluster", {"name": ""}), "has no name"),
        (("bdev_rbd_register_cluster", {"name": None}), "has no name"),
        (("bdev_rbd_register_cluster", {}), "lacks the parameter 'name'"),
        (("bdev_rbd_resize", {"name": "a", "new_size": 64}), "not resized by a start-up file"),
        (("resize_rbd_bdev", {"name": "a", "size": 64}), "not resized by a start-up file"),
        (("nvmf_delete_subsystem", {"nqn": DISCOVERY_NQN}), "not declared before"),
    ],
)
def test_what_would_end_a_target_or_cut_an_image_at_every_start(call, words):
    with pytest.raises(HopError) as caught:
        check_document(document(call, section="bdev"))
    assert words in caught.value.message and caught.value.remedy
