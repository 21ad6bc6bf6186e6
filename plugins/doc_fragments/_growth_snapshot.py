# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that can take a snapshot of an image before it grows."""

    DOCUMENTATION = r"""
options:
  snapshot_keep:
    description:
      - Takes a snapshot of every image that really grows, after all checks and under the lease, right before it is resized, and how long it is to
        be kept, in hours, days or weeks, such as V(12h), V(7d) or V(4w). Without it no snapshot is taken.
      - Its name is V(nvmeof-spdk-grow-TIME-RUN) with the time from which on M(nvmeof.spdk.rbd_snapshot) removes it, in UTC. If no snapshot can be
        taken the image does not grow.
      - A run that was killed before it resized leaves its snapshot. A repetition within 15 minutes uses that one.
      - A snapshot of an image in use is crash-consistent, as after a power cut. It has the image's old size, so rolling back to it would shrink the
        volume under the hosts; nothing here does that. To get at the old data, clone the snapshot and use the clone.
      - It keeps what guests overwrite from now on, so it needs space in the pool until it is removed, and the image cannot be deleted before.
    type: str
  snapshot_run:
    description:
      - Identifier of this run in the name of the snapshot, such as a job's id. Default is a random one.
      - What is no letter, digit, dot, underscore or hyphen becomes a hyphen; 64 characters at most.
    type: str
"""
