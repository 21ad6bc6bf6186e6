# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kernels are known to hang in a rescan."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_kernel import rescan_hazard
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.fake_host import FakeHost


@pytest.mark.parametrize(
    ("release", "hangs"),
    [
        ("5.14.0-503.11.1.el9_5.x86_64", True),
        ("5.14.0-585.el9.aarch64", True),
        ("5.14.0-586.el9.x86_64", False),
        ("5.14.0-611.5.1.el9_7.x86_64", False),
        ("6.12.0-55.el10.x86_64", False),
        ("5.14.0-1-generic", False),
        ("6.1.0-18-cloud-amd64", False),
        ("", False),
        (None, False),
    ],
)
def test_kernels(release: str | None, hangs: bool) -> None:
    found = rescan_hazard(release)
    assert (found is not None) is hangs
    if found:
        assert str(release) in found["text"] and "586" in found["remedy"]


@pytest.mark.parametrize("release", ["5.14.0-503.11.1.el9_5.x86_64", "6.12.0-55.el10.x86_64"])
def test_a_host_tells_its_kernel_and_warns_of_it_once(tmp_path: pathlib.Path, release: str) -> None:
    host = FakeHost(tmp_path)
    host.load("linux-6.1-multipath-on-two-paths.txt")
    host.sysfs.kernel = release
    found = host.sysfs.host()
    assert found["kernel"] == release and found["rescan_hazard"] == rescan_hazard(release)
    assert [item["severity"] for item in found["problems"] if item["object"] == "kernel"] == (["warning"] if "el9" in release else [])
