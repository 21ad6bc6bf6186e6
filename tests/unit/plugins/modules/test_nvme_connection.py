# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module nvme_connection: options, results, refusals."""

from __future__ import annotations

import errno
import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.nvmeof.spdk.plugins.modules import nvme_connection
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.call import call
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.fake_host import MIB, NQN, UUID1, FakeHost

DHCHAP = "DHHC-1:01:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+KfiaR:"
TWO = {"connections": [{"nqn": NQN, "traddr": "192.0.2.10"}, {"nqn": NQN, "traddr": "192.0.2.11", "trsvcid": 4421}]}


@pytest.fixture(name="host")
def _host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    host = FakeHost(tmp_path)
    monkeypatch.setattr(nvme_connection, "SysfsNvme", lambda: host.sysfs)
    monkeypatch.setattr(nvme_connection, "Connector", host.connector)
    return host


@pytest.fixture(name="pair")
def _pair(host: FakeHost) -> FakeHost:
    host.controller("nvme0")
    host.controller("nvme1", "192.0.2.11")
    host.namespace("nvme0n1", 1, UUID1, 64 * MIB, ["nvme0", "nvme1"])
    return host


def names(host: FakeHost) -> list[str]:
    return [item["name"] for item in host.sysfs.controllers()]


def test_connect_two_paths_and_again(host: FakeHost) -> None:
    preview = call(nvme_connection, TWO, check=True)
    assert (preview["changed"], names(host), host.lines) == (True, [], [])
    first = call(nvme_connection, TWO)
    second = call(nvme_connection, TWO)
    assert [result["changed"] for result in (first, second)] == [True, False]
    assert (preview["changes"], preview["diff"]) == (first["changes"], first["diff"])
    assert [(entry["controller"], entry["state"]) for entry in first["connections"]] == [("nvme0", "live"), ("nvme1", "live")]
    assert [entry["action"] for entry in first["connections"]] == ["connected", "connected"]
    assert [(entry["controller"], entry["action"], entry["changed"]) for entry in second["connections"]] == [("nvme0", "none", False), ("nvme1", "none", False)]
    assert (second["changes"], second["diff"], len(host.lines)) == ([], [], 2)
    documented = yaml.safe_load(nvme_connection.RETURN)
    assert set(first["connections"][0]) == set(documented["connections"]["sample"][0])
    assert set(first["changes"][0]) == set(documented["changes"]["sample"][0])


def test_same_path_twice_in_one_call_is_made_once(host: FakeHost) -> None:
    result = call(nvme_connection, {"connections": [{"nqn": NQN, "traddr": "192.0.2.10"}] * 2})
    assert (result["failed"], len(host.lines)) == (False, 1)


def test_connecting_path_is_reported_and_not_doubled(host: FakeHost) -> None:
    host.controller("nvme0", state="connecting", address="traddr=192.0.2.10,trsvcid=4420")
    result = call(nvme_connection, {"nqn": NQN, "traddr": "192.0.2.10"})
    (entry,) = result["connections"]
    assert (result["changed"], entry["controller"], entry["state"], host.lines) == (False, "nvme0", "connecting", [])
    assert [item["severity"] for item in entry["problems"]] == ["warning"]


