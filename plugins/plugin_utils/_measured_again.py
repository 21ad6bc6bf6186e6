# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The last word of a host that was measured several times in a run, of which the later ones look only at what was touched."""

from __future__ import annotations

import typing as t

#: What is read of an image behind a bdev; a later measurement reads it for the bdevs that it was asked for.
OF_IMAGES = ("image_bytes", "image_error", "image_primary", "lease", "watched")

Result = t.Mapping[str, t.Any]


def _said(kind: str, registered: Result) -> tuple[t.Any, str | None]:
    """What a registered result says: the answer, or why there is none; neither for what was skipped."""
    answer = registered.get(kind)
    if registered.get("unreachable"):
        return None, "host unreachable: " + str(registered.get("msg") or "no reason given").strip()
    if answer is not None and not registered.get("failed"):
        return (answer if kind != "images" else {"fsid": registered.get("fsid"), "images": answer, "pools": registered.get("pools")}), None
    if not registered or registered.get("skipped"):
        return None, None
    return None, str(registered.get("msg") or "the host did not answer").strip()


def _images_of(entry: t.Mapping[str, t.Any]) -> tuple[t.Any, ...]:
    return (entry.get("pool"), entry.get("rados_namespace") or "", entry.get("image"))


def _joined(kind: str, earlier: t.Any, later: t.Any, asked: t.Mapping[str, t.Any]) -> t.Any:
    """``later``, and of ``earlier`` what was not asked for again."""
    if earlier is None:
        return later
    if kind == "target":
        if asked.get("bdevs") is None:
            return later
        known = {bdev["name"]: bdev for bdev in earlier.get("bdevs") or []}
        bdevs = []
        for bdev in later.get("bdevs") or []:
            kept = known.get(bdev["name"]) if bdev["name"] not in asked["bdevs"] else None
            bdevs.append({**bdev, **{key: kept[key] for key in OF_IMAGES if key in kept}} if kept else bdev)
        problems = [one for one in earlier.get("problems") or [] if one.get("object") in known and one["object"] not in asked["bdevs"]]
        problems += [one for one in later.get("problems") or [] if one not in problems]
        return {
            **later,
            "bdevs": bdevs,
            "problems": problems,
            "fsid": later.get("fsid") or earlier.get("fsid"),
            "pools": later.get("pools") or earlier.get("pools"),
        }
    if kind == "disks":
        again = {str(uuid).lower() for uuid in asked.get("uuids") or []}
        return [disk for disk in earlier if again and (disk.get("namespace_uuid") or "").lower() not in again] + list(later)
    if kind == "images":
        again = {_images_of(image) for image in later["images"]}
        return {**later, "images": [image for image in earlier["images"] if _images_of(image) not in again] + list(later["images"])}
    return later


def latest(kind: str, registered: Result, again: t.Sequence[Result]) -> tuple[t.Any, t.Any, str | None]:
    """The answer, what was answered before the host fell silent, and why it is silent; nothing of it for what was skipped.

    ``again``: later measurements, by kind, each with what it was asked for: ``bdevs`` and ``uuids``.
    """
    answer, error = _said(kind, registered)
    before = None
    for later in again:
        said, silence = _said(kind, later.get(kind) or {})
        if said is not None:
            answer, before, error = _joined(kind, answer if answer is not None else before, said, later), None, None
        elif silence is not None:
            answer, before, error = None, answer if answer is not None else before, silence
    return answer, before, error
