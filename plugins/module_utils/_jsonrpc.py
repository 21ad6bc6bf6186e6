# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""JSON-RPC 2.0 over a unix stream socket, as SPDK speaks it.

What SPDK's server does shapes this client (measured on 26.05, read in the sources of 19.01 to 26.05):

* one thread serves all connections and looks every 4 ms, so many requests are pipelined on one connection; answers may
  come in another order and are matched by id;
* methods without parameters refuse even an empty object, so empty parameters are left out;
* a request that is malformed or larger than the receive buffer ends the connection without any answer;
* a half-closed connection loses its answers, so nothing is shut down before the answers are there;
* a client that hangs up cancels nothing, so a request is never sent twice: after a time-out the state must be read again.
"""

from __future__ import annotations

import errno
import itertools
import json
import select
import socket
import time
import typing as t

#: Largest request SPDK takes before 26.05 and from 26.05 on (bytes; the receive buffer of lib/jsonrpc).
MAX_REQUEST_OLD = 32 * 1024
MAX_REQUEST = 256 * 1024

#: Requests under way at once on one connection. Enough to hide the 4 ms poll, few enough for the socket's buffers.
WINDOW = 128

#: What a batch may take for each request beyond its time-out (seconds); creating an RBD bdev takes 10 to 20 ms.
SECONDS_PER_REQUEST = 0.1

Request = t.Tuple[str, t.Optional[t.Dict[str, t.Any]]]


class JsonRpcError(Exception):
    """Any failure of a call. ``method`` is None when no single call failed."""

    remedy: str | None = None

    def __init__(self, message: str, method: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.method = method


class RpcConnectError(JsonRpcError):
    """Nothing was sent: no process listens on the socket."""

    remedy = "start the SPDK target, or name the socket it was started with (its option -r) in the option 'socket'"


class RpcClosedError(JsonRpcError):
    """The target closed the connection without an answer; the calls may or may not have been carried out."""

    remedy = (
        "look whether the target still runs and what it logged; it closes a connection without a word "
        "when it ends, when loading its start-up configuration fails, or when a request is too large or malformed"
    )


class RpcTimeoutError(JsonRpcError):
    """No answer in time; the call may still be carried out. ``answers`` are those that did come, by index."""

    remedy = "the call may still happen: read the state again before repeating it, and give a longer 'timeout' if Ceph is slow"

    def __init__(self, message: str, method: str | None = None, answers: dict[int, t.Any] | None = None) -> None:
        super().__init__(message, method)
        self.answers = answers or {}


class RpcProtocolError(JsonRpcError):
    """What came was no answer to what was asked."""

    remedy = "make sure that the socket belongs to an SPDK target"


class RpcError(JsonRpcError):
    """The target's own error: ``code`` (JSON-RPC or a negative errno) and ``text``."""

    def __init__(self, method: str, code: int | None, text: str) -> None:
        super().__init__(f"{method} was answered with error {code}: {text}", method)
        self.code = code
        self.text = text

    @property
    def cause(self) -> str:
        return f"error {self.code}: {self.text}"


METHOD_NOT_FOUND = -32601


