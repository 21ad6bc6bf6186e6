# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role spdk_target without systemd: its state tasks against a running target, its unit as text, the programs that the unit holds."""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from simulator_process import ROOT, Simulator, tell

MIB = 1024 * 1024
NQN = "nqn.2016-06.io.spdk:role"
UUIDS = {"vol-1": "0a1b2c3d-0000-4000-8000-000000000001", "vol-2": "0a1b2c3d-0000-4000-8000-000000000002"}
FILES = ROOT / "roles" / "spdk_target" / "files"


class Lab:
    """A simulator, and the variables of the role for it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "spdk.sock"
        self.file = directory / "etc" / "spdk_tgt.json"
        self.file.parent.mkdir()
        self.file.write_text('{"subsystems": []}')
        (directory / "ceph.conf").write_text("")
        self.images({"vol-1": 64 * MIB})
        self.variables: dict[str, Any] = {
            "ansible_python_interpreter": "/usr/bin/python3",
            "spdk_target_binary": "/opt/spdk/spdk_tgt",
            "spdk_target_socket": str(self.socket),
            "spdk_target_config_file": str(self.file),
            "spdk_target_ceph_conf": str(directory / "absent.conf"),
            "spdk_target_clusters": [{"name": "ceph", "user": "spdk", "config_file": str(directory / "ceph.conf")}],
            "spdk_target_rbd_bdevs": [{"name": name, "pool": "pool-1", "image": name, "uuid": uuid} for name, uuid in UUIDS.items()],
            "spdk_target_subsystems": [
                {
                    "nqn": NQN,
                    "listeners": [{"traddr": "127.0.0.1", "trsvcid": "24621"}],
                    "namespaces": [{"bdev": name, "nsid": nsid} for nsid, name in enumerate(UUIDS, start=1)],
                }
            ],
            "spdk_target_max_subsystems": 32,
        }

    def images(self, images: dict[str, int], users: tuple[str, ...] = ("admin", "spdk")) -> None:
        (self.directory / "ceph.json").write_text(json.dumps({"users": list(users), "pools": {"pool-1": images}}))

    def start(self, *options: str, control: str = "") -> Simulator:
        environment = {"SPDK_SIM_BACKEND": "memory", "SPDK_SIM_MEMORY_FILE": str(self.directory / "ceph.json")}
        environment |= {"SPDK_SIM_CONTROL": control} if control else {}
        return Simulator(self.directory, "--json", str(self.file), *options, environment=environment)

    def role(self, tasks: str, *options: str) -> tuple[int, str]:
        """Exit code and output of one run of a task file of the role."""
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": self.variables}
        play["tasks"] = [{"ansible.builtin.import_role": {"name": "nvmeof.spdk.spdk_target", "tasks_from": tasks}}]
        (self.directory / "play.yml").write_text(json.dumps([play]))
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_LOCAL_TEMP": str(self.directory / "ansible")}
        arguments = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", str(self.directory / "play.yml"), *options]
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=300, check=False, cwd=self.directory)
        return done.returncode, done.stdout + done.stderr


def unit_of(text: str) -> dict[str, list[str]]:
    """The settings of the unit that a diff adds, by name."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^\+([A-Za-z]+)=(.*)$", text, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def arguments_of(line: str) -> list[str]:
    """An Exec line as systemd splits it (systemd.service(5), "Command lines"): double quotes, C escapes, %% and $$."""
    words = []
    for quoted, plain in re.findall(r'"((?:[^"\\]|\\.)*)"|([^\s"]+)', line):
        word = re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match.group(1), match.group(1)), quoted) if quoted else plain
        words.append(word.replace("%%", "%").replace("$$", "$"))
    return words


@pytest.fixture
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("o"))


def recap(text: str, word: str) -> int:
    (number,) = re.findall(rf"{word}=([0-9]+)", text)
    return int(number)