def test_one_refused_path_does_not_keep_the_other(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = host.kernel_connect

    def connect(line: str) -> str:
        if "traddr=192.0.2.10" in line:
            raise OSError(errno.ECONNREFUSED, "Connection refused")
        return kernel(line)

    monkeypatch.setattr(host, "kernel_connect", connect)
    result = call(nvme_connection, TWO)
    assert (result["failed"], result["changed"], names(host)) == (True, True, ["nvme0"])
    assert [entry["state"] for entry in result["connections"]] == ["absent", "live"]
    assert result["error"]["cause"] == "Connection refused (errno 111)"
    assert [change["name"] for change in result["changes"]] == [f"{NQN} tcp 192.0.2.11:4421"]


def test_controller_that_never_gets_live_is_a_change_and_a_failure(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "at", lambda *_args: None)
    result = call(nvme_connection, {"nqn": NQN, "traddr": "192.0.2.10", "wait_timeout": 2})
    assert (result["failed"], result["changed"], result["connections"][0]["state"]) == (True, True, "connecting")
    assert "nvme0 is connecting after 2 s, not live" in result["msg"]


def test_live_controller_whose_namespace_was_dropped(host: FakeHost) -> None:
    host.controller("nvme0")
    host.namespace("nvme0n1", 1, UUID1, 64 * MIB, ["nvme0"])
    result = call(nvme_connection, {"nqn": NQN, "traddr": "192.0.2.11"})
    (entry,) = result["connections"]
    assert (entry["controller"], entry["namespaces"]) == ("nvme1", 0)
    assert [(item["hop"], item["severity"]) for item in entry["problems"]] == [("namespace", "critical")]
    assert "same nsid, uuid and nguid" in entry["problems"][0]["remedy"]


def test_timeouts_are_set_live_and_the_rest_is_reported(pair: FakeHost) -> None:
    pair.write("sys/class/nvme/nvme0/ctrl_loss_tmo", "600\n")
    wish = {"nqn": NQN, "traddr": "192.0.2.10", "reconnect_delay": 3, "keep_alive_tmo": 9}
    preview, first = call(nvme_connection, wish, check=True), call(nvme_connection, wish)
    assert preview["changes"] == first["changes"]
    assert first["changes"][0]["before"] == {"reconnect_delay": 10, "ctrl_loss_tmo": 600}
    assert pair.read("sys/class/nvme/nvme0/ctrl_loss_tmo") == "-1"
    assert first["connections"][0]["action"] == "updated"
    second = call(nvme_connection, wish)
    assert (second["changed"], second["connections"][0]["action"]) == (False, "none")
    for result in (first, second):
        (entry,) = result["connections"]
        assert entry["differs"] == [{"option": "keep_alive_tmo", "found": 5, "wanted": 9}]
        assert "keep_alive_tmo is 5, not 9" in entry["problems"][0]["problem"]
        assert "keep_alive_tmo is 5, not 9, and cannot be changed live" in result["warned"][0]
    assert pair.lines == []


def test_disconnect_one_path_and_again(pair: FakeHost) -> None:
    wish = {"nqn": NQN, "traddr": "192.0.2.11", "state": "absent"}
    preview = call(nvme_connection, wish, check=True)
    assert names(pair) == ["nvme0", "nvme1"]
    first, second = call(nvme_connection, wish), call(nvme_connection, wish)
    assert [result["changed"] for result in (preview, first, second)] == [True, True, False]
    assert (names(pair), first["connections"][0]["state"], first["connections"][0]["controller"]) == (["nvme0"], "absent", None)


def test_disconnect_the_whole_subsystem(pair: FakeHost) -> None:
    result = call(nvme_connection, {"nqn": NQN, "state": "absent"})
    assert (result["failed"], len(result["changes"]), names(pair)) == (False, 2, [])


@pytest.mark.parametrize("check", [False, True])
def test_last_path_of_a_mounted_device_needs_force(pair: FakeHost, check: bool) -> None:
    pair.write("proc/self/mountinfo", f"30 1 {pair.read('sys/block/nvme0n1/dev').strip()} / /srv rw - ext4 x rw\n")
    both = [{"nqn": NQN, "traddr": traddr, "state": "absent"} for traddr in ("192.0.2.10", "192.0.2.11")]
    result = call(nvme_connection, {"connections": both}, check)
    assert (result["failed"], result["changed"], names(pair)) == (True, False, ["nvme0", "nvme1"])
    assert "mounted at /srv" in result["msg"]
    assert result["error"]["hop"] == "device"
    assert call(nvme_connection, both[0], check)["failed"] is False


def test_force_disconnects_all_the_same(pair: FakeHost) -> None:
    (pair.root / "sys/block/nvme0n1/holders/dm-0").mkdir()
    assert call(nvme_connection, {"nqn": NQN, "state": "absent"})["failed"] is True
    assert call(nvme_connection, {"nqn": NQN, "state": "absent", "force": True})["failed"] is False
    assert names(pair) == []


def test_absent_subsystem_is_absent(pair: FakeHost) -> None:
    result = call(nvme_connection, {"nqn": NQN + "-other", "state": "absent"})
    assert (result["failed"], result["changed"], result["connections"][0]["controller"]) == (False, False, None)


@pytest.mark.parametrize("device", ["/dev/nvme0n1", "nvme0n1", "/dev/nvme0"])
def test_device_instead_of_a_subsystem_is_explained(pair: FakeHost, device: str) -> None:
    result = call(nvme_connection, {"nqn": device, "state": "absent"})
    assert result["failed"] is True
    assert f"name the NQN of its subsystem, {NQN}" in result["msg"]
    assert names(pair) == ["nvme0", "nvme1"]


@pytest.mark.parametrize("name", ["nvme1", "/dev/nvme1"])
def test_disconnect_one_controller_by_name(pair: FakeHost, name: str) -> None:
    wish = {"controller": name, "state": "absent"}
    preview = call(nvme_connection, wish, check=True)
    assert names(pair) == ["nvme0", "nvme1"]
    first, second = call(nvme_connection, wish), call(nvme_connection, wish)
    assert [result["changed"] for result in (preview, first, second)] == [True, True, False]
    assert preview["changes"] == first["changes"]
    assert first["changes"][0]["name"] == f"{NQN} tcp 192.0.2.11:4420"
    (entry,) = first["connections"]
    assert (entry["nqn"], entry["traddr"], entry["state"], entry["controller"], entry["action"]) == (NQN, "192.0.2.11", "absent", None, "disconnected")
    assert (names(pair), second["connections"][0]["state"]) == (["nvme0"], "absent")


def test_last_path_by_controller_needs_force_and_tells_who_uses_it(pair: FakeHost) -> None:
    pair.write("proc/self/mountinfo", f"30 1 {pair.read('sys/block/nvme0n1/dev').strip()} / /srv rw - ext4 x rw\n")
    assert call(nvme_connection, {"controller": "nvme1", "state": "absent"})["failed"] is False
    result = call(nvme_connection, {"controller": "nvme0", "state": "absent"})
    assert (result["failed"], names(pair)) == (True, ["nvme0"])
    assert "last live path of /dev/nvme0n1, which is in use: mounted at /srv" in result["msg"]
    assert call(nvme_connection, {"controller": "nvme0", "state": "absent", "force": True})["failed"] is False
    assert names(pair) == []


def test_a_namespace_is_no_controller_and_who_serves_it_is_told(host: FakeHost) -> None:
    """The trap: nvme3n1 is a namespace of the subsystem with the number 3, and the controller nvme3 belongs to another one."""
    host.controller("nvme1")
    host.controller("nvme2", "192.0.2.11")
    host.controller("nvme3", "192.0.2.12", nqn=NQN + "-other")
    host.namespace("nvme3n1", 1, UUID1, 64 * MIB, ["nvme1", "nvme2"])
    for name in ("nvme3n1", "/dev/nvme3n1", "nvme3n1p2", "nvme3c2n1"):
        for wish in ({"controller": name}, {"nqn": name}, {"connections": [{"controller": name, "state": "absent"}]}):
            result = call(nvme_connection, {"state": "absent", **wish})
            assert (result["failed"], result.get("changed", False)) == (True, False)
            assert "is the device of a namespace" in result["msg"]
            assert "served by nvme1 (tcp 192.0.2.10:4420), nvme2 (tcp 192.0.2.11:4420)" in result["msg"]
            assert "nvme3 may be a controller of another one" in result["msg"] and result["msg"].endswith(NQN)
    assert names(host) == ["nvme1", "nvme2", "nvme3"]


def test_a_local_drive_is_no_connection(host: FakeHost) -> None:
    host.controller("nvme0", transport="pcie", address="0000:01:00.0")
    result = call(nvme_connection, {"controller": "nvme0", "state": "absent"})
    assert result["failed"] is True and "local drive (0000:01:00.0)" in result["msg"]
    assert names(host) == ["nvme0"]


def test_host_without_nqn_fails_in_check_mode_too(host: FakeHost) -> None:
    (host.root / "etc/hostnqn").unlink()
    for check in (True, False):
        result = call(nvme_connection, TWO, check)
        assert (result["failed"], result["changed"]) == (True, False)
        assert "this host has no NQN" in result["msg"]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "name one path"),
        ({"nqn": NQN}, "traddr is missing"),
        ({"controller": "nvme0"}, "can only be made absent"),
        ({"controller": "nvme0", "state": "absent", "nqn": NQN}, "not both"),
        ({"controller": "nvme0", "state": "absent", "traddr": "192.0.2.1"}, "leave nqn and traddr out"),
        ({"controller": "eth0", "state": "absent"}, "is no name such as nvme3"),
        ({"nqn": NQN, "connections": []}, "not both"),
        ({"nqn": "cnode1", "traddr": "192.0.2.1"}, "is not an NQN"),
        ({"nqn": NQN + ",hostnqn=x", "traddr": "192.0.2.1"}, "no blank or comma"),
        ({"nqn": "nqn." + 230 * "x", "traddr": "192.0.2.1"}, "223"),
        ({"nqn": NQN, "traddr": "target1"}, "is not an IP address"),
        ({"nqn": NQN, "traddr": "192.0.2.1,nr_io_queues=1"}, "is not an IP address"),
        ({"nqn": NQN, "traddr": "fe80::1%eth0,x=y"}, "scope"),
        ({"nqn": NQN, "traddr": "192.0.2.1", "host_traddr": "999.0.0.1"}, "is not an IP address"),
        ({"nqn": NQN, "traddr": "192.0.2.1", "hostnqn": "me"}, "is not an NQN"),
        ({"nqn": NQN, "traddr": "192.0.2.1", "trsvcid": "http"}, "is not a port"),
        ({"nqn": NQN, "traddr": "192.0.2.1", "trsvcid": 70000}, "is not a port"),
        ({"nqn": NQN, "traddr": "192.0.2.1", "transport": "fc"}, "transport"),
        ({"nqn": NQN, "traddr": "192.0.2.1", "ctrl_loss_tmo": -2}, "out of range"),
        ({"nqn": NQN, "traddr": "192.0.2.1", "reconnect_delay": 0}, "out of range"),
        ({"nqn": NQN, "traddr": "192.0.2.1", "nr_io_queues": 0}, "out of range"),
        ({"nqn": NQN, "traddr": "192.0.2.1", "keep_alive_tmo": "long"}, "keep_alive_tmo"),
        ({"nqn": NQN, "traddr": "192.0.2.1", "ctrl_loss_tmo": 10, "fast_io_fail_tmo": 20}, "later than ctrl_loss_tmo"),
        ({"nqn": NQN, "traddr": "192.0.2.1", "wait_timeout": 0}, "less than a second"),
        ({"connections": [{"traddr": "192.0.2.1"}]}, "nqn"),
    ],
)
def test_bad_input_is_refused_before_anything(host: FakeHost, params: dict[str, t.Any], words: str) -> None:
    result = call(nvme_connection, params)
    assert result["failed"] is True
    assert words in result["msg"]
    assert (host.lines, names(host)) == ([], [])


