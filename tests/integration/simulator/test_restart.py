# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A declared state survives SIGKILL: deployed by the modules, written as start-up file, read back the same, every drift named."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._startup_config import render
from simulator_process import ROOT, Simulator, tell

sys.path.insert(0, str(ROOT / "tests"))

from module_runner import run_module

MIB = 1024 * 1024
NQN = "nqn.2016-06.io.spdk:kept"
HOST = "nqn.2014-08.org.nvmexpress:uuid:11111111-1111-4111-8111-111111111111"
OTHER = "nqn.2014-08.org.nvmexpress:uuid:22222222-2222-4222-8222-222222222222"
UUIDS = {name: f"0a1b2c3d-0000-4000-8000-00000000000{number}" for number, name in enumerate(("vol-1", "vol-2", "vol-3"), start=1)}
PORTS = ("24521", "24522")


class Deployed:
    """A simulator that runs with the start-up file, and the declared state of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "etc" / "spdk_tgt.json"
        (directory / "ceph.conf").write_text("")
        key = directory / "tls.key"
        key.write_text("NVMeTLSkey-1:01:MDAxMTIyMzM0NDU1NjY3Nzg4OTlhYWJiY2NkZGVlZmZwJEiQ:\n")
        key.chmod(0o600)
        (directory / "ceph.json").write_text(json.dumps({"users": ["admin", "spdk"], "pools": {"pool-1": dict.fromkeys(UUIDS, 64 * MIB)}}))
        self.declared: dict[str, Any] = {
            "keys": [{"name": "tls-1", "path": str(key)}],
            "clusters": [{"name": "ceph", "user": "spdk", "config_file": str(directory / "ceph.conf")}],
            "config_defaults": {"client_mount_timeout": 30},
            "bdevs": [
                {"name": "vol-1", "pool": "pool-1", "image": "vol-1", "cluster": "ceph", "uuid": UUIDS["vol-1"], "qos": {"rw_ios_per_sec": 1500}},
                {"name": "vol-2", "pool": "pool-1", "image": "vol-2", "cluster": "ceph", "uuid": UUIDS["vol-2"], "read_only": True},
                {"name": "vol-3", "pool": "pool-1", "image": "vol-3", "cluster": "ceph", "uuid": UUIDS["vol-3"]},
            ],
            "transports": [{"trtype": "TCP", "options": {"max_io_size": 262144}}],
            "referrals": [{"traddr": "192.0.2.9", "trsvcid": "8009"}],
            "max_subsystems": 64,
            "nvmf_config": {"discovery_filter": "address"},
            "crdt": [1, 2, 3],
            "subsystems": [
                {
                    "nqn": NQN,
                    "serial_number": "KEPT",
                    "max_namespaces": 16,
                    "ana_reporting": True,
                    "min_cntlid": 1,
                    "max_cntlid": 500,
                    "hosts": [{"nqn": HOST, "psk": "tls-1"}, OTHER],
                    "listeners": [
                        {
                            "traddr": "127.0.0.1",
                            "trsvcid": PORTS[0],
                            "ana_state": "non_optimized",
                            "ana_states": [{"anagrpid": 3, "ana_state": "inaccessible"}],
                        },
                        {"traddr": "127.0.0.1", "trsvcid": PORTS[1], "secure_channel": True, "sock_impl": "ssl"},
                    ],
                    "namespaces": [
                        {"bdev": "vol-1", "eui64": "0011223344556677"},
                        {"bdev": "vol-2", "nsid": 2, "nguid": "0a1b2c3d0000400080000000000000ff", "auto_visible": False, "hosts": [HOST]},
                        {"bdev": "vol-3", "nsid": 7, "anagrpid": 3, "ptpl_file": str(directory / "ptpl.json")},
                    ],
                }
            ],
        }
        self.found: dict[str, Any] = {"release": {"major": 26, "minor": 5}}
        self.target: Simulator | None = None

    def start(self, *options: str) -> Simulator:
        environment = {"SPDK_SIM_BACKEND": "memory", "SPDK_SIM_MEMORY_FILE": str(self.directory / "ceph.json")}
        environment["SPDK_SIM_CONTROL"] = str(self.directory / "control")
        self.target = Simulator(self.directory, "--json", str(self.file), *options, environment=environment)
        return self.target

    def kill(self) -> None:
        """As a crash ends it: no file is written, nothing is said goodbye to."""
        assert self.target is not None
        self.target.process.kill()
        self.target.process.wait(timeout=20)
        self.target = None

    def call(self, method: str, params: Any = None) -> Any:
        assert self.target is not None
        return self.target.call(method, params)

    def module(self, name: str, params: dict[str, Any], check: bool = False) -> dict[str, Any]:
        where = {"socket": str(self.directory / "spdk.sock"), "timeout": 20}
        return run_module(name, {**where, **params}, check=check, diff=True)

    def config(self, check: bool = False, **params: Any) -> dict[str, Any]:
        return self.module("spdk_config", {"config": render(self.declared, self.found), "path": str(self.file), **params}, check)

    def everything(self) -> list[Any]:
        """All that the target shows."""
        return [
            self.call("bdev_get_bdevs"),
            self.call("bdev_rbd_get_clusters_info"),
            self.call("nvmf_get_transports"),
            self.call("nvmf_get_subsystems"),
            self.call("nvmf_subsystem_get_listeners", {"nqn": NQN}),
            self.call("nvmf_discovery_get_referrals"),
            [self.call("framework_get_config", {"name": name}) for name in ("keyring", "bdev", "nvmf")],
        ]


@pytest.fixture
def deployed(tmp_path_factory: pytest.TempPathFactory):
    """An empty file written by the module, a target started from it, the declared state applied by modules, the file written."""
    state = Deployed(tmp_path_factory.mktemp("r"))
    empty = {"config": {"subsystems": []}, "path": str(state.file), "state": "written", "live": False, "replace": False}
    assert state.module("spdk_config", empty)["changed"]
    assert not state.module("spdk_config", empty)["changed"]
    state.start()
    apply(state)
    yield state
    if state.target is not None:
        state.target.stop()


def apply(state: Deployed) -> None:
    """What the role does."""
    declared = state.declared
    bdevs = state.module(
        "spdk_rbd_bdev",
        {
            "clusters": declared["clusters"],
            "bdevs": declared["bdevs"],
            "config_defaults": declared["config_defaults"],
            "ceph_conf": str(state.directory / "absent"),
        },
    )
    assert not bdevs["failed"], bdevs
    state.found.update(bdevs=bdevs["bdevs"], release=bdevs["release"])
    done = [state.module("spdk_keyring", {"keys": declared["keys"]}), state.module("nvmf_transport", {"transports": declared["transports"]})]
    subsystems = state.module("nvmf_subsystem", {"subsystems": declared["subsystems"]})
    done += [subsystems, state.module("nvmf_referral", {"referrals": declared["referrals"]})]
    assert not [result for result in done if result["failed"]], done
    state.found["subsystems"] = subsystems["subsystems"]
    written = state.config(state="written")
    assert written["changed"] and not written["failed"], written


def test_a_killed_target_comes_back_the_same(deployed: Deployed) -> None:
    # before the first restart only what is taken at a start differs, and the result says so
    checked = deployed.config()
    assert {drift["kind"] for drift in checked["drifts"]} == {"setting"}
    assert len(checked["restart_needed"]) == 3 and checked["connected"] == []
    before = deployed.everything()
    deployed.kill()
    deployed.start()
    after = deployed.everything()
    assert after[:-1] == before[:-1]
    settings = ("nvmf_set_config", "nvmf_set_max_subsystems", "nvmf_set_crdt")
    kept = [[[entry for entry in section if entry["method"] not in settings] for section in side[-1]] for side in (before, after)]
    assert kept[0] == kept[1]
    clean = deployed.config(fail_on_drift=True)
    assert clean["drifts"] == [] and clean["restart_needed"] == [] and not clean["failed"]
    assert {(entry["kind"], entry["attribute"]) for entry in clean["not_readable"]} == {("bdev", "cluster_name")}
    assert not deployed.config(state="written")["changed"]
    assert deployed.file.stat().st_mode & 0o777 == 0o600
    # nothing lost that SPDK itself would lose
    assert [bdev["supported_io_types"]["write"] for bdev in after[0]] == [True, False, True]
    states = {entry["ana_group"]: entry["ana_state"] for entry in next(one for one in after[4] if one["address"]["trsvcid"] == PORTS[0])["ana_states"]}
    assert (states[1], states[3]) == ("non_optimized", "inaccessible")
    assert after[1][0]["config_param"] == {"client_mount_timeout": "30"}


def test_each_drift_is_named(deployed: Deployed) -> None:
    deployed.kill()
    deployed.start()
    listen = {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": PORTS[0]}
    deployed.call("bdev_set_qos_limit", {"name": "vol-1", "rw_ios_per_sec": 9000})
    deployed.call("nvmf_subsystem_listener_set_ana_state", {"nqn": NQN, "listen_address": listen, "ana_state": "optimized", "anagrpid": 3})
    deployed.call("nvmf_subsystem_remove_host", {"nqn": NQN, "host": HOST})
    deployed.call("nvmf_subsystem_add_host", {"nqn": NQN, "host": HOST})
    deployed.call("nvmf_subsystem_remove_ns", {"nqn": NQN, "nsid": 7})
    deployed.call("nvmf_subsystem_allow_any_host", {"nqn": NQN, "allow_any_host": True})
    deployed.call("nvmf_discovery_remove_referral", {"address": {**listen, "traddr": "192.0.2.9", "trsvcid": "8009"}})
    deployed.call("bdev_malloc_create", {"name": "by-hand", "num_blocks": 2048, "block_size": 512})
    deployed.call("bdev_rbd_delete", {"name": "vol-2"})
    deployed.call(
        "bdev_rbd_create", {"name": "vol-2", "pool_name": "pool-1", "rbd_name": "vol-2", "block_size": 512, "cluster_name": "ceph", "uuid": UUIDS["vol-2"]}
    )
    checked = deployed.config(fail_on_drift=True)
    assert checked["failed"] and "bdev vol-2 (read_only)" in checked["msg"]
    found = {(drift["kind"], drift["object"]): drift for drift in checked["drifts"]}
    assert found.pop(("bdev", "vol-1"))["live"] == {"rw_ios_per_sec": 9000}
    drift = found.pop(("bdev", "vol-2"))
    assert (drift["declared"], drift["saved"], drift["live"]) == ({"read_only": True}, {"read_only": True}, {"read_only": False})
    assert found.pop(("host", f"{NQN} host {HOST}"))["live"] == {"psk": None}
    assert found.pop(("listener", f"{NQN} listener TCP 127.0.0.1:{PORTS[0]}"))["live"]["ana_states"]["3"] == "optimized"
    assert found.pop(("namespace", f"{NQN} namespace 7"))["live"] is None
    assert found.pop(("namespace", f"{NQN} namespace 2"))["live"] is None  # went with its bdev
    assert found.pop(("subsystem", NQN))["live"] == {"allow_any_host": True}
    assert found.pop(("referral", "TCP 192.0.2.9:8009 nqn.2014-08.org.nvmexpress.discovery"))["live"] is None
    assert found.pop(("other bdev", "by-hand"))["declared"] is None
    assert not found


def test_a_file_changed_by_hand_is_named_and_replaced_with_a_backup(deployed: Deployed) -> None:
    deployed.kill()
    deployed.start()
    document = json.loads(deployed.file.read_text())
    bdev_calls = document["subsystems"][1]["config"]
    next(call for call in bdev_calls if call["params"].get("name") == "vol-2")["params"].pop("read_only")
    deployed.file.write_text(json.dumps(document))
    (drift,) = deployed.config()["drifts"]
    assert (drift["object"], drift["declared"], drift["saved"], drift["live"]) == ("vol-2", {"read_only": True}, {"read_only": False}, {"read_only": True})
    checked = deployed.config(check=True, state="written")
    assert checked["changed"] and "read_only" in checked["diff"]["after"] and "backup_file" not in checked
    written = deployed.config(state="written")
    assert written["changed"] and written["drifts"] == []
    assert json.loads(Path(written["backup_file"]).read_text()) == document
    assert Path(written["backup_file"]).stat().st_mode & 0o777 == 0o600


def test_one_missing_image_keeps_nothing_else_away(deployed: Deployed) -> None:
    deployed.kill()
    content = json.loads((deployed.directory / "ceph.json").read_text())
    image = content["pools"]["pool-1"].pop("vol-3")
    (deployed.directory / "ceph.json").write_text(json.dumps(content))
    deployed.start("--json-ignore-init-errors")
    checked = deployed.config()
    assert [(drift["kind"], drift["object"], drift["live"]) for drift in checked["drifts"]] == [
        ("bdev", "vol-3", None),
        ("namespace", f"{NQN} namespace 7", None),
    ]
    wish = {
        "clusters": deployed.declared["clusters"],
        "bdevs": [deployed.declared["bdevs"][2], {"name": "vol-4", "pool": "pool-1", "image": "vol-4", "uuid": OTHER[-36:]}],
    }
    deployed.target.set_image("pool-1", "vol-4", 32 * MIB)
    failed = deployed.module("spdk_rbd_bdev", wish)
    assert failed["failed"] and [error["object"] for error in failed["errors"]] == ["vol-3"] and "check that the image exists" in failed["msg"]
    assert [bdev["size_bytes"] for bdev in failed["bdevs"]] == [None, 32 * MIB] and failed["changed"]
    deployed.target.set_image("pool-1", "vol-3", image)
    healed = deployed.module("spdk_rbd_bdev", wish)
    assert not healed["failed"] and [bdev["action"] for bdev in healed["bdevs"]] == ["created", "none"]


def test_a_document_that_the_target_cannot_execute_is_not_written(deployed: Deployed) -> None:
    before = deployed.file.read_text()
    document = json.loads(before)
    next(call for call in document["subsystems"][1]["config"] if call["method"] == "bdev_rbd_create")["params"]["cluster_name"] = "gone"
    refused = deployed.module("spdk_config", {"config": document, "path": str(deployed.file), "state": "written"})
    assert refused["failed"] and "cluster gone is used, but not declared before" in refused["msg"] and refused["error"]["object"] == "vol-1"
    document = json.loads(before)
    document["subsystems"][1]["config"].insert(0, {"method": "bdev_no_such_create", "params": {"name": "x"}})
    refused = deployed.module("spdk_config", {"config": document, "path": str(deployed.file), "state": "written"})
    assert refused["failed"] and "no bdev_no_such_create" in refused["msg"]
    assert deployed.file.read_text() == before


def test_other_arguments_than_the_units_need_a_restart(deployed: Deployed) -> None:
    running = ["/elsewhere/spdk_tgt", "-r", str(deployed.directory / "spdk.sock"), "--json", str(deployed.file)]
    reasons = deployed.config(command_line=running)["restart_needed"]
    assert not [reason for reason in reasons if "arguments" in reason]
    checked = deployed.config(command_line=[*running, "--no-huge"])
    assert [drift["declared"][-1] for drift in checked["drifts"] if drift["kind"] == "command line"] == ["--no-huge"]
    assert "other arguments" in checked["restart_needed"][-1]
    told = deployed.config(command_line=running, restart_reasons=["the image is another"])
    assert told["restart_needed"][-1] == "the image is another" and told["connected"] == []
    assert os.path.basename(checked["path"]) == "spdk_tgt.json"


def used_by(deployed: Deployed, *hosts: str) -> None:
    """The simulator shows controllers of hosts that are not there."""
    tell(str(deployed.directory / "control"), {"controllers": {NQN: list(hosts)}})


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda declared: declared.update(subsystems=[]), f"the subsystem {NQN}"),
        (lambda declared: declared["subsystems"][0]["namespaces"].pop(2), f"the namespace {NQN} namespace 7"),
        (lambda declared: declared["bdevs"][2].update(image="vol-4"), "rbd_name of the bdev vol-3"),
    ],
)
def test_the_file_keeps_what_connected_hosts_use(deployed: Deployed, change: Any, words: str, check: bool) -> None:
    before = deployed.file.read_text()
    change(deployed.declared)
    used_by(deployed, HOST)
    refused = deployed.config(check=check, state="written")
    assert refused["failed"] and words in refused["msg"] and HOST in refused["msg"] and not refused["changed"], refused
    assert deployed.file.read_text() == before and "force" in refused["error"]["remedy"]
    assert not deployed.config(check=check)["failed"]  # looking is free
    assert not deployed.config(check=check, state="written", replace=False)["changed"]
    forced = deployed.config(check=check, state="written", force=True)
    assert forced["changed"] and not forced["failed"]
    deployed.file.write_text(before)
    used_by(deployed)
    free = deployed.config(check=check, state="written")
    assert free["changed"] and not free["failed"], free


def test_the_file_keeps_the_identity_of_a_namespace_that_a_host_uses(deployed: Deployed) -> None:
    used_by(deployed, HOST)
    for namespace in deployed.found["subsystems"][0]["namespaces"]:
        namespace["uuid"] = namespace["uuid"][:-1] + "f"
    refused = deployed.config(state="written")
    assert refused["failed"] and f"uuid of the namespace {NQN} namespace" in refused["msg"]


def test_what_a_start_would_not_bring_back_anyway_does_not_keep_the_file(deployed: Deployed) -> None:
    used_by(deployed, HOST)
    deployed.call("bdev_malloc_create", {"name": "by-hand", "num_blocks": 2048, "block_size": 512})
    deployed.call("nvmf_subsystem_add_ns", {"nqn": NQN, "namespace": {"bdev_name": "by-hand", "nsid": 9}})
    deployed.declared["max_subsystems"] = 77
    written = deployed.config(state="written")
    assert written["changed"] and not written["failed"]
    assert ("namespace", f"{NQN} namespace 9") in {(drift["kind"], drift["object"]) for drift in written["drifts"]}
