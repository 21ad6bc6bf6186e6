# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import stat

import pytest
from fake_target import Scripted
from module_runner import run_module

NQN = "nqn.2026-01.org.example:vols"
UUID = "0a1b2c3d-0000-4000-8000-000000000003"
MIB = 1024**2


@pytest.fixture
def target(fake):
    fake.clusters["c0"] = {"cluster_name": "c0"}
    return fake


@pytest.fixture
def base(target, tmp_path):
    return {"socket": target.path, "timeout": 10, "ceph_conf": str(tmp_path / "absent.conf")}


def test_a_bdev_is_created_checked_and_deleted(base, target):
    wish = {**base, "name": "a", "pool": "p", "image": "one", "uuid": UUID}
    checked = run_module("spdk_rbd_bdev", wish, check=True, diff=True)
    assert target.bdevs == {}
    done = run_module("spdk_rbd_bdev", wish, diff=True)
    assert checked["changed"] is done["changed"] is True and 0 < done["seconds"] < 60
    assert checked["rpc_calls"] == done["rpc_calls"] and checked["diff"] == done["diff"]
    assert done["bdevs"][0]["action"] == "created" and done["bdevs"][0]["size_bytes"] == 64 * MIB
    assert run_module("spdk_rbd_bdev", wish)["changed"] is False
    gone = run_module("spdk_rbd_bdev", {**base, "bdevs": [{"name": "a", "state": "absent"}]})
    assert gone["changed"] and target.bdevs == {} and gone["bdevs"][0]["state"] == "absent"


def test_growth_without_ceph_is_refused_and_nothing_sent(base, target):
    target.add_bdev("a", "p", "one")
    result = run_module("spdk_rbd_bdev", {**base, "name": "a", "size": "128M", "state": "grown"})
    assert result["failed"] and result["changed"] is False
    assert result["error"]["hop"] == "image" and "ceph_conf" in result["error"]["remedy"]
    assert target.images[("p", "one")] == 64 * MIB and result["rpc_calls"] == [] and result["seconds"] > 0


def test_a_time_out_shorter_than_ceph_may_take_is_warned_of(base):
    for module, names in (("spdk_rbd_bdev", ("timeout=10", "wait_timeout=5")), ("spdk_target_info", ("timeout=10",))):
        result = run_module(module, {**base, **({"wait_timeout": 5, "bdevs": []} if module == "spdk_rbd_bdev" else {})})
        assert len(result["warnings"]) == len(names) and all(name in str(text) for name, text in zip(names, result["warnings"]))
        assert not run_module(module, {**base, "timeout": 60, **({"bdevs": []} if module == "spdk_rbd_bdev" else {})}).get("warnings")


@pytest.mark.parametrize("options", [{"lease_duration": 29}, {"lease_wait": -1}, {"lease_owner": "a\tb"}])
def test_a_wish_for_the_lease_that_cannot_be_meant(base, target, options):
    result = run_module("spdk_rbd_bdev", {**base, "name": "a", "pool": "p", "image": "one", "uuid": UUID, **options})
    assert result["failed"] and next(iter(options)) in result["msg"] and target.bdevs == {}


def test_only_clusters(base, target):
    result = run_module("spdk_rbd_bdev", {**base, "clusters": [{"name": "c1", "config_param": {"client_mount_timeout": 5}}]})
    assert result["bdevs"] == [] and result["changed"] and target.clusters["c1"]["config_param"] == {"client_mount_timeout": "5"}
    assert run_module("spdk_rbd_bdev", {**base, "bdevs": []})["changed"] is False


def test_a_transport_that_differs_does_not_keep_a_missing_one_away(target):
    base = {"socket": target.path}
    run_module("nvmf_transport", {**base, "trtype": "TCP"})
    wish = {**base, "transports": [{"trtype": "TCP", "options": {"max_io_size": 4096}}, {"trtype": "RDMA"}]}
    checked = run_module("nvmf_transport", wish, check=True)
    assert set(target.transports) == {"TCP"}
    done = run_module("nvmf_transport", wish)
    assert set(target.transports) == {"TCP", "RDMA"}
    for result in (checked, done):
        assert result["failed"] and result["restart_needed"] and result["changed"] and "TCP exists, and max_io_size is" in result["msg"]
    assert (checked["changes"], checked["rpc_calls"]) == (done["changes"], done["rpc_calls"])
    again = run_module("nvmf_transport", wish)
    assert again["failed"] and again["restart_needed"] and not again["changed"]