def secured(host: FakeHost) -> dict[str, t.Any]:
    """A path with keys for both sides, and a target that asks for them."""
    host.authenticates = ["nvme {name}: qid 0: authenticated with hash hmac(sha256) dhgroup null", "nvme {name}: qid 0: controller authenticated"]
    return {"nqn": NQN, "traddr": "192.0.2.10", "dhchap_secret_file": host.key("host", DHCHAP), "dhchap_ctrl_secret_file": host.key("target", DHCHAP)}


def test_keys_reach_the_kernel_and_nothing_else(host: FakeHost) -> None:
    wish = {"connections": [secured(host)], "persistent_file": str(host.root / "etc/connections")}
    preview = call(nvme_connection, wish, check=True)
    first = call(nvme_connection, wish)
    second = call(nvme_connection, wish)
    assert DHCHAP in host.lines[0]
    assert DHCHAP not in str([preview, first, second]) + host.read("etc/connections")
    assert [result["changed"] for result in (preview, first, second)] == [True, True, False]
    assert [result["connections"][0]["authenticated"] for result in (preview, first, second)] == [None, "both", "both"]
    assert (preview["changes"], preview["diff"]) == (first["changes"], first["diff"])
    assert f"dhchap_secret_file={host.root}/keys/host" in host.read("etc/connections")


