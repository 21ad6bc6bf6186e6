# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import time

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import CephError, CephOptions, ImageNotFoundError, ImageSpec, Snapshot
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_images import apply_images, plan_images, wanted_images
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_lease import LeaseOptions
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_snapshots import PREFIX, Expiry, SnapshotWish, images_of, parse_keep, read_name, snapshot_name
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_tool import ToolCeph
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdev_wish import wanted_bdevs
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdevs import BdevManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target
from fake_ceph import FakeCeph

MIB = 1024**2
ONE = ImageSpec("p", "", "one")
#: 2026-12-02 10:15:00 UTC
THEN = 1796206500.0


@pytest.fixture
def ceph(images):
    return FakeCeph(images)


def grow(ceph, size="128M", snapshots=None, check=False):
    """One call of rbd_image without the module."""
    wanted = wanted_images([{"pool": "p", "image": "one", "state": "grown", "size": size}])
    changes = plan_images(ceph, wanted, snapshots)
    apply_images(ceph, changes, wanted, LeaseOptions(), check)
    return changes, wanted[0]


def steps(ceph):
    return [entry[0] for entry in ceph.done]


# -- names and times -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "seconds"), [("12h", 43200), ("7d", 604800), (" 4w ", 2419200), ("3650d", 3650 * 86400)])
def test_how_long_to_keep(text, seconds):
    assert parse_keep(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "0d", "-1d", "7D", "1.5d", "7 d", "3651d", "30m", "d7", "7d7d", "9999999w"])
def test_what_is_no_time_to_keep(text):
    with pytest.raises(HopError, match="snapshot_keep") as caught:
        parse_keep(text)
    assert caught.value.remedy


def test_the_name_says_when_it_ends_and_whose_it_is():
    name = snapshot_name(THEN, "job 4711/ä")
    assert name == "nvmeof-spdk-grow-20261202T101500Z-job-4711-"
    assert read_name(name) == (THEN, "job-4711-")
    assert len(snapshot_name(THEN, "x" * 300)) < 100


@pytest.mark.parametrize(
    "name",
    [
        "daily",
        PREFIX,
        PREFIX + "20261202T101500Z",
        PREFIX + "20261302T101500Z-a",
        PREFIX + "20261202T101500-a",
        "x" + snapshot_name(THEN, "a"),
        snapshot_name(THEN, "a") + "\n",
        PREFIX + "20261202T101500Z-a b",
        snapshot_name(THEN, "a").upper(),
    ],
)
def test_a_name_that_is_not_ours_has_no_time(name):
    assert read_name(name) is None


# -- before a growth -------------------------------------------------------------------------------------------------


def test_it_is_taken_under_the_lease_and_before_the_resize(ceph):
    wish = SnapshotWish("7d", "job-1")
    checked, _item = grow(ceph, snapshots=wish, check=True)
    assert steps(ceph) == []
    changes, item = grow(ceph, snapshots=wish)
    assert steps(ceph) == ["lease", "snapshot", "resize"] and checked.diff() == changes.diff()
    (made,) = ceph.snaps["p/one"]
    assert made.size_bytes == 64 * MIB and made.name == item.snapshot == wish.name
    ends, run = read_name(made.name)
    assert run == "job-1" and abs(ends - time.time() - 7 * 86400) < 60
    assert [change.kind for change in changes.items] == ["snapshot", "image"]


def test_nothing_that_grows_not_is_snapshotted(ceph, images):
    for size in ("64M", "32M"):
        changes, item = grow(ceph, size, SnapshotWish("7d"))
        assert not changes.changed and item.snapshot is None and ceph.done == []
    grow(ceph)
    assert ceph.snaps == {} and images[("p", "one")] == 128 * MIB


def test_an_image_that_another_run_grew_meanwhile_is_not_snapshotted(ceph, images):
    ceph.after_lease = lambda: images.update({("p", "one"): 128 * MIB})
    changes, item = grow(ceph, snapshots=SnapshotWish("7d"))
    assert item.snapshot is None and ceph.snaps == {} and [change.action for change in changes.items] == ["none", "grow"]


