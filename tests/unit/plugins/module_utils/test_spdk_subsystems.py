# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_wish import derived_serial, wanted_subsystems
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystems import SubsystemManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target, TimedOut

NQN = "nqn.2026-01.org.example:vols"
HOST = "nqn.2014-08.org.nvmexpress:uuid:4ca08835-0e71-4c63-85af-4b201ffa646d"
UUID = "0a1b2c3d-0000-4000-8000-00000000000a"


def listener(traddr="192.0.2.1", trsvcid="4420", trtype="TCP", adrfam=None, **options):
    return {"trtype": trtype, "adrfam": adrfam, "traddr": traddr, "trsvcid": trsvcid, **options}


def namespace(bdev, nsid=None, **options):
    return {"bdev": bdev, "nsid": nsid, **options}


@pytest.fixture
def ready(fake):
    """A target with a transport and two bdevs."""
    fake.transports["TCP"] = {"trtype": "TCP", "max_io_size": 131072}
    fake.add_bdev("a", "p", "one", uuid=UUID)
    fake.add_bdev("b", "p", "two", uuid=UUID[:-1] + "b")
    return fake


def run(fake, *entries, check=False, timeout=10):
    wishes = wanted_subsystems(copy.deepcopy(list(entries)))
    with Target.open(fake.path, timeout) as target:
        manager = SubsystemManager(target)
        manager.plan(wishes)
        if not check:
            manager.apply(wishes)
            manager.verify(wishes)
        fake.sent = target.sent
    return manager


def failure(fake, *entries):
    before = copy.deepcopy(fake.subsystems)
    with pytest.raises(HopError) as caught:
        run(fake, *entries)
    assert fake.subsystems == before, "something was touched"
    assert caught.value.remedy
    return caught.value


FULL = {
    "nqn": NQN,
    "ana_reporting": True,
    "hosts": [HOST],
    "listeners": [listener(ana_state="non_optimized"), listener("fd00::1")],
    "namespaces": [namespace("a", 3), namespace("b")],
}


def test_a_whole_subsystem_then_nothing(ready):
    checked = run(ready, FULL, check=True)
    assert ready.subsystems == {}
    manager = run(ready, FULL)
    assert [{"method": call.method, "params": call.params} for call in checked.ordered()] == ready.sent
    assert checked.changes.diff() == manager.changes.diff()
    result = manager.result(NQN)
    assert result["serial_number"] == derived_serial(NQN) and len(result["serial_number"]) == 20
    assert (result["max_namespaces"], result["ana_reporting"], result["allow_any_host"], result["hosts"]) == (256, True, False, [HOST])
    assert {(entry["nsid"], entry["bdev"], entry["uuid"], entry["nguid"]) for entry in result["namespaces"]} == {
        (3, "a", UUID, UUID.replace("-", "")),
        (1, "b", UUID[:-1] + "b", UUID.replace("-", "")[:-1] + "b"),
    }
    assert [(entry["traddr"], entry["adrfam"], entry["ana_state"]) for entry in result["listeners"]] == [
        ("192.0.2.1", "IPv4", "non_optimized"),
        ("fd00::1", "IPv6", "optimized"),
    ]
    ready.calls.clear()
    again = run(ready, FULL)
    assert not again.changes.changed and ready.sent == []


def test_addresses_are_compared_as_addresses(ready):
    run(ready, FULL)
    other = {**FULL, "listeners": [listener("192.0.2.1", trtype="tcp", adrfam="ipv4"), listener("fd00:0:0:0:0:0:0:1")], "purge": True}
    assert not run(ready, other).changes.changed


def test_lists_that_are_not_given_are_left_alone_even_with_purge(ready):
    run(ready, FULL)
    assert not run(ready, {"nqn": NQN, "purge": True}).changes.changed


def test_purge_removes_what_is_not_named(ready):
    run(ready, FULL)
    run(ready, {"nqn": NQN, "hosts": [], "listeners": [listener("fd00::1")], "namespaces": [namespace("a")], "purge": True})
    entry = ready.subsystems[NQN]
    assert entry["hosts"] == {} and len(entry["listeners"]) == 1 and list(entry["namespaces"]) == [3]