def test_one_missing_image_keeps_nothing_else_away_and_the_second_run_changes_nothing(lab: Lab) -> None:
    with lab.start() as target:
        code, text = lab.role("state.yml")
        assert code == 2 and "1 of 2 bdevs failed, everything else is applied" in text and "bdev vol-2: the target refused bdev_rbd_create" in text
        assert f"Not live: vol-2, {NQN} namespace 2" in text
        (subsystem,) = [entry for entry in target.call("nvmf_get_subsystems") if entry["nqn"] == NQN]
        assert [namespace["bdev_name"] for namespace in subsystem["namespaces"]] == ["vol-1"] and subsystem["listen_addresses"]
        # the file holds the missing one, too: it comes with the next start after the image is back
        assert '"rbd_name": "vol-2"' in lab.file.read_text()
        target.set_image("pool-1", "vol-2", 32 * MIB)
        code, text = lab.role("state.yml")
        assert code == 0 and recap(text, "changed") == 2, text
        assert "restart needed: nvmf_set_max_subsystems differs in max_subsystems" in text and "(spdk_target_restart is never)" in text
        code, text = lab.role("state.yml")
        assert code == 0 and recap(text, "changed") == 0, text
        code, text = lab.role("state.yml", "--check")
        assert code == 0 and recap(text, "changed") == 0, text


@pytest.mark.parametrize("purge", ["false", "true"])
def test_what_is_not_declared_any_more_is_purged_on_demand_and_never_taken_from_a_connected_host(lab: Lab, purge: str) -> None:
    lab.images({"vol-1": 64 * MIB, "vol-2": 32 * MIB})
    lab.variables["spdk_target_purge"] = purge
    control = str(lab.directory / "control")
    with lab.start(control=control) as target:
        code, text = lab.role("state.yml")
        assert code == 0, text
        saved = lab.file.read_text()
        lab.variables["spdk_target_subsystems"][0]["namespaces"].pop()
        tell(control, {"controllers": {NQN: ["nqn.h:1"]}})
        for options in ((), ("--check",)):
            code, text = lab.role("state.yml", *options)
            words = f"would take the namespace {NQN} namespace 2 from connected hosts: nqn.h:1" if purge == "false" else "from connected hosts: nqn.h:1"
            assert code == 2 and words in " ".join(text.split()), text
        assert lab.file.read_text() == saved and len(namespaces(target)) == 2
        tell(control, {"controllers": {}})
        code, text = lab.role("state.yml")
        assert code == 0 and recap(text, "changed") == (2 if purge == "true" else 1), text
        assert len(namespaces(target)) == (1 if purge == "true" else 2) and '"nsid": 2' not in lab.file.read_text()


def test_other_options_of_transport_and_cluster_come_with_the_next_start(lab: Lab) -> None:
    lab.images({"vol-1": 64 * MIB, "vol-2": 32 * MIB})
    with lab.start():
        code, text = lab.role("state.yml")
        assert code == 0, text
        lab.variables["spdk_target_transports"] = [{"trtype": "TCP", "options": {"max_io_size": 65536}}]
        lab.variables["spdk_target_clusters"][0]["user"] = "admin"
        code, text = lab.role("state.yml")
        assert code == 0 and "transport TCP differs in max_io_size" in text and "cluster ceph differs in user_id" in text and recap(text, "changed") == 1, text
        assert '"max_io_size": 65536' in lab.file.read_text()
        lab.variables["spdk_target_transports"] = [{"trtype": "TCP", "options": {"no_such": 1}}]
        code, text = lab.role("state.yml")
        assert code == 2 and "has no option no_such" in text, text
    with lab.start("--json-ignore-init-errors") as target:
        assert [transport["max_io_size"] for transport in target.call("nvmf_get_transports")] == [65536]
        assert [cluster["user_id"] for cluster in target.call("bdev_rbd_get_clusters_info")] == ["admin"]


def namespaces(target: Simulator) -> list[Any]:
    (subsystem,) = [entry for entry in target.call("nvmf_get_subsystems") if entry["nqn"] == NQN]
    return subsystem["namespaces"]


