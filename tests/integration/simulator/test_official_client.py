# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SPDK's own Python client (PyPI ``spdk``) as an independent peer: the simulator is not tested with the collection's client only."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulator_process import Simulator, eventually
from spdk.rpc.client import JSONRPCClient, JSONRPCException

MIB = 1024 * 1024
NQN = "nqn.2016-06.io.spdk:cnode1"
ADDRESS = {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": "24420"}


def test_a_volume_from_the_cluster_to_the_listener_and_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory: Path = tmp_path_factory.mktemp("o")
    (directory / "ceph.conf").write_text("")
    with Simulator(directory, memory={"users": ["admin"], "pools": {"pool-1": {"vol-1": 64 * MIB}}}) as simulator:
        client = JSONRPCClient(str(simulator.socket), timeout=20)
        assert client.call("spdk_get_version")["fields"]["minor"] == 5
        assert client.call("bdev_rbd_register_cluster", {"name": "ceph", "config_file": str(directory / "ceph.conf")}) == "ceph"
        uuid = "0a1b2c3d-0000-4000-8000-000000000001"
        create = {"name": "V", "pool_name": "pool-1", "rbd_name": "vol-1", "block_size": 512, "cluster_name": "ceph", "uuid": uuid}
        assert client.call("bdev_rbd_create", create) == "V"
        with pytest.raises(JSONRPCException, match="File exists"):
            client.call("bdev_rbd_create", create)
        assert client.call("nvmf_create_transport", {"trtype": "TCP"}) is True
        assert client.call("nvmf_create_subsystem", {"nqn": NQN, "serial_number": "S1", "ana_reporting": True}) is True
        assert client.call("nvmf_subsystem_add_ns", {"nqn": NQN, "namespace": {"bdev_name": "V"}}) == 1
        assert client.call("nvmf_subsystem_add_listener", {"nqn": NQN, "listen_address": ADDRESS}) is True
        (subsystem,) = client.call("nvmf_get_subsystems", {"nqn": NQN})
        assert subsystem["namespaces"] == [{"nsid": 1, "bdev_name": "V", "name": "V", "nguid": uuid.replace("-", "").upper(), "uuid": uuid, "anagrpid": 1}]
        assert subsystem["listen_addresses"] == [ADDRESS]
        assert client.call("bdev_rbd_resize", {"name": "V", "new_size": 128}) is True
        assert client.call("bdev_get_bdevs", {"name": "V"})[0]["num_blocks"] == 128 * MIB // 512
        with pytest.raises(JSONRPCException, match="Invalid argument"):
            client.call("bdev_rbd_resize", {"name": "V", "new_size": 64})
        simulator.set_image("pool-1", "vol-1", 192 * MIB)
        assert eventually(lambda: client.call("bdev_get_bdevs", {"name": "V"})[0]["num_blocks"] == 192 * MIB // 512)
        # SPDK's own command line would do the same loop for save_config
        saved = {name["subsystem"]: client.call("framework_get_config", {"name": name["subsystem"]}) for name in client.call("framework_get_subsystems")}
        assert {"method": "bdev_rbd_create", "params": {key: create[key] for key in ("name", "pool_name", "rbd_name", "block_size", "uuid")}} in saved["bdev"]
        assert client.call("nvmf_delete_subsystem", {"nqn": NQN}) is True
        assert client.call("bdev_rbd_delete", {"name": "V"}) is True
        assert client.call("bdev_rbd_unregister_cluster", {"name": "ceph"}) is True
        with pytest.raises(JSONRPCException, match="Operation not permitted"):
            client.call("bdev_rbd_unregister_cluster", {"name": "ceph"})
