# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""What a story of the lab is made of: steps under a writing guest, each a line, ended by the first thing that is not as it must be.

A lab is deployed and connected, and guest g1 on h1 writes on vol-1.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, TypeVar

HERE = Path(__file__).resolve().parent
PLAYBOOKS = HERE.parent.parent / "playbooks"
LAB = str(HERE / "lab")
#: What g1 writes on.
VOLUME = "pool-1/vol-1"


class Wrong(Exception):
    """Something is not as it must be."""


def expect(condition: Any, text: str) -> None:
    """End the story unless ``condition`` holds."""
    if not condition:
        raise Wrong(text)


def lab(*command: str) -> str:
    """A command of the lab; its output."""
    done = subprocess.run([LAB, *command], text=True, capture_output=True, check=False)
    expect(done.returncode == 0, f"lab {' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def until(what: str, true: Callable[[], Any], seconds: float = 120) -> Any:
    """Wait until ``true`` gives something; the patience only ends a wait that would never end."""
    deadline = time.monotonic() + seconds
    while True:
        found = true()
        if found:
            return found
        expect(time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}")
        time.sleep(1)


class Story:
    """What is common to all: playbooks, the guest, Ceph. ``directory`` is for reports."""

    def __init__(self, inventory: str, directory: Path) -> None:
        self.inventory, self.directory = inventory, directory
        self.begin = time.monotonic()

    def say(self, text: str) -> None:
        """One line for the reader."""
        print(f"[{time.monotonic() - self.begin:5.0f} s] {text}", flush=True)

    def playbook(self, name: str, *variables: str) -> tuple[int, int, str]:
        """Run a playbook as an operator does: status, sum of ``changed``, output."""
        argv = ["ansible-playbook", "-i", self.inventory, name]
        for variable in variables:
            argv += [variable] if variable.startswith("-") else ["-e", variable]
        done = subprocess.run(argv, cwd=PLAYBOOKS, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return done.returncode, sum(int(count) for count in re.findall(r"\bchanged=(\d+)", done.stdout)), done.stdout

    def console(self) -> str:
        """What the guest has printed."""
        return lab("guest-console", "h1", "g1")

    def io_goes_on(self, lines: int = 3) -> None:
        """The guest finishes requests from now on, and none has ever failed or given back wrong data."""

        def counts() -> list[tuple[int, int, int]]:
            return [(int(ok), int(err), int(bad)) for ok, err, bad in re.findall(r"IO ok=(\d+) err=(\d+) bad=(\d+)", self.console())]

        before = counts()
        until("guest I/O", lambda: len([count for count in counts()[len(before) :] if not before or count[0] > before[-1][0]]) >= lines)
        expect(all(count[1:] == (0, 0) for count in counts()), f"the guest saw errors: {counts()[-1]}")

    def image_bytes(self, volume: str = VOLUME) -> int:
        """An image's size, asked of Ceph."""
        return int(json.loads(lab("rbd", "info", "--format", "json", volume))["size"])


Told = TypeVar("Told", bound=Story)


def tell(kind: Callable[[str, Path], Told], steps: dict[str, Callable[[Told], None]]) -> int:
    """PROGRAM INVENTORY DIRECTORY [STEP...]: all steps or those that are named, in their order; the exit status."""
    inventory, directory = sys.argv[1], Path(sys.argv[2]).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    os.environ["ANSIBLE_FORCE_COLOR"] = "0"
    story = kind(os.path.abspath(inventory), directory)
    try:
        story.io_goes_on()
        for name in sys.argv[3:] or steps:
            steps[name](story)
    except Wrong as error:
        story.say(f"WRONG: {error}")
        return 1
    return 0
