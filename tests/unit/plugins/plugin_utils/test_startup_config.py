# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""The start-up JSON holds what save_config loses, in an order that the target can execute."""

from __future__ import annotations

import pytest
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._startup_config import StartupConfigError, render

NQN = "nqn.2016-06.io.spdk:cnode1"
CLUSTERS = [{"name": "ceph", "user": "spdk", "config_file": "/etc/ceph/ceph.conf", "key_file": "/etc/ceph/ceph.client.spdk.keyring"}]
BDEVS = [{"name": "vol-1", "pool": "pool-1", "image": "vol-1", "cluster": "ceph", "read_only": True}]
SUBSYSTEMS = [
    {
        "nqn": NQN,
        "allow_any_host": False,
        "ana_reporting": True,
        "hosts": ["nqn.host:1"],
        "listeners": [{"traddr": "192.0.2.1", "trsvcid": 4420, "ana_state": "non_optimized"}, {"trtype": "tcp", "traddr": "fd00::1", "trsvcid": "4421"}],
        "namespaces": [{"bdev": "vol-1"}],
    }
]
FOUND_BDEVS = [{"name": "vol-1", "uuid": "0a1b2c3d-0000-5000-8000-000000000001"}]
FOUND_SUBSYSTEMS = [
    {
        "nqn": NQN,
        "serial_number": "S1",
        "max_namespaces": 64,
        "namespaces": [{"nsid": 3, "bdev": "vol-1", "uuid": "0a1b2c3d-0000-5000-8000-000000000001", "nguid": "0a1b2c3d000050008000000000000001"}],
    }
]


DECLARED = {"clusters": CLUSTERS, "transports": [{"trtype": "tcp"}], "bdevs": BDEVS, "subsystems": SUBSYSTEMS}
FOUND = {"bdevs": FOUND_BDEVS, "subsystems": FOUND_SUBSYSTEMS, "release": {"major": 26, "minor": 5}}


def release(major: int, minor: int) -> dict:
    return {**FOUND, "release": {"major": major, "minor": minor}}


def calls(content: dict) -> list[tuple[str, dict]]:
    return [(call["method"], call.get("params")) for part in content["subsystems"] for call in part["config"]]


def methods(content: dict) -> list[str]:
    return [method for method, _params in calls(content)]


def test_everything_is_there_in_order() -> None:
    bdev, nvmf = render(DECLARED, FOUND)["subsystems"]
    assert [call["method"] for call in bdev["config"]] == ["bdev_rbd_register_cluster", "bdev_rbd_create", "bdev_wait_for_examine"]
    assert bdev["config"][0]["params"] == {
        "name": "ceph",
        "user_id": "spdk",
        "config_file": "/etc/ceph/ceph.conf",
        "key_file": "/etc/ceph/ceph.client.spdk.keyring",
    }
    assert bdev["config"][1]["params"] == {
        "name": "vol-1",
        "pool_name": "pool-1",
        "rbd_name": "vol-1",
        "block_size": 512,
        "cluster_name": "ceph",
        "uuid": "0a1b2c3d-0000-5000-8000-000000000001",
        "read_only": True,
    }
    assert [call["method"] for call in nvmf["config"]] == [
        "nvmf_create_transport",
        "nvmf_create_subsystem",
        "nvmf_subsystem_add_host",
        "nvmf_subsystem_add_ns",
        "nvmf_subsystem_add_listener",
        "nvmf_subsystem_add_listener",
    ]
    assert nvmf["config"][3]["params"]["namespace"] == {
        "nsid": 3,
        "bdev_name": "vol-1",
        "uuid": "0a1b2c3d-0000-5000-8000-000000000001",
        "nguid": "0A1B2C3D000050008000000000000001",
    }
    assert nvmf["config"][4]["params"] == {
        "nqn": NQN,
        "listen_address": {"trtype": "TCP", "adrfam": "IPv4", "traddr": "192.0.2.1", "trsvcid": "4420"},
        "ana_state": "non_optimized",
    }
    assert nvmf["config"][5]["params"]["listen_address"]["adrfam"] == "IPv6"


