# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytecode for what Ansible sends: a module arrives as a zip of sources, and compiling them takes an emulated processor 2 of the 4 seconds of every module run.

So the lab's machines find the compiled form of a source by the source's hash. Modules do the same as without it;
a source that is not known is compiled as ever.
"""

from __future__ import annotations

import _imp
import importlib.util
import marshal
import shutil
import subprocess
import zipimport
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
CACHE = "/var/cache/zipimport"
KEY = 0x6C6162
#: Debian 12's Python reads this at every start.
SITE = "/usr/lib/python3.11/sitecustomize.py"
HOOK = f'''\
"""Finds the bytecode of modules in zip files by the hash of their source. Made by tests/lab/bytecode.py."""
import _imp
import marshal
import zipimport

_compile = zipimport._compile_source


def _compile_source(pathname, source):
    try:
        with open("{CACHE}/" + _imp.source_hash({KEY:#x}, source).hex(), "rb") as file:
            return marshal.loads(file.read())
    except OSError:
        return _compile(pathname, source)


zipimport._compile_source = _compile_source
'''
#: The modules of ansible-core that the roles use.
BUILTIN = ("command", "copy", "file", "ping", "slurp", "stat", "systemd_service", "systemd")


def _sources() -> Iterator[Path]:
    """Everything that may be in a zip: ansible-core's module_utils and some modules, and ours."""
    found = subprocess.run(["ansible", "--version"], text=True, capture_output=True, check=True).stdout
    core = Path([line.partition(" = ")[2] for line in found.splitlines() if "ansible python module location" in line][0])
    yield from (core / "module_utils").rglob("*.py")
    for name in BUILTIN:
        yield core / "modules" / f"{name}.py"
    for part in ("module_utils", "modules"):
        yield from (REPOSITORY / "plugins" / part).glob("*.py")


def files(magic: str) -> Iterator[tuple[str, bytes]]:
    """Files for a machine whose Python has the bytecode ``magic`` (hex): the hook, and one file per source.

    Nothing where the versions differ, or where no Ansible is at hand.
    """
    if magic != importlib.util.MAGIC_NUMBER.hex() or not shutil.which("ansible"):
        return
    yield SITE, HOOK.encode()
    for path in _sources():
        source = path.read_bytes()
        code = zipimport._compile_source(path.name, source)  # the very function that the machine would use
        yield f"{CACHE}/{_imp.source_hash(KEY, source).hex()}", marshal.dumps(code)
