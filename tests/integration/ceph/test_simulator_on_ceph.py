# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The simulator over a real Ceph cluster and the real librbd: it follows outside growth, and its resize is as dangerous as SPDK's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Iterator

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests" / "integration" / "simulator"), str(ROOT / "tests" / "lab")]

from simulator_process import Answer, Simulator, eventually  # noqa: E402

from ceph_node import CephNode  # noqa: E402

MIB = 1024 * 1024
POOL = "pool-1"


@pytest.fixture
def simulator(ceph: CephNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A simulator with the cluster registered as client.spdk."""
    with Simulator(tmp_path_factory.mktemp("s")) as running:
        cluster = {"name": "c0", "user_id": "spdk", "config_file": str(ceph.conf), "key_file": str(ceph.keyring_of("spdk"))}
        assert running.call("bdev_rbd_register_cluster", cluster) == "c0"
        yield running


def create(ceph: CephNode, simulator: Simulator, name: str, size: int, **more: Any) -> None:
    """A fresh image and its bdev of the same name."""
    ceph.create_image(POOL, name, size)
    simulator.call("bdev_rbd_create", {"name": name, "pool_name": POOL, "rbd_name": name, "block_size": 512, "cluster_name": "c0", **more})


def export(simulator: Simulator, name: str) -> None:
    """Put the bdev into use, as a namespace."""
    simulator.call("nvmf_create_subsystem", {"nqn": f"nqn.2016-06.io.spdk:{name}", "allow_any_host": True})
    simulator.call("nvmf_subsystem_add_ns", {"nqn": f"nqn.2016-06.io.spdk:{name}", "namespace": {"bdev_name": name}})


def bdev_bytes(simulator: Simulator, name: str) -> int:
    """What the target says."""
    (bdev,) = simulator.call("bdev_get_bdevs", {"name": name})
    return bdev["num_blocks"] * bdev["block_size"]


def resize_outside(ceph: CephNode, name: str, size: int) -> None:
    """librbd's resize by another client, to the byte."""
    import rados
    import rbd

    with rados.Rados(conffile=str(ceph.conf), conf={"keyring": str(ceph.keyring)}) as client, client.open_ioctx(POOL) as ioctx, rbd.Image(ioctx, name) as image:
        image.resize(size)


def test_outside_growth_is_followed_without_a_call(ceph: CephNode, simulator: Simulator) -> None:
    create(ceph, simulator, "follow", 64 * MIB)
    export(simulator, "follow")
    for mebibytes in (65, 128, 4096):
        ceph.rbd("resize", "--no-progress", "--size", f"{mebibytes}M", f"{POOL}/follow")
        assert eventually(lambda wanted=mebibytes: bdev_bytes(simulator, "follow") == wanted * MIB)


def test_resize_grows_the_image_and_another_target_follows(ceph: CephNode, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> None:
    create(ceph, simulator, "two", 64 * MIB)
    with Simulator(tmp_path_factory.mktemp("t")) as other:
        options = {"mon_host": f"v2:{ceph.address}:{ceph.port}", "keyring": str(ceph.keyring_of("spdk"))}
        other.call("bdev_rbd_create", {"name": "two", "pool_name": POOL, "rbd_name": "two", "block_size": 512, "user_id": "spdk", "config": options})
        assert simulator.call("bdev_rbd_resize", {"name": "two", "new_size": 96}) is True
        assert ceph.image_bytes(POOL, "two") == bdev_bytes(simulator, "two") == 96 * MIB
        assert eventually(lambda: bdev_bytes(other, "two") == 96 * MIB)


def test_an_overflowing_resize_truncates_the_image_to_nothing(ceph: CephNode, simulator: Simulator) -> None:
    create(ceph, simulator, "overflow", 64 * MIB)
    export(simulator, "overflow")
    with pytest.raises(Answer, match="Device or resource busy") as caught:
        simulator.call("bdev_rbd_resize", {"name": "overflow", "new_size": 2**44})
    assert caught.value.code == -16
    assert ceph.image_bytes(POOL, "overflow") == 0
    assert bdev_bytes(simulator, "overflow") == 64 * MIB
    with pytest.raises(Answer, match="Invalid argument"):
        simulator.call("bdev_rbd_resize", {"name": "overflow", "new_size": 63})


def test_the_same_size_rounded_down_cuts_the_rest(ceph: CephNode, simulator: Simulator) -> None:
    create(ceph, simulator, "floor", 64 * MIB)
    resize_outside(ceph, "floor", 68681728)
    assert eventually(lambda: bdev_bytes(simulator, "floor") == 68681728)
    with pytest.raises(Answer, match="Device or resource busy"):
        simulator.call("bdev_rbd_resize", {"name": "floor", "new_size": 65})
    assert ceph.image_bytes(POOL, "floor") == 65 * MIB
    # nobody uses it: the watch brings the bdev down, too
    assert eventually(lambda: bdev_bytes(simulator, "floor") == 65 * MIB)


def test_an_outside_shrink_moves_only_an_idle_bdev(ceph: CephNode, simulator: Simulator) -> None:
    create(ceph, simulator, "idle", 64 * MIB)
    create(ceph, simulator, "used", 64 * MIB)
    export(simulator, "used")
    resize_outside(ceph, "used", 32 * MIB)
    resize_outside(ceph, "idle", 32 * MIB)
    assert eventually(lambda: bdev_bytes(simulator, "idle") == 32 * MIB)
    assert bdev_bytes(simulator, "used") == 64 * MIB
    # and asking for the stale size grows the image again
    assert simulator.call("bdev_rbd_resize", {"name": "used", "new_size": 64}) is True
    assert ceph.image_bytes(POOL, "used") == 64 * MIB


def test_refusals_of_ceph_are_all_operation_not_permitted(ceph: CephNode, simulator: Simulator) -> None:
    create(ceph, simulator, "there", 64 * MIB, read_only=True)
    conf = {"config_file": str(ceph.conf), "key_file": str(ceph.keyring_of("spdk"))}
    refused = [
        ("bdev_rbd_register_cluster", {"name": "c1", "user_id": "nobody", **conf}),
        ("bdev_rbd_register_cluster", {"name": "c1", "config_file": "/nonexistent"}),
        ("bdev_rbd_register_cluster", {"name": "c1", **conf, "config_param": {"no_such_option": "1"}}),
        ("bdev_rbd_create", {"pool_name": "absent", "rbd_name": "there", "block_size": 512, "cluster_name": "c0"}),
        ("bdev_rbd_create", {"pool_name": POOL, "rbd_name": "absent", "block_size": 512, "cluster_name": "c0"}),
        ("bdev_rbd_create", {"pool_name": POOL, "rbd_name": "namespace/there", "block_size": 512, "cluster_name": "c0"}),
        ("bdev_rbd_unregister_cluster", {"name": "c0"}),
    ]
    for method, params in refused:
        with pytest.raises(Answer, match="Operation not permitted") as caught:
            simulator.call(method, params)
        assert caught.value.code == -1, (method, params)
    with pytest.raises(Answer, match="Read-only file system") as caught:
        simulator.call("bdev_rbd_resize", {"name": "there", "new_size": 128})
    assert caught.value.code == -30
    assert ceph.image_bytes(POOL, "there") == 64 * MIB
    with pytest.raises(Answer, match="No such file or directory"):
        simulator.call("bdev_rbd_get_clusters_info", {"name": "c1"})
    assert len(simulator.call("bdev_rbd_get_clusters_info")) == 1
