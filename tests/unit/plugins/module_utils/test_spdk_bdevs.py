# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Over 500 lines: many short cases of one manager on one set of fakes.

from __future__ import annotations

import uuid

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._jsonrpc import RpcError
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_lease import LEASE, Holder, _Held
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdev_wish import wanted_bdevs
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdevs import BdevManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import UnsupportedError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target, hop_error
from fake_ceph import FSID, FakeCeph

MIB = 1024**2
OLD = (23, 9)
MUTATING = ("create", "delete", "resize", "register")


def wish(**given):
    return {"state": "present", "block_size": 512, "exact": False, "force": False, **given}


@pytest.fixture
def ceph(images):
    return FakeCeph(images)


def run(fake, ceph, *wishes, clusters=(), check=False, wait=0.5, timeout=10, unit=None):
    """One call of the module without the module."""
    items = wanted_bdevs(wishes)
    with Target.open(fake.path, timeout) as target:
        manager = BdevManager(target, lambda: ceph, wait, grace=0.2, resize_unit=unit)
        try:
            manager.plan(items, clusters)
            if not check:
                manager.apply(items)
                manager.read_back(items)
        finally:
            fake.sent = target.sent
    return manager, items


def mutating(fake):
    return [method for method, _params in fake.calls if any(word in method for word in MUTATING)]


def failure(fake, ceph, *wishes, **kwargs):
    before = {name: dict(bdev) for name, bdev in fake.bdevs.items()}, dict(fake.images)
    with pytest.raises(HopError) as caught:
        run(fake, ceph, *wishes, **kwargs)
    assert before == ({name: dict(bdev) for name, bdev in fake.bdevs.items()}, dict(fake.images)), "something was touched"
    assert caught.value.remedy
    return caught.value


# -- creation ------------------------------------------------------------------------------------------------------


def test_creating_registers_the_cluster_first_and_gives_a_stable_uuid(fake, ceph):
    manager, (item,) = run(fake, ceph, wish(name="a", pool="p", image="one"), clusters=[{"name": "c0", "user": "spdk", "key_file": "/k"}])
    assert fake.sent == [
        {"method": "bdev_rbd_register_cluster", "params": {"name": "c0", "user_id": "spdk", "key_file": "/k"}},
        {
            "method": "bdev_rbd_create",
            "params": {
                "name": "a",
                "pool_name": "p",
                "rbd_name": "one",
                "block_size": 512,
                "cluster_name": "c0",
                "uuid": str(uuid.uuid5(uuid.UUID(FSID), "p//one")),
            },
        },
    ]
    assert manager.changes.changed and manager.changes.applied
    assert item.result()["action"] == "created" and item.result()["size_bytes"] == 64 * MIB


def test_a_second_run_changes_and_sends_nothing(fake, ceph):
    arguments = [wish(name="a", pool="p", image="one", size="128M"), wish(name="b", pool="p", image="two")]
    run(fake, ceph, *arguments, clusters=[{"name": "c0"}])
    fake.calls.clear()
    manager, items = run(fake, ceph, *arguments, clusters=[{"name": "c0"}])
    assert not manager.changes.changed and mutating(fake) == []
    assert [item.result()["action"] for item in items] == ["none", "none"]


def test_check_mode_sends_nothing_and_predicts_the_run(fake, ceph):
    arguments = [wish(name="a", pool="p", image="one", size="128M"), wish(name="b", pool="p", image="two")]
    checked, expected = run(fake, ceph, *arguments, clusters=[{"name": "c0"}], check=True)
    assert mutating(fake) == [] and ceph.done == [] and fake.clusters == {}
    real, items = run(fake, ceph, *arguments, clusters=[{"name": "c0"}])
    assert checked.planned == fake.sent
    assert checked.changes.changed is real.changes.changed is True
    assert checked.changes.diff() == real.changes.diff()
    assert [item.result() for item in expected] == [{**item.result(), "size_bytes": sizes} for item, sizes in zip(items, (128 * MIB, None))]


def test_five_hundred_bdevs_need_a_constant_number_of_reads_on_one_connection(fake, ceph):
    for number in range(500):
        fake.images[("p", f"i{number}")] = 64 * MIB
    fake.clusters["c0"] = {"cluster_name": "c0"}
    run(fake, ceph, *[wish(name=f"b{number}", pool="p", image=f"i{number}") for number in range(500)])
    assert len(fake.bdevs) == 500 and fake.connections == 1
    reads = [method for method, _params in fake.calls if method not in ("bdev_rbd_create",)]
    assert len(reads) <= 6


