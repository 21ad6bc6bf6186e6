# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Plain data: what Ansible hands to a filter, without its wrappers."""

from __future__ import annotations

import collections.abc as c
import typing as t


def plain(value: t.Any) -> t.Any:
    """A deep copy of ``value`` in built-in types.

    ansible-core 2.19 and later tag strings and load containers lazily; jmespath and ``json`` want exact types.
    """
    # a fleet's measurements are a million values, and most are plain already
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is dict:
        return {plain(key): plain(item) for key, item in value.items()}
    if kind is list:
        return [plain(item) for item in value]
    if isinstance(value, str):
        return "".join(value)  # exact type: a subclass would be passed through by str()
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, c.Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (c.Sequence, c.Set)):
        return [plain(item) for item in value]
    return str(value)


def as_bool(value: t.Any) -> bool:
    """A boolean as ``-e`` and AWX surveys deliver it: also "true", "yes", "1" and, for unset, an empty string."""
    if isinstance(value, str):
        return value.strip().lower() in ("true", "yes", "on", "1", "y", "t")
    return bool(value)


def as_list(value: t.Any) -> list[str]:
    """A list of strings from a list, or from one string separated by commas or line ends; empty parts do not count."""
    if value is None:
        return []
    if isinstance(value, str):
        value = value.replace("\n", ",").split(",")
    if not isinstance(value, c.Sequence):
        value = [value]
    return [text for text in (str(item).strip() for item in value) if text]
