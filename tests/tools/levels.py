# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The levels of the tests, cheapest first. Each is a function that runs its checks and returns their tally."""

from __future__ import annotations

import os
import re
import shutil
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

import execution
import machine
import snapshot
from machine import BUILD, HOME, LOGS, ROOT, VENV
from tally import Tally, from_junit, from_sanity

JUNIT = BUILD / "junit"
DIST = BUILD / "dist"
#: What ansible-test says itself; pip's many lines stay in the log.
SANITY_LINES = re.compile(r"^(Running sanity|ERROR|FATAL|WARNING: Skipping|See |[a-z-]+(\.[0-9]+)*$)")


@dataclass(frozen=True)
class Level:
    """``limit`` is in seconds and only there for a run that hangs; no test is judged by time. ``beside``: may run while other levels run machines."""

    name: str
    run: t.Callable[[float], Tally]
    limit: float
    usual: bool = True
    beside: bool = False


def _log(name: str) -> Path:
    """A fresh log of this name."""
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{name}.log"
    path.unlink(missing_ok=True)
    return path


def _check(tally: Tally, name: str, command: list[str], *, env: dict[str, str], cwd: Path, limit: float) -> None:
    """One quiet check of the lint level: a line when it passes, its whole output when it does not."""
    log = _log(f"lint-{name}")
    began = time.monotonic()
    status = execution.run(command, log, env=env, cwd=cwd, limit=limit, show=None)
    print(f"  {name:<24} {'ok' if status == 0 else 'FAILED':<7} {time.monotonic() - began:6.1f} s", flush=True)
    if status:
        print(log.read_text(errors="replace"), flush=True)
    tally.add(status == 0)


def lint(limit: float) -> Tally:
    """Style, types of files, documentation, changelog, and whether the built archive installs and lists every plugin."""
    tree = snapshot.copy_collection(BUILD / "lint", with_loop=True)
    names = snapshot.collection_files()
    env = machine.environment(collections=BUILD / "lint")
    tally = Tally()

    def check(name: str, *command: str) -> None:
        _check(tally, name, list(command), env=env, cwd=tree, limit=limit)

    check("ruff", "ruff", "check", "--no-cache", "--output-format=concise", ".")
    check("ruff-format", "ruff", "format", "--no-cache", "--check", "--output-format=concise", ".")
    check("yamllint", "yamllint", "--strict", ".")
    check("shellcheck", "shellcheck", "--external-sources", *snapshot.shell_scripts(ROOT, names))
    check("reuse", "reuse", "lint", "--lines")
    check("consistency", "python3", str(ROOT / "tests/tools/consistency.py"), str(tree))
    check("ansible-lint", "ansible-lint", "--profile", "production", "--offline", "--nocolor")
    check("changelog", "antsibull-changelog", "lint")
    check("changelog-yaml", "antsibull-changelog", "lint-changelog-yaml", "changelogs/changelog.yaml")
    check(
        "docs",
        "python3",
        str(ROOT / "tests/tools/lint_docs.py"),
        "lint-collection-docs",
        "--plugin-docs",
        "--validate-collection-refs=all",
        "--disallow-unknown-collection-refs",
        ".",
    )
    shutil.rmtree(DIST, ignore_errors=True)
    check("build", "ansible-galaxy", "collection", "build", "--force", "--output-path", str(DIST))
    archives = [str(path) for path in DIST.glob("*.tar.gz")]
    check("install", "ansible-galaxy", "collection", "install", "--offline", "--force", "-p", str(DIST / "installed"), *archives)
    check("installed", "python3", str(ROOT / "tests/tools/consistency.py"), "--installed", str(DIST / "installed" / machine.NAME), str(tree))
    return tally


def _sanity(name: str, venv: Path, pythons: list[str], limit: float) -> Tally:
    """ansible-test sanity of one ansible-core, with every interpreter that really exists.

    It runs in a copy laid out as it demands, under a home of its own that holds its caches and environments.
    """
    tree = snapshot.copy_collection(BUILD / name, with_loop=False)
    env = machine.environment(venv, BUILD / name)
    env["PATH"] = ":".join([str(venv / "bin"), *pythons, env["PATH"]])
    env.update(HOME=str(HOME))
    cache = HOME / ".ansible/test/cache"
    cache.mkdir(parents=True, exist_ok=True)
    for pip in _wanted_pips(venv):
        shutil.copyfile(ROOT / "tests/tools/get_pip_stub.py", cache / f"get_pip_{pip}.py")
    # pip keeps its settings (which index) in the home that was just replaced.
    for place in (".pip", ".config/pip"):
        ours, link = Path("~").expanduser() / place, HOME / place
        if ours.is_dir() and not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(ours)
    log = _log(name)
    command = [str(venv / "bin/ansible-test"), "sanity", "--color", "no"]
    status = execution.run(command, log, env=env, cwd=tree, limit=limit, show=SANITY_LINES)
    tally = from_sanity(log.read_text(errors="replace"))
    tally.settle(status, "ansible-test sanity")
    return tally