def test_a_listener_gets_the_targets_address_in_its_network(lab: Lab) -> None:
    """Live and in the start-up file; the address is the one that the inventory says."""
    lab.images({"vol-1": 64 * MIB, "vol-2": 32 * MIB})
    lab.variables |= {"spdk_target_addresses": ["192.0.2.1", "127.0.0.1"], "storage_network": "127.0.0.0/8"}
    lab.variables["spdk_target_subsystems"][0]["listeners"] = [{"network": "127.0.0.0/30", "trsvcid": "24622"}, {"trsvcid": "24623"}]
    with lab.start() as target:
        code, text = lab.role("state.yml")
        assert code == 0, text
        (subsystem,) = [entry for entry in target.call("nvmf_get_subsystems") if entry["nqn"] == NQN]
        assert sorted((one["traddr"], one["trsvcid"]) for one in subsystem["listen_addresses"]) == [("127.0.0.1", "24622"), ("127.0.0.1", "24623")]
        assert lab.file.read_text().count('"traddr": "127.0.0.1"') == 2
        code, text = lab.role("state.yml")
        assert code == 0 and recap(text, "changed") == 0, text
        lab.variables["spdk_target_addresses"] = ["192.0.2.1"]
        code, text = lab.role("state.yml")
        assert code == 2 and "no address of 192.0.2.1 lies in 127.0.0.0/30" in text, text


def test_the_unit_holds_its_programs_and_what_the_target_is_compared_with(lab: Lab) -> None:
    lab.variables |= {
        "spdk_target_service": "not_on_this_host",
        "spdk_target_arguments": ["-A", 'a "b" 5% $c'],
        "spdk_target_nvme_controllers": [{"name": "Nvme0", "traddr": "0000:18:00.0"}, {"name": "Nvme1", "state": "absent"}],
        "spdk_target_nvme_driver": "vfio-pci",
    }
    code, text = lab.role("service.yml", "--check", "--diff")
    assert code == 0, text
    unit = unit_of(text)
    (start,) = unit["ExecStart"]
    assert arguments_of(start) == (
        ["/opt/spdk/spdk_tgt", "-r", str(lab.socket), "--json", str(lab.file), "-m", "0x1", "--json-ignore-init-errors", "-A", 'a "b" 5% $c']
    )
    for name, setting, rest in (
        ("spdk_ready.py", "ExecStartPost", [str(lab.socket), "300", str(lab.file)]),
        ("spdk_bind.py", "ExecStartPre", ["vfio-pci", "0000:18:00.0"]),
    ):
        *command, program, last = [*arguments_of(unit[setting][0])[: -len(rest)], arguments_of(unit[setting][0])[-len(rest) :]]
        assert command[-4:] == ["python3", "-I", "-S", "-c"] and last == rest
        assert program == re.sub(r"(?m)^#.*\n", "", (FILES / name).read_text()).rstrip("\n")
    assert "RuntimeDirectory" not in unit and unit["UMask"] == ["0007"]


def ready(lab: Lab, *, with_file: bool = True, seconds: str = "20") -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, str(FILES / "spdk_ready.py"), str(lab.socket), seconds, *([str(lab.file)] if with_file else [])]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)


def test_a_target_without_any_of_its_clusters_is_not_ready(lab: Lab) -> None:
    clusters = [{"method": "bdev_rbd_register_cluster", "params": {"name": name, "user_id": name}} for name in ("spdk", "other")]
    lab.file.write_text(json.dumps({"subsystems": [{"subsystem": "bdev", "config": clusters}, {"subsystem": "nbd", "config": None}]}))
    with lab.start("--json-ignore-init-errors"):
        done = ready(lab)  # one of two is enough
        assert done.returncode == 0, done.stderr
    lab.images({}, users=("admin",))
    with lab.start("--json-ignore-init-errors"):
        done = ready(lab)
        assert done.returncode == 1 and "none of the Ceph clusters other, spdk could be registered" in done.stderr
        assert ready(lab, with_file=False).returncode == 0
    done = ready(lab, seconds="0.3")
    assert done.returncode == 1 and "the target is not ready" in done.stderr


@pytest.mark.parametrize(
    ("connected", "words"), [([{"nqn": NQN, "hostnqn": "nqn.h:1"}], "these hosts are connected: nqn.h:1"), (None, "this release cannot tell")]
)
def test_no_restart_under_connected_hosts(lab: Lab, connected: Any, words: str) -> None:
    lab.variables |= {"spdk_target_restart": "when_needed", "spdk_target__config": {"restart_needed": ["something differs"], "connected": connected}}
    code, text = lab.role("restart.yml")
    assert code == 2 and words in text and "spdk_target_restart_force" in text and "Restart the service" not in text