@pytest.mark.parametrize("wish", [{"state": "absent"}, {"namespaces": [], "purge": True}, {"hosts": [], "purge": True}, {"listeners": [], "purge": True}])
def test_nothing_is_taken_from_connected_hosts_without_force(ready, wish):
    run(ready, FULL)
    ready.controllers[NQN] = [{"cntlid": 1, "hostnqn": HOST}]
    assert HOST in failure(ready, {"nqn": NQN, **wish}).message
    assert run(ready, {"nqn": NQN, "force": True, **wish}).changes.changed


def test_a_release_that_cannot_tell_who_is_connected_needs_force(make_target):
    fake = make_target((20, 7))
    fake.transports["TCP"] = {"trtype": "TCP"}
    run(fake, {"nqn": NQN})
    assert "cannot tell" in failure(fake, {"nqn": NQN, "state": "absent"}).message
    run(fake, {"nqn": NQN, "state": "absent", "force": True})
    assert fake.subsystems == {}


@pytest.mark.parametrize(
    "given",
    [{"serial_number": "OTHER"}, {"model_number": "other"}, {"max_namespaces": 8}, {"ana_reporting": False}, {"min_cntlid": 100}, {"max_cntlid": 200}],
)
def test_what_spdk_cannot_change_is_an_error(ready, given):
    run(ready, FULL)
    error = failure(ready, {"nqn": NQN, **given})
    assert "SPDK cannot change it" in error.cause and next(iter(given)) in error.message


def test_a_namespace_never_becomes_another_volume_without_force(ready):
    run(ready, {"nqn": NQN, "namespaces": [namespace("a", 1)]})
    wish = {"nqn": NQN, "namespaces": [namespace("b", 1)]}
    assert "another volume" in failure(ready, wish).message
    run(ready, {**wish, "force": True})
    assert ready.subsystems[NQN]["namespaces"][1]["bdev_name"] == "b"


def test_another_uuid_of_a_namespace_is_an_error(ready):
    run(ready, {"nqn": NQN, "namespaces": [namespace("a", 1)]})
    assert "uuid" in failure(ready, {"nqn": NQN, "namespaces": [namespace("a", 1, uuid=UUID[:-1] + "f")]}).message


def test_a_bdev_under_another_nsid_is_an_error(ready):
    run(ready, {"nqn": NQN, "namespaces": [namespace("a", 1)]})
    assert "already namespace 1" in failure(ready, {"nqn": NQN, "namespaces": [namespace("a", 2)]}).message


def test_a_bdev_of_another_subsystem_or_none(ready):
    run(ready, {"nqn": NQN, "namespaces": [namespace("a", 1)]})
    assert "already in use" in failure(ready, {"nqn": NQN + "2", "namespaces": [namespace("a")]}).message
    assert failure(ready, {"nqn": NQN + "2", "namespaces": [namespace("none")]}).hop == "bdev"


def test_an_nsid_above_the_limit(ready):
    assert "max_namespaces 4" in failure(ready, {"nqn": NQN, "max_namespaces": 4, "namespaces": [namespace("a", 5)]}).message


def test_ana_states_are_set_and_need_ana_reporting(ready):
    run(ready, FULL)
    run(ready, {"nqn": NQN, "listeners": [listener(ana_state="inaccessible")]})
    assert "inaccessible" in [entry["ana"][1] for entry in ready.subsystems[NQN]["listeners"].values()]
    run(ready, {"nqn": NQN + "2"})
    assert "ana_reporting" in failure(ready, {"nqn": NQN + "2", "listeners": [listener(ana_state="optimized")]}).remedy


def test_an_ana_state_before_ana_names_the_release(make_target):
    fake = make_target((20, 7))
    fake.transports["TCP"] = {"trtype": "TCP"}
    assert "20.10" in failure(fake, {"nqn": NQN, "ana_reporting": True}).remedy


