# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils import _spdk_health as health
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import ReleaseTable
from fake_ceph import FakeCeph

MIB = 1024**2
NEW, OLD = ReleaseTable((26, 5)), ReleaseTable((23, 9))


def bdev(name="a", **given):
    facts = {
        "name": name,
        "uuid": f"uuid-{name}",
        "block_size": 512,
        "size_bytes": 64 * MIB,
        "read_only": False,
        "pool": "p",
        "rados_namespace": None,
        "image": f"image-{name}",
        "image_bytes": 64 * MIB,
        "image_error": None,
        "watched": True,
    }
    return {**facts, **given}


def subsystem(nqn="nqn.2026-01.org.example:a", **given):
    facts = {
        "nqn": nqn,
        "serial_number": nqn[-20:],
        "allow_any_host": False,
        "hosts": ["h"],
        "listeners": [{"trtype": "TCP", "adrfam": "IPv4", "traddr": "192.0.2.1", "trsvcid": "4420"}],
        "namespaces": [{"nsid": 1, "bdev": "a", "uuid": "uuid-a"}],
    }
    return {**facts, **given}


def test_a_healthy_target_has_no_problem():
    assert health.bdev_problems([bdev("a"), bdev("b")], NEW, []) == []
    assert health.subsystem_problems([subsystem()], [{"trtype": "TCP"}], [bdev("a")]) == []


@pytest.mark.parametrize(
    ("given", "table", "blocked", "words", "severity"),
    [
        ({"size_bytes": 0, "image_bytes": None}, NEW, [], "0 blocks", "critical"),
        ({"image_bytes": 32 * MIB}, NEW, [], "less than", "critical"),
        ({"image_bytes": 128 * MIB}, NEW, [], "shows", "warning"),
        ({"image_bytes": 64 * MIB + 512, "size_bytes": 64 * MIB + 512}, NEW, [], "no whole number of MiB", "warning"),
        ({"watched": False}, NEW, [], "no client of this host", "warning"),
        ({"watched": False}, NEW, ["127.0.0.1:0/1"], "blocklisted", "critical"),
        ({"watched": False}, OLD, ["127.0.0.1:0/1"], "blocklisted", "critical"),
        ({"image_error": "refused", "image_bytes": None}, NEW, [], "unknown", "warning"),
    ],
)
def test_what_is_wrong_with_a_bdev(given, table, blocked, words, severity):
    (found,) = health.bdev_problems([bdev(**given)], table, blocked)
    assert words in found["problem"] and found["severity"] == severity and found["object"] == "a" and found["remedy"]


def test_what_is_no_problem():
    assert health.bdev_problems([bdev(watched=False)], OLD, []) == []
    assert health.bdev_problems([bdev(watched=False, read_only=True), bdev("n", watched=None, image_bytes=None)], NEW, []) == []
    assert health.bdev_problems([bdev(block_size=4096, image_bytes=64 * MIB + 1 * MIB, size_bytes=65 * MIB)], NEW, None) == []


def test_one_uuid_or_image_twice():
    found = health.bdev_problems([bdev("a"), bdev("b", uuid="uuid-a", image="image-a")], NEW, [])
    assert {entry["problem"] for entry in found} == {"has the same uuid as a", "opens the same image as a"}


@pytest.mark.parametrize(
    ("given", "transports", "words"),
    [
        ({}, [], "no transport"),
        ({}, [{"trtype": "RDMA"}], "does not speak"),
        ({"listeners": []}, [{"trtype": "TCP"}], "no listener"),
        ({"hosts": []}, [{"trtype": "TCP"}], "no host may connect"),
        ({"namespaces": [{"nsid": 1, "bdev": "gone", "uuid": "u"}]}, [{"trtype": "TCP"}], "is gone"),
        ({"namespaces": [{"nsid": 1, "bdev": "a", "uuid": "u"}]}, [{"trtype": "TCP"}], "is not its bdev's"),
    ],
)
def test_what_is_wrong_with_a_subsystem(given, transports, words):
    (found,) = health.subsystem_problems([subsystem(**given)], transports, [bdev("a")])
    assert words in found["problem"] and found["remedy"]


def test_two_subsystems_with_one_serial_and_one_volume():
    found = health.subsystem_problems(
        [subsystem(), subsystem("nqn.2026-01.org.example:b", serial_number=subsystem()["serial_number"])], [{"trtype": "TCP"}], [bdev("a")]
    )
    assert len(found) == 2 and "serial" in found[0]["problem"] and "same uuid" in found[1]["problem"]


def test_images_are_read_and_watchers_of_this_host_found(monkeypatch):
    monkeypatch.setattr(health, "foreign_bind_allowed", lambda: False)
    ceph = FakeCeph({("p", "one"): 64 * MIB})
    facts = [{"pool": "p", "rados_namespace": "", "image": "one"}, {"pool": "p", "rados_namespace": "", "image": "none"}, {"pool": None, "image": None}]
    ceph.watchers = ["127.0.0.1:0/123"]
    health.add_images(facts, lambda: ceph, True)
    assert [entry["image_bytes"] for entry in facts] == [64 * MIB, None, None]
    assert facts[0]["watched"] is True and "does not exist" in facts[1]["image_error"] and facts[2]["image_error"] is None
    assert facts[0]["image_primary"] is None
    ceph.watchers, ceph.primary = ["192.0.2.77:0/123"], "on the mirror peer site-b"
    health.add_images(facts, lambda: ceph, True)
    assert facts[0]["watched"] is False and facts[0]["image_primary"] == "on the mirror peer site-b" and facts[1]["image_primary"] is None


def test_images_of_some_bdevs_only():
    asked = []

    class Counting(FakeCeph):
        def state(self, spec):
            asked.append(spec.image)
            return super().state(spec)

    ceph = Counting({("p", "one"): 64 * MIB, ("p", "two"): 96 * MIB})
    facts = [{"name": name, "pool": "p", "rados_namespace": "", "image": name} for name in ("one", "two")]
    health.add_images(facts, lambda: ceph, True, ["two"])
    assert asked == ["two"] and [entry["image_bytes"] for entry in facts] == [None, 96 * MIB] and facts[0]["image_error"] is None


def test_images_are_not_read_when_not_wanted():
    def never():
        raise AssertionError("Ceph was asked")

    facts = [{"pool": "p", "rados_namespace": "", "image": "one"}]
    health.add_images(facts, never, False)
    assert facts[0]["image_bytes"] is None and facts[0]["watched"] is None


def test_blocklisted_clients_of_this_host_only():
    ceph = FakeCeph({})
    ceph.blocked = ["127.0.0.1:0/1", "192.0.2.77:0/2"]
    assert health.blocklisted(ceph) == ["127.0.0.1:0/1"]


def test_a_removed_key_that_lives_on():
    keys = [{"name": "a", "removed": False}, {"name": "b", "removed": True}, {"name": "a", "removed": True}]
    assert [found["object"] for found in health.keyring_problems(keys)] == ["b"]