def test_the_uuid_option_wins_and_needs_no_ceph(fake, ceph):
    fake.clusters["c0"] = {"cluster_name": "c0"}
    ceph.unreadable = True
    given = "0A1B2C3D-0000-4000-8000-000000000003"
    _manager, (item,) = run(fake, ceph, wish(name="a", pool="p", image="one", uuid=given))
    assert item.result()["uuid"] == given.lower()


def test_without_a_cluster_it_says_how(fake, ceph):
    error = failure(fake, ceph, wish(name="a", pool="p", image="one"))
    assert "clusters" in error.remedy
    error = failure(fake, ceph, wish(name="a", pool="p", image="one", cluster="other"))
    assert "no cluster other" in error.message


def test_an_image_the_target_cannot_open(fake, ceph):
    error = failure(fake, ceph, wish(name="a", pool="p", image="none"), clusters=[{"name": "c0"}])
    assert (error.call, error.cause) == ("bdev_rbd_create", "error -1: Operation not permitted")


def test_creating_with_a_size_grows_the_image_first(fake, ceph):
    _manager, (item,) = run(fake, ceph, wish(name="a", pool="p", image="one", size="1G"), clusters=[{"name": "c0"}])
    assert fake.images[("p", "one")] == 1024 * MIB and item.size_bytes == 1024 * MIB
    assert ("resize", "p/one", 1024 * MIB) in ceph.done and "bdev_rbd_resize" not in mutating(fake)


def test_a_creation_that_times_out_is_read_again_not_repeated(fake, ceph):
    fake.clusters["c0"] = {"cluster_name": "c0"}
    fake.silent.add("bdev_rbd_create")
    _manager, (item,) = run(fake, ceph, wish(name="a", pool="p", image="one"), timeout=0.4)
    assert item.size_bytes == 64 * MIB and mutating(fake) == ["bdev_rbd_create"]


def test_a_creation_that_times_out_and_did_not_happen_is_an_error(fake, ceph):
    fake.clusters["c0"] = {"cluster_name": "c0"}
    fake.silent.add("bdev_rbd_create")
    fake.fail["bdev_rbd_create"] = (-1, "never")
    error = failure(fake, ceph, wish(name="a", pool="p", image="one"), timeout=0.4)
    assert "may still happen" in error.remedy and mutating(fake) == ["bdev_rbd_create"]


def test_a_target_that_hangs_up_is_reported(fake, ceph):
    fake.clusters["c0"] = {"cluster_name": "c0"}
    fake.hang_up.add("bdev_rbd_create")
    error = failure(fake, ceph, wish(name="a", pool="p", image="one"))
    assert "closed" in error.message and error.obj == "a"


@pytest.mark.parametrize(
    ("release", "given", "needed"),
    [
        ((25, 5), {"read_only": True}, "25.09"),
        ((21, 4), {"cluster": "c0"}, "declare its user and configuration with the option clusters, or upgrade SPDK to 21.07"),
        ((21, 7), {"uuid": "0a1b2c3d-0000-4000-8000-000000000003"}, "21.10"),
        ((26, 5), {"rados_namespace": "tenant"}, "no SPDK release"),
    ],
)
def test_what_a_release_lacks_is_an_error_that_names_the_release(make_target, ceph, release, given, needed):
    fake = make_target(release)
    if release >= (21, 7):
        fake.clusters["c0"] = {"cluster_name": "c0"}
    error = failure(fake, ceph, wish(name="a", pool="p", image="one", **given))
    assert isinstance(error, UnsupportedError) and needed in error.remedy


@pytest.mark.parametrize("release", [(19, 1), (19, 7), (19, 10), (20, 4), (21, 7), (21, 10), (23, 9)])
def test_older_releases_create_and_delete_by_their_own_names(make_target, ceph, release):
    fake = make_target(release)
    clusters = [{"name": "c0"}] if release >= (21, 7) else []
    run(fake, ceph, wish(name="a", pool="p", image="one"), clusters=clusters)
    assert "a" in fake.bdevs
    run(fake, ceph, wish(name="a", state="absent"))
    assert fake.bdevs == {}


