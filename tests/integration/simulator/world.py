# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A world for playbooks: the collection with its modules replaced by action plugins that answer from a JSON file.

What is tested is the plays: who is asked, in which order, and where a run ends. ``ACTION`` becomes every stand-in. The file has ``answers``
(host -> module -> result, or ``"unreachable"``), and gets ``calls``: [host, module, check mode, arguments] in the order in which they were made. A result
with ``then`` changes the answers of others: host -> module -> result.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
MODULES = (
    "nvme_connection",
    "nvme_host_identity",
    "nvme_info",
    "nvme_kernel",
    "nvme_rescan",
    "nvmf_subsystem",
    "rbd_image",
    "rbd_image_info",
    "spdk_rbd_bdev",
    "spdk_target_info",
    "virt_blockresize",
    "virt_disk_info",
)

ACTION = """
import fcntl, json, os
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        host, module = task_vars["inventory_hostname"], self._task.action.rsplit(".", 1)[-1]
        with open(os.environ["WORLD"], "r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            world = json.load(file)
            world["calls"].append([host, module, bool(self._task.check_mode), json.loads(json.dumps(self._task.args, default=str))])
            answer = world["answers"].get(host, {}).get(module)
            if isinstance(answer, dict):
                for other, changes in answer.get("then", {}).items():
                    world["answers"].setdefault(other, {}).update(changes)
            file.seek(0)
            file.truncate()
            json.dump(world, file)
        if answer is None:
            return {"failed": True, "msg": f"the world has no {module} on {host}"}
        if answer == "unreachable":
            raise AnsibleConnectionFailure("no route to host")
        return {key: value for key, value in answer.items() if key != "then"}
"""


class World:
    """One inventory of t1, t2 (targets) and h1 (initiator), and what its hosts answer."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        base = directory / "ansible_collections" / "nvmeof"
        spdk = base / "spdk"
        (spdk / "plugins" / "action").mkdir(parents=True)
        for name in ("meta", "playbooks", "roles", "galaxy.yml"):
            (spdk / name).symlink_to(ROOT / name)
        for name in ("doc_fragments", "filter", "modules", "module_utils", "plugin_utils"):
            (spdk / "plugins" / name).symlink_to(ROOT / "plugins" / name)
        for module in MODULES:
            (spdk / "plugins" / "action" / f"{module}.py").write_text(ACTION)
        (spdk / "plugins" / "action" / "growth_diff.py").symlink_to(ROOT / "plugins" / "action" / "growth_diff.py")
        self.answers: dict[str, dict[str, Any]] = {}
        self.calls: list[list[Any]] = []
        self.inventory: dict[str, Any] = {}

    def play(self, playbook: str, **variables: Any) -> tuple[int, str, int]:
        """Run a playbook of the collection (or a file): status, output, the sum of ``changed``. ``check=True`` is check mode, with differences; ``typed`` is
        one more ``-e`` as it is typed."""
        state, inventory = self.directory / "world.json", self.directory / "inventory.json"
        state.write_text(json.dumps({"answers": self.answers, "calls": []}))
        inventory.write_text(json.dumps(self.inventory))
        options = ["--check", "--diff"] if variables.pop("check", False) else []
        typed = variables.pop("typed", "")
        options += ["-e", typed] if typed else []
        env = {
            **os.environ,
            "WORLD": str(state),
            "ANSIBLE_COLLECTIONS_PATH": str(self.directory),
            "ANSIBLE_HOME": str(self.directory / "home"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CONFIG": str(ROOT / "playbooks" / "ansible.cfg"),
        }
        command = ["ansible-playbook", "-i", str(inventory), playbook if "/" in playbook else f"nvmeof.spdk.{playbook}", "-e", json.dumps(variables), *options]
        done = subprocess.run(command, env=env, cwd=self.directory, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.calls = json.loads(state.read_text())["calls"]
        return done.returncode, done.stdout, sum(int(count) for count in re.findall(r"\bchanged=(\d+)", done.stdout))

    def called(self, *modules: str) -> list[str]:
        """``host module`` of the calls to these modules, in their order."""
        return [f"{host} {module}" for host, module, _check, _arguments in self.calls if module in modules]
