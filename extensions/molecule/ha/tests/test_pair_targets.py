# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""Both targets after failover.py: what they answer, and the program that they run."""

from __future__ import annotations

import json
import typing as t

testinfra_hosts = ["ansible://spdk_targets"]

#: The size to which failover.py has grown vol-1.
BYTES = 192 * 2**20

ASK = """
import json, socket
found = []
for method, params in (("bdev_get_bdevs", None), ("nvmf_get_subsystems", None), ("nvmf_subsystem_get_listeners", {"nqn": "NQN"})):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect("/var/tmp/spdk.sock")
        call = {"jsonrpc": "2.0", "id": 1, "method": method}
        connection.sendall(json.dumps({**call, "params": params} if params else call).encode())
        text = b""
        while not text.endswith(b"\\n"):
            text += connection.recv(1 << 20)
        found.append(json.loads(text)["result"])
print(json.dumps(found))
"""
#: cntlid range by target, over the runs of one test for all hosts.
RANGES: dict[str, range] = {}


def answers(host: t.Any) -> list[t.Any]:
    """Bdevs, subsystems and listeners of a target."""
    nqn = host.ansible.get_variables()["lab_nqn"]
    return json.loads(host.check_output("python3 - <<'END'\n" + ASK.replace("NQN", nqn) + "END"))


def test_both_targets_serve_the_new_size_under_one_identity(host: t.Any) -> None:
    """The bdev that was down during the growth is as large as the other, the other volume untouched, controller ids disjoint."""
    volumes = host.ansible.get_variables()["lab_volumes"]
    bdevs, subsystems, listeners = answers(host)
    assert {bdev["name"]: bdev["num_blocks"] * bdev["block_size"] for bdev in bdevs} == {"vol-1": BYTES, "vol-2": volumes["vol-2"]["size_bytes"]}
    (subsystem,) = [one for one in subsystems if one["subtype"] == "NVMe"]
    assert {one["bdev_name"]: one["uuid"] for one in subsystem["namespaces"]} == {name: volume["uuid"] for name, volume in volumes.items()}
    mine = range(subsystem["min_cntlid"], subsystem["max_cntlid"] + 1)
    assert not any(mine.start < other.stop and other.start < mine.stop for name, other in RANGES.items() if name != host.backend.host)
    RANGES[host.backend.host] = mine
    states = {state["ana_state"] for listener in listeners for state in listener["ana_states"]}
    assert states == {"optimized"}


def test_the_targets_run_the_new_program(host: t.Any) -> None:
    """upgrade_targets.yml has put it there, and the service is up."""
    assert "the second version" in host.file("/opt/spdk/spdk_tgt").content_string
    assert not host.file("/opt/spdk/spdk_tgt.new").exists
    assert host.service("spdk_tgt").is_running
    assert host.service("spdk_tgt").is_enabled
