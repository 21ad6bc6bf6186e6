# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""Wait until an SPDK target has loaded its configuration: spdk_ready.py SOCKET SECONDS.

A target accepts connections before its configuration is loaded and answers only afterwards; it resets the connection when loading fails.
"""

import json
import os
import socket
import sys
import time


def ended() -> bool:
    """Whether the program has ended: systemd does not end this wait by itself then (MAINPID is its gift to ExecStartPost)."""
    try:
        os.kill(int(os.environ["MAINPID"]), 0)
    except ProcessLookupError:
        return True
    except (KeyError, ValueError, PermissionError):
        pass
    return False


def main() -> int:
    """0 when the target answered framework_wait_init within the time, else 1."""
    path, deadline = sys.argv[1], time.monotonic() + float(sys.argv[2])
    cause = "no answer"
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                connection.connect(path)
                connection.sendall(b'{"jsonrpc": "2.0", "id": 1, "method": "framework_wait_init"}')
                answer = b""
                while not answer.endswith(b"\n"):
                    part = connection.recv(65536)
                    if not part:
                        raise ConnectionResetError("the target closed the connection: its configuration could not be loaded")
                    answer += part
                if json.loads(answer).get("result") is True:
                    return 0
                cause = answer.decode(errors="replace").strip()
            except (OSError, ValueError) as error:
                cause = str(error)
        if ended():
            print(f"{path}: the target is not ready: the program has ended, see its own messages", file=sys.stderr)
            return 1
        time.sleep(0.2)
    print(f"{path}: the target is not ready: {cause}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
