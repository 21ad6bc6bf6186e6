# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""Connect the NVMe-oF paths of a file that are not connected: nvmeof_spdk_connect.py FILE.

One path a line, in the words of /dev/nvme-fabrics. Exit status 1 when a path could not be connected, so that systemd tries again.
"""

import errno
import pathlib
import sys

IDENTITY = (("hostnqn", "/etc/nvme/hostnqn"), ("hostid", "/etc/nvme/hostid"))


def main() -> int:
    """Number of paths that failed, at most 1 as an exit status."""
    failed = 0
    identity = []
    for option, name in IDENTITY:
        path = pathlib.Path(name)
        if path.exists() and path.read_text().strip():
            identity.append(f"{option}={path.read_text().strip()}")
    for line in pathlib.Path(sys.argv[1]).read_text().splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            with open("/dev/nvme-fabrics", "r+b", buffering=0) as fabrics:
                fabrics.write(",".join([line, *identity]).encode())
        except OSError as error:
            if error.errno == errno.EALREADY:
                continue
            print(f"{line}: {error.strerror}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
