# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A light guest's stand-in for its agent: it has one disk, and sees the size that QEMU shows."""

from __future__ import annotations

import base64
import json
import typing as t

_DISK = {"bus-type": "virtio", "bus": 0, "target": 0, "unit": 0, "pci-controller": {"domain": 0, "bus": 0, "slot": 4, "function": 0}}


def qemuAgentCommand(domain: t.Any, command: str, _timeout: int, _flags: int) -> str:
    """Answer as qemu-ga 7.2."""
    request = json.loads(command)["execute"]
    answer: t.Any = {}
    if request == "guest-get-disks":
        answer = [{"name": "/dev/vda", "partition": False, "address": {**_DISK, "serial": domain.volume[:20]}}]
    elif request == "guest-file-open":
        answer = 1000
    elif request == "guest-file-read":
        text = f"{domain.capacity() // 512}\n".encode()
        answer = {"count": len(text), "buf-b64": base64.b64encode(text).decode(), "eof": True}
    return json.dumps({"return": answer})
