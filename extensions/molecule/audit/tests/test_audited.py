# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""What the audits said of the seeded faults, held against what the hosts show without the collection's own modules."""

from __future__ import annotations

import json
import os
import re
import typing as t

testinfra_hosts = ["ansible://h1"]

MIB = 2**20
IDLE = "33333333-3333-4333-8333-333333333333"
SPARE = "44444444-4444-4444-8444-444444444444"


def audit(name: str = "audit") -> dict[str, t.Any]:
    """The report of one of the audits."""
    with open(os.path.join(os.environ["LAB_RESULTS"], f"{name}.json"), encoding="utf-8") as file:
        return json.load(file)


def row(report: dict[str, t.Any], image: str) -> dict[str, t.Any]:
    """The row of an image."""
    (found,) = [one for one in report["volumes"] if one["image"] == image]
    return found


def finding(report: dict[str, t.Any], kind: str, obj: str) -> dict[str, t.Any]:
    """The one finding of this kind about this object."""
    (found,) = [one for one in report["findings"] if (one["kind"], one["object"]) == (kind, obj)]
    return found


def short(report: dict[str, t.Any], kind: str) -> set[tuple[str, str, str | None]]:
    """Host, object and volume of all findings of a kind."""
    return {(one["host"], one["object"], one["volume"]) for one in report["findings"] if one["kind"] == kind}


def device_of(host: t.Any, uuid: str) -> str:
    """The kernel's name of a namespace."""
    return host.check_output("readlink -e /dev/disk/by-id/nvme-uuid.%s", uuid)


def test_an_image_that_grew_behind_everybodys_back_lags_where_nobody_told_qemu(host: t.Any) -> None:
    """Targets and hosts have followed by themselves; QEMU never does."""
    grown = row(audit(), "vol-1")
    assert {grown["bytes"][hop] for hop in ("image", "bdev", "namespace", "path", "device")} == {128 * MIB}
    info = dict(re.findall(r"(\w+):\s+(\d+)", host.check_output("virsh domblkinfo g1 vda")))
    assert (info["Capacity"], info["Physical"]) == (str(64 * MIB), str(128 * MIB))
    assert grown["bytes"]["disk"] == 64 * MIB
    assert grown["verdict"] == "lagging at disk"


def test_an_image_that_was_cut_under_its_bdev_is_critical() -> None:
    """The bdev keeps its size, and I/O behind the image's end fails."""
    report = audit()
    found = finding(report, "image-smaller", "cut")
    assert (found["severity"], found["host"], found["hop"], found["volume"]) == ("critical", "t1", "image", "pool-1/cut")
    assert f"{16 * MIB} bytes in Ceph, {32 * MIB} bytes in the target" in found["text"]
    assert row(report, "cut")["verdict"].startswith("critical: ")
    assert any("image smaller than bdev" in reason for reason in row(report, "cut")["reasons"])


def test_namespaces_that_nobody_connects(host: t.Any) -> None:
    """Those of the subsystems that no host is connected to, and no others."""
    nqn = host.ansible.get_variables()["lab_nqn"]
    assert {(place, obj) for place, obj, _volume in short(audit(), "namespace-unused")} == {
        ("t1", f"{nqn}:spare#1"),
        ("t1", f"{nqn}:spare#2"),
        ("t1", f"{nqn}:twin#1"),
    }
    assert host.check_output("cat /sys/class/nvme-subsystem/*/subsysnqn").split() == [nqn]


def test_a_device_that_no_domain_uses(host: t.Any) -> None:
    """Connected on both hosts, in no domain's XML."""
    device = device_of(host, IDLE)
    assert short(audit(), "device-unused") == {("h1, h2", device, "pool-1/idle")}
    assert device not in host.check_output("virsh dumpxml g1") and IDLE not in host.check_output("virsh dumpxml g1")
    assert row(audit(), "idle")["verdict"] == "ok"


def test_a_domain_attached_by_an_unstable_name(host: t.Any) -> None:
    """The audit still knows which image that is today."""
    device = device_of(host, host.ansible.get_variables()["lab_volumes"]["vol-2"]["uuid"])
    assert f"<source dev='{device}'" in host.check_output("virsh dumpxml g1")
    assert short(audit(), "unstable-name") == {("h1", "g1:vdb", "pool-1/vol-2")}
    found = finding(audit(), "unstable-name", "g1:vdb")
    assert found["severity"] == "warning" and device in found["text"] and "/dev/disk/by-id/nvme-uuid.22222222-" in found["remedy"]


