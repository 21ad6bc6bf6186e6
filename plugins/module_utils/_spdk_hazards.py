# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What is dangerous in a release of SPDK, as data: for people, and beside each entry what the modules do about it.

Crashes were measured in 19.01.1, 23.01 and 26.05; between two measured releases an end is the first that was seen without it.
The rest was read from SPDK's source at every release tag.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_methods import ALWAYS, Span
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import ReleaseTable, release_name

BLOCKED, NEEDS_IMAGE, RESCAN, TOLD = "blocked", "needs_image", "rescan", "told"


@dataclass(frozen=True)
class Hazard:
    """``text`` completes "this release ..."; ``guard`` says what the modules do, ``remedy`` what a person can do.

    ``growth`` is what it means for a growth: BLOCKED (the target cannot follow one), NEEDS_IMAGE (only if it reads the image itself), RESCAN (hosts
    need a rescan), TOLD (in order, but worth knowing), None (nothing).
    """

    name: str
    span: Span
    text: str
    guard: str
    remedy: str
    growth: str | None = None


HAZARDS: tuple[Hazard, ...] = (
    Hazard(
        "block_size_zero",
        Span(ALWAYS, (26, 5)),
        "ends at once when an RBD bdev is created with block_size 0",
        "block_size below 512 is refused before anything is sent",
        "create bdevs by spdk_rbd_bdev",
    ),
    Hazard(
        "cluster_without_name",
        Span((21, 7), (26, 5)),
        "ends at once when a cluster is registered without a name",
        "a cluster needs a name",
        "register clusters by spdk_rbd_bdev",
    ),
    Hazard(
        "bad_ceph_user",
        Span((23, 1), (26, 5)),
        "ends at once when an RBD bdev without a cluster names a Ceph user that cannot connect",
        "bdevs are only opened through registered clusters, where a bad user is an error; user_id of a bdev is never sent",
        "register clusters, and check the user on the target host before",
    ),
    Hazard(
        "vanished_image",
        Span(ALWAYS, (24, 1)),
        "does not watch the images of bdevs nobody uses: such an image can be removed, and a namespace of its bdev then ends the target",
        "spdk_rbd_bdev reads the image of an unused bdev and stops when it is gone",
        "delete the bdev of an image that is gone, never make it a namespace",
    ),
    Hazard(
        "delete_during_resize",
        Span((24, 1), (26, 9)),
        "can crash when a bdev is deleted while the news of a new image size is under way",
        "deletions come before growths, and wait until the bdev shows its image's size",
        "upgrade to 26.09 when it is released; do not resize an image whose bdev is being deleted",
        TOLD,
    ),
    Hazard(
        "resize_cuts_image",
        Span((20, 4)),
        "cuts an image when bdev_rbd_resize is sent by hand with a size between the bdev's and the image's, or rounded down to MiB",
        "images grow through librbd; the call is only sent when the image, read right before, has exactly that size",
        "never send bdev_rbd_resize by hand; grow volumes by the playbooks",
    ),
    Hazard(
        "no_resize",
        Span(ALWAYS, (20, 4)),
        "can neither resize an RBD bdev nor follow its image: a bdev keeps the size it was created with",
        "nothing is grown, not even the image",
        "upgrade to 20.04 or later; a restart of the target makes it read all sizes anew",
        BLOCKED,
    ),
    Hazard(
        "no_size_watch",
        Span((20, 4), (24, 1)),
        "does not watch its images: a bdev shows its image's new size only when the target is told it",
        "the target is told by bdev_rbd_resize when its image, read right before, has exactly the wanted size",
        "let the target read its images (python3-rbd or the rbd tool, and a keyring), or upgrade to 24.01 or later",
        NEEDS_IMAGE,
    ),
    Hazard(
        "empty_bdev",
        Span((21, 10), (22, 9)),
        "answers success for a bdev of a missing image, which then has 0 blocks",
        "a new bdev is read back and must have blocks",
        "upgrade to 22.09 or later",
    ),
    Hazard(
        "identity_changes",
        Span(ALWAYS, (21, 10)),
        "gives its bdevs no lasting UUID; a namespace that does not name its own is another disk after a restart",
        "nvmf_subsystem sends the uuid and nguid of each namespace that names them",
        "give every namespace a uuid",
    ),
    Hazard(
        "no_resize_event",
        Span(ALWAYS, (19, 10)),
        "does not tell hosts that a namespace has grown",
        "nvme_rescan waits for the event, proves the new size and rescans",
        "run nvme_rescan on every host after a growth",
        RESCAN,
    ),
    Hazard(
        "resize_event_lost",
        Span((19, 10), (21, 4)),
        "can lose the event that tells hosts of a growth when the subsystem is changed at the same moment",
        "nvme_rescan waits for the event, proves the new size and rescans",
        "run nvme_rescan on every host after a growth",
        TOLD,
    ),
    Hazard(
        "subsystem_busy",
        Span((20, 10), (24, 5)),
        "refuses a change of a subsystem while another is under way, also while somebody lists its controllers or listeners",
        "changes of a subsystem are sent one after the other",
        "do not change a target from two places at once",
    ),
    Hazard(
        "removed_host_stays",
        Span(ALWAYS, (20, 10)),
        "leaves a host connected whose permission is removed",
        "nothing: the release cannot disconnect it",
        "disconnect the host there before its permission is removed",
    ),
    Hazard(
        "keys_ignored",
        Span((23, 5), (24, 5)),
        "ignores DH-HMAC-CHAP keys of a host without a word and admits it unauthenticated",
        "keys are an error before 24.05, never left out",
        "upgrade to 24.05 or later for authentication",
    ),
    Hazard(
        "discovery_deletable",
        Span(),
        "lets the discovery subsystem be deleted, and cannot create it again",
        "the discovery subsystem is refused as an object",
        "restart the target if somebody deleted it",
    ),
    Hazard(
        "save_config_loses",
        Span((21, 7)),
        "forgets clusters, cluster names and read_only in save_config: a read-only export comes back writable",
        "the start-up configuration is rendered from what is declared",
        "never start a target from what save_config wrote",
    ),
)


def hazards(table: ReleaseTable) -> list[dict[str, t.Any]]:
    """The hazards of a running release: ``hazard``, ``text``, ``guard``, ``remedy``, ``fixed_in`` (``26.09``, or None), ``growth``."""
    return [
        {
            "hazard": item.name,
            "text": f"SPDK {table.name} {item.text}",
            "guard": item.guard,
            "remedy": item.remedy,
            "fixed_in": None if item.span.until is None else release_name(item.span.until),
            "growth": item.growth,
        }
        for item in HAZARDS
        if item.span.holds(table.surely)
    ]


def rounded_iops(limit: int) -> int:
    """The I/O per second that a target makes of a limit: whole thousands, rounded up, in every release (1500 reads back as 2000); 0 is none."""
    return -(-limit // 1000) * 1000
