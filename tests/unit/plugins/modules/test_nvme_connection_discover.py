# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module nvme_connection with discovery services."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.nvmeof.spdk.plugins.module_utils import _nvme_cli_files
from ansible_collections.nvmeof.spdk.plugins.modules import nvme_connection
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.call import call
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.fake_host import NQN, FakeHost

OTHER = "nqn.2016-06.io.spdk:other"
BOTH = {"discover": [{"traddr": "192.0.2.1"}, {"traddr": "192.0.2.2", "trsvcid": "4420"}]}


def record(nqn: str, traddr: str) -> dict[str, t.Any]:
    return {"transport": "tcp", "kind": "subsystem", "secure": False, "trsvcid": "4420", "nqn": nqn, "traddr": traddr}


@pytest.fixture(name="host")
def _host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    host = FakeHost(tmp_path)
    host.logs = {
        ("192.0.2.1", "8009"): [record(NQN, "192.0.2.1"), record(OTHER, "192.0.2.1")],
        ("192.0.2.2", "4420"): [record(NQN, "192.0.2.2")],
    }
    monkeypatch.setattr(nvme_connection, "SysfsNvme", lambda: host.sysfs)
    monkeypatch.setattr(nvme_connection, "Connector", host.connector)
    monkeypatch.setattr(_nvme_cli_files, "installed", lambda: 2)
    return host


def connected(host: FakeHost) -> list[tuple[str, str]]:
    return [(item["nqn"], item["traddr"]) for item in host.sysfs.controllers()]


def test_all_that_is_named_is_connected_once(host: FakeHost) -> None:
    preview = call(nvme_connection, BOTH, check=True)
    # the services were asked and left again
    assert (connected(host), len(host.lines)) == ([], 2)
    first, second = call(nvme_connection, BOTH), call(nvme_connection, BOTH)
    assert [result["changed"] for result in (preview, first, second)] == [True, True, False]
    assert (preview["changes"], preview["diff"]) == (first["changes"], first["diff"])
    assert connected(host) == [(NQN, "192.0.2.1"), (OTHER, "192.0.2.1"), (NQN, "192.0.2.2")]
    assert [entry["state"] for entry in second["connections"]] == ["live"] * 3
    assert [[path["nqn"] for path in one["found"]] for one in second["discovered"]] == [[NQN, OTHER], [NQN]]
    documented = yaml.safe_load(nvme_connection.RETURN)
    assert set(first["discovered"][0]) == set(documented["discovered"]["sample"][0])
    assert set(first["discovered"][0]["found"][0]) == set(documented["discovered"]["sample"][0]["found"][0])


def test_a_service_is_asked_without_keys_and_the_paths_have_them(host: FakeHost) -> None:
    key = host.key("host", "DHHC-1:01:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+KfiaR:")
    host.authenticates = ["nvme {name}: qid 0: authenticated with hash hmac(sha256) dhgroup null"]
    service = {"traddr": "192.0.2.2", "trsvcid": 4420, "host_traddr": "192.0.2.20", "dhchap_secret_file": key, "reconnect_delay": 3}
    assert call(nvme_connection, {"discover": [service]})["failed"] is False
    asked, made = host.lines
    assert "nqn=nqn.2014-08.org.nvmexpress.discovery,host_traddr=192.0.2.20" in asked
    assert "dhchap" not in asked and asked.endswith("ctrl_loss_tmo=10,reconnect_delay=2")
    assert f"nqn={NQN},host_traddr=192.0.2.20" in made and "dhchap_secret=DHHC-1" in made and "reconnect_delay=3" in made


def test_patterns_choose_and_what_the_task_says_of_a_path_goes_before(host: FakeHost) -> None:
    wish = {
        "discover": [{"traddr": "192.0.2.1", "nqns": ["*cnode?", "*:other"]}],
        "connections": [{"nqn": NQN, "traddr": "192.0.2.1", "reconnect_delay": 4}, {"nqn": OTHER, "state": "absent"}],
    }
    result = call(nvme_connection, wish)
    assert (result["failed"], connected(host)) == (False, [(NQN, "192.0.2.1")])
    assert "reconnect_delay=4" in host.lines[-1]
    only = call(nvme_connection, {"discover": [{"traddr": "192.0.2.1", "nqns": ["*:oth*"]}]})
    assert [path["chosen"] for path in only["discovered"][0]["found"]] == [False, True]
    assert len(only["connections"]) == 1


