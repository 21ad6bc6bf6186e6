# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module of this collection as Ansible would: as a process of the system's python, parameters in, one JSON object out.

Any test may use it: ``run_module("rbd_image_info", {...}, check=False, diff=False) -> dict``. The result is what the module
printed (``failed`` is always set). The process has a time limit, and anything but one JSON object on stdout is an error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t

PYTHON = "/usr/bin/python3"
COLLECTION = "ansible_collections.nvmeof.spdk"

_START = """
import json, runpy, sys
from ansible.module_utils import basic
arguments = sys.stdin.buffer.read()
try:
    from ansible.module_utils.testing import patch_module_args
except ImportError:
    basic._ANSIBLE_ARGS = arguments
    runpy.run_module(sys.argv[1], run_name="__main__")
else:
    with patch_module_args(json.loads(arguments)["ANSIBLE_MODULE_ARGS"]):
        runpy.run_module(sys.argv[1], run_name="__main__")
"""


def python_path() -> str:
    """The import path on which the collection and ansible-core of the running tests are."""
    import ansible
    import ansible_collections

    roots = [os.path.dirname(os.path.abspath(path)) for path in list(ansible_collections.__path__) + list(ansible.__path__)]
    return os.pathsep.join(dict.fromkeys(roots))


def run_module(
    module_name: str,
    params: dict[str, t.Any],
    check: bool = False,
    diff: bool = False,
    *,
    python: str = PYTHON,
    timeout: float = 120,
    env: dict[str, str] | None = None,
) -> dict[str, t.Any]:
    """The module's result; ``env`` is added to the environment (PATH of fakes, for example)."""
    arguments = {**params, "_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False}
    done = subprocess.run(
        [python, "-c", _START, f"{COLLECTION}.plugins.modules.{module_name}"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode(),
        capture_output=True,
        timeout=timeout,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [(env or {}).get("EXTRA_PYTHONPATH"), python_path()])),
            "PYTHONDONTWRITEBYTECODE": "1",
            **(env or {}),
        },
    )
    lines = done.stdout.decode().strip().splitlines()
    if not lines:
        raise RuntimeError(f"{module_name} printed nothing (exit code {done.returncode}); stderr: {done.stderr.decode()[-4000:]}")
    result = json.loads(lines[-1])
    result.setdefault("failed", done.returncode != 0)
    return result


if __name__ == "__main__":
    print(json.dumps(run_module(sys.argv[1], json.loads(sys.argv[2] if len(sys.argv) > 2 else "{}")), indent=2))
