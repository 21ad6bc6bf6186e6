# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""What the scenarios' verifications share."""

from __future__ import annotations

import re
import time
import typing as t

import pytest

CONSOLE = "/var/log/libvirt/qemu/{}-console.log"
SEND = "import socket, time; line = socket.socket(socket.AF_UNIX); line.connect('/run/lab-{}.serial'); line.sendall(b'{}'); time.sleep(1)"


class Guest:
    """A small guest on a hypervisor: its console, and the letters that it understands."""

    def __init__(self, host: t.Any, name: str) -> None:
        self.host = host
        self.name = name

    @property
    def is_here(self) -> bool:
        """Whether this hypervisor runs it."""
        return self.host.run("virsh domstate %s", self.name).rc == 0

    def console(self) -> str:
        """Everything that the guest has printed."""
        return self.host.file(CONSOLE.format(self.name)).content_string

    def send(self, letter: str) -> None:
        """Type one letter."""
        self.host.check_output("python3 -c %s", SEND.format(self.name, letter))

    def verify(self) -> tuple[int, int, int]:
        """Stop the load and read everything back: sectors that were right, that failed, that were wrong."""
        before = self.console().count("VERIFY")
        self.send("x")
        self.send("v")
        deadline = time.monotonic() + 90
        while self.console().count("VERIFY") == before:
            assert time.monotonic() < deadline, self.console()[-500:]
            time.sleep(1)
        good, failed, bad = re.findall(r"VERIFY ok=(\d+) err=(\d+) bad=(\d+)", self.console())[-1]
        return int(good), int(failed), int(bad)


@pytest.fixture
def guest(host: t.Any) -> t.Callable[[str], Guest]:
    """A guest by name on the host of the test."""
    return lambda name: Guest(host, name)
