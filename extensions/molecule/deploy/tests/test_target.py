# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""The target after deploy_target.yml: its unit, its start-up file, what it answers, and that a restart changes nothing."""

from __future__ import annotations

import json
import time
import typing as t

testinfra_hosts = ["ansible://spdk_targets"]

ASK = """
import json, socket, sys
found = []
for method in ("bdev_get_bdevs", "nvmf_get_subsystems", "nvmf_get_transports", "bdev_rbd_get_clusters_info"):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect("/var/tmp/spdk.sock")
        connection.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode())
        text = b""
        while not text.endswith(b"\\n"):
            text += connection.recv(1 << 20)
        found.append(json.loads(text)["result"])
print(json.dumps(found))
"""


def answers(host: t.Any) -> list[t.Any]:
    """What the target says of its bdevs, subsystems, transports and clusters."""
    return json.loads(host.run("python3 - <<'END'\n" + ASK + "END").stdout)


def test_the_service_runs_and_starts_at_boot(host: t.Any) -> None:
    """The unit is the role's, active and enabled."""
    service = host.service("spdk_tgt")
    assert service.is_running
    assert service.is_enabled


def test_the_start_up_file_holds_what_save_config_would_lose(host: t.Any) -> None:
    """Clusters and cluster names are in the file, and only root can read it."""
    file = host.file("/etc/spdk/spdk_tgt.json")
    assert file.mode == 0o600
    calls = [call for part in json.loads(file.content_string)["subsystems"] for call in part["config"]]
    methods = [call["method"] for call in calls]
    assert methods[0] == "bdev_rbd_register_cluster"
    created = {call["params"]["name"]: call["params"] for call in calls if call["method"] == "bdev_rbd_create"}
    assert set(created) == {"vol-1", "vol-2"}
    assert all(params["cluster_name"] == "ceph" for params in created.values())
    assert methods.count("nvmf_subsystem_add_listener") == 2


def test_the_target_serves_what_is_declared(host: t.Any) -> None:
    """Both images under their UUIDs, two listeners, namespaces 1 and 2."""
    bdevs, subsystems, transports, clusters = answers(host)
    declared = host.ansible.get_variables()["lab_volumes"]
    assert {bdev["name"]: bdev["uuid"] for bdev in bdevs} == {name: volume["uuid"] for name, volume in declared.items()}
    assert {bdev["name"]: bdev["num_blocks"] * bdev["block_size"] for bdev in bdevs} == {name: volume["size_bytes"] for name, volume in declared.items()}
    (subsystem,) = [one for one in subsystems if one["subtype"] == "NVMe"]
    assert [(namespace["nsid"], namespace["bdev_name"]) for namespace in subsystem["namespaces"]] == [(1, "vol-1"), (2, "vol-2")]
    assert len(subsystem["listen_addresses"]) == 2
    assert [transport["trtype"] for transport in transports] == ["TCP"]
    assert [cluster["cluster_name"] for cluster in clusters] == ["ceph"]


def test_a_killed_target_comes_back_the_same(host: t.Any) -> None:
    """SIGKILL: systemd starts it again from the file of the role, and it reads back as before."""
    before = answers(host)
    pid = host.check_output("systemctl show -p MainPID --value spdk_tgt")
    host.check_output("systemctl kill -s KILL --kill-whom=main spdk_tgt")
    deadline = time.monotonic() + 120
    while host.check_output("systemctl show -p MainPID --value spdk_tgt") in ("0", pid) or not host.service("spdk_tgt").is_running:
        assert time.monotonic() < deadline, host.run("systemctl status spdk_tgt").stdout
        time.sleep(1)
    assert answers(host) == before
