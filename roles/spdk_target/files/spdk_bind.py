# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""Bind PCI devices to a driver before the target starts: spdk_bind.py DRIVER ADDRESS...

What nvmeof.spdk.pci_driver did holds until the host is started again; the unit does it anew. A device whose disks the running system
uses is left alone, with exit code 1. The unit holds this program; nothing else needs it on the host.
"""

from __future__ import annotations

import glob
import os
import subprocess
import sys


def write(path: str, text: str) -> None:
    """Write to a file of sysfs."""
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def uses(device: str) -> list[str]:
    """What uses its disks: mounts, holders, swap."""
    found = []
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts, open("/proc/swaps", encoding="utf-8") as swaps:
        sources = {line.split()[0] for file in (mounts, swaps) for line in file}
    for path in glob.glob(f"{device}/nvme/nvme*/nvme*n*"):
        name = os.path.basename(path)
        if "c" in name:
            name = name.split("c")[0] + "n" + name.rsplit("n", 1)[1]  # the head of a path
        for part in [f"/sys/class/block/{name}", *glob.glob(f"/sys/class/block/{name}/{name}*")]:
            if "/dev/" + os.path.basename(part) in sources or os.listdir(part + "/holders"):
                found.append(os.path.basename(part))
    return found


def main() -> int:
    """0 when every device has the driver."""
    driver, failed = sys.argv[1], 0
    subprocess.run(["modprobe", driver], check=False)
    for address in sys.argv[2:]:
        device = f"/sys/bus/pci/devices/{address}"
        try:
            bound = os.path.basename(os.readlink(device + "/driver")) if os.path.islink(device + "/driver") else ""
            if bound == driver:
                continue
            used = uses(device)
            if used:
                raise OSError(f"{', '.join(used)} is part of the running system")
            write(device + "/driver_override", driver + "\n")
            if bound:
                write(device + "/driver/unbind", address)
            write("/sys/bus/pci/drivers_probe", address)
            if os.path.basename(os.path.realpath(device + "/driver")) != driver:
                raise OSError(f"{driver} did not take it")
        except OSError as error:
            print(f"{address}: {error}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
