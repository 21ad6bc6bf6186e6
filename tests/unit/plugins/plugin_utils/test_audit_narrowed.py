# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An audit of some volumes: what it keeps, what it counts, and which hosts it cannot do without."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.filter.audit_report import audit_report
from ansible_collections.nvmeof.spdk.plugins.filter.growth_plan import growth_plan
from ansible_collections.nvmeof.spdk.plugins.filter.select_volumes import select_volumes
from ansible_collections.nvmeof.spdk.plugins.filter.volume_table import volume_table
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._audit import AuditError, report
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._lookup import LookupFailure
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._report_html import MOST_LINKS, page
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._select import SelectError, as_typed, select
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._volumes import LEFT_OUT
from ansible_collections.nvmeof.spdk.tests.fixtures.fleet import ASKED, GIB, PAIRS, SIZE, fleet, hostvars, nqn, uuid

EVERYBODY = [*ASKED["target"], *ASKED["host"]]


def spoilt() -> dict[str, dict[str, t.Any]]:
    """A fleet with a finding of every reach: volume 1, subsystem a, host h4, and a bdev of nobody."""
    found = fleet()
    found["t2"]["target"]["subsystems"][0]["namespaces"][0]["nguid"] = "f" * 32
    found["t2"]["target"]["subsystems"][0]["serial_number"] = "OTHER"
    found["h4"]["host"]["problems"].append({"object": "kernel", "hop": "path", "problem": "old", "remedy": "x", "severity": "warning"})
    found["t3"]["target"]["bdevs"].append({"name": "Malloc0", "uuid": uuid(99), "product": "Malloc disk", "size_bytes": GIB, "claimed": False, "image": None})
    return found


def kinds(found: t.Mapping[str, t.Any]) -> list[tuple[str, str]]:
    return [(item["kind"], item["object"]) for item in found["findings"]]


@pytest.mark.parametrize(
    ("wish", "expected", "elsewhere"),
    [
        ({}, ["identity-differs", "host-problem", "identity-differs", "bdev-unused"], {"critical": 0, "warning": 0, "info": 0}),
        ({"wanted": "vm1:vdb"}, ["identity-differs", "identity-differs"], {"critical": 0, "warning": 1, "info": 1}),
        ({"wanted": "vm2:vdb"}, ["identity-differs"], {"critical": 1, "warning": 1, "info": 1}),
        ({"expression": "[?contains(hosts, 'h4')]"}, ["host-problem"], {"critical": 1, "warning": 1, "info": 1}),
        ({"expression": "[?pool=='nope']"}, [], {"critical": 1, "warning": 2, "info": 1}),
    ],
)
def test_a_finding_stays_with_every_volume_that_it_touches(wish: dict[str, str], expected: list[str], elsewhere: dict[str, int]) -> None:
    found = report(spoilt(), **wish)
    assert [kind for kind, _object in kinds(found)] == expected
    assert found["findings_elsewhere"] == elsewhere
    told = [line.rpartition(": ")[2] for line in found["lines"] if line.startswith("findings about other volumes, not shown: ")]
    assert told == ([", ".join(f"{number} {word}" for word, number in elsewhere.items() if number)] if wish else [])


def test_the_page_says_how_many_findings_are_elsewhere() -> None:
    assert "<dt>findings about other volumes</dt><dd>2</dd>" in page(report(spoilt(), wanted="vm1:vdb"), "", "")
    assert "findings about other volumes" not in page(report(spoilt()), "", "")


def test_a_uuid_in_two_places_stays_with_either_volume() -> None:
    measurements = fleet()
    for name in ("t3", "t4"):
        measurements[name]["target"]["subsystems"][0]["namespaces"][0]["uuid"] = uuid(1)
    for number in (1, 5):
        found = report(measurements, wanted=f"pool-1/host-rbd-img-{number}")
        (item,) = [item for item in found["findings"] if item["kind"] == "uuid-twice"]
        assert item["volume"] == "pool-1/host-rbd-img-1" and item["volumes"] == ["pool-1/host-rbd-img-1", "pool-1/host-rbd-img-5"]
        # told once: the finding says what the row's verdict says
        assert [text.partition(" ")[0] for text in found["summary"]["critical"]] == ["uuid-twice"]


def test_the_page_links_a_finding_to_its_volumes_or_counts_them() -> None:
    measurements = spoilt()
    text = page(report(measurements), "", "")
    (item,) = [part for part in text.split("<li ") if "different serial numbers" in part]
    assert item.count('<a href="#v') == 4 <= MOST_LINKS
    measurements["h3"] = {"errors": {"host": "no route", "disks": "no route"}}
    (item,) = [part for part in page(report(measurements), "", "").split("<li ") if ">not-heard<" in part]
    assert "<small>8 volumes</small>" in item and "<a " not in item


