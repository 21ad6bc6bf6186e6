# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection says about itself in several places must agree.

Every module is in the action group "all" and every name in a group is a module; README.md names every module, filter,
role and playbook; every role has an argument specification; no released file is missing from, or strange in, an
installed copy. Prints one line for each disagreement and exits 1 when there is one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import yaml

#: What the archive is made for, next to which only files at the top are expected.
DIRECTORIES = {"LICENSES", "changelogs", "docs", "extensions", "meta", "playbooks", "plugins", "roles", "tests"}


def _stems(directory: Path, pattern: str = "*.py") -> set[str]:
    """Names of the plugins or playbooks in a directory, private ones left out."""
    return {path.stem for path in directory.glob(pattern) if not path.name.startswith("_")}


def check_tree(root: Path) -> list[str]:
    """Disagreements inside the collection."""
    found = []
    modules = _stems(root / "plugins/modules")
    groups = yaml.safe_load((root / "meta/runtime.yml").read_text())["action_groups"]
    for name in sorted(modules - set(groups["all"])):
        found.append(f"meta/runtime.yml: module {name} is missing from the action group all")
    for group, members in groups.items():
        found += [f"meta/runtime.yml: {name} in the action group {group} is no module" for name in sorted(set(members) - modules)]
    readme = (root / "README.md").read_text()
    roles = {path.name for path in (root / "roles").glob("*") if path.is_dir()}
    playbooks = {path.stem for path in (root / "playbooks").glob("*.yml")}
    for kind, names in (("module", modules), ("filter", _filters(root)), ("role", roles), ("playbook", playbooks)):
        found += [f"README.md: {kind} {name} is not named" for name in sorted(names) if f"`{name}`" not in readme]
    found += [f"roles/{name}: no meta/argument_specs.yml" for name in sorted(roles) if not (root / "roles" / name / "meta/argument_specs.yml").is_file()]
    return found


def _filters(root: Path) -> set[str]:
    """Names of the filters: those that are documented, in the plugin or beside it."""
    return _stems(root / "plugins/filter", "*.yml") or _stems(root / "plugins/filter")


def check_installed(installed: Path, root: Path) -> list[str]:
    """Disagreements between the tree and what ansible-galaxy made of its archive."""
    found = [f"installed: {path.name}/ does not belong there" for path in installed.iterdir() if path.is_dir() and path.name not in DIRECTORIES]
    found += [f"installed: {path.relative_to(installed)} is a link to a directory" for path in installed.rglob("*") if path.is_symlink() and path.is_dir()]
    for part in ("plugins", "roles", "playbooks", "meta"):
        for path in (root / part).rglob("*"):
            name = path.relative_to(root)
            if path.is_file() and "collections" not in name.parts and "__pycache__" not in name.parts and not (installed / name).is_file():
                found.append(f"installed: {name} is missing")
    place = str(installed.parents[2])
    listed = subprocess.run(["ansible-doc", "--list", "--playbook-dir", place, "nvmeof.spdk"], capture_output=True, text=True, check=False)
    modules = sorted(_stems(root / "plugins/modules"))
    return found + [f"installed: ansible-doc does not list {name}" for name in modules if f"nvmeof.spdk.{name} " not in listed.stdout]


def main() -> int:
    """Check the tree, or with --installed an installed copy against it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--installed", type=Path)
    arguments = parser.parse_args()
    found = check_installed(arguments.installed, arguments.root) if arguments.installed else check_tree(arguments.root)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
