# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans of volumes that are to be made and that are to go: the work of every host, and all problems at once."""

from __future__ import annotations

import copy
import typing as t
import uuid

import pytest
import yaml
from ansible_collections.nvmeof.spdk.plugins.filter.provision_plan import provision_plan
from ansible_collections.nvmeof.spdk.plugins.filter.retire_plan import retire_plan
from ansible_collections.nvmeof.spdk.plugins.plugin_utils import _provision, _retire
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._provision import ProvisionError, declared_text, entries_of, with_volumes
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._startup_volumes import merge
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._volumes import declared_of

FSID = "0b6f5a3e-5c0a-4d3c-a0f4-5d5c9b1f7a11"
NQN = "nqn.2026-01.org.example:vols"
HOSTNQN = "nqn.2014-08.org.nvmexpress:uuid:4ca08835-0e71-4c63-85af-4b201ffa646d"
OLD = "0a1b2c3d-0000-4000-8000-000000000003"
MIB = 1024**2
ASKED = {"target": ["t1", "t2"], "host": ["h1"], "disks": ["h1"]}
VOLUME = {"pool": "p", "image": "new", "size": "64M", "nqn": NQN, "host": "h1", "domain": "db1"}


def derived(image: str) -> str:
    return str(uuid.uuid5(uuid.UUID(FSID), f"p//{image}"))


def bdev(image: str, identity: str) -> dict[str, t.Any]:
    return {"name": image, "uuid": identity, "pool": "p", "rados_namespace": None, "image": image}


def target(*volumes: tuple[int, str, str]) -> dict[str, t.Any]:
    namespaces = [{"nsid": nsid, "bdev": image, "uuid": identity} for nsid, image, identity in volumes]
    subsystem = {"nqn": NQN, "max_namespaces": 8, "namespaces": namespaces, "controllers": [{"cntlid": 1, "hostnqn": HOSTNQN}]}
    return {"target": {"fsid": FSID, "bdevs": [bdev(image, identity) for _nsid, image, identity in volumes], "subsystems": [subsystem]}, "errors": {}}


@pytest.fixture
def measured() -> dict[str, t.Any]:
    """Two targets with one volume, one host that uses it in the domain db1."""
    device = {"uuid": OLD, "nqn": NQN, "nsid": 1, "device": "/dev/nvme0n1", "holders": [], "mounts": []}
    disk = {"domain": "db1", "domain_state": "running", "target": "vda", "source": "/dev/disk/by-id/x", "namespace_uuid": OLD, "layers": []}
    host = {"hostnqn": HOSTNQN, "controllers": [{"nqn": NQN, "state": "live"}], "namespaces": [device]}
    return {"t1": target((1, "old", OLD)), "t2": target((1, "old", OLD)), "h1": {"host": host, "disks": [disk], "errors": {}}}


def images(*there: tuple[str, int], **pool: t.Any) -> dict[str, t.Any]:
    found = [{"pool": "p", "rados_namespace": None, "image": image, "exists": True, "size_bytes": size, "error": None} for image, size in there]
    found.append({"pool": "p", "rados_namespace": None, "image": "v2", "exists": False, "size_bytes": None, "error": "it does not exist"})
    found.append({"pool": "p", "rados_namespace": None, "image": "dark", "exists": None, "size_bytes": None, "error": "permission denied"})
    return {"fsid": FSID, "images": found, "pools": [{"pool": "p", "free_bytes": 1024 * MIB, "max_bytes": None, "full": False, "nearfull": False, **pool}]}


def plan(measured: dict[str, t.Any], *volumes: dict[str, t.Any], answer: dict[str, t.Any] | None = None, **options: t.Any) -> dict[str, t.Any]:
    domains = {"h1": [{"domain": "db1", "domain_state": "running"}, {"domain": "empty", "domain_state": "shut off"}]}
    return _provision.plan(list(volumes), {}, measured, ASKED, answer or images(), domains, **options)


