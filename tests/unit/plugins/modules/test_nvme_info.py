# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module nvme_info: its shape is its documentation's."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from ansible_collections.nvmeof.spdk.plugins.modules import nvme_info
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.call import call
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.fake_host import FakeHost
from ansible_collections.nvmeof.spdk.tests.module_runner import run_module


@pytest.mark.parametrize("check", [False, True])
def test_shape_is_the_documented_one(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, check: bool) -> None:
    host = FakeHost(tmp_path, multipath=None)
    host.load("linux-6.1-multipath-on-two-paths.txt")
    monkeypatch.setattr(nvme_info, "SysfsNvme", lambda: host.sysfs)
    result = call(nvme_info, {}, check)
    assert (result["changed"], result["failed"]) == (False, False)
    documented = yaml.safe_load(nvme_info.RETURN)["host"]["contains"]
    assert set(result["host"]) == set(documented)
    for key in ("controllers", "namespaces", "problems"):
        sample = documented[key]["sample"][0]
        assert [set(entry) for entry in result["host"][key]] == [set(sample)] * len(result["host"][key])
        assert result["host"][key]
    assert set(result["host"]["namespaces"][0]["paths"][0]) == set(documented["namespaces"]["sample"][0]["paths"][0])


def test_unknown_option_is_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvme_info, "SysfsNvme", lambda: FakeHost(tmp_path).sysfs)
    assert call(nvme_info, {"device": "/dev/nvme0n1"})["failed"] is True


def test_as_a_process_on_this_machine() -> None:
    result = run_module("nvme_info", {})
    assert result["failed"] is False
    assert all(item["name"].startswith("nvme") for item in result["host"]["controllers"])
    assert set(result["host"]) == {"hostnqn", "hostid", "multipath", "kernel", "rescan_hazard", "controllers", "namespaces", "problems"}
