# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import METHODS, RELEASES, ReleaseTable, Span, UnsupportedError, release_name
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_facts import listener_facts, normal_address
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target, bdev_facts


def test_names_by_release():
    old, middle, new = ReleaseTable((19, 1)), ReleaseTable((21, 1)), ReleaseTable((26, 5))
    assert [table.wire_name("bdev_rbd_create") for table in (old, middle, new)] == ["construct_rbd_bdev", "bdev_rbd_create", "bdev_rbd_create"]
    assert [table.has("bdev_rbd_resize") for table in (old, middle, new)] == [False, True, True]
    assert [table.has("bdev_rbd_create", "uuid") for table in (old, middle, new)] == [False, False, True]
    assert not new.has("bdev_rbd_create", "namespace_name")


def test_the_methods_a_target_lists_count_more_than_its_release():
    table = ReleaseTable((26, 5), ["spdk_get_version", "bdev_get_bdevs"])
    assert table.wire_name("bdev_get_bdevs") == "bdev_get_bdevs"
    with pytest.raises(UnsupportedError) as caught:
        table.require("bdev_rbd_create", "x")
    assert "--with-rbd" in caught.value.remedy


def test_an_older_target_is_asked_to_be_upgraded():
    with pytest.raises(UnsupportedError) as caught:
        ReleaseTable((20, 1)).require("bdev_rbd_resize", "x")
    assert "20.04" in caught.value.remedy


@pytest.mark.parametrize(
    ("release", "method", "params", "word"),
    [
        ((24, 1), "nvmf_subsystem_add_host", {"nqn": "n", "host": "h", "dhchap_key": "k"}, "24.05"),
        ((25, 5), "bdev_rbd_create", {"read_only": True}, "25.09"),
        ((21, 7), "nvmf_subsystem_add_ns", {"namespace": {"bdev_name": "b", "anagrpid": 1}}, "21.10"),
        ((26, 5), "bdev_rbd_create", {"typo": 1}, "leave"),
    ],
)
def test_nothing_is_dropped_silently(release, method, params, word):
    with pytest.raises(UnsupportedError) as caught:
        ReleaseTable(release).check_params(method, params, "x")
    assert word in caught.value.remedy


def test_params_that_are_none_are_not_asked_for():
    ReleaseTable((19, 1)).check_params("bdev_rbd_create", {"name": "a", "uuid": None, "read_only": None}, "x")


def test_traits_and_limits():
    assert [ReleaseTable(release).is_so("follows_image") for release in ((23, 9), (24, 1))] == [False, True]
    assert [ReleaseTable(release).max_request for release in ((26, 1), (26, 5))] == [32768, 262144]
    assert release_name((26, 5)) == "26.05"


@pytest.mark.parametrize("span", [method.span for method in METHODS.values()] + [span for method in METHODS.values() for span in method.params.values()])
def test_every_span_is_in_order(span):
    assert isinstance(span, Span)
    assert span.since is None or span.until is None or span.since < span.until


@pytest.mark.parametrize("release", [(19, 1), (19, 7), (19, 10), (26, 5)])
def test_a_target_is_recognised(make_target, release):
    fake = make_target(release)
    with Target.open(fake.path, 5) as target:
        expected = release if release >= (19, 10) else (19, 1)
        assert (target.release["major"], target.release["minor"]) == expected
        assert target.bdevs() == [] and target.clusters() == [] and target.subsystems() == []


def test_a_pre_release_has_what_the_release_before_it_has(fake):
    fake.spdk_get_version = lambda: {"version": "SPDK v25.01-pre", "fields": {"major": 25, "minor": 1, "patch": 0, "suffix": "-pre", "commit": "x"}}
    with Target.open(fake.path, 5) as target:
        assert (target.table.name, target.table.surely) == ("25.01-pre", (24, 9))
        assert target.release == {"version": "SPDK v25.01-pre", "major": 25, "minor": 1}
        assert target.table.has("nvmf_subsystem_add_host", "dhchap_key") and not target.table.has("nvmf_create_subsystem", "enable_nssr")