def test_a_lost_answer_is_read_again(ready):
    ready.silent.add("nvmf_create_subsystem")
    run(ready, {"nqn": NQN, "hosts": [HOST]}, timeout=0.4)
    assert [method for method, _params in ready.calls].count("nvmf_create_subsystem") == 1
    assert list(ready.subsystems[NQN]["hosts"]) == [HOST]


def test_of_lost_answers_what_happened_is_told_and_nothing_is_sent_twice(ready, monkeypatch):
    run(ready, {"nqn": NQN})
    original = ready.nvmf_subsystem_add_ns
    ready.silent.add("nvmf_subsystem_add_ns")
    monkeypatch.setattr(ready, "nvmf_subsystem_add_ns", lambda nqn, namespace: original(nqn, namespace) if namespace["bdev_name"] == "a" else None)
    ready.calls.clear()
    wishes = wanted_subsystems([{"nqn": NQN, "namespaces": [namespace("a", 1), namespace("b", 2)], "listeners": [listener()]}])
    with Target.open(ready.path, 1) as target:
        manager = SubsystemManager(target)
        manager.plan(wishes)
        with pytest.raises(TimedOut):
            manager.apply(wishes)
    assert [change.after["namespaces"][0]["bdev"] for change in manager.changes.items if change.done] == ["a"]
    sent = [method for method, _params in ready.calls if "_add_" in method]
    assert sent == ["nvmf_subsystem_add_ns"] * 2  # and no listener


def test_a_listener_the_target_refuses(fake):
    with pytest.raises(HopError) as caught:
        run(fake, {"nqn": NQN, "listeners": [listener()]})
    assert caught.value.call == "nvmf_subsystem_add_listener" and "transport" in caught.value.remedy


def test_many_subsystems_in_one_connection(ready):
    entries = [{"nqn": f"{NQN}{number}", "hosts": [HOST], "listeners": [listener(trsvcid=str(5000 + number))]} for number in range(100)]
    run(ready, *entries)
    assert len(ready.subsystems) == 100 and ready.connections == 1
    ready.calls.clear()
    run(ready, *entries)
    assert len(ready.calls) <= 8


@pytest.mark.parametrize(
    "entry",
    [
        {"nqn": "vols"},
        {"nqn": ""},
        {"nqn": "nqn.2026-01.org.example:" + "x" * 230},
        {"nqn": "nqn.2014-08.org.nvmexpress.discovery", "state": "absent"},
        {"nqn": NQN, "serial_number": "x" * 21},
        {"nqn": NQN, "serial_number": ""},
        {"nqn": NQN, "model_number": "ä"},
        {"nqn": NQN, "max_namespaces": 0},
        {"nqn": NQN, "min_cntlid": 0},
        {"nqn": NQN, "min_cntlid": 100, "max_cntlid": 50},
        {"nqn": NQN, "max_cntlid": 65520},
        {"nqn": NQN, "hosts": ["host"]},
        {"nqn": NQN, "listeners": [listener(trsvcid="port")]},
        {"nqn": NQN, "listeners": [listener(trsvcid="70000")]},
        {"nqn": NQN, "listeners": [listener(traddr="")]},
        {"nqn": NQN, "listeners": [listener("::1"), listener("0:0:0:0:0:0:0:1")]},
        {"nqn": NQN, "namespaces": [namespace("a", 0)]},
        {"nqn": NQN, "namespaces": [namespace("a", 1), namespace("b", 1)]},
        {"nqn": NQN, "namespaces": [namespace("a"), namespace("a")]},
        {"nqn": NQN, "namespaces": [namespace("a", uuid="x")]},
        {"nqn": NQN, "namespaces": [namespace("a", nguid="12")]},
    ],
)
def test_wishes_that_cannot_be_meant(entry):
    with pytest.raises(HopError) as caught:
        wanted_subsystems([entry])
    assert caught.value.remedy


def test_one_subsystem_twice():
    with pytest.raises(HopError, match="twice"):
        wanted_subsystems([{"nqn": NQN}, {"nqn": NQN}])
