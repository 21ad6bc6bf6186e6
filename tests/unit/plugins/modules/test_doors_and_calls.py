# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module that could take a disk from a connected host, in a run and in check mode; and what a run over many objects sends."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._jsonrpc import JsonRpcClient
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdev_wish import wanted_bdevs
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdevs import BdevManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_wish import wanted_subsystems
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystems import SubsystemManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target
from module_runner import run_module

NQN = "nqn.2026-01.org.example:vols"
HOST = "nqn.2014-08.org.nvmexpress:uuid:4ca08835-0e71-4c63-85af-4b201ffa646d"
UUID = "0a1b2c3d-0000-4000-8000-00000000000a"
OTHER = "0a1b2c3d-0000-4000-8000-00000000000b"
PORT = {"traddr": "192.0.2.1"}
READING = ("get_", "rpc_get_methods", "spdk_get_version")

# -- doors -----------------------------------------------------------------------------------------------------------


def in_use(fake, connected):
    """A target whose bdevs ``a`` (RBD) and ``Nvme0n1`` are namespaces of one subsystem."""
    fake.transports["TCP"] = {"trtype": "TCP", "max_io_size": 131072}
    fake.clusters["c0"] = {"cluster_name": "c0"}
    fake.add_bdev("a", "p", "one", uuid=UUID)
    fake.add_bdev("b", "p", "two", uuid=OTHER)
    fake.pci.add("0000:18:00.0")
    fake.bdev_nvme_attach_controller("Nvme0", "PCIe", "0000:18:00.0")
    with Target.open(fake.path, 10) as target:
        bdevs = [{"bdev": "a", "nsid": 1}, {"bdev": "Nvme0n1", "nsid": 2}]
        entries = wanted_subsystems([{"nqn": NQN, "hosts": [HOST], "listeners": [{**PORT, "trtype": "TCP", "trsvcid": "4420"}], "namespaces": bdevs}])
        manager = SubsystemManager(target)
        manager.plan(entries)
        manager.apply(entries)
    if connected:
        fake.controllers[NQN] = [{"cntlid": 1, "hostnqn": HOST}]


DOORS = {
    "the subsystem": ("nvmf_subsystem", {"nqn": NQN, "state": "absent"}),
    "the subsystem in a list": ("nvmf_subsystem", {"subsystems": [{"nqn": NQN, "state": "absent"}]}),
    "namespaces by purge": ("nvmf_subsystem", {"nqn": NQN, "namespaces": [{"bdev": "a", "nsid": 1}], "purge": True}),
    "a namespace": ("nvmf_subsystem", {"nqn": NQN, "namespaces": [{"bdev": "a", "state": "absent"}]}),
    "another uuid": ("nvmf_subsystem", {"nqn": NQN, "namespaces": [{"bdev": "a", "nsid": 1, "uuid": OTHER}]}),
    "another nsid": ("nvmf_subsystem", {"nqn": NQN, "namespaces": [{"bdev": "a", "nsid": 7}]}),
    "another bdev": ("nvmf_subsystem", {"nqn": NQN, "namespaces": [{"bdev": "b", "nsid": 1}]}),
    "the host": ("nvmf_subsystem", {"nqn": NQN, "hosts": [], "purge": True}),
    "the listener": ("nvmf_subsystem", {"nqn": NQN, "listeners": [], "purge": True}),
    "the bdev": ("spdk_rbd_bdev", {"name": "a", "state": "absent"}),
    "the bdev by its image": ("spdk_rbd_bdev", {"bdevs": [{"pool": "p", "image": "one", "state": "absent"}]}),
    "another image": ("spdk_rbd_bdev", {"name": "a", "pool": "p", "image": "three"}),
    "another uuid of the bdev": ("spdk_rbd_bdev", {"name": "a", "pool": "p", "image": "one", "uuid": OTHER}),
    "the local controller": ("spdk_nvme_bdev", {"name": "Nvme0", "state": "absent"}),
    "another local controller": ("spdk_nvme_bdev", {"name": "Nvme0", "traddr": "0000:19:00.0"}),
    "another transport": ("nvmf_transport", {"trtype": "TCP", "options": {"max_io_size": 65536}}),
}


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("door", DOORS)
def test_nothing_is_taken_from_a_connected_host(fake, tmp_path, door, check):
    in_use(fake, connected=True)
    module, wish = DOORS[door]
    before = copy.deepcopy((fake.subsystems, fake.bdevs, fake.nvme, fake.transports))
    fake.calls.clear()
    ceph = {"ceph_conf": str(tmp_path / "absent.conf")} if module == "spdk_rbd_bdev" else {}
    result = run_module(module, {"socket": fake.path, **ceph, **wish}, check=check)
    assert result["failed"] and not result["changed"] and result["error"]["remedy"], result
    assert (fake.subsystems, fake.bdevs, fake.nvme, fake.transports) == before
    assert [method for method, _params in fake.calls if not any(word in method for word in READING)] == []


