# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""Whether a target may be stopped, and whether hosts have left it or come back."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.nvmeof.spdk.plugins.filter.upgrade_paths import upgrade_paths
from ansible_collections.nvmeof.spdk.plugins.filter.upgrade_plan import upgrade_plan

GIB = 1024**3
NQN = "nqn.2016-06.io.spdk:cnode1"
UUID = "0a1b2c3d-0000-5000-8000-000000000001"
HOST = "nqn.2014-08.org.nvmexpress:uuid:5f1c6d3a-0d3e-4d8e-9a55-0f6a3f0b7a11"
ADDRESS = {"t1": "192.0.2.10", "t2": "192.0.2.11"}
ASKED = {"target": ["t1", "t2"], "host": ["h1"]}
REFUSED = {"failed": False, "msg": "cannot connect to /var/tmp/spdk.sock: Connection refused"}
DECLARED = [{"nqn": NQN, "listeners": [{"traddr": ADDRESS["t1"], "trsvcid": 4420}]}]


def target(name: str, ana: bool = True) -> dict[str, t.Any]:
    """What the role registered on a target."""
    listener = {"trtype": "TCP", "adrfam": "IPv4", "traddr": ADDRESS[name], "trsvcid": "4420", "ana_state": "optimized" if ana else None}
    subsystem = {
        "nqn": NQN,
        "ana_reporting": ana,
        "listeners": [listener],
        "namespaces": [{"nsid": 1, "bdev": "vol-1", "uuid": UUID}],
        "controllers": [{"cntlid": 1, "hostnqn": HOST}],
    }
    return {"target": {"bdevs": [{"name": "vol-1"}], "subsystems": [subsystem], "problems": []}}


def path(name: str, **more: t.Any) -> dict[str, t.Any]:
    return {
        "controller": {"t1": "nvme0", "t2": "nvme1"}[name],
        "traddr": ADDRESS[name],
        "trsvcid": "4420",
        "state": "live",
        "ana_state": "optimized",
        "size_bytes": GIB,
        **more,
    }


def host(*paths: dict[str, t.Any]) -> dict[str, t.Any]:
    """What the role registered on a host."""
    namespace = {"nqn": NQN, "nsid": 1, "uuid": UUID, "device": "/dev/nvme0n1", "size_bytes": GIB, "paths": list(paths or (path("t1"), path("t2")))}
    return {"host": {"hostnqn": HOST, "namespaces": [namespace]}}


def hostvars(**more: t.Any) -> dict[str, t.Any]:
    measured = {"t1": target("t1"), "t2": target("t2"), "h1": host(), **more}
    return {
        name: {f"target_upgrade__{'target' if name.startswith('t') else 'host'}": answer, **({"spdk_target_subsystems": DECLARED} if name == "t1" else {})}
        for name, answer in measured.items()
    }


def subsystem_of(answer: dict[str, t.Any]) -> dict[str, t.Any]:
    return answer["target"]["subsystems"][0]


def test_a_pair_whose_hosts_have_both_paths_may_lose_one() -> None:
    plan = upgrade_plan(hostvars(), ASKED, "t1")
    assert plan["blockers"] == plan["notes"] == []
    assert plan["drain"][0]["listeners"] == [{"trtype": "TCP", "adrfam": "IPv4", "traddr": ADDRESS["t1"], "trsvcid": "4420", "ana_state": "inaccessible"}]
    assert plan["restore"][0]["listeners"][0]["ana_state"] == "optimized"
    assert plan["expected"] == {"h1": [{"nqn": NQN, "nsid": 1, "uuid": UUID, "portal": "192.0.2.10:4420", "optimized": True, "drains": True}]}
    assert plan["lines"] == ["t1: 1 namespace(s), 1 path(s) of 1 host(s): may be stopped"]


