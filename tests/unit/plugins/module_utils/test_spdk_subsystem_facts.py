# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts out of what a real target of SPDK 26.05 answered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import ReleaseTable
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_facts import SavedConfig, ana_facts, subsystem_facts

RECORDING = Path(__file__).parents[3] / "fixtures" / "recordings" / "v26.05.jsonl"
CNODE1, CNODE2 = "nqn.2016-06.io.spdk:cnode1", "nqn.2016-06.io.spdk:cnode2"


@pytest.fixture(scope="module")
def recorded():
    """Row id -> result."""
    rows = [json.loads(line) for line in RECORDING.read_text().splitlines()]
    return {row["id"]: row.get("result") for row in rows if "id" in row}


def facts(recorded, row, table=None):
    (raw,) = recorded[row]
    return subsystem_facts(raw, SavedConfig(recorded["config/nvmf"]), table or ReleaseTable((26, 5)))


def test_hosts_and_namespaces(recorded):
    entry = facts(recorded, "host/get_final")
    assert entry["nqn"] == CNODE1 and entry["ana_reporting"] is True and entry["allow_any_host"] is True
    assert {"nqn": "nqn.2016-06.io.spdk:h5", "psk": None, "dhchap_key": "dh0", "dhchap_ctrlr_key": "dh0"} in entry["host_keys"]
    assert [host["nqn"] for host in entry["host_keys"]] == entry["hosts"]
    by_nsid = {namespace["nsid"]: namespace for namespace in entry["namespaces"]}
    assert (by_nsid[14]["auto_visible"], by_nsid[1]["auto_visible"]) == (False, True)
    assert (by_nsid[15]["anagrpid"], by_nsid[1]["anagrpid"]) == (2, 1)
    (listener,) = entry["listeners"]
    assert (listener["secure_channel"], listener["sock_impl"]) == (False, None)


def test_transports_and_listeners(recorded):
    saved = SavedConfig(recorded["config/nvmf"])
    assert saved.transports == {"TCP"} and saved.subsystems[CNODE2]["ana_reporting"] is False
    raw = {"nqn": CNODE2, "listen_addresses": [{"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": port} for port in ("4433", "4420")]}
    listeners = subsystem_facts(raw, saved, ReleaseTable((26, 5)))["listeners"]
    assert [(listener["secure_channel"], listener["sock_impl"]) for listener in listeners] == [(True, "ssl"), (False, None)]


def test_what_is_not_shown_is_unknown_unless_the_release_cannot_have_it(recorded):
    (raw,) = recorded["host/get_final"]
    for release, visible, secure in (((26, 5), None, None), ((22, 1), True, False)):
        entry = subsystem_facts(raw, SavedConfig(), ReleaseTable(release))
        assert entry["ana_reporting"] is None and entry["listeners"][0]["secure_channel"] is secure
        assert {namespace["auto_visible"] for namespace in entry["namespaces"]} == {visible}


def test_ana_states_are_one_word_where_they_agree():
    assert ana_facts({1: "optimized", 2: "optimized"}) == {"ana_state": "optimized", "ana_states": []}
    assert ana_facts({}) == {"ana_state": None, "ana_states": []}
    mixed = ana_facts({2: "inaccessible", 1: "optimized"})
    assert mixed["ana_state"] == "mixed" and [one["anagrpid"] for one in mixed["ana_states"]] == [1, 2]