def test_file_for_the_boot_holds_the_present_paths_of_the_call(host: FakeHost) -> None:
    file = host.root / "etc/connections"
    wish = {"connections": [*TWO["connections"], {"nqn": NQN, "traddr": "192.0.2.12", "state": "absent"}], "persistent_file": str(file)}
    call(nvme_connection, wish)
    lines = file.read_text().splitlines()
    assert lines[1:] == [
        f"transport=tcp,traddr=192.0.2.10,trsvcid=4420,nqn={NQN},ctrl_loss_tmo=-1,reconnect_delay=10,keep_alive_tmo=5",
        f"transport=tcp,traddr=192.0.2.11,trsvcid=4421,nqn={NQN},ctrl_loss_tmo=-1,reconnect_delay=10,keep_alive_tmo=5",
    ]
    assert file.stat().st_mode & 0o777 == 0o600
    result = call(nvme_connection, {"connections": [], "persistent_file": str(file)})
    assert [(change["kind"], change["action"]) for change in result["changes"]] == [("file", "update")]
    assert len(file.read_text().splitlines()) == 1


def test_file_for_the_boot_is_written_when_a_target_is_down(host: FakeHost) -> None:
    host.refuse = errno.ECONNREFUSED
    file = host.root / "etc/connections"
    result = call(nvme_connection, {**TWO, "persistent_file": str(file)})
    assert (result["failed"], result["changed"], len(file.read_text().splitlines())) == (True, True, 3)


