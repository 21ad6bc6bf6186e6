# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Request parameters: what each method of the played release accepts (`release.Release`) and how strictly.

SPDK decodes parameters with a table per method. A wrong type, an unknown key, a duplicate key or a missing required key fails the
whole call; only the methods marked ``relaxed`` ignore unknown keys at their top level. The tables and state masks are data.
"""

from __future__ import annotations

import os
import re
from typing import Any

from .release import Release

UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\Z")
_RANGES = {
    "uint8": (0, 2**8 - 1),
    "uint16": (0, 2**16 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
    "int32": (-(2**31), 2**31 - 1),
}
STARTUP, RUNTIME = "S", "R"


class RpcError(Exception):
    """A JSON-RPC error answer: `code` and `message` as SPDK sends them."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Pairs(dict):
    """A decoded JSON object that remembers whether a key came twice (SPDK refuses that)."""

    duplicate = False

    @classmethod
    def hook(cls, pairs: list[tuple[str, Any]]) -> "Pairs":
        """`object_pairs_hook` for the json module."""
        self = cls(pairs)
        self.duplicate = len(self) != len(pairs)
        return self


def errno_error(number: int) -> RpcError:
    """The answer of bdev, keyring and similar methods: ``-errno`` with the C library's text."""
    return RpcError(-number, os.strerror(number))


def invalid_params() -> RpcError:
    """The answer of nearly every nvmf failure."""
    return RpcError(-32602, "Invalid parameters")


def internal_error() -> RpcError:
    """nvmf's answer when the data path refused (host lists, bad NQNs of hosts)."""
    return RpcError(-32603, "Internal error")


def decode_failure(release: Release, method: str) -> RpcError:
    """What a method (present name) answers when its parameters do not decode (recorded per family)."""
    if method == "framework_get_config" and release.does("bdev_errno"):
        return RpcError(-32602, "Invalid arguments")
    if method.startswith("nvmf_") or not release.does("bdev_errno"):
        return invalid_params()
    return RpcError(-32603, "spdk_json_decode_object failed")


class _Bad(Exception):
    pass


def _number(value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _Bad
    if isinstance(value, float):
        if not value.is_integer():
            raise _Bad
        value = int(value)
    if not low <= value <= high:
        raise _Bad
    return value


def _value(release: Release, kind: str, value: Any) -> Any:
    if kind in _RANGES:
        return _number(value, *_RANGES[kind])
    if kind == "boolean":
        if not isinstance(value, bool):
            raise _Bad
        return value
    if kind == "string":
        if not isinstance(value, str) or "\0" in value:
            raise _Bad
        return value
    if kind == "uuid":
        if not isinstance(value, str) or not UUID.match(value):
            raise _Bad
        return value.lower()
    if kind == "strmap":
        if not isinstance(value, dict) or any(not isinstance(item, str) for item in value.values()):
            raise _Bad
        return dict(value)
    family, _sep, name = kind.partition(":")
    if family == "object":
        return _fields(release, release.objects[name], value, relaxed=False)
    if family == "enum":
        if not isinstance(value, str) or (name in release.enums and value not in release.enums[name]):
            raise _Bad
        return value
    if family == "array":
        if not isinstance(value, list):
            raise _Bad
        return value
    raise AssertionError(kind)


def _fields(release: Release, table: dict[str, list[Any]], given: Any, relaxed: bool) -> dict[str, Any]:
    if not isinstance(given, dict) or getattr(given, "duplicate", False):
        raise _Bad
    result = {}
    for key, value in given.items():
        if key not in table:
            if relaxed:
                continue
            raise _Bad
        result[key] = _value(release, table[key][0], value)
    if any(not optional and key not in result for key, (_kind, optional) in table.items()):
        raise _Bad
    return result


def decode(release: Release, method: str, params: Any, given: bool = True) -> dict[str, Any]:
    """Decoded parameters of a call by its wire name; `params` is the request's member, None when it had none or (`given`) null.

    Raises `RpcError` exactly where SPDK does. Methods without a table are passed through.
    """
    entry = release.methods[method]
    name = entry["name"]
    table = entry.get("params")
    if table is None:
        return dict(params) if isinstance(params, dict) else {}
    if params is None and given and not release.does("null_params"):
        params = []
    if not table:
        if params is not None:
            raise RpcError(-32602, f"{method} method requires no parameters" if release.does("bdev_errno") else f"{method} requires no parameters")
        return {}
    if params is None:
        if any(not optional for _kind, optional in table.values()):
            raise decode_failure(release, name)
        return {}
    try:
        return _fields(release, table, params, bool(entry.get("relaxed")))
    except _Bad:
        raise decode_failure(release, name) from None