def test_subsystem_and_transport(target):
    base = {"socket": target.path}
    target.add_bdev("a", "p", "one", uuid=UUID)
    assert run_module("nvmf_transport", {**base, "trtype": "tcp"})["transports"][0]["trtype"] == "TCP"
    assert run_module("nvmf_transport", {**base, "transports": [{"trtype": "TCP"}]})["changed"] is False
    wish = {**base, "nqn": NQN, "listeners": [{"traddr": "192.0.2.1"}], "namespaces": [{"bdev": "a"}], "hosts": [NQN]}
    checked = run_module("nvmf_subsystem", wish, check=True)
    done = run_module("nvmf_subsystem", wish)
    assert checked["rpc_calls"] == done["rpc_calls"] and done["changed"]
    (subsystem,) = done["subsystems"]
    ids = {"nsid": 1, "bdev": "a", "uuid": UUID, "nguid": UUID.replace("-", ""), "eui64": None}
    assert subsystem["namespaces"] == [{**ids, "anagrpid": None, "auto_visible": True, "hosts": [], "ptpl_file": None}]
    assert checked["subsystems"] == done["subsystems"]
    assert run_module("nvmf_subsystem", {**base, "subsystems": [{key: value for key, value in wish.items() if key != "socket"}]})["changed"] is False
    assert run_module("nvmf_subsystem", {**base, "nqn": NQN, "state": "absent"})["subsystems"][0]["state"] == "absent"


def test_target_info_without_ceph_goes_on(base, target):
    target.add_bdev("a", "p", "one", uuid=UUID)
    result = run_module("spdk_target_info", base)
    assert not result["failed"] and not result["changed"]
    (bdev,) = result["target"]["bdevs"]
    assert bdev["image_bytes"] is None and "absent.conf" in bdev["image_error"] and bdev["watched"] is None
    assert result["target"]["pools"] == [] and bdev["image_primary"] is None
    assert result["target"]["fsid"] is None and result["target"]["release"]["major"] == 26
    assert {problem["severity"] for problem in result["target"]["problems"]} == {"warning"}
    target.add_bdev("b", "p", "two")
    some = run_module("spdk_target_info", {**base, "bdevs": ["b"]})["target"]["bdevs"]
    assert [bool(bdev["image_error"]) for bdev in some] == [False, True], "all are listed, the image of one was read"
    nothing = run_module("spdk_target_info", {**base, "bdevs": []})["target"]
    assert [bdev["image_error"] for bdev in nothing["bdevs"]] == [None, None] and nothing["problems"] == []
    silent = run_module("spdk_target_info", {**base, "images": False, "connections": False})
    assert silent["target"]["bdevs"][0]["image_error"] is None and silent["target"]["problems"] == []


@pytest.mark.parametrize(
    ("module", "params"),
    [
        ("spdk_rbd_bdev", {"name": "a", "pool": "p", "image": "one", "size": "800"}),
        ("spdk_rbd_bdev", {"name": "a", "pool": "p", "image": "one", "size": "800X"}),
        ("spdk_rbd_bdev", {"name": "a", "pool": "p", "image": "one", "size": "-1G"}),
        ("spdk_rbd_bdev", {"name": "a", "pool": "p", "image": "one", "size": f"{2**44}M"}),
        ("spdk_rbd_bdev", {"name": "a", "pool": "p", "image": "one", "size": ["1G"]}),
        ("spdk_rbd_bdev", {"name": "a", "pool": "p", "image": "one", "block_size": "many"}),
        ("spdk_rbd_bdev", {"name": "a", "bdevs": [{"name": "b"}]}),
        ("spdk_rbd_bdev", {"bdevs": "a"}),
        ("spdk_rbd_bdev", {"bdevs": [{"name": "a", "colour": "red"}]}),
        ("spdk_rbd_bdev", {"name": "a", "state": "shrunk"}),
        ("spdk_rbd_bdev", {"name": "a", "state": "absent", "timeout": 0}),
        ("nvmf_subsystem", {}),
        ("nvmf_subsystem", {"nqn": "bad"}),
        ("nvmf_subsystem", {"nqn": NQN, "listeners": [{"trsvcid": "4420"}]}),
        ("nvmf_subsystem", {"nqn": NQN, "namespaces": ["a"]}),
        ("nvmf_transport", {"trtype": "FC"}),
        ("nvmf_transport", {}),
        ("nvmf_transport", {"trtype": "TCP", "options": {"nope": 1}}),
        ("nvmf_transport", {"transports": [{"trtype": "TCP"}, {"trtype": "tcp"}]}),
    ],
)
def test_bad_input_is_one_clear_sentence_and_changes_nothing(target, module, params):
    result = run_module(module, {"socket": target.path, **params})
    assert result["failed"] and result["msg"] and "Traceback" not in json.dumps(result)
    assert target.bdevs == {} and target.subsystems == {} and target.transports == {}


