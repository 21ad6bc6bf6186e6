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


def test_everything_is_there_in_order() -> None:
    bdev, nvmf = render(CLUSTERS, [{"trtype": "tcp"}], BDEVS, SUBSYSTEMS, FOUND_BDEVS, FOUND_SUBSYSTEMS)["subsystems"]
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


def test_absent_objects_are_left_out() -> None:
    content = render(CLUSTERS, [], [{**BDEVS[0], "state": "absent"}], [{**SUBSYSTEMS[0], "state": "absent"}], [], [])
    assert [call["method"] for part in content["subsystems"] for call in part["config"]] == ["bdev_rbd_register_cluster", "bdev_wait_for_examine"]


def test_an_identity_that_would_change_at_the_next_start_is_refused() -> None:
    with pytest.raises(StartupConfigError, match="bdev vol-1 has no UUID"):
        render(CLUSTERS, [], BDEVS, [], [], [])
    with pytest.raises(StartupConfigError, match=r"namespace of bdev vol-1 in .*cnode1 has no nsid"):
        render(CLUSTERS, [], BDEVS, SUBSYSTEMS, FOUND_BDEVS, [])
