# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An audit of a made-up fleet, run by ansible-playbook through the role's own tasks, and a browser to look at its page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.nvmeof.spdk.tests.fixtures.fleet import ASKED, GIB, SIZE, fleet, hostvars

sys.path.insert(0, str(Path(__file__).resolve().parent))

from browser import Browser

#: A name that would run or load something wherever it is not escaped.
HOSTILE = "\"><script>window.hacked=1</script><img src=http://192.0.2.1/x onerror=window.hacked=2>'{{ lookup('pipe','id') }}</style></title>"

#: What the modules would have registered comes from a file; the rest is the role.
STORED = "{{ (lookup('ansible.builtin.file', playbook_dir ~ '/facts.json') | from_json)[inventory_hostname]['%s'] | default({}) }}"
MEASURED = {name: STORED % name for name in ("volume_growth__target", "volume_growth__host", "volume_growth__disks")}
PLAY = [
    {
        "name": "Audit what a file has in store",
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {"name": "Audit", "ansible.builtin.include_role": {"name": "nvmeof.spdk.volume_growth", "tasks_from": "audit"}},
        ],
    }
]


def faulty_fleet() -> dict[str, dict[str, t.Any]]:
    """Volume 2 lags at its disk, volume 3 is critical, volume 7 is unproven, volume 8 has hostile names."""
    found = fleet()
    found["h2"]["disks"][0].update(capacity_bytes=SIZE - GIB, guest_bytes=SIZE - GIB)
    for name in ("t1", "t2"):
        found[name]["target"]["bdevs"][2]["image_bytes"] = SIZE // 2
    found["h6"]["disks"][0].update(guest_bytes=None, guest_error="no guest agent")
    for name in ("t3", "t4"):
        found[name]["target"]["bdevs"][3].update(image=HOSTILE, name=HOSTILE)
        found[name]["target"]["subsystems"][0]["namespaces"][3]["bdev"] = HOSTILE
    found["h4"]["disks"][1].update(domain=HOSTILE, target=HOSTILE, source=HOSTILE)
    found["h4"]["host"]["problems"].append({"object": HOSTILE, "hop": "path", "problem": HOSTILE, "remedy": HOSTILE, "severity": "warning"})
    return found


class Audit(t.NamedTuple):
    """What a run left: its output, the JSON report, the page's address."""

    output: str
    report: dict[str, t.Any]
    url: str


@pytest.fixture(name="run", scope="session")
def _run(tmp_path_factory: pytest.TempPathFactory) -> t.Callable[..., Audit]:
    """Run the role's audit over a fleet with these extra variables."""

    def run(measurements: dict[str, dict[str, t.Any]], *options: str, fails: bool = False, **variables: str) -> Audit:
        place = tmp_path_factory.mktemp("audit")
        groups = {"spdk_targets": ASKED["target"], "nvme_initiators": ASKED["host"]}
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **MEASURED}
        inventory = {"all": {"vars": local, "children": {name: {"hosts": dict.fromkeys(hosts, {})} for name, hosts in groups.items()}}}
        (place / "inventory.yml").write_text(json.dumps(inventory))
        (place / "facts.json").write_text(json.dumps(hostvars(measurements)))
        (place / "play.yml").write_text(json.dumps(PLAY))
        wish = {"volume_growth_report": str(place / "audit.json"), "volume_growth_html": str(place / "audit.html"), **variables}
        program = os.path.join(os.path.dirname(sys.executable), "ansible-playbook")
        command = [program, "-i", str(place / "inventory.yml"), str(place / "play.yml"), "-e", json.dumps(wish), *options]
        env = {**os.environ, "ANSIBLE_SHOW_CUSTOM_STATS": "1", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_STDOUT_CALLBACK": "default", "ANSIBLE_RETRY_FILES_ENABLED": "0"}
        done = subprocess.run(command, env=env, cwd=place, capture_output=True, text=True, check=False)
        output = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, output
        report = {} if fails else json.loads((place / "audit.json").read_text())
        return Audit(output, report, (place / "audit.html").as_uri())

    return run


@pytest.fixture(name="audit", scope="session")
def _audit(run: t.Callable[..., Audit]) -> Audit:
    return run(faulty_fleet())


@pytest.fixture(name="browser", scope="session")
def _browser() -> t.Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()