def test_the_rest_that_can_be_declared() -> None:
    subsystem = {
        **SUBSYSTEMS[0],
        "enable_nssr": True,
        "hosts": [{"nqn": "nqn.host:1", "psk": "k1", "dhchap_key": "k2", "dhchap_ctrlr_key": "k3"}, "nqn.host:2"],
        "listeners": [{"traddr": "192.0.2.1", "secure_channel": True, "sock_impl": "ssl", "ana_states": [{"anagrpid": 2, "ana_state": "inaccessible"}]}],
        "namespaces": [{"bdev": "vol-1", "eui64": "0011223344556677", "ptpl_file": "/p", "anagrpid": 2, "auto_visible": False, "hosts": ["nqn.host:1"]}],
    }
    local = {"nqn": NQN + "b", "namespaces": [{"bdev": "Nvme0n1", "nsid": 1}]}
    content = render(
        {
            **DECLARED,
            "keys": [{"name": name, "path": f"/etc/spdk/{name}"} for name in ("k1", "k2", "k3")],
            "config_defaults": {"client_mount_timeout": 30},
            "bdevs": [{**BDEVS[0], "qos": {"rw_ios_per_sec": 1500, "r_mbytes_per_sec": 0}}],
            "controllers": [{"name": "Nvme0", "traddr": "0000:18:00.0"}],
            "subsystems": [subsystem, local],
            "referrals": [{"traddr": "192.0.2.7", "secure_channel": True}],
            "max_subsystems": 64,
            "nvmf_config": {"discovery_filter": "address"},
            "crdt": [1, 2, 3],
        },
        FOUND,
    )
    assert [part["subsystem"] for part in content["subsystems"]] == ["keyring", "bdev", "nvmf"]
    assert methods(content) == (
        ["keyring_file_add_key"] * 3
        + ["bdev_rbd_register_cluster", "bdev_nvme_attach_controller", "bdev_rbd_create", "bdev_set_qos_limit", "bdev_wait_for_examine"]
        + ["nvmf_set_config", "nvmf_set_max_subsystems", "nvmf_set_crdt", "nvmf_create_transport", "nvmf_discovery_add_referral"]
        + ["nvmf_create_subsystem"] * 2
        + ["nvmf_subsystem_add_host"] * 2
        + ["nvmf_subsystem_add_ns"] * 2
        + ["nvmf_ns_add_host", "nvmf_subsystem_add_listener", "nvmf_subsystem_listener_set_ana_state"]
    )
    found = dict(calls(content))
    assert found["bdev_rbd_register_cluster"]["config_param"] == {"client_mount_timeout": "30"}
    assert found["bdev_nvme_attach_controller"] == {"name": "Nvme0", "trtype": "PCIe", "traddr": "0000:18:00.0"}
    assert found["bdev_set_qos_limit"] == {"name": "vol-1", "rw_ios_per_sec": 2000}
    assert found["nvmf_discovery_add_referral"]["address"]["trsvcid"] == "8009" and found["nvmf_discovery_add_referral"]["secure_channel"]
    assert found["nvmf_set_crdt"] == {"crdt1": 1, "crdt2": 2, "crdt3": 3}
    hosts = [params for method, params in calls(content) if method == "nvmf_subsystem_add_host"]
    assert hosts[0] == {"nqn": NQN, "host": "nqn.host:1", "psk": "k1", "dhchap_key": "k2", "dhchap_ctrlr_key": "k3"}
    namespace = next(params for method, params in calls(content) if method == "nvmf_subsystem_add_ns")["namespace"]
    assert (namespace["no_auto_visible"], namespace["ptpl_file"], namespace["anagrpid"], namespace["eui64"]) == (True, "/p", 2, "0011223344556677")
    assert found["nvmf_ns_add_host"] == {"nqn": NQN, "nsid": 3, "host": "nqn.host:1"}
    assert found["nvmf_subsystem_add_listener"]["sock_impl"] == "ssl" and found["nvmf_subsystem_add_listener"]["secure_channel"] is True
    assert found["nvmf_subsystem_listener_set_ana_state"]["anagrpid"] == 2
    assert [params for method, params in calls(content) if method == "nvmf_create_subsystem"][0]["enable_nssr"] is True


