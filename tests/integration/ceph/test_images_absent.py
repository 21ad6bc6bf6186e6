# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that are to go, on a real Ceph, through librbd and through the programs: only those that nobody uses."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import CephOptions, ImageNotFoundError, ImageSpec
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_librbd import LibrbdCeph
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_tool import ToolCeph
from module_runner import run_module

POOL = "pool-1"
MIB = 1024**2


def run_command(argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(params=["librbd", "rbd"])
def door(request, ceph):
    options = CephOptions(str(ceph.conf), "admin", str(ceph.keyring), 20)
    with LibrbdCeph(options) if request.param == "librbd" else ToolCeph(options, "/usr/bin/rbd", run_command) as opened:
        yield opened


@pytest.fixture
def image(ceph):
    """An image that the test removes itself, or leaves to the end."""
    made = []

    def make(name):
        ceph.rbd("create", "--no-progress", "--size", "8M", f"{POOL}/{name}")
        made.append(name)
        return ImageSpec(POOL, "", name)

    yield make
    for name in made:
        if name in ceph.rbd("ls", POOL).split():
            ceph.rbd("rm", "--no-progress", f"{POOL}/{name}")


@pytest.mark.parametrize("trash", [True, False])
def test_an_unused_image_goes(door, ceph, image, trash):
    spec = image(f"gone-{door.how}-{trash}")
    assert door.uses(spec) == []
    door.remove(spec, trash)
    with pytest.raises(ImageNotFoundError):
        door.state(spec)
    assert (spec.image in ceph.rbd("trash", "ls", POOL)) == trash
    with pytest.raises(ImageNotFoundError):
        door.remove(spec, trash)


def test_both_ways_see_every_use(door, ceph, image):
    spec = image(f"used-{door.how}")
    ceph.rbd("snap", "create", "--no-progress", f"{spec}@s1")
    ceph.rbd("snap", "protect", f"{spec}@s1")
    ceph.rbd("clone", f"{spec}@s1", f"{POOL}/child-{door.how}")
    ceph.rbd("lock", "add", str(spec), "mine")
    try:
        uses = "; ".join(door.uses(spec))
        for words in ("the snapshot s1", f"{POOL}/child-{door.how} is a clone", "holds a lock"):
            assert words in uses
        assert door.uses(ImageSpec(POOL, "", f"child-{door.how}")) == []
    finally:
        (locker,) = [line.split()[0] for line in ceph.rbd("lock", "ls", str(spec)).splitlines() if line.startswith("client.")]
        ceph.rbd("lock", "rm", str(spec), "mine", locker)
        ceph.rbd("rm", "--no-progress", f"{POOL}/child-{door.how}")
        ceph.rbd("snap", "unprotect", f"{spec}@s1")
        ceph.rbd("snap", "rm", "--no-progress", f"{spec}@s1")


def test_the_module_refuses_an_open_image_and_is_idempotent(ceph, reach, image):
    import rados
    import rbd

    spec = image("open")
    wish = {**reach, "pool": POOL, "image": "open", "state": "absent"}
    with rados.Rados(conffile=str(ceph.conf), conf={"keyring": str(ceph.keyring)}) as client, client.open_ioctx(POOL) as ioctx, rbd.Image(ioctx, "open"):
        result = run_module("rbd_image", wish)
        assert result["failed"] and not result["changed"] and "has it open" in result["msg"], result
    assert ceph.image_bytes(POOL, spec.image) == 8 * MIB
    checked = run_module("rbd_image", wish, check=True)
    assert checked["changed"] and ceph.image_bytes(POOL, spec.image) == 8 * MIB
    result = run_module("rbd_image", wish)
    assert not result["failed"], result
    assert (result["changed"], result["images"][0]["action"], result["images"][0]["size_bytes"]) == (True, "trashed", None)
    again = run_module("rbd_image", wish)
    assert not again["failed"] and not again["changed"]
