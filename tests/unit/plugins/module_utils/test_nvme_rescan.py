# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Following a growth: the event, the lost event, the stale target, and what is refused before anything is touched."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_rescan import Follower, Wish
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.fake_host import MIB, NQN, UUID1, UUID2, FakeHost

OLD, NEW = 64 * MIB, 80 * MIB


@pytest.fixture(name="host")
def _host(tmp_path: pathlib.Path) -> FakeHost:
    """One namespace through two targets, another through the first only."""
    host = FakeHost(tmp_path)
    host.controller("nvme0")
    host.controller("nvme1", "192.0.2.11")
    host.namespace("nvme0n1", 1, UUID1, OLD, ["nvme0", "nvme1"])
    host.namespace("nvme0n2", 2, UUID2, OLD, ["nvme0", "nvme1"])
    return host


def follow(host: FakeHost, *wishes: Wish, check_mode: bool = False, **options: t.Any) -> list[dict[str, t.Any]]:
    Follower(host.sysfs, host.identify, clock=host.clock, sleep=host.sleep, **options).run(list(wishes), check_mode)
    return [wish.result() for wish in wishes]


def serve(host: FakeHost, size: int, *controllers: str, nsid: int = 1) -> None:
    for controller in controllers:
        host.served[controller, nsid] = size


def show(host: FakeHost, size: int, *blocks: str) -> None:
    for block in blocks:
        host.resize(block, size)


def test_already_there_waits_for_nothing(host: FakeHost) -> None:
    (entry,) = follow(host, Wish(OLD, uuid=UUID1))
    assert (entry["satisfied"], entry["changed"], entry["before_bytes"], entry["size_bytes"], entry["error"]) == (True, False, OLD, OLD, None)
    assert (host.now, host.rescans, host.identify.asked) == (0.0, [], [])


def test_event_alone_is_enough(host: FakeHost) -> None:
    # as measured: a path first, the head some ten milliseconds later, the other path last
    host.at(1.0, lambda: show(host, NEW, "nvme0c0n1"))
    host.at(1.1, lambda: show(host, NEW, "nvme0n1"))
    host.at(1.4, lambda: show(host, NEW, "nvme0c1n1"))
    (entry,) = follow(host, Wish(NEW, uuid=UUID1))
    assert (entry["satisfied"], entry["changed"], entry["before_bytes"], entry["size_bytes"], entry["rescanned"]) == (True, True, OLD, NEW, [])
    assert [(path["before_bytes"], path["size_bytes"], path["served_bytes"]) for path in entry["paths"]] == [(OLD, NEW, None)] * 2
    assert (host.rescans, host.identify.asked) == ([], [])
    assert 1.4 <= host.now < 1.6


def test_lost_event_rescans_one_after_the_other(host: FakeHost) -> None:
    serve(host, NEW, "nvme0", "nvme1")
    (entry,) = follow(host, Wish(NEW, nqn=NQN, nsid=1))
    assert (entry["satisfied"], entry["changed"], entry["rescanned"], entry["size_bytes"]) == (True, True, ["nvme0", "nvme1"], NEW)
    assert [path["served_bytes"] for path in entry["paths"]] == [NEW, NEW]
    assert host.read("sys/class/nvme/nvme0/rescan_controller") == "1"
    # the other namespace was looked after too
    assert host.size("nvme0n2") == OLD


def test_second_controller_is_left_alone_when_the_first_moved_both(host: FakeHost) -> None:
    serve(host, NEW, "nvme0", "nvme1")
    host.at(5.05, lambda: show(host, NEW, "nvme0c1n1"))
    (entry,) = follow(host, Wish(NEW, uuid=UUID1))
    assert (entry["satisfied"], entry["rescanned"]) == (True, ["nvme0"])


def test_only_the_lagging_path_is_rescanned(host: FakeHost) -> None:
    serve(host, NEW, "nvme0", "nvme1")
    show(host, NEW, "nvme0c0n1", "nvme0n1")
    (entry,) = follow(host, Wish(NEW, uuid=UUID1))
    assert (entry["satisfied"], entry["changed"], entry["rescanned"]) == (True, True, ["nvme1"])