def test_an_old_release_gets_its_own_names_and_nothing_it_lacks() -> None:
    subsystem = {"nqn": NQN, "listeners": [{"traddr": "192.0.2.1"}], "namespaces": [{"bdev": "vol-1"}]}
    bdev = {"name": "vol-1", "pool": "pool-1", "image": "vol-1", "qos": {"rw_ios_per_sec": 1000}}
    plain = {"bdevs": [bdev], "transports": [{"trtype": "TCP"}], "subsystems": [subsystem], "max_subsystems": 8}
    content = render(plain, release(19, 1))
    assert methods(content) == [
        "construct_rbd_bdev",
        "set_bdev_qos_limit",
        "set_nvmf_target_max_subsystems",
        "nvmf_create_transport",
        "nvmf_subsystem_create",
        "nvmf_subsystem_add_ns",
        "nvmf_subsystem_add_listener",
    ]
    assert "uuid" not in calls(content)[0][1] and dict(calls(content))["nvmf_subsystem_add_ns"]["namespace"]["uuid"] == FOUND_BDEVS[0]["uuid"]
    for lacking, words in (
        ({"clusters": [{**CLUSTERS[0], "config_file": "/etc/ceph/two.conf"}]}, "no config_file other than /etc/ceph/ceph.conf .*22.01 or later"),
        ({"bdevs": [{**bdev, "cluster": "gone"}]}, "the cluster gone is not declared"),
        ({"bdevs": [{**bdev, "read_only": True}]}, "no parameter read_only in SPDK 19.01"),
        ({"crdt": [1, 1, 1]}, "nvmf_set_crdt"),
        ({"keys": [{"name": "k", "path": "/k"}]}, "keyring_file_add_key"),
        ({"transports": [{"trtype": "TCP", "options": {"zcopy": True}}]}, "no option zcopy in SPDK 19.01"),
        ({"subsystems": [{**subsystem, "ana_reporting": True}]}, "no parameter ana_reporting"),
        ({"subsystems": [{**subsystem, "hosts": [{"nqn": "nqn.h:1", "dhchap_key": "k"}]}]}, "no parameter dhchap_key"),
    ):
        with pytest.raises(StartupConfigError, match=words):
            render({**plain, **lacking}, release(19, 1))


def test_before_21_07_the_file_opens_each_bdev_as_its_cluster_says() -> None:
    bdev = {**BDEVS[0], "read_only": False}
    declared = {"clusters": CLUSTERS, "bdevs": [bdev], "config_defaults": {"client_mount_timeout": 30}}
    content = render(declared, release(21, 4))
    assert methods(content) == ["bdev_rbd_create", "bdev_wait_for_examine"]
    assert calls(content)[0][1] == {"name": "vol-1", "pool_name": "pool-1", "rbd_name": "vol-1", "block_size": 512, "user_id": "spdk"}
    given = {"clusters": [{"name": "ceph", "config_param": {"mon_host": "192.0.2.1", "rbd_cache": False}, "key_file": "/k"}]}
    params = calls(render({**declared, **given}, release(21, 4)))[0][1]
    assert params["config"] == {"client_mount_timeout": "30", "mon_host": "192.0.2.1", "rbd_cache": "False", "keyring": "/k"}
    assert "user_id" not in params


def test_ana_states_before_a_listener_could_be_added_with_one() -> None:
    content = render(DECLARED | {"bdevs": [{**BDEVS[0], "read_only": False}]}, release(23, 9))
    assert methods(content)[-3:] == ["nvmf_subsystem_add_listener", "nvmf_subsystem_listener_set_ana_state", "nvmf_subsystem_add_listener"]
    with pytest.raises(StartupConfigError, match="does not set ana_reporting"):
        render(DECLARED | {"subsystems": [{**SUBSYSTEMS[0], "ana_reporting": False}]}, FOUND)


