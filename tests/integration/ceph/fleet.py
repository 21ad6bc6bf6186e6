# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet for the playbooks: simulated targets on a real Ceph, and a host that is a file; runs that can be killed with everything they started."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import typing as t
import uuid
from pathlib import Path

from module_runner import run_module

ROOT = Path(__file__).resolve().parents[3]
NQN = "nqn.2026-01.org.example:fleet"
HOSTNQN = "nqn.2014-08.org.nvmexpress:uuid:5f1c6d3a-0d3e-4d8e-9a55-0f6a3f0b7a11"
MARK = "NVMEOF_SPDK_FLEET_RUN"
POOL = "pool-1"
MIB = 1024**2

#: Stands in for the modules of the host. Its file has ``device`` and ``disk`` (bytes), ``served`` is what the slowest target shows; nothing shrinks.
ACTION = """
import json, os, socket, time
from ansible.plugins.action import ActionBase

def rpc(path, method):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode())
        text = ""
        while True:
            text += client.recv(1 << 20).decode()
            try:
                return json.loads(text)["result"]
            except ValueError:
                continue

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        module, path = self._task.action.rsplit(".", 1)[-1], task_vars["fleet_host"]
        with open(path, encoding="utf-8") as file:
            host = json.load(file)
        name = {"nvme_rescan": "device", "virt_blockresize": "disk"}.get(module)
        changed = False
        if name:
            time.sleep(0.2)
            served = min(bdev["num_blocks"] * bdev["block_size"] for one in host["sockets"] for bdev in rpc(one, "bdev_get_bdevs"))
            size = served if name == "device" else host["device"]
            if size < host[name]:
                return {"failed": True, "msg": f"{name} would shrink from {host[name]} to {size}"}
            changed = size != host[name]
            if changed and not self._task.check_mode:
                host[name] = size
                with open(path + ".new", "w", encoding="utf-8") as file:
                    json.dump(host, file)
                os.replace(path + ".new", path)
            time.sleep(0.2)
        size = host["device"]
        paths = [
            {"controller": f"nvme{number}", "traddr": f"192.0.2.{number + 1}", "trsvcid": "4420", "transport": "tcp", "state": "live",
             "ana_state": "optimized", "size_bytes": size}
            for number in range(len(host["sockets"]))
        ]
        namespace = {"uuid": host["uuid"], "nqn": host["nqn"], "nsid": 1, "device": "/dev/nvme0n1", "by_id": None, "size_bytes": size, "holders": []}
        disk = {"domain": "vm1", "target": "vda", "label": "vm1:vda", "source": "/dev/nvme0n1", "namespace_uuid": host["uuid"], "domain_state": "running",
                "capacity_bytes": host["disk"], "physical_bytes": size, "device_bytes": size, "held": True, "problems": [], "layers": [], "guest": None,
                "held_device": "/dev/nvme0n1", "device": "/dev/nvme0n1"}
        return {
            "changed": changed,
            "host": {"hostnqn": host["hostnqn"], "controllers": [], "namespaces": [{**namespace, "paths": paths}]},
            "namespaces": [],
            "disks": [disk] if module == "virt_disk_info" else [],
        }
"""


