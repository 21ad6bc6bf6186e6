# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What a kernel's NVMe host lacks and what is dangerous in it, by its release (``uname -r``), as data."""

from __future__ import annotations

import re
import typing as t

#: (pattern of the release with its build as group 1, first build without the fault, what happens, where it ended). A build with the fix of a
#: z-stream cannot be told from one without it, so it counts as faulty, too.
RESCAN_HANGS: t.Sequence[tuple[t.Pattern[str], int, str, str]] = (
    (
        re.compile(r"^5\.14\.0-(\d+)\..*el9"),
        586,
        "a rescan of a controller can hang this host's NVMe (RHEL-86484)",
        "boot kernel 5.14.0-586.el9 (RHEL 9.7) or later",
    ),
)


def rescan_hazard(release: str | None) -> dict[str, str] | None:
    """What a rescan can do on the kernel ``release``: ``text`` and ``remedy``; None if nothing is known."""
    for pattern, fixed, text, remedy in RESCAN_HANGS:
        match = pattern.match(release or "")
        if match and int(match.group(1)) < fixed:
            return {"text": f"kernel {release}: {text}", "remedy": remedy}
    return None


#: Policies by which native multipath chooses a path, and the Linux that brought each.
IOPOLICIES: t.Mapping[str, tuple[int, int]] = {"numa": (5, 1), "round-robin": (5, 1), "queue-depth": (6, 11)}
#: Kernels whose version tells nothing, for features of newer ones are put into them (RHEL and its kin, SLES, UEK).
_BACKPORTED = re.compile(r"\.el[0-9]|-default$|uek")


def lacks_iopolicy(release: str, policy: str) -> bool:
    """Whether the kernel ``release`` surely lacks an io policy."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return match is not None and not _BACKPORTED.search(release) and (int(match.group(1)), int(match.group(2))) < IOPOLICIES[policy]
