# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What a discovery service says: its log page read and understood, referrals followed, the wanted subsystems chosen.

The role nvme_initiator installs this file, too, beside the program that connects at boot. Therefore: standard library only, and nothing else
of the collection; who sends the commands is handed in.

Layout: NVMe over Fabrics 1.1, 5.4 (header and entries of 1024 bytes each). The log can be changed while it is read in parts; its generation
counter tells.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
import struct
import typing as t

NQN = "nqn.2014-08.org.nvmexpress.discovery"
LOG_PAGE = 0x70
_UNIT = 1024
#: Entries read by one command: 4 KiB, which every controller can transfer.
_AT_ONCE = 4
#: More than this is no discovery service.
_MOST = 65536
_TRANSPORTS = {1: "rdma", 2: "fc", 3: "tcp", 254: "loop"}
_REFERRAL, _SUBSYSTEM = 1, 2
#: Discovery services asked for one entry, referrals included.
_MOST_SERVICES = 32

Record = t.Dict[str, t.Any]


def _text(data: bytes, offset: int, length: int) -> str:
    return data[offset : offset + length].split(b"\0")[0].decode("utf-8", "replace").strip()


def entry(data: bytes) -> Record:
    """One entry of the log (1024 bytes)."""
    transport, _family, kind, requirements = struct.unpack_from("<4B", data, 0)
    return {
        "transport": _TRANSPORTS.get(transport, f"type {transport}"),
        "kind": {_REFERRAL: "referral", _SUBSYSTEM: "subsystem"}.get(kind, "discovery"),
        "secure": requirements & 3 == 1,
        "trsvcid": _text(data, 32, 32),
        "nqn": _text(data, 256, 256),
        "traddr": _text(data, 512, 256),
    }


def records(read: t.Callable[[int, int], bytes]) -> list[Record]:
    """The entries of a log; ``read`` gives ``length`` bytes of the page from ``offset`` on. Raises :class:`ValueError` for a log that makes no sense."""
    for _attempt in range(5):
        generation, count, layout = struct.unpack_from("<QQH", read(0, _UNIT), 0)
        if layout or count > _MOST:
            raise ValueError(f"{count} entries in a layout {layout} make no sense")
        found: list[Record] = []
        while len(found) < count:
            some = min(_AT_ONCE, count - len(found))
            data = read(_UNIT * (1 + len(found)), _UNIT * some)
            found += [entry(data[_UNIT * number : _UNIT * (number + 1)]) for number in range(some)]
        # two parts of one log, or of two?
        if count <= 0 or struct.unpack_from("<Q", read(0, _UNIT), 0)[0] == generation:
            return found
    raise ValueError("it changes all the time")


def sane(record: Record) -> bool:
    """Whether an entry may become words of a line for the kernel; it comes from the network."""
    try:
        ipaddress.ip_address(record["traddr"])
    except ValueError:
        return False
    nqn = re.match(r"^nqn\.[!-+\--~]{1,219}$", record["nqn"])
    return nqn is not None and re.match(r"^[0-9]{1,5}$", record["trsvcid"]) is not None


def _at(record: Record, service: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Where an entry is: a service that listens on all addresses of its host does not say which."""
    wildcard = ipaddress.ip_address(record["traddr"]).is_unspecified
    return {"traddr": service["traddr"] if wildcard else record["traddr"], "trsvcid": record["trsvcid"]}


def walk(
    service: t.Mapping[str, t.Any], ask: t.Callable[[dict[str, t.Any]], list[Record]], failures: t.Tuple[t.Type[Exception], ...]
) -> tuple[list[dict[str, str]], list[tuple[dict[str, t.Any], Exception]]]:
    """The subsystems that ``service`` and those that it refers to name for its transport: ``nqn``, ``traddr``, ``trsvcid``, each once.

    And what went wrong by service: what ``ask`` raised (one of ``failures``), or a :class:`ValueError` for an entry that makes no sense.
    """
    waiting, asked = [dict(service)], []
    found: list[dict[str, str]] = []
    failed = []
    while waiting and len(asked) < _MOST_SERVICES:
        here = waiting.pop(0)
        place = (here["traddr"], here["trsvcid"])
        if place in asked:
            continue
        asked.append(place)
        try:
            answer = ask(here)
        except failures as exc:
            failed.append((here, exc))
            continue
        for record in answer:
            if record["transport"] != service["transport"]:
                continue
            if not sane(record):
                failed.append((here, ValueError(f"it names {record['nqn']!r} at {record['traddr']!r}, port {record['trsvcid']!r}, which makes no sense")))
            elif record["kind"] == "referral":
                waiting.append({**service, **_at(record, here)})
            elif record["kind"] == "subsystem" and record["nqn"] != NQN:
                path = {"nqn": record["nqn"], **_at(record, here)}
                if path not in found:
                    found.append(path)
    return found, failed


def chosen(paths: t.Sequence[dict[str, str]], patterns: t.Sequence[str]) -> list[dict[str, str]]:
    """The paths whose NQN matches one of the patterns."""
    return [path for path in paths if any(fnmatch.fnmatchcase(path["nqn"], pattern) for pattern in patterns)]
