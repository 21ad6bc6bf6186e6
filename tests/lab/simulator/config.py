# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The start-up file (``-c``): one JSON document of calls, run in two passes around the framework's initialisation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Callable

from .decode import STARTUP, Pairs, RpcError
from .server import Deferred

if TYPE_CHECKING:
    from .target import Target


class ConfigError(Exception):
    """The process must end with `exit_code`."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def strip_comments(text: str) -> str:
    """JSON with ``//`` and ``/* */`` comments, which SPDK allows in its start-up file, made plain."""
    out = []
    at = 0
    in_string = False
    while at < len(text):
        char = text[at]
        if in_string:
            out.append(text[at : at + 2] if char == "\\" else char)
            at += 2 if char == "\\" else 1
            in_string = char != '"'
        elif text.startswith("//", at):
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        elif text.startswith("/*", at):
            end = text.find("*/", at)
            if end < 0:
                raise ConfigError("unterminated comment", 1)
            at = end + 2
        else:
            in_string = char == '"'
            out.append(char)
            at += 1
    return "".join(out)


def read(path: str) -> list[tuple[str, list[Any]]]:
    """Sections of the file: (subsystem, entries). Exit code 1 for anything unreadable, as in SPDK."""
    try:
        with open(path, encoding="utf-8") as file:
            document = json.loads(strip_comments(file.read()), object_pairs_hook=Pairs.hook)
    except (OSError, ValueError) as error:
        raise ConfigError(f"Read JSON configuration file {path} failed: {error}", 1) from None
    sections = document.get("subsystems") if isinstance(document, dict) else None
    if not isinstance(sections, list):
        raise ConfigError(f"Invalid JSON configuration file {path}: no 'subsystems' key found", 1)
    found = []
    for section in sections:
        if not isinstance(section, dict) or not isinstance(section.get("subsystem"), str) or not isinstance(section.get("config", []), (list, type(None))):
            raise ConfigError(f"Invalid JSON configuration file {path}: bad subsystem", 1)
        found.append((section["subsystem"], section.get("config") or []))
    return found


class Loader:
    """Runs the entries of a start-up file through the target."""

    def __init__(self, target: "Target", path: str | None, ignore_errors: bool, stopping: Callable[[], bool]) -> None:
        self.target, self.ignore_errors, self.stopping = target, ignore_errors, stopping
        self.sections = read(path) if path else []

    def run(self, state: str) -> None:
        """One pass: the entries that belong to `state` (an entry allowed in both runs in the first)."""
        for _name, entries in self.sections:
            for entry in entries:
                for one in entry if isinstance(entry, list) else [entry]:
                    if self.stopping():
                        return
                    self._entry(one, state)

    def _entry(self, entry: Any, state: str) -> None:
        if not isinstance(entry, dict) or set(entry) - {"method", "params"} or not isinstance(entry.get("method"), str):
            raise ConfigError("Failed to decode config entry", 234)
        method = entry["method"]
        known = self.target.release.methods.get(method)
        if known is None:
            raise ConfigError(f"Method '{method}' was not found", 254)
        mask = known["state"]
        if (STARTUP if STARTUP in mask else mask) != state:
            return
        try:
            result = self.target.call(method, entry.get("params"))
            while isinstance(result, Deferred):
                done, value = result.poll()
                result = value if done else result
        except RpcError as error:
            self.target.log("ERROR", f'{method}: error response: {{"code": {error.code}, "message": "{error.message}"}}')
            if not self.ignore_errors:
                raise ConfigError(f"Failed to load subsystems: {method}: {error.message}", 234) from None
