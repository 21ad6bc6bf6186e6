# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What became of the file systems in guests: told apart from the capacity, which it says nothing about."""

from __future__ import annotations

import typing as t

from ._volumes import known_of

#: On each host: what ``guest_filesystem`` answered, by stage.
_REMEMBERED = "volume_growth__filesystems"


def filesystem_outcome(hostvars: t.Mapping[str, t.Any], planned: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What ``guest_filesystem`` answered on the hosts that a plan gave work to.

    ``filesystems``: its entries with ``host`` and ``volume``; ``lines``: one text each; ``failed``: text for what was tried and failed, or was not heard
    of. A file system of a kind that is left alone (LVM inside) has not failed.
    """
    names = {row["uuid"]: row["volume"] for row in planned["volumes"] if row["uuid"]}
    found: list[dict[str, t.Any]] = []
    lines: list[str] = []
    failed: list[str] = []
    asked = [(host, stage, wanted) for stage, work in planned["stages"].items() for host, wanted in work["filesystems"].items()]
    for host, stage, wanted in sorted(asked, key=lambda item: item[:2]):
        answer = (known_of(hostvars, host).get(_REMEMBERED) or {}).get(stage) or {}
        entries = answer.get("filesystems")
        if entries is None:
            disks = ", ".join(f"{disk['domain']}:{disk['target']}" for disk in wanted)
            reason = str(answer.get("msg") or "the host failed or was lost before that, or the volume did not get so far").strip()
            failed.append(f"file systems of {host} ({disks}): {reason}")
            lines.append(f"filesystem {failed[-1]}")
            continue
        for entry in entries:
            found.append({"host": host, "volume": names.get(entry.get("namespace_uuid")), **entry})
            label = f"{host}:{entry['domain']}:{entry['target']}"
            error = entry.get("error") or {}
            told = entry["message"] + (f". Next step: {error['remedy']}" if error.get("remedy") else "")
            lines.append(f"filesystem {label}: {told}")
            if entry["state"] == "failed":
                failed.append(f"file system of {label}: {told}")
    return {"filesystems": found, "lines": lines, "failed": failed}
