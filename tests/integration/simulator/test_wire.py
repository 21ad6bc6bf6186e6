# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the recordings hold only in part: large requests, many connections, one thread, half a request."""

from __future__ import annotations

import json
from typing import Iterator

import pytest
from simulator_process import Answer, Simulator, connect, eventually, exchange, tell

MIB = 1024 * 1024
MEMORY = {"users": ["admin"], "pools": {"p": {"a": 64 * MIB}}}


@pytest.fixture
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A running simulator with one image, p/a."""
    with Simulator(tmp_path_factory.mktemp("w"), memory=MEMORY) as running:
        yield running


def request(size: int) -> bytes:
    """A good request of exactly `size` bytes."""
    frame = '{"jsonrpc":"2.0","id":1,"method":"bdev_get_bdevs","params":{"name":"%s"}}'
    return (frame % ("x" * (size - len(frame) + 2))).encode()


def test_a_request_of_a_quarter_mebibyte_is_answered_and_a_larger_one_closes(simulator: Simulator) -> None:
    with connect(simulator.socket) as sock:
        answers, closed = exchange(sock, request(250_000), 1)
        assert not closed and answers[0]["error"] == {"code": -19, "message": "No such device"}
    with connect(simulator.socket) as sock:
        assert exchange(sock, request(MIB), 1) == ([], True)
    assert simulator.call("bdev_get_bdevs") == []


def test_a_good_request_before_a_malformed_one_gets_no_answer_but_is_done(simulator: Simulator) -> None:
    create = {"jsonrpc": "2.0", "id": 1, "method": "bdev_null_create", "params": {"name": "N", "block_size": 512, "num_blocks": 8}}
    with connect(simulator.socket) as sock:
        assert exchange(sock, json.dumps(create).encode() + b"{nope", 1) == ([], True)
    assert [bdev["name"] for bdev in simulator.call("bdev_get_bdevs")] == ["N"]


def test_a_request_may_come_in_pieces_and_pretty_printed(simulator: Simulator) -> None:
    text = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "bdev_get_bdevs", "params": {"name": "né"}}, indent=2, ensure_ascii=False).encode()
    with connect(simulator.socket) as sock:
        for at in range(len(text) - 1):
            sock.sendall(text[at : at + 1])
        answers, closed = exchange(sock, text[-1:], 1)
    assert not closed and answers == [{"jsonrpc": "2.0", "id": 7, "error": {"code": -19, "message": "No such device"}}]


def test_an_error_to_a_notification_is_answered_with_a_null_id(simulator: Simulator) -> None:
    with connect(simulator.socket) as sock:
        answers, _closed = exchange(sock, b'{"method":"bdev_get_bdevs","params":{"name":"no"}}', 1)
    assert answers == [{"jsonrpc": "2.0", "id": None, "error": {"code": -19, "message": "No such device"}}]


def test_waiting_for_a_bdev_holds_up_nobody(simulator: Simulator) -> None:
    with connect(simulator.socket) as sock:
        wait = {"jsonrpc": "2.0", "id": 1, "method": "bdev_get_bdevs", "params": {"name": "later", "timeout": 20000}}
        ask = {"jsonrpc": "2.0", "id": 2, "method": "spdk_get_version"}
        answers, _closed = exchange(sock, json.dumps(wait).encode() + json.dumps(ask).encode(), 1)
        assert answers[0]["id"] == 2
        simulator.call("bdev_null_create", {"name": "later", "block_size": 512, "num_blocks": 8})
        answers, _closed = exchange(sock, b"", 1)
    assert answers[0]["id"] == 1 and answers[0]["result"][0]["name"] == "later"


def test_the_sixty_fifth_connection_waits_for_a_place(simulator: Simulator) -> None:
    ask = b'{"jsonrpc":"2.0","id":1,"method":"spdk_get_version"}'
    many = [connect(simulator.socket) for _number in range(63)]  # the fixture has one already
    try:
        for sock in many:
            assert exchange(sock, ask, 1)[0]
        with connect(simulator.socket) as late:
            late.sendall(ask)
            late.settimeout(0.3)
            with pytest.raises(TimeoutError):
                late.recv(1)
            many.pop().close()
            assert exchange(late, b"", 1)[0][0]["id"] == 1
    finally:
        for sock in many:
            sock.close()


def test_the_fault_switches(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("f")
    control = str(directory / "control")
    faults = {"fail": {"bdev_get_bdevs": [-32603, "no"]}, "drop": ["nvmf_get_transports"], "watch": False}
    with Simulator(directory, memory=MEMORY, environment={"SPDK_SIM_CONTROL": control, "SPDK_SIM_FAULTS": json.dumps(faults)}) as simulator:
        with pytest.raises(Answer) as caught:
            simulator.call("bdev_get_bdevs")
        assert (caught.value.code, caught.value.message) == (-32603, "no")
        with connect(simulator.socket) as sock:
            assert exchange(sock, b'{"id":1,"method":"nvmf_get_transports"}', 1) == ([], True)
        assert tell(control, {"fail": {}}) == {"freeze": False, "delay": {}, "drop": ["nvmf_get_transports"], "fail": {}, "watch": False, "controllers": {}}
        simulator.call("bdev_rbd_create", {"name": "A", "pool_name": "p", "rbd_name": "a", "block_size": 512})
        simulator.set_image("p", "a", 128 * MIB)
        # refused watch: the image grew, the bdev does not follow, bdev_rbd_resize makes it
        assert simulator.call("bdev_get_bdevs")[0]["num_blocks"] == 64 * MIB // 512
        assert simulator.call("bdev_rbd_resize", {"name": "A", "new_size": 128}) is True
        assert simulator.call("bdev_get_bdevs")[0]["num_blocks"] == 128 * MIB // 512
        assert tell(control, {"freeze": True})["freeze"] is True
        with connect(simulator.socket) as sock:
            sock.sendall(b'{"id":1,"method":"spdk_get_version"}')
            sock.settimeout(0.5)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            tell(control, {"freeze": False})
            assert exchange(sock, b"", 1)[0][0]["id"] == 1
        assert "error" in tell(control, {"nonsense": 1})


def test_outside_growth_is_followed_without_a_call(simulator: Simulator) -> None:
    simulator.call("bdev_rbd_create", {"name": "A", "pool_name": "p", "rbd_name": "a", "block_size": 512})
    simulator.set_image("p", "a", 96 * MIB)
    assert eventually(lambda: simulator.call("bdev_get_bdevs", {"name": "A"})[0]["num_blocks"] == 96 * MIB // 512)
    assert {"type": "bdev_resize", "ctx": "A", "id": 1} in simulator.call("notify_get_notifications")
