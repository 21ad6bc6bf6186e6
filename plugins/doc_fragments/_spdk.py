# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that speak with an SPDK target."""

    DOCUMENTATION = r"""
options:
  socket:
    description:
      - The unix socket on which the SPDK target takes JSON-RPC requests (its option C(-r)).
    type: path
    default: /var/tmp/spdk.sock
  timeout:
    description:
      - Seconds one call may take. While Ceph is slow an SPDK target answers nothing at all, so keep this at 60 or more.
      - After a time-out the state is read again; no call is repeated blindly.
    type: int
    default: 60
"""