def test_a_service_that_names_nothing_wanted_is_an_error(host: FakeHost) -> None:
    for check in (True, False):
        result = call(nvme_connection, {"discover": [{"traddr": "192.0.2.1", "nqns": ["nqn.*:mine"]}]}, check)
        assert (result["failed"], result["changed"], connected(host)) == (True, False, [])
        assert "names no subsystem that matches nqn.*:mine" in result["msg"]
        assert NQN in result["error"]["cause"]


def test_a_service_that_is_down_does_not_keep_the_others(host: FakeHost) -> None:
    host.logs["192.0.2.1", "8009"] = "no answer"
    result = call(nvme_connection, {**BOTH, "persistent_file": str(host.root / "etc/connections")})
    assert (result["failed"], result["changed"], connected(host)) == (True, True, [(NQN, "192.0.2.2")])
    assert result["discovered"][0]["error"]["cause"] == "no answer" and result["discovered"][1]["error"] is None
    # it will be asked at boot all the same
    assert host.read("etc/connections").count("discover,") == 2


def test_a_log_that_makes_no_sense_is_told_and_the_rest_connected(host: FakeHost) -> None:
    host.logs["192.0.2.1", "8009"].append(record("nqn.x,tls", "192.0.2.1"))
    result = call(nvme_connection, BOTH)
    assert (result["failed"], len(connected(host))) == (True, 3)
    assert "discovery at tcp 192.0.2.1:8009: its log makes no sense" in result["msg"]


def test_without_the_kernel_module_check_mode_tells_that_it_cannot_ask(host: FakeHost) -> None:
    (host.root / "dev/nvme-fabrics").unlink()
    result = call(nvme_connection, BOTH, check=True)
    assert (result["failed"], result["connections"], host.lines) == (False, [], [])
    assert "no discovery service can be asked" in result["warned"][0]


def test_the_file_of_the_boot_has_the_service_not_what_it_names_now(host: FakeHost) -> None:
    file = host.root / "etc/connections"
    wish = {
        "connections": [{"nqn": OTHER, "traddr": "192.0.2.9"}],
        "discover": [{"traddr": "192.0.2.1", "nqns": ["*:cnode*", "*b"], "fast_io_fail_tmo": 20}],
        "persistent_file": str(file),
    }
    # the connect line of this made-up kernel does not set fast_io_fail_tmo, so it is set afterwards
    assert [call(nvme_connection, wish)["failed"] for _again in range(3)] == [False] * 3
    assert call(nvme_connection, wish)["changed"] is False
    assert file.read_text().splitlines()[1:] == [
        f"transport=tcp,traddr=192.0.2.9,trsvcid=4420,nqn={OTHER},ctrl_loss_tmo=-1,reconnect_delay=10,keep_alive_tmo=5",
        "discover,nqns=*:cnode*|*b,transport=tcp,traddr=192.0.2.1,trsvcid=8009,ctrl_loss_tmo=-1,reconnect_delay=10,keep_alive_tmo=5,fast_io_fail_tmo=20",
    ]


def test_files_of_nvme_cli_2_keep_what_others_wrote(host: FakeHost) -> None:
    host.write("etc/discovery.conf", "# mine\n--transport=tcp --traddr=192.0.2.99\n")
    wish = {**BOTH, "nvme_cli_files": True}
    preview = call(nvme_connection, wish, check=True)
    assert "BEGIN" not in host.read("etc/discovery.conf")
    first, second = call(nvme_connection, wish), call(nvme_connection, wish)
    assert [preview["changed"], first["changed"], second["changed"]] == [True, True, False]
    assert host.read("etc/discovery.conf").splitlines() == [
        "# mine",
        "--transport=tcp --traddr=192.0.2.99",
        "# BEGIN nvmeof.spdk",
        "--transport=tcp --traddr=192.0.2.1 --trsvcid=8009 --ctrl-loss-tmo=-1 --reconnect-delay=10 --keep-alive-tmo=5",
        "--transport=tcp --traddr=192.0.2.2 --trsvcid=4420 --ctrl-loss-tmo=-1 --reconnect-delay=10 --keep-alive-tmo=5",
        "# END nvmeof.spdk",
    ]
    assert not (host.root / "etc/nvme-fabrics.conf.d").exists()
    call(nvme_connection, {"discover": [], "nvme_cli_files": True})
    assert host.read("etc/discovery.conf") == "# mine\n--transport=tcp --traddr=192.0.2.99\n"