def test_path_without_the_security_asked_for_is_refused(host: FakeHost) -> None:
    host.controller("nvme0", dhchap_secret="none", dhchap_ctrl_secret="none")
    for wish, words in (
        (secured(host), "this host was not authenticated and the target"),
        ({"nqn": NQN, "traddr": "192.0.2.10", "tls": True}, "not encrypted"),
    ):
        result = call(nvme_connection, wish)
        assert (result["failed"], result["changed"]) == (True, False)
        assert words in result["msg"]


def test_unreadable_key_is_refused_in_check_mode_too(host: FakeHost) -> None:
    for check in (True, False):
        result = call(nvme_connection, {"nqn": NQN, "traddr": "192.0.2.10", "dhchap_secret_file": host.key("host", "no key")}, check)
        assert "holds no valid key" in result["msg"]
    assert host.lines == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"hostid": "5"}, "is not a UUID"),
        ({"dhchap_secret_file": "/a,b"}, "without blank and comma"),
        ({"dhchap_ctrl_secret_file": "/a"}, "needs dhchap_secret_file"),
        ({"tls_psk_file": "/a"}, "needs tls"),
        ({"tls": True, "transport": "rdma"}, "needs transport tcp"),
    ],
)
def test_security_options_that_do_not_fit(host: FakeHost, more: dict[str, t.Any], words: str) -> None:
    result = call(nvme_connection, {"nqn": NQN, "traddr": "192.0.2.10", **more})
    assert result["failed"] is True
    assert words in result["msg"]
    assert host.lines == []
