# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole declarative surface of a target, by the real modules as processes against the simulator as a process."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest
from simulator_process import ROOT, Simulator

sys.path.insert(0, str(ROOT / "tests"))

from module_runner import run_module

NQN = "nqn.2026-01.org.example:vols"
HOST_A = "nqn.2014-08.org.nvmexpress:uuid:11111111-1111-4111-8111-111111111111"
HOST_B = "nqn.2026-01.org.example:host-b"
UUID = "0a1b2c3d-0000-4000-8000-00000000000"
SECRET = "NVMeTLSkey-1:01:MDAxMTIyMzM0NDU1NjY3Nzg4OTlhYWJiY2NkZGVlZmZwJEiQ:"


class Played:
    """One simulator, and the modules that are run against it."""

    def __init__(self, directory: Path, release: str) -> None:
        self.directory, self.keyring = directory, release >= "24.05"
        self.control = str(directory / "control")
        options = ("--sim-release", release)
        self.simulator = Simulator(directory, *options, memory={"pools": {}}, environment={"SPDK_SIM_CONTROL": self.control})
        old = release < "19.10"
        self.config_call = "get_subsystem_config" if old else "framework_get_config"
        create = "construct_null_bdev" if old else "bdev_null_create"
        for number in range(4):
            self.simulator.call(create, {"name": f"v{number}", "uuid": f"{UUID}{number}", "num_blocks": 2048, "block_size": 512})

    def run(self, module: str, check: bool = False, **params: Any) -> dict[str, Any]:
        result = run_module(module, {"socket": str(self.simulator.socket), "timeout": 20, **params}, check=check, diff=True)
        assert SECRET not in json.dumps(result)
        return result

    def settle(self, module: str, **params: Any) -> dict[str, Any]:
        """Check mode and the real run agree, and a second run changes nothing."""
        before = self.state()
        checked = self.run(module, check=True, **params)
        assert self.state() == before
        done = self.apply(module, **params)
        for part in ("changed", "changes", "diff", "rpc_calls"):
            assert checked[part] == done[part], part
        return done

    def apply(self, module: str, **params: Any) -> dict[str, Any]:
        """A second run changes nothing."""
        done = self.run(module, **params)
        assert not done["failed"], done["msg"]
        again = self.run(module, **params)
        assert not again["failed"] and again["changed"] is False and again["rpc_calls"] == [], again
        return done

    def refused(self, module: str, **params: Any) -> str:
        """The sentence of a run that failed and sent nothing."""
        before = self.state()
        result = self.run(module, **params)
        assert result["failed"] and result["changed"] is False and result["rpc_calls"] == [] and result["error"]["remedy"], result
        assert self.state() == before
        return str(result["msg"])

    def state(self) -> Any:
        parts = [self.simulator.call(self.config_call, {"name": "nvmf"})]
        if self.keyring:
            parts.append(self.simulator.call("keyring_get_keys"))
        return parts

    def info(self) -> dict[str, Any]:
        result = self.run("spdk_target_info", images=False)
        assert not result["failed"], result
        return dict(result["target"])

    def connected(self, *hosts: str) -> None:
        """Let hosts show as connected."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(self.control + ".client")
            sock.settimeout(10)
            sock.sendto(json.dumps({"controllers": {NQN: hosts}}).encode(), self.control)
            sock.recv(65536)
        (self.directory / "control.client").unlink()


@pytest.fixture
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Start a simulator of a release."""
    started = []

    def start(release: str = "26.05") -> Played:
        played = Played(tmp_path_factory.mktemp("s"), release)
        started.append(played)
        return played

    yield start
    for played in started:
        played.simulator.stop()


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """Make a key's file: its path."""

    def make(name: str, mode: int = 0o600) -> str:
        path = tmp_path / name
        path.write_text(SECRET)
        path.chmod(mode)
        return str(path)

    return make