@pytest.mark.parametrize("handle", ["luks-vm1", "h1:luks-vm1", "/dev/mapper/luks-vm1", "h1:/dev/dm-0", "vm1", "h1:vm1"])
def test_layers_and_domains_lead_to_the_path_too(handle: str) -> None:
    measurements = fleet()
    layer = {"name": "luks-vm1", "device": "/dev/dm-0", "kind": "dm-crypt", "size_bytes": SIZE - GIB, "on": ["/dev/nvme0n1"]}
    measurements["h1"]["host"]["namespaces"][0].update(layers=[layer], holders=["dm-0"])
    measurements["h1"]["disks"][0].update(source="/dev/mapper/luks-vm1", device="/dev/dm-0", layers=["luks-vm1"], capacity_bytes=SIZE - GIB)
    found = report(measurements, wanted=handle)
    assert [row["volume"] for row in found["volumes"]] == ["pool-1/host-rbd-img-1"]
    assert found["paths"][0].startswith(f"{handle} -> pool-1/host-rbd-img-1")


def test_the_users_of_an_image_and_the_image_of_a_serial_number() -> None:
    """The two questions of every day: who uses it, and what is behind the device that nvme list shows."""
    lines = report(fleet(), wanted="pool-1/host-rbd-img-1")["paths"]
    assert [line.split()[1] for line in lines if line.split()[0] == "disk"] == ["h1:vm1:vdb"]
    lines = report(fleet(), wanted="SPDKA0001#2")["paths"]
    assert lines[0] == f"SPDKA0001#2 -> pool-1/host-rbd-img-2 ({uuid(2)}): ok"
    assert [line.split()[1] for line in lines[1:4]] == ["pool-1/host-rbd-img-2", "t1:Ceph-host-rbd-img-2", "t2:Ceph-host-rbd-img-2"]


# -- --limit


def limited(*playing: str, declared: bool = False, **wish: str) -> dict[str, t.Any]:
    """An audit of the healthy fleet by a run that may talk to these hosts only."""
    known = hostvars({name: measured for name, measured in fleet().items() if name in playing})
    for pair, (targets, hosts, numbers) in PAIRS.items():
        for name in [*targets, *hosts]:
            known.setdefault(name, {})
            if declared and name in targets:
                known[name]["spdk_target_rbd_bdevs"] = [{"pool": "pool-1", "image": f"host-rbd-img-{number}"} for number in numbers]
            elif declared:
                known[name]["nvme_initiator_connections"] = [{"nqn": nqn(pair)}]
    return audit_report(known, ASKED, playing=list(playing), **wish)


def test_all_hosts_are_needed_where_nothing_is_declared() -> None:
    assert len(limited(*EVERYBODY)["volumes"]) == 8
    with pytest.raises(AnsibleFilterError) as error:
        limited("t1", "t2", "t3", "h1", "h2")
    text = str(error.value)
    assert text.startswith(f"{LEFT_OUT}, and needed: h3 (has or may have pool-1/host-rbd-img-1, pool-1/host-rbd-img-2, pool-1/host-rbd-img-3 and 5 more); h4 (")
    assert all(f"{name} (" in text for name in ("h5", "h6", "t4")) and "h1" not in text and "Run it without --limit" in text


def test_hosts_that_the_inventory_says_are_elsewhere_may_be_left_out() -> None:
    found = limited("t1", "t2", "h1", "h2", "h3", declared=True)
    assert {row["volume"][-1]: row["verdict"] for row in found["volumes"]} == dict.fromkeys("1234", "ok")
    left = {("info", "not-heard", name) for name in ("h4", "h5", "h6", "t3", "t4")}
    assert {(item["severity"], item["kind"], item["host"]) for item in found["findings"]} == left
    with pytest.raises(AnsibleFilterError, match=r"needed: h3 \(has or may have .*\); t2 \("):
        limited("t1", "h1", "h2", declared=True)


def test_a_narrowed_audit_needs_the_hosts_of_its_volumes_only() -> None:
    assert [row["verdict"] for row in limited("t1", "t2", "t3", "h1", "h2", "h3", declared=True, find="vm1:vdb")["volumes"]] == ["ok"]
    with pytest.raises(AnsibleFilterError, match=r"needed: h4 .*; h5 .*; h6 .*; t4 "):
        limited("t1", "t2", "t3", "h1", "h2", "h3", declared=True, select="[?image=='host-rbd-img-5']")


def test_targets_that_were_left_out_are_needed_for_what_nobody_else_explains() -> None:
    """A host shows devices, and no target says what they are; or there is no row at all."""
    with pytest.raises(AnsibleFilterError, match=r"needed: t1 \(a target that may export what is missing\); t2 "):
        limited("t3", "t4", "h1", "h4", "h5", "h6", declared=True)
    with pytest.raises(AnsibleFilterError, match=r"needed: t1 .*; t2 .*; t3 .*; t4 "):
        limited("h1", declared=True)
    with pytest.raises(AnsibleFilterError, match=r"needed: t3 .*; t4 "):
        limited("t1", "t2", "h1", "h2", "h3", declared=True, select="[?image=='host-rbd-img-5']")
    with pytest.raises(AnsibleFilterError, match=r"nothing behind 'vm5:vdb'.*t4 \(target\): left out by --limit"):
        limited("t1", "t2", "h1", "h2", "h3", declared=True, find="vm5:vdb")


