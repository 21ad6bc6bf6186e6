# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import threading
import time

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._jsonrpc import (
    JsonRpcClient,
    JsonRpcError,
    RpcClosedError,
    RpcConnectError,
    RpcError,
    RpcProtocolError,
    RpcTimeoutError,
)
from fake_target import Scripted, reply, requests_of


@pytest.fixture
def serve(tmp_path):
    servers = []

    def start(function, name="s"):
        server = Scripted(str(tmp_path / name), function)
        servers.append(server)
        return server.path

    yield start
    for server in servers:
        server.close()


def test_a_call_gives_its_result_and_leaves_out_what_is_empty(serve):
    seen = []

    def answer(connection):
        for request in requests_of(connection):
            seen.append(request)
            reply(connection, request["id"], {"text": "ä中"})

    with JsonRpcClient(serve(answer)) as client:
        assert client.call("one") == {"text": "ä中"}
        client.call("two", {})
        client.call("three", {"a": None})
        client.call("four", {"a": 0, "b": None, "c": False})
    assert [request.get("params") for request in seen] == [None, None, None, {"a": 0, "c": False}]
    assert all(request["jsonrpc"] == "2.0" for request in seen)
    assert len({request["id"] for request in seen}) == 4


def test_answers_out_of_order_are_matched_by_id(serve):
    def answer(connection):
        requests = []
        for request in requests_of(connection):
            requests.append(request)
            if len(requests) == 5:
                for late in reversed(requests):
                    reply(connection, late["id"], late["method"])

    with JsonRpcClient(serve(answer)) as client:
        assert client.call_many([(name, None) for name in "abcde"]) == list("abcde")


def test_errors_of_a_batch_stay_with_their_calls(serve):
    def answer(connection):
        for request in requests_of(connection):
            if request["method"] == "bad":
                error = {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -19, "message": "No such device\n"}}
                connection.sendall(json.dumps(error).encode() + b"\n")
            else:
                reply(connection, request["id"], True)

    with JsonRpcClient(serve(answer)) as client:
        good, bad, last = client.call_many([("good", None), ("bad", None), ("good", None)])
        assert (good, last) == (True, True)
        assert isinstance(bad, RpcError) and (bad.method, bad.code, bad.text) == ("bad", -19, "No such device")
        with pytest.raises(RpcError) as caught:
            client.call("bad")
        assert caught.value.cause == "error -19: No such device"


def test_a_thousand_pipelined_calls_use_one_connection(serve):
    connections = []

    def answer(connection):
        connections.append(connection)
        for request in requests_of(connection):
            reply(connection, request["id"], request["params"]["n"])

    with JsonRpcClient(serve(answer)) as client:
        assert client.call_many([("m", {"n": n, "pad": "x" * 500}) for n in range(1000)]) == list(range(1000))
    assert len(connections) == 1


def test_a_large_answer_that_comes_in_pieces(serve):
    rows = [{"name": f"bdev-{n}", "text": "ö" * 50} for n in range(5000)]

    def answer(connection):
        for request in requests_of(connection):
            data = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": rows}, ensure_ascii=False).encode() + b"\n"
            for start in range(0, len(data), 10007):
                connection.sendall(data[start : start + 10007])

    with JsonRpcClient(serve(answer)) as client:
        assert client.call("bdev_get_bdevs") == rows


def test_no_socket_says_which_and_what_to_do(tmp_path):
    path = str(tmp_path / "absent.sock")
    with pytest.raises(RpcConnectError) as caught:
        JsonRpcClient(path, 1).call("x")
    assert path in str(caught.value)
    assert "start the SPDK target" in caught.value.remedy


def test_waiting_for_a_socket_that_comes_later(tmp_path, serve):
    def answer(connection):
        for request in requests_of(connection):
            reply(connection, request["id"], "late")

    timer = threading.Timer(0.3, lambda: serve(answer, "late"))
    timer.start()
    with JsonRpcClient(str(tmp_path / "late"), 10, wait_for_socket=True) as client:
        assert client.call("x") == "late"
    timer.join()


def test_waiting_for_a_socket_ends(tmp_path):
    with pytest.raises(RpcConnectError):
        JsonRpcClient(str(tmp_path / "never"), 0.3, wait_for_socket=True).call("x")


def test_a_target_that_closes_is_no_answer_and_nothing_is_sent_again(serve):
    seen = []

    def answer(connection):
        for request in requests_of(connection):
            seen.append(request)
            return

    with JsonRpcClient(serve(answer), 5) as client, pytest.raises(RpcClosedError) as caught:
        client.call("bdev_rbd_create", {"name": "x"})
    assert "bdev_rbd_create" in str(caught.value)
    assert "too large or malformed" in caught.value.remedy
    assert len(seen) == 1


def test_a_deadline_holds_against_a_trickling_server(serve):
    def answer(connection):
        for request in requests_of(connection):
            text = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": "x" * 200})
            for letter in text:
                connection.sendall(letter.encode())
                time.sleep(0.02)

    started = time.monotonic()
    with JsonRpcClient(serve(answer), 0.5) as client, pytest.raises(RpcTimeoutError) as caught:
        client.call("slow")
    assert time.monotonic() - started < 3
    assert "may still happen" in caught.value.remedy


def test_after_a_timeout_the_next_call_meets_no_late_answer(serve):
    def answer(connection):
        for request in requests_of(connection):
            if request["method"] == "slow":
                time.sleep(0.6)
            reply(connection, request["id"], request["method"])

    with JsonRpcClient(serve(answer), 0.2) as client:
        with pytest.raises(RpcTimeoutError):
            client.call("slow")
        assert client.call("next", timeout=5) == "next"


def test_a_batch_that_times_out_keeps_the_answers_that_came(serve):
    def answer(connection):
        for request in requests_of(connection):
            if request["method"] == "a":
                reply(connection, request["id"], 1)

    with JsonRpcClient(serve(answer), 0.2) as client, pytest.raises(RpcTimeoutError) as caught:
        client.call_many([("a", None), ("b", None)])
    assert caught.value.answers == {0: 1}
    assert caught.value.method == "b"


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc": "2.0", "id": 999, "result": true}\n',
        b'{"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "Parse error"}}\n',
        b'{"jsonrpc": "2.0", "id": true, "result": true}\n',
        b"[]\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b'{"jsonrpc": "2.0", "id": 1}\n',
        b'{"jsonrpc": "2.0", "id": 1, "error": "no"}\n',
    ],
)
def test_an_answer_to_nothing_or_of_no_shape_is_an_error(serve, line):
    def answer(connection):
        for _request in requests_of(connection):
            connection.sendall(line)

    with JsonRpcClient(serve(answer), 5) as client, pytest.raises(RpcProtocolError):
        client.call("x")


@pytest.mark.parametrize("limit", [32 * 1024, 256 * 1024])
def test_a_request_that_is_too_large_is_never_sent(serve, limit):
    seen = []

    def answer(connection):
        for request in requests_of(connection):
            seen.append(request)
            reply(connection, request["id"], True)

    with JsonRpcClient(serve(answer), 5, max_request=limit) as client:
        with pytest.raises(JsonRpcError, match="nothing was sent"):
            client.call("x", {"text": "a" * limit})
        assert client.call("x", {"text": "a" * (limit - 200)}) is True
    assert len(seen) == 1