def test_without_a_snapshot_nothing_is_resized(ceph, images):
    ceph.create_snapshot = lambda spec, name: (none for none in ()).throw(ceph._dead(spec, "snap create"))
    with pytest.raises(CephError, match="did not answer"):
        grow(ceph, snapshots=SnapshotWish("7d"))
    ceph.create_snapshot = lambda spec, name: None
    with pytest.raises(HopError, match="is not there"):
        grow(ceph, snapshots=SnapshotWish("7d"))
    assert images[("p", "one")] == 64 * MIB and "resize" not in steps(ceph) and ceph.locks == {}


@pytest.mark.parametrize("ago", [-86400, 86400])
def test_clocks_that_differ_stop_the_growth(ceph, images, ago):
    ceph.clock = time.time() - ago
    with pytest.raises(HopError, match="clocks") as caught:
        grow(ceph, snapshots=SnapshotWish("7d"))
    assert "snap rm" in caught.value.remedy and images[("p", "one")] == 64 * MIB


def test_the_repetition_of_a_killed_growth_uses_its_snapshot(ceph):
    first = SnapshotWish("7d", "job-1")
    ceph.create_snapshot(ONE, first.name)
    changes, item = grow(ceph, snapshots=SnapshotWish("7d", "job-2"))
    assert item.snapshot == first.name and len(ceph.snaps["p/one"]) == 1 and [change.kind for change in changes.items] == ["image"]
    # the next growth is another one: the image has another size
    _changes, item = grow(ceph, "256M", SnapshotWish("7d", "job-3"))
    assert item.snapshot.endswith("-job-3") and len(ceph.snaps["p/one"]) == 2


@pytest.mark.parametrize(
    "left",
    [
        Snapshot(snapshot_name(time.time() + 86400, "old"), 64 * MIB, time.time() - 3600, False),
        Snapshot(snapshot_name(time.time() + 86400, "unknown"), 64 * MIB, None, False),
        Snapshot(snapshot_name(time.time() - 5, "ended"), 64 * MIB, time.time() - 60, False),
        Snapshot(snapshot_name(time.time() + 86400, "size"), 32 * MIB, time.time() - 60, False),
        Snapshot("daily", 64 * MIB, time.time() - 60, False),
    ],
    ids=["old", "unknown age", "ended", "other size", "not ours"],
)
def test_what_is_no_snapshot_of_this_growth(ceph, left):
    ceph.snaps["p/one"] = [left]
    grow(ceph, snapshots=SnapshotWish("7d", "job-2"))
    assert [one.name for one in ceph.snaps["p/one"]][0] == left.name and len(ceph.snaps["p/one"]) == 2


def bdev(fake, ceph, check=False):
    """One call of spdk_rbd_bdev without the module: what changed, and the bdev."""
    items = wanted_bdevs([{"name": "a", "state": "grown", "size": "128M"}])
    with Target.open(fake.path, 10) as target:
        manager = BdevManager(target, lambda: ceph, 5, snapshots=SnapshotWish("12h", "job-1"))
        manager.plan(items, [])
        try:
            if not check:
                manager.apply(items)
                manager.read_back(items)
        except HopError:
            manager.after_failure(items)
    return [change.kind for change in manager.changes.items if check or change.done], items[0].result()


def test_a_bdev_grows_with_a_snapshot_of_its_image(fake, ceph):
    fake.add_bdev("a", "p", "one")
    assert bdev(fake, ceph, check=True)[0] == ["snapshot", "image", "bdev"] and ceph.done == []
    kinds, result = bdev(fake, ceph)
    assert kinds == ["snapshot", "image", "bdev"] and [one.name for one in ceph.snaps["p/one"]] == [result["snapshot"]]
    assert bdev(fake, ceph)[1]["snapshot"] is None
    assert steps(ceph) == ["lease", "snapshot", "resize"]


