# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that let images grow."""

    DOCUMENTATION = r"""
options:
  lease_owner:
    description:
      - Identifier of this run in the lease that it holds on every image that grows, such as a job's id. Other runs are told of it.
      - A run that finds a lease of its own owner takes it over at once, so that a killed run can be repeated without waiting.
        Give two runs that can work at the same time, or two hosts of one run, different owners.
      - Without it the owner is unique to this module call.
    type: str
  lease_duration:
    description:
      - Seconds after which a lease ends by itself when its run was killed. While the run works the lease is renewed. At least 30.
      - The programs of ceph-common cannot renew while they work, so without python3-rbd a lease lasts somewhat longer than twice the time-out at least.
    type: int
    default: 120
  lease_wait:
    description:
      - Seconds to wait for another run's lease to end; with V(0) a lease of another run is an error at once. Nothing is done before all leases are held.
    type: int
    default: 0
"""
