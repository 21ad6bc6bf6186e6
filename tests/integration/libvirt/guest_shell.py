# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs, and modules of this collection, run inside a guest through its agent."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import tarfile
import time
import typing as t

import ansible.module_utils
import ansible_collections.nvmeof.spdk.plugins.module_utils as collection_utils
from ansible_collections.nvmeof.spdk.tests import module_runner
from private_libvirt import wait_for

if t.TYPE_CHECKING:
    import private_libvirt

_PLUGINS = "ansible_collections/nvmeof/spdk/plugins"


def code_archive(folder: str, initrd: str) -> str:
    """``initrd`` with ansible-core's module_utils and this collection's code in /opt behind it; returns the new image's path."""
    tree = os.path.join(folder, "code")
    plugins = os.path.dirname(os.path.realpath(next(iter(collection_utils.__path__))))
    core = os.path.dirname(os.path.realpath(ansible.module_utils.__file__))
    buffer = io.BytesIO()

    def wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if "__pycache__" in entry.name else entry

    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(core, "opt/ansible/module_utils", filter=wanted)
        for name in ("__init__.py", "release.py", "_internal", "_vendor"):
            archive.add(os.path.join(os.path.dirname(core), name), f"opt/ansible/{name}", filter=wanted)
        for name in ("modules", "module_utils"):
            archive.add(os.path.join(plugins, name), f"opt/{_PLUGINS}/{name}", filter=wanted)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as archive:
        archive.extractall(tree)
    image = os.path.join(folder, "initrd-code.img")
    # the kernel unpacks one archive after the other
    with open(image, "wb") as out:
        with open(initrd, "rb") as base:
            out.write(base.read())
        out.write(b"\0" * (-out.tell() % 4))
        out.flush()
        subprocess.run("find . | cpio --quiet -o -H newc -R 0:0 | zstd -q -1", shell=True, check=True, cwd=tree, stdout=out)
    return image


class GuestShell:
    """Runs programs in a domain's guest as the agent does."""

    def __init__(self, domain: private_libvirt.Domain) -> None:
        self.domain = domain

    def agent(self, command: str, **arguments: t.Any) -> t.Any:
        """One command of the agent."""
        request = {"execute": command, **({"arguments": arguments} if arguments else {})}
        return json.loads(self.domain.host.virsh("qemu-agent-command", self.domain.name, json.dumps(request)).stdout)["return"]

    def wait_agent(self, condition: t.Callable[[dict[str, t.Any]], bool] | None = None) -> None:
        """Until the agent answers, and ``condition`` is true for what it tells of itself."""

        def answers() -> bool:
            try:
                info = self.agent("guest-info")
            except AssertionError:
                return False  # it is not there yet
            return condition is None or condition(info)

        wait_for(f"the agent of {self.domain.name}", answers)

    def run(self, *argv: str, text: str = "", check: bool = True, env: tuple[str, ...] = ()) -> tuple[int, str, str]:
        """A program to its end: exit code, stdout, stderr."""
        settings = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", *env]
        words: dict[str, t.Any] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True, "env": settings}
        if text:
            words["input-data"] = base64.b64encode(text.encode()).decode()
        pid = self.agent("guest-exec", **words)["pid"]
        deadline = time.monotonic() + 90
        while True:
            status = self.agent("guest-exec-status", pid=pid)
            if status["exited"]:
                break
            assert time.monotonic() < deadline, f"{argv} did not end"
            time.sleep(0.1)
        out, err = (base64.b64decode(status.get(key, "")).decode("utf-8", "replace") for key in ("out-data", "err-data"))
        code = status.get("exitcode", -1)
        assert not check or code == 0, f"{' '.join(argv)}: {code} {out}{err}"
        return code, out, err

    def script(self, text: str) -> str:
        """A shell script that must succeed; its output."""
        return self.run("sh", "-e", "-c", text)[1]

    def module(self, name: str, check: bool = False, **params: t.Any) -> dict[str, t.Any]:
        """A module of this collection in the guest."""
        arguments = {**params, "_ansible_check_mode": check, "_ansible_diff": True, "_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False}
        code, out, err = self.run(
            "python3",
            "-c",
            module_runner._START,
            f"ansible_collections.nvmeof.spdk.plugins.modules.{name}",
            text=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            check=False,
            env=("PYTHONPATH=/opt", "PYTHONDONTWRITEBYTECODE=1"),
        )
        assert out.strip(), err
        result = json.loads(out.strip().splitlines()[-1])
        result.setdefault("failed", code != 0)
        return result
