# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""What targets that export one subsystem may not declare differently."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.nvmeof.spdk.plugins.filter.cntlid_ranges import cntlid_ranges
from ansible_collections.nvmeof.spdk.plugins.filter.target_pairs import target_pairs
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._ha import LAST_CNTLID, SLOTS, HaError, proposed_ranges

NQN = "nqn.2016-06.io.spdk:cnode1"
UUID = "0a1b2c3d-0000-5000-8000-000000000001"
OTHER = "0a1b2c3d-0000-5000-8000-000000000002"
HOST = "nqn.2014-08.org.nvmexpress:uuid:5f1c6d3a-0d3e-4d8e-9a55-0f6a3f0b7a11"
TARGETS = ["t1", "t2"]


def one_target(number: int) -> dict[str, t.Any]:
    """The declared state of a good target."""
    return {
        "spdk_target_rbd_bdevs": [{"name": "vol-1", "pool": "rbd", "image": "vol-1", "uuid": UUID}, {"name": "vol-2", "pool": "rbd", "image": "vol-2"}],
        "spdk_target_subsystems": [
            {
                "nqn": NQN,
                "serial_number": "ONE",
                "ana_reporting": True,
                "min_cntlid": number * 1000 + 1,
                "max_cntlid": number * 1000 + 1000,
                "hosts": [HOST],
                "listeners": [{"traddr": f"192.0.2.{number}", "trsvcid": 4420}],
                "namespaces": [{"bdev": "vol-1", "nsid": 1}, {"bdev": "vol-2", "nsid": 2, "uuid": OTHER}],
            }
        ],
    }


def pair() -> dict[str, t.Any]:
    """Two targets that fit."""
    return {"t1": one_target(1), "t2": one_target(2)}


def test_a_pair_that_fits_has_no_problem() -> None:
    hostvars = pair()
    hostvars["t2"]["spdk_target_subsystems"][0]["namespaces"][0]["uuid"] = UUID.upper()
    assert target_pairs(hostvars, TARGETS) == []
    assert target_pairs(hostvars, TARGETS, "true") == []
    # one that is to go need not be on the other
    subsystem_of(hostvars)["namespaces"].append({"bdev": "vol-3", "state": "absent"})
    assert target_pairs(hostvars, TARGETS) == []


def subsystem_of(hostvars: dict[str, t.Any], name: str = "t2") -> dict[str, t.Any]:
    return hostvars[name]["spdk_target_subsystems"][0]


@pytest.mark.parametrize(
    ("change", "kinds", "text"),
    [
        ({"min_cntlid": 1500, "max_cntlid": 3000}, ["cntlid"], "t1 has 1001 to 2000, which t2 has, too"),
        ({"min_cntlid": None, "max_cntlid": None}, ["cntlid"], "t2 has none (SPDK's default is 1 to 65519)"),
        ({"min_cntlid": 3000, "max_cntlid": 2500}, ["cntlid"], "t2 has 3000 to 2500, no range"),
        ({"max_cntlid": 65520}, ["cntlid"], "no range within 1 to 65519"),
        ({"serial_number": "TWO"}, ["serial_number"], "serial_number differs: ONE on t1, TWO on t2"),
        ({"model_number": "M"}, ["model_number"], "model_number differs: none on t1, M on t2"),
        ({"ana_reporting": False}, ["ana_reporting"], "True on t1, False on t2"),
        ({"hosts": []}, ["hosts"], f"{HOST} on t1, nobody on t2"),
        ({"allow_any_host": True}, ["hosts"], "any host on t2"),
        ({"namespaces": [{"bdev": "vol-1", "nsid": 1}]}, ["namespace"], "namespace 2 (rbd/vol-2 on t1) is not on t2"),
        ({"namespaces": [{"bdev": "vol-1", "nsid": 1}, {"bdev": "vol-2", "uuid": OTHER}]}, ["nsid", "namespace"], "vol-2 has no nsid"),
        (
            {"namespaces": [{"bdev": "vol-1", "nsid": 1, "uuid": OTHER[:-1] + "9"}, {"bdev": "vol-2", "nsid": 2, "uuid": OTHER}]},
            ["uuid"],
            f"the uuid of namespace 1 differs: {UUID} on t1, {OTHER[:-1]}9 on t2",
        ),
        (
            {"namespaces": [{"bdev": "vol-1", "nsid": 1, "nguid": "00" * 16}, {"bdev": "vol-2", "nsid": 2, "uuid": OTHER}]},
            ["nguid"],
            "the nguid of namespace 1 differs",
        ),
        (
            {"namespaces": [{"bdev": "vol-2", "nsid": 1, "uuid": UUID}, {"bdev": "vol-1", "nsid": 2, "uuid": OTHER}]},
            ["image", "image"],
            "the image of namespace 1 differs: rbd/vol-1 on t1, rbd/vol-2 on t2",
        ),
        (
            {"namespaces": [{"bdev": "vol-1", "nsid": 1, "anagrpid": 7}, {"bdev": "vol-2", "nsid": 2, "uuid": OTHER}]},
            ["ANA group"],
            "the ANA group of namespace 1 differs: 1 on t1, 7 on t2",
        ),
        ({"listeners": [{"traddr": "192.0.2.1", "trsvcid": "4420"}]}, ["listeners"], "t1 and t2 all listen on 192.0.2.1:4420"),
        ({"listeners": [{"traddr": "127.0.0.1"}, {"traddr": "0.0.0.0"}, {"traddr": "::"}]}, [], ""),
    ],
)
def test_every_difference_is_told_once(change: dict[str, t.Any], kinds: list[str], text: str) -> None:
    hostvars = pair()
    subsystem_of(hostvars).update(change)
    problems = target_pairs(hostvars, TARGETS)
    assert [problem["kind"] for problem in problems] == kinds
    assert all(problem["nqn"] == NQN and problem["remedy"] and problem["targets"] for problem in problems)
    assert text in " | ".join(problem["line"] for problem in problems)


