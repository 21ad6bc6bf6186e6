# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Choosing volumes with JMESPath and addresses with netaddr: controller-side libraries, imported only when used."""

from __future__ import annotations

import typing as t


class SelectError(Exception):
    """The expression or the network cannot be used; the text says why and what would be right."""


def select(rows: t.Sequence[dict[str, t.Any]], expression: str) -> list[dict[str, t.Any]]:
    """The rows that a JMESPath ``expression`` keeps, for example ``[?pool=='pool-1' && image_bytes < `107374182400`]``.

    Every row is searched with its hops as ``image_bytes`` ... ``guest_bytes`` beside its other keys. The expression must give a list
    of rows.
    """
    try:
        import jmespath
        import jmespath.exceptions
    except ImportError as exc:
        raise SelectError("selecting volumes needs the Python library jmespath on the controller: pip install jmespath") from exc
    flat = [{**row, **{f"{hop}_bytes": size for hop, size in (row.get("bytes") or {}).items()}} for row in rows]
    try:
        chosen = jmespath.search(expression, flat)
    except jmespath.exceptions.JMESPathError as exc:
        raise SelectError(f"the expression {expression!r} is not valid JMESPath: {exc}") from exc
    if not isinstance(chosen, list) or any(not isinstance(row, dict) or "volume" not in row for row in chosen):
        raise SelectError(f"the expression {expression!r} must keep whole volumes, as [?pool=='rbd'] does; it gave {type(chosen).__name__}")
    names = [(row["volume"], row.get("uuid")) for row in chosen]
    return [row for row in rows if (row["volume"], row.get("uuid")) in names]


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