def test_absent_objects_are_left_out() -> None:
    gone = {"clusters": CLUSTERS, "bdevs": [{**BDEVS[0], "state": "absent"}], "subsystems": [{**SUBSYSTEMS[0], "state": "absent"}]}
    assert methods(render(gone)) == ["bdev_rbd_register_cluster", "bdev_wait_for_examine"]
    # a namespace that is to go does not come back at the next start
    old = {"bdev": "vol-1", "nsid": 3, "auto_visible": False, "hosts": ["nqn.host:1"], "state": "absent"}
    names = methods(render(DECLARED | {"subsystems": [{**SUBSYSTEMS[0], "namespaces": [old]}]}, FOUND))
    assert "nvmf_create_subsystem" in names and not {"nvmf_subsystem_add_ns", "nvmf_ns_add_host"} & set(names)


def test_an_identity_that_would_change_at_the_next_start_is_refused() -> None:
    with pytest.raises(StartupConfigError, match="bdev vol-1 has no UUID"):
        render({"clusters": CLUSTERS, "bdevs": BDEVS})
    with pytest.raises(StartupConfigError, match=r"namespace of bdev vol-1 in .*cnode1 has no nsid"):
        render(DECLARED, {"bdevs": FOUND_BDEVS})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bdevs": [{**BDEVS[0], "cluster": "gone"}]}, "cluster gone is used, but not declared"),
        ({"clusters": CLUSTERS + [{"name": "two"}], "bdevs": [{**BDEVS[0], "cluster": None}]}, "names no cluster, and 2 are declared"),
        ({"bdevs": []}, "bdev vol-1 is used, but not declared"),
        ({"transports": []}, "transport TCP is used, but not declared"),
        ({"clusters": CLUSTERS * 2}, "cluster ceph is declared twice"),
        ({"clusters": [{"name": "ceph", "config_param": {"key": "AQ=="}}]}, "must not hold the secret key"),
        ({"subsystems": [{**SUBSYSTEMS[0], "hosts": [{"nqn": "nqn.host:1", "psk": "gone"}]}]}, "key gone is used, but not declared"),
        ({"subsystems": [{**SUBSYSTEMS[0], "namespaces": [{"bdev": "vol-1", "hosts": ["nqn.host:1"]}]}]}, "set auto_visible: false"),
        ({"subsystems": [{**SUBSYSTEMS[0], "allow_any_host": True, "listeners": [{"traddr": "192.0.2.1", "secure_channel": True}]}]}, "allow_any_host"),
        ({"bdev": []}, "has no bdev; it may have bdevs"),
        ({"crdt": [1]}, "three numbers"),
    ],
)
def test_what_cannot_be_meant_is_refused(change: dict, words: str) -> None:
    with pytest.raises(StartupConfigError, match=words) as caught:
        render({**DECLARED, **change}, FOUND)
    assert "AQ==" not in str(caught.value)


def test_the_filter_takes_what_ansible_hands_over() -> None:
    from ansible.errors import AnsibleFilterError
    from ansible_collections.nvmeof.spdk.plugins.filter.startup_config import startup_config

    assert startup_config(DECLARED, FOUND) == render(DECLARED, FOUND)
    assert methods(startup_config({"transports": [{"trtype": "TCP"}]})) == ["bdev_wait_for_examine", "nvmf_create_transport"]
    with pytest.raises(AnsibleFilterError, match="lacks 'pool'"):
        startup_config({"bdevs": [{"name": "a"}]}, {})


def test_subsystems_without_missing_bdevs() -> None:
    from ansible_collections.nvmeof.spdk.plugins.filter.without_bdevs import without_bdevs

    subsystems = [{"nqn": NQN, "namespaces": [{"bdev": "a"}, {"bdev": "b"}]}, {"nqn": NQN + "2"}]
    assert without_bdevs(subsystems, ["b"]) == [{"nqn": NQN, "namespaces": [{"bdev": "a"}]}, {"nqn": NQN + "2"}]
    assert without_bdevs(subsystems, []) == subsystems
