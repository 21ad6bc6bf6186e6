# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each thing that stands in the way of a growth has a word of its own, in the plan's lines as in its data, also where others are in the way, too."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils import _spdk_health
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_device import BlockDevice
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_kernel import rescan_hazard
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_hazards import hazards
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import ReleaseTable
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth import outcome
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._volumes import LEFT_OUT, build
from ansible_collections.nvmeof.spdk.tests.fixtures import fleet as made_up
from ansible_collections.nvmeof.spdk.tests.fixtures.fleet import GIB, SIZE
from ansible_collections.nvmeof.spdk.tests.unit.plugins.plugin_utils.test_growth_blockers import (
    OLD_KERNEL,
    ONE,
    TWO,
    Measured,
    codes,
    disk_of,
    measured,
    planned,
    pool,
)

Change = t.Callable[[Measured], t.Any]


def bdev(found: Measured, name: str) -> dict[str, t.Any]:
    return found[name]["target"]["bdevs"][0]


def paths(found: Measured) -> list[dict[str, t.Any]]:
    return found["h1"]["host"]["namespaces"][0]["paths"]


def of_disk(**facts: t.Any) -> Change:
    return lambda found: disk_of(found, **facts)


def of_pool(**figures: t.Any) -> Change:
    def change(found: Measured) -> None:
        for name in ("t1", "t2"):
            found[name]["target"]["pools"] = [pool(**figures)]

    return change


def of_release(release: tuple[int, int], blind: bool = False) -> Change:
    def change(found: Measured) -> None:
        found["t2"]["target"]["hazards"] = hazards(ReleaseTable(release))
        if blind:
            bdev(found, "t2").update(image_bytes=None, image_error="no keyring")

    return change