def test_a_bdev_whose_snapshot_fails_says_what_is(fake, ceph, images):
    fake.add_bdev("a", "p", "one")
    ceph.create_snapshot = lambda spec, name: (none for none in ()).throw(ceph._dead(spec, "snap create"))
    kinds, result = bdev(fake, ceph)
    assert kinds == [] and (result["snapshot"], result["changed"], result["action"], images[("p", "one")]) == (None, False, "none", 64 * MIB)


# -- the end of snapshots --------------------------------------------------------------------------------------------


def expire(ceph, check=False, now=THEN, entries=({"pool": "p"},)):
    found = Expiry(ceph, now)
    found.plan(images_of(ceph, entries))
    if not check:
        found.apply()
    return found


def snap(name, size=64 * MIB, protected=False):
    return Snapshot(name, size, THEN - 86400, protected)


def test_only_ours_and_only_when_their_time_has_come(ceph):
    due, later = snapshot_name(THEN - 1, "due"), snapshot_name(THEN + 1, "later")
    strange = PREFIX + "tomorrow-x"
    ceph.snaps["p/one"] = [snap("daily"), snap(due), snap(later), snap(strange), snap("x" + due)]
    checked = expire(ceph, check=True)
    assert ceph.done == [] and len(ceph.snaps["p/one"]) == 5
    done = expire(ceph)
    assert checked.changes.diff() == done.changes.diff() and not done.errors
    assert [one.name for one in ceph.snaps["p/one"]] == ["daily", later, strange, "x" + due]
    told = {item["name"]: (item["action"], item["reason"]) for item in (one.result(False) for one in done.snapshots)}
    assert told == {due: ("removed", None), later: ("none", "its time has not come"), strange: ("none", "its name says no time")}
    assert [one.result(True)["action"] for one in checked.snapshots] == ["removed", "none", "none"]
    assert not expire(ceph).changes.changed


def test_what_is_protected_or_cloned_or_of_a_secondary_stays_and_is_told(ceph):
    cloned, protected = snapshot_name(THEN - 1, "a"), snapshot_name(THEN - 1, "b")
    ceph.snaps["p/one"] = [snap(cloned, protected=True), snap(protected, protected=True)]
    ceph.cloned[f"p/one@{cloned}"] = ["p/copy"]
    found = expire(ceph)
    assert [one.reason for one in found.snapshots] == ["it has clones: p/copy", "it is protected"] and ceph.done == [] and not found.changes.changed
    assert found.snapshots[0].result(False)["clones"] == ["p/copy"]
    ceph.snaps["p/one"] = [snap(snapshot_name(THEN - 1, "c"))]
    ceph.primary = "on the mirror peer site-b"
    assert "site-b" in expire(ceph).snapshots[0].reason and ceph.done == []


def test_what_gets_a_use_between_plan_and_removal_stays(ceph):
    for name, trouble, reason in (
        ("clone", lambda name: ceph.cloned.update({f"p/one@{name}": ["p/copy"]}), "it has clones: p/copy"),
        ("protect", lambda name: ceph.snaps.update({"p/one": [snap(name, protected=True)]}), "it is protected"),
        ("gone", lambda name: ceph.snaps.update({"p/one": []}), "somebody else was quicker"),
    ):
        name = snapshot_name(THEN - 1, name)
        ceph.snaps["p/one"] = [snap(name)]
        found = Expiry(ceph, THEN)
        found.plan(images_of(ceph, [{"pool": "p"}]))
        trouble(name)
        found.apply()
        assert found.snapshots[0].reason == reason and ceph.done == [] and not found.changes.changed and not found.errors