def test_a_build_without_rbd_says_so(fake, ceph):
    fake.without.add("bdev_rbd_create")
    fake.clusters["c0"] = {"cluster_name": "c0"}
    assert "--with-rbd" in failure(fake, ceph, wish(name="a", pool="p", image="one")).remedy


# -- clusters ------------------------------------------------------------------------------------------------------


def test_a_registered_cluster_is_left_alone_or_an_error(fake, ceph):
    fake.clusters["c0"] = {"cluster_name": "c0", "user_id": "spdk"}
    manager, _items = run(fake, ceph, clusters=[{"name": "c0", "user": "spdk"}])
    assert not manager.changes.changed
    assert "another user" in failure(fake, ceph, clusters=[{"name": "c0", "user": "admin"}]).message


def test_a_registered_cluster_may_be_kept_as_it_is(fake, ceph):
    fake.clusters["c0"] = {"cluster_name": "c0", "user_id": "spdk"}
    with Target.open(fake.path, 10) as target:
        manager = BdevManager(target, lambda: ceph, keep_clusters=True)
        manager.plan([], [{"name": "c0", "user": "admin"}, {"name": "c1", "user": "admin"}])
        manager.apply([])
    assert mutating(fake) == ["bdev_rbd_register_cluster"] and fake.clusters["c0"]["user_id"] == "spdk" and fake.clusters["c1"]["user_id"] == "admin"


def test_what_the_release_lacks_is_an_error_of_a_registered_cluster_too(make_target, ceph):
    fake = make_target((23, 1))
    fake.clusters["c0"] = {"cluster_name": "c0"}
    error = failure(fake, ceph, clusters=[{"name": "c0", "core_mask": "0x1"}])
    assert "core_mask" in error.message and "23.05" in error.remedy


def opened(fake, name="a"):
    return {key: value for key, value in fake.bdevs[name]["driver_specific"]["rbd"].items() if key in ("user_id", "config")}


def test_before_21_07_a_bdev_is_opened_as_its_cluster_says(make_target, ceph):
    fake = make_target((20, 10))
    clusters = [
        {"name": "c0", "user": "spdk", "config_file": "/etc/ceph/ceph.conf", "key_file": "/etc/ceph/ceph.client.spdk.keyring"},
        {"name": "c1", "user": "two", "config_param": {"mon_host": "192.0.2.1"}, "key_file": "/k"},
        {"name": "c2"},
    ]
    wishes = [wish(name=name, pool="p", image=image, cluster=cluster) for name, image, cluster in (("a", "one", "c0"), ("b", "two", "c1"))]
    manager, items = run(fake, ceph, *wishes, clusters=clusters)
    assert [call["method"] for call in fake.sent] == ["bdev_rbd_create"] * 2
    assert opened(fake) == {"user_id": "spdk"}
    assert opened(fake, "b") == {"user_id": "two", "config": {"mon_host": "192.0.2.1", "keyring": "/k"}}
    assert [item.result()["cluster"] for item in items] == ["c0", "c1"]
    assert all("cluster_name" not in call["params"] for call in fake.sent)
    run(fake, ceph, *wishes, clusters=clusters)
    assert fake.sent == [] and manager.changes.changed


@pytest.mark.parametrize(
    ("clusters", "access"),
    [([], {}), ([{"name": "c0"}], {}), ([{"name": "c0", "user": "spdk"}], {"user_id": "spdk"})],
)
def test_before_21_07_the_only_cluster_is_taken_unnamed(make_target, ceph, clusters, access):
    fake = make_target((21, 4))
    run(fake, ceph, wish(name="a", pool="p", image="one"), clusters=clusters)
    assert opened(fake) == access


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"config_file": "/etc/ceph/two.conf"}, ("config_file other than /etc/ceph/ceph.conf", "22.01")),
        ({"config_file": "/etc/ceph/ceph.conf", "config_param": {"mon_host": "a"}}, ("config_file beside config_param", "22.01")),
        ({"key_file": "/k"}, ("key_file other than /etc/ceph/ceph.client.admin.keyring", "22.01")),
        ({"user": "spdk", "key_file": "/etc/ceph/ceph.client.admin.keyring"}, ("other than /etc/ceph/ceph.client.spdk.keyring", "22.01")),
        ({"core_mask": "0x1"}, ("core_mask", "23.05")),
    ],
)
def test_before_21_07_what_a_bdev_cannot_be_told_is_an_error_that_names_the_release(make_target, ceph, cluster, words):
    fake = make_target((19, 1))
    error = failure(fake, ceph, wish(name="a", pool="p", image="one"), clusters=[{"name": "c0", **cluster}])
    assert isinstance(error, UnsupportedError) and error.obj == "c0"
    assert words[0] in error.message and "SPDK 19.01" in error.message and f"upgrade SPDK to {words[1]} or later" in error.remedy


