# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules virt_disk_info and virt_blockresize: options in, documented shape out."""

from __future__ import annotations

import functools
import typing as t

import pytest
import yaml
from ansible_collections.nvmeof.spdk.plugins.module_utils import _libvirt_disk, _libvirt_module
from ansible_collections.nvmeof.spdk.plugins.modules import virt_blockresize, virt_disk, virt_disk_info
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.call import call
from ansible_collections.nvmeof.spdk.tests.unit.plugins.module_utils.fake_libvirt import (
    DOMAIN_UUID,
    GIB,
    UUID,
    FakeDomain,
    FakeError,
    FakeHost,
    FakeLibvirt,
    disk_xml,
    domain_xml,
)

if t.TYPE_CHECKING:
    from pathlib import Path


SECOND = "2f1e6f0a-9a70-4c0c-8a5b-1b6a7d9e0c22"


@pytest.fixture
def libvirt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeLibvirt:
    """One running domain with a disk that lags, for both modules."""
    host = FakeHost(tmp_path)
    host.add_block("nvme0n1", (259, 1), 2 * GIB, uuid=UUID)
    host.add_block("nvme0n2", (259, 2), GIB, uuid=SECOND)
    host.link(f"/dev/disk/by-id/nvme-uuid.{SECOND}", "/dev/nvme0n2")
    host.add_qemu(200, DOMAIN_UUID, "/dev/nvme0n1", "/dev/nvme0n2")
    domain = FakeDomain(domain_xml(disk_xml()))
    domain.sizes["vda"] = [GIB, 2 * GIB]
    fake = FakeLibvirt(domain)
    for module in (virt_disk, virt_disk_info, virt_blockresize):
        monkeypatch.setattr(module, "bindings", lambda _module: (fake, None))
    monkeypatch.setattr(_libvirt_disk, "HostDevices", functools.partial(_libvirt_disk.HostDevices, **host.arguments()))
    return fake


def documented(module: t.Any) -> set[str]:
    return set(yaml.safe_load(module.RETURN)["disks"]["contains"])


@pytest.mark.parametrize("check", [False, True])
def test_info(libvirt, check):
    result = call(virt_disk_info, {}, check)
    assert (result["failed"], result["changed"]) == (False, False)
    (disk,) = result["disks"]
    assert set(disk) == documented(virt_disk_info)
    assert (disk["namespace_uuid"], disk["capacity_bytes"], disk["physical_bytes"]) == (UUID, GIB, 2 * GIB)
    assert libvirt.opened == [("qemu:///system", True)]
    assert libvirt.connection.closed


def test_info_opens_for_writing_only_to_ask_guests(libvirt):
    result = call(virt_disk_info, {"guest_agent": "auto", "uuid": UUID})
    assert "libvirt_qemu is missing" in result["disks"][0]["guest_error"]
    assert libvirt.opened == [("qemu:///system", False)]
    required = call(virt_disk_info, {"guest_agent": "require"})
    assert required["failed"] and required["error"]["hop"] == "guest"
    assert required["disks"][0]["capacity_bytes"] == GIB


def test_resize_and_check_mode_agree(libvirt):
    params = {"uuid": UUID, "size": "2G", "guest_agent": "never"}
    predicted = call(virt_blockresize, params, check=True)
    assert libvirt.opened == [("qemu:///system", True)]
    result = call(virt_blockresize, params)
    assert set(result["disks"][0]) == documented(virt_blockresize) and result["seconds"] >= 0
    for key in ("changed", "changes", "diff", "failed"):
        assert predicted[key] == result[key]
    assert result["changed"] and not result["failed"]
    assert not call(virt_blockresize, params)["changed"]
    assert libvirt.connection.closed


