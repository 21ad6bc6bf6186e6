# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses by network, and the paths that follow from what targets declare."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.filter.declared_paths import declared_paths
from ansible_collections.nvmeof.spdk.plugins.filter.from_host_network import from_host_network
from ansible_collections.nvmeof.spdk.plugins.filter.listener_addresses import listener_addresses
from ansible_collections.nvmeof.spdk.plugins.filter.target_pairs import target_pairs
from ansible_collections.nvmeof.spdk.plugins.filter.unknown_addresses import unknown_addresses
from ansible_collections.nvmeof.spdk.plugins.filter.upgrade_plan import upgrade_plan

NQN = "nqn.2016-06.io.spdk:cnode1"
HOST = "nqn.2014-08.org.nvmexpress:uuid:5f1c6d3a-0d3e-4d8e-9a55-0f6a3f0b7a11"
BOTH = ["10.1.1.0/24", "fd00:1::/64"]
FACTS = {"all_ipv4_addresses": ["192.168.7.10", "10.1.1.10"], "all_ipv6_addresses": ["fe80::1", "fd00:1::10"]}


def subsystem(*listeners: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return {"nqn": NQN, "allow_any_host": True, "listeners": list(listeners), **more}


def fleet(*listeners: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    """Two targets that declare the same, each with facts of its own."""
    declared = [subsystem(*listeners, **more)]
    other = {"all_ipv4_addresses": ["192.168.7.11", "10.1.1.11"], "all_ipv6_addresses": ["fd00:1:0:0::11"]}
    return {"t1": {"spdk_target_subsystems": declared, "ansible_facts": FACTS}, "t2": {"spdk_target_subsystems": declared, "ansible_facts": other}, "h1": {}}


def portals(paths: list[dict[str, t.Any]]) -> list[str]:
    return [f"{path['transport']} {path['traddr']} {path['trsvcid']}" for path in paths]


ADDRESSES = [*FACTS["all_ipv4_addresses"], *FACTS["all_ipv6_addresses"]]


# -- listeners


def test_a_listener_gets_the_address_in_its_network() -> None:
    declared = [subsystem({"network": "10.1.1.0/24", "trsvcid": 4420}, {"traddr": "192.0.2.1"}, {"network": "fd00:1::/64", "trtype": "RDMA"})]
    (found,) = listener_addresses(declared, ADDRESSES)
    assert found["listeners"] == [{"traddr": "10.1.1.10", "trsvcid": 4420}, {"traddr": "192.0.2.1"}, {"traddr": "fd00:1::10", "trtype": "RDMA"}]
    assert found["nqn"] == NQN
    # what was declared stays as it was
    assert declared[0]["listeners"][0]["network"] == "10.1.1.0/24"


@pytest.mark.parametrize("networks", [BOTH, "10.1.1.0/24, fd00:1::/64"])
def test_a_listener_with_nothing_is_in_each_storage_network(networks: t.Any) -> None:
    (found,) = listener_addresses([subsystem({"trsvcid": 4421})], ADDRESSES, networks)
    assert found["listeners"] == [{"trsvcid": 4421, "traddr": "10.1.1.10"}, {"trsvcid": 4421, "traddr": "fd00:1::10"}]


def test_what_has_its_addresses_needs_no_others() -> None:
    declared = [subsystem({"traddr": "0.0.0.0"}), {"nqn": NQN + "-gone", "state": "absent"}, {"nqn": NQN + "-bare", "listeners": None}]
    assert listener_addresses(declared, None, "") == declared


@pytest.mark.parametrize(
    ("listener", "addresses", "networks", "text"),
    [
        ({"network": "10.9.0.0/16"}, ADDRESSES, "", f"the target, listener of {NQN}: no address of .* lies in 10.9.0.0/16"),
        ({"network": "0.0.0.0/0"}, ADDRESSES, "", "several addresses lie in 0.0.0.0/0: 192.168.7.10, 10.1.1.10"),
        ({"network": "10.1.1.0/33"}, ADDRESSES, "", "'10.1.1.0/33' is not a network"),
        ({}, ADDRESSES, "", "neither traddr nor network"),
        ({}, ADDRESSES, "storage", "'storage' is not a network"),
        ({"network": "10.1.1.0/24"}, None, "", "its addresses are not known. Next step: set spdk_target_addresses"),
    ],
)
def test_one_error_when_it_is_not_one_address(listener: dict[str, t.Any], addresses: t.Any, networks: t.Any, text: str) -> None:
    with pytest.raises(AnsibleFilterError, match=text):
        listener_addresses([subsystem(listener)], addresses, networks)


def test_strange_data_is_an_error_not_a_traceback() -> None:
    for call in (lambda: listener_addresses(["x"], []), lambda: declared_paths({"t1": {"spdk_target_subsystems": ["x"]}}, ["t1"])):
        with pytest.raises(AnsibleFilterError, match="does not have the expected form"):
            call()


# -- the paths of a host


def test_paths_to_all_that_targets_declare() -> None:
    found = declared_paths(fleet({"network": "10.1.1.0/24", "trsvcid": 4420}, {"network": "fd00:1::/64", "trsvcid": 4421, "trtype": "rdma"}), ["t1", "t2"])
    assert found[0] == {"nqn": NQN, "transport": "tcp", "traddr": "10.1.1.10", "trsvcid": "4420", "tls": False}
    assert portals(found) == ["tcp 10.1.1.10 4420", "rdma fd00:1::10 4421", "tcp 10.1.1.11 4420", "rdma fd00:1::11 4421"]
    assert declared_paths({}, []) == []


def test_networks_of_the_host_choose_among_listeners() -> None:
    hostvars = fleet({"traddr": "192.0.2.1"}, {"network": "10.1.1.0/24"}, {"network": "fd00:1::/64"})
    assert portals(declared_paths(hostvars, ["t1"], networks="10.1.1.0/24")) == ["tcp 10.1.1.10 4420"]
    assert portals(declared_paths(hostvars, ["t1"], networks=BOTH)) == ["tcp 10.1.1.10 4420", "tcp fd00:1::10 4420"]
    with pytest.raises(AnsibleFilterError, match=rf"target t1, {NQN}: none of its listeners \(192.0.2.1, 10.1.1.10, fd00:1::10\) lies in 10.5.0.0/16"):
        declared_paths(hostvars, ["t1"], networks="10.5.0.0/16")


def test_a_listener_on_all_addresses_is_found_by_network() -> None:
    hostvars = fleet({"traddr": "0.0.0.0"}, {"traddr": "::"})
    assert portals(declared_paths(hostvars, ["t1"], networks=BOTH)) == ["tcp 10.1.1.10 4420", "tcp fd00:1::10 4420"]
    with pytest.raises(AnsibleFilterError, match="listens on all addresses. Next step: say by nvme_initiator_storage_network"):
        declared_paths(hostvars, ["t1"])


@pytest.mark.parametrize("variable", ["storage_network", "spdk_target_storage_network"])
def test_the_targets_own_storage_network_counts(variable: str) -> None:
    hostvars = fleet({"trsvcid": 4420})
    hostvars["t1"][variable] = BOTH
    assert portals(declared_paths(hostvars, ["t1"])) == ["tcp 10.1.1.10 4420", "tcp fd00:1::10 4420"]


def test_addresses_of_the_inventory_go_before_facts() -> None:
    hostvars = fleet({"network": "10.1.1.0/24"})
    hostvars["t1"]["spdk_target_addresses"] = ["10.1.1.99"]
    assert portals(declared_paths(hostvars, ["t1"])) == ["tcp 10.1.1.99 4420"]


def test_only_subsystems_that_let_the_host_in() -> None:
    hostvars = fleet({"traddr": "192.0.2.1"}, allow_any_host=False, hosts=["nqn.2014-08.org:other", {"nqn": HOST, "psk": "k"}])
    assert len(declared_paths(hostvars, ["t1"], "h1", HOST)) == 1
    assert declared_paths(hostvars, ["t1"], "h1", HOST + "-x") == []
    assert len(declared_paths(hostvars, ["t1"], "h1", "")) == 1
    hostvars = fleet({"traddr": "192.0.2.1"}, allow_any_host=None, hosts=[{"nqn": HOST, "state": "absent"}])
    assert declared_paths(hostvars, ["t1"], "h1", HOST) == []
    assert declared_paths(fleet({"traddr": "192.0.2.1"}, state="absent"), ["t1"]) == []


def test_loopback_is_for_the_target_itself() -> None:
    hostvars = fleet({"traddr": "127.0.0.1"}, {"traddr": "192.0.2.1"})
    assert portals(declared_paths(hostvars, ["t1"], "h1")) == ["tcp 192.0.2.1 4420"]
    assert len(declared_paths(hostvars, ["t1"], "t1")) == 2


def test_options_go_into_each_path_and_a_secure_channel_is_encrypted() -> None:
    hostvars = fleet({"traddr": "192.0.2.1"}, {"traddr": "192.0.2.1", "trsvcid": 4421, "secure_channel": True}, {"traddr": "192.0.2.1"})
    plain, secure = declared_paths(hostvars, ["t1", "t2"], options={"reconnect_delay": 2, "tls_psk_file": "/k"})
    assert plain == {"nqn": NQN, "transport": "tcp", "traddr": "192.0.2.1", "trsvcid": "4420", "tls": False, "reconnect_delay": 2}
    assert (secure["tls"], secure["tls_psk_file"], secure["reconnect_delay"]) == (True, "/k", 2)


def test_targets_that_have_to_be_asked() -> None:
    hostvars = fleet({"network": "10.1.1.0/24"})
    del hostvars["t2"]["ansible_facts"]
    hostvars["t3"] = {"spdk_target_subsystems": [subsystem({"traddr": "192.0.2.1"})]}
    hostvars["t4"] = {"spdk_target_subsystems": [subsystem({"traddr": "::"}), {"nqn": NQN, "state": "absent"}], "ansible_facts": {"pkg_mgr": "apt"}}
    assert unknown_addresses(hostvars, ["t1", "t2", "t3", "t4", "t5"]) == ["t2", "t4"]
    with pytest.raises(AnsibleFilterError, match="target t2, listener of .*its addresses are not known"):
        declared_paths(hostvars, ["t1", "t2"])


# -- from where


def path(traddr: str, **more: t.Any) -> dict[str, t.Any]:
    return {"nqn": NQN, "traddr": traddr, **more}


def test_paths_come_from_the_hosts_address_in_the_same_network() -> None:
    own = ["192.168.7.20", "10.1.1.20/24", "10.1.2.20", "fd00:1::20"]
    wanted = [path("10.1.1.10"), path("10.1.2.10"), path("fd00:1::10")]
    assert [one["host_traddr"] for one in from_host_network(wanted, own, ["10.1.1.0/24", "10.1.2.0/24", "fd00:1::/64"])] == [
        "10.1.1.20",
        "10.1.2.20",
        "fd00:1::20",
    ]
    # a target behind a router: the only network of its family
    assert from_host_network([path("172.16.0.1")], own, BOTH)[0]["host_traddr"] == "10.1.1.20"


def test_what_says_it_itself_or_is_to_go_stays_as_it_is() -> None:
    wanted = [path("10.1.1.10", host_traddr="192.0.2.9"), path("10.1.1.10", state="absent"), {"nqn": NQN, "state": "absent"}, {"controller": "nvme3"}]
    assert from_host_network(wanted, ["10.1.1.20"], "10.1.1.0/24") == wanted
    assert from_host_network([path("10.1.1.10")], None, []) == [path("10.1.1.10")]


@pytest.mark.parametrize(
    ("traddr", "own", "networks", "text"),
    [
        ("10.1.1.10", ["192.0.2.1"], "10.1.1.0/24", "this host's address for the path to 10.1.1.10: no address of 192.0.2.1 lies in"),
        ("10.1.1.10", ["10.1.1.1", "10.1.1.2"], "10.1.1.0/24", "several addresses lie in"),
        ("fd00:1::10", ["10.1.1.1"], "10.1.1.0/24", "none of its host networks .* is IPv6"),
        ("172.16.0.1", ["10.1.1.1"], "10.1.1.0/24,10.1.2.0/24", "several of its host networks fit"),
        ("10.1.1.10", None, "10.1.1.0/24", "its addresses are not known. Next step: set nvme_initiator_addresses"),
        ("10.1.1.10", ["10.1.1.1"], "x", "'x' is not a network"),
    ],
)
def test_no_one_address_of_the_host(traddr: str, own: t.Any, networks: str, text: str) -> None:
    with pytest.raises(AnsibleFilterError, match=text):
        from_host_network([path(traddr)], own, networks)


# -- elsewhere


def test_pairs_with_networks_do_not_meet_at_no_address() -> None:
    hostvars = fleet({"network": "10.1.1.0/24", "trsvcid": 4420})
    assert [problem for problem in target_pairs(hostvars, ["t1", "t2"]) if "listen on" in problem["problem"]] == []


def test_a_target_that_cannot_be_read_is_upgraded_by_its_declared_addresses() -> None:
    hostvars = fleet({"network": "10.1.1.0/24", "trsvcid": 4420})
    del hostvars["t1"]["ansible_facts"]
    asked = {"target": ["t1"], "host": []}
    with pytest.raises(AnsibleFilterError, match="target t1, listener of .*addresses are not known"):
        upgrade_plan(hostvars, asked, "t1")
    hostvars["t1"]["spdk_target_addresses"] = ["10.1.1.10"]
    assert upgrade_plan(hostvars, asked, "t1")["running"] is False
