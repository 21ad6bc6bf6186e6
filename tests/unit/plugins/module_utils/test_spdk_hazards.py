# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_clusters import clusters_to_register
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_hazards import HAZARDS, hazards, rounded_iops
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_methods import RELEASES, TRAITS
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import ReleaseTable
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_wish import wanted_subsystems
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import DISCOVERY_NQN, Target

#: Hazards of each release, beside the two that every release has had (or will have until somebody fixes it).
EXPECTED = {
    (19, 1): {"block_size_zero", "vanished_image", "no_resize", "identity_changes", "no_resize_event", "removed_host_stays"},
    (20, 10): {"block_size_zero", "vanished_image", "identity_changes", "resize_event_lost", "no_size_watch", "subsystem_busy", "resize_cuts_image"},
    (23, 1): {
        *("block_size_zero", "vanished_image", "cluster_without_name", "bad_ceph_user", "no_size_watch", "subsystem_busy", "resize_cuts_image"),
        "save_config_loses",
    },
    (26, 5): {"delete_during_resize", "resize_cuts_image", "save_config_loses"},
    (26, 9): {"resize_cuts_image", "save_config_loses"},
}


@pytest.mark.parametrize("release", sorted(EXPECTED))
def test_hazards_of_a_release(release):
    found = {entry["hazard"]: entry for entry in hazards(ReleaseTable(release))}
    assert set(found) == EXPECTED[release] | {"discovery_deletable"}
    assert all(entry["text"].startswith("SPDK ") and entry["guard"] and entry["remedy"] for entry in found.values())


def test_a_fix_is_named_and_a_pre_release_may_lack_it():
    entry = next(entry for entry in hazards(ReleaseTable((26, 5))) if entry["hazard"] == "delete_during_resize")
    assert entry["fixed_in"] == "26.09" and entry["text"].startswith("SPDK 26.05 can crash")
    assert "delete_during_resize" in [entry["hazard"] for entry in hazards(ReleaseTable((26, 9), pre=True))]


@pytest.mark.parametrize(
    ("release", "growth"),
    [
        ((19, 1), {"no_resize": "blocked", "no_resize_event": "rescan"}),
        ((20, 10), {"resize_event_lost": "told", "no_size_watch": "needs_image"}),
        ((23, 9), {"no_size_watch": "needs_image"}),
        ((24, 1), {"delete_during_resize": "told"}),
        ((26, 9), {}),
    ],
)
def test_what_a_release_means_for_a_growth(release, growth):
    table = ReleaseTable(release)
    assert {entry["hazard"]: entry["growth"] for entry in hazards(table) if entry["growth"]} == growth
    assert table.is_so("follows_image") is not any(word in ("blocked", "needs_image") for word in growth.values())


def test_spans_lie_within_the_releases():
    for span in [item.span for item in HAZARDS] + list(TRAITS.values()):
        assert span.since in RELEASES and (span.until is None or span.until in RELEASES)


@pytest.mark.parametrize(("given", "shown"), [(0, 0), (1, 1000), (999, 1000), (1000, 1000), (1500, 2000)])
def test_rounded_iops(given, shown):
    assert rounded_iops(given) == shown


def test_a_cluster_without_a_name_is_never_sent(fake):
    with Target.open(fake.path, 5) as target:
        for cluster in ({"name": ""}, {"name": None}):
            with pytest.raises(HopError):
                clusters_to_register(target, [cluster])


@pytest.mark.parametrize("state", ["present", "absent"])
def test_the_discovery_subsystem_is_no_object(state):
    with pytest.raises(HopError):
        wanted_subsystems([{"nqn": DISCOVERY_NQN, "state": state, "force": True}])
