# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A headless Chromium, driven over a pair of pipes by its DevTools protocol: real clicks and keys, no further library, no port."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t

#: Seconds after which a browser that does not answer has failed; nothing is judged by time.
HANG = 60.0

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-sync",
    "--window-size=1400,1000",
]


#: The browser talks on the file descriptors 3 and 4.
_ON_3_AND_4 = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"


def _pipe() -> tuple[int, int]:
    """A pipe on descriptors above those that the browser wants for itself."""
    found = []
    for end in os.pipe():
        found.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10))
        os.close(end)
    return found[0], found[1]


class BrowserError(Exception):
    """The browser is missing, has died, or refused a command."""


class Browser:
    """One browser with one page. What the page asked of the network, logged or threw is in ``requests``, ``logged`` and ``thrown``."""

    def __init__(self) -> None:
        program = shutil.which("chromium")
        if program is None:
            raise BrowserError("chromium is not installed (apt-get install chromium)")
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        read_by_browser, self._write = _pipe()
        self._read, written_by_browser = _pipe()
        command = [sys.executable, "-c", _ON_3_AND_4, str(read_by_browser), str(written_by_browser), program, *FLAGS]
        command += ["--remote-debugging-pipe", f"--user-data-dir={self._profile}"]
        with open(os.path.join(self._profile, "log"), "w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                command, pass_fds=(read_by_browser, written_by_browser), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        os.close(read_by_browser)
        os.close(written_by_browser)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self._events: list[dict[str, t.Any]] = []
        self.requests: list[str] = []
        self.logged: list[str] = []
        self.thrown: list[str] = []

    def close(self) -> None:
        self._session = None
        try:
            self.send("Browser.close")
            self._process.wait(HANG)
        except (BrowserError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
        shutil.rmtree(self._profile, ignore_errors=True)

    # -- the protocol

    def _message(self) -> dict[str, t.Any]:
        until = time.monotonic() + HANG
        while b"\0" not in self._buffer:
            ready, _write, _failed = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            data = os.read(self._read, 1 << 20) if ready else b""
            if not data:
                raise BrowserError(f"the browser {'has closed its pipe' if ready else 'does not answer'}")
            self._buffer += data
        text, _end, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)

    def _note(self, event: dict[str, t.Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Log.entryAdded":
            self.logged.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.logged.append(str(params["args"]))
        elif method in ("Runtime.exceptionThrown", "Page.javascriptDialogOpening"):
            self.thrown.append(str(params))
        self._events.append(event)

    def send(self, method: str, **params: t.Any) -> dict[str, t.Any]:
        """One command and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        while True:
            answer = self._message()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    # -- the page

    def open(self, url: str, scripts: bool = True) -> None:
        """Load a page anew, in a tab of its own, and wait until it has loaded."""
        self._session = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.requests, self.logged, self.thrown, self._events = [], [], [], []
        self.send("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._note(self._message())

    def value(self, expression: str) -> t.Any:
        """What a JavaScript expression is in the page, as plain data."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until a JavaScript expression holds; for what the browser does after a click in its own time."""
        deadline = time.monotonic() + HANG
        while not self.value(expression):
            if time.monotonic() > deadline:
                raise BrowserError(f"never came true: {expression}")
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """A click of the mouse on the middle of an element."""
        where = self.value(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left", clickCount=1)

    def focus(self, selector: str) -> None:
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")

    def key(self, name: str, text: str = "") -> None:
        """A key pressed and released, as it comes from a keyboard."""
        code = {"Enter": 13, "Escape": 27, "Tab": 9, " ": 32}.get(name, ord(name[0]))
        common = {"key": name, "code": {" ": "Space", "/": "Slash"}.get(name, name), "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def media(self, media: str = "", **features: str) -> None:
        """Look at the page as on paper (``print``) or with other preferences."""
        self.send("Emulation.setEmulatedMedia", media=media, features=[{"name": name.replace("_", "-"), "value": value} for name, value in features.items()])