def test_errors_have_one_shape(libvirt):
    result = call(virt_blockresize, {"disks": [{"domain": "db1", "target": "vda", "size": "9G"}, {"domain": "db1", "target": "vdz"}]})
    assert result["failed"] and not result["changed"]
    assert result["msg"].startswith("2 disks failed. ")
    assert "vdz" in result["msg"] and "hop device lags" in result["msg"]
    for error in [result["error"], *result["errors"]]:
        assert set(error) == {"object", "hop", "call", "cause", "remedy", "message"}
    assert result["disks"][0]["error"]["hop"] == "device"


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({}, "one of the following is required"),
        ({"disks": [{"domain": "db1"}]}, "domain and target"),
        ({"disks": [], "uuid": UUID}, "mutually exclusive"),
        ({"uuid": UUID, "size": "800"}, "no unit"),
        ({"uuid": UUID, "wait_timeout": -1}, "cannot be negative"),
    ],
)
def test_bad_input_touches_nothing(libvirt, params, reason):
    result = call(virt_blockresize, params)
    assert result["failed"] and reason in result["msg"]
    assert libvirt.opened == []


def test_empty_list_is_nothing_to_do(libvirt):
    result = call(virt_blockresize, {"disks": []})
    assert (result["failed"], result["changed"], result["disks"]) == (False, False, [])


@pytest.mark.parametrize(("module", "params"), [(virt_disk_info, {}), (virt_blockresize, {"uuid": UUID})])
def test_unreachable(libvirt, module, params):
    libvirt.refuse = FakeError(38, "Failed to connect socket")
    result = call(module, {**params, "uri": "qemu:///session"})
    assert result["failed"]
    assert "qemu:///session" in result["msg"] and "code 38" in result["msg"] and "Next step" in result["msg"]


def test_missing_binding(monkeypatch):
    def missing(name: str) -> t.Any:
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(_libvirt_module, "import_module", missing)
    monkeypatch.setattr(_libvirt_module, "has_respawned", lambda: False)
    monkeypatch.setattr(_libvirt_module, "probe_interpreters_for_module", lambda interpreters, name: None)
    result = call(virt_disk_info, {})
    assert result["failed"] and "install python3-libvirt" in result["msg"]


def test_respawn_under_the_python_that_has_the_binding(monkeypatch):
    def missing(name: str) -> t.Any:
        raise ImportError(f"No module named '{name}'")

    started = []

    def respawn(interpreter: str) -> None:
        started.append(interpreter)
        raise SystemExit(0)

    monkeypatch.setattr(_libvirt_module, "import_module", missing)
    monkeypatch.setattr(_libvirt_module, "has_respawned", lambda: False)
    monkeypatch.setattr(_libvirt_module, "probe_interpreters_for_module", lambda interpreters, name: interpreters[0])
    monkeypatch.setattr(_libvirt_module, "respawn_module", respawn)
    with pytest.raises(SystemExit):
        _libvirt_module.bindings(None)
    assert started == ["/usr/bin/python3"]


def test_attach_and_check_mode_agree(libvirt):
    params = {"domain": "db1", "uuid": SECOND}
    predicted = call(virt_disk, params, check=True)
    assert libvirt.opened == [("qemu:///system", True)]
    result = call(virt_disk, params)
    assert set(result["disks"][0]) == documented(virt_disk)
    for key in ("changed", "changes", "diff", "failed"):
        assert predicted[key] == result[key]
    assert result["changed"] and not result["failed"]
    assert not call(virt_disk, {"disks": [params]})["changed"]
    assert libvirt.connection.closed


def test_one_refused_disk_refuses_the_call(libvirt):
    result = call(virt_disk, {"disks": [{"domain": "db1", "uuid": SECOND}, {"domain": "db1", "target": "vda", "state": "absent"}]})
    assert result["failed"] and not result["changed"] and result["changes"] == []
    assert "its guest may use the disk" in result["msg"] and result["error"]["remedy"]
    assert call(virt_disk, {"domain": "db1", "uuid": SECOND}, check=True)["changed"], "nothing was done"


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({}, "one of the following is required"),
        ({"domain": "db1"}, "names no volume"),
        ({"disks": [], "domain": "db1"}, "mutually exclusive"),
        ({"domain": "db1", "source": "/dev/nvme0n1"}, "after the next start"),
        ({"domain": "db1", "uuid": UUID, "wait_timeout": -1}, "cannot be negative"),
    ],
)
def test_bad_disks_touch_nothing(libvirt, params, reason):
    result = call(virt_disk, params)
    assert result["failed"] and reason in result["msg"]
    assert libvirt.opened == []


def test_every_domain_is_told(libvirt):
    assert call(virt_disk_info, {"domain": "none"})["domains"] == [{"domain": "db1", "domain_state": "running"}]
