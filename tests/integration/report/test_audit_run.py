# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's audit, run by ansible-playbook over a made-up fleet: its output, its JSON, what it hands to a workflow."""

from __future__ import annotations

import json
import re

from ansible_collections.nvmeof.spdk.tests.fixtures.fleet import GIB, SIZE, fleet
from conftest import HOSTILE, faulty_fleet


def test_nothing_is_changed_and_the_table_is_shown(audit) -> None:
    changed = re.findall(r"changed=(\d+)", audit.output)
    assert changed and set(changed) == {"0"}
    assert re.search(r"pool-1/host-rbd-img-2 .*lagging at disk", audit.output)
    assert "CRITICAL image-smaller: t1 Ceph-host-rbd-img-3" in audit.output


def test_the_report_has_rows_findings_and_where_it_comes_from(audit) -> None:
    report = audit.report
    assert {row["volume"].rpartition("-")[2]: row["verdict"].partition(":")[0] for row in report["volumes"] if HOSTILE not in row["volume"]} == {
        "1": "ok",
        "2": "lagging at disk",
        "3": "critical",
        "4": "ok",
        "5": "ok",
        "6": "ok",
        "7": "unproven at guest",
    }
    (lagging,) = [row for row in report["volumes"] if row["verdict"] == "lagging at disk"]
    assert lagging["bytes"] == {**dict.fromkeys(("image", "bdev", "namespace", "path", "device"), SIZE), "disk": SIZE - GIB, "guest": SIZE - GIB}
    # names are data to the very end: not a template on the way
    assert [row["image"] for row in report["volumes"] if row["volume"].endswith(HOSTILE)] == [HOSTILE]
    assert {item["kind"] for item in report["findings"]} == {"image-smaller", "host-problem"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", report["about"]["when"])
    assert any(source.endswith("inventory.yml") for source in report["about"]["inventory"])


def test_a_workflow_gets_counts_and_the_critical_ones(audit) -> None:
    stats = re.search(r"RUN: (\{.*\})", audit.output)
    text = stats.group(1) if stats else audit.output[audit.output.index("CUSTOM STATS") :]
    assert "nvmeof_spdk_audit" in text
    summary = audit.report["summary"]
    assert summary["volumes"] == 8 and summary["findings"] == {"critical": 2, "warning": 1, "info": 0}
    assert summary["verdicts"] == {"critical": 1, "lagging at disk": 1, "ok": 5, "unproven at guest": 1}
    assert len(json.dumps(summary)) < 4000


def test_a_disk_leads_to_its_image(run) -> None:
    found = run(faulty_fleet(), volume_growth_find="vm4:vdb")
    assert [row["volume"] for row in found.report["volumes"]] == ["pool-1/host-rbd-img-4"]
    assert "vm4:vdb -> pool-1/host-rbd-img-4" in found.output
    assert found.report["about"]["asked for"] == "vm4:vdb"


def test_a_selection_narrows_and_its_faults_are_told(run) -> None:
    chosen = run(faulty_fleet(), volume_growth_select="[?disk_bytes < image_bytes]")
    assert [row["volume"] for row in chosen.report["volumes"]] == ["pool-1/host-rbd-img-2"]
    wrong = run(faulty_fleet(), volume_growth_select="[?pool==", fails=True)
    assert "is not valid JMESPath: Incomplete expression, at position 8" in wrong.output


def test_unreachable_hosts_are_reported_and_check_mode_writes_too(run) -> None:
    measurements = fleet()
    measurements["h3"] = {"errors": {"host": "no route to host", "disks": "no route to host"}}
    found = run(measurements, "--check")
    assert [(item["kind"], item["host"]) for item in found.report["findings"]] == [("not-heard", "h3")]
    # nothing is declared of h3, so it may use any of them
    assert {row["verdict"] for row in found.report["volumes"]} == {"unproven at device"}