@pytest.mark.parametrize(
    ("module", "params"),
    [
        ("spdk_rbd_bdev", {"name": "a", "state": "absent"}),
        ("nvmf_subsystem", {"nqn": NQN}),
        ("nvmf_transport", {"trtype": "TCP"}),
        ("nvmf_referral", {"traddr": "192.0.2.1"}),
        ("spdk_keyring", {"name": "k", "path": "/k"}),
        ("spdk_target_info", {}),
    ],
)
def test_no_target(tmp_path, module, params):
    path = str(tmp_path / "none.sock")
    result = run_module(module, {"socket": path, **params})
    assert result["failed"] and path in result["msg"] and "start the SPDK target" in result["error"]["remedy"]


def test_target_info_costs_the_same_for_one_and_for_many(base, target):
    counts = []
    for number in range(40):
        target.nvmf_create_subsystem(f"{NQN}{number}", f"S{number}", 8, False)
        target.nvmf_subsystem_add_host(f"{NQN}{number}", NQN)
        if number in (0, 39):
            target.calls.clear()
            result = run_module("spdk_target_info", {**base, "images": False, "connections": False})
            assert len(result["target"]["subsystems"]) == number + 1
            counts.append([method for method, _params in target.calls])
    assert counts[0] == counts[1] and counts[0].count("framework_get_config") == 1


def test_a_key_in_place_of_its_name_is_refused_and_never_shown(target, tmp_path):
    for module, params in (
        ("nvmf_subsystem", {"nqn": NQN, "hosts": [{"nqn": NQN, "psk": "NVMeTLSkey-1:01:c2VjcmV0:"}]}),
        ("nvmf_subsystem", {"subsystems": [{"nqn": NQN, "hosts": [{"nqn": NQN, "dhchap_key": "DHHC-1:00:c2VjcmV0:"}]}]}),
        ("spdk_keyring", {"name": "k", "path": "NVMeTLSkey-1:01:c2VjcmV0:"}),
        ("spdk_keyring", {"keys": [{"name": "DHHC-1:00:c2VjcmV0:", "path": "/k"}]}),
    ):
        result = run_module(module, {"socket": target.path, **params})
        assert result["failed"] and "a key itself" in result["msg"] and "c2VjcmV0" not in json.dumps(result)


@pytest.mark.parametrize("module", ["spdk_target_info", "nvmf_transport"])
def test_a_target_that_hangs_up_or_never_answers(tmp_path, module):
    def hang_up(connection):
        connection.recv(10)

    def silent(connection):
        while connection.recv(4096):
            pass

    params = {"trtype": "TCP"} if module == "nvmf_transport" else {}
    for number, (serve, word) in enumerate([(hang_up, "closed"), (silent, "no answer within 1 s")]):
        server = Scripted(str(tmp_path / f"s{number}"), serve)
        try:
            result = run_module(module, {"socket": server.path, "timeout": 1, **params})
        finally:
            server.close()
        assert result["failed"] and word in result["msg"] and result["error"]["remedy"]


# -- rbd_image and rbd_image_info with an rbd program (a host without python3-rbd) ----------------------------------

