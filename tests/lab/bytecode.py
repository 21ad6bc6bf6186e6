# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What spares the machines' emulated processors the larger part of a module run (4 s to 1 s); modules do the same as without it.

A module arrives as a zip of sources. The machines find the compiled form of a source by the source's hash; a source that is not known is compiled as ever.
They also get ansible-core's module_utils, which python_server/forkserver.py imports before any module needs them.
"""

from __future__ import annotations

import _imp
import importlib.util
import marshal
import shutil
import zipimport
from collections.abc import Iterable, Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
CACHE = "/var/cache/zipimport"
KEY = 0x6C6162
MAGIC = importlib.util.MAGIC_NUMBER.hex()
#: Where python_server/forkserver.py looks for ansible-core's module_utils.
UTILS = "/usr/local/lib/lab-python/ansible/module_utils"
#: Debian 12's Python reads this at every start.
SITE = "/usr/lib/python3.11/sitecustomize.py"
HOOK = f'''\
"""Finds the bytecode of modules in zip files by the hash of their source. Made by tests/lab/bytecode.py."""
import _imp
import marshal
import os
import zipimport

_compile = zipimport._compile_source
_known = {{}}


def _read(name):
    with open("{CACHE}/" + name, "rb") as file:
        return marshal.loads(file.read())


def remember():
    """Read all of it, for a process whose children will need it."""
    for name in os.listdir("{CACHE}") if os.path.isdir("{CACHE}") else ():
        if name not in _known:
            _known[name] = _read(name)


def _compile_source(pathname, source):
    name = _imp.source_hash({KEY:#x}, source).hex()
    try:
        return _known[name] if name in _known else _read(name)
    except OSError:
        return _compile(pathname, source)


zipimport._compile_source = _compile_source
zipimport.remember = remember
'''
#: The modules of ansible-core that the roles use.
BUILTIN = ("command", "copy", "file", "ping", "slurp", "stat", "systemd_service", "systemd")


def core() -> Path | None:
    """The directory of the ansible-core that this lab's playbooks run with; None where there is none."""
    program = shutil.which("ansible")
    found = sorted(Path(program).absolute().parent.parent.glob("lib/python3*/site-packages/ansible/release.py")) if program else []
    return found[-1].parent if found else None


def _compiled(sources: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """One file per source, named by its hash."""
    for path in sources:
        source = path.read_bytes()
        code = zipimport._compile_source(path.name, source)  # the very function that the machine would use
        yield f"{CACHE}/{_imp.source_hash(KEY, source).hex()}", marshal.dumps(code)


def core_files(magic: str) -> Iterator[tuple[str, bytes]]:
    """ansible-core's part for a machine whose Python has the bytecode ``magic`` (hex), with the hook. Sources only where the versions differ."""
    ansible = core()
    if ansible is None:
        return
    utils = sorted((ansible / "module_utils").rglob("*.py"))
    if magic == MAGIC:
        yield SITE, HOOK.encode()
        yield from _compiled([*utils, *(ansible / "modules" / f"{name}.py" for name in BUILTIN)])
    for path in utils:
        yield f"{UTILS}/{path.relative_to(ansible / 'module_utils')}", path.read_bytes()


def own_files(magic: str) -> Iterator[tuple[str, bytes]]:
    """The same for this collection's modules."""
    if core() is not None and magic == MAGIC:
        yield from _compiled(path for part in ("module_utils", "modules") for path in sorted((REPOSITORY / "plugins" / part).glob("*.py")))