def entry(start: str, message: Any, **more: str) -> str:
    """A line of the journal, of a process of the service."""
    return json.dumps({"MESSAGE": message, "_SYSTEMD_INVOCATION_ID": start, **more})


NOT_READY = "/run/s: the target is not ready: the program has ended, see its own messages"


def failed_start(lab: Lab, monkeypatch: pytest.MonkeyPatch, shown: str, journal: list[str]) -> tuple[int, str]:
    """The rescue of a start, with what systemd and its journal say."""
    programs = lab.directory / "bin"
    programs.mkdir()
    (programs / "lines").write_text("".join(line + "\n" for line in journal))
    (programs / "journalctl").write_text(f'#!/bin/sh\n[ "$1" = _SYSTEMD_UNIT=spdk_tgt.service ] && cat {programs}/lines\n')
    (programs / "systemctl").write_text(f'#!/bin/sh\n[ "$1" = show ] && printf "%s\\n" {shown}\n')
    for name in ("journalctl", "systemctl"):
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    lab.variables |= {"spdk_target_binary": "/bin/sh", "spdk_target_user": user, "spdk_target_group": group}
    lab.variables["ansible_failed_result"] = {"msg": "Unable to start service\nSee the journal"}
    return lab.role("why.yml")


@pytest.mark.parametrize(
    ("shown", "journal", "words", "others"),
    [
        (  # the newest start has only begun; what an older one said does not count
            "SubState=start-post InvocationID=c",
            [entry("a", "old"), entry("a", NOT_READY), entry("b", "no such option"), entry("b", NOT_READY), entry("c", "begins")],
            f"[cause: no such option | {NOT_READY}] Next step",
            ("old", "begins"),
        ),
        (  # the newest start has ended, without ever becoming the program
            "SubState=auto-restart InvocationID=b",
            [entry("a", "no such option"), entry("a", NOT_READY), entry("b", "Error: no such executable file")],
            "[cause: Error: no such executable file] Next step",
            ("no such option",),
        ),
        (  # one that said nothing, or of which nothing is known
            "SubState=failed InvocationID=b",
            [entry("a", "no such option")],
            "[cause: its journal is empty] Next step",
            ("no such option",),
        ),
        ("", [entry("a", "no such option")], "[cause: no such option] Next step", ()),
        (  # a long one: where it began and where it ended; podman's events and bytes that are no text do not count
            "SubState=auto-restart InvocationID=a",
            [
                entry("a", "event", PODMAN_EVENT="create"),
                entry("a", [255, 254]),
                "{}",
                *(entry("a", f"line {number}") for number in range(30)),
            ],
            "[cause: line 0 | line 1 | line 2 | line 3 | line 4 | ... | line 20 | ",
            ("event", "line 5 ", "255"),
        ),
        ("SubState=start InvocationID=a", [], "[cause: its journal is empty] Next step", ()),
    ],
)
def test_a_start_that_failed_says_what_the_program_said(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, shown: str, journal: list[str], words: str, others: tuple[str, ...]
) -> None:
    code, text = failed_start(lab, monkeypatch, shown, journal)
    message = re.search(r'"msg": "(target .*)"', text)
    assert code == 2 and message is not None, text
    assert message[1].startswith("target spdk_tgt.service on localhost does not run: Unable to start service [cause: ")
    assert words in message[1], message[1]
    assert not [word for word in others if word in message[1]], message[1]


def test_a_start_that_failed_without_its_file_or_program(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.file.unlink()
    code, text = failed_start(lab, monkeypatch, "", [])
    assert code == 2 and "[cause: its start-up file was gone (now there is an empty one); " in text and lab.file.exists(), text
    lab.variables["spdk_target_binary"] = str(lab.directory / "nowhere")
    code, text = lab.role("why.yml")
    assert code == 2 and "nowhere is not an executable file] Next step: install SPDK" in text, text
