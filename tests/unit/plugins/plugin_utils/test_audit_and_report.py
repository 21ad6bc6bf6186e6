# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookups from any end, selections, the audit as one result, and its page as text (a browser looks at it in tests/integration/report)."""

from __future__ import annotations

import html.parser
import json
import pathlib
import re
import typing as t
from xml.etree import ElementTree

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.filter.audit_report import audit_report
from ansible_collections.nvmeof.spdk.plugins.filter.report_html import report_html
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._audit import SUMMARY_CAP, report
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._lookup import LookupFailure, chain
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._report_html import page
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._report_svg import BAR, HEIGHT, WIDTH, drawing, el, shorten
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._select import SelectError
from ansible_collections.nvmeof.spdk.tests.fixtures.fleet import ASKED, GIB, SIZE, fleet, hostvars, nqn, uuid

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&amp;]]></title></style>{{ 7*7 }}\u202e"
FILES = pathlib.Path(__file__).parents[4] / "roles/volume_growth/files"
STYLE, SCRIPT = (FILES / "report.css").read_text(), (FILES / "report.js").read_text()


@pytest.mark.parametrize(
    "handle",
    [
        "vm4:vdb",
        "h1:vm4:vdb",
        "pool-1/host-rbd-img-4",
        "h1:/dev/nvme0n4",
        nqn("a") + "#4",
        "SPDKA0001#4",
        uuid(4),
        uuid(4).upper(),
        "t2:Ceph-host-rbd-img-4",
        "Ceph-host-rbd-img-4",
    ],
)
def test_every_end_leads_to_the_whole_path(handle: str) -> None:
    found = report(fleet(), wanted=handle)
    assert [row["volume"] for row in found["volumes"]] == ["pool-1/host-rbd-img-4"]
    assert found["paths"][0] == f"{handle} -> pool-1/host-rbd-img-4 ({uuid(4)}): ok"
    hops = [line.split()[0] for line in found["paths"][1:]]
    assert list(dict.fromkeys(hops)) == ["image", "bdev", "namespace", "path", "device", "disk", "guest"]
    assert all(f"{SIZE} bytes" in line for line in found["paths"][1:])


def test_the_path_marks_what_was_asked_and_what_lags() -> None:
    measurements = fleet()
    measurements["h1"]["disks"][1].update(capacity_bytes=SIZE - GIB, guest_bytes=SIZE - GIB)
    lines = report(measurements, wanted="vm4:vdb")["paths"]
    (disk,) = [line for line in lines if line.split()[0] == "disk"]
    assert re.search(r"h1:vm4:vdb +106300440576 bytes  attached by /dev/disk/by-id/nvme-uuid\.\S+  LAGS  <--$", disk)
    (path, _other) = [line for line in lines if "h1:nvme" in line]
    assert path.endswith("live, optimized, to t1")


def test_a_device_name_that_several_hosts_have_tells_all() -> None:
    found = report(fleet(), wanted="/dev/nvme0n1")
    assert found["paths"][0] == "/dev/nvme0n1 means 2 volumes; write host:device, an image or a UUID for one of them"
    assert [row["volume"] for row in found["volumes"]] == ["pool-1/host-rbd-img-1", "pool-1/host-rbd-img-5"]


def test_a_domain_that_is_shut_off_is_a_user_too() -> None:
    measurements = fleet()
    measurements["h1"]["disks"][1].update(domain_state="shut off", held=None, guest_bytes=None)
    for handle in ("vm4:vdb", "pool-1/host-rbd-img-4"):
        line = report(measurements, wanted=handle)["paths"][-1]
        assert re.match(r"  disk +h1:vm4:vdb +-  shut off, attached by /dev/disk/by-id/nvme-uuid", line)


def test_an_orphan_is_found_and_others_are_explained() -> None:
    measurements = fleet()
    stranger = {**measurements["h1"]["host"]["namespaces"][0], "uuid": uuid(77), "nqn": "nqn.x", "device": "/dev/nvme5n1"}
    measurements["h1"]["host"]["namespaces"].append(stranger)
    assert report(measurements, wanted="h1:/dev/nvme5n1")["volumes"][0]["verdict"] == "orphan"
    measurements["h1"]["disks"].append({**measurements["h1"]["disks"][0], "domain": "old", "source": "/dev/sdb", "namespace_uuid": None})
    with pytest.raises(LookupFailure, match=r"h1:old:vdb is attached by /dev/sdb \(namespace UUID none\)"):
        report(measurements, wanted="old:vdb")
    measurements["t1"]["target"]["bdevs"].append({"name": "Nvme0n1", "product": "NVMe disk", "size_bytes": 5, "image": None, "claimed": True, "uuid": None})
    with pytest.raises(LookupFailure, match="t1:Nvme0n1 is a bdev of kind NVMe disk"):
        report(measurements, wanted="Nvme0n1")


