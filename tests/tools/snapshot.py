# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A clean copy of the collection: the files git would commit, tracked or new, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from machine import NAME, ROOT, NotReady, environment

#: The link from playbooks/collections back to the clone.
LOOP = "playbooks/collections/"
#: Only used where there is no git repository (an unpacked archive).
_NOT_OURS = {".git", ".ansible", "build", "output", "__pycache__", ".pytest_cache", ".ruff_cache"}


def collection_files() -> list[str]:
    """Paths below the root, sorted: what git tracks or would track."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, env=environment(), capture_output=True, check=False
        )
        if listed.returncode:
            raise NotReady(f"git ls-files failed in {ROOT}: {listed.stderr.decode(errors='replace').strip()}")
        names = {os.fsdecode(name) for name in listed.stdout.split(b"\0") if name}
        return sorted(name for name in names if os.path.lexists(ROOT / name))
    names = set()
    for directory, children, files in os.walk(ROOT):
        here = Path(directory).relative_to(ROOT)
        names.update(str(here / name) for name in [*files, *(child for child in children if (ROOT / here / child).is_symlink())])
        children[:] = [child for child in children if child not in _NOT_OURS]
    return sorted(names)


def copy_collection(collections: Path, *, with_loop: bool) -> Path:
    """Copy the files to COLLECTIONS/ansible_collections/nvmeof/spdk, a git repository of its own; return that path.

    ``with_loop`` keeps the link of playbooks/collections: ansible-lint has to bear it as users' tools do; ansible-test
    expects the tree of a release, which has none.
    """
    target = collections / NAME
    shutil.rmtree(collections, ignore_errors=True)
    for name in collection_files():
        if name.startswith(LOOP) and not with_loop:
            continue
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy, follow_symlinks=False)
    subprocess.run(["git", "init", "-q", "-b", "main", "."], cwd=target, env=environment(), check=True)
    return target


def shell_scripts(root: Path, names: list[str]) -> list[str]:
    """Those of ``names`` that are shell scripts, by their first line."""
    found = []
    for name in names:
        path = root / name
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as stream:
            words = stream.readline(80).split()
        if words and words[0].startswith(b"#!") and any(word.rpartition(b"/")[2] in (b"sh", b"bash") for word in words[:2]):
            found.append(name)
    return found
