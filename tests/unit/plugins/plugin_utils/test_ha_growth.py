# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""Growth of volumes that two targets export, when one of them is down, silent, stale, or behind."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.nvmeof.spdk.plugins.filter.growth_plan import growth_plan
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth import outcome, plan
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._volumes import LEFT_OUT, build, measurements_of, portal_of

MIB = 2**20
OLD, NEW = 64 * MIB, 128 * MIB
NQN = "nqn.2016-06.io.spdk:cnode1"
UUIDS = {"vol-1": "0a1b2c3d-0000-5000-8000-000000000001", "vol-2": "0a1b2c3d-0000-5000-8000-000000000002"}
PORTALS = {"t1": "192.0.2.10", "t2": "192.0.2.11"}
DOWN = {"errors": {"target": "cannot connect to /var/tmp/spdk.sock: Connection refused"}}
BOTH = {"t1": {"images": ["rbd/vol-1", "rbd/vol-2"]}, "t2": {"images": ["rbd/vol-1"]}}


def target(name: str, images: t.Sequence[str], size: int = OLD, image_bytes: int = OLD, problems: t.Sequence[dict[str, str]] = ()) -> dict[str, t.Any]:
    """What spdk_target_info says."""
    bdevs = [
        {
            "name": image,
            "uuid": UUIDS[image],
            "size_bytes": size,
            "pool": "rbd",
            "rados_namespace": "",
            "image": image,
            "image_bytes": image_bytes,
            "image_error": None,
            "watched": True,
        }
        for image in images
    ]
    namespaces = [{"nsid": int(image[-1]), "bdev": image, "uuid": UUIDS[image]} for image in images]
    listeners = [{"traddr": PORTALS[name], "trsvcid": "4420"}]
    subsystems = [{"nqn": NQN, "listeners": listeners, "namespaces": namespaces}]
    return {"target": {"fsid": "f", "bdevs": bdevs, "subsystems": subsystems, "problems": list(problems)}, "errors": {}}


def host(states: t.Mapping[str, str], sizes: t.Mapping[str, int] | None = None, images: t.Sequence[str] = ("vol-1",)) -> dict[str, t.Any]:
    """What nvme_info says: a path per target in ``states``."""
    sizes = sizes or {}
    namespaces = []
    for image in images:
        paths = [
            {
                "controller": f"nvme{number}",
                "traddr": PORTALS[name],
                "trsvcid": "4420",
                "transport": "tcp",
                "state": state,
                "ana_state": "optimized",
                "size_bytes": sizes.get(name, OLD),
            }
            for number, (name, state) in enumerate(states.items())
        ]
        size = max(path["size_bytes"] for path in paths if path["state"] == "live")
        namespaces.append({"uuid": UUIDS[image], "nqn": NQN, "nsid": 1, "device": "/dev/nvme0n1", "size_bytes": size, "holders": [], "paths": paths})
    return {"host": {"controllers": [], "namespaces": namespaces}, "errors": {}}


def degraded_pair(**more: t.Any) -> dict[str, t.Any]:
    """t2 is down; the host's path to it is, too."""
    return {"t1": target("t1", ["vol-1"]), "t2": DOWN, "h1": host({"t1": "live", "t2": "connecting"}), **more}


def grown_without_t2() -> dict[str, t.Any]:
    return {"t1": target("t1", ["vol-1"], NEW, NEW), "t2": DOWN, "h1": host({"t1": "live", "t2": "connecting"}, {"t1": NEW})}


@pytest.mark.parametrize(
    "reason",
    [
        "host unreachable: ssh: connect to host t2 port 22: No route to host",
        "cannot connect to /var/tmp/spdk.sock: Connection refused",
        "not measured (host left out by --limit, or lost earlier in this run)",
    ],
)
def test_a_target_that_cannot_be_read_blocks_and_is_named(reason: str) -> None:
    made = plan(build(degraded_pair(t2={"errors": {"target": reason}}), BOTH), "128M")
    assert made["blocked"] and not made["needed"]
    assert made["volumes"][0]["verdict"] == f"blocked: target t2 cannot be read: {reason}"
    assert not any(made[kind] for kind in ("images", "targets", "initiators", "hypervisors"))


def test_a_stale_target_blocks_even_a_degraded_growth() -> None:
    """Its paths are live and of the old size: a host that looks at them again shrinks its device."""
    stale = {"object": "vol-1", "hop": "image", "problem": "Ceph has blocklisted a client of this host", "remedy": "restart the target", "severity": "critical"}
    measured = {"t1": target("t1", ["vol-1"]), "t2": target("t2", ["vol-1"], problems=[stale]), "h1": host({"t1": "live", "t2": "live"})}
    for allow_degraded in (False, True):
        made = plan(build(measured, BOTH), "128M", allow_degraded=allow_degraded, on_blocked="skip")
        assert made["blocked"] and made["volumes"][0]["verdict"].startswith("critical: Ceph has blocklisted")