def test_before_21_07_several_clusters_need_a_name_and_each_only_once(make_target, ceph):
    fake = make_target((21, 4))
    error = failure(fake, ceph, wish(name="a", pool="p", image="one"), clusters=[{"name": "c0"}, {"name": "c1"}])
    assert "not clear" in error.message and error.cause == "declared are c0, c1"
    assert "twice" in failure(fake, ceph, clusters=[{"name": "c0"}, {"name": "c0"}]).message
    error = failure(fake, ceph, clusters=[{"name": "c0", "config_param": {"key": "AQD-secret"}}])
    assert "AQD-secret" not in str(error)


def test_a_secret_never_goes_into_config_param(fake, ceph):
    error = failure(fake, ceph, clusters=[{"name": "c0", "config_param": {"key": "AQD-secret"}}])
    assert "AQD-secret" not in str(error) and "key_file" in error.remedy


def test_a_secret_that_somebody_else_registered_is_not_shown(fake, ceph):
    fake.clusters["c0"] = {"cluster_name": "c0", "config_param": {"key": "AQD-secret", "mon_host": "a"}}
    error = failure(fake, ceph, clusters=[{"name": "c0", "config_param": {"mon_host": "b"}}])
    assert "AQD-secret" not in str(error) and "they differ in mon_host" in error.message


def test_after_a_failure_the_results_say_what_is(make_target, ceph):
    fake = make_target(OLD)
    fake.add_bdev("a", "p", "one")
    fake.add_bdev("b", "p", "two")
    fake.fail["bdev_rbd_resize"] = (-16, "Device or resource busy")
    items = wanted_bdevs([wish(name="a", state="grown", size="128M"), wish(name="b", state="grown", size="128M")])
    with Target.open(fake.path, 10) as target:
        manager = BdevManager(target, lambda: ceph, 1)
        manager.plan(items, [])
        with pytest.raises(HopError, match="refused bdev_rbd_resize"):
            manager.apply(items)
        manager.after_failure(items)
    for item in items:
        result = item.result()
        assert (result["action"], result["image_bytes"], result["size_bytes"], result["satisfied"], result["changed"]) == (
            "none",
            128 * MIB,
            64 * MIB,
            False,
            True,
        )
    assert manager.changes.applied


def test_growing_many_bdevs_asks_for_all_at_once(fake, ceph):
    for number in range(40):
        fake.images[("p", f"i{number}")] = 64 * MIB
        fake.add_bdev(f"b{number}", "p", f"i{number}")
    _manager, items = run(fake, ceph, *[wish(name=f"b{number}", state="grown", size="128M") for number in range(40)])
    assert all(item.satisfied and item.size_bytes == 128 * MIB for item in items)
    assert len(fake.calls) <= 8 and mutating(fake) == []


# -- existing bdevs ------------------------------------------------------------------------------------------------


def test_an_existing_bdev_of_another_name_is_used(fake, ceph):
    fake.add_bdev("Ceph0", "p", "one", uuid="0a1b2c3d-0000-4000-8000-000000000003")
    manager, (item,) = run(fake, ceph, wish(name="a", pool="p", image="one", size="128M"))
    result = item.result()
    assert result["name"] == "Ceph0" and "Ceph0" in result["message"] and result["size_bytes"] == 128 * MIB
    assert list(fake.bdevs) == ["Ceph0"] and manager.changes.changed


def test_another_uuid_is_an_error(fake, ceph):
    fake.add_bdev("Ceph0", "p", "one", uuid="0a1b2c3d-0000-4000-8000-000000000003")
    error = failure(fake, ceph, wish(name="a", pool="p", image="one", uuid="0a1b2c3d-0000-4000-8000-000000000004"))
    assert "SPDK cannot change it" in error.cause


