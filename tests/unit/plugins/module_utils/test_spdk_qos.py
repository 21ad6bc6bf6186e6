# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdev_wish import wanted_bdevs
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdevs import BdevManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_qos import rounded
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target
from fake_ceph import FakeCeph


def run(fake, *wishes, check=False):
    items = wanted_bdevs([{"state": "present", "block_size": 512, "pool": "p", "cluster": "c0", **one} for one in wishes])
    ceph = FakeCeph(fake.images)
    with Target.open(fake.path, 10) as target:
        manager = BdevManager(target, lambda: ceph, 0.5, grace=0.2)
        manager.plan(items, [])
        if not check:
            try:
                manager.apply(items)
            except HopError:
                manager.after_failure(items)
    return manager, items


@pytest.fixture
def target(fake):
    fake.clusters["c0"] = {"cluster_name": "c0"}
    return fake


def limits(fake, name):
    return {key: value for key, value in fake.bdevs[name]["assigned_rate_limits"].items() if value}


def test_ios_are_rounded_up_as_the_target_does():
    assert [rounded("rw_ios_per_sec", value) for value in (0, 1, 999, 1000, 1500, 2000)] == [0, 1000, 1000, 1000, 2000, 2000]
    assert rounded("r_mbytes_per_sec", 1500) == 1500


def test_limits_are_set_with_the_bdev_and_compared_rounded(target):
    wish = {"name": "a", "image": "one", "qos": {"rw_ios_per_sec": 1500, "r_mbytes_per_sec": 10, "w_mbytes_per_sec": None}}
    checked, _items = run(target, wish, check=True)
    assert [call["method"] for call in checked.planned] == ["bdev_rbd_create", "bdev_set_qos_limit"] and target.bdevs == {}
    done, (item,) = run(target, wish)
    assert limits(target, "a") == {"rw_ios_per_sec": 2000, "r_mbytes_per_sec": 10} and item.changed and item.error is None
    assert done.changes.diff()[0]["after"]["rw_ios_per_sec"] == 2000
    again, (item,) = run(target, wish)
    assert not again.changes.changed and not item.changed
    # what is not given is left alone; 0 takes a limit away
    target.bdevs["a"]["claimed"] = True
    run(target, {"name": "a", "image": "one", "qos": {"rw_ios_per_sec": 0}})
    assert limits(target, "a") == {"r_mbytes_per_sec": 10}


def test_a_second_change_of_a_bdev_that_nothing_opened_is_explained_and_stops_nobody(target):
    run(target, {"name": "a", "image": "one", "qos": {"rw_ios_per_sec": 1000}})
    manager, items = run(target, {"name": "a", "image": "one", "qos": {"rw_ios_per_sec": 9000}}, {"name": "b", "image": "two", "qos": {"rw_mbytes_per_sec": 5}})
    assert limits(target, "b") == {"rw_mbytes_per_sec": 5} and items[1].changed and items[1].error is None
    error = items[0].error
    assert "cannot be changed a second time" in error.message and "temporarily unavailable" in error.cause and "nvmf_subsystem" in error.remedy
    assert not items[0].changed and limits(target, "a") == {"rw_ios_per_sec": 1000}
    assert [change.name for change in manager.changes.items if change.done] == ["b", "b"]


def test_a_missing_image_stops_nobody(target):
    for size in (None, "64M"):
        target.bdevs.clear()
        manager, items = run(target, {"name": "gone", "image": "gone", "size": size}, {"name": "b", "image": "two", "size": size})
        assert set(target.bdevs) == {"b"} and items[0].error is not None and items[1].changed and not items[0].changed
        assert "gone" in items[0].result()["message"] and items[0].error.obj in ("gone", "p/gone")


def test_a_negative_limit_is_refused(target):
    with pytest.raises(HopError, match="negative"):
        run(target, {"name": "a", "image": "one", "qos": {"rw_ios_per_sec": -1}})
    assert target.bdevs == {}


def test_time_outs_go_into_new_clusters_only(target):
    target.clusters["old"] = {"cluster_name": "old", "config_param": {"mon_host": "a"}}
    clusters = [{"name": "old", "config_param": {"mon_host": "a"}}, {"name": "new", "config_file": "/c", "config_param": {"client_mount_timeout": 5}}]
    with Target.open(target.path, 10) as opened:
        manager = BdevManager(opened, lambda: None)
        manager.plan([], clusters, {"client_mount_timeout": 30, "rados_mon_op_timeout": 30})
        manager.apply([])
    assert target.clusters["new"]["config_param"] == {"client_mount_timeout": "5", "rados_mon_op_timeout": "30"}
    assert target.clusters["old"]["config_param"] == {"mon_host": "a"}
