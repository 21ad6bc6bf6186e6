# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json
import os

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_keyring import KeyringManager, TargetProcess, check_file, target_process, wanted_keys
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target
from module_runner import run_module

NQN = "nqn.2026-01.org.example:vols"
HOST = "nqn.2026-01.org.example:host-a"
SECRET = "NVMeTLSkey-1:01:c2VjcmV0:"
ME = TargetProcess(os.getuid(), "")


@pytest.fixture
def file(tmp_path):
    """Make a key file: its path."""

    def make(name, mode=0o600):
        path = tmp_path / name
        path.write_text(SECRET)
        path.chmod(mode)
        return str(path)

    return make


def key(name, path=None, state="present", force=False):
    return {"name": name, "path": path, "state": state, "force": force}


def run(fake, *entries, purge=False, force=False, check=False, timeout=10):
    wishes = wanted_keys(copy.deepcopy([{**entry, "force": force} for entry in entries]))
    with Target.open(fake.path, timeout) as target:
        manager = KeyringManager(target, lambda: ME)
        manager.plan(wishes, purge, force)
        if not check:
            manager.apply(wishes, purge)
        fake.sent = target.sent
    return manager


def failure(fake, *entries, **options):
    before = dict(fake.keys)
    with pytest.raises(HopError) as caught:
        run(fake, *entries, **options)
    assert fake.keys == before and caught.value.remedy and SECRET not in str(caught.value)
    return caught.value


def test_keys_are_added_once_and_with_purge_the_others_go(fake, file):
    one, two = key("k1", file("one")), key("k2", file("two"))
    checked = run(fake, one, two, check=True)
    assert fake.keys == {} and checked.changes.changed
    done = run(fake, one, two)
    assert checked.changes.summaries() == done.changes.summaries() and checked.result("k1") == done.result("k1")
    assert fake.keys == {"k1": one["path"], "k2": two["path"]}
    assert not run(fake, one, two, purge=True).changes.changed
    assert run(fake, one, purge=True).changes.changed and list(fake.keys) == ["k1"]
    assert run(fake, key("k1", state="absent")).result("k1")["state"] == "absent" and fake.keys == {}
    assert not run(fake, key("k1", state="absent")).changes.changed


def test_a_key_gets_another_file(fake, file):
    run(fake, key("k1", file("one")))
    run(fake, key("k1", file("two")))
    assert fake.keys["k1"].endswith("two") and [call["method"] for call in fake.sent] == ["keyring_file_remove_key", "keyring_file_add_key"]


@pytest.mark.parametrize("wish", [{"state": "absent"}, {"path": "two"}, None])
def test_a_key_of_a_host_goes_only_by_force(fake, file, wish):
    fake.transports["TCP"] = {"trtype": "TCP"}
    run(fake, key("k1", file("one")))
    fake.nvmf_create_subsystem(NQN, "S", 8, False)
    fake.nvmf_subsystem_add_host(NQN, HOST, psk="k1")
    assert run(fake, key("k1", file("one"))).result("k1")["users"] == 1
    entries = [] if wish is None else [key("k1", **{**wish, **({"path": file("two")} if "path" in wish else {})})]
    error = failure(fake, *entries, purge=wish is None)
    assert f"{HOST} of {NQN}" in error.message
    run(fake, *entries, purge=wish is None, force=True)
    assert fake.keys.get("k1") == (entries[0]["path"] if wish and "path" in wish else None) and fake.removed_keys == ["k1"]


@pytest.mark.parametrize(
    ("name", "mode", "process", "word"),
    [
        ("k", 0o644, ME, "0644"),
        ("k", 0o640, ME, "0640"),
        ("k", 0o600, TargetProcess(os.getuid() + 1, ""), "belongs to uid"),
        ("absent", None, ME, "does not exist"),
        (".", None, ME, "not a regular file"),
    ],
)
def test_a_file_that_the_target_would_refuse(tmp_path, file, name, mode, process, word):
    path = str(tmp_path / name) if mode is None else file(name, mode)
    with pytest.raises(HopError) as caught:
        check_file("k1", path, process)
    assert word in caught.value.message and caught.value.remedy and SECRET not in str(caught.value)


def test_a_relative_path():
    with pytest.raises(HopError, match="absolute"):
        check_file("k1", "keys/k1", ME)


def test_a_file_in_the_container_of_the_target(tmp_path):
    inner = tmp_path / "keys"
    inner.mkdir()
    (inner / "k1").write_text(SECRET)
    (inner / "k1").chmod(0o600)
    check_file("k1", "/keys/k1", TargetProcess(os.getuid(), str(tmp_path)))
    with pytest.raises(HopError, match="does not exist in the target's container") as caught:
        check_file("k2", "/keys/k2", TargetProcess(os.getuid(), str(tmp_path)))
    assert "mount" in caught.value.remedy


def test_a_bad_file_is_an_error_also_of_a_key_that_is_there(fake, file):
    run(fake, key("k1", file("one")))
    assert "0644" in failure(fake, key("k1", file("one", 0o644))).message


def test_the_process_behind_the_socket(fake):
    assert target_process(fake.path) == ME


@pytest.mark.parametrize("entries", [[key("", "/k")], [key("/k", "/k")], [key("k")], [key("k", "/a"), key("k", "/b")]])
def test_keys_that_cannot_be_meant(entries):
    with pytest.raises(HopError) as caught:
        wanted_keys(entries)
    assert caught.value.remedy


def test_before_24_05_there_is_no_keyring(make_target, file):
    fake = make_target((24, 1))
    assert "24.05" in failure(fake, key("k1", file("one"))).remedy
    assert not run(fake, key("k1", state="absent"), purge=True).changes.changed


def test_a_lost_answer_is_read_again(fake, file):
    fake.silent.add("keyring_file_add_key")
    assert run(fake, key("k1", file("one")), timeout=0.4).changes.applied
    assert [method for method, _params in fake.calls].count("keyring_file_add_key") == 1


def test_a_call_that_the_target_refuses(fake, file):
    fake.fail["keyring_file_add_key"] = (-1, "Operation not permitted")
    error = failure(fake, key("k1", file("one")))
    assert error.call == "keyring_file_add_key" and "Operation not permitted" in error.cause


def test_the_module(fake, file):
    base = {"socket": fake.path, "timeout": 10}
    wish = {**base, "keys": [{"name": "k1", "path": file("one")}, {"name": "k2", "path": file("two")}]}
    checked = run_module("spdk_keyring", wish, check=True, diff=True)
    done = run_module("spdk_keyring", wish, diff=True)
    assert done["changed"] and fake.keys.keys() == {"k1", "k2"}
    for part in ("changed", "keys", "rpc_calls", "changes", "diff"):
        assert checked[part] == done[part]
    assert run_module("spdk_keyring", {**base, "name": "k1", "path": file("one")})["changed"] is False
    info = run_module("spdk_target_info", {**base, "images": False})["target"]
    assert info["keys"][0] == {"name": "k1", "path": file("one"), "module": "keyring_file", "users": 0, "removed": False}
    refused = run_module("spdk_keyring", {**base, "name": "k3", "path": file("three", 0o666)})
    assert refused["failed"] and "0666" in refused["msg"] and refused["changed"] is False
    gone = run_module("spdk_keyring", {**base, "keys": [], "purge": True})
    assert gone["changed"] and fake.keys == {}
    assert SECRET not in json.dumps([checked, done, info, refused, gone])
    for bad in ({}, {"name": "k1"}, {"name": "k1", "path": "k1"}, {"name": "a", "keys": []}):
        assert run_module("spdk_keyring", {**base, **bad})["failed"]
