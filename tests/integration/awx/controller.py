# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What AWX does with a template: ansible-runner on a clone of the repository, the answers of the survey as a file of extra variables.

A fleet of two simulated targets and two hosts without devices, all of them connections to this machine. Ceph is a file; the programs
``rbd``, ``rados`` and ``ceph`` are stand-ins that read and edit it, and python3-rbd is hidden.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import ansible_runner
import yaml
from simulator_process import ROOT, Simulator

MIB = 1024**2
FSID = "0b6f5a3e-5c0a-4d3c-a0f4-5d5c9b1f7a11"
NQN = "nqn.2016-06.io.spdk:awx"
UUIDS = {"vol-1": "0a1b2c3d-0000-5000-8000-000000000001", "vol-2": "0a1b2c3d-0000-5000-8000-000000000002"}
CEPH = f"""#!/usr/bin/python3 -IS
import fcntl, json, os, sys
program, words = os.path.basename(sys.argv[0]), sys.argv[1:]
path = open(words[words.index("-c") + 1]).read().strip()
guard = open(path + ".lock", "w")
fcntl.flock(guard, fcntl.LOCK_EX)
content = json.load(open(path))
locks = content.setdefault("locks", {{}})

def after(word, count=1):
    return words[words.index(word) + count]

def save():
    with open(path + ".new", "w") as file:
        json.dump(content, file)
    os.replace(path + ".new", path)

def show(value):
    print(json.dumps(value))

if program == "ceph":
    if "fsid" in words:
        show({{"fsid": "{FSID}"}})
    elif "blocklist" in words:
        show([])
    else:
        sys.exit(1)
elif program == "rados":
    verb = after("lock")
    header, name = after(verb), after(verb, 2)
    held = locks.setdefault(header + "/" + name, [])
    if verb == "get":
        tag = after("--lock-tag")
        if any(entry["tag"] != tag for entry in held):
            print("error: (16) Device or resource busy", file=sys.stderr)
            sys.exit(1)
        held.append({{"tag": tag, "name": "client.1", "cookie": after("--lock-cookie"), "description": after("--lock-description"),
                     "expiration": "2099-01-01T00:00:00.0", "addr": "192.0.2.1:0/1"}})
        save()
    elif verb == "info":
        show({{"lockers": held}})
    else:
        held[:] = [entry for entry in held if entry["cookie"] != after("--lock-cookie")]
        save()
else:
    pool, image = words[-1].split("/")
    size = content["pools"].get(pool, {{}}).get(image)
    if size is None:
        sys.exit(2)
    if "info" in words:
        show({{"size": size, "id": image, "format": 2}})
    elif "status" in words:
        show({{"watchers": []}})
    elif "resize" in words:
        wanted = int(after("--size").rstrip("B"))
        if wanted < size:
            sys.exit(22)
        content["pools"][pool][image] = wanted
        save()
    else:
        sys.exit(1)
"""


def answers(survey: str, **given: Any) -> dict[str, Any]:
    """What a form with this survey delivers: the defaults, empty text for what nobody filled in."""
    spec = json.loads((ROOT / "extensions" / "awx" / "surveys" / f"{survey}.json").read_text())["spec"]
    assert set(given) <= {item["variable"] for item in spec}
    return {item["variable"]: given.get(item["variable"], item["default"]) for item in spec}


class _Launched(yaml.SafeDumper):
    """AWX tags every text that somebody typed (awx/main/utils/safe_yaml.py)."""


_Launched.add_representer(str, lambda dumper, text: dumper.represent_scalar("!unsafe", text))


class Job:
    """A finished job: ``status``, ``output``, ``artifacts`` (set_stats), ``changed`` by host, ``messages`` of tasks that failed."""

    def __init__(self, run: Any) -> None:
        self.status = run.status
        self.output = run.stdout.read()
        self.artifacts: dict[str, Any] = {}
        self.changed: dict[str, int] = {}
        self.messages: list[str] = []
        for event in run.events:
            data = event["event_data"]
            if event["event"] == "playbook_on_stats":
                self.artifacts, self.changed = data["artifact_data"], data["changed"]
            elif event["event"] == "runner_on_failed" and not data.get("ignore_errors"):
                self.messages.append(data["res"].get("msg", ""))