def _wanted_pips(venv: Path) -> list[str]:
    """Versions of pip this ansible-test bootstraps, as in its cache's file names (24_2 for ansible-core 2.19).

    Read from the source that names them, so that another ansible-core needs no new table.
    """
    sources = list(venv.glob("lib/python3*/site-packages/ansible_test/_internal/python_requirements.py"))
    found = {version for source in sources for version in re.findall(r"""\bpip=['"]([0-9.]+)['"]""", source.read_text())}
    if not found:
        raise machine.NotReady(f"no version of pip is named in {venv}'s ansible_test/_internal/python_requirements.py")
    return [version.replace(".", "_") for version in sorted(found)]


def sanity(limit: float) -> Tally:
    """ansible-test sanity with the project's ansible-core."""
    return _sanity("sanity", VENV, machine.real_pythons(), limit)


def _other_sanity(core: str, python: str) -> t.Callable[[float], Tally]:
    """Sanity with another ansible-core, for machines that have a Python it runs on."""

    def run(limit: float) -> Tally:
        pythons = machine.real_pythons()
        places = [*pythons, "/usr/local/bin", "/usr/bin"]
        interpreter = shutil.which(python, path=":".join(places))
        if interpreter is None:
            return Tally(notes=[f"not run: ansible-core {core} needs {python}, which this machine does not have"])
        venv = BUILD / f"venv-{core}"
        machine.make_venv(venv, interpreter, [f"ansible-core=={core}.*"], system_packages=False)
        return _sanity(f"sanity-{core}", venv, pythons, limit)

    return run


#: Runs a command with nothing but a loopback of its own: fixed ports (recorded listeners, Ceph's monitor) cannot meet another checkout's.
OWN_NETWORK = ("unshare", "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


def _pytest(name: str, path: str, *options: str, prefix: tuple[str, ...] = (), before: str | None = None) -> t.Callable[[float], Tally]:
    """A level that is a directory of pytest tests, or a file; ``prefix`` goes before the command, ``before`` is a program that gets ready for it."""

    def run(limit: float) -> Tally:
        if not (ROOT / path).exists():
            return Tally(failed=1, notes=[f"{path} does not exist"])
        report = JUNIT / f"{name}.xml"
        report.unlink(missing_ok=True)
        if before and execution.run([str(VENV / "bin/python"), before], _log(f"{name}-before"), env=machine.environment(), cwd=ROOT, limit=limit):
            return Tally(failed=1, notes=[f"{before} failed"])
        command = [*prefix, str(VENV / "bin/python"), "-m", "pytest", "-q", "--color=no", f"--junitxml={report}", *options, path]
        status = execution.run(command, _log(name), env=machine.environment(), cwd=ROOT, limit=limit)
        tally = from_junit([report] if report.is_file() else [])
        tally.settle(status, "pytest")
        return tally

    return run


def lab(limit: float) -> Tally:
    """The scenarios in virtual machines. The script leaves JUnit reports in $LAB_RESULTS; without any it counts as one test."""
    script = ROOT / "tests/lab/molecule"
    if not os.access(script, os.X_OK):
        return Tally(failed=1, notes=["tests/lab/molecule does not exist or cannot be executed"])
    reports = JUNIT / "lab"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    env = {**machine.environment(), "LAB_RESULTS": str(reports), "LAB_COLLECTIONS": str(machine.COLLECTIONS)}
    status = execution.run([str(script)], _log("lab"), env=env, cwd=ROOT, limit=limit)
    found = list(reports.glob("**/*.xml"))
    tally = from_junit(found) if found else Tally(passed=int(status == 0))
    tally.settle(status, "tests/lab/molecule")
    return tally


MINUTES = 60.0
LAYERS = ("tests/integration/libvirt/test_nvme_layers.py", "tests/integration/libvirt/test_guest_filesystem.py")
#: Whole runs of grow_volume under faults, over half a minute each.
RUNS_UNDER_FAULTS = "tests/integration/ceph/test_run_faults.py"
LEVELS = [
    Level("lint", lint, 20 * MINUTES, beside=True),
    Level("sanity", sanity, 60 * MINUTES, beside=True),
    Level("units", _pytest("units", "tests/unit"), 20 * MINUTES, beside=True),
    Level("report", _pytest("report", "tests/integration/report"), 10 * MINUTES, beside=True),
    Level("simulator", _pytest("simulator", "tests/integration/simulator", prefix=OWN_NETWORK, before="tests/bench/sshd.py"), 30 * MINUTES, beside=True),
    Level("awx", _pytest("awx", "tests/integration/awx"), 20 * MINUTES, beside=True),
    Level("ceph", _pytest("ceph", "tests/integration/ceph", f"--ignore={RUNS_UNDER_FAULTS}", prefix=OWN_NETWORK), 60 * MINUTES),
    Level("libvirt", _pytest("libvirt", "tests/integration/libvirt", *(f"--ignore={path}" for path in LAYERS)), 60 * MINUTES, beside=True),
    Level("lab", lab, 240 * MINUTES),
    # a guest with multipathd, LUKS, LVM and file systems of its own: several minutes in an emulated machine
    Level("layers", _pytest("layers", *LAYERS), 60 * MINUTES, usual=False),
    Level("faults", _pytest("faults", RUNS_UNDER_FAULTS, prefix=OWN_NETWORK), 60 * MINUTES, usual=False),
    Level("sanity-oldest", _other_sanity("2.17", "python3.10"), 60 * MINUTES, usual=False),
    Level("sanity-newest", _other_sanity("2.21", "python3.12"), 60 * MINUTES, usual=False),
]
