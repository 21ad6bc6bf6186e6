# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which volumes go first, and who has what to do in a stage."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth_stages import canaries, merged, no_work, stages

ACTING = ["rbd/a", "rbd/b", "rbd/c"]


@pytest.mark.parametrize(
    ("canary", "named", "first"),
    [
        ("", [], ["rbd/a"]),
        ("1", [], ["rbd/a"]),
        (2, [], ["rbd/a", "rbd/b"]),
        ("0", [], []),
        ("7", [], []),
        ("c", ["rbd/c"], ["rbd/c"]),
        ("x", ["rbd/has-nothing-to-do"], []),
    ],
)
def test_how_many_or_which_go_first(canary: Any, named: list[str], first: list[str]) -> None:
    assert canaries(ACTING, canary, named) == first


def test_a_single_volume_needs_no_canary() -> None:
    assert canaries(["rbd/a"], "") == []


def work(host: str, name: str) -> dict[str, Any]:
    return {**no_work(), "targets": {"t1": [{"name": name}]}, "initiators": {host: [{"uuid": name}]}}


def test_a_stage_has_one_list_per_host_and_kind_and_names_the_hosts_that_act() -> None:
    found = stages({"rbd/a": work("h1", "a"), "rbd/b": work("h2", "b"), "rbd/c": work("h2", "c")}, ["rbd/a"])
    assert found["canary"]["volumes"] == ["rbd/a"] and found["canary"]["hosts"] == ["h1"]
    assert found["rest"]["volumes"] == ["rbd/b", "rbd/c"] and found["rest"]["hosts"] == ["h2"]
    assert found["rest"]["targets"] == {"t1": [{"name": "b"}, {"name": "c"}]} and found["rest"]["initiators"] == {"h2": [{"uuid": "b"}, {"uuid": "c"}]}


def test_what_was_handed_out_for_one_volume_is_not_changed_by_merging() -> None:
    one = work("h1", "a")
    whole = merged([one, work("h1", "b")])
    assert whole["initiators"]["h1"] == [{"uuid": "a"}, {"uuid": "b"}] and one["initiators"]["h1"] == [{"uuid": "a"}]