def test_stale_target_is_never_rescanned_and_is_named(host: FakeHost) -> None:
    serve(host, NEW, "nvme1")
    (entry,) = follow(host, Wish(NEW, uuid=UUID1))
    assert (entry["satisfied"], entry["rescanned"], host.rescans) == (False, ["nvme1"], ["nvme1"])
    assert (entry["size_bytes"], host.size("nvme0c0n1")) == (NEW, OLD)
    error = entry["error"]
    assert (error["hop"], error["call"]) == ("path", "Identify Namespace")
    assert "nvme0 (tcp 192.0.2.10:4420) serves 64 MiB (67108864 bytes)" in error["message"]
    assert "nvme1" not in error["message"]
    assert "restart that target or disconnect this path" in error["remedy"]


def test_head_pulled_back_by_a_stale_path_is_healed_by_the_healthy_one(host: FakeHost) -> None:
    serve(host, NEW, "nvme1")
    show(host, NEW, "nvme0c1n1")
    (entry,) = follow(host, Wish(NEW, uuid=UUID1))
    assert (host.rescans, entry["size_bytes"], entry["satisfied"]) == (["nvme1"], NEW, False)


def test_head_is_right_and_a_path_is_stale(host: FakeHost) -> None:
    serve(host, NEW, "nvme0")
    show(host, NEW, "nvme0c0n1", "nvme0n1")
    (entry,) = follow(host, Wish(NEW, uuid=UUID1))
    assert (host.rescans, entry["size_bytes"], entry["satisfied"]) == ([], NEW, False)
    assert "nvme1 (tcp 192.0.2.11:4420) serves 64 MiB" in entry["error"]["message"]


def test_no_target_has_grown(host: FakeHost) -> None:
    (entry,) = follow(host, Wish(NEW, uuid=UUID1))
    assert (host.rescans, entry["error"]["hop"], entry["changed"]) == ([], "namespace", False)
    assert "spdk_rbd_bdev" in entry["error"]["remedy"]


def test_target_that_does_not_answer_is_not_rescanned(host: FakeHost) -> None:
    host.served["nvme0", 1] = "Interrupted system call"
    serve(host, NEW, "nvme1")
    (entry,) = follow(host, Wish(NEW, uuid=UUID1))
    assert host.rescans == ["nvme1"]
    assert "nvme0 (tcp 192.0.2.10:4420) does not answer Identify (Interrupted system call)" in entry["error"]["message"]
    assert [path["served_bytes"] for path in entry["paths"]] == [None, NEW]


def test_controller_stale_for_another_namespace_is_not_rescanned(host: FakeHost) -> None:
    # nvme0 has the new size of namespace 1, but would shrink namespace 2
    serve(host, NEW, "nvme0", "nvme1")
    serve(host, NEW, "nvme1", nsid=2)
    show(host, NEW, "nvme0n2", "nvme0c1n2")
    (entry,) = follow(host, Wish(NEW, uuid=UUID1))
    assert host.rescans == ["nvme1"]
    assert (host.size("nvme0n2"), entry["satisfied"]) == (NEW, False)
    assert "was not rescanned: for /dev/nvme0n2" in entry["error"]["message"]


def test_both_reasons_are_told(host: FakeHost) -> None:
    # nvme1 is behind for namespace 1, and the healthy nvme0 cannot help because it is behind for namespace 2
    serve(host, NEW, "nvme0")
    serve(host, NEW, "nvme1", nsid=2)
    show(host, NEW, "nvme0n2", "nvme0c1n2")
    (entry,) = follow(host, Wish(NEW, uuid=UUID1))
    assert host.rescans == []
    assert "nvme1 (tcp 192.0.2.11:4420) serves 64 MiB" in entry["error"]["message"]
    assert "nvme0 (tcp 192.0.2.10:4420) was not rescanned: for /dev/nvme0n2" in entry["error"]["message"]


def test_rescan_that_changes_nothing_is_an_error(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "kernel_rescan", lambda _controller: None)
    serve(host, NEW, "nvme0", "nvme1")
    (entry,) = follow(host, Wish(NEW, uuid=UUID1), wait_timeout=3)
    assert (entry["satisfied"], entry["rescanned"]) == (False, ["nvme0", "nvme1"])
    assert "shows 64 MiB (67108864 bytes) instead of 80 MiB after a rescan of nvme0, nvme1" in entry["error"]["message"]


