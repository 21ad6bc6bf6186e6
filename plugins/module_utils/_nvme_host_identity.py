# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Who a host is to NVMe-oF targets: the pair ``/etc/nvme/hostnqn`` and ``/etc/nvme/hostid``.

Debian's package writes both at installation, from two different UUIDs, and so into every image made of the machine: clones share the
pair. Targets tell hosts apart by the NQN (allowed hosts, reservations), and the kernel (6.5 and newer) refuses one hostid under two NQNs.
"""

from __future__ import annotations

import typing as t
import uuid

PREFIX = "nqn.2014-08.org.nvmexpress:uuid:"


def connected(sysfs: t.Any) -> list[str]:
    """The controllers that are connected by the present identity."""
    return [item["name"] for item in sysfs.controllers() if item["transport"] not in ("pcie", None)]


def plan(hostnqn: str | None, hostid: str | None, wanted_nqn: str | None, wanted_id: str | None, renew: bool) -> tuple[str, str]:
    """The pair that shall be: what is asked for, else what is there, else new.

    The NQN decides, for targets know it; a hostid that does not belong to it gives way. ``renew`` gives up both.
    """
    nqn = wanted_nqn or (None if renew else hostnqn)
    if nqn is None:
        fresh = wanted_id or (hostid if hostid and not hostnqn and not renew else str(uuid.uuid4()))
        return PREFIX + fresh, fresh
    if wanted_id:
        return nqn, wanted_id
    # an NQN that holds no UUID belongs to any hostid
    own = nqn[len(PREFIX) :].lower() if nqn.startswith(PREFIX) else None
    return nqn, own or hostid or str(uuid.uuid4())
