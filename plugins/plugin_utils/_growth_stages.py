# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The order in which a growth touches its volumes: the canary through every hop first, then the rest."""

from __future__ import annotations

import typing as t

#: What hosts have to do, in the order of the hops; each is a dictionary of lists by host.
KINDS = ("images", "targets", "initiators", "layers", "hypervisors", "filesystems")
#: The kinds of hosts that act after the targets.
HOST_KINDS = ("initiators", "layers", "hypervisors", "filesystems")

Work = dict[str, dict[str, list[dict[str, t.Any]]]]


def no_work() -> Work:
    """Nothing to do for anybody."""
    return {kind: {} for kind in KINDS}


def merged(works: t.Iterable[Work]) -> Work:
    """The work of many volumes as one call per host and kind takes it."""
    whole = no_work()
    for work in works:
        for kind, by_host in work.items():
            for host, items in by_host.items():
                whole[kind].setdefault(host, []).extend(items)
    return whole


def canaries(acting: t.Sequence[str], canary: t.Any, named: t.Sequence[str] = ()) -> list[str]:
    """Which of the ``acting`` volumes go first.

    ``canary``: how many, as a number or its text; empty for one where more than one is to grow. ``named``: volumes that were asked for by a handle instead.
    A growth whose every volume is a canary has none: there is nothing that they would protect.
    """
    if named:
        first = [name for name in acting if name in named]
    else:
        text = str(canary).strip()
        first = list(acting[: int(text) if text else 1])
    return [] if len(first) == len(acting) else first


def stages(work_of: t.Mapping[str, Work], first: t.Sequence[str], uuids: t.Mapping[str, t.Sequence[str]] | None = None) -> dict[str, dict[str, t.Any]]:
    """``canary`` and ``rest``: each the names of its ``volumes``, the work of every host by kind, and the ``hosts`` that act after the targets.

    ``parts`` has the work of each volume alone, so that a volume that does not get to a hop can be left out of the hops behind it. ``uuids`` (here those of
    each volume) are the namespaces that each of ``hosts`` has in the stage.
    """
    found = {}
    for stage, names in (("canary", [name for name in work_of if name in first]), ("rest", [name for name in work_of if name not in first])):
        work = merged(work_of[name] for name in names)
        hosts = sorted({host for kind in HOST_KINDS for host in work[kind]})
        namespaces: dict[str, list[str]] = {host: [] for host in hosts}
        for name in names:
            for host in {host for kind in HOST_KINDS for host in work_of[name][kind]}:
                namespaces[host] += (uuids or {}).get(name, ())
        parts = {name: {kind: by_host for kind, by_host in work_of[name].items() if by_host} for name in names}
        found[stage] = {"volumes": names, "hosts": hosts, "parts": parts, "uuids": namespaces, **work}
    return found