@pytest.mark.parametrize("given", [{"image": "two"}, {"block_size": 4096}, {"read_only": True}])
def test_immutable_attributes_are_an_error(fake, ceph, given):
    fake.add_bdev("a", "p", "one")
    assert "state=absent" in failure(fake, ceph, wish(**{"name": "a", "pool": "p", "image": "one", **given})).remedy


def test_a_bdev_that_is_not_rbd_is_never_touched(fake, ceph):
    fake.add_bdev("a", "p", "one")
    fake.bdevs["a"]["product_name"] = "Malloc disk"
    assert "not an RBD bdev" in failure(fake, ceph, wish(name="a", state="absent")).message


def test_a_claimed_bdev_is_deleted_with_force_only(fake, ceph):
    fake.add_bdev("a", "p", "one")
    fake.bdevs["a"]["claimed"] = True
    assert "in use" in failure(fake, ceph, wish(name="a", state="absent")).message
    manager, _items = run(fake, ceph, wish(name="a", state="absent", force=True))
    assert fake.bdevs == {} and manager.changes.changed
    manager, _items = run(fake, ceph, wish(name="a", state="absent", force=True))
    assert not manager.changes.changed


def test_absent_by_name_leaves_another_bdev_of_the_image(fake, ceph):
    fake.add_bdev("b", "p", "one")
    manager, _items = run(fake, ceph, wish(name="a", pool="p", image="one", state="absent"))
    assert list(fake.bdevs) == ["b"] and not manager.changes.changed


# -- growth --------------------------------------------------------------------------------------------------------


def test_a_watching_target_grows_without_a_resize_call(fake, ceph):
    fake.add_bdev("a", "p", "one")
    _manager, (item,) = run(fake, ceph, wish(name="a", state="grown", size="128M"))
    result = item.result()
    assert (result["before_image_bytes"], result["before_bytes"], result["image_bytes"], result["size_bytes"]) == (64 * MIB, 64 * MIB, 128 * MIB, 128 * MIB)
    assert result["satisfied"] and mutating(fake) == []


def test_a_target_that_does_not_watch_is_told_once(make_target, ceph):
    fake = make_target(OLD)
    fake.add_bdev("a", "p", "one")
    checked, _items = run(fake, ceph, wish(name="a", state="grown", size="128M"), check=True)
    _manager, (item,) = run(fake, ceph, wish(name="a", state="grown", size="128M"))
    assert fake.sent == checked.planned == [{"method": "bdev_rbd_resize", "params": {"name": "a", "new_size": 128}}]
    assert item.size_bytes == 128 * MIB and fake.images[("p", "one")] == 128 * MIB


def test_a_lost_watch_is_helped_after_the_grace_period(fake, ceph):
    fake.add_bdev("a", "p", "one")
    fake.watch = False
    _manager, (item,) = run(fake, ceph, wish(name="a", state="grown", size="128M"), wait=5)
    assert mutating(fake) == ["bdev_rbd_resize"] and item.size_bytes == 128 * MIB


@pytest.mark.parametrize("release", [OLD, (26, 5)])
def test_a_stale_bdev_never_cuts_a_larger_image(make_target, ceph, release):
    fake = make_target(release)
    fake.add_bdev("a", "p", "one")
    fake.watch = False
    fake.images[("p", "one")] = 256 * MIB
    error = failure(fake, ceph, wish(name="a", state="grown", size="128M"))
    assert "256M" in error.remedy and mutating(fake) == []


def test_an_image_that_grows_under_the_run_is_never_cut(make_target, ceph):
    fake = make_target(OLD)
    fake.add_bdev("a", "p", "one")
    ceph.before_resize = lambda: fake.images.update({("p", "one"): 512 * MIB})
    with pytest.raises(HopError) as caught:
        run(fake, ceph, wish(name="a", state="grown", size="128M"))
    assert fake.images[("p", "one")] == 512 * MIB and mutating(fake) == [] and "512M" in caught.value.remedy


def test_an_image_of_a_fraction_of_a_mib_is_never_resized_to_its_floor(make_target, ceph):
    fake = make_target(OLD)
    fake.images[("p", "one")] = 68681728
    fake.add_bdev("a", "p", "one")
    manager, _items = run(fake, ceph, wish(name="a", state="grown", size="65M"))
    assert not manager.changes.changed and fake.images[("p", "one")] == 68681728 and mutating(fake) == []
    run(fake, ceph, wish(name="a", state="grown", size="66M"))
    assert fake.images[("p", "one")] == 66 * MIB and fake.bdevs["a"]["num_blocks"] * 512 == 66 * MIB


