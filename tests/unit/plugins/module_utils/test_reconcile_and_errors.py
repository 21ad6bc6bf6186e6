# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HOPS, HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Changes


def test_an_error_names_its_parts():
    error = HopError("it failed", obj="vol-1", hop="bdev", call="bdev_rbd_create", cause="error -1", remedy="look")
    assert str(error) == "bdev vol-1: it failed [call: bdev_rbd_create] [cause: error -1] Next step: look"
    assert error.as_dict() == {"object": "vol-1", "hop": "bdev", "call": "bdev_rbd_create", "cause": "error -1", "remedy": "look", "message": "it failed"}
    assert error.hop in HOPS


def test_an_error_without_details():
    error = HopError("it failed", obj="vol-1", hop="image")
    assert str(error) == "image vol-1: it failed" and error.as_dict()["remedy"] is None


def test_changes_are_applied_in_order_and_stop_at_the_first_error():
    done = []

    def fail():
        raise HopError("no", obj="b", hop="bdev")

    changes = Changes()
    changes.add("bdev", "a", "create", None, {"x": 1}, lambda: done.append("a"))
    changes.add("bdev", "b", "create", None, {"x": 1}, fail)
    changes.add("bdev", "c", "create", None, {"x": 1}, lambda: done.append("c"))
    assert changes.changed and not changes.applied
    with pytest.raises(HopError):
        changes.apply(False)
    assert done == ["a"] and changes.applied and [change.done for change in changes.items] == [True, False, False]


def test_check_mode_calls_nothing_and_shows_the_same():
    def never():
        raise AssertionError("called in check mode")

    changes = Changes()
    changes.add("bdev", "a", "grow", {"size_bytes": 1}, {"size_bytes": 2}, never)
    changes.apply(True)
    assert changes.changed
    assert changes.diff() == [{"before_header": "bdev a", "after_header": "bdev a", "before": {"size_bytes": 1}, "after": {"size_bytes": 2}}]
    assert changes.summaries() == [{"kind": "bdev", "name": "a", "action": "grow", "before": {"size_bytes": 1}, "after": {"size_bytes": 2}}]
    assert len(changes.of("bdev", "a")) == 1 and changes.of("bdev", "b") == []


def test_changes_of_one_object_are_one_diff_and_lists_add_up():
    changes = Changes()
    changes.add("subsystem", "n", "create", None, {"state": "present"}, lambda: None)
    changes.add("subsystem", "n", "host", {"hosts": []}, {"hosts": ["a"]}, lambda: None)
    changes.add("subsystem", "n", "host", {"hosts": []}, {"hosts": ["b"]}, lambda: None)
    (diff,) = changes.diff()
    assert diff["before"] == {"state": "absent", "hosts": []} and diff["after"] == {"state": "present", "hosts": ["a", "b"]}


def test_no_changes():
    assert not Changes().changed and Changes().diff() == [] and Changes().summaries() == []