# -- what the operator wrote -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["[{image: a}, {image: b}]", '[{"image": "a"}, {"image": "b"}]', "- image: a\n- image: b\n", "volumes: [{image: a}, {image: b}]"]
)
def test_a_list_as_a_form_delivers_it(text):
    assert entries_of(text, {"pool": "p", "nsid": ""}) == [{"pool": "p", "image": "a"}, {"pool": "p", "image": "b"}]


def test_text_of_a_form_stays_what_was_written():
    """YAML would make numbers of names: 0123 is 83, 12:30 is 750, and an empty answer is none."""
    text = "- {image: 007, serial: 0123, bdev: 12:30, target: , host: null, domain: ~, nsid: 5, targets: 't1, ,t2,'}"
    assert entries_of(text) == [{"image": "007", "serial": "0123", "bdev": "12:30", "nsid": "5", "targets": "t1, ,t2,"}]
    (volume,), _problems = _provision.parse(text, {}, ())
    assert (volume.image, volume.serial, volume.nsid, volume.targets) == ("007", "0123", 5, ["t1", "t2"])
    assert _provision.parse([{"image": "a", "targets": 5}], {}, ())[0][0].targets == ["5"]


def test_one_volume_by_single_variables_or_none():
    assert entries_of("", {"pool": "p", "image": "a", "host": ""}) == [{"pool": "p", "image": "a"}]
    assert entries_of([], {"pool": "p"}) == []
    for bad in ("[a", "text", [1]):
        with pytest.raises(ProvisionError):
            entries_of(bad)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"size": "64"}, "no unit"),
        ({"size": "1K"}, "MiB"),
        ({"pool": "a/b"}, "not a name"),
        ({"nsid": 0}, "not a whole number"),
        ({"nsid": True}, "not a whole number"),
        ({"uuid": "x"}, "not a UUID"),
        ({"colour": "red"}, "no key of a volume"),
        ({"host": ""}, "domain is given without the host"),
        ({"target": "sdb"}, "no disk of bus virtio"),
        ({"bus": "ide"}, "neither virtio nor scsi"),
        ({"serial": "a b"}, "serial"),
        ({"nqn": "x"}, "not an NQN"),
        ({"nqn": "nqn.x:none"}, f"no target has the subsystem nqn.x:none (known: {NQN})"),
        ({"targets": ["t9"]}, "no target t9"),
        ({"host": "h9"}, "no initiator h9"),
        ({"domain": "none"}, "no domain none (it has db1, empty)"),
        ({"target": "vda"}, "the disk vda is another volume"),
        ({"nsid": 1}, "is the volume old already"),
        ({"nsid": 9}, "above max_namespaces 8"),
        ({"uuid": OLD}, "is that of the volume old"),
        ({"bdev": "old"}, "is another image"),
        ({"image": "old", "nsid": 2}, "its nsid is 1, not 2"),
        ({"image": "old", "domain": "empty"}, "already the disk vda of the domain db1"),
        ({"image": "dark"}, "cannot be read: permission denied"),
        ({"size": "2G"}, "pool p has 1 GiB free"),
    ],
)
def test_every_problem_has_its_sentence(measured, entry, words):
    found = plan(measured, {**VOLUME, **entry})["problems"]
    assert any(words in problem for problem in found), found


def test_all_problems_at_once(measured):
    found = plan(measured, {**VOLUME, "size": "64"}, {**VOLUME, "nsid": 3}, {**VOLUME, "image": "c", "nsid": 3}, {"image": "d"})["problems"]
    for words in ("no unit", "have the same image", "have the same nsid", "pool is missing", "size is missing", "nqn is missing"):
        assert any(words in problem for problem in found), (words, found)
    assert plan(measured)["problems"] == ["no volume was given: use volumes (a list), or pool, image and so on for one"]


# -- the work ----------------------------------------------------------------------------------------------------------