def port() -> str:
    """A free port of the loopback interface."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return str(sock.getsockname()[1])


def test_everything_is_created_changed_and_removed(play: Any, file: Any) -> None:
    target = play()
    plain, secure, referral = port(), port(), port()
    target.settle("nvmf_transport", trtype="TCP", options={"max_io_size": 131072, "c2h_success": True})
    keys = [{"name": name, "path": file(name)} for name in ("psk-a", "psk-b", "dh-a", "dh-b", "dh-ctrl")]
    target.settle("spdk_keyring", keys=keys)
    target.settle("nvmf_referral", referrals=[{"traddr": "192.0.2.11", "trsvcid": referral}, {"traddr": "fd00::1", "secure_channel": True}])
    hosts: list[Any] = [{"nqn": HOST_A, "psk": "psk-a", "dhchap_key": "dh-a", "dhchap_ctrlr_key": "dh-ctrl"}, HOST_B]
    groups = [{"anagrpid": 3, "ana_state": "inaccessible"}]
    listeners = [
        {"traddr": "127.0.0.1", "trsvcid": plain, "ana_state": "non_optimized", "ana_states": groups},
        {"traddr": "127.0.0.1", "trsvcid": secure, "secure_channel": True, "sock_impl": "ssl"},
    ]
    namespaces = [
        {"bdev": "v0", "nsid": 1, "anagrpid": 2},
        {"bdev": "v1", "nsid": 3, "auto_visible": False, "hosts": [HOST_A], "eui64": "abcdef0123456789", "ptpl_file": "/run/ptpl-v1"},
    ]
    wish = {"nqn": NQN, "ana_reporting": True, "max_namespaces": 8, "hosts": hosts, "listeners": listeners, "namespaces": namespaces, "purge": True}
    done = target.settle("nvmf_subsystem", **wish)
    info = target.info()
    assert {key["name"]: key["users"] for key in info["keys"]} == {"psk-a": 1, "psk-b": 0, "dh-a": 1, "dh-b": 0, "dh-ctrl": 1}
    assert [(entry["adrfam"], entry["secure_channel"]) for entry in info["referrals"]] == [("IPv4", False), ("IPv6", True)]
    (subsystem,) = info["subsystems"]
    assert {key: done["subsystems"][0][key] for key in ("namespaces", "host_keys", "listeners")} == {
        key: subsystem[key] for key in ("namespaces", "host_keys", "listeners")
    }
    assert {"nqn": HOST_A, "psk": "psk-a", "dhchap_key": "dh-a", "dhchap_ctrlr_key": "dh-ctrl"} in subsystem["host_keys"]
    assert [(entry["anagrpid"], entry["auto_visible"], entry["hosts"], entry["ptpl_file"]) for entry in subsystem["namespaces"]] == [
        (2, True, [], None),
        (3, False, [HOST_A], "/run/ptpl-v1"),
    ]
    by_port = {entry["trsvcid"]: entry for entry in subsystem["listeners"]}
    assert (by_port[secure]["secure_channel"], by_port[secure]["sock_impl"], by_port[plain]["secure_channel"]) == (True, "ssl", False)
    assert by_port[plain]["ana_states"][1:4] == [{"anagrpid": group, "ana_state": state} for group, state in _states("non_optimized", "inaccessible")]

    # live changes while the host is connected
    target.connected(HOST_A)
    hosts[0] = {**hosts[0], "dhchap_key": "dh-b"}
    namespaces[0]["anagrpid"] = 5
    namespaces.append({"bdev": "v2", "nsid": 4})
    assert [call["method"] for call in target.settle("nvmf_subsystem", **wish)["rpc_calls"]] == [
        "nvmf_subsystem_set_keys",
        "nvmf_subsystem_add_ns",
        "nvmf_subsystem_set_ns_ana_group",
    ]
    # what would take something from it
    assert HOST_A in target.refused("nvmf_subsystem", **{**wish, "hosts": [{**hosts[0], "psk": "psk-b"}, HOST_B]})
    assert HOST_A in target.refused("nvmf_subsystem", **{**wish, "namespaces": namespaces[:2]})
    assert HOST_A in target.refused("nvmf_subsystem", **{**wish, "listeners": listeners[:1]})
    assert HOST_A in target.refused("nvmf_subsystem", nqn=NQN, namespaces=[{**namespaces[1], "hosts": []}], purge=True)
    assert HOST_A in target.refused("nvmf_subsystem", nqn=NQN, state="absent")
    assert "another volume" in target.refused("nvmf_subsystem", nqn=NQN, namespaces=[{"bdev": "v3", "nsid": 1}])
    assert "another volume" in target.refused("nvmf_subsystem", nqn=NQN, namespaces=[{"bdev": "v0", "nsid": 1, "uuid": f"{UUID}9"}])
    assert "already namespace 1" in target.refused("nvmf_subsystem", nqn=NQN, namespaces=[{"bdev": "v0", "nsid": 7}])
    assert "only when it adds" in target.refused("nvmf_subsystem", nqn=NQN, listeners=[{**listeners[1], "secure_channel": False}])
    assert "only when it adds" in target.refused("nvmf_subsystem", nqn=NQN, namespaces=[{"bdev": "v0", "auto_visible": False}])
    assert "allows any host" in target.refused("nvmf_subsystem", nqn=NQN, allow_any_host=True)
    assert "no key none" in target.refused("nvmf_subsystem", nqn=NQN, hosts=[{"nqn": HOST_B, "psk": "none"}])
    assert HOST_A in target.refused("spdk_keyring", name="psk-a", state="absent")
    assert "0644" in target.refused("spdk_keyring", name="k", path=file("open", 0o644))
    assert "does not exist" in target.refused("spdk_keyring", name="k", path="/nowhere/key")
    assert "max_io_size" in target.refused("nvmf_transport", trtype="TCP", options={"max_io_size": 65536})
    # ... and does, by force
    target.settle("nvmf_subsystem", **{**wish, "hosts": [{**hosts[0], "psk": "psk-b"}, HOST_B]}, force=True)
    target.settle("nvmf_subsystem", nqn=NQN, listeners=[{**listeners[0], "secure_channel": True}], force=True)
    target.settle("nvmf_subsystem", nqn=NQN, namespaces=[{"bdev": "v3", "nsid": 1}, {"bdev": "v0", "nsid": 5}], force=True)
    assert [(entry["nsid"], entry["bdev"]) for entry in target.info()["subsystems"][0]["namespaces"]] == [(1, "v3"), (3, "v1"), (4, "v2"), (5, "v0")]
    target.connected()
    # an end
    target.settle("nvmf_referral", referrals=[], purge=True)
    target.settle("nvmf_subsystem", subsystems=[{"nqn": NQN, "state": "absent"}])
    target.settle("spdk_keyring", keys=[], purge=True)
    info = target.info()
    assert info["keys"] == info["referrals"] == info["subsystems"] == []


def _states(*words: str) -> list[tuple[int, str]]:
    """Group 2, 3 and 4: the middle one differs."""
    return [(2, words[0]), (3, words[1]), (4, words[0])]


#: Release -> what it has of: ANA and its groups, PSKs, secure listeners, referrals, keys of DH-HMAC-CHAP, masked namespaces.
RELEASES = {
    "19.01": "",
    "20.10": "ana",
    "23.05": "ana groups psk secure",
    "24.05": "ana groups psk secure referral dhchap masked",
    "26.09": "ana groups psk secure referral dhchap masked",
}


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_takes_what_it_has_and_refuses_the_rest(play: Any, file: Any, release: str) -> None:
    target, has = play(release), RELEASES[release].split()
    key = file("k")
    target.apply("nvmf_transport", trtype="TCP")
    if "dhchap" in has:
        target.apply("spdk_keyring", name="k", path=key)
    else:
        assert "24.05" in target.refused("spdk_keyring", name="k", path=key)
    where = {"traddr": "127.0.0.1", "trsvcid": port()}
    target.apply("nvmf_subsystem", nqn=NQN, hosts=[HOST_B], listeners=[where], namespaces=[{"bdev": "v0", "nsid": 1}], ana_reporting="ana" in has or None)
    psk = "k" if "dhchap" in has else key
    wishes: dict[str, tuple[str, dict[str, Any]]] = {
        "psk": ("23.05", {"hosts": [{"nqn": HOST_A, "psk": psk}]}),
        "dhchap": ("24.05", {"hosts": [{"nqn": HOST_A, "dhchap_key": "k"}]}),
        "secure": ("23.05", {"listeners": [{"traddr": "127.0.0.1", "trsvcid": port(), "secure_channel": True}]}),
        "masked": ("24.05", {"namespaces": [{"bdev": "v1", "nsid": 2, "auto_visible": False, "hosts": [HOST_B]}]}),
        "groups": ("21.10", {"listeners": [{**where, "ana_states": [{"anagrpid": 2, "ana_state": "inaccessible"}]}]}),
        "ana": ("20.10", {"listeners": [{**where, "ana_state": "non_optimized"}]}),
    }
    for what, (since, wish) in wishes.items():
        if what in has:
            target.apply("nvmf_subsystem", nqn=NQN, **wish)
        elif what in ("ana", "groups") and "ana" not in has:
            assert "ANA" in target.refused("nvmf_subsystem", nqn=NQN, **wish)
        else:
            assert since in target.refused("nvmf_subsystem", nqn=NQN, **wish)
    referral = {"traddr": "192.0.2.11", "trsvcid": "8009"}
    if "referral" in has:
        target.apply("nvmf_referral", **referral)
    else:
        assert "24.01" in target.refused("nvmf_referral", **referral)
    # before 20.10 nobody can tell who is connected
    if "ana" not in has:
        assert "cannot tell" in target.refused("nvmf_subsystem", nqn=NQN, state="absent")
    assert target.info()["subsystems"][0]["nqn"] == NQN
    target.apply("nvmf_subsystem", nqn=NQN, state="absent", force="ana" not in has)
