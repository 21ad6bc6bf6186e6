# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_referrals import ReferralManager, wanted_referrals
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target
from module_runner import run_module

NQN = "nqn.2026-01.org.example:vols"


def referral(traddr, state="present", **options):
    return {"trtype": "TCP", "traddr": traddr, "trsvcid": "8009", "state": state, **options}


def run(fake, *entries, purge=False, check=False, timeout=10):
    wishes = wanted_referrals(copy.deepcopy(list(entries)))
    with Target.open(fake.path, timeout) as target:
        manager = ReferralManager(target)
        manager.plan(wishes, purge)
        if not check:
            manager.apply(wishes, purge)
        fake.sent = target.sent
    return manager


def test_referrals_are_added_once_changed_and_removed(fake):
    wish = [referral("192.0.2.11"), referral("fd00::1", secure_channel=True), referral("192.0.2.11", subnqn=NQN)]
    checked = run(fake, *wish, check=True)
    assert fake.referrals == []
    done = run(fake, *wish)
    assert checked.changes.summaries() == done.changes.summaries() and checked.there == done.there
    assert [(entry["address"]["adrfam"], entry["secure_channel"]) for entry in fake.referrals] == [("IPv4", False), ("IPv6", True), ("IPv4", False)]
    assert not run(fake, *wish, purge=True).changes.changed
    assert not run(fake, referral("fd00:0:0:0:0:0:0:1")).changes.changed
    run(fake, referral("fd00::1", secure_channel=False))
    assert [call["method"] for call in fake.sent] == ["nvmf_discovery_remove_referral", "nvmf_discovery_add_referral"]
    run(fake, referral("192.0.2.11"), purge=True)
    assert [entry["subnqn"] for entry in fake.referrals] == ["nqn.2014-08.org.nvmexpress.discovery"]
    run(fake, referral("192.0.2.11", state="absent"))
    assert fake.referrals == [] and not run(fake, referral("192.0.2.11", state="absent")).changes.changed


@pytest.mark.parametrize(
    "entries",
    [
        [referral("")],
        [{**referral("192.0.2.1"), "trsvcid": "http"}],
        [{**referral("192.0.2.1"), "trsvcid": "0"}],
        [referral("192.0.2.1", subnqn="vols")],
        [referral("::1"), referral("0:0:0:0:0:0:0:1")],
    ],
)
def test_referrals_that_cannot_be_meant(entries):
    with pytest.raises(HopError) as caught:
        wanted_referrals(entries)
    assert caught.value.remedy


def test_before_24_01_there_are_no_referrals(make_target):
    fake = make_target((23, 9))
    with pytest.raises(HopError) as caught:
        run(fake, referral("192.0.2.1"))
    assert "24.01" in caught.value.remedy
    assert not run(fake, referral("192.0.2.1", state="absent"), purge=True).changes.changed


def test_a_secure_channel_that_is_not_shown_is_unproven(fake):
    run(fake, referral("192.0.2.1"))
    del fake.referrals[0]["secure_channel"]
    manager = run(fake, referral("192.0.2.1", secure_channel=True))
    assert not manager.changes.changed and "secure channel" in manager.unproven[0]


def test_lost_and_refused_calls(fake):
    fake.silent.add("nvmf_discovery_add_referral")
    assert run(fake, referral("192.0.2.1"), timeout=0.4).changes.applied and len(fake.referrals) == 1
    fake.silent.clear()
    fake.fail["nvmf_discovery_add_referral"] = (-32603, "Internal error")
    with pytest.raises(HopError) as caught:
        run(fake, referral("192.0.2.2"))
    assert "Internal error" in caught.value.cause


def test_the_module(fake):
    base = {"socket": fake.path, "timeout": 10}
    wish = {**base, "referrals": [{"traddr": "192.0.2.11"}, {"traddr": "192.0.2.12", "secure_channel": True}], "purge": True}
    checked = run_module("nvmf_referral", wish, check=True, diff=True)
    done = run_module("nvmf_referral", wish, diff=True)
    assert done["changed"] and len(fake.referrals) == 2
    for part in ("changed", "referrals", "rpc_calls", "changes", "diff"):
        assert checked[part] == done[part]
    assert run_module("nvmf_referral", wish)["changed"] is False
    info = run_module("spdk_target_info", {**base, "images": False})["target"]
    assert [(entry["traddr"], entry["secure_channel"]) for entry in info["referrals"]] == [("192.0.2.11", False), ("192.0.2.12", True)]
    assert run_module("nvmf_referral", {**base, "traddr": "192.0.2.11", "state": "absent"})["changed"]
    assert run_module("nvmf_referral", {**base, "referrals": [], "purge": True})["changed"] and fake.referrals == []
    for bad in ({}, {"traddr": "192.0.2.1", "referrals": []}, {"referrals": [{}]}, {"traddr": "192.0.2.1", "trsvcid": "x"}):
        assert run_module("nvmf_referral", {**base, **bad})["failed"]