def test_a_smaller_size_is_satisfied_and_with_exact_an_error(fake, ceph):
    fake.add_bdev("a", "p", "one")
    manager, (item,) = run(fake, ceph, wish(name="a", state="grown", size="32M"))
    assert not manager.changes.changed and item.satisfied and "larger" in item.message
    assert "never shrinks" in failure(fake, ceph, wish(name="a", state="grown", size="32M", exact=True)).remedy


def test_an_image_smaller_than_its_bdev_is_critical(fake, ceph):
    fake.add_bdev("a", "p", "one", size=128 * MIB)
    error = failure(fake, ceph, wish(name="a", state="grown", size="256M"))
    assert "CRITICAL" in error.message and error.hop == "image"


def test_an_unreadable_image_stops_everything(fake, ceph):
    fake.add_bdev("a", "p", "one")
    fake.add_bdev("b", "p", "two")
    ceph.unreadable = True
    failure(fake, ceph, wish(name="a", state="grown", size="128M"), wish(name="b", state="grown", size="128M"))
    assert mutating(fake) == []


def test_a_target_without_ceph_waits_for_an_image_that_another_client_grew(fake, ceph):
    fake.add_bdev("a", "p", "one")
    ceph.unreadable = True
    fake.images[("p", "one")] = 128 * MIB
    _manager, (item,) = run(fake, ceph, wish(name="a", state="grown", size="128M", image_size=f"{128 * MIB}B"))
    assert item.size_bytes == 128 * MIB and item.result()["satisfied"] and mutating(fake) == []


def test_what_another_client_read_never_leads_to_a_resize(make_target, fake, ceph):
    fake.add_bdev("a", "p", "one")
    fake.watch = False
    fake.images[("p", "one")] = 256 * MIB
    error = failure(fake, ceph, wish(name="a", state="grown", size="128M", image_size="128M"))
    assert error.hop == "bdev" and mutating(fake) == []
    error = failure(fake, ceph, wish(name="a", state="grown", size="128M", image_size="64M"))
    assert "rbd_image" in error.remedy
    old = make_target(OLD)
    old.add_bdev("a", "p", "one")
    assert "does not follow" in failure(old, ceph, wish(name="a", state="grown", size="128M", image_size="128M")).message


def test_one_bad_item_stops_the_list_before_the_first_is_touched(fake, ceph):
    fake.add_bdev("a", "p", "one")
    failure(fake, ceph, wish(name="a", state="grown", size="128M"), wish(name="b", state="grown", size="128M"))


def test_a_release_without_resize_says_which_has_it(make_target, ceph):
    fake = make_target((20, 1))
    fake.add_bdev("a", "p", "one")
    assert "20.04" in failure(fake, ceph, wish(name="a", state="grown", size="128M")).remedy


def test_a_bdev_that_does_not_follow_in_time_is_an_error(make_target, ceph):
    fake = make_target(OLD)
    fake.add_bdev("a", "p", "one")
    fake.silent.add("bdev_rbd_resize")
    fake.bdevs["a"]["num_blocks"] = 64 * MIB // 512
    resize = fake.bdev_rbd_resize
    fake.bdev_rbd_resize = lambda name, new_size: True
    with pytest.raises(HopError) as caught:
        run(fake, ceph, wish(name="a", state="grown", size="128M"), timeout=0.4)
    assert "not 134217728" in caught.value.message and mutating(fake) == ["bdev_rbd_resize"]
    fake.silent.clear()
    fake.bdev_rbd_resize = resize
    _manager, (item,) = run(fake, ceph, wish(name="a", state="grown", size="128M"))
    assert item.size_bytes == 128 * MIB, "the next run finishes what the first one began"


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["800", "800X", "-1G", "0G", "1.5G", f"{2**44}M", "1025T", "1000001B", "", "G", "65.5M"])
def test_sizes_that_cannot_be_meant(size):
    with pytest.raises(HopError) as caught:
        wanted_bdevs([wish(name="a", pool="p", image="one", size=size)])
    assert caught.value.obj == "a"