def test_one_uuid_in_two_places() -> None:
    """Told once, with both images, and both rows are critical."""
    report = audit()
    found = finding(report, "uuid-twice", SPARE)
    assert (found["severity"], found["host"], sorted(found["volumes"])) == ("critical", "t1", ["pool-1/spare", "pool-1/twin"])
    assert found["volume"] in found["volumes"]
    assert {row(report, name)["verdict"].partition(":")[0] for name in ("spare", "twin")} == {"critical"}


def test_nothing_else_is_critical_and_everybody_was_heard() -> None:
    """Two faults of data were seeded."""
    report = audit()
    assert {(one["kind"], one["object"]) for one in report["findings"] if one["severity"] == "critical"} == {("image-smaller", "cut"), ("uuid-twice", SPARE)}
    assert report["not_heard"] == [] and report["findings_elsewhere"] == {"critical": 0, "warning": 0, "info": 0}
    assert sorted(one["image"] for one in report["volumes"]) == ["cut", "idle", "spare", "twin", "vol-1", "vol-2"]


def test_every_path_and_head_is_in_the_report() -> None:
    """Two hosts, two targets with two portals each."""
    readings = row(audit(), "vol-2")["readings"]
    assert sorted((one["host"], one["traddr"], one["target"]) for one in readings["path"]) == sorted(
        (name, f"192.168.{net}.{number}", target) for name in ("h1", "h2") for net in (77, 78) for number, target in ((10, "t1"), (11, "t2"))
    )
    assert [one["host"] for one in readings["device"]] == ["h1", "h2"]


def test_the_page_has_it_all() -> None:
    """One file, with a place for every volume and every finding."""
    with open(os.path.join(os.environ["LAB_RESULTS"], "audit.html"), encoding="utf-8") as file:
        text = file.read()
    assert text.startswith("<!DOCTYPE html>") and text.count("<svg ") == 6
    assert text.count('<li class="finding ') == len(audit()["findings"])
    for kind in ("image-smaller", "uuid-twice", "namespace-unused", "device-unused", "unstable-name"):
        assert f"<b>{kind}</b>" in text


def test_a_target_that_hangs_behind_paths_that_look_live() -> None:
    """It is named with these paths; what it serves is unproven, and nothing is called stale or gone."""
    report = audit("audit-hung")
    found = finding(report, "silent-target", "t2")
    assert (found["severity"], found["host"], found["hop"]) == ("warning", "t2", "bdev")
    assert set(found["volumes"]) >= {"pool-1/vol-1", "pool-1/vol-2"}
    assert "h1 nvme" in found["text"] and "h2 nvme" in found["text"]
    paths = row(report, "vol-2")["readings"]["path"]
    assert {one["state"] for one in paths if one["traddr"].endswith(".11")} == {"live"}
    assert row(report, "vol-2")["verdict"] == "unproven at bdev"
    assert [text.partition(":")[0] for text in report["not_heard"]] == ["t2 (target)"]
    assert not {"not-heard", "stale-target", "stale-path"} & {one["kind"] for one in report["findings"]}


def test_after_that_both_ends_of_a_path_are_found() -> None:
    """The disk by its domain, the device by serial number and nsid, each with bdev and image; the target was heard again."""
    report = audit("audit-found")
    assert report["not_heard"] == [] and "silent-target" not in {one["kind"] for one in report["findings"]}
    assert [one["image"] for one in report["volumes"]] == ["vol-1", "vol-2"]
    heads = [line for line in report["paths"] if " -> " in line]
    assert [line.partition(" (")[0] for line in heads] == ["g1:vdb -> pool-1/vol-2", "NVMEOFSPDKLAB0001#1 -> pool-1/vol-1"]
    assert [line.split()[1] for line in report["paths"] if line.startswith("  bdev ")] == ["t1:vol-2", "t2:vol-2", "t1:vol-1", "t2:vol-1"]
    # findings about others are counted, not shown
    assert {one["kind"] for one in report["findings"]} >= {"unstable-name"} and report["findings_elsewhere"]["critical"] == 2