def test_the_work_of_every_host(measured):
    found = plan(measured, VOLUME, {**VOLUME, "image": "second", "nsid": 2, "domain": "", "targets": "t2"})
    assert found["problems"] == []
    wanted = {"bdev": "new", "nsid": 3, "uuid": derived("new")}
    assert found["targets"]["t1"]["subsystems"] == [{"nqn": NQN, "namespaces": [wanted]}]
    assert found["targets"]["t2"]["subsystems"] == [{"nqn": NQN, "namespaces": [wanted, {"bdev": "second", "nsid": 2, "uuid": derived("second")}]}]
    assert found["targets"]["t1"]["bdevs"] == [{"name": "new", "pool": "p", "image": "new", "uuid": derived("new")}]
    assert found["hosts"] == {"h1": [{"uuid": derived("new"), "size": "64M"}, {"uuid": derived("second"), "size": "64M"}]}
    assert found["disks"] == {"h1": [{"domain": "db1", "uuid": derived("new"), "bus": "virtio", "state": "present"}]}
    assert found["images"][0] == {"pool": "p", "rados_namespace": None, "image": "new", "size": "64M", "state": "present"}


def test_an_interrupted_run_goes_on_with_the_same_numbers(measured):
    """t1 has the volume already, t2 not: the nsid of t1 counts for both."""
    measured["t1"] = target((1, "old", OLD), (5, "new", derived("new")))
    found = plan(measured, VOLUME, answer=images(("new", 64 * MIB)))
    assert found["problems"] == []
    for name in ("t1", "t2"):
        assert found["targets"][name]["subsystems"][0]["namespaces"] == [{"bdev": "new", "nsid": 5, "uuid": derived("new")}]


def test_headroom_is_of_the_whole_batch_and_of_new_images_only(measured):
    volumes = [{**VOLUME, "image": f"v{number}", "size": "400M"} for number in range(3)]
    (problem,) = plan(measured, *volumes)["problems"]
    assert "the new images need 1.17 GiB" in problem or "1200 MiB" in problem, problem
    assert plan(measured, *volumes, overcommit=True)["problems"] == []
    assert plan(measured, *volumes, answer=images(("v0", 400 * MIB)))["problems"] == []
    assert "is full" in plan(measured, VOLUME, answer=images(full=True))["problems"][0]
    assert plan(measured, VOLUME, answer=images(exists=False))["problems"] == ["the cluster has no pool p"]
    assert "0 B left of its quota of 1 MiB" in plan(measured, VOLUME, answer=images(max_bytes=MIB, stored_bytes=MIB))["problems"][0]
    assert plan(measured, VOLUME, answer=images(max_bytes=100 * MIB, stored_bytes=36 * MIB))["problems"] == []
    (problem,) = plan(measured, VOLUME, answer=images(max_bytes=100 * MIB, stored_bytes=37 * MIB))["problems"]
    assert "pool p has 63 MiB left of its quota of 100 MiB, the new images need 64 MiB" in problem
    found = plan(measured, VOLUME, answer=images(max_bytes=100 * MIB))
    assert found["problems"] == [] and any("nobody may ask what pool p stores" in line for line in found["lines"])
    assert "grow_volume" in plan(measured, VOLUME, answer=images(("new", MIB)))["problems"][0]
    assert "could not be read: no key" in plan(measured, VOLUME, answer={"failed": True, "msg": "no key"})["problems"][0]


def test_who_did_not_answer_or_is_not_connected(measured):
    measured["t2"] = {"errors": {"target": "host unreachable"}}
    measured["h1"]["host"]["controllers"][0]["state"] = "connecting"
    found = plan(measured, VOLUME)["problems"]
    assert any("target t2 did not answer" in problem for problem in found)
    assert any("no live connection" in problem and "connect_initiators" in problem for problem in found)


# -- volumes that are to go --------------------------------------------------------------------------------------------


def retire(measured: dict[str, t.Any], **options: t.Any) -> dict[str, t.Any]:
    return _retire.plan([{"pool": "p", "image": "old", "host": "h1", "size": "1G"}], {}, measured, **options)


