# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The OpenSSH server for the light hosts, unpacked below build/ where the machine has none.

It is not installed: Debian's package would start a server of the machine's own and open its port.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "openssh"
PROGRAM = "usr/sbin/sshd"
#: sshd, and its only library that Debian 12 does not always have (the others come with openssh-client)
PACKAGES = ("openssh-server", "libwrap0")


def sshd() -> tuple[str, str]:
    """The program, and a folder for the search path of libraries."""
    found = shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin:/usr/local/sbin")
    if found:
        return found, ""
    return str(FOLDER / PROGRAM), ":".join(str(path.parent) for path in FOLDER.glob("**/libwrap.so.0"))


def prepare() -> None:
    """Get it when it is not there."""
    if Path(sshd()[0]).is_file():
        return
    folder = FOLDER / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    print(f"bench: getting {' and '.join(PACKAGES)} for {FOLDER.relative_to(ROOT)}", flush=True)
    command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *PACKAGES]
    if subprocess.run(command, cwd=folder, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        subprocess.run(["apt-get", "-q", "update"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(FOLDER)], check=True)


if __name__ == "__main__":
    try:
        prepare()
    except subprocess.CalledProcessError as error:
        sys.exit(f"bench: there is no sshd, and it cannot be downloaded: {error}")