def test_one_that_fails_does_not_keep_the_others(ceph, images):
    images[("p", "two")] = 64 * MIB
    names = [snapshot_name(THEN - 1, "a"), snapshot_name(THEN - 1, "b")]
    ceph.snaps = {"p/one": [snap(names[0])], "p/two": [snap(names[1])]}
    remove = ceph.remove_snapshot

    def refuse(spec, name):
        if spec == ONE:
            raise ceph._error("Ceph refused to snap rm the image", spec, "snap rm", "busy")
        remove(spec, name)

    ceph.remove_snapshot = refuse
    found = expire(ceph, entries=[{"pool": "p"}, {"pool": "p", "image": "none"}])
    assert [error.obj for error in found.errors] == ["p/none", "p/one"]
    assert [one.result(False)["action"] for one in found.snapshots] == ["none", "removed"] and "refused" in found.snapshots[0].reason
    assert [change.done for change in found.changes.items] == [False, True]


def test_an_image_that_went_after_the_pool_was_listed_is_no_error(ceph, images):
    listed = images_of(ceph, [{"pool": "p"}])
    images.clear()
    found = Expiry(ceph, THEN)
    found.plan(listed)
    assert found.errors == [] and found.snapshots == []


def test_places(ceph, images):
    images[("p", "two")] = MIB
    ceph.namespaces = lambda pool: ["n1"]
    ceph.image_names = lambda pool, namespace: ["inside"] if namespace else ["one", "two"]
    inside = ImageSpec("p", "n1", "inside")
    assert images_of(ceph, [{"pool": "p"}]) == {ONE: False, ImageSpec("p", "", "two"): False, inside: False}
    assert images_of(ceph, [{"pool": "p", "image": "one"}, {"pool": "p", "rados_namespace": "n1"}]) == {ONE: True, inside: False}
    with pytest.raises(HopError, match="not a name"):
        images_of(ceph, [{"pool": "p", "image": "one@snap"}])
    with pytest.raises(ImageNotFoundError, match="pool or RADOS namespace q does not exist"):
        images_of(FakeCeph(images), [{"pool": "q"}])


# -- through the programs --------------------------------------------------------------------------------------------


def test_the_programs():
    seen = []
    listing = [{"id": 4, "name": "s", "size": 7, "protected": "true", "timestamp": time.ctime(THEN)}, {"id": 5, "name": "t", "size": 8}]
    answers = {
        "snap ls": (0, json.dumps(listing), ""),
        "children": (0, '[{"pool": "p", "image": "copy"}]', ""),
        "snap create": (17, "", "rbd: failed to create snapshot: (17) File exists"),
        "snap rm": (2, "", "rbd: failed to remove snapshot: (2) No such file or directory"),
        "namespace ls": (0, '[{"name": "n1"}]', ""),
        "ls": (0, '["one"]', ""),
    }

    def run(argv):
        words = argv[argv.index("--id") + 2 :]
        seen.append(words)
        return answers[next(key for key in answers if words[: len(key.split())] == key.split())]

    ceph = ToolCeph(CephOptions("/c", "spdk", None, 7), "/usr/bin/rbd", run)
    assert ceph.snapshots(ONE) == [Snapshot("s", 7, THEN, True), Snapshot("t", 8, None, False)]
    assert ceph.clones(ONE, "s") == ["p/copy"] and ceph.namespaces("p") == ["n1"] and ceph.image_names("p", "n1") == ["one"]
    ceph.create_snapshot(ONE, "s")
    with pytest.raises(ImageNotFoundError):
        ceph.remove_snapshot(ONE, "s")
    assert ["snap", "create", "p/one@s"] in seen and ["snap", "rm", "--no-progress", "p/one@s"] in seen and ["ls", "--format", "json", "p/n1"] in seen
    for code, kind, words in ((124, CephError, "did not answer"), (2, ImageNotFoundError, "does not exist"), (30, CephError, "read-only")):
        answers["snap create"] = (code, "", "rbd: failed to create snapshot: read-only")
        with pytest.raises(kind, match=words):
            ceph.create_snapshot(ONE, "s")