def test_a_running_domain_keeps_its_disk(measured):
    found = retire(measured)
    (problem,) = found["problems"]
    assert "disk vda of the domain db1 on h1, which is running" in problem and "detach_running" in problem
    found = retire(measured, detach_running=True)
    assert found["problems"] == []
    assert found["detach"] == {"h1": [{"domain": "db1", "target": "vda", "source": "/dev/disk/by-id/x", "state": "absent", "detach_running": True}]}


def test_without_users_the_namespaces_of_every_target_go_and_the_image_stays(measured):
    measured["h1"]["disks"] = []
    found = retire(measured)
    assert (found["problems"], found["detach"], found["images"]) == ([], {}, [])
    assert sorted(found["targets"]) == ["t1", "t2"]
    namespace = {"bdev": "old", "nsid": 1, "uuid": OLD, "state": "absent"}
    assert found["targets"]["t1"] == {
        "bdevs": [{"name": "old", "pool": "p", "image": "old", "state": "absent"}],
        "subsystems": [{"nqn": NQN, "namespaces": [namespace], "force": True}],
    }
    assert retire(measured, delete_image=True)["images"] == [{"pool": "p", "rados_namespace": None, "image": "old", "state": "absent", "trash": True}]


@pytest.mark.parametrize(("key", "value", "words"), [("holders", ["dm-0"], "held by dm-0"), ("mounts", ["/srv"], "mounted on /srv")])
def test_a_use_on_any_host_is_never_forced(measured, key, value, words):
    measured["h1"]["disks"] = []
    measured["h1"]["host"]["namespaces"][0][key] = value
    for force in (False, True):
        assert any(words in problem for problem in retire(measured, force=force)["problems"])


def test_what_nobody_proved_stops_without_force(measured):
    measured["h1"]["disks"] = []
    unreachable = copy.deepcopy(measured)
    unreachable["h2"] = {"errors": {"host": "host unreachable", "disks": "host unreachable"}}
    strangers = copy.deepcopy(measured)
    strangers["t1"]["target"]["subsystems"][0]["controllers"].append({"cntlid": 2, "hostnqn": "nqn.x:stranger"})
    unknown = copy.deepcopy(measured)
    unknown["t1"]["target"]["subsystems"][0]["controllers"] = None
    for state, words in ((unreachable, "h2 (host)"), (strangers, "nqn.x:stranger is connected"), (unknown, "cannot tell who is connected")):
        assert any(words in problem for problem in retire(state)["problems"])
        forced = retire(state, force=True)
        assert forced["problems"] == [] and any("FORCED" in line for line in forced["lines"])
    measured["t2"] = {"errors": {"target": "host unreachable"}}
    assert any("is not deleted" in problem for problem in retire(measured, force=True, delete_image=True)["problems"])


def test_controllers_without_a_name_are_counted_against_the_inventorys_connections(measured):
    measured["h1"]["disks"] = []
    measured["h1"]["host"]["controllers"][0]["traddr"] = "192.0.2.1"
    for name, address in (("t1", "192.0.2.1"), ("t2", "192.0.2.2")):
        subsystem = measured[name]["target"]["subsystems"][0]
        subsystem.update(listeners=[{"traddr": address}], controllers=[])
    nameless = measured["t1"]["target"]["subsystems"][0]["controllers"]
    nameless.append({"cntlid": 1, "hostnqn": ""})
    assert retire(measured)["problems"] == []
    nameless.append({"cntlid": 2, "hostnqn": ""})
    (problem,) = retire(measured)["problems"]
    assert "2 controllers" in problem and "have 1 connections" in problem


def test_an_image_that_may_be_that_of_a_lost_disk_is_not_deleted(measured):
    measured["h1"]["disks"][0].update(namespace_uuid=None, source="/dev/nvme0n1", device=None)
    assert retire(measured)["problems"] == []
    (problem,) = retire(measured, delete_image=True)["problems"]
    assert "the domain db1 on h1 runs with the disk /dev/nvme0n1, which is gone" in problem and "force" in problem
    assert retire(measured, delete_image=True, force=True)["problems"] == []
    measured["h1"]["disks"][0]["domain_state"] = "shut off"
    assert retire(measured, delete_image=True)["problems"] == []


