# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wire: a Unix socket speaking SPDK's JSON-RPC 2.0, served by one thread as SPDK does.

Facts kept here: bare concatenated objects, no framing; a malformed request or one that does not fit into 256 KiB (32 KiB before 26.05)
closes the connection without an answer, even to good requests before it in the same packet; a request without an id is a
notification; batches (from 26.05 on) answer with one array; at most 64 connections are served at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import signal
import socket
import time
from typing import Any, Callable

from .decode import Pairs, RpcError
from .release import Release

BUFFER, SMALL_BUFFER = 256 * 1024, 32 * 1024
MAX_CONNECTIONS = 64
_MEMBERS = {"jsonrpc", "method", "params", "id"}
_NO_ID = object()


class Deferred:
    """An answer that comes later. `poll()` gives ``(done, result)`` or raises `RpcError`; it runs from the main loop."""

    def __init__(self, poll: Callable[[], tuple[bool, Any]]) -> None:
        self.poll = poll


class _Batch:
    def __init__(self) -> None:
        self.answers: list[str] = []
        self.open = 0
        self.complete = False


class _Connection:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.inbox = b""
        self.outbox = b""
        self.closed = False


class SocketInUse(Exception):
    """Another live process owns the socket."""


class Server:
    """Owns the listening socket, its lock file, the connections and the main loop."""

    def __init__(self, path: str, dispatch: Callable[[str, Any, bool], Any], release: Release | None = None) -> None:
        self.path = path
        release = release or Release()
        self.buffer = BUFFER if release.does("large_requests") else SMALL_BUFFER
        self.batches = release.does("batches")
        self.dispatch = dispatch
        self.selector = selectors.DefaultSelector()
        self.connections: set[_Connection] = set()
        self.deferred: list[tuple[_Connection, Any, _Batch | None, Deferred]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.running = True
        self.drop: Callable[[str], bool] = lambda method: False
        self.frozen: Callable[[], bool] = lambda: False
        self._listening = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._posted: list[Callable[[], None]] = []
        self.selector.register(self._wake_read, selectors.EVENT_READ, self._woken)
        self._lock_fd = self._take_lock()
        self.listener: socket.socket | None = None
        if release.does("socket_before_config"):
            self.open()

    def _take_lock(self) -> int:
        if len(self.path.encode()) > 107 - len(".lock"):
            raise OSError("RPC Listen address Unix socket path too long")
        fd = os.open(self.path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise SocketInUse(f"RPC Unix domain socket path {self.path} in use. Specify another.") from None
        return fd

    def _bind(self) -> socket.socket:
        # whoever holds the lock may remove a stale socket
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(self.path)
        sock.listen(512)
        sock.setblocking(False)
        return sock

    def open(self) -> None:
        """Make the socket, unless it is there."""
        if self.listener is None:
            self.listener = self._bind()

    def close(self) -> None:
        """Close everything and remove the socket and its lock file (a graceful exit)."""
        for connection in list(self.connections):
            self._close(connection)
        if self.listener is not None:
            self.listener.close()
        for name in (self.path, self.path + ".lock"):
            try:
                os.unlink(name)
            except FileNotFoundError:
                pass
        os.close(self._lock_fd)

    def post(self, work: Callable[[], None]) -> None:
        """Run `work` in the main loop; callable from any thread and from signal handlers."""
        self._posted.append(work)
        self.wake()

    def wake(self) -> None:
        """Make the main loop look around now."""
        try:
            os.write(self._wake_write, b"x")
        except BlockingIOError:
            pass

    def wake_on_signals(self) -> None:
        """Let signals wake the main loop by themselves: one that comes right before the loop waits would be handled only after the wait."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Run `work` once in the main loop after `seconds`."""
        self.timers.append((time.monotonic() + seconds, work))

    def _woken(self) -> None:
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass
        while self._posted:
            self._posted.pop(0)()

    def _update_listening(self) -> None:
        want = len(self.connections) < MAX_CONNECTIONS
        if want and not self._listening:
            self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        elif self._listening and not want:
            self.selector.unregister(self.listener)
        self._listening = want

    def run(self) -> None:
        """Serve until `running` is false."""
        while self.running:
            self._update_listening()
            now = time.monotonic()
            timeout = max(0.0, min(when for when, _work in self.timers) - now) if self.timers else None
            if self.deferred:
                timeout = min(0.01, timeout) if timeout is not None else 0.01
            for key, mask in self.selector.select(timeout):
                if isinstance(key.data, _Connection):
                    if mask & selectors.EVENT_WRITE:
                        self._flush(key.data)
                    if mask & selectors.EVENT_READ and not key.data.closed and not self.frozen():
                        self._readable(key.data)
                else:
                    key.data()
            if self.frozen():
                time.sleep(0.02)
                continue
            now = time.monotonic()
            due = [item for item in self.timers if item[0] <= now]
            for item in due:
                self.timers.remove(item)
                item[1]()
            self._poll_deferred()

    def _accept(self) -> None:
        try:
            sock, _address = self.listener.accept()
        except (BlockingIOError, InterruptedError):
            return
        sock.setblocking(False)
        connection = _Connection(sock)
        self.connections.add(connection)
        self.selector.register(sock, selectors.EVENT_READ, connection)

    def _close(self, connection: _Connection) -> None:
        if not connection.closed:
            connection.closed = True
            self.connections.discard(connection)
            self.selector.unregister(connection.sock)
            connection.sock.close()

    def _flush(self, connection: _Connection) -> None:
        if connection.closed:
            return
        try:
            while connection.outbox:
                connection.outbox = connection.outbox[connection.sock.send(connection.outbox) :]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._close(connection)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.outbox else 0)
        self.selector.modify(connection.sock, events, connection)

    def _readable(self, connection: _Connection) -> None:
        try:
            data = connection.sock.recv(self.buffer - len(connection.inbox))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.inbox += data
        while not connection.closed:
            try:
                found, value, used = _next_value(connection.inbox)
            except ValueError:
                self._close(connection)
                return
            if not found:
                if len(connection.inbox) >= self.buffer:
                    self._close(connection)
                    return
                break
            connection.inbox = connection.inbox[used:]
            self._request(connection, value)
        self._flush(connection)

    def _request(self, connection: _Connection, value: Any) -> None:
        if isinstance(value, list) and value and self.batches:
            batch = _Batch()
            for item in value:
                self._single(connection, item, batch)
            batch.complete = True
            self._finish_batch(connection, batch)
        else:
            self._single(connection, value, None)

    def _single(self, connection: _Connection, value: Any, batch: _Batch | None) -> None:
        request_id: Any = _NO_ID
        try:
            if not isinstance(value, Pairs) or value.duplicate or set(value) - _MEMBERS:
                raise RpcError(-32600, "Invalid request")
            if value.get("jsonrpc", "2.0") != "2.0" or not isinstance(value.get("method"), str):
                raise RpcError(-32600, "Invalid request")
            given = value.get("id")
            if isinstance(given, (dict, list, bool)):
                raise RpcError(-32600, "Invalid request")
            if given is not None:
                request_id = given
            params = value.get("params")
            if params is not None and not isinstance(params, (dict, list)):
                raise RpcError(-32600, "Invalid request")
            if self.drop(value["method"]):
                self._close(connection)
                return
            result = self.dispatch(value["method"], params, "params" in value)
        except RpcError as error:
            self._answer(connection, request_id, batch, error=error)
            return
        if isinstance(result, Deferred):
            if batch is not None:
                batch.open += 1
            self.deferred.append((connection, request_id, batch, result))
            return
        self._answer(connection, request_id, batch, result=result)

    def _answer(self, connection: _Connection, request_id: Any, batch: _Batch | None, result: Any = None, error: RpcError | None = None) -> None:
        if error is None and request_id is _NO_ID:
            return
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": None if request_id is _NO_ID else request_id}
        if error is None:
            answer["result"] = result
        else:
            answer["error"] = {"code": error.code, "message": error.message}
        text = json.dumps(answer, separators=(",", ":"), ensure_ascii=False)
        if batch is not None:
            batch.answers.append(text)
        else:
            connection.outbox += text.encode() + b"\n"

    def _finish_batch(self, connection: _Connection, batch: _Batch) -> None:
        if batch.complete and not batch.open and batch.answers:
            connection.outbox += ("[" + ",".join(batch.answers) + "]\n").encode()

    def _poll_deferred(self) -> None:
        for item in list(self.deferred):
            connection, request_id, batch, waiting = item
            try:
                done, result = waiting.poll()
                error = None
            except RpcError as caught:
                done, result, error = True, None, caught
            if not done:
                continue
            self.deferred.remove(item)
            if connection.closed:
                continue
            self._answer(connection, request_id, batch, result=result, error=error)
            if batch is not None:
                batch.open -= 1
                self._finish_batch(connection, batch)
            self._flush(connection)


_DECODER = json.JSONDecoder(object_pairs_hook=Pairs.hook)
_SPACE = b" \t\r\n"


def _next_value(data: bytes) -> tuple[bool, Any, int]:
    """The first JSON value of `data`: (found, value, bytes used). ValueError when no continuation could make it valid."""
    start = len(data) - len(data.lstrip(_SPACE))
    body = data[start:]
    if not body:
        return False, None, 0
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        if error.end < len(body) and error.start < len(body) - 3:
            raise ValueError("not UTF-8") from error
        text = body[: error.start].decode()
    try:
        value, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        rest = text[error.pos :].strip()
        if error.msg.startswith("Unterminated string") or not rest or len(rest) < 5 and any(word.startswith(rest) for word in ("true", "false", "null", "-")):
            return False, None, 0
        if "escape" in error.msg and len(text) - error.pos < 6:
            return False, None, 0
        raise
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, (dict, list, str)) and end == len(text):
        return False, None, 0
    return True, value, start + len(text[:end].encode())
