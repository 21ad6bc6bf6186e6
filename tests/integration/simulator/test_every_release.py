# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of ansible-playbook over simulated targets from 19.01.1 to 26.05: the modules as Ansible runs them.

test_releases.py has all releases, in one process; here are those between which something changes that matters to a play. The
modules reach Ceph through the program `rbd`; a stand-in reads and edits the file that plays Ceph, which is named in the
"configuration file" it is given.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Iterator

import pytest
from fake_ceph import FSID
from release_world import IMAGES, MIB, World
from simulator_process import ROOT

PLAYED = ["19.01.1", "20.01", "20.10", "21.10", "22.05", "23.01.1", "24.05", "25.05", "25.09", "26.05"]
#: `rbd status` is asked as often as `rbd info`, and needs no python.
RBD_SHELL = """#!/bin/sh
case " $* " in *" status "*) echo '{"watchers": []}';; *) exec "$0.py" "$@";; esac
"""
RBD = """#!/usr/bin/python3 -IS
import fcntl, json, os, sys
words = sys.argv[1:]
path = open(words[words.index("-c") + 1]).read().strip()
verb = next(word for word in words if word in ("info", "resize"))
pool, image = words[-1].split("/")
with open(path + ".lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    content = json.load(open(path))
    size = content["pools"][pool].get(image)
    if size is None:
        sys.exit(2)
    if verb == "info":
        print(json.dumps({"size": size, "id": image}))
    else:
        wanted = int(words[words.index("--size") + 1].rstrip("B"))
        if wanted < size:
            print("rbd: shrinking an image is only allowed with the --allow-shrink flag", file=sys.stderr)
            sys.exit(22)
        content["pools"][pool][image] = wanted
        with open(path + ".new", "w") as file:
            json.dump(content, file)
        os.replace(path + ".new", path)
"""
RADOS = """#!/usr/bin/python3 -IS
import fcntl, json, os, sys
words = sys.argv[1:]
path = open(words[words.index("-c") + 1]).read().strip() + ".locks"
at = words.index("lock")
verb, key = words[at + 1], " ".join(words[at + 2 : at + 4])
given = {name: words[words.index(name) + 1] for name in words if name.startswith("--lock-")}
with open(path + ".lock", "w") as guard:
    fcntl.flock(guard, fcntl.LOCK_EX)
    locks = json.load(open(path)) if os.path.exists(path) else {}
    held = locks.setdefault(key, [])
    if verb == "get":
        if any(holder["tag"] != given["--lock-tag"] for holder in held):
            print("error acquiring lock: (16) Device or resource busy", file=sys.stderr)
            sys.exit(1)
        held.append({"name": "client.1", "cookie": given["--lock-cookie"], "tag": given["--lock-tag"], "description": given["--lock-description"]})
    elif verb == "break":
        held[:] = [holder for holder in held if holder["cookie"] != given["--lock-cookie"]]
    else:
        print(json.dumps({"lockers": held}))
    json.dump(locks, open(path, "w"))
"""
CEPH = f"""#!/bin/sh
case "$*" in *fsid*) echo '{{"fsid": "{FSID}"}}';; *blocklist*) echo '[]';; *) exit 1;; esac
"""


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A short path (Unix sockets allow 107 bytes)."""
    path = tmp_path_factory.mktemp("e")
    yield path
    shutil.rmtree(path)


def environment(directory: Path) -> dict[str, str]:
    """Where the programs come before the real ones and python3-rbd is hidden."""
    for name, text in (
        ("bin/rbd", RBD_SHELL),
        ("bin/rbd.py", RBD),
        ("bin/rados", RADOS),
        ("bin/ceph", CEPH),
        ("hidden/rbd.py", "raise ImportError('hidden')\n"),
        ("hidden/rados.py", "raise ImportError('hidden')\n"),
    ):
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    python_path = os.pathsep.join(filter(None, [str(directory / "hidden"), os.environ.get("PYTHONPATH")]))
    quiet = {
        "ANSIBLE_FORKS": "2",
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCAL_TEMP": str(directory / "tmp"),
        "ANSIBLE_HOST_KEY_CHECKING": "0",
    }
    paths = {"PATH": f"{directory / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": python_path, "ANSIBLE_REMOTE_TEMP": str(directory / "remote")}
    return {**os.environ, **quiet, **paths, "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3"}


def test_a_play_over_targets_of_many_releases(directory: Path) -> None:
    hosts = {}
    with ExitStack() as running:
        worlds = []
        for release in PLAYED:
            world = World(directory / release, release)
            running.callback(world.simulator.stop)
            worlds.append(world)
            grows = world.number >= (20, 4)
            grown = [{**wish, "state": "grown"} for wish in world.bdevs("256M") if wish.get("size")]
            sizes = {f"bdev-{image}": size for image, size in IMAGES.items()}
            sizes.update({wish["name"]: 256 * MIB for wish in grown if grows})
            hosts[f"spdk-{release}"] = {
                "ansible_connection": "local",
                "target_socket": world.socket,
                "target_release": f"{world.number[0]}.{world.number[1]}",
                "target_ceph_conf": str(world.conf),
                "target_transports": world.transports(),
                "target_clusters": world.clusters(),
                "target_bdevs": world.bdevs(),
                "target_subsystems": [world.subsystem()],
                "target_grown": grown,
                "target_grows": grows,
                "target_sizes": sizes,
            }
        inventory = directory / "hosts.json"
        inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
        program = Path(sys.executable).parent / "ansible-playbook"
        playbook = ROOT / "tests" / "integration" / "simulator" / "every_release.yml"
        done = subprocess.run(
            [str(program), "-i", str(inventory), str(playbook)], env=environment(directory), capture_output=True, text=True, timeout=600, check=False
        )
        recap = [line.split() for line in done.stdout.partition("PLAY RECAP")[2].splitlines() if " ok=" in line]
        assert done.returncode == 0, done.stdout[-12000:] + done.stderr[-3000:]
        assert {words[0] for words in recap} == set(hosts) and all("failed=0" in words and "unreachable=0" in words for words in recap)