def test_read_only_and_block_size_come_from_the_bdevs() -> None:
    hostvars = pair()
    hostvars["t2"]["spdk_target_rbd_bdevs"][0].update(read_only=True, block_size=4096)
    assert {problem["kind"] for problem in target_pairs(hostvars, TARGETS)} == {"read-only flag", "block size"}


def test_a_uuid_that_nobody_declares_would_be_another_on_each_target() -> None:
    hostvars = pair()
    for name in TARGETS:
        del hostvars[name]["spdk_target_rbd_bdevs"][0]["uuid"]
    (problem,) = target_pairs(hostvars, TARGETS)
    assert problem["kind"] == "uuid" and "no declared UUID on t1 and t2" in problem["problem"]


def test_inaccessible_everywhere_and_no_listener_anywhere() -> None:
    hostvars = pair()
    for name in TARGETS:
        subsystem_of(hostvars, name)["listeners"][0]["ana_state"] = "inaccessible"
    assert [problem["kind"] for problem in target_pairs(hostvars, TARGETS)] == ["ana_state"]
    subsystem_of(hostvars)["listeners"][0]["ana_state"] = "non_optimized"
    assert target_pairs(hostvars, TARGETS) == []
    for name in TARGETS:
        subsystem_of(hostvars, name)["listeners"] = []
    assert [problem["kind"] for problem in target_pairs(hostvars, TARGETS)] == ["listeners"]


def test_what_is_not_shared_or_absent_is_not_compared() -> None:
    hostvars = pair()
    subsystem_of(hostvars).update(nqn=NQN + "2", serial_number="TWO", min_cntlid=None, max_cntlid=None)
    assert target_pairs(hostvars, TARGETS) == []
    hostvars = pair()
    subsystem_of(hostvars).update(state="absent", serial_number="TWO")
    assert target_pairs(hostvars, TARGETS) == []
    assert target_pairs({"t1": one_target(1)}, ["t1", "not in the inventory"]) == []


def test_the_error_proposes_ranges_ready_to_paste_and_keeps_what_is_declared() -> None:
    hostvars = pair()
    subsystem_of(hostvars).update(min_cntlid=None, max_cntlid=None)
    (problem,) = target_pairs(hostvars, TARGETS)
    assert "t1: {min_cntlid: 1001, max_cntlid: 2000}; t2: {min_cntlid: 2048, max_cntlid: 4094}" in problem["remedy"]


def ranges_of(hostvars: dict[str, t.Any], names: list[str], name: str) -> list[dict[str, t.Any]]:
    return cntlid_ranges(hostvars[name]["spdk_target_subsystems"], hostvars, names, name)


def test_auto_fills_in_only_what_is_not_declared_and_is_the_same_for_more_targets() -> None:
    hostvars = {f"t{n}": one_target(n) for n in range(1, 5)}
    for name in ("t1", "t2", "t3"):
        subsystem_of(hostvars, name).update(min_cntlid=None, max_cntlid=None)
    subsystem_of(hostvars, "t4").update(min_cntlid=6142, max_cntlid=8188)
    names = ["t1", "t2", "t3", "t4"]
    ranges = [(one["min_cntlid"], one["max_cntlid"]) for name in names for one in ranges_of(hostvars, names, name)]
    assert ranges == [(1, 2047), (2048, 4094), (4095, 6141), (6142, 8188)]
    assert [one["min_cntlid"] for one in ranges_of(hostvars, ["t1", "t2"], "t2")] == [2048]
    assert target_pairs(hostvars, names, True) == [] and target_pairs(hostvars, names) != []
    # a clash that is declared is not mended behind the operator's back
    subsystem_of(hostvars, "t4").update(min_cntlid=1, max_cntlid=65519)
    subsystem_of(hostvars, "t3").update(min_cntlid=1, max_cntlid=10)
    assert [problem["kind"] for problem in target_pairs(hostvars, names, True)] == ["cntlid"]


def test_auto_leaves_single_subsystems_and_those_to_be_absent_alone() -> None:
    hostvars = pair()
    alone = {"nqn": NQN + "alone"}
    gone = {"nqn": NQN + "gone", "state": "absent"}
    hostvars["t1"]["spdk_target_subsystems"] += [alone, gone]
    before = copy.deepcopy(hostvars)
    assert ranges_of(hostvars, TARGETS, "t1") == before["t1"]["spdk_target_subsystems"]
    assert hostvars == before
    # a target of another group, and one whose subsystems are variables of a play
    assert cntlid_ranges([alone], hostvars, TARGETS, "t9") == [alone]
    assert cntlid_ranges([alone], {"t1": {}, "t2": {}}, TARGETS, "t1") == [alone]


def test_ranges_end_where_the_ids_end() -> None:
    names = [f"t{n}" for n in range(SLOTS + 1)]
    ranges = proposed_ranges(names[:-1], dict.fromkeys(names[:-1], {}))
    assert max(high for _low, high in ranges.values()) <= LAST_CNTLID
    with pytest.raises(HaError, match="33 targets share one NQN"):
        proposed_ranges(names, dict.fromkeys(names, {}))