def of_layer(kind: str) -> Change:
    def change(found: Measured) -> None:
        layer = {"name": "dm-name", "device": "/dev/dm-0", "kind": kind, "size_bytes": SIZE // 2, "on": ["/dev/nvme0n1"]}
        found["h1"]["host"]["namespaces"][0].update(holders=["dm-0"], layers=[layer])

    return change


def blocklist(found: Measured) -> None:
    bdev(found, "t2")["watched"] = False
    found["t2"]["target"]["problems"] = _spdk_health.bdev_problems(found["t2"]["target"]["bdevs"], ReleaseTable((26, 9)), ["192.0.2.2:0/123"])


def shrink_image(found: Measured) -> None:
    for name in ("t1", "t2"):
        bdev(found, name)["image_bytes"] = SIZE // 2


def mirror(found: Measured) -> None:
    for name in ("t1", "t2"):
        bdev(found, name)["image_primary"] = "on the mirror peer site-b"


def old_kernel(found: Measured) -> None:
    found["h1"]["host"]["rescan_hazard"] = rescan_hazard(OLD_KERNEL)
    found["t1"]["target"]["hazards"] = hazards(ReleaseTable((19, 1)))


def strange_path(found: Measured) -> None:
    paths(found)[1].update(size_bytes=SIZE // 2, traddr="198.51.100.9")


def silence(found: Measured, reason: str = "host unreachable: no route") -> None:
    del found["t2"]["target"]
    found["t2"]["errors"]["target"] = reason
    # hosts have left it
    for name in ("h1", "h2", "h3"):
        for namespace in found[name]["host"]["namespaces"]:
            del namespace["paths"][1:]


def silence_with_path(found: Measured) -> None:
    del found["t2"]["target"]
    found["t2"]["errors"]["target"] = "host unreachable: no route"


def same_uuid(found: Measured) -> None:
    for name in ("t1", "t2"):
        found[name]["target"]["subsystems"][0]["namespaces"][1]["uuid"] = made_up.uuid(1)


def twin_device(found: Measured) -> None:
    one = found["h1"]["host"]["namespaces"][0]
    found["h1"]["host"]["namespaces"].append({**one, "nqn": "nqn.2026-01.org.example:clone", "device": "/dev/nvme9n1"})


#: What stands in the way, what makes it so, and its word.
BLOCKERS: dict[str, tuple[Change, str]] = {
    "the image was shrunk under its users": (shrink_image, "image_smaller"),
    "the device was shrunk under the domain": (of_disk(capacity_bytes=2 * SIZE), "shrunk"),
    "a path is not live": (lambda found: paths(found)[0].update(state="connecting"), "path_down"),
    "a block job": (of_disk(block_job="copy"), "block_job"),
    "a live migration": (of_disk(domain_job="live migration (outgoing)"), "domain_job"),
    "a raw slice": (of_disk(slice=True), "slice"),
    "a read-only disk": (of_disk(read_only=True), "read_only"),
    "a LUKS header that QEMU reads": (of_disk(encrypted=True), "format"),
    "LUKS on the host": (of_layer("dm-crypt"), "luks"),
    "another dm layer on the host": (of_layer("lvm"), "layers"),
    "a dm layer below the disk": (of_disk(device=BlockDevice("/dev/dm-0", 0, namespace_uuid=made_up.uuid(1), layers=["dm-name"])), "layers"),
    "a disk of type file": (of_disk(source_type="file"), "not_block"),
    "a release that cannot follow": (of_release((19, 1)), "spdk_no_resize"),
    "a release without a watch that cannot read the image": (of_release((20, 4), blind=True), "spdk_no_size_watch"),
    "a kernel that can hang in a rescan that is needed": (old_kernel, "kernel"),
    "a target that cannot be reached": (silence, "target_silent"),
    "a living path to a target that cannot be reached": (silence_with_path, "path_to_silence"),
    "a target left out": (lambda found: silence(found, LEFT_OUT), "left_out"),
    "a target that Ceph has blocklisted": (blocklist, "blocklisted"),
    "a path smaller than its head": (strange_path, "path_stale"),
    "a domain on a removed device": (of_disk(held=False), "held"),
    "a domain whose device is gone": (of_disk(device=None, device_error="no such file"), "no_device"),
    "a domain whose device cannot be checked": (of_disk(held=None, held_error="denied"), "held_unknown"),
    "the lease of another run": (lambda found: bdev(found, "t1").update(lease={"owner": "job-9@t1", "remaining_seconds": None}), "lease"),
    "a full pool": (of_pool(full=True), "pool_full"),
    "a pool that is nearly full": (of_pool(nearfull=True), "pool_nearfull"),
    "a pool without headroom": (of_pool(free_bytes=GIB), "pool_headroom"),
    "a quota": (of_pool(max_bytes=10**12), "pool_quota"),
    "the secondary of a mirror": (mirror, "mirror_secondary"),
    "a host with the volume by two subsystems": (twin_device, "device_twice"),
    "one UUID for two volumes": (same_uuid, "uuid_twice"),
}


@pytest.mark.parametrize("name", BLOCKERS)
def test_each_has_its_word_and_keeps_everything_untouched(name: str) -> None:
    change, code = BLOCKERS[name]
    found = measured()
    assert codes(planned(found)) == []
    change(found)
    made = planned(found)
    assert code in codes(made) and made["blocked"]
    for kind in ("images", "targets", "initiators", "layers", "hypervisors", "filesystems"):
        assert made[kind] == {}
    (line, *_same) = [line for line in made["lines"] if f"BLOCKED ({code}) at " in line]
    assert "Next step: " in line
    judged = outcome(build(found), made)
    assert len(judged["failed"]) == 1 and code in [item["code"] for item in judged["volumes"][0]["blockers"]]


def test_no_two_share_a_word() -> None:
    words = [code for name, (_change, code) in BLOCKERS.items() if name != "a dm layer below the disk"]
    assert len(words) == len(set(words))


@pytest.mark.parametrize("name", ["a pool that is nearly full", "a full pool", "a pool without headroom", "a quota"])
@pytest.mark.parametrize("on_blocked", ["stop", "skip"])
def test_a_volume_that_is_blocked_is_told_what_its_pool_says(name: str, on_blocked: str) -> None:
    """Else it would be learned in a second run, when the first blocker is out of the way."""
    found = measured()
    BLOCKERS[name][0](found)
    disk_of(found, read_only=True)
    assert codes(planned(found, on_blocked=on_blocked)) == ["read_only", BLOCKERS[name][1]]


def test_the_whole_list_at_once() -> None:
    """All that can be true of one volume at the same time."""
    found = measured(nearfull=True, free_bytes=GIB)
    mirror(found)
    blocklist(found)
    of_layer("dm-crypt")(found)
    disk_of(found, held=False, block_job="copy", domain_job="live migration (outgoing)", slice=True, read_only=True, format="qcow2", bus="sata")
    paths(found)[0]["state"] = "connecting"
    strange_path(found)
    found["t1"]["target"]["hazards"] = hazards(ReleaseTable((19, 1)))
    found["h1"]["host"]["rescan_hazard"] = rescan_hazard(OLD_KERNEL)
    bdev(found, "t1")["lease"] = {"owner": "job-9@t1", "remaining_seconds": None}
    made = planned(found)
    assert set(codes(made)) == {
        *("held", "blocklisted", "block_job", "domain_job", "slice", "read_only", "format", "luks", "mirror_secondary", "spdk_no_resize"),
        *("path_down", "path_stale", "kernel", "lease", "pool_nearfull", "pool_headroom"),
    }
    assert made["volumes"][0]["verdict"].startswith("critical: ") and "bus" in [note["code"] for note in made["volumes"][0]["notes"]]


def test_a_read_only_disk_of_a_domain_that_is_shut_off_takes_the_size_at_its_start() -> None:
    found = measured()
    disk_of(found, read_only=True, domain_state="shut off", held=None)
    made = planned(found)
    assert codes(made) == [] and [note["code"] for note in made["volumes"][0]["notes"]] == ["shut_off"]
    disk_of(found, slice=True, domain_state="shut off", held=None)
    assert codes(planned(found)) == ["slice"], "it has its own size then, too"


def test_two_hypervisors_with_one_namespace_resize_each_of_its_domains() -> None:
    found = measured()
    (mine,) = [disk for disk in found["h1"]["disks"] if disk["domain"] == "vm1"]
    found["h2"]["disks"].append({**mine, "domain": "vm1-standby"})
    made = planned(found)
    wish = [{"uuid": made_up.uuid(1), "size": f"{200 * GIB}B"}]
    assert (made["hypervisors"], set(made["initiators"])) == ({"h1": wish, "h2": wish}, {"h1", "h2", "h3"})
    assert [step["object"] for step in made["volumes"][0]["steps"] if step["hop"] == "disk"] == ["vm1:vdb", "vm1-standby:vdb"]


def test_a_file_disk_on_our_device_is_told_what_else_is_in_its_way() -> None:
    found = measured()
    disk_of(found, source_type="file", read_only=True, block_job="copy")
    assert codes(planned(found)) == ["not_block", "read_only", "block_job"]


def test_a_pool_is_asked_for_the_room_of_the_whole_list_unless_blocked_volumes_are_left_out() -> None:
    found = measured(free_bytes=250 * GIB)
    disk_of(found, read_only=True)
    text = f"{ONE} 200G\n{TWO} 300G"
    made = planned(found, text)
    assert [codes(made, number) for number in (0, 1)] == [["read_only", "pool_headroom"], ["pool_headroom"]]
    made = planned(found, text, on_blocked="skip")
    assert [codes(made, number) for number in (0, 1)] == [["read_only", "pool_headroom"], []]
    assert [entry["growth_bytes"] for entry in made["pools"]] == [200 * GIB]


@pytest.mark.parametrize(
    ("release", "code"),
    [((20, 4), "spdk_no_size_watch"), ((20, 4), "spdk_resize_event_lost"), ((19, 1), "spdk_no_resize_event"), ((24, 1), "spdk_delete_during_resize")],
)
def test_what_the_modules_cope_with_is_told_by_its_word(release: tuple[int, int], code: str) -> None:
    found = measured()
    of_release(release)(found)
    assert [line for line in planned(found)["lines"] if line.startswith(f"  note ({code}): target t2: SPDK ")]


def test_a_disk_whose_unstable_name_leads_nowhere_is_told_for_what_it_may_have_been() -> None:
    """A kernel's name says nothing of the namespace, and a device that is gone cannot be asked."""
    found = measured()
    disk = disk_of(found, device=None, device_error="no such file", source="/dev/nvme0n1")
    disk["namespace_uuid"] = None
    made = planned(found)
    (note,) = made["volumes"][0]["notes"]
    assert (note["code"], note["object"]) == ("lost_disk", "h1:vm1:vdb") and "/dev/nvme0n1, which is gone" in note["problem"]
    assert not made["blocked"]
    assert planned(found, f"{TWO} 200G")["volumes"][0]["notes"] == [], "another host's domain has it"
    disk["source"] = "/dev/vg0/root"
    assert planned(found)["volumes"][0]["notes"] == []
