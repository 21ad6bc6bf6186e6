# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's network: one network namespace with two bridges, so that every target has two portals in two separate networks.

lab0 is 192.168.77.0/24 (ssh, Ceph, first portal), lab1 is 192.168.78.0/24 (second portal). The outer machine is .1 in both.
Nothing outside the namespace changes.
The first bridge's alias holds the state directory of the lab, so a namespace of another lab is never touched.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

NETWORKS = ("192.168.77", "192.168.78")


class NetworkError(Exception):
    """The network cannot be made or removed."""


def namespace_name(state: Path) -> str:
    """The namespace of the lab whose state is in ``state``: ``LAB_NETNS``, else a name of its own, so that labs of two checkouts never meet."""
    return os.environ.get("LAB_NETNS") or "nvmeof-lab-" + hashlib.sha256(str(state).encode()).hexdigest()[:8]


def ip(*args: str, check: bool = True) -> str:
    """``ip ARGS``; its output."""
    done = subprocess.run(["ip", *args], text=True, capture_output=True, check=False)
    if check and done.returncode:
        raise NetworkError(f"ip {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout


class Network:
    """The namespace ``name`` of the lab whose state is in ``owner``."""

    def __init__(self, name: str, owner: Path) -> None:
        self.name, self.owner = name, str(owner)

    def exists(self) -> bool:
        """Whether a namespace of this name exists, whoever made it."""
        return self.name in [line.split()[0] for line in ip("netns", "list", check=False).splitlines() if line]

    def found_owner(self) -> str | None:
        """The state directory of the lab that made the namespace; "" when it says nothing, None when there is no namespace."""
        if not self.exists():
            return None
        links = json.loads(ip("-n", self.name, "-j", "link", "show") or "[]")
        return next((link.get("ifalias", "") for link in links if link.get("ifname") == "lab0"), "")

    def check_ours(self) -> None:
        """Refuse a namespace that another lab (or something else) made."""
        owner = self.found_owner()
        if owner not in (None, self.owner):
            whose = f"the lab with LAB_STATE={owner}" if owner else "something else than a lab"
            raise NetworkError(f"the network namespace {self.name} belongs to {whose}: stop that one, or set LAB_NETNS to another name")

    def up(self) -> None:
        """Make the namespace and the bridges. Idempotent."""
        self.check_ours()
        if self.exists():
            return
        ip("netns", "add", self.name)
        try:
            # the owner first: a lab that dies here is still recognised
            ip("-n", self.name, "link", "add", "lab0", "type", "bridge")
            ip("-n", self.name, "link", "set", "lab0", "alias", self.owner)
            ip("-n", self.name, "link", "add", "lab1", "type", "bridge")
            ip("-n", self.name, "link", "set", "lo", "up")
            for number, network in enumerate(NETWORKS):
                ip("-n", self.name, "addr", "add", f"{network}.1/24", "dev", f"lab{number}")
                ip("-n", self.name, "link", "set", f"lab{number}", "up")
        except NetworkError:
            ip("netns", "del", self.name, check=False)
            raise

    def taps(self, machine: str) -> list[str]:
        """The two taps of a machine (made if absent), one on each bridge."""
        names = []
        present = {link["ifname"] for link in json.loads(ip("-n", self.name, "-j", "link", "show"))}
        for number in range(len(NETWORKS)):
            tap = f"{machine}-{number}"
            if tap not in present:
                ip("-n", self.name, "tuntap", "add", "dev", tap, "mode", "tap")
            ip("-n", self.name, "link", "set", tap, "master", f"lab{number}", "up")
            names.append(tap)
        return names

    def processes(self) -> list[int]:
        """Everything that runs in the namespace, without this process and its ancestors."""
        if not self.exists():
            return []
        spared, pid = set(), os.getpid()
        while pid > 1:
            spared.add(pid)
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return [int(word) for word in ip("netns", "pids", self.name, check=False).split() if int(word) not in spared]

    def down(self) -> None:
        """Remove the namespace with all that is in it. Idempotent; another lab's is left alone."""
        if self.found_owner() == self.owner:
            ip("netns", "del", self.name)

    def prefix(self) -> list[str]:
        """What to put before a command to run it in the namespace."""
        return ["ip", "netns", "exec", self.name]
