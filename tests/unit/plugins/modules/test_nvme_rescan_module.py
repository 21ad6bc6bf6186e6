# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module nvme_rescan: options, results, failures."""

from __future__ import annotations

import functools
import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_rescan import Follower
from ansible_collections.nvmeof.spdk.plugins.modules import nvme_rescan
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.call import call
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.fake_host import MIB, NQN, UUID1, UUID2, FakeHost


@pytest.fixture(name="host")
def _host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    host = FakeHost(tmp_path)
    host.controller("nvme0")
    host.controller("nvme1", "192.0.2.11")
    host.namespace("nvme0n1", 1, UUID1, 64 * MIB, ["nvme0", "nvme1"])
    host.namespace("nvme0n2", 2, UUID2, 64 * MIB, ["nvme0", "nvme1"])
    monkeypatch.setattr(nvme_rescan, "SysfsNvme", lambda: host.sysfs)
    monkeypatch.setattr(nvme_rescan, "Identify", lambda: host.identify)
    monkeypatch.setattr(nvme_rescan, "Follower", functools.partial(Follower, clock=host.clock, sleep=host.sleep))
    return host


def test_growth_and_second_run(host: FakeHost) -> None:
    for name in ("nvme0", "nvme1"):
        host.served[name, 1] = 80 * MIB
    wish = {"uuid": UUID1.upper(), "size": "80M"}
    preview = call(nvme_rescan, wish, check=True)
    first = call(nvme_rescan, wish)
    second = call(nvme_rescan, wish)
    assert [result["changed"] for result in (preview, first, second)] == [True, True, False]
    assert preview["diff"] == first["diff"]
    assert second["diff"] == {"before": {}, "after": {}}
    (entry,) = first["namespaces"]
    assert (entry["before_bytes"], entry["size_bytes"], entry["satisfied"], entry["rescanned"]) == (64 * MIB, 80 * MIB, True, ["nvme0", "nvme1"])
    sample = yaml.safe_load(nvme_rescan.RETURN)["namespaces"]["sample"][0]
    assert set(entry) == set(sample)
    assert set(entry["paths"][0]) == set(sample["paths"][0])


def test_check_mode_of_what_is_there(host: FakeHost) -> None:
    result = call(nvme_rescan, {"device": "/dev/nvme0n1", "size": "64M"}, check=True)
    assert (result["changed"], result["namespaces"][0]["satisfied"]) == (False, True)


def test_every_failed_namespace_is_named_and_the_others_are_done(host: FakeHost) -> None:
    for name in ("nvme0", "nvme1"):
        host.served[name, 1] = 80 * MIB
    result = call(nvme_rescan, {"size": "80M", "namespaces": [{"uuid": UUID1}, {"uuid": UUID2}, {"nqn": NQN, "nsid": 9}]})
    assert (result["failed"], result["changed"]) == (True, True) and result["seconds"] >= 0
    assert [entry["satisfied"] for entry in result["namespaces"]] == [True, False, False]
    assert UUID2 in result["msg"]
    assert f"{NQN} nsid 9" in result["msg"]
    assert result["error"] == result["namespaces"][1]["error"]
    assert result["error"]["remedy"]


def test_no_namespaces_is_nothing_to_do(host: FakeHost) -> None:
    result = call(nvme_rescan, {"namespaces": [], "size": "80M"})
    assert (result["failed"], result["changed"], result["namespaces"]) == (False, False, [])


def test_exact(host: FakeHost) -> None:
    assert call(nvme_rescan, {"uuid": UUID1, "size": "32M"})["failed"] is False
    result = call(nvme_rescan, {"uuid": UUID1, "size": "32M", "exact": True})
    assert (result["failed"], result["error"]["hop"]) == (True, "device")


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"uuid": UUID1, "size": "800"}, "has no unit"),
        ({"uuid": UUID1, "size": "800X"}, "unknown unit"),
        ({"uuid": UUID1, "size": "-1G"}, "not a size"),
        ({"uuid": UUID1, "size": "0G"}, "zero"),
        ({"uuid": UUID1, "size": "17592186044416M"}, "above the limit"),
        ({"uuid": UUID1, "size": "1048577B"}, "whole number of MiB"),
        ({"uuid": UUID1}, "size is missing"),
        ({"uuid": "not-a-uuid", "size": "1G"}, "is not the UUID"),
        ({"size": "1G"}, "name a namespace"),
        ({"uuid": UUID1, "device": "/dev/nvme0n1", "size": "1G"}, "exactly one of"),
        ({"nqn": NQN, "size": "1G"}, "belong together"),
        ({"nsid": 1, "size": "1G"}, "belong together"),
        ({"nqn": NQN, "nsid": 0, "size": "1G"}, "start at 1"),
        ({"nqn": "cnode1", "nsid": 1, "size": "1G"}, "does not start with 'nqn.'"),
        ({"device": "nvme0n1", "size": "1G"}, "is not a path under /dev"),
        ({"uuid": UUID1, "size": "1G", "namespaces": []}, "not both"),
        ({"uuid": UUID1, "size": "1G", "event_timeout": -1}, "negative"),
        ({"uuid": UUID1, "size": "1G", "wait_timeout": "soon"}, "wait_timeout"),
        ({"namespaces": "many"}, "dictionary requested"),
        ({"namespaces": [{"uuid": UUID1, "size": "1G", "speed": 3}]}, "speed"),
        ({"nqn": NQN, "nsid": "first", "size": "1G"}, "nsid"),
    ],
)
def test_bad_input_is_refused_before_anything(host: FakeHost, params: dict[str, t.Any], words: str) -> None:
    result = call(nvme_rescan, params)
    assert result["failed"] is True
    assert words in result["msg"]
    assert (host.rescans, host.identify.asked, host.now) == ([], [], 0.0)
