# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands before dangerous calls: the unit of a resize, deletions during one, images that vanished."""

from __future__ import annotations

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdev_guard import PATCHED
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdev_wish import wanted_bdevs
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdevs import BdevManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target
from fake_ceph import FakeCeph

MIB = 1024**2


def wish(**given):
    return {"state": "present", "block_size": 512, "exact": False, "force": False, **given}


@pytest.fixture
def ceph(images):
    return FakeCeph(images)


def run(fake, ceph, *wishes, check=False, unit=None):
    items = wanted_bdevs(wishes)
    with Target.open(fake.path, 10) as target:
        manager = BdevManager(target, lambda: ceph, 0.5, grace=0.2, resize_unit=unit)
        manager.plan(items, ())
        if not check:
            manager.apply(items)
            manager.read_back(items)
        return manager, items, target.sent


@pytest.mark.parametrize(("unit", "factor", "sent"), [("bytes", 1, 128 * MIB), ("mib", MIB, 128)])
@pytest.mark.parametrize("release", [(19, 1), (20, 1)])
def test_the_patched_resize_is_sent_in_the_declared_unit(make_target, ceph, release, unit, factor, sent):
    fake = make_target(release)
    fake.patched = factor
    fake.add_bdev("a", "p", "one")
    checked, _items, _sent = run(fake, ceph, wish(name="a", state="grown", size="128M"), check=True, unit=unit)
    _manager, (item,), calls = run(fake, ceph, wish(name="a", state="grown", size="128M"), unit=unit)
    assert calls == checked.planned == [{"method": PATCHED, "params": {"name": "a", "size": sent}}]
    assert (item.size_bytes, item.image_bytes, item.satisfied) == (128 * MIB, 128 * MIB, True)
    assert run(fake, ceph, wish(name="a", state="grown", size="128M"), unit=unit)[2] == []


def refused(fake, ceph, *wishes, unit=None):
    images = dict(fake.images)
    with pytest.raises(HopError) as caught:
        run(fake, ceph, *wishes, unit=unit)
    assert fake.images == images and not any("resize" in method for method, _params in fake.calls)
    return caught.value


def test_the_patched_resize_is_never_guessed(make_target, ceph):
    fake = make_target((19, 1))
    fake.patched = 1
    fake.add_bdev("a", "p", "one")
    error = refused(fake, ceph, wish(name="a", state="grown", size="128M"))
    assert error.call == PATCHED and "resize_unit" in error.remedy


def test_the_patched_resize_needs_the_image_to_have_that_size(make_target, ceph):
    fake = make_target((19, 1))
    fake.patched = 1
    fake.add_bdev("a", "p", "one")
    fake.images[("p", "one")] = 256 * MIB
    assert "256M" in refused(fake, ceph, wish(name="a", state="grown", size="128M"), unit="bytes").remedy


def test_upstream_is_used_where_both_are_there(make_target, ceph):
    fake = make_target((20, 4))
    fake.patched = 1
    fake.add_bdev("a", "p", "one")
    _manager, _items, calls = run(fake, ceph, wish(name="a", state="grown", size="128M"), unit="mib")
    assert calls == [{"method": "bdev_rbd_resize", "params": {"name": "a", "new_size": 128}}]


@pytest.mark.parametrize("release", [(19, 1), (19, 10), (20, 1)])
@pytest.mark.parametrize("image", [64 * MIB, 128 * MIB])
def test_without_any_resize_nothing_grows_and_the_remedy_is_named(make_target, ceph, release, image):
    fake = make_target(release)
    fake.add_bdev("a", "p", "one")
    fake.images[("p", "one")] = image
    error = refused(fake, ceph, wish(name="a", state="grown", size="128M"))
    assert "20.04" in error.remedy and "restart" in error.remedy


@pytest.mark.parametrize(("release", "waits"), [((24, 1), True), ((26, 5), True), ((26, 9), False), ((23, 9), False)])
def test_a_deletion_waits_for_the_news_of_a_resize(make_target, ceph, release, waits):
    fake = make_target(release)
    fake.add_bdev("a", "p", "one")
    fake.watch = False
    ceph.images[("p", "one")] = 128 * MIB
    run(fake, ceph, wish(name="a", state="absent"))
    looks = [params for method, params in fake.calls if method == "bdev_get_bdevs" and params == {"name": "a"}]
    assert (len(looks) > 1) is waits and "a" not in fake.bdevs


def test_deletions_come_before_the_first_resize_of_the_call(fake, ceph):
    fake.add_bdev("a", "p", "one")
    fake.add_bdev("b", "p", "two")
    seen = []
    ceph.before_resize = lambda: seen.append(sorted(fake.bdevs))
    run(fake, ceph, wish(name="b", state="grown", size="128M"), wish(name="a", state="absent"))
    assert seen == [["b"]] and ceph.images[("p", "two")] == 128 * MIB


def test_a_deletion_does_not_need_ceph(fake, ceph):
    fake.add_bdev("a", "p", "one")
    ceph.unreadable = True
    run(fake, ceph, wish(name="a", state="absent"))
    assert "a" not in fake.bdevs


@pytest.mark.parametrize("release", [(19, 1), (23, 1), (23, 9)])
def test_an_unused_bdev_of_an_image_that_is_gone_is_an_error(make_target, ceph, release):
    fake = make_target(release)
    fake.add_bdev("a", "p", "one")
    present = wish(name="a", pool="p", image="one")
    run(fake, ceph, present)
    del ceph.images[("p", "one")]
    with pytest.raises(HopError) as caught:
        run(fake, ceph, present)
    assert "is gone" in caught.value.message and "state=absent" in caught.value.remedy
    fake.bdevs["a"]["claimed"] = True
    run(fake, ceph, present)


def test_a_watching_release_or_no_ceph_does_not_look_for_the_image(make_target, fake, ceph):
    old = make_target((23, 1))
    for target in (fake, old):
        target.add_bdev("a", "p", "one")
    del ceph.images[("p", "one")]
    run(fake, ceph, wish(name="a", pool="p", image="one"))
    ceph.unreadable = True
    run(old, ceph, wish(name="a", pool="p", image="one"))


@pytest.mark.parametrize("release", [(19, 1), (21, 7), (23, 1), (26, 5)])
def test_a_user_is_never_sent_with_a_bdev(make_target, ceph, release):
    fake = make_target(release)
    if release >= (21, 7):
        fake.clusters["c0"] = {"cluster_name": "c0"}
    _manager, _items, calls = run(fake, ceph, wish(name="a", pool="p", image="one"))
    assert calls and not any({"user_id", "config"} & set(call["params"]) for call in calls)


@pytest.mark.parametrize("block_size", [0, 1, 511, 513])
def test_block_sizes_that_kill_targets_are_refused(block_size):
    with pytest.raises(HopError):
        wanted_bdevs([wish(name="a", pool="p", image="one", block_size=block_size)])


def test_a_deletion_that_answers_false_is_an_error(make_target, ceph):
    fake = make_target((22, 1))
    fake.add_bdev("a", "p", "one")
    fake.bdev_rbd_delete = lambda name: False
    with pytest.raises(HopError) as caught:
        run(fake, ceph, wish(name="a", state="absent"))
    assert caught.value.cause == "result false"