class Controller:
    """The directory of an execution node, and the fleet."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.memory = directory / "ceph.json"
        self.memory.write_text(json.dumps({"users": ["admin"], "pools": {"rbd": dict.fromkeys(UUIDS, 64 * MIB)}}))
        (directory / "ceph.conf").write_text(f"{self.memory}\n")
        self.project = directory / "project"
        shutil.copytree(ROOT / "playbooks", self.project / "playbooks", symlinks=True)
        for name in ("roles", "plugins", "meta", "galaxy.yml"):
            (self.project / name).symlink_to(ROOT / name)
        for name in ("rbd", "rados", "ceph"):
            self._write(f"bin/{name}", CEPH).chmod(0o755)
        for name in ("rbd", "rados"):
            self._write(f"hidden/{name}.py", "raise ImportError('hidden')\n")
        environment = {
            "PATH": f"{directory / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(directory / "hidden"),
            # the collection is found beside the playbooks of the project and nowhere else
            "ANSIBLE_COLLECTIONS_PATH": str(directory / "requirements_collections"),
            "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "False",
            "ANSIBLE_HOME": str(directory / "home"),
            "ANSIBLE_LOCAL_TEMP": str(directory / "local"),
            "ANSIBLE_REMOTE_TEMP": str(directory / "remote"),
            "ANSIBLE_NOCOLOR": "1",
        }
        self._write("env/envvars", json.dumps(environment))
        self._write("env/settings", json.dumps({"idle_timeout": 300, "job_timeout": 600}))
        targets = {name: self._target(name, number) for number, name in enumerate(("t1", "t2"))}
        common = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
        groups = {"spdk_targets": {"hosts": targets}, "nvme_initiators": {"hosts": {"h1": {}, "h2": {}}}, "hypervisors": {}, "ceph_clients": {}}
        self._write("inventory/hosts.json", json.dumps({"all": {"vars": common, "children": groups}}))
        self.jobs = 0
        backend = {"SPDK_SIM_BACKEND": "memory", "SPDK_SIM_MEMORY_FILE": str(self.memory)}
        self.targets = {name: Simulator(directory / name, environment=backend) for name in targets}

    def _write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def _target(self, name: str, number: int) -> dict[str, Any]:
        """What the inventory says of a target; the two are a pair."""
        self._write(f"{name}/spdk_tgt.json", '{"subsystems": []}')
        namespaces = [{"bdev": image, "nsid": nsid, "uuid": uuid} for nsid, (image, uuid) in enumerate(UUIDS.items(), start=1)]
        subsystem = {
            "nqn": NQN,
            "serial_number": "AWX",
            "model_number": "AWX",
            "ana_reporting": True,
            "allow_any_host": True,
            "min_cntlid": 100 * number + 1,
            "max_cntlid": 100 * number + 100,
            "listeners": [{"traddr": f"127.0.0.{number + 1}", "trsvcid": "24631"}],
            "namespaces": namespaces,
        }
        return {
            "spdk_target_service": "not_on_this_host",
            "spdk_target_binary": "/opt/spdk/spdk_tgt",
            "spdk_target_socket": str(self.directory / name / "spdk.sock"),
            "spdk_target_config_file": str(self.directory / name / "spdk_tgt.json"),
            "spdk_target_ceph_conf": str(self.directory / "ceph.conf"),
            "spdk_target_clusters": [{"name": "ceph", "user": "admin"}],
            "spdk_target_rbd_bdevs": [{"name": image, "pool": "rbd", "image": image, "uuid": uuid, "cluster": "ceph"} for image, uuid in UUIDS.items()],
            "spdk_target_subsystems": [subsystem],
        }

    def launch(self, playbook: str, survey: dict[str, Any], *, limit: str = "", check: bool = False, artifacts: dict[str, Any] | None = None) -> Job:
        """A job in diff mode; ``artifacts`` are those of the node before it in a workflow."""
        self.jobs += 1
        names = {"awx_job_id": self.jobs, "awx_user_name": "operator", "awx_job_template_name": playbook, "tower_job_id": self.jobs}
        self._write("env/extravars", "---\n" + yaml.dump({**names, **(artifacts or {}), **survey}, Dumper=_Launched))
        options = " ".join(["--diff", *(["--check"] if check else []), *(["-l", limit] if limit else [])])
        run = ansible_runner.run(
            private_data_dir=str(self.directory), playbook=f"playbooks/{playbook}.yml", ident=f"job{self.jobs}", cmdline=options, quiet=True
        )
        return Job(run)

    def sizes(self) -> dict[str, list[int]]:
        """MiB of every image: in Ceph, then on each target."""
        known = json.loads(self.memory.read_text())["pools"]["rbd"]
        found = {name: [size // MIB] for name, size in known.items()}
        for target in self.targets.values():
            for bdev in target.call("bdev_get_bdevs"):
                found[bdev["name"]].append(bdev["block_size"] * bdev["num_blocks"] // MIB)
        return found

    def stop(self) -> None:
        for target in self.targets.values():
            target.stop()
