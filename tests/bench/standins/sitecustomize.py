# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read by every Python on a light host: when one that ran a module of the collection ends, a line in ``$LIGHT_LOG`` says what it cost.

That counts what really ran on hosts, beside what Ansible's own callbacks tell on the controller.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import resource
import sys
import time

_BEGAN = time.monotonic()


def _note() -> None:
    names = [found.group(1) for path in sys.path for found in [re.search(r"nvmeof\.spdk\.([a-z_]+?)_payload", path)] if found]
    module = names[0] if names else os.environ.get("LIGHT_MODULE")
    if module is None:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    operations = getattr(sys.modules.get("rados"), "OPERATIONS", {})
    line = {
        "host": os.path.basename(os.environ.get("LIGHT_HOST", "controller")),
        "module": module,
        "seconds": round(time.monotonic() - _BEGAN, 3),
        "cpu": round(used.ru_utime + used.ru_stime, 3),
        "peak_kib": used.ru_maxrss,
        "ceph": dict(operations),
    }
    with open(os.environ["LIGHT_LOG"], "a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


if os.environ.get("LIGHT_LOG"):
    atexit.register(_note)
