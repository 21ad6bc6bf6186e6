# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers on top of a namespace's device, from made-up sysfs trees laid out as Linux 6.1 does."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._block_layers import kind_of, layers_above
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.fake_host import MIB, UUID1, FakeHost


@pytest.fixture(name="host")
def _host(tmp_path: pathlib.Path) -> FakeHost:
    host = FakeHost(tmp_path)
    host.controller("nvme0")
    host.namespace("nvme0n1", 1, UUID1, 64 * MIB, ["nvme0"])
    return host


def stack(host: FakeHost, below: str, block: str, size: int, **dm: str) -> None:
    """A dm or md device on ``below`` (a device, or ``device/partition``)."""
    host.write(f"sys/block/{block}/size", f"{size // 512}\n")
    for key, value in dm.items():
        host.write(f"sys/block/{block}/dm/{key}", value + "\n")
    holders = host.root / "sys/block" / below / "holders"
    holders.mkdir(parents=True, exist_ok=True)
    (holders / block).symlink_to(host.root / "sys/block" / block)


def layers(host: FakeHost) -> list[dict[str, t.Any]]:
    return host.sysfs.namespaces()[0]["layers"]


def test_a_bare_device_has_no_layers(host: FakeHost) -> None:
    assert layers(host) == []


def test_luks_keeps_its_header_from_the_size(host: FakeHost) -> None:
    stack(host, "nvme0n1", "dm-3", 48 * MIB, name="luks-vm4", uuid="CRYPT-LUKS2-0a1b2c3d-luks-vm4")
    assert layers(host) == [{"name": "luks-vm4", "device": "/dev/dm-3", "kind": "dm-crypt", "size_bytes": 48 * MIB, "on": ["/dev/nvme0n1"]}]


def test_a_stack_is_told_from_below(host: FakeHost) -> None:
    host.write("sys/block/nvme0n1/nvme0n1p1/partition", "1\n")
    host.write("sys/block/nvme0n1/nvme0n1p1/size", f"{60 * MIB // 512}\n")
    stack(host, "nvme0n1/nvme0n1p1", "dm-0", 44 * MIB, name="crypt0", uuid="CRYPT-LUKS1-x-crypt0")
    stack(host, "dm-0", "dm-1", 20 * MIB, name="vg-root", uuid="LVM-abcdef")
    stack(host, "dm-0", "dm-2", 20 * MIB, name="vg-home", uuid="LVM-abcdeg")
    found = layers(host)
    assert [(item["name"], item["kind"], item["size_bytes"], item["on"]) for item in found] == [
        ("nvme0n1p1", "partition", 60 * MIB, ["/dev/nvme0n1"]),
        ("crypt0", "dm-crypt", 44 * MIB, ["/dev/nvme0n1p1"]),
        ("vg-root", "lvm", 20 * MIB, ["/dev/dm-0"]),
        ("vg-home", "lvm", 20 * MIB, ["/dev/dm-0"]),
    ]


def test_dm_multipath_over_two_devices_is_one_layer(host: FakeHost) -> None:
    host.block("nvme1n1", 1, UUID1, 64 * MIB)
    for below in ("nvme0n1", "nvme1n1"):
        stack(host, below, "dm-5", 64 * MIB, name="mpatha", uuid="mpath-uuid.1111")
    (found,) = layers_above(str(host.root / "sys"), ["nvme0n1", "nvme1n1"])
    assert (found["kind"], found["on"]) == ("multipath", ["/dev/nvme0n1", "/dev/nvme1n1"])


def test_what_vanishes_or_loops_is_no_error(host: FakeHost) -> None:
    stack(host, "nvme0n1", "dm-0", 8 * MIB, name="a", uuid="other")
    (host.root / "sys/block/dm-0/size").unlink()
    stack(host, "dm-0", "dm-1", 8 * MIB)
    stack(host, "dm-1", "dm-0", 8 * MIB)
    (host.root / "sys/block/dm-0/size").unlink()
    assert [(item["name"], item["kind"], item["size_bytes"]) for item in layers(host)] == [("a", "dm", None), ("dm-1", "dm", 8 * MIB)]


@pytest.mark.parametrize(
    ("name", "uuid", "kind"),
    [
        ("dm-0", "CRYPT-PLAIN-x", "dm-crypt"),
        ("dm-0", "part1-mpath-x", "partition"),
        ("dm-0", None, "dm"),
        ("md127", None, "md"),
        ("md_d0", None, "md"),
        ("bcache0", None, "other"),
    ],
)
def test_kinds(name: str, uuid: str | None, kind: str) -> None:
    assert kind_of(name, uuid) == kind
