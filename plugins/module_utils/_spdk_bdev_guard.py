# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What stands before a dangerous call on an RBD bdev: how a release resizes, and when one may be deleted or used."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import MIB
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import Ceph, ImageNotFoundError, ImageSpec
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import UnsupportedError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Call, Target

PATCHED = "resize_rbd_bdev"
#: Seconds between two looks.
POLL = 0.05


def resize_call(target: Target, unit: str | None, name: str, size: int) -> Call:
    """The call that tells ``target`` that the image of its bdev has ``size`` bytes, a whole number of MiB.

    Upstream is ``bdev_rbd_resize`` (20.04), in MiB. Before it there was a patch that no release took, ``resize_rbd_bdev``: a
    target is known to have it by its own list, but nothing tells its unit (the patch that was sent to SPDK takes bytes, a tool
    before it MiB). A wrong guess makes an image of 128 MiB one of 128 TiB, or of 128 bytes, so ``unit`` (``bytes``, ``mib``)
    must have been declared. Raises :class:`HopError` where the target cannot be told.
    """
    if target.table.has("bdev_rbd_resize"):
        return "bdev_rbd_resize", {"name": name, "new_size": size // MIB}
    if not target.table.has(PATCHED):
        raise UnsupportedError(
            f"SPDK {target.table.name} can neither resize an RBD bdev nor follow its image, so neither is touched",
            obj=name,
            hop="bdev",
            call="bdev_rbd_resize",
            cause="an image that grew would not be seen before the target is restarted",
            remedy="upgrade SPDK to 20.04 or later; or grow the image (nvmeof.spdk.rbd_image) and restart the target, which makes it read all sizes anew",
        )
    if unit is None:
        raise HopError(
            f"the target resizes by {PATCHED}, which is in no SPDK release, so the unit of its size cannot be known",
            obj=name,
            hop="bdev",
            call=PATCHED,
            cause="a wrong unit would cut the image to nothing, or make it a million times larger",
            remedy="find out in the target's source (the patch sent to SPDK takes bytes), try it on an image nobody needs, and declare it in resize_unit",
        )
    return PATCHED, {"name": name, "size": size if unit == "bytes" else size // MIB}


def settle(target: Target, ceph: t.Callable[[], Ceph], bdevs: t.Mapping[str, ImageSpec], grace: float) -> None:
    """Wait until the bdevs that are to be deleted show the sizes of their images, for at most ``grace`` seconds.

    From 24.01 until 26.09 a deletion while the news of a new size is under way can end the target (a use after free in SPDK's watch).
    After the grace none is under way any more; an image that cannot be read has none.
    """
    if not bdevs or not target.table.is_so("delete_races_resize"):
        return
    images: dict[str, int] = {}
    for name, spec in bdevs.items():
        try:
            images[name] = ceph().size(spec)
        except HopError:
            continue
    deadline = time.monotonic() + grace
    while images:
        found = target.bdevs_by_name(list(images))
        moving = [
            name
            for name, image in images.items()
            if name in found and found[name]["size_bytes"] < image // (found[name]["block_size"] or 1) * (found[name]["block_size"] or 1)
        ]
        if not moving or time.monotonic() >= deadline:
            return
        time.sleep(POLL)


def refuse_vanished_image(target: Target, ceph: t.Callable[[], Ceph], bdev: t.Mapping[str, t.Any], spec: ImageSpec) -> None:
    """Raise when the image of a bdev nobody uses is gone, on a release where a namespace of it would then end the target.

    Only an image that Ceph says is missing counts; without Ceph nothing can be said and nothing is refused.
    """
    if bdev["claimed"] or not target.table.is_so("unused_bdev_unwatched"):
        return
    try:
        ceph().size(spec)
    except ImageNotFoundError as error:
        raise HopError(
            f"the image {spec} of the bdev {bdev['name']} is gone",
            obj=bdev["name"],
            hop="image",
            call="open",
            cause=f"SPDK {target.table.name} does not watch the images of bdevs nobody uses, and a namespace of this one would end the target",
            remedy="remove the bdev (state=absent); if the image was created anew, create the bdev anew as well",
        ) from error
    except HopError:
        return