def test_larger_is_as_wanted_but_not_exact(host: FakeHost) -> None:
    plain, exact = follow(host, Wish(32 * MIB, uuid=UUID1), Wish(32 * MIB, uuid=UUID1, exact=True))
    assert (plain["satisfied"], plain["changed"]) == (True, False)
    assert exact["error"]["hop"] == "device"
    assert host.rescans == []


def test_path_that_is_not_live_stops_it_before_anything(host: FakeHost) -> None:
    host.write("sys/class/nvme/nvme1/state", "connecting\n")
    host.write("sys/class/nvme/nvme1/address", "traddr=192.0.2.11,trsvcid=4420\n")
    (entry,) = follow(host, Wish(NEW, uuid=UUID1))
    assert (host.now, host.rescans, host.identify.asked) == (0.0, [], [])
    assert entry["error"]["hop"] == "path"
    assert "nvme1 (tcp 192.0.2.11:4420) is connecting" in entry["error"]["message"]
    assert "allow_degraded" in entry["error"]["remedy"]


def test_allow_degraded_goes_on_with_the_living(host: FakeHost) -> None:
    host.write("sys/class/nvme/nvme1/state", "connecting\n")
    serve(host, NEW, "nvme0")
    (entry,) = follow(host, Wish(NEW, uuid=UUID1), allow_degraded=True)
    assert (entry["satisfied"], entry["rescanned"], host.identify.asked[0]) == (True, ["nvme0"], ("nvme0", 1))
    assert ("nvme1", 1) not in host.identify.asked


def test_no_living_path_is_an_error_even_degraded(host: FakeHost) -> None:
    for name in ("nvme0", "nvme1"):
        host.write(f"sys/class/nvme/{name}/state", "connecting\n")
    (entry,) = follow(host, Wish(NEW, uuid=UUID1), allow_degraded=True)
    assert "no path of /dev/nvme0n1 is live" in entry["error"]["message"]


def test_path_lost_while_waiting(host: FakeHost) -> None:
    host.at(1.0, lambda: show(host, NEW, "nvme0n1", "nvme0c0n1"))
    host.at(1.0, lambda: host.write("sys/class/nvme/nvme1/state", "resetting\n"))
    (entry,) = follow(host, Wish(NEW, uuid=UUID1))
    assert entry["error"]["message"] == "a path was lost meanwhile: nvme1 (tcp 192.0.2.11:4420) is resetting"


def test_same_uuid_on_two_subsystems_is_refused(host: FakeHost) -> None:
    host.controller("nvme2", nqn=NQN + "-other")
    host.namespace("nvme1n1", 1, UUID1, OLD, ["nvme2"])
    by_uuid, by_device = follow(host, Wish(NEW, uuid=UUID1), Wish(NEW, nqn=NQN, nsid=1))
    for entry in (by_uuid, by_device):
        assert entry["error"]["message"].startswith("two namespaces with the same uuid")
    assert host.identify.asked == []


def test_dead_head_beside_the_living_one(host: FakeHost) -> None:
    host.namespace("nvme0n7", 1, UUID1, OLD, [], link=False)
    (entry,) = follow(host, Wish(OLD, uuid=UUID1))
    assert (entry["device"], entry["satisfied"]) == ("/dev/nvme0n1", True)


def test_absent_namespace_says_where_it_lags(host: FakeHost) -> None:
    connected, other = follow(host, Wish(NEW, uuid="33333333-3333-4333-8333-333333333333"), Wish(NEW, nqn=NQN + "x", nsid=1))
    assert connected["error"]["hop"] == "namespace"
    assert (other["error"]["hop"], other["error"]["remedy"]) == ("path", "connect its subsystem with nvme_connection")
    assert (other["nqn"], other["nsid"], other["size_bytes"], other["paths"]) == (NQN + "x", 1, None, [])


@pytest.mark.parametrize("device", ["/dev/nvme0", "/dev/nvme0c0n1", "/dev/nvme0n1p1", "/dev/sda"])
def test_device_that_is_no_namespace(host: FakeHost, device: str) -> None:
    (entry,) = follow(host, Wish(NEW, device=device))
    assert entry["error"]["message"] == f"{device} is not an NVMe namespace"