def test_images_are_not_kept_in_silence_when_nobody_is_there_to_remove_them(measured):
    measured["h1"]["disks"] = []
    assert retire(measured, missing="c1")["problems"] == []
    assert "c1 is to remove the images and was left out by --limit" in retire(measured, delete_image=True, missing="c1")["problems"][0]
    hostvars = {name: {f"volume_growth__{kind}": {kind: value} for kind, value in entry.items() if kind != "errors"} for name, entry in measured.items()}
    wish = ([{"pool": "p", "image": "old"}], {})
    for playing, count in ((["t1", "t2", "h1"], 1), (["t1", "t2", "h1", "c1"], 0), (None, 0)):
        made = retire_plan(hostvars, ASKED, *wish, delete_image="true", ceph_host="c1", playing=playing)
        assert len(made["problems"]) == count
    (problem,) = [text for text in provision_plan(hostvars, ASKED, [VOLUME], ceph_host="c1")["problems"] if "images" in text]
    assert problem == "the images could not be read: host c1 was left out by --limit, or lost earlier"


def test_a_retired_volume_is_no_work(measured):
    for name in ("t1", "t2"):
        measured[name] = target()
    measured["h1"]["disks"] = []
    found = retire(measured)
    assert (found["problems"], found["targets"], found["detach"]) == ([], {}, {})
    # a domain that does not run can still name it
    left = {"domain": "off", "domain_state": "shut off", "target": "vdb", "source": "s", "namespace_uuid": derived("old"), "layers": []}
    measured["h1"]["disks"] = [left]
    assert retire(measured)["detach"]["h1"][0]["domain"] == "off"


# -- what keeps them over a restart ------------------------------------------------------------------------------------


def test_the_declared_file_is_merged_by_image(measured):
    first = plan(measured, VOLUME)["volumes"]
    text = declared_text("", first)
    assert yaml.safe_load(text)["spdk_target_volumes"] == [{"pool": "p", "image": "new", "nqn": NQN, "nsid": 2, "uuid": derived("new"), "bdev": "new"}]
    assert declared_text(text, first) == text
    assert yaml.safe_load(declared_text(text, [], [{"pool": "p", "image": "new"}])) == {"spdk_target_volumes": []}
    with pytest.raises(ProvisionError, match="something else"):
        declared_text("other: 1", first)


def test_the_role_has_them_with_its_own_lists():
    volumes = [
        {"pool": "p", "image": "new", "nqn": NQN, "nsid": 2, "uuid": OLD, "cluster": "c"},
        {"pool": "p", "image": "elsewhere", "nqn": NQN, "targets": ["t2"]},
        {"pool": "p", "image": "old", "nqn": NQN},
        {"pool": "p", "image": "foreign", "nqn": "nqn.x:other"},
    ]
    declared = {"bdevs": [{"name": "a", "pool": "p", "image": "old"}], "subsystems": [{"nqn": NQN, "namespaces": [{"bdev": "a", "nsid": 1}]}]}
    found = with_volumes(declared, volumes, "t1")
    assert found["bdevs"][1:] == [{"name": "new", "pool": "p", "image": "new", "cluster": "c", "uuid": OLD}]
    assert found["subsystems"][0]["namespaces"] == [{"bdev": "a", "nsid": 1}, {"bdev": "new", "nsid": 2, "uuid": OLD}]
    assert declared["subsystems"][0]["namespaces"] == [{"bdev": "a", "nsid": 1}]


