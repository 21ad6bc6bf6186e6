# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""With a guest agent the whole path is proven."""

from __future__ import annotations

import json
import os
import typing as t

testinfra_hosts = ["ansible://h2"]

BYTES = 160 * 2**20


def test_every_hop_is_ok() -> None:
    """The guest's own figure is in the report, and the verdict is ok."""
    with open(os.path.join(os.environ["LAB_RESULTS"], "linux_guest.json"), encoding="utf-8") as file:
        (row,) = json.load(file)
    assert row["verdict"] == "ok"
    assert set(row["bytes"].values()) == {BYTES}


def test_the_guest_kernel_printed_it(host: t.Any) -> None:
    """virtio_blk in the guest took the capacity change."""
    assert f"vda={BYTES // 512}" in host.file("/var/log/libvirt/qemu/linux2-console.log").content_string
