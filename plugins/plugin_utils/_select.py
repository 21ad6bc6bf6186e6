# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Choosing volumes with JMESPath and addresses with netaddr: controller-side libraries, imported only when used."""

from __future__ import annotations

import re
import typing as t


class SelectError(Exception):
    """The expression or the network cannot be used; the text says why and what would be right."""


def flat(row: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A row of the truth table as an expression sees it.

    Beside the row's own keys: every hop's bytes as ``image_bytes`` ... ``guest_bytes``, and the names ``targets``, ``hosts`` (those that show or use it)
    and ``domains``.
    """
    readings = row.get("readings") or {}

    def names(key: str, *hops: str) -> list[str]:
        found = {reading[key] for hop in hops for reading in readings.get(hop) or [] if not reading.get("silent") and reading.get(key)}
        return sorted(found)

    attached = row.get("attached") or []
    return {
        **row,
        **{f"{hop}_bytes": size for hop, size in (row.get("bytes") or {}).items()},
        "targets": names("host", "bdev"),
        "hosts": sorted({*names("host", "device", "disk"), *(disk["host"] for disk in attached)}),
        "domains": sorted({*names("domain", "disk"), *(disk["object"].rpartition(":")[0] for disk in attached)}),
    }


def _fault_of(exc: Exception, expression: str) -> str:
    """Where an expression is wrong, in one line; jmespath's own text draws a line with a caret under it."""
    position = getattr(exc, "lex_position", None)
    reason = str(getattr(exc, "message", None) or exc).splitlines()[0]
    reason = re.sub(r"^Invalid jmespath expression: |,? for expression:?$|:$", "", re.sub(r",? for expression:?$", "", reason.strip()))
    if position is None or not 0 <= position <= len(expression):
        return reason
    near = expression[position : position + 16]
    hint = "; numbers stand in backticks, as `100`" if near[:1].isdigit() else ""
    if not near:  # -e select=... ends at the first space, and nothing else says so
        hint = '; if it was cut there, write it without spaces or as JSON: -e \'{"select": "..."}\''
    return f"{reason}, at position {position} " + (f"(before {near!r})" if near else "(its end)") + hint


#: The begin of another variable, as in ``-e "select=... find=vm4:vdb"``; ``==`` is JMESPath's.
_VARIABLE = re.compile(r"\s[A-Za-z_]\w*=(?!=)")


def as_typed(expression: str, options: t.Sequence[t.Any]) -> str:
    """The whole of an expression that Ansible cut at its first space, as in ``-e "select=[?pool=='a' && image_bytes < `5`]"``.

    ``options`` are the values of ``-e`` as they were typed. In one that has ``NAME=``, this very expression and a space, everything up to the next variable is
    the expression.
    """
    for option in options:
        text = "".join(option) if isinstance(option, str) else ""
        typed = re.search(r"(^|\s)[A-Za-z_]\w*=" + re.escape(expression) + r"(?P<rest>\s.*)$", text, re.DOTALL) if expression else None
        if typed:
            rest = typed["rest"]
            following = _VARIABLE.search(rest)
            return (expression + (rest[: following.start()] if following else rest)).strip()
    return expression


def _typed() -> t.Sequence[t.Any]:
    """The values of ``-e`` of this run; none where nobody typed a command."""
    try:
        from ansible import context
    except ImportError:
        return ()
    return context.CLIARGS.get("extra_vars") or ()


def select(rows: t.Sequence[dict[str, t.Any]], expression: str) -> list[dict[str, t.Any]]:
    """The rows that a JMESPath ``expression`` keeps, for example ``[?pool=='pool-1' && image_bytes < `107374182400`]``; maybe none.

    An expression sees each row as :func:`flat` gives it and must give a list of rows; what Ansible cut off on the command line is put back. Raises
    :class:`SelectError` for anything else.
    """
    try:
        import jmespath
        import jmespath.exceptions
    except ImportError as exc:
        raise SelectError("selecting volumes needs the Python library jmespath on the controller: pip install jmespath") from exc
    expression = as_typed(expression, _typed())
    try:
        chosen = jmespath.search(expression, [{**flat(row), "_row": number} for number, row in enumerate(rows)])
    except jmespath.exceptions.JMESPathError as exc:
        raise SelectError(f"the expression {expression!r} is not valid JMESPath: {_fault_of(exc, expression)}") from exc
    if not isinstance(chosen, list) or any(not isinstance(row, dict) or "_row" not in row for row in chosen):
        got = f"a list of {type(chosen[0]).__name__}" if isinstance(chosen, list) and chosen else type(chosen).__name__
        raise SelectError(f"the expression {expression!r} must keep whole volumes, as [?pool=='rbd'] does; it gave {got.replace('NoneType', 'nothing')}")
    numbers = {row["_row"] for row in chosen}
    return [row for number, row in enumerate(rows) if number in numbers]


def address_in(addresses: t.Sequence[str], network: str) -> str:
    """The one of ``addresses`` (IPv4 or IPv6, with or without prefix) that lies in ``network`` (CIDR)."""
    try:
        import netaddr
    except ImportError as exc:
        raise SelectError("choosing an address by network needs the Python library netaddr on the controller: pip install netaddr") from exc
    try:
        wanted = netaddr.IPNetwork(network)
    except (netaddr.AddrFormatError, ValueError) as exc:
        raise SelectError(f"{network!r} is not a network; write it as 10.1.1.0/24 or fd00:1::/64") from exc
    found: list[str] = []
    for text in addresses:
        try:
            address = netaddr.IPNetwork(text).ip
        except (netaddr.AddrFormatError, ValueError) as exc:
            raise SelectError(f"{text!r} is not an IP address") from exc
        if address in wanted and str(address) not in found:
            found.append(str(address))
    if not found:
        raise SelectError(f"no address of {', '.join(addresses) or 'none'} lies in {network}")
    if len(found) > 1:
        raise SelectError(f"several addresses lie in {network}: {', '.join(found)}; use a narrower network")
    return found[0]