def test_nothing_found_names_what_is_near_and_who_is_silent() -> None:
    measurements = fleet()
    measurements["h6"] = {"errors": {"disks": "libvirt is down"}}
    with pytest.raises(LookupFailure, match=r"nothing behind 'vm12:vdb'.*near: .*vm1:vdb.*not heard: h6 \(disks\): libvirt is down"):
        report(measurements, wanted="vm12:vdb")


@pytest.mark.parametrize(
    ("expression", "numbers"),
    [
        ("[?pool=='pool-1' && image_bytes > `107374182400`]", ""),
        ("[?contains(hosts, 'h4') && contains(domains, 'vm5')]", "5"),
        ("[?contains(targets, 't3')]", "5678"),
        ("[?verdict!='ok']", "7"),
        ("[?disk_bytes < image_bytes]", "7"),
        ("sort_by(@, &volume)[:2]", "12"),
    ],
)
def test_selections(expression: str, numbers: str) -> None:
    measurements = fleet()
    measurements["h6"]["disks"][0].update(capacity_bytes=SIZE - GIB, guest_bytes=SIZE - GIB)
    found = report(measurements, expression=expression)
    assert "".join(row["image"].rpartition("-")[2] for row in found["volumes"]) == numbers
    if not numbers:
        assert found["lines"] == ["no volume matches the selection"]


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("[?pool==", r"not valid JMESPath: Incomplete expression, at position 8 \(its end\); if it was cut there, write it without spaces"),
        ("[?image_bytes < 100]", r"at position 16 \(before '100\]'\); numbers stand in backticks"),
        ("[?nosuch(pool)]", r"Unknown function: nosuch\(\)"),
        ("[].image", "must keep whole volumes.*it gave a list of str"),
        ("[0]", "it gave dict"),
        ("nope", "it gave nothing"),
        ("[].{volume: volume}", "it gave a list of dict"),
    ],
)
def test_bad_selections_say_what_is_wrong(expression: str, text: str) -> None:
    with pytest.raises(SelectError, match=text):
        report(fleet(), expression=expression)


def test_a_narrowed_audit_keeps_only_the_findings_of_its_volumes() -> None:
    measurements = fleet()
    for name, place in (("h1", 0), ("h4", 0)):
        measurements[name]["disks"][place]["held"] = False
    assert len(report(measurements)["findings"]) == 2
    assert [item["object"] for item in report(measurements, wanted="vm5:vdb")["findings"]] == ["vm5:vdb"]


def test_a_summary_stays_small() -> None:
    measurements = fleet()
    for name in ("t1", "t2", "t3", "t4"):
        for bdev in measurements[name]["target"]["bdevs"]:
            bdev["image_bytes"] = GIB
        measurements[name]["target"]["problems"] = [
            {"object": f"x{number}", "hop": "bdev", "problem": "y" * 5000, "remedy": "z", "severity": "critical"} for number in range(30)
        ]
    summary = report(measurements)["summary"]
    assert len(summary["critical"]) == SUMMARY_CAP and summary["critical_not_listed"] == 16 + 120 - SUMMARY_CAP
    assert summary["verdicts"] == {"critical": 8}
    assert len(json.dumps(summary)) < 10000


def test_the_filters_take_what_the_role_registers_and_give_plain_data() -> None:
    known = hostvars(fleet())
    found = audit_report(known, ASKED, find="vm1:vdb")
    assert json.loads(json.dumps(found)) == found
    assert report_html(found, STYLE, SCRIPT, {"when": "now"}).startswith("<!DOCTYPE html>")
    with pytest.raises(AnsibleFilterError, match="nothing behind"):
        audit_report(known, ASKED, find="nope")
    with pytest.raises(AnsibleFilterError, match="must not contain"):
        report_html(found, "</style>", SCRIPT)
    with pytest.raises(AnsibleFilterError, match="not an audit"):
        report_html({}, STYLE, SCRIPT)


# -- the page


