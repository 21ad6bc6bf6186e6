# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""Wait until an SPDK target has loaded its configuration: spdk_ready.py SOCKET SECONDS [CONFIGURATION].

A target accepts connections before its configuration is loaded and answers only afterwards; it resets the connection when loading fails.
With CONFIGURATION (a target that ignores entries that fail): not ready while none of its Ceph clusters is registered, so that a target that
came up before Ceph is started again instead of serving nothing for good. The unit holds this program; nothing else needs it on the host.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time


def ask(path: str, method: str, deadline: float) -> dict:
    """The answer to one call without parameters."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(max(0.1, deadline - time.monotonic()))
        connection.connect(path)
        connection.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode())
        answer = b""
        while not answer.endswith(b"\n"):
            part = connection.recv(65536)
            if not part:
                raise ConnectionResetError("the target closed the connection: its configuration could not be loaded")
            answer += part
        return json.loads(answer)


def clusters(configuration: str) -> set[str]:
    """Names of the Ceph clusters that the configuration registers."""
    with open(configuration, encoding="utf-8") as file:
        calls = [call for section in json.load(file)["subsystems"] for call in section.get("config") or []]
    return {call["params"]["name"] for call in calls if call["method"] == "bdev_rbd_register_cluster"}


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
    """0 when the target is ready within the time, else 1."""
    path, deadline = sys.argv[1], time.monotonic() + float(sys.argv[2])
    method, cause = "framework_wait_init", "no answer"
    while time.monotonic() < deadline:
        try:
            answer = ask(path, method, deadline)
            if answer.get("result") is True:
                break
            if answer.get("error", {}).get("code") == -32601:
                method = "wait_subsystem_init"  # its name before 19.10
            cause = json.dumps(answer)
        except (OSError, ValueError) as error:
            cause = str(error)
        if ended():
            print(f"{path}: the target is not ready: the program has ended, see its own messages", file=sys.stderr)
            return 1
        time.sleep(0.2)
    else:
        print(f"{path}: the target is not ready: {cause}", file=sys.stderr)
        return 1
    wanted = clusters(sys.argv[3]) if len(sys.argv) > 3 else set()
    if wanted:
        found = ask(path, "bdev_rbd_get_clusters_info", deadline).get("result") or []
        if not wanted & {cluster["cluster_name"] for cluster in found}:
            print(f"{path}: none of the Ceph clusters {', '.join(sorted(wanted))} could be registered; does Ceph answer?", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