RBD = """#!/usr/bin/python3
import json, os, sys
path = os.environ["FAKE_RBD"]
images = json.load(open(path))
words = sys.argv[1:]
verb = next(word for word in words if word in ("info", "status", "create", "resize"))
image = words[-1]
if verb in ("info", "status", "resize") and image not in images:
    print("rbd: error opening image: (2) No such file or directory", file=sys.stderr)
    sys.exit(2)
if verb == "info":
    print(json.dumps({"size": images[image], "id": image.split("/")[-1]}))
elif verb == "status":
    print(json.dumps({"watchers": []}))
else:
    size = int(words[words.index("--size") + 1].rstrip("B"))
    if size < images.get(image, 0):
        print("rbd: shrinking an image is only allowed with the --allow-shrink flag", file=sys.stderr)
        sys.exit(22)
    images[image] = size
    json.dump(images, open(path, "w"))
"""
RADOS = """#!/usr/bin/python3
import json, os, sys
path = os.environ["FAKE_RBD"] + ".locks"
locks = json.load(open(path)) if os.path.exists(path) else {}
args = sys.argv[sys.argv.index("lock") + 1:]
key = " ".join(args[1:3])
option = lambda name: args[args.index(name) + 1]
if args[0] == "get":
    if any(one["tag"] != option("--lock-tag") for one in locks.get(key, [])):
        print("error 16: (16) Device or resource busy", file=sys.stderr)
        sys.exit(1)
    new = {"name": f"client.{os.getpid()}", "cookie": option("--lock-cookie"), "description": option("--lock-description"), "tag": option("--lock-tag")}
    locks.setdefault(key, []).append({**new, "expiration": "2037-01-01T00:00:00.5+0000", "addr": "127.0.0.1:0/1"})
elif args[0] == "break":
    locks[key] = [one for one in locks[key] if (one["name"], one["cookie"]) != (args[3], option("--lock-cookie"))]
else:
    print(json.dumps({"name": args[2], "type": "shared", "tag": "", "lockers": locks.get(key, [])}))
json.dump(locks, open(path, "w"))
"""
CEPH = """#!/usr/bin/python3
import json, sys
if "detail" in sys.argv:
    print(json.dumps([{"pool_name": "p", "quota_max_bytes": 0, "flags_names": "hashpspool,nearfull"}]))
    sys.exit(0)
df = {"pools": [{"name": "p", "stats": {"max_avail": 1000, "stored": 500}}]}
print(json.dumps({"fsid": "0b6f5a3e-5c0a-4d3c-a0f4-5d5c9b1f7a11"} if "fsid" in sys.argv else df))
"""