def test_what_a_coming_release_has_or_drops_is_not_sent_to_its_pre_release():
    coming, table = ReleaseTable((26, 9), pre=True), ReleaseTable((26, 5))
    assert not coming.has("nvmf_create_subsystem", "admin_label") and ReleaseTable((26, 9)).has("nvmf_create_subsystem", "admin_label")
    assert not coming.has("nvmf_create_subsystem", "max_discard_size_kib") and table.has("nvmf_create_subsystem", "max_discard_size_kib")
    with pytest.raises(UnsupportedError) as caught:
        ReleaseTable((24, 5), pre=True).check_params("nvmf_subsystem_add_host", {"nqn": "n", "host": "h", "dhchap_key": "k"}, "x")
    assert "24.05" in caught.value.remedy


@pytest.mark.parametrize(
    ("method", "params", "since"),
    [
        ("nvmf_subsystem_add_host", {"psk": "k"}, (23, 5)),
        ("nvmf_subsystem_add_host", {"dhchap_key": "k"}, (24, 5)),
        ("nvmf_subsystem_add_host", {"dhchap_ctrlr_key": "k"}, (24, 5)),
        ("nvmf_subsystem_add_listener", {"secure_channel": True}, (23, 5)),
        ("nvmf_discovery_add_referral", {"secure_channel": True}, (24, 1)),
        ("bdev_rbd_create", {"read_only": True}, (25, 9)),
        ("nvmf_subsystem_add_ns", {"namespace": {"bdev_name": "b", "no_auto_visible": True}}, (24, 5)),
    ],
)
def test_a_security_option_is_sent_or_an_error_in_every_release(method, params, since):
    for release in RELEASES:
        table = ReleaseTable(release)
        if release >= since:
            table.require(method, "x")
            table.check_params(method, params, "x")
            continue
        with pytest.raises(UnsupportedError) as caught:
            table.require(method, "x")
            table.check_params(method, params, "x")
        assert release_name(since) in caught.value.remedy


def test_an_unknown_part_of_an_object_is_an_error():
    with pytest.raises(UnsupportedError):
        ReleaseTable((26, 5)).check_params("nvmf_subsystem_add_ns", {"namespace": {"bdev_name": "b", "typo": 1}}, "x")
    ReleaseTable((26, 5)).check_params("bdev_rbd_register_cluster", {"name": "c", "config_param": {"mon_host": "m"}}, "x")


def test_something_else_behind_the_socket(fake):
    fake.spdk_get_version = lambda: {"version": "1"}
    with pytest.raises(HopError) as caught:
        Target.open(fake.path, 5)
    assert "does not answer like an SPDK target" in caught.value.message


def test_bdev_facts_of_rbd_and_others():
    raw = {
        "name": "a",
        "aliases": ["0A1B2C3D-0000-4000-8000-000000000003"],
        "product_name": "Ceph Rbd Disk",
        "block_size": 4096,
        "num_blocks": 16768,
        "claimed": True,
        "supported_io_types": {"write": False},
        "driver_specific": {"rbd": {"pool_name": "p", "rbd_name": "i"}},
    }
    facts = bdev_facts(raw)
    assert (facts["uuid"], facts["size_bytes"], facts["read_only"], facts["pool"], facts["image"]) == (
        "0a1b2c3d-0000-4000-8000-000000000003",
        4096 * 16768,
        True,
        "p",
        "i",
    )
    null = bdev_facts({"name": "n", "product_name": "Null disk", "block_size": 512, "num_blocks": 8, "driver_specific": {}})
    assert (null["pool"], null["image"], null["uuid"], null["read_only"]) == (None, None, None, None)


def test_listeners_of_old_and_new_releases_look_the_same():
    old = listener_facts({"transport": "tcp", "trtype": "TCP", "adrfam": "ipv6", "traddr": "0:0:0:0:0:0:0:1", "trsvcid": "4420"})
    new = listener_facts({"trtype": "TCP", "adrfam": "IPv6", "traddr": "::1", "trsvcid": "4420"})
    assert old == new
    assert normal_address("host.example") == "host.example"
