# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doors of the growth read a part of what they are given; what comes out is the same as from the whole."""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "fixtures"))

import fleet
from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.filter.growth_outcome import growth_outcome
from ansible_collections.nvmeof.spdk.plugins.filter.growth_plan import growth_plan
from ansible_collections.nvmeof.spdk.plugins.filter.truth_table import truth_table
from ansible_collections.nvmeof.spdk.plugins.filter.volume_table import volume_table
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth import outcome
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._verdict import table_lines

NAMES = ["pool-1/host-rbd-img-1", "pool-1/host-rbd-img-2", "pool-1/host-rbd-img-3"]


def volumes(measured):
    return volume_table(fleet.hostvars(measured), fleet.ASKED)


@pytest.fixture
def planned():
    """Three volumes, of which the second is blocked: its image cannot be read."""
    measured = fleet.fleet()
    for name in ("t1", "t2"):
        measured[name]["target"]["bdevs"][1].update(image_bytes=None, image_error="no keyring")
    plan = growth_plan(volumes(measured), "200G", volume=NAMES, on_blocked="skip")
    assert [bool(row["blockers"]) for row in plan["volumes"]] == [False, True, False]
    return plan


def test_an_outcome_of_volumes_that_lag_are_blocked_and_gone(planned):
    measured = fleet.fleet()
    for name in ("t1", "t2"):
        measured[name]["target"]["bdevs"] = measured[name]["target"]["bdevs"][:2]
        measured[name]["target"]["subsystems"][0]["namespaces"] = measured[name]["target"]["subsystems"][0]["namespaces"][:2]
    after = volumes(measured)
    found = growth_outcome(after, planned)
    assert found == outcome(copy.deepcopy(after), copy.deepcopy(planned))
    lagging, blocked, gone = found["volumes"]
    assert (lagging["verdict"], gone["verdict"]) == ("lagging at image", "unproven at bdev") and blocked["verdict"].startswith("blocked: ")
    # the row of one that is gone is the plan's own, so that the report still shows what it was
    assert gone["readings"] == planned["volumes"][2]["readings"] and gone["before_bytes"] == gone["bytes"]


def test_a_table_of_rows_and_of_volumes(planned):
    assert truth_table(planned["volumes"]) == table_lines(planned["volumes"])
    assert len(truth_table(volumes(fleet.fleet()))) == 9


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"batch": "many"}, "batch is 'many'"),
        ({"batch": "[1, 10, half]"}, "batch is '[1, 10, half]'"),
        ({"batch": "2.5%"}, "batch is '2.5%'"),
        ({"batch": "{a: 1}"}, "batch is '{a: 1}'"),
        ({"batch": "-1"}, "batch is '-1'"),
        ({"batch": "[1"}, "batch is '[1'"),
        ({"max_failed_percent": "some"}, "max_failed_percent is 'some'"),
        ({"max_failed_percent": 101}, "max_failed_percent is 101"),
        ({"max_failed_percent": "nan"}, "max_failed_percent is 'nan'"),
        ({"guest_agent": "maybe"}, "guest_agent is 'maybe'"),
        ({"guest_agent": "maybe", "batch": "many", "max_failed_percent": "-1"}, "batch is 'many'.*max_failed_percent is '-1'.*guest_agent is 'maybe'"),
    ],
)
def test_answers_that_matter_after_the_first_change_are_judged_before_it(answers, words):
    with pytest.raises(AnsibleFilterError, match="nothing was touched: .*" + (words if ".*" in words else re.escape(words))):
        growth_plan(volumes(fleet.fleet()), "200G", volume=NAMES, **answers)


@pytest.mark.parametrize("batch", ["", None, 5, "5", "10%", "[1, 10, 50%]", [1, "50%"], [], "100%", 0])
@pytest.mark.parametrize("percent", ["", None, 0, "5", "12.5", 100])
def test_answers_that_can_be_meant(batch, percent):
    assert not growth_plan(volumes(fleet.fleet()), "200G", volume=NAMES, batch=batch, max_failed_percent=percent)["blocked"]