def test_a_host_that_is_down_is_not_left_out() -> None:
    measurements = fleet()
    measurements["h3"] = {"errors": {"host": "no route", "disks": "no route"}}
    found = audit_report(hostvars(measurements), ASKED, playing=EVERYBODY)
    assert [(item["severity"], item["kind"]) for item in found["findings"]] == [("warning", "not-heard")]
    with pytest.raises(AuditError):
        measurements["h3"] = {"errors": {"host": LEFT_OUT}}
        report(measurements)
    with pytest.raises(LookupFailure):
        report(measurements, wanted="nope")


# -- select


class Tagged(str):
    """Text with a wrapper, as templates give it."""


class Lazy(list):
    """A list with a wrapper."""


class LazyMap(dict):
    """A mapping with a wrapper."""


def wrapped(value: t.Any) -> t.Any:
    """Everything in wrappers that jmespath and json take for something else."""
    if isinstance(value, dict):
        return LazyMap({Tagged(key): wrapped(item) for key, item in value.items()})
    if isinstance(value, list):
        return Lazy(wrapped(item) for item in value)
    return Tagged(value) if isinstance(value, str) else value


def kinds_of(value: t.Any) -> set[type]:
    """The types of a value and all in it."""
    inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else []
    return {type(value)}.union(*[kinds_of(item) for item in inner])


def test_selections_meet_plain_data_in_audit_and_growth_alike() -> None:
    known = {name: wrapped(value) for name, value in hostvars(fleet()).items()}
    expression = Tagged("[?pool=='pool-1' && image_bytes < `214748364800` && contains(hosts, 'h4') && starts_with(image, 'host')]")
    found = audit_report(known, wrapped(ASKED), select=expression)
    numbers = [row["image"][-1] for row in found["volumes"]]
    assert numbers == ["5", "6", "7", "8"]
    assert kinds_of(found) <= {dict, list, str, int, bool, float, type(None)}
    assert json.loads(json.dumps(found)) == found
    table = wrapped(volume_table(known, wrapped(ASKED)))
    assert [row["image"][-1] for row in select_volumes(table, expression)] == numbers
    planned = growth_plan(table, Tagged("200G"), select=expression)
    assert [row["image"][-1] for row in planned["volumes"]] == numbers and json.loads(json.dumps(planned)) == planned


def test_a_bad_expression_reads_alike_in_audit_and_growth() -> None:
    known = hostvars(fleet())
    texts = []
    for call in (
        lambda: audit_report(known, ASKED, select="[?image_bytes < 100]"),
        lambda: growth_plan(volume_table(known, ASKED), "200G", select="[?image_bytes < 100]"),
        lambda: select_volumes(volume_table(known, ASKED), "[?image_bytes < 100]"),
    ):
        with pytest.raises(AnsibleFilterError) as error:
            call()
        texts.append(str(error.value))
    assert len(set(texts)) == 1 and "numbers stand in backticks, as `100`" in texts[0]


TYPED = "[?pool=='pool-1' && image_bytes < `107374182400`]"


@pytest.mark.parametrize(
    ("cut", "options", "expected"),
    [
        ("[?pool=='pool-1'", (f"select={TYPED}",), TYPED),
        ("[?pool=='pool-1'", ("find=vm1:vdb", f"html=a.html select={TYPED} report=x"), TYPED),
        ("[?pool=='pool-1']", ("select=[?pool=='pool-1'] | [?verdict!='ok']",), "[?pool=='pool-1'] | [?verdict!='ok']"),
        ("[?pool=='pool-1']", ("select=[?pool=='pool-1'] find=vm1:vdb",), "[?pool=='pool-1']"),
        ("[?pool=='pool-1'", ('{"select": "[?pool==\'pool-1\' && x]"}', "@file.yml"), "[?pool=='pool-1'"),
        (TYPED, (f"select={TYPED}",), TYPED),
        ("", ("select= find=vm1:vdb",), ""),
        ("[?pool=='pool-1'", (), "[?pool=='pool-1'"),
    ],
)
def test_what_was_typed_with_spaces_is_meant_as_a_whole(cut: str, options: tuple[str, ...], expected: str) -> None:
    """Ansible ends a variable at the first space; what then remains can be valid, and choose more than was meant."""
    assert as_typed(cut, options) == expected


def test_select_looks_at_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible import context

    rows = report(fleet())["volumes"]
    monkeypatch.setattr(context, "CLIARGS", {"extra_vars": ("select=[?pool=='pool-1'] | [?image=='host-rbd-img-3']",)})
    assert [row["image"] for row in select(rows, "[?pool=='pool-1']")] == ["host-rbd-img-3"]
    monkeypatch.setattr(context, "CLIARGS", {"extra_vars": ("select=[?pool=='pool-1' && ]",)})
    with pytest.raises(SelectError, match=r"the expression \"\[\?pool=='pool-1' && \]\" is not valid"):
        select(rows, "[?pool=='pool-1'")