def test_an_audit_knows_them_as_declared():
    volumes = [{"pool": "p", "image": "new", "nqn": NQN, "targets": ["t2"]}, {"pool": "p", "image": "all", "nqn": NQN}]
    hostvars = {name: {"spdk_target_rbd_bdevs": [{"pool": "p", "image": "old"}], "spdk_target_volumes": volumes} for name in ("t1", "t2")}
    found = declared_of(hostvars, ["t1", "t2"])
    assert [found[name]["images"] for name in ("t1", "t2")] == [["p/old", "p/all"], ["p/old", "p/new", "p/all"]]


def document() -> dict[str, t.Any]:
    bdevs = [{"method": "bdev_rbd_create", "params": {"name": "old", "pool_name": "p", "rbd_name": "old", "read_only": True}}]
    nvmf = [
        {"method": "nvmf_create_subsystem", "params": {"nqn": NQN}},
        {"method": "nvmf_subsystem_add_ns", "params": {"nqn": NQN, "namespace": {"nsid": 1, "bdev_name": "old"}}},
        {"method": "nvmf_subsystem_add_listener", "params": {"nqn": NQN}},
    ]
    return {"subsystems": [{"subsystem": "bdev", "config": [*bdevs, {"method": "bdev_wait_for_examine"}]}, {"subsystem": "nvmf", "config": nvmf}]}


def test_the_start_up_file_gains_and_loses_only_the_volume():
    add = {"bdevs": [{"name": "new", "pool": "p", "image": "new"}, {"name": "old", "pool": "p", "image": "old"}]}
    add["subsystems"] = [{"nqn": NQN, "namespaces": [{"bdev": "new", "nsid": 2, "uuid": OLD}]}]
    found = {
        "release": {"major": 26, "minor": 5},
        "bdevs": [{"name": name, "uuid": OLD, "cluster": "c"} for name in ("new", "old")],
        "subsystems": [{"nqn": NQN, "namespaces": [{"nsid": 2, "bdev": "new", "uuid": OLD, "nguid": None}]}],
    }
    merged = merge(document(), add, [], found)
    bdevs, nvmf = (part["config"] for part in merged["subsystems"])
    assert [call["method"] for call in bdevs] == ["bdev_rbd_create", "bdev_rbd_create", "bdev_wait_for_examine"]
    assert bdevs[0] == document()["subsystems"][0]["config"][0], "what is declared there says more"
    assert bdevs[1]["params"] == {"name": "new", "pool_name": "p", "rbd_name": "new", "block_size": 512, "cluster_name": "c", "uuid": OLD}
    assert [call["method"] for call in nvmf][-2:] == ["nvmf_subsystem_add_ns", "nvmf_subsystem_add_listener"]
    assert merge(merged, add, [], found) == merged
    # a bdev whose cluster nobody shows any more, in a file that makes one cluster
    found["bdevs"][0]["cluster"] = None
    one = document()
    one["subsystems"][0]["config"].insert(0, {"method": "bdev_rbd_register_cluster", "params": {"name": "only"}})
    assert merge(one, add, [], found)["subsystems"][0]["config"][2]["params"]["cluster_name"] == "only"
    assert merge(merged, {}, [{"pool": "p", "image": "new"}], {}) == document()
    assert merge(document(), {}, [{"pool": "q", "image": "old"}], {}) == document(), "another pool's image of that name"


def test_before_21_07_the_new_volume_is_opened_as_its_cluster_says():
    add = {"bdevs": [{"name": "new", "pool": "p", "image": "new"}], "subsystems": [], "config_defaults": {"client_mount_timeout": 30}}
    found = {"release": {"major": 20, "minor": 10}, "bdevs": [{"name": "new", "cluster": "c"}], "subsystems": []}
    for cluster, access in (
        ({"user": "spdk"}, {"user_id": "spdk"}),
        ({"config_param": {"mon_host": "a"}}, {"config": {"client_mount_timeout": "30", "mon_host": "a"}}),
    ):
        merged = merge(document(), {**add, "clusters": [{"name": "c", **cluster}]}, [], found)
        params = merged["subsystems"][0]["config"][1]["params"]
        assert params == {"name": "new", "pool_name": "p", "rbd_name": "new", "block_size": 512, **access}
