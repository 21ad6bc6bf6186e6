# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What lies on top of a block device: partitions, device-mapper and md devices, with their sizes, from sysfs.

Each such layer remembers a size of its own, so a volume that grew stops here until the layer is grown too. Nothing is
opened or run: the kind of a device-mapper device is the prefix that its owner puts into ``dm/uuid`` (cryptsetup
``CRYPT-``, LVM ``LVM-``, multipath-tools ``mpath-``, kpartx ``partN-``).
"""

from __future__ import annotations

import os
import re
import typing as t

#: Unit of ``size`` of every block device (Documentation/ABI/stable/sysfs-block).
SECTOR = 512
#: Deeper stacks than this are taken for a loop of links.
DEEPEST = 16

_DM_KINDS = (("CRYPT-", "dm-crypt"), ("LVM-", "lvm"), ("mpath-", "multipath"))


def _text(*parts: str) -> str | None:
    try:
        with open(os.path.join(*parts), encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None  # not there, or gone while it was read


def _names(*parts: str) -> list[str]:
    try:
        names = os.listdir(os.path.join(*parts))
    except OSError:
        return []
    return sorted(names, key=lambda name: [int(piece) if piece.isdigit() else piece for piece in re.split(r"([0-9]+)", name)])


def kind_of(name: str, dm_uuid: str | None) -> str:
    """The kind of a layer by its kernel name and ``dm/uuid``: dm-crypt, lvm, multipath, partition, dm, md or other."""
    if name.startswith("dm-"):
        for prefix, kind in _DM_KINDS:
            if (dm_uuid or "").startswith(prefix):
                return kind
        return "partition" if re.match(r"part[0-9]+-", dm_uuid or "") else "dm"
    return "md" if re.match(r"md[0-9_]", name) else "other"


def _layer(base: str, name: str, kind: str, below: str) -> dict[str, t.Any]:
    sectors = _text(base, "size")
    return {
        "name": _text(base, "dm", "name") or name,
        "device": "/dev/" + name.replace("!", "/"),
        "kind": kind,
        "size_bytes": int(sectors) * SECTOR if sectors and sectors.isdigit() else None,
        "on": ["/dev/" + below],
    }


def layers_above(root: str, devices: t.Sequence[str]) -> list[dict[str, t.Any]]:
    """All layers on top of the block devices ``devices`` (kernel names), the lower ones first; ``root`` is sysfs.

    Each has ``name`` (that of ``/dev/mapper`` for device-mapper, else the kernel's), ``device``, ``kind``, ``size_bytes``
    (``None``: not readable) and ``on`` (the devices directly below). The size of what dm-crypt or LVM adds for itself is not in sysfs.
    """
    found: dict[str, dict[str, t.Any]] = {}
    below = [(name, os.path.join(root, "block", name)) for name in devices]
    for _depth in range(DEEPEST):
        above: list[tuple[str, str]] = []
        for name, base in below:
            parts = [part for part in _names(base) if part.startswith(name) and os.path.exists(os.path.join(base, part, "partition"))]
            for holder in parts + _names(base, "holders"):
                if holder in found:
                    if "/dev/" + name not in found[holder]["on"]:
                        found[holder]["on"].append("/dev/" + name)
                    continue
                own = os.path.join(base, holder) if holder in parts else os.path.join(root, "block", holder)
                kind = "partition" if holder in parts else kind_of(holder, _text(own, "dm", "uuid"))
                found[holder] = _layer(own, holder, kind, name)
                above.append((holder, own))
        if not above:
            break
        below = above
    return list(found.values())