def test_files_of_nvme_cli_3_and_the_change_from_2(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    call(nvme_connection, {**BOTH, "nvme_cli_files": True})
    monkeypatch.setattr(_nvme_cli_files, "installed", lambda: 3)
    wish = {"discover": BOTH["discover"], "nvme_cli_files": True}
    first, second = call(nvme_connection, wish), call(nvme_connection, wish)
    files = [(pathlib.Path(change["name"]).name, change["action"]) for change in first["changes"] if change["kind"] == "file"]
    assert files == [("discovery.conf", "delete"), ("nvmeof-spdk.conf", "create")]
    assert second["changed"] is False
    assert host.read("etc/nvme-fabrics.conf.d/nvmeof-spdk.conf").splitlines()[1:] == [
        "",
        "[I/O Controller Defaults]",
        "ctrl-loss-tmo = -1",
        "reconnect-delay = 10",
        "keep-alive-tmo = 5",
        "",
        "[Discovery Controller]",
        "controller = transport=tcp;traddr=192.0.2.1;trsvcid=8009",
        "controller = transport=tcp;traddr=192.0.2.2;trsvcid=4420",
    ]
    call(nvme_connection, {"discover": [], "nvme_cli_files": True})
    assert not (host.root / "etc/nvme-fabrics.conf.d/nvmeof-spdk.conf").exists()


@pytest.mark.parametrize(("printed", "release"), [(b"nvme version 2.3 (git 2.3)\nlibnvme version 1.3\n", 2), (b"nvme version 3.0\n", 3), (b"?", None)])
def test_release_of_nvme_cli(printed: bytes, release: int | None) -> None:
    class Done:
        stdout = printed

    assert INSTALLED(lambda *_args, **_more: Done()) == release


def test_no_nvme_cli() -> None:
    def absent(*_args: t.Any, **_more: t.Any) -> t.Any:
        raise FileNotFoundError(2, "No such file")

    assert INSTALLED(absent) is None


#: Before the fixture replaces it.
INSTALLED = _nvme_cli_files.installed


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"discover": [{"nqns": ["*"]}]}, "traddr"),
        ({"discover": [{"traddr": "target1"}]}, "is not an IP address"),
        ({"discover": [{"traddr": "192.0.2.1", "nqns": []}]}, "is empty"),
        ({"discover": [{"traddr": "192.0.2.1", "nqns": ["a|b"]}]}, "no pattern"),
        ({"discover": [{"traddr": "192.0.2.1", "nqns": ["a,tls"]}]}, "no pattern"),
        ({"discover": [{"traddr": "192.0.2.1", "tls_psk_file": "/k"}]}, "needs tls"),
        ({"discover": [{"traddr": "192.0.2.1", "nqns": ["a*"]}], "nvme_cli_files": True}, "leave its nqns out"),
        ({"discover": [{"traddr": "192.0.2.1"}, {"traddr": "192.0.2.2", "reconnect_delay": 3}], "nvme_cli_files": True}, "one reconnect_delay for all"),
        ({"discover": [{"traddr": "192.0.2.1", "dhchap_secret_file": "/k"}], "nvme_cli_files": True}, "keys and tls"),
    ],
)
def test_bad_input_is_refused_before_anything(host: FakeHost, params: dict[str, t.Any], words: str) -> None:
    result = call(nvme_connection, params)
    assert result["failed"] is True and words in result["msg"]
    assert host.lines == []
