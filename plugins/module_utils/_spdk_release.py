# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What the running SPDK release has: the one place where code asks. The answers are data of :mod:`_spdk_methods`."""

from __future__ import annotations

import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._jsonrpc import MAX_REQUEST, MAX_REQUEST_OLD
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_methods import METHODS, NEWEST, OLDEST, RELEASES, TRAITS, TRANSPORT_OPTIONS, Release, Span

__all__ = ["METHODS", "OLDEST", "RELEASES", "TRAITS", "TRANSPORT_OPTIONS", "Release", "ReleaseTable", "Span", "UnsupportedError", "release_name"]


def release_name(release: Release) -> str:
    """``26.05`` for ``(26, 5)``."""
    return f"{release[0]}.{release[1]:02d}"


class UnsupportedError(HopError):
    """The running release lacks a method or a parameter that was asked for."""


class ReleaseTable:
    """What one running target has. ``methods`` are the names it listed itself (None: unknown), which also shows how it was built.

    ``pre``: a pre-release carries the number of the release to come and may lack anything that came on the way there, so
    what counts is the release before it (``surely``).
    """

    def __init__(self, release: Release, methods: t.Collection[str] | None = None, socket: str = "the target", pre: bool = False) -> None:
        self.release = release
        self.surely = max((known for known in RELEASES if known < release), default=OLDEST) if pre else release
        self.pre = pre
        self.methods = None if methods is None else frozenset(methods)
        self.socket = socket

    @property
    def name(self) -> str:
        return release_name(self.release) + ("-pre" if self.pre else "")

    def _holds(self, span: Span) -> bool:
        return span.holds(self.surely) and span.holds(self.release)

    @property
    def max_request(self) -> int:
        """Largest request in bytes."""
        return MAX_REQUEST if self.is_so("large_requests") else MAX_REQUEST_OLD

    def is_so(self, trait: str) -> bool:
        return TRAITS[trait].holds(self.surely)

    def wire_name(self, method: str) -> str | None:
        """The name to send for ``method``, or None if this target has none."""
        known = METHODS[method]
        if self.methods is not None:
            if method in self.methods:
                return method
            if known.legacy is not None and known.legacy in self.methods:
                return known.legacy
            return None
        if not self._holds(known.span):
            return None
        return method if known.legacy is None or self.surely >= known.renamed else known.legacy

    def has(self, method: str, param: str | None = None) -> bool:
        if self.wire_name(method) is None:
            return False
        return param is None or self._holds(METHODS[method].params.get(param, Span(None)))

    def require(self, method: str, obj: str, hop: str = "bdev") -> str:
        """The name to send, or an :class:`UnsupportedError` that names the release that has the method."""
        name = self.wire_name(method)
        if name is not None:
            return name
        span = METHODS[method].span
        if self._holds(span):
            cause = f"the target runs SPDK {self.name} and does not list {method}"
            remedy = "run a target that was built with it" + (" (configure --with-rbd)" if "_rbd_" in method else "")
        else:
            cause = f"the target runs SPDK {self.name}"
            if span.since is None:
                remedy = "no SPDK release has it"
            else:
                remedy = f"upgrade SPDK to {release_name(span.since)} or later" if span.since > self.surely else "use another release"
        raise UnsupportedError(f"this SPDK release has no {method}", obj=obj, hop=hop, call=method, cause=cause, remedy=remedy)

    def check_params(self, method: str, params: t.Mapping[str, t.Any], obj: str, hop: str = "bdev") -> None:
        """Raise an :class:`UnsupportedError` for a parameter this release lacks; nothing is ever dropped silently."""
        table = METHODS[method].params
        names = [name for name, value in params.items() if value is not None]
        for name in list(names):
            # objects whose parts the table knows; others (a Ceph configuration) hold anything
            if isinstance(params[name], dict) and any(known.startswith(f"{name}.") for known in table):
                names += [f"{name}.{inner}" for inner, value in params[name].items() if value is not None]
        if method == "nvmf_create_transport":
            return
        for name in names:
            span = table.get(name)
            if span is None:
                raise UnsupportedError(f"{method} has no parameter {name}", obj=obj, hop=hop, call=method, remedy="leave the option out")
            if not self._holds(span):
                if span.since is None:
                    remedy = f"no SPDK release has it up to {release_name(NEWEST)}; leave the option out"
                elif span.since > self.surely:
                    remedy = f"upgrade SPDK to {release_name(span.since)} or later, or leave the option out"
                else:
                    remedy = "leave the option out"
                raise UnsupportedError(
                    f"{method} has no parameter {name} in SPDK {self.name}",
                    obj=obj,
                    hop=hop,
                    call=method,
                    cause=f"the target {self.socket} runs SPDK {self.name}",
                    remedy=remedy,
                )

    def check_transport_options(self, trtype: str, options: t.Mapping[str, t.Any]) -> None:
        """Raise an :class:`UnsupportedError` or :class:`HopError` for an option that is unknown here or of the wrong type."""
        for name, value in options.items():
            known = TRANSPORT_OPTIONS.get(name)
            if known is None:
                raise UnsupportedError(
                    f"nvmf_create_transport has no option {name}",
                    obj=trtype,
                    hop="path",
                    call="nvmf_create_transport",
                    cause="SPDK would ignore it silently",
                    remedy="correct the name; known are " + ", ".join(sorted(n for n, (span, k) in TRANSPORT_OPTIONS.items() if self._holds(span))),
                )
            span, kind = known
            if not self._holds(span):
                newer = span.since is not None and span.since > self.surely
                raise UnsupportedError(
                    f"nvmf_create_transport has no option {name} in SPDK {self.name}",
                    obj=trtype,
                    hop="path",
                    call="nvmf_create_transport",
                    cause="SPDK would ignore it silently",
                    remedy=f"upgrade SPDK to {release_name(span.since)} or later" if newer and span.since else "leave the option out",
                )
            if (kind is int and (isinstance(value, bool) or not isinstance(value, int))) or not isinstance(value, kind):
                raise HopError(
                    f"the option {name} must be a {'whole number' if kind is int else 'boolean' if kind is bool else 'list'}, not {value!r}",
                    obj=trtype,
                    hop="path",
                    call="nvmf_create_transport",
                    remedy="correct the value",
                )
