# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""The target that hung, after it was let go on."""

from __future__ import annotations

import re
import typing as t

testinfra_hosts = ["ansible://t2"]


def test_it_runs_again(host: t.Any) -> None:
    """The same process, not stopped any more."""
    pid = host.check_output("systemctl show -p MainPID --value spdk_tgt")
    assert host.service("spdk_tgt").is_running
    state = re.search(r"^State:\s+(\w)", host.file(f"/proc/{pid}/status").content_string, re.MULTILINE)
    assert state is not None and state.group(1) not in "TtZ"
    assert host.check_output("systemctl show -p NRestarts --value spdk_tgt") == "0"
