# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""How long a call of a module has taken, measured where it runs: without the way to the host."""

from __future__ import annotations

import time

_STARTED = time.monotonic()


def seconds() -> float:
    """Seconds since the module was loaded."""
    return round(time.monotonic() - _STARTED, 3)