def test_volumes_of_living_targets_go_on_only_if_the_operator_says_so() -> None:
    measured = degraded_pair(t1=target("t1", ["vol-1", "vol-2"]), h1=host({"t1": "live"}, images=["vol-1", "vol-2"]))
    volumes = build(measured, BOTH)
    made = plan(volumes, "128M", ["rbd/vol-1", "rbd/vol-2"])
    assert made["blocked"]
    made = plan(volumes, "128M", ["rbd/vol-1", "rbd/vol-2"], on_blocked="skip")
    assert not made["blocked"] and made["needed"]
    assert made["targets"] == {"t1": [{"name": "vol-2", "state": "grown", "size": f"{NEW}B"}]}
    assert [entry["uuid"] for entry in made["initiators"]["h1"]] == [UUIDS["vol-2"]]
    after = degraded_pair(t1=target("t1", ["vol-1", "vol-2"]), h1=host({"t1": "live"}, images=["vol-1", "vol-2"]))
    for bdev in after["t1"]["target"]["bdevs"][1:]:
        bdev.update(size_bytes=NEW, image_bytes=NEW)
    after["h1"]["host"]["namespaces"][1].update(size_bytes=NEW)
    after["h1"]["host"]["namespaces"][1]["paths"][0].update(size_bytes=NEW)
    result = outcome(build(after, BOTH), made)
    assert [row["verdict"].split(":")[0] for row in result["volumes"]] == ["blocked", "ok"]
    (failed,) = result["failed"]
    assert failed.startswith("rbd/vol-1: blocked: target t2 cannot be read") and "bring the target back" in failed


def test_all_blocked_is_a_stop_even_if_blocked_volumes_are_skipped() -> None:
    assert growth_plan(build(degraded_pair(), BOTH), "128M", on_blocked="skip")["blocked"]


def test_the_choice_arrives_through_the_filter_as_text() -> None:
    made = growth_plan(build(degraded_pair(), BOTH), "128M", allow_degraded="true")
    assert not made["blocked"] and made["allow_degraded"] is True


def test_the_living_target_and_the_host_go_on_without_the_dead_one() -> None:
    made = plan(build(degraded_pair(), BOTH), "128M", allow_degraded=True)
    assert not made["blocked"] and made["needed"]
    assert list(made["targets"]) == ["t1"] and list(made["initiators"]) == ["h1"]
    assert any("target t2" in line or "bdev t2" in line for line in made["lines"])


def test_afterwards_the_dead_target_is_unproven_named_and_no_failure() -> None:
    made = plan(build(degraded_pair(), BOTH), "128M", allow_degraded=True)
    result = outcome(build(grown_without_t2(), BOTH), made)
    (row,) = result["volumes"]
    assert result["failed"] == []
    assert row["verdict"] == "unproven at bdev"
    assert row["bytes"]["image"] == row["bytes"]["device"] == NEW
    assert row["degraded"][0].startswith("target t2 is behind or unknown: cannot connect")
    assert "the path nvme1 192.0.2.11:4420 is connecting" in row["degraded"][1]
    assert row["degraded"][0] in row["reasons"] and result["summary"]["not_ok"][0]["degraded"] == row["degraded"]
    strict = outcome(build(grown_without_t2(), BOTH), {**made, "allow_degraded": False})
    assert strict["failed"] and strict["volumes"][0]["degraded"] == []


def test_degraded_forgives_neither_a_lag_nor_a_host_that_was_not_read() -> None:
    made = plan(build(degraded_pair(), BOTH), "128M", allow_degraded=True)
    measured = grown_without_t2()
    measured["h1"] = host({"t1": "live", "t2": "connecting"})
    assert "lagging at path" in outcome(build(measured, BOTH), made)["failed"][0]
    measured = grown_without_t2()
    measured["h2"] = {"errors": {"host": "host unreachable"}}
    assert "h2" in outcome(build(measured, BOTH), made)["failed"][0]
    measured = grown_without_t2()
    measured["h1"]["host"]["namespaces"][0]["paths"][0]["size_bytes"] = None
    assert outcome(build(measured, BOTH), made)["failed"]