def test_device_and_link_name_the_namespace(host: FakeHost) -> None:
    link = host.root / "link"
    link.symlink_to("/dev/nvme0n2")
    one, two = follow(host, Wish(OLD, device="/dev/nvme0n1"), Wish(OLD, device=str(link)))
    assert (one["uuid"], two["uuid"]) == (UUID1, UUID2)


def test_many_share_the_waiting_and_fail_on_their_own(host: FakeHost) -> None:
    for number in range(3, 43):
        host.namespace(f"nvme0n{number}", number, f"00000000-0000-4000-8000-{number:012d}", OLD, ["nvme0"])
        host.at(2.0, lambda name=number: show(host, NEW, f"nvme0n{name}", f"nvme0c0n{name}"))
    # one that never grows, one that is not there
    wishes = [Wish(NEW, nqn=NQN, nsid=number) for number in range(3, 43)] + [Wish(NEW, uuid=UUID1), Wish(NEW, nqn=NQN, nsid=99)]
    entries = follow(host, *wishes)
    assert [entry["satisfied"] for entry in entries] == [True] * 40 + [False, False]
    assert [entry["error"] is None for entry in entries] == [True] * 40 + [False, False]
    # not 42 times the five seconds
    assert host.now < 6


def test_one_rescan_serves_all_namespaces_of_a_controller(host: FakeHost) -> None:
    serve(host, NEW, "nvme0", "nvme1")
    serve(host, NEW, "nvme0", "nvme1", nsid=2)
    entries = follow(host, Wish(NEW, uuid=UUID1), Wish(NEW, uuid=UUID2))
    assert [entry["satisfied"] for entry in entries] == [True, True]
    assert host.rescans == ["nvme0", "nvme1"]


def test_check_mode_touches_nothing(host: FakeHost) -> None:
    serve(host, NEW, "nvme0", "nvme1")
    wish, there = Wish(NEW, uuid=UUID1), Wish(OLD, uuid=UUID2)
    follow(host, wish, there, check_mode=True)
    assert (wish.lagged, there.lagged) == (True, False)
    assert (host.now, host.rescans, host.identify.asked) == (0.0, [], [])


def test_multipath_off_moves_every_device(tmp_path: pathlib.Path) -> None:
    host = FakeHost(tmp_path, multipath="N")
    host.controller("nvme0")
    host.controller("nvme1", "192.0.2.11")
    host.single("nvme0n1", 1, UUID1, OLD, "nvme0")
    host.single("nvme1n1", 1, UUID1, OLD, "nvme1")
    serve(host, NEW, "nvme0", "nvme1")
    (entry,) = follow(host, Wish(NEW, uuid=UUID1))
    assert (entry["satisfied"], host.size("nvme0n1"), host.size("nvme1n1"), entry["device"]) == (True, NEW, NEW, "/dev/nvme1n1")


def test_controller_gone_before_its_rescan(host: FakeHost) -> None:
    serve(host, NEW, "nvme0", "nvme1")
    (host.root / "sys/class/nvme/nvme0/rescan_controller").unlink()
    (host.root / "sys/class/nvme/nvme0").chmod(0o755)
    host.remove("nvme0")
    (entry,) = follow(host, Wish(NEW, uuid=UUID1))
    assert (entry["satisfied"], [path["controller"] for path in entry["paths"]]) == (True, ["nvme1"])


NEW_UUID = "33333333-3333-4333-8333-333333333333"


def test_a_new_namespace_is_waited_for(host: FakeHost) -> None:
    host.at(2.0, lambda: host.namespace("nvme0n3", 3, NEW_UUID, OLD, ["nvme0", "nvme1"]))
    (entry,) = follow(host, Wish(OLD, uuid=NEW_UUID), appear_timeout=10)
    assert (entry["error"], entry["satisfied"], entry["device"], entry["changed"]) == (None, True, "/dev/nvme0n3", False)
    assert 2.0 <= host.now < 3 and host.rescans == []


def test_a_new_namespace_that_does_not_come_is_an_error_after_the_time(host: FakeHost) -> None:
    (entry,) = follow(host, Wish(OLD, uuid=NEW_UUID), appear_timeout=3)
    assert entry["error"]["hop"] == "namespace" and 3 <= host.now < 4
    (entry,) = follow(host, Wish(OLD, uuid=NEW_UUID), appear_timeout=3, check_mode=True)
    assert entry["error"] and host.now < 4, "check mode waits for nothing"
