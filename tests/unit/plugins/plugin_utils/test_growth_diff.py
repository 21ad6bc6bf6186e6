# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan as a difference: bytes of every hop, for the volumes that grow and only for them."""

from __future__ import annotations

from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth import plan
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth_diff import diffs_of
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth_wishes import wishes_of
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._volumes import build
from ansible_collections.nvmeof.spdk.tests.fixtures.fleet import GIB, SIZE, fleet


def test_only_volumes_that_grow_differ_and_every_hop_has_its_bytes() -> None:
    found = fleet()
    found["h2"]["host"]["namespaces"][1]["paths"][0]["state"] = "connecting"
    names = [f"pool-1/host-rbd-img-{number}" for number in (1, 2, 3)]
    text = f"{names[0]} 200G\n{names[1]} 200G\n{names[2]} 100G"
    (diff,) = diffs_of(plan(build(found), "", wishes=wishes_of(text), on_blocked="skip"))
    assert diff["before_header"].startswith(names[0]) and "200 GiB" in diff["after_header"]
    before, after = diff["before"].splitlines(), diff["after"].splitlines()
    assert len(before) == len(after) and {line.split()[0] for line in before} == {"image", "bdev", "namespace", "path", "device", "disk", "guest"}
    assert all(f"{SIZE} bytes (100 GiB)" in line for line in before) and all(f"{200 * GIB} bytes (200 GiB)" in line for line in after)


def test_what_nobody_read_stays_unknown() -> None:
    found = fleet()
    found["h1"]["disks"][0].update(guest_bytes=None, guest_error="no agent")
    (diff,) = diffs_of(plan(build(found), "200G", "pool-1/host-rbd-img-1"))
    assert "guest     h1:vm1:vdb: unknown" in diff["before"] and "guest     h1:vm1:vdb: unknown" in diff["after"]