@pytest.mark.parametrize(
    "given",
    [
        {"name": "a"},
        {"name": "a", "pool": "p"},
        {"pool": "p", "image": "one"},
        {"state": "grown", "size": "1G"},
        {"name": "a", "state": "grown"},
        {"name": "a", "state": "absent", "size": "1G"},
        {"name": "a", "pool": "p", "image": "one", "block_size": 0},
        {"name": "a", "pool": "p", "image": "one", "block_size": 513},
        {"name": "a", "pool": "p", "image": "one", "uuid": "not-one"},
        {"name": "a", "pool": "p", "image": "one", "size": "1M", "block_size": 2 * MIB},
    ],
)
def test_wishes_that_cannot_be_meant(given):
    with pytest.raises(HopError):
        wanted_bdevs([wish(**given)])


def test_one_bdev_or_image_twice():
    for second in ({"name": "a", "pool": "p", "image": "two"}, {"name": "b", "pool": "p", "image": "one"}):
        with pytest.raises(HopError, match="twice"):
            wanted_bdevs([wish(name="a", pool="p", image="one"), wish(**second)])


def test_one_bdev_by_name_and_by_image(fake, ceph):
    fake.add_bdev("a", "p", "one")
    assert "twice" in failure(fake, ceph, wish(name="a", state="grown", size="128M"), wish(pool="p", image="one", state="grown", size="256M")).message


# -- the lease -------------------------------------------------------------------------------------------------------


def test_the_lease_is_held_until_the_bdev_shows_the_size(fake, ceph, monkeypatch):
    run(fake, ceph, wish(name="a", pool="p", image="one"), clusters=[{"name": "c0"}])
    held = []
    wait = BdevManager._wait
    monkeypatch.setattr(BdevManager, "_wait", lambda self, items: (wait(self, items), held.append(dict(ceph.locks))))
    run(fake, ceph, wish(name="a", size="128M", state="grown"))
    assert [list(locks) for locks in held] == [[("rbd_header.one", LEASE)]] and ceph.locks == {}
    done = list(ceph.done)
    run(fake, ceph, wish(name="a", size="128M", state="grown"))
    assert ceph.done == done, "nothing to do needs no lease"


def test_a_lease_of_another_run_ends_the_call_before_anything_is_touched(fake, ceph):
    run(fake, ceph, wish(name="a", pool="p", image="one"), wish(name="b", pool="p", image="two"), clusters=[{"name": "c0"}])
    ceph.locks[("rbd_header.one", LEASE)] = Holder("client.9", "theirs", '{"owner": "job-9"}', 77.0)
    error = failure(fake, ceph, wish(name="a", size="128M", state="grown"), wish(name="b", state="absent"))
    assert "job-9" in str(error) and fake.sent == [] and list(ceph.locks) == [("rbd_header.one", LEASE)]


def test_a_lost_lease_sends_no_resize(make_target, ceph):
    fake = make_target(OLD)
    run(fake, ceph, wish(name="a", pool="p", image="one"), clusters=[{"name": "c0"}])
    ceph.before_resize = lambda: ceph.locks.update({("rbd_header.one", LEASE): Holder("client.9", "theirs", "{}", 77.0)})
    with pytest.raises(HopError, match="lease on the image was lost"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_lease._Held", AlwaysDue)
        run(fake, ceph, wish(name="a", size="128M", state="grown"))
    assert fake.sent == [] and fake.images[("p", "one")] == 128 * MIB


class AlwaysDue(_Held):
    """A lease whose renewal is always due."""

    @property
    def renewed(self):
        return self.__dict__["at"] - 60

    @renewed.setter
    def renewed(self, value):
        self.__dict__["at"] = value


def test_a_mirror_secondary_is_refused_while_planning(fake, ceph):
    run(fake, ceph, wish(name="a", pool="p", image="one"), clusters=[{"name": "c0"}])
    ceph.primary = "on the mirror peer site-b"
    assert "site-b" in str(failure(fake, ceph, wish(name="a", size="128M", state="grown"), check=True))


def test_a_blocklisted_target_is_named(fake, ceph):
    error = hop_error(RpcError("bdev_rbd_resize", -108, "Cannot send after transport endpoint shutdown"), "a", "bdev")
    assert "blocklisted" in error.remedy and "-108" in error.cause