@pytest.fixture
def programs(tmp_path):
    """An rbd and a ceph program before the real ones, and a python without the bindings."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("rbd", RBD), ("rados", RADOS), ("ceph", CEPH)):
        (folder / name).write_text(text)
        (folder / name).chmod(stat.S_IRWXU)
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for name in ("rbd", "rados"):
        (hidden / f"{name}.py").write_text("raise ImportError('hidden')\n")
    # a module that was already respawned does not look for another python again
    (hidden / "sitecustomize.py").write_text("import ansible.module_utils.common.respawn as r\nr.has_respawned = lambda: True\n")
    (tmp_path / "ceph.conf").write_text("")
    (tmp_path / "images").write_text(json.dumps({"p/one": 64 * MIB}))
    return {"PATH": f"{folder}:{os.environ['PATH']}", "FAKE_RBD": str(tmp_path / "images"), "EXTRA_PYTHONPATH": str(hidden)}


def test_images_through_the_programs(programs, tmp_path):
    base = {"ceph_conf": str(tmp_path / "ceph.conf")}
    wish = {**base, "images": [{"pool": "p", "image": "one", "size": "128M"}, {"pool": "p", "rados_namespace": "n", "image": "two", "size": "1G"}]}
    checked = run_module("rbd_image", wish, check=True, env=programs)
    done = run_module("rbd_image", wish, env=programs)
    assert checked["changed"] and checked["changes"] == done["changes"]
    assert [(image["before_bytes"], image["size_bytes"]) for image in done["images"]] == [(64 * MIB, 128 * MIB), (None, 1024 * MIB)]
    limits = {"max_bytes": None, "full": False, "nearfull": True}
    pool = {"pool": "p", "exists": True, "free_bytes": 1000, "stored_bytes": 500, "provisioned_bytes": None, **limits, "error": None}
    assert done["pools"] == [pool]
    locks = json.loads((tmp_path / "images.locks").read_text())
    assert sorted(locks) == ["rbd_header.one nvmeof.spdk.grow", "rbd_header.one nvmeof.spdk.lease"] and not any(locks.values()), "all were given back"
    assert run_module("rbd_image", wish, env=programs)["changed"] is False
    info = run_module("rbd_image_info", {**base, "images": [{"pool": "p", "image": "one"}, {"pool": "p", "image": "none"}]}, env=programs)
    assert info["fsid"] == "0b6f5a3e-5c0a-4d3c-a0f4-5d5c9b1f7a11"
    assert [(image["exists"], image["size_bytes"]) for image in info["images"]] == [(True, 128 * MIB), (False, None)]


@pytest.mark.parametrize("module", ["rbd_image", "rbd_image_info"])
def test_no_ceph_configuration(tmp_path, module):
    params = {"ceph_conf": str(tmp_path / "none.conf")}
    params.update({"pool": "p", "image": "one"} if module == "rbd_image" else {})
    result = run_module(module, params)
    assert result["failed"] and "none.conf" in result["msg"] and "ceph_conf" in result["error"]["remedy"]


@pytest.mark.parametrize("params", [{}, {"pool": "p"}, {"image": "i", "images": []}, {"pool": "p", "image": "i", "size": "800"}, {"images": [{"pool": "p"}]}])
def test_bad_input_of_rbd_image(params):
    result = run_module("rbd_image", params)
    assert result["failed"] and result["msg"]


def test_limits_and_the_release_in_the_result(base, target):
    done = run_module("spdk_rbd_bdev", {**base, "name": "a", "pool": "p", "image": "one", "uuid": UUID, "qos": {"rw_ios_per_sec": 1500}}, diff=True)
    assert done["release"]["major"] == 26 and done["changed"] and target.bdevs["a"]["assigned_rate_limits"]["rw_ios_per_sec"] == 2000
    assert [change["action"] for change in done["changes"]] == ["create", "limit"]


def test_every_failed_bdev_is_in_errors_and_the_others_are_made(base, target):
    wishes = [
        {"name": name, "pool": "p", "image": image, "uuid": UUID[:-1] + str(number)}
        for number, (name, image) in enumerate([("a", "no"), ("b", "one"), ("c", "nor")])
    ]
    done = run_module("spdk_rbd_bdev", {**base, "bdevs": wishes})
    assert done["failed"] and done["changed"] and [error["object"] for error in done["errors"]] == ["a", "c"] and set(target.bdevs) == {"b"}
    assert [bdev["action"] for bdev in done["bdevs"]] == ["none", "created", "none"] and [change["name"] for change in done["changes"]] == ["b"]


@pytest.mark.parametrize(
    ("module", "params", "words"),
    [
        ("spdk_config", {}, "config"),
        ("spdk_config", {"config": {"subsystems": {}}}, "no list subsystems"),
        ("spdk_config", {"config": {"subsystems": [{"subsystem": "bdev", "config": [{"method": "bdev_rbd_create"}]}]}}, "lacks"),
        ("spdk_nvme_bdev", {"name": "Nvme0"}, "no traddr"),
        ("spdk_nvme_bdev", {"name": "Nvme0", "traddr": "x"}, "not a PCI address"),
        ("spdk_nvme_bdev", {"name": "Nvme0", "traddr": "ffff:ff:1f.7"}, "no PCI device ffff:ff:1f.7"),
        ("spdk_nvme_bdev", {"controllers": [{"name": "a"}, {"name": "a"}], "name": "b"}, "mutually exclusive"),
    ],
)
def test_bad_input_of_the_persistence_modules(target, module, params, words):
    result = run_module(module, {"socket": target.path, **params})
    assert result["failed"] and words in result["msg"] and "Traceback" not in json.dumps(result)
    assert target.nvme == {}


def test_pci_driver_refuses_what_it_does_not_know():
    assert "no driver is given" in run_module("pci_driver", {"traddr": "0000:00:00.0"})["msg"]
    missing = run_module("pci_driver", {"devices": [{"traddr": "ffff:ff:1f.7", "driver": "vfio-pci"}]}, check=True)
    assert missing["failed"] and missing["error"]["object"] == "ffff:ff:1f.7" and missing["changed"] is False


def test_a_start_up_file_without_a_target(tmp_path):
    path = tmp_path / "new" / "spdk.json"
    wish = {"config": {"subsystems": []}, "path": str(path), "state": "written", "live": False, "mode": "0640"}
    checked = run_module("spdk_config", wish, check=True, diff=True)
    assert checked["changed"] and not path.parent.exists()
    done = run_module("spdk_config", wish, diff=True)
    assert done["changed"] and done["diff"]["after"] == checked["diff"]["after"] and stat.S_IMODE(os.stat(path).st_mode) == 0o640
    assert not run_module("spdk_config", wish)["changed"]
    path.write_text("// by hand\n{}")
    broken = run_module("spdk_config", {**wish, "state": "checked"})
    assert broken["failed"] and "cannot be read" in broken["msg"] and path.read_text().startswith("//")
    assert not run_module("spdk_config", {**wish, "replace": False})["changed"]
    assert run_module("spdk_config", wish)["changed"] and json.loads(path.read_text()) == {"subsystems": []}