class Fleet:
    """Targets ``t1``, ... that export one image, and the host ``h1``."""

    def __init__(self, directory: Path, ceph: t.Any, targets: t.Sequence[t.Any], pool: str, image: str) -> None:
        """``targets``: running simulators with one bdev of the image in use."""
        self.directory, self.ceph, self.targets, self.pool, self.image = directory, ceph, targets, pool, image
        spdk = directory / "ansible_collections" / "nvmeof" / "spdk"
        (spdk / "plugins" / "action").mkdir(parents=True)
        for name in ("meta", "playbooks", "roles", "galaxy.yml"):
            (spdk / name).symlink_to(ROOT / name)
        for name in ("doc_fragments", "filter", "modules", "module_utils", "plugin_utils"):
            (spdk / "plugins" / name).symlink_to(ROOT / "plugins" / name)
        for name in ("nvme_info", "nvme_rescan", "virt_disk_info", "virt_blockresize"):
            (spdk / "plugins" / "action" / f"{name}.py").write_text(ACTION)
        (bdev,) = targets[0].call("bdev_get_bdevs")
        size = bdev["num_blocks"] * bdev["block_size"]
        self.file = directory / "host.json"
        known = {"uuid": bdev["uuid"], "nqn": f"nqn.2026-01.org.example:{bdev['name']}", "hostnqn": HOSTNQN, "device": size, "disk": size}
        self.file.write_text(json.dumps({**known, "sockets": [target.socket for target in targets]}))
        common = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "/usr/bin/python3",
            "spdk_target_ceph_conf": str(ceph.conf),
            "spdk_target_ceph_keyring": str(ceph.keyring),
            "volume_growth_event_timeout": 1,
            "fleet_host": str(self.file),
        }
        hosts = {f"t{number}": {"spdk_target_socket": target.socket} for number, target in enumerate(targets, start=1)}
        groups = {"spdk_targets": {"hosts": hosts}, "nvme_initiators": {"hosts": {"h1": {}}}}
        self.inventory = directory / "inventory.json"
        self.inventory.write_text(json.dumps({"all": {"vars": common, "children": groups}}))

    def start(self, playbook: str, *options: str, **extra: t.Any) -> tuple[subprocess.Popen[str], str]:
        """Start a run; the process and the mark that everything it starts carries."""
        mark = uuid.uuid4().hex
        environment = {
            **os.environ,
            MARK: mark,
            "ANSIBLE_COLLECTIONS_PATH": str(self.directory),
            "ANSIBLE_HOME": str(self.directory / "home"),
            "ANSIBLE_LOCAL_TEMP": str(self.directory / "local"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CONFIG": str(ROOT / "playbooks" / "ansible.cfg"),
            "ANSIBLE_PIPELINING": "1",
        }
        argv = [sys.executable, "-m", "ansible", "playbook", "-i", str(self.inventory), f"nvmeof.spdk.{playbook}", *options, "-e", json.dumps(extra)]
        run = subprocess.Popen(argv, env=environment, cwd=self.directory, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        return run, mark

    def run(self, playbook: str, *options: str, **extra: t.Any) -> tuple[int, int, str]:
        """Run to the end: exit code, sum of ``changed``, output."""
        run, _mark = self.start(playbook, *options, **extra)
        return ended(run)

    def sizes(self) -> dict[str, int]:
        """Bytes of every hop."""
        host = json.loads(self.file.read_text())
        found = {"image": self.ceph.image_bytes(self.pool, self.image), "device": host["device"], "disk": host["disk"]}
        return {**found, **{f"t{number}": target.bdev_bytes("a") for number, target in enumerate(self.targets, start=1)}}


def ended(run: subprocess.Popen[str], seconds: float = 280) -> tuple[int, int, str]:
    """Wait for a run: exit code, sum of ``changed``, output."""
    text, _none = run.communicate(timeout=seconds)
    return run.returncode, sum(int(number) for number in re.findall(r"\bchanged=([0-9]+)", text)), text


def marked(mark: str) -> list[int]:
    """The living processes of a run, whatever session they are in."""
    found, wanted = [], f"{MARK}={mark}".encode()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def kill_all(run: subprocess.Popen[str], mark: str) -> None:
    """SIGKILL for a run and everything it started, also what a worker is starting right now."""
    os.kill(run.pid, signal.SIGKILL)
    while True:
        there = marked(mark)
        if not there:
            break
        for pid in there:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    run.communicate()


def export(target: t.Any, reach: t.Mapping[str, str], image: str) -> None:
    """Have a target export an image as the bdev ``a``, in use."""
    wish = {"socket": target.socket, **reach, "clusters": [target.cluster], "name": "a", "pool": POOL, "image": image}
    result = run_module("spdk_rbd_bdev", wish)
    assert not result["failed"], result
    target.export("a")
