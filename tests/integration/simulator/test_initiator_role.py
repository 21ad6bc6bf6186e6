# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What connect_initiators.yml asks the modules for: the paths that follow from targets and networks, the kernel's modules, discovery services."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from world import World

NQN = "nqn.2016-06.io.spdk:cnode1"
HOSTS = {name: f"nqn.2014-08.org.nvmexpress:uuid:{number:08d}-0d3e-4d8e-9a55-0f6a3f0b7a11" for number, name in enumerate(("h1", "h2"))}
DONE = {"changed": False, "connections": [], "discovered": []}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two targets that listen in two storage networks, and two hosts; the second subsystem is for h2 alone."""
    found = World(tmp_path)
    targets: dict[str, Any] = {}
    for number, name in enumerate(("t1", "t2"), start=10):
        targets[name] = {"ansible_connection": "local", "spdk_target_addresses": ["192.0.2.1", f"10.1.1.{number}", f"fd00:1::{number}"]}
    subsystems = [
        {"nqn": NQN, "allow_any_host": True, "listeners": [{"trsvcid": 4420}]},
        {"nqn": NQN + "-h2", "hosts": [HOSTS["h2"]], "listeners": [{"network": "10.1.1.0/24", "trtype": "RDMA"}]},
    ]
    initiators = {
        name: {"ansible_connection": "local", "nvme_initiator_addresses": ["192.0.2.2", f"10.1.1.{number}", f"fd00:1::{number}"]}
        for number, name in enumerate(HOSTS, start=20)
    }
    children = {"spdk_targets": {"hosts": targets, "vars": {"spdk_target_subsystems": subsystems}}, "nvme_initiators": {"hosts": initiators}}
    found.inventory = {"all": {"vars": {"storage_network": ["10.1.1.0/24", "fd00:1::/64"], "nvme_initiator_install": False}, "children": children}}
    for name, nqn in HOSTS.items():
        identity = {"changed": False, "identity": {"hostnqn": nqn, "hostid": "x", "connected": [], "problems": []}}
        found.answers[name] = {"nvme_host_identity": identity, "nvme_kernel": {"changed": False}, "nvme_connection": DONE}
    return found


def asked(world: World, host: str, module: str) -> dict[str, Any]:
    """The arguments of the only call."""
    ((_host, _module, _check, arguments),) = [call for call in world.calls if call[:2] == [host, module]]
    return arguments


def paths(world: World, host: str) -> list[str]:
    wanted = asked(world, host, "nvme_connection")["connections"]
    return [f"{one['nqn'].rpartition(':')[2]} {one['transport']} {one['traddr']} from {one.get('host_traddr')}" for one in wanted]


def test_without_a_list_a_host_has_every_path_that_targets_declare_for_it(world: World) -> None:
    status, output, _changed = world.play("connect_initiators", check=True)
    assert status == 0, output
    assert paths(world, "h1") == [f"cnode1 tcp {address} from None" for address in ("10.1.1.10", "fd00:1::10", "10.1.1.11", "fd00:1::11")]
    assert [path for path in paths(world, "h2") if "h2" in path] == ["cnode1-h2 rdma 10.1.1.10 from None", "cnode1-h2 rdma 10.1.1.11 from None"]
    assert len(paths(world, "h2")) == 6
    assert [asked(world, host, "nvme_kernel")["transports"] for host in HOSTS] == [["tcp"], ["rdma", "tcp"]]
    assert "multipath" not in asked(world, "h1", "nvme_kernel") and "iopolicy" not in asked(world, "h1", "nvme_kernel")
    assert asked(world, "h1", "nvme_connection")["discover"] == []


def test_networks_and_options_as_text_of_a_form(world: World) -> None:
    status, output, _changed = world.play(
        "connect_initiators",
        check=True,
        nvme_initiator_storage_network="fd00:1::/64",
        host_network="10.1.1.0/24,fd00:1::/64",
        nvme_initiator_path_options={"reconnect_delay": 2},
        nvme_initiator_multipath="false",
        nvme_initiator_iopolicy="round-robin",
    )
    # the second subsystem has no listener in that network, and h2 is let in
    assert status != 0 and "none of its listeners (10.1.1.10) lies in fd00:1::/64" in output, output
    assert paths(world, "h1") == ["cnode1 tcp fd00:1::10 from fd00:1::20", "cnode1 tcp fd00:1::11 from fd00:1::20"]
    assert [one["reconnect_delay"] for one in asked(world, "h1", "nvme_connection")["connections"]] == [2, 2]
    kernel = asked(world, "h1", "nvme_kernel")
    assert (str(kernel["multipath"]).lower(), kernel["iopolicy"]) == ("false", "round-robin")


def test_named_paths_and_services_get_the_hosts_address(world: World) -> None:
    status, output, _changed = world.play(
        "connect_initiators",
        check=True,
        nvme_initiator_connections=[{"nqn": NQN, "transport": "tcp", "traddr": "10.1.1.99"}, {"nqn": NQN, "transport": "tcp", "state": "absent"}],
        nvme_initiator_discover=[{"traddr": "fd00:1::99", "transport": "rdma"}],
        nvme_initiator_host_network=["10.1.1.0/24", "fd00:1::/64"],
    )
    assert status == 0, output
    wanted = asked(world, "h2", "nvme_connection")
    assert [one.get("host_traddr") for one in wanted["connections"] + wanted["discover"]] == ["10.1.1.21", None, "fd00:1::21"]
    assert asked(world, "h2", "nvme_kernel")["transports"] == ["rdma", "tcp"]


def test_a_target_whose_addresses_nobody_says_is_asked_itself(world: World) -> None:
    """Here it has none in that network."""
    del world.inventory["all"]["children"]["spdk_targets"]["hosts"]["t2"]["spdk_target_addresses"]
    status, output, _changed = world.play("connect_initiators", check=True)
    assert status != 0
    assert "item=t2" in output and "item=t1" not in output
    assert f"target t2, listener of {NQN}: no address of" in output and "lies in 10.1.1.0/24" in output, output
    assert world.called("nvme_connection") == []


def test_without_targets_there_is_nothing_to_connect(world: World) -> None:
    del world.inventory["all"]["children"]["spdk_targets"]
    status, output, _changed = world.play("connect_initiators", check=True)
    assert status == 0, output
    assert (paths(world, "h1"), asked(world, "h1", "nvme_kernel")["transports"]) == ([], [])