class JsonRpcClient:
    """One connection to one socket, opened at the first call.

    ``timeout`` is the wall-clock time of one call in seconds, connecting included. With ``wait_for_socket`` a missing or
    refusing socket is tried again until then (a starting target); sending is never repeated.
    """

    def __init__(self, path: str, timeout: float = 60.0, max_request: int = MAX_REQUEST_OLD, wait_for_socket: bool = False) -> None:
        self.path = path
        self.timeout = timeout
        self.max_request = max_request
        self.wait_for_socket = wait_for_socket
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._ids = itertools.count(1)
        self._decoder = json.JSONDecoder()

    def __enter__(self) -> JsonRpcClient:
        return self

    def __exit__(self, *unused: t.Any) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection; what was sent is not cancelled by it."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._buffer = b""

    def connect(self, deadline: float | None = None) -> None:
        """Open the connection unless it is open; raises :class:`RpcConnectError`. ``deadline`` is in ``time.monotonic`` seconds."""
        if self._socket is not None:
            return
        if deadline is None:
            deadline = time.monotonic() + self.timeout
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.settimeout(max(0.1, deadline - time.monotonic()))
                sock.connect(self.path)
                sock.setblocking(False)
                self._socket = sock
                self._buffer = b""
                return
            except OSError as error:
                sock.close()
                starting = error.errno in (errno.ENOENT, errno.ECONNREFUSED)
                if self.wait_for_socket and starting and time.monotonic() < deadline:
                    time.sleep(min(0.2, max(0.0, deadline - time.monotonic())))
                    continue
                raise RpcConnectError(f"cannot connect to the SPDK target's socket {self.path}: {error}") from error

    def call(self, method: str, params: dict[str, t.Any] | None = None, timeout: float | None = None) -> t.Any:
        """The result of one call; raises a :class:`JsonRpcError`."""
        outcome = self.call_many([(method, params)], timeout)[0]
        if isinstance(outcome, RpcError):
            raise outcome
        return outcome

    def call_many(self, requests: t.Sequence[Request], timeout: float | None = None) -> list[t.Any]:
        """The outcomes of many calls in the order of the requests: each a result, or the :class:`RpcError` of that call.

        All are sent before the answers are waited for (at most :data:`WINDOW` under way), so none may depend on another.
        """
        if not requests:
            return []
        texts = []
        pending: dict[int, int] = {}
        for index, (method, params) in enumerate(requests):
            number = next(self._ids)
            pending[number] = index
            texts.append(self._encode(method, params, number))
        allowed = self.timeout if timeout is None else timeout
        if len(requests) > 1:
            allowed += SECONDS_PER_REQUEST * len(requests)
        deadline = time.monotonic() + allowed
        self.connect(deadline)
        try:
            return self._exchange(requests, texts, pending, deadline, allowed)
        except (RpcClosedError, RpcTimeoutError, RpcProtocolError):
            self.close()  # answers that come late must not meet later calls
            raise

    def _encode(self, method: str, params: dict[str, t.Any] | None, number: int) -> bytes:
        body: dict[str, t.Any] = {"jsonrpc": "2.0", "id": number, "method": method}
        if params:
            body["params"] = {key: value for key, value in params.items() if value is not None}
            if not body["params"]:
                del body["params"]
        text = json.dumps(body).encode("utf-8") + b"\n"
        if len(text) >= self.max_request:
            raise JsonRpcError(
                f"the request {method} has {len(text)} bytes, but this SPDK release takes less than {self.max_request}; nothing was sent", method
            )
        return text

    def _exchange(self, requests: t.Sequence[Request], texts: list[bytes], pending: dict[int, int], deadline: float, allowed: float) -> list[t.Any]:
        sock = self._socket
        if sock is None:
            raise JsonRpcError("there is no connection; nothing was sent")
        outcomes: dict[int, t.Any] = {}
        outbox, queued = b"", 0
        while len(outcomes) < len(requests):
            while queued < len(texts) and queued - len(outcomes) < WINDOW:
                outbox += texts[queued]
                queued += 1
            remaining = deadline - time.monotonic()
            unanswered = requests[min(pending.values())][0]
            if remaining <= 0:
                missing = len(requests) - len(outcomes)
                what = unanswered if len(requests) == 1 else f"{missing} of {len(requests)} calls, the first being {unanswered},"
                raise RpcTimeoutError(f"{what} had no answer within {allowed:g} s from {self.path}", unanswered, outcomes)
            readable, writable, unused = select.select([sock], [sock] if outbox else [], [], remaining)
            try:
                if writable:
                    outbox = outbox[sock.send(outbox) :]
                if readable:
                    data = sock.recv(1 << 20)
                    if not data:
                        raise ConnectionResetError("end of file")
                    self._receive(data, requests, pending, outcomes)
            except BlockingIOError:
                continue
            except OSError as error:
                raise RpcClosedError(f"the target closed {self.path} without answering {unanswered} ({error})", unanswered) from error
        return [outcomes[index] for index in range(len(requests))]

    def _receive(self, data: bytes, requests: t.Sequence[Request], pending: dict[int, int], outcomes: dict[int, t.Any]) -> None:
        self._buffer += data
        # SPDK ends an answer with a newline. Answers have up to 32 MiB: decoding every partial one again would be quadratic.
        if b"\n" not in data and not data.rstrip().endswith(b"}"):
            return
        try:
            text = self._buffer.decode("utf-8")
        except UnicodeDecodeError:
            return  # the end of the buffer is inside a character
        position = 0
        while True:
            while position < len(text) and text[position].isspace():
                position += 1
            if position == len(text):
                self._buffer = b""
                return
            try:
                answer, position = self._decoder.raw_decode(text, position)
            except ValueError as error:
                if not text[position] == "{":
                    raise RpcProtocolError(f"{self.path} sent something that is not a JSON-RPC answer: {text[position : position + 80]!r}") from error
                self._buffer = text[position:].encode("utf-8")
                return
            self._take(answer, requests, pending, outcomes)

    def _take(self, answer: t.Any, requests: t.Sequence[Request], pending: dict[int, int], outcomes: dict[int, t.Any]) -> None:
        """Put one decoded answer to the request whose id it carries."""
        number = answer.get("id") if isinstance(answer, dict) else None
        if isinstance(number, bool) or not isinstance(number, int) or number not in pending:
            raise RpcProtocolError(f"{self.path} sent an answer to nothing that was asked: {json.dumps(answer)[:200]}")
        index = pending.pop(number)
        method = requests[index][0]
        error = answer.get("error")
        if error is not None:
            if not isinstance(error, dict):
                raise RpcProtocolError(f"{self.path} answered {method} with the malformed error {error!r}", method)
            outcomes[index] = RpcError(method, error.get("code"), str(error.get("message", "")).strip())
        elif "result" in answer:
            outcomes[index] = answer["result"]
        else:
            raise RpcProtocolError(f"{self.path} answered {method} with neither result nor error", method)
