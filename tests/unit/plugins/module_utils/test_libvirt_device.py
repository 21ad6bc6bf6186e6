# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_device import HostDevices, NotABlockDevice, dashed_uuid
from ansible_collections.nvmeof.spdk.tests.unit.plugins.module_utils.fake_libvirt import DOMAIN_UUID, GIB, NGUID, UUID, FakeHost

if t.TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """A fake host."""
    return FakeHost(tmp_path)


def devices(host: FakeHost) -> HostDevices:
    """The reader under test."""
    return HostDevices(**host.arguments())


@pytest.mark.parametrize(
    ("text", "uuid"),
    [
        (UUID.upper(), UUID),
        (NGUID, "2f1e6f0a-9a70-4c0c-8a5b-1b6a7d9e0c22"),
        ("0" * 32, None),
        ("00000000-0000-0000-0000-000000000000", None),
        ("", None),
        (None, None),
        ("x" * 32, None),
        (UUID[:-1], None),
    ],
)
def test_dashed_uuid(text, uuid):
    assert dashed_uuid(text) == uuid


def test_namespace_by_any_name(host):
    host.add_block("nvme0n1", (259, 1), GIB, parent="virtual/nvme-subsys0", uuid=UUID.upper())
    host.link(f"/dev/disk/by-id/nvme-uuid.{UUID}", "/dev/nvme0n1")
    for name in ("/dev/nvme0n1", f"/dev/disk/by-id/nvme-uuid.{UUID}"):
        found = devices(host).device(name)
        assert (found.path, found.size_bytes, found.namespace_uuid, found.layers) == ("/dev/nvme0n1", GIB, UUID, [])
        assert found.rdev == os.makedev(259, 1)


def test_nguid_stands_in_for_a_missing_uuid(host):
    host.add_block("nvme0n1", (259, 1), GIB, nguid=NGUID)
    host.add_block("nvme0n2", (259, 2), GIB, nguid=NGUID, uuid="00000000-0000-0000-0000-000000000000")
    assert devices(host).device("/dev/nvme0n1").namespace_uuid == dashed_uuid(NGUID)
    assert devices(host).device("/dev/nvme0n2").namespace_uuid == dashed_uuid(NGUID)


def test_device_without_namespace(host):
    host.add_block("loop0", (7, 0), GIB)
    found = devices(host).device("/dev/loop0")
    assert (found.path, found.namespace_uuid, found.layers) == ("/dev/loop0", None, [])


def test_dm_chain_over_a_namespace(host):
    nvme = host.add_block("nvme0n1", (259, 1), 2 * GIB, uuid=UUID)
    crypt = host.add_block("dm-0", (254, 0), GIB, dm_name="crypt")
    volume = host.add_block("dm-1", (254, 1), GIB // 2, dm_name="vg-lv")
    host.add_slave(crypt, nvme)
    host.add_slave(volume, crypt)
    host.link("/dev/mapper/vg-lv", "/dev/dm-1")
    found = devices(host).device("/dev/mapper/vg-lv")
    assert (found.path, found.size_bytes, found.namespace_uuid, found.layers) == ("/dev/dm-1", GIB // 2, UUID, ["vg-lv", "crypt"])


def test_dm_over_two_namespaces_is_neither(host):
    upper = host.add_block("dm-0", (254, 0), GIB, dm_name="striped")
    host.add_slave(upper, host.add_block("nvme0n1", (259, 1), GIB, uuid=UUID))
    host.add_slave(upper, host.add_block("nvme0n2", (259, 2), GIB, nguid=NGUID))
    found = devices(host).device("/dev/dm-0")
    assert (found.namespace_uuid, found.layers) == (None, ["striped"])


def test_the_least_device_under_a_map_counts(host):
    """Without native multipath a namespace has a device for each path."""
    upper = host.add_block("dm-0", (254, 0), GIB, dm_name="mpatha")
    host.add_slave(upper, host.add_block("nvme0n1", (259, 1), 2 * GIB, uuid=UUID))
    host.add_slave(upper, host.add_block("nvme1n1", (259, 2), GIB, uuid=UUID))
    found = devices(host).device("/dev/dm-0")
    assert (found.namespace_uuid, found.namespace_bytes, found.layers) == (UUID, GIB, ["mpatha"])
    (host.root / "sys/devices/nvme1n1/size").unlink()
    assert devices(host).device("/dev/dm-0").namespace_bytes is None


def test_partition(host):
    host.add_block("nvme0n1", (259, 1), GIB, uuid=UUID)
    host.add_block("nvme0n1p1", (259, 2), GIB // 2, parent="nvme0n1", partition="1")
    found = devices(host).device("/dev/nvme0n1p1")
    assert (found.path, found.namespace_uuid, found.layers) == ("/dev/nvme0n1p1", UUID, ["nvme0n1p1"])


def test_not_a_device(host):
    with pytest.raises(NotABlockDevice, match="No such file or directory"):
        devices(host).device("/dev/nvme9n9")
    host.files.add("/images/disk.img")
    with pytest.raises(NotABlockDevice, match="regular file"):
        devices(host).device("/images/disk.img")


def test_node_of_a_removed_device_has_no_size(host):
    host.nodes["/dev/stale"] = os.makedev(259, 77)
    found = devices(host).device("/dev/stale")
    assert (found.path, found.size_bytes, found.namespace_uuid) == ("/dev/stale", None, None)


def test_pid_file_is_believed_only_when_true(host):
    host.add_qemu(100, "11111111-1111-4111-8111-111111111111")
    host.add_qemu(200, DOMAIN_UUID)
    reader = devices(host)
    assert reader.qemu_pid("db1", DOMAIN_UUID) == 200
    pid_file = host.root / "run/libvirt/qemu/db1.pid"
    pid_file.write_text("100\n", encoding="ascii")
    assert reader.qemu_pid("db1", DOMAIN_UUID.upper()) == 200
    pid_file.write_text("200\n", encoding="ascii")
    assert reader.qemu_pid("db1", DOMAIN_UUID) == 200
    assert reader.qemu_pid("other", UUID) is None


def test_open_devices(host):
    host.add_block("nvme0n1", (259, 1), GIB)
    host.files.add(f"{host.root}/proc/200/fd/9")
    host.add_qemu(200, DOMAIN_UUID, "/dev/nvme0n1", os.makedev(259, 9))
    (host.root / "proc/200/fd/9").write_text("", encoding="ascii")
    (host.root / "proc/200/fd/10").write_text("", encoding="ascii")  # closed between listing and look
    assert devices(host).open_devices(200) == {os.makedev(259, 1), os.makedev(259, 9)}
    assert devices(host).open_devices(201) is None
