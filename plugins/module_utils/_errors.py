# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The one shape of an error: object, hop, call, cause and remedy."""

from __future__ import annotations

import typing as t

#: The hops of a volume's path, in the order in which capacity travels through them.
HOPS = ("image", "bdev", "namespace", "path", "device", "disk", "guest")


class HopError(Exception):
    """Something went wrong with one object at one hop.

    ``obj`` is what the operator named (a bdev, an NQN, ``domain:disk``), ``hop`` one of :data:`HOPS`,
    ``call`` the operation that failed (an RPC method, a librbd call, a sysfs write), ``cause`` the
    server's or the kernel's own words, ``remedy`` what the operator does next.
    """

    def __init__(
        self,
        message: str,
        *,
        obj: str,
        hop: str,
        call: str | None = None,
        cause: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.obj = obj
        self.hop = hop
        self.call = call
        self.cause = cause
        self.remedy = remedy

    def as_dict(self) -> dict[str, t.Any]:
        """The parts under stable names, for a module's ``error`` return value."""
        return {
            "object": self.obj,
            "hop": self.hop,
            "call": self.call,
            "cause": self.cause,
            "remedy": self.remedy,
            "message": self.message,
        }

    def __str__(self) -> str:
        text = f"{self.hop} {self.obj}: {self.message}"
        if self.call:
            text += f" [call: {self.call}]"
        if self.cause:
            text += f" [cause: {self.cause}]"
        if self.remedy:
            text += f" Next step: {self.remedy}"
        return text