def changed(answer: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    subsystem_of(answer).update(more)
    return answer


STALE = {"object": "vol-1", "hop": "image", "problem": "blocklisted", "severity": "critical"}


@pytest.mark.parametrize(
    ("measured", "text"),
    [
        ({"t2": REFUSED}, "is served by no other living target: t2 cannot be read: cannot connect"),
        ({"t2": {"unreachable": True, "msg": "no route"}}, "t2 cannot be read: host unreachable: no route"),
        ({"t2": changed(target("t2"), nqn=NQN + "2")}, f"t2 does not export {NQN}"),
        ({"t2": changed(target("t2"), namespaces=[])}, "t2 has no namespace 1"),
        ({"t2": changed(target("t2"), namespaces=[{"nsid": 1, "bdev": "vol-1", "uuid": UUID[:-1] + "9"}])}, "t2 has another namespace 1"),
        ({"t2": changed(target("t2"), listeners=[{"traddr": ADDRESS["t2"], "trsvcid": "4420", "ana_state": "inaccessible"}])}, "no accessible listener"),
        ({"t2": {"target": {**target("t2")["target"], "problems": [STALE]}}}, "t2 has a critical problem with it"),
        ({"h1": host(path("t1"))}, "h1: /dev/nvme0n1 (" + NQN + "#1) has no usable path to another target: it has none"),
        ({"h1": host(path("t1"), path("t2", state="connecting"))}, "nvme1 192.0.2.11:4420 (connecting, ANA optimized)"),
        ({"h1": host(path("t1"), path("t2", ana_state="inaccessible"))}, "(live, ANA inaccessible)"),
        ({"h1": host(path("t1"), path("t2", size_bytes=GIB // 2))}, f"{GIB // 2} bytes instead of {GIB}"),
        ({"t1": changed(target("t1"), controllers=[{"cntlid": 1, "hostnqn": HOST[:-1] + "2"}])}, "is no host of the inventory"),
    ],
)
def test_what_nobody_else_serves_blocks_and_can_be_allowed(measured: dict[str, t.Any], text: str) -> None:
    plan = upgrade_plan(hostvars(**measured), ASKED, "t1")
    assert any(text in blocker for blocker in plan["blockers"])
    assert "BLOCKED" in plan["lines"][0]
    plan = upgrade_plan(hostvars(**measured), ASKED, "t1", "yes")
    assert plan["blockers"] == [] and any(text in note for note in plan["notes"])
    # inaccessible without another path would only make the hosts' I/O hang
    assert plan["drain"] == []


@pytest.mark.parametrize(
    ("measured", "text"),
    [
        ({"t1": {"unreachable": True, "msg": "no route"}, "h1": host(path("t1", state="connecting"), path("t2"))}, "t1 cannot be reached"),
        ({"h1": {"unreachable": True, "msg": "no route"}}, "h1 cannot be read, so nobody knows"),
        ({"h1": {}}, "h1 cannot be read"),
        ({"t1": REFUSED}, "the target does not answer, but its path nvme0 192.0.2.10:4420 (live, ANA optimized) is live"),
    ],
)
def test_what_is_not_known_blocks_whatever_is_allowed(measured: dict[str, t.Any], text: str) -> None:
    plan = upgrade_plan(hostvars(**measured), ASKED, "t1", True)
    assert any(text in blocker for blocker in plan["blockers"])


def test_a_target_that_an_interrupted_run_left_stopped_is_finished() -> None:
    plan = upgrade_plan(hostvars(t1=REFUSED, h1=host(path("t1", state="connecting"), path("t2"))), ASKED, "t1")
    assert plan["blockers"] == [] and not plan["running"] and plan["drain"] == []
    assert [wish["portal"] for wish in plan["expected"]["h1"]] == ["192.0.2.10:4420"]


def test_a_path_that_was_down_before_need_not_come_back() -> None:
    second = path("t1", traddr="198.51.100.10", state="connecting", controller="nvme2")
    t1 = target("t1")
    subsystem_of(t1)["listeners"].append({"trtype": "TCP", "traddr": "198.51.100.10", "trsvcid": "4420", "ana_state": "optimized"})
    plan = upgrade_plan(hostvars(t1=t1, h1=host(path("t1"), second, path("t2"))), ASKED, "t1")
    assert plan["blockers"] == [] and [wish["portal"] for wish in plan["expected"]["h1"]] == ["192.0.2.10:4420"]


def test_without_ana_reporting_nothing_is_drained_and_that_is_told() -> None:
    answers = hostvars(t1=target("t1", ana=False), t2=target("t2", ana=False), h1=host(path("t1", ana_state=None), path("t2", ana_state="")))
    plan = upgrade_plan(answers, ASKED, "t1")
    assert plan["blockers"] == [] and plan["drain"] == [] and "not made inaccessible first" in plan["lines"][1]
    assert upgrade_paths(host(path("t1", ana_state=None), path("t2")), plan["expected"]["h1"], True) == []
    t1 = target("t1")
    subsystem_of(t1)["listeners"][0]["ana_state"] = "mixed"
    assert upgrade_plan(hostvars(t1=t1), ASKED, "t1")["drain"] == []


def test_hosts_have_left_when_the_path_is_inaccessible_and_another_is_usable() -> None:
    wishes = upgrade_plan(hostvars(), ASKED, "t1")["expected"]["h1"]
    assert upgrade_paths(host(path("t1", ana_state="inaccessible"), path("t2")), wishes, True) == []
    assert upgrade_paths(host(path("t1", state="connecting"), path("t2")), wishes, True) == []
    assert "still accessible" in upgrade_paths(host(), wishes, True)[0]
    (text,) = upgrade_paths(host(path("t1", ana_state="inaccessible"), path("t2", state="connecting")), wishes, "true")
    assert "no other path is usable" in text


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (host(path("t1", state="connecting"), path("t2")), "connecting"),
        (host(path("t1", ana_state="inaccessible"), path("t2")), "ANA inaccessible"),
        (host(path("t1", ana_state="non-optimized"), path("t2")), "non-optimized"),
        (host(path("t1", size_bytes=GIB // 2), path("t2")), "instead of"),
        (host(path("t2")), "no such path"),
        ({"host": {"namespaces": []}}, "the namespace is gone"),
        ({"unreachable": True, "msg": "no route"}, "the host could not be read: no route"),
    ],
)
def test_hosts_are_back_only_with_every_path_live_optimized_and_of_the_right_size(result: dict[str, t.Any], text: str) -> None:
    wishes = upgrade_plan(hostvars(), ASKED, "t1")["expected"]["h1"]
    assert text in upgrade_paths(result, wishes)[0]
    assert upgrade_paths(host(), wishes) == []


def test_a_path_that_was_not_optimized_need_only_be_usable() -> None:
    answers = hostvars(h1=host(path("t1", ana_state="non-optimized"), path("t2")))
    wishes = upgrade_plan(answers, ASKED, "t1")["expected"]["h1"]
    assert upgrade_paths(host(path("t1", ana_state="non-optimized"), path("t2")), wishes) == []


def test_a_dead_device_beside_the_living_one_does_not_count() -> None:
    wishes = upgrade_plan(hostvars(), ASKED, "t1")["expected"]["h1"]
    result = host()
    dead = copy.deepcopy(result["host"]["namespaces"][0])
    dead.update(device="/dev/nvme0n2", paths=[])
    result["host"]["namespaces"].insert(0, dead)
    assert upgrade_paths(result, wishes) == []
