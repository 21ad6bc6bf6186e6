# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A light hypervisor's stand-in for python3-libvirt: the fake of the unit tests over files in ``$LIGHT_HOST``.

``domains.json`` maps a domain's name to its ``uuid`` and its disk's namespace ``volume`` and ``device``; ``capacity/NAME`` holds what QEMU
would show. The device's size is sysfs's, as libvirt's physical size is.
"""

from __future__ import annotations

import io
import json
import os
import typing as t

from fake_libvirt import FakeConnection, FakeDomain, FakeError, disk_xml, domain_xml, lagging

libvirtError = FakeError
VIR_DOMAIN_BLOCK_RESIZE_BYTES = 1
VIR_ERR_NO_DOMAIN = 42
TARGET = "vda"


class LightDomain(FakeDomain):
    """A running domain with one disk."""

    def __init__(self, name: str, known: t.Mapping[str, str]) -> None:
        self.volume, self.device = known["volume"], known["device"]
        disk = disk_xml(TARGET, "/dev/disk/by-id/nvme-uuid." + self.volume, extra=f"<serial>{self.volume}</serial>")
        super().__init__(domain_xml(disk, name=name, uuid=known["uuid"]), name=name)
        self.file = os.path.join(os.environ["LIGHT_HOST"], "capacity", name)

    def capacity(self) -> int:
        """Bytes that QEMU shows."""
        with io.open(self.file, encoding="ascii") as file:
            return int(file.read())

    def physical(self) -> int:
        """Bytes of the device, now."""
        with io.open(f"/sys/block/{self.device}/size", encoding="ascii") as file:
            return int(file.read()) * 512

    def blockInfo(self, target: str, _flags: int) -> list[int]:
        """Capacity, allocation, physical."""
        self.calls.append((target, 0, 0))
        return [self.capacity(), 0, self.physical()]

    def blockResize(self, target: str, size: int, flags: int) -> int:
        """As QEMU: whatever is not too large gives the whole device."""
        self.calls.append((target, size, flags))
        if size > self.physical():
            raise lagging()
        with io.open(self.file, "w", encoding="ascii") as file:
            file.write(str(self.physical()))
        return 0


def registerErrorHandler(_handler: t.Any, _context: t.Any) -> None:
    """Nothing is printed here anyway."""


def open(_uri: str) -> FakeConnection:  # the binding's name
    """A connection to what ``domains.json`` lists."""
    with io.open(os.path.join(os.environ["LIGHT_HOST"], "domains.json"), encoding="utf-8") as file:
        return FakeConnection([LightDomain(name, known) for name, known in json.load(file).items()])


openReadOnly = open
