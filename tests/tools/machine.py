# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Get a Debian machine ready: packages, the virtual environment, the collection's place, the environment of a test."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
VENV = BUILD / "venv"
LOGS = BUILD / "logs"
HOME = BUILD / "home"
COLLECTIONS = BUILD / "collections"
NAME = Path("ansible_collections/nvmeof/spdk")
#: Bindings of librbd and libvirt belong to this Python; the virtual environment must see them.
SYSTEM_PYTHON = "/usr/bin/python3"


class NotReady(Exception):
    """The machine cannot be made ready; the text says what to do."""


def say(text: str) -> None:
    """One line of the driver's own, at once."""
    print(f"tests/run: {text}", flush=True)


def _call(command: list[str], log: Path, what: str, env: dict[str, str] | None = None) -> None:
    """Run a preparing command into a log; on failure show the log's end and raise NotReady."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=env, check=False).returncode
    if status:
        tail = log.read_text(errors="replace").splitlines()[-20:]
        raise NotReady("\n".join([*tail, f"{what} failed (exit {status}, {' '.join(command[:4])} ...); all of it is in {log}"]))


def required_packages(levels: t.Iterable[str]) -> list[str]:
    """Debian packages of the given levels: tests/requirements.apt, and the lab's own list for what runs in the lab."""
    wanted = {"all", *levels}
    names = []
    for line in (ROOT / "tests/requirements.apt").read_text().splitlines():
        name, *users = line.partition("#")[0].split() or [""]
        if name and wanted.intersection(users):
            names.append(name)
    if "lab" in wanted:
        names += [name for line in (ROOT / "tests/lab/requirements.apt").read_text().splitlines() for name in line.partition("#")[0].split()]
    return list(dict.fromkeys(names))


def install_packages(levels: t.Iterable[str]) -> None:
    """Install the levels' Debian packages that are missing; touch nothing when none is."""
    names = required_packages(levels)
    if not shutil.which("dpkg-query"):
        raise NotReady(f"this is no Debian (no dpkg-query); the levels need: {' '.join(names)}")
    listed = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n", *names], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    missing = [name for name in names if f"installed {name}" not in listed]
    if not missing:
        return
    say(f"installing {' '.join(missing)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log = LOGS / "apt.log"
    install = ["apt-get", "-q", "-y", "-o", "Dpkg::Use-Pty=0", "install", "--no-install-recommends", *missing]
    if any(Path("/var/lib/apt/lists").glob("*_Packages*")):
        try:
            _call(install, log, "apt-get install", env)
            return
        except NotReady:
            say("the package lists may be old: updating them")
    _call(["apt-get", "-q", "update"], log, "apt-get update", env)
    _call(install, log, "apt-get install", env)


def make_venv(path: Path, python: str, requirements: list[str], *, system_packages: bool) -> None:
    """Make (or keep, when made of the same things) a virtual environment with ``requirements`` (pip's arguments)."""
    files = [Path(word).read_text() for word in requirements if word.endswith(".txt")]
    version = subprocess.run([python, "-VV"], capture_output=True, text=True, check=True).stdout
    stamp = hashlib.sha256("\n".join([str(path), version, *requirements, *files]).encode()).hexdigest()
    mark = path / "made-of"
    if mark.is_file() and mark.read_text() == stamp:
        return
    say(f"making {path.relative_to(ROOT)} (log: {(LOGS / 'venv.log').relative_to(ROOT)})")
    shutil.rmtree(path, ignore_errors=True)
    options = ["--system-site-packages"] if system_packages else []
    _call([python, "-m", "venv", *options, str(path)], LOGS / "venv.log", "making the virtual environment")
    pip = [str(path / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q"]
    _call([*pip, *requirements], LOGS / "venv.log", "pip install")
    mark.write_text(stamp)


def link_collection() -> None:
    """build/collections/ansible_collections/nvmeof/spdk -> this clone."""
    link = COLLECTIONS / NAME
    link.parent.mkdir(parents=True, exist_ok=True)
    target = os.path.relpath(ROOT, link.parent)
    if not (link.is_symlink() and os.readlink(link) == target):
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def real_pythons() -> list[str]:
    """Directories of real interpreters a pyenv manages, newest first (none without pyenv)."""
    root = Path(os.environ.get("PYENV_ROOT") or Path("~/.pyenv").expanduser())
    found = [path for path in root.glob("versions/3.*/bin") if not path.parent.is_symlink()]
    return [str(path) for path in sorted(found, key=lambda path: [int(part) for part in path.parent.name.split(".") if part.isdigit()], reverse=True)]


def environment(venv: Path = VENV, collections: Path = COLLECTIONS) -> dict[str, str]:
    """The environment every test runs in: the venv first, no pyenv shims, nothing written to the caller's home.

    Shims are left out because ansible-test clears the environment that would make them work (they exit 127).
    """
    path = [entry for entry in os.environ.get("PATH", os.defpath).split(":") if entry and not entry.endswith("/shims")]
    for entry in ("/usr/local/sbin", "/usr/sbin", "/sbin"):
        if entry not in path:
            path.append(entry)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "MOLECULE_", "PYTEST_", "PYTHON", "GIT_"))}
    env.update(
        ANSIBLE_COLLECTIONS_PATH=str(collections),
        ANSIBLE_HOME=str(BUILD / "ansible"),
        ANSIBLE_NOCOLOR="1",
        # The clone may belong to another user than root; git refuses such a one unless told otherwise.
        GIT_CONFIG_COUNT="1",
        GIT_CONFIG_KEY_0="safe.directory",
        GIT_CONFIG_VALUE_0="*",
        LC_ALL="C.UTF-8",
        PATH=":".join([str(venv / "bin"), *path]),
        PYTHONDONTWRITEBYTECODE="1",
        PYTHONPATH=str(collections),
        VIRTUAL_ENV=str(venv),
    )
    return env


def prepare(levels: t.Iterable[str]) -> None:
    """Everything the levels need, installed and linked. Does nothing, quickly, when it is there."""
    if os.geteuid() != 0:
        raise NotReady("needs root (packages, loop devices, network namespaces): run it as root or through tests/run with sudo")
    if sys.version_info < (3, 9):
        raise NotReady(f"needs Python 3.9 or newer, {SYSTEM_PYTHON} is {sys.version.split()[0]}")
    LOGS.mkdir(parents=True, exist_ok=True)
    levels = list(levels)
    install_packages(levels)
    image = None
    if "lab" in levels:
        # the image of the lab's machines needs nothing of the virtual environment; what is wrong with it, "lab up" will say
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        image = subprocess.Popen([SYSTEM_PYTHON, "-B", str(ROOT / "tests/lab"), "image"], **quiet)
    make_venv(VENV, SYSTEM_PYTHON, ["-r", str(ROOT / "tests/requirements.txt")], system_packages=True)
    if image:
        image.wait()
    link_collection()
