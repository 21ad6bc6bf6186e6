# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Identify a namespace through one controller: what *this* target serves, whatever sysfs still shows.

One admin command (NVMe Base Specification 2.0, figure 273: CNS 0 Identify Namespace, CNS 2 active namespace ids)
through the kernel's passthrough ioctl. And what a discovery controller has to say: its log page.
"""

from __future__ import annotations

import os
import struct
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils import _nvme_discovery, _nvme_fabrics
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError

IDENTIFY = 0x06
CNS_NAMESPACE = 0
CNS_ACTIVE_LIST = 2
PAGE = 4096

#: After this time the kernel's transport starts error recovery on its own, as it does for a lost keep-alive.
TIMEOUT_MS = 10000


def served_bytes(data: bytes) -> int:
    """The capacity in an Identify Namespace answer (4096 bytes), in bytes: NSZE in blocks of the format in use.

    The format's number is FLBAS bits 3:0 plus, as bits 5:4, FLBAS bits 6:5 (NVM Command Set Specification 1.0,
    figure 97); only its own LBADS counts, not the first format's.
    """
    blocks = struct.unpack_from("<Q", data, 0)[0]
    flbas = data[26]
    index = (flbas & 0x0F) | ((flbas >> 1) & 0x30)
    shift = data[128 + 4 * index + 2]
    if blocks and not 9 <= shift <= 31:
        raise ValueError(f"block size 2**{shift} of format {index}")
    return blocks << shift


def active_nsids(data: bytes) -> list[int]:
    """The namespace ids in an active namespace list (ends at the first 0)."""
    found = []
    for number in struct.unpack_from("<1024I", data, 0):
        if not number:
            break
        found.append(number)
    return found


class Identify:
    """Sends Identify to ``/dev/nvmeC``; ``dev`` is the directory of the device nodes."""

    def __init__(self, dev: str = "/dev", timeout_ms: int = TIMEOUT_MS) -> None:
        self.dev = dev
        self.timeout_ms = timeout_ms

    def _identify(self, controller: str, cns: int, nsid: int) -> bytes:
        node = os.path.join(self.dev, controller)
        try:
            return _nvme_fabrics.admin(node, IDENTIFY, nsid, [cns], PAGE, self.timeout_ms)
        except OSError as exc:
            raise HopError(
                f"controller {controller} does not answer Identify",
                obj=controller,
                hop="path",
                call=f"Identify (CNS {cns}, nsid {nsid}) on {node}",
                cause=exc.strerror or str(exc),
                remedy="check that its target is alive and that the task runs as root; restart a hung target or disconnect this path",
            ) from exc

    def namespace_bytes(self, controller: str, nsid: int) -> int:
        """What a controller serves for a namespace, in bytes; 0 when the namespace is not active there."""
        data = self._identify(controller, CNS_NAMESPACE, nsid)
        try:
            return served_bytes(data)
        except ValueError as exc:
            raise HopError(
                f"controller {controller} describes namespace {nsid} in a form that makes no sense",
                obj=controller,
                hop="path",
                call=f"Identify nsid {nsid}",
                cause=str(exc),
                remedy="check the target",
            ) from exc

    def nsids(self, controller: str) -> list[int]:
        """The namespace ids that a controller serves (the first 1024)."""
        return active_nsids(self._identify(controller, CNS_ACTIVE_LIST, 0))

    def discovery_log(self, controller: str) -> list[dict[str, t.Any]]:
        """The entries of a discovery controller's log."""
        node = os.path.join(self.dev, controller)
        try:
            return _nvme_discovery.records(lambda offset, length: _nvme_fabrics.log_page(node, _nvme_discovery.LOG_PAGE, offset, length))
        except (OSError, ValueError) as exc:
            raise HopError(
                f"controller {controller} does not give its discovery log",
                obj=controller,
                hop="path",
                call=f"Get Log Page 0x70 on {node}",
                cause=getattr(exc, "strerror", None) or str(exc),
                remedy="check that the discovery service at its address is alive",
            ) from exc