def test_the_target_that_came_back_is_finished_and_then_nothing_is_left() -> None:
    """Restarted it has the new size already; frozen and thawed it lags."""
    restarted = {
        "t1": target("t1", ["vol-1"], NEW, NEW),
        "t2": target("t2", ["vol-1"], NEW, NEW),
        "h1": host({"t1": "live", "t2": "live"}, {"t1": NEW, "t2": NEW}),
    }
    made = plan(build(restarted, BOTH), "128M")
    assert not made["blocked"] and not made["needed"]
    assert outcome(build(restarted, BOTH), made)["volumes"][0]["verdict"] == "ok"
    lagging = copy.deepcopy(restarted)
    lagging["t2"] = target("t2", ["vol-1"], OLD, NEW)
    lagging["h1"] = host({"t1": "live", "t2": "live"}, {"t1": NEW, "t2": OLD})
    made = plan(build(lagging, BOTH), "128M")
    assert not made["blocked"]
    assert [(step["hop"], step["host"]) for step in made["volumes"][0]["steps"]] == [("bdev", "t2"), ("path", "h1")]


def test_a_living_path_to_a_target_that_nobody_can_ask_blocks_a_degraded_growth() -> None:
    """Unreachable for Ansible is not down: its path would bring the old size back."""
    measured = degraded_pair(h1=host({"t1": "live", "t2": "live"}))
    made = plan(build(measured, BOTH), "128M", allow_degraded=True)
    assert made["blocked"]
    (blocker,) = made["volumes"][0]["blockers"]
    assert blocker["object"] == "h1:nvme1 192.0.2.11:4420" and "stop it, so that hosts leave it" in blocker["remedy"]


def test_a_silent_target_that_does_not_export_the_volume_matters_to_nobody() -> None:
    declared = {"t1": {"images": ["rbd/vol-1"]}, "t2": {"images": ["rbd/vol-9"]}}
    made = plan(build({"t1": target("t1", ["vol-1"]), "t2": DOWN, "h1": host({"t1": "live"})}, declared), "128M")
    assert not made["blocked"] and list(made["targets"]) == ["t1"]


def test_portals_compare_whatever_the_spelling() -> None:
    assert portal_of({"traddr": "fd00:0::7", "trsvcid": 4420}) == portal_of({"traddr": "fd00::7%eth0", "trsvcid": "4420"})
    assert portal_of({"traddr": "a.example", "trsvcid": None}) == "a.example:"


def measured_with_limit(playing: t.Container[str], **asked: t.Sequence[str]) -> dict[str, t.Any]:
    """What a run over ``playing`` has: t1 and h1 answered, everybody else was not asked."""
    registered = {
        "t1": {"volume_growth__target": {"target": target("t1", ["vol-1"])["target"]}},
        "h1": {"volume_growth__host": {"host": host({"t1": "live"})["host"]}},
    }
    hostvars = {name: registered.get(name, {}) if name in playing else {} for names in asked.values() for name in names}
    return measurements_of(hostvars, asked, playing=playing)


@pytest.mark.parametrize("allow_degraded", [False, True])
def test_hosts_left_out_by_a_limit_block_and_are_named(allow_degraded: bool) -> None:
    measured = measured_with_limit({"t1", "h1"}, target=["t1", "t2"], host=["h1", "h2", "h3"], disks=["h1", "h2", "h3"])
    declared = {**BOTH, "h2": {"nqns": [NQN]}, "h3": {"nqns": ["nqn.other"]}}
    made = plan(build(measured, declared), "128M", allow_degraded=allow_degraded)
    assert made["blocked"] and not made["needed"]
    (blocker,) = [item for item in made["volumes"][0]["blockers"] if LEFT_OUT in item["problem"]]
    # h3 is known to be connected to something else
    assert blocker["object"] == "h2, t2" and blocker["hop"] == "bdev" and "without --limit" in blocker["remedy"]


def test_a_limit_that_keeps_every_host_of_the_volume_is_no_reason_to_stop() -> None:
    measured = measured_with_limit({"t1", "h1"}, target=["t1", "t2"], host=["h1", "h3"])
    declared = {"t1": {"images": ["rbd/vol-1"]}, "t2": {"images": ["rbd/vol-2"]}, "h3": {"nqns": ["nqn.other"]}}
    made = plan(build(measured, declared), "128M")
    assert not made["blocked"] and made["needed"], made["lines"]


def test_a_ceph_client_left_out_is_named_where_nobody_else_reads_the_image() -> None:
    measured = measured_with_limit({"t1", "h1"}, target=["t1"], images=["c1"], host=["h1"])
    assert not plan(build(measured, BOTH), "128M")["blocked"]
    measured["t1"]["target"]["bdevs"][0].update(image_bytes=None, image_error="no keyring")
    made = plan(build(measured, BOTH), "128M")
    assert made["blocked"] and "t1: no keyring; c1: left out by --limit" in made["volumes"][0]["verdict"]