@pytest.mark.parametrize(
    ("module", "wish", "word"),
    [
        ("nvmf_subsystem", {"subsystems": [{"nqn": NQN}], "state": "absent"}, "state"),
        ("nvmf_subsystem", {"subsystems": [{"nqn": NQN}], "force": True}, "force"),
        ("spdk_rbd_bdev", {"bdevs": [{"name": "a", "state": "absent"}], "force": True}, "force"),
        ("spdk_rbd_bdev", {"bdevs": [{"name": "a", "size": "1G"}], "state": "grown"}, "state"),
        ("spdk_rbd_bdev", {"bdevs": [], "block_size": 4096}, "block_size"),
        ("spdk_nvme_bdev", {"controllers": [{"name": "Nvme0"}], "state": "absent"}, "state"),
        ("rbd_image", {"images": [{"pool": "p", "image": "one", "size": "1G"}], "state": "grown"}, "state"),
        ("rbd_image", {"images": [{"pool": "p", "image": "one", "state": "absent"}], "trash": False}, "trash"),
    ],
)
def test_an_option_of_one_beside_a_list_is_an_error_and_not_ignored(fake, tmp_path, module, wish, word):
    socket = {} if module == "rbd_image" else {"socket": fake.path}
    ceph = {"ceph_conf": str(tmp_path / "absent.conf")} if "rbd" in module else {}
    result = run_module(module, {**socket, **ceph, **wish})
    assert result["failed"] and not result["changed"] and result["msg"].startswith(f"{word} says nothing beside "), result
    assert fake.calls == []


def test_other_options_of_a_transport_are_told_apart_from_other_failures(fake):
    in_use(fake, connected=True)
    refused = run_module("nvmf_transport", {"socket": fake.path, "trtype": "TCP", "options": {"max_io_size": 65536}})
    assert refused["failed"] and refused["restart_needed"] is True
    refused = run_module("nvmf_transport", {"socket": fake.path, "trtype": "TCP", "options": {"no_such": 1}})
    assert refused["failed"] and refused["restart_needed"] is False


def test_purge_beside_a_list_holds_for_every_subsystem(fake):
    in_use(fake, connected=False)
    entry = {"nqn": NQN, "namespaces": [{"bdev": "a", "nsid": 1}]}
    assert not run_module("nvmf_subsystem", {"socket": fake.path, "subsystems": [entry]})["changed"]
    assert run_module("nvmf_subsystem", {"socket": fake.path, "subsystems": [entry], "purge": True})["changed"]
    assert list(fake.subsystems[NQN]["namespaces"]) == [1]


# -- calls -----------------------------------------------------------------------------------------------------------


def many(bdevs, subsystems):
    """Wishes of the two modules."""
    volumes = [
        {"name": f"v{n}", "pool": "p", "image": f"i{n}", "uuid": f"00000000-0000-4000-8000-{n:012d}", "qos": {"rw_ios_per_sec": 1500}, "block_size": 512}
        for n in range(bdevs)
    ]
    each = bdevs // subsystems
    entries = [
        {
            "nqn": f"{NQN}{n}",
            "hosts": [HOST],
            "ana_reporting": True,
            "purge": True,
            "listeners": [{**PORT, "trtype": "TCP", "trsvcid": str(5000 + n)}],
            "namespaces": [{"bdev": f"v{n * each + k}"} for k in range(each)],
        }
        for n in range(subsystems)
    ]
    return volumes, entries


def test_a_run_with_nothing_to_do_costs_the_same_over_a_thousand_bdevs_and_a_hundred_subsystems(make_target, images, tmp_path, monkeypatch):
    """Through the modules; and making them all is one batch of each kind of call."""
    batches = []
    original = JsonRpcClient.call_many
    monkeypatch.setattr(JsonRpcClient, "call_many", lambda self, requests, timeout=None: batches.append(requests) or original(self, requests, timeout))
    counts = []
    for bdevs, subsystems in ((2, 1), (1000, 100)):
        fake = make_target()
        fake.transports["TCP"] = {"trtype": "TCP"}
        images.update({("p", f"i{number}"): 1024**2 for number in range(bdevs)})
        volumes, entries = many(bdevs, subsystems)
        batches.clear()
        with Target.open(fake.path, 60) as target:
            items = wanted_bdevs([{"state": "present", **volume} for volume in volumes])
            manager = BdevManager(target, lambda: None)
            manager.plan(items, [{"name": "c0"}])
            manager.apply(items)
            wishes = wanted_subsystems(copy.deepcopy(entries))
            subsystem_manager = SubsystemManager(target)
            subsystem_manager.plan(wishes)
            subsystem_manager.apply(wishes)
        assert fake.connections == 1 and len(fake.bdevs) == bdevs and len(fake.subsystems) == subsystems
        sizes = {requests[0][0]: len(requests) for requests in batches if requests}
        assert (sizes["bdev_rbd_create"], sizes["bdev_set_qos_limit"], sizes["nvmf_subsystem_add_ns"]) == (bdevs,) * 3
        assert (sizes["nvmf_create_subsystem"], sizes["nvmf_subsystem_add_listener"]) == (subsystems,) * 2
        fake.calls.clear()
        common = {"socket": fake.path, "timeout": 60}
        runs = [
            run_module("spdk_rbd_bdev", {**common, "ceph_conf": str(tmp_path / "absent.conf"), "clusters": [{"name": "c0"}], "bdevs": volumes}),
            run_module("nvmf_transport", {**common, "transports": [{"trtype": "TCP"}]}),
            run_module("nvmf_subsystem", {**common, "subsystems": entries}),
            run_module("spdk_target_info", {**common, "images": False, "connections": False, "ceph_conf": str(tmp_path / "absent.conf")}),
        ]
        assert [(run["failed"], run["changed"]) for run in runs] == [(False, False)] * 4, [run.get("msg") for run in runs]
        counts.append([method for method, _params in fake.calls])
    assert counts[0] == counts[1] and len(counts[1]) < 30
