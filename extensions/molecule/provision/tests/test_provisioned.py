# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""Ten volumes from the image to the domain, read without the collection's own modules."""

from __future__ import annotations

import json
import os
import typing as t
from xml.etree import ElementTree

import pytest
import yaml

testinfra_hosts = ["ansible://spdk_targets", "ansible://h1"]

MIB = 2**20


def declared() -> dict[str, str]:
    """Image -> uuid, as the playbook declared them."""
    with open(os.path.join(os.environ["LAB_RESULTS"], "volumes.yml"), encoding="utf-8") as file:
        return {entry["image"]: entry["uuid"] for entry in yaml.safe_load(file)["spdk_target_volumes"]}


def is_host(host: t.Any) -> bool:
    """Whether this is the initiator."""
    return "nvme_initiators" in host.ansible.get_variables()["group_names"]


def test_ten_are_declared() -> None:
    """With identities of their own."""
    assert sorted(declared()) == sorted(f"extra-{number}" for number in range(1, 11))
    assert len(set(declared().values())) == 10


def test_a_restart_keeps_them(host: t.Any) -> None:
    """The start-up file of the target has bdev and namespace of each, with its uuid."""
    if is_host(host):
        assert host.file("/dev/disk/by-id").is_directory
        return
    document = json.loads(host.file("/etc/spdk/spdk_tgt.json").content_string)
    calls = [call for part in document["subsystems"] for call in part["config"]]
    bdevs = {call["params"]["rbd_name"]: call["params"]["uuid"] for call in calls if call["method"] == "bdev_rbd_create"}
    exported = {call["params"]["namespace"]["uuid"] for call in calls if call["method"] == "nvmf_subsystem_add_ns"}
    for image, uuid in declared().items():
        assert bdevs[image] == uuid
        assert uuid in exported


@pytest.mark.parametrize("image", [f"extra-{number}" for number in range(1, 11)])
def test_the_host_sees_each_with_its_size(host: t.Any, image: str) -> None:
    """By the link that domains are given."""
    if not is_host(host):
        assert host.run("test -S /var/tmp/spdk.sock").rc == 0
        return
    head = host.check_output("basename $(readlink -f /dev/disk/by-id/nvme-uuid.%s)", declared()[image])
    assert host.check_output("cat /sys/block/%s/size", head) == str((32 if image == "extra-10" else 16) * MIB // 512)


def test_two_are_disks_of_the_domain(host: t.Any) -> None:
    """Now and after its next start, with the serial number that comes from the uuid."""
    if not is_host(host):
        assert host.file("/etc/spdk/spdk_tgt.json").exists
        return
    for options in ("", "--inactive"):
        root = ElementTree.fromstring(host.check_output(f"virsh dumpxml g1 {options}"))
        found = {node.find("source").get("dev"): node.findtext("serial") for node in root.findall("devices/disk")}
        for image in ("extra-1", "extra-2"):
            uuid = declared()[image]
            assert found["/dev/disk/by-id/nvme-uuid." + uuid] == uuid.replace("-", "")[:20]
        assert len(found) == 3


def test_the_guest_lost_nothing(host: t.Any, guest: t.Any) -> None:
    """Its first disk went on."""
    small = guest("g1")
    if not is_host(host) or not small.is_here:
        assert host.file("/etc/spdk/spdk_tgt.json").exists
        return
    good, failed, bad = small.verify()
    assert (failed, bad) == (0, 0) and good >= 0
