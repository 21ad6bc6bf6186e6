# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first process of a private PID and mount namespace: hides the machine's libvirt, runs one of its own, reaps.

``namespace_init.py FOLDER``: FOLDER gets the daemon's output. When this process dies, the kernel ends everything in the
namespace, QEMU included, and takes the mounts away: nothing can be left behind.
"""

from __future__ import annotations

import os
import subprocess
import sys

QEMU_CONF = """
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""
LIBVIRTD_CONF = """
auth_unix_ro = "none"
auth_unix_rw = "none"
"""


def main() -> None:
    """Set up and wait for the end."""
    folder = sys.argv[1]
    subprocess.run(["mount", "-t", "proc", "proc", "/proc"], check=True)
    for place in ("/run", "/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt"):
        os.makedirs(place, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", place], check=True)
    # libvirt looks its default QEMU user up even when another is set; only a full installation of libvirt makes it
    for name, line in (("passwd", "libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin"), ("group", "libvirt-qemu:x:64055:")):
        with open(f"/etc/{name}", encoding="utf-8") as handle:
            text = handle.read()
        if "libvirt-qemu:" not in text:
            with open(f"/run/{name}", "w", encoding="utf-8") as handle:
                handle.write(f"{text}{line}\n")
            subprocess.run(["mount", "--bind", f"/run/{name}", f"/etc/{name}"], check=True)
    for name, text in (("qemu.conf", QEMU_CONF), ("libvirtd.conf", LIBVIRTD_CONF)):
        with open(f"/etc/libvirt/{name}", "w", encoding="utf-8") as handle:
            handle.write(text)
    with open(f"{folder}/libvirtd.log", "wb") as log:
        subprocess.Popen(["libvirtd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    while True:
        try:
            os.wait()  # QEMU is a daemon, so its end is reported here; unreaped it would look alive to libvirt
        except ChildProcessError:
            return


if __name__ == "__main__":
    main()
