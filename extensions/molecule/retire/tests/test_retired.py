# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""Nothing is left of the ten volumes, and everything else is, read without the collection's own modules."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import yaml

testinfra_hosts = ["ansible://spdk_targets", "ansible://h1"]


def volumes(name: str) -> list[dict[str, t.Any]]:
    """The declared volumes in a file of the results."""
    with open(os.path.join(os.environ["LAB_RESULTS"], name), encoding="utf-8") as file:
        return yaml.safe_load(file)["spdk_target_volumes"]


def test_nothing_is_declared() -> None:
    """The file remains, empty."""
    assert len(volumes("volumes-before.yml")) == 10
    assert volumes("volumes.yml") == []


def test_nothing_is_left(host: t.Any) -> None:
    """On the target its file and images; on the host its devices and the domain's disks."""
    variables = host.ansible.get_variables()
    if "spdk_targets" in variables["group_names"]:
        text = host.file("/etc/spdk/spdk_tgt.json").content_string
        kept = [call["params"]["rbd_name"] for part in json.loads(text)["subsystems"] for call in part["config"] if call["method"] == "bdev_rbd_create"]
        assert sorted(kept) == sorted(variables["lab_volumes"])
        lab = Path(__file__).resolve().parents[4] / "tests/lab/lab"
        images = subprocess.run([str(lab), "rbd", "ls", variables["lab_pool"]], capture_output=True, text=True, check=True).stdout.split()
        assert sorted(images) == sorted(variables["lab_volumes"])
        return
    for volume in volumes("volumes-before.yml"):
        assert not host.file("/dev/disk/by-id/nvme-uuid." + volume["uuid"]).exists
    for options in ("", "--inactive"):
        root = ElementTree.fromstring(host.check_output(f"virsh dumpxml g1 {options}"))
        assert [node.find("source").get("dev") for node in root.findall("devices/disk")] == [
            "/dev/disk/by-id/nvme-uuid." + variables["lab_volumes"]["vol-1"]["uuid"]
        ]


def test_the_guest_lost_nothing(host: t.Any, guest: t.Any) -> None:
    """Its first disk is as it was."""
    small = guest("g1")
    if not small.is_here:
        assert host.file("/etc/spdk/spdk_tgt.json").exists
        return
    _good, failed, bad = small.verify()
    assert (failed, bad) == (0, 0)
