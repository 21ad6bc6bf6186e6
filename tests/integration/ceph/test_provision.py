# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks provision_volume and retire_volume over a simulated target on a real Ceph: images, bdevs, namespaces, start-up file, declaration."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
import yaml
from conftest import POOL, TESTS

ROOT = TESTS.parent
NQN = "nqn.2026-01.org.example:many"
MIB = 1024**2


class Site:
    """An inventory of one target, and the files around it."""

    def __init__(self, directory, simulator, ceph):
        self.directory, self.simulator, self.ceph = directory, simulator, ceph
        self.file = directory / "spdk_tgt.json"
        self.declared = directory / "volumes.yml"
        cluster = {"method": "bdev_rbd_register_cluster", "params": simulator.cluster}
        subsystem = {"method": "nvmf_create_subsystem", "params": {"nqn": NQN, "allow_any_host": True, "serial_number": "S1", "max_namespaces": 32}}
        sections = [{"subsystem": "bdev", "config": [cluster]}, {"subsystem": "nvmf", "config": [subsystem]}]
        self.file.write_text(json.dumps({"subsystems": sections}))
        simulator.call("bdev_rbd_register_cluster", **simulator.cluster)
        simulator.call("nvmf_create_subsystem", **subsystem["params"])
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "/usr/bin/python3",
            "spdk_target_socket": simulator.socket,
            "spdk_target_config_file": str(self.file),
            "spdk_target_ceph_conf": str(ceph.conf),
            "spdk_target_ceph_keyring": str(ceph.keyring),
        }
        (directory / "inventory.yml").write_text(json.dumps({"spdk_targets": {"hosts": {"t1": variables}}}))

    def run(self, playbook, *options, **extra):
        """Exit code, changed count and output of one run."""
        environment = {
            **os.environ,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCAL_TEMP": str(self.directory / "ansible"),
            "ANSIBLE_RETRY_FILES_ENABLED": "0",
            "ANSIBLE_PIPELINING": "1",
        }
        arguments = [sys.executable, "-m", "ansible", "playbook", "-i", str(self.directory / "inventory.yml"), f"nvmeof.spdk.{playbook}", *options]
        arguments += ["-e", json.dumps(extra)]
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=280, check=False, cwd=self.directory)
        text = done.stdout + done.stderr
        return done.returncode, sum(int(number) for number in re.findall(r"changed=([0-9]+)", text)), text

    def namespaces(self):
        (subsystem,) = [entry for entry in self.simulator.call("nvmf_get_subsystems") if entry["nqn"] == NQN]
        return {entry["nsid"]: entry["bdev_name"] for entry in subsystem["namespaces"]}

    def saved(self):
        return [call for part in json.loads(self.file.read_text())["subsystems"] for call in part["config"]]


@pytest.fixture
def site(tmp_path, simulator, ceph):
    return Site(tmp_path, simulator, ceph)


def test_ten_volumes_come_once_and_go_once(site, ceph):
    volumes = [{"image": f"many-{number}", "size": "8M"} for number in range(1, 11)]
    extra = {"volumes": yaml.safe_dump(volumes), "pool": POOL, "nqn": NQN, "declare": str(site.declared)}
    code, changed, text = site.run("provision_volume", "--check", **extra)
    assert code == 0 and changed > 0, text
    assert site.namespaces() == {} and not site.declared.exists()
    code, _changed, text = site.run("provision_volume", **extra)
    assert code == 0, text
    assert site.namespaces() == {number: f"many-{number}" for number in range(1, 11)}
    assert ceph.image_bytes(POOL, "many-10") == 8 * MIB
    entries = yaml.safe_load(site.declared.read_text())["spdk_target_volumes"]
    assert [(entry["image"], entry["nsid"]) for entry in entries] == [(f"many-{number}", number) for number in range(1, 11)]
    uuids = {call["params"]["name"]: call["params"]["uuid"] for call in site.saved() if call["method"] == "bdev_rbd_create"}
    assert uuids == {entry["bdev"]: entry["uuid"] for entry in entries}
    assert [call["params"]["namespace"]["nsid"] for call in site.saved() if call["method"] == "nvmf_subsystem_add_ns"] == list(range(1, 11))
    code, changed, text = site.run("provision_volume", **extra)
    assert (code, changed) == (0, 0), text

    retire = {"volumes": volumes, "pool": POOL, "delete_image": "true", "declare": str(site.declared)}
    code, changed, text = site.run("retire_volume", "--check", **retire, trash="false")
    assert code == 0 and changed > 0 and len(site.namespaces()) == 10, text
    assert "many-10: the image goes to the deletion" in text and "goes to the trash" not in text, text
    # an image that is in use stays, and with it all others
    ceph.rbd("snap", "create", "--no-progress", f"{POOL}/many-7@s1")
    code, _changed, text = site.run("retire_volume", **retire)
    assert code == 2 and "it has the snapshot s1" in text, text
    assert site.namespaces() == {} and ceph.image_bytes(POOL, "many-7") == ceph.image_bytes(POOL, "many-1") == 8 * MIB
    ceph.rbd("snap", "rm", "--no-progress", f"{POOL}/many-7@s1")
    code, changed, text = site.run("retire_volume", **retire)
    assert code == 0 and changed == 1, text
    assert site.namespaces() == {} and [bdev["name"] for bdev in site.simulator.call("bdev_get_bdevs")] == []
    assert [call["method"] for call in site.saved()] == ["bdev_rbd_register_cluster", "nvmf_create_subsystem"]
    assert yaml.safe_load(site.declared.read_text()) == {"spdk_target_volumes": []}
    assert ceph.rbd("trash", "ls", POOL).count("many-") == 10
    code, changed, text = site.run("retire_volume", **retire)
    assert (code, changed) == (0, 0), text


def test_all_problems_at_once_and_nothing_touched(site, ceph):
    volumes = [{"image": "bad-1", "size": "8M", "host": "h9"}, {"image": "bad-2", "size": "800", "nqn": "nqn.x:none"}, {"image": "bad-1", "size": "1T"}]
    code, changed, text = site.run("provision_volume", volumes=volumes, pool=POOL, nqn=NQN)
    assert (code, changed) == (2, 0)
    for words in ("no initiator h9", "no unit", "no target has the subsystem nqn.x:none", "have the same image", f"pool {POOL} has"):
        assert words in text, text
    assert "bad-1" not in ceph.rbd("ls", POOL) and site.namespaces() == {}