class Reader(html.parser.HTMLParser):
    """Elements and texts of a page; complains about elements that do not match."""

    void = ("meta", "input")

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def hostile(value: t.Any) -> t.Any:
    """Every name in the measurements made hostile, those that join them kept equal."""
    if isinstance(value, dict):
        return {
            key: HOSTILE + item if key in ("image", "pool", "object", "problem", "domain", "nqn", "source") and item else hostile(item)
            for key, item in value.items()
        }
    return [hostile(item) for item in value] if isinstance(value, list) else value


def test_hostile_names_add_no_element_and_are_read_as_they_are() -> None:
    clean = fleet()
    clean["h1"]["host"]["problems"].append({"object": "nvme0", "hop": "path", "problem": "down", "remedy": "x", "severity": "warning"})
    benign = Reader(page(report(clean), STYLE, SCRIPT, {"by": "me"}))
    found = report(hostile(clean))
    spoilt = Reader(page(found, STYLE, SCRIPT, {"by": HOSTILE}))
    assert sorted(tag for tag, _attributes in spoilt.tags) == sorted(tag for tag, _attributes in benign.tags)
    assert {name for _tag, attributes in spoilt.tags for name in attributes} == {name for _tag, attributes in benign.tags for name in attributes}
    assert any(HOSTILE + "host-rbd-img-1" in text for text in spoilt.text)


def test_the_page_loads_nothing_and_allows_only_its_own_script() -> None:
    text = page(report(fleet()), STYLE, SCRIPT, {})
    reader = Reader(text)
    assert not [tag for tag, _attributes in reader.tags if tag in ("link", "img", "iframe", "object", "embed", "base", "form")]
    assert not [name for _tag, attributes in reader.tags for name in attributes if name.startswith("on") or name in ("src", "style")]
    assert all(attributes["href"].startswith("#") for tag, attributes in reader.tags if tag == "a")
    assert not re.search(r"url\(|@import|https?://(?!www\.gnu\.org/licenses)", STYLE + SCRIPT)
    policy = next(attributes["content"] for _tag, attributes in reader.tags if attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy


def test_the_drawing_has_a_box_for_every_reading_and_marks_the_lag() -> None:
    measurements = fleet()
    measurements["h1"]["disks"][0].update(capacity_bytes=SIZE // 2, guest_bytes=SIZE // 2)
    row = report(measurements)["volumes"][0]
    svg = ElementTree.fromstring(str(drawing(row)))
    boxes = list(svg.iter("g"))
    assert len(boxes) == 1 + 2 + 2 + 6 + 3 + 1 + 1
    assert [node.get("class") for node in boxes if "lagging" in node.get("class")] == ["box lagging"] * 2
    bars = [rect for node in boxes if node.get("class") == "box lagging" for rect in node.iter("rect")]
    assert {float(rect.get("width")) for rect in bars if rect.get("class") == "part"} == {BAR / 2}
    # the style sheet draws the whole bar and the frame
    assert f".frame {{ width: {WIDTH}px; height: {HEIGHT}px" in STYLE and f".all {{ width: {BAR}px" in STYLE
    # a path leads to the target that listens at its address, so two of the four lines from namespaces to a host's paths are not there
    assert len(list(svg.iter("path"))) == 2 + 2 + 6 + 6 + 1 + 1


def test_a_column_of_many_shows_the_bad_ones() -> None:
    row = report(fleet())["volumes"][0]
    template = row["readings"]["device"][0]
    row["readings"]["device"] = [{**template, "host": f"x{number}", "bytes": SIZE if number != 39 else GIB} for number in range(40)]
    text = str(drawing(row))
    assert "and 31 more, listed below" in text and "device x39:/dev/nvme0n1" in text


def test_a_volume_without_anything_and_an_empty_audit_have_a_page_too() -> None:
    alone = {"t1": {"target": {**fleet()["t1"]["target"], "subsystems": []}, "errors": {}}}
    assert "not exported" in page(report(alone), STYLE, SCRIPT)
    empty = report({})
    assert empty["lines"] == ["no target of the inventory exports an RBD image", "", "no findings"]
    assert "No volumes." in page(empty, STYLE, SCRIPT)


def test_building_blocks() -> None:
    assert str(el("a", {"href": '"x"', "hidden": True, "title": None}, "<&>", el("b", None, 5))) == '<a href="&#34;x&#34;" hidden>&lt;&amp;&gt;<b>5</b></a>'
    assert shorten("short") == "short" and len(shorten("n" * 50)) == 20
    assert chain({**report(fleet())["volumes"][0]})[0] == f"pool-1/host-rbd-img-1 ({uuid(1)}): ok"
