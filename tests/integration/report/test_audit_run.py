# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's audit, run by ansible-playbook over a made-up fleet: its output, its JSON, what it hands to a workflow."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import yaml
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


def test_an_expression_with_spaces_is_typed_as_the_documentation_shows_it(run) -> None:
    """Ansible itself ends a variable at the first space."""
    typed = "volume_growth_select=[?pool=='pool-1' && disk_bytes < `107374182400`]"
    assert [row["image"] for row in run(faulty_fleet(), "-e", typed).report["volumes"]] == ["host-rbd-img-2"]
    typed = "volume_growth_select=[?pool=='pool-1'] | [?verdict!='ok' && image_bytes >= `107374182400`] volume_growth_find=host-rbd-img-2"
    wrong = run(faulty_fleet(), "-e", typed, fails=True)
    assert "nothing behind 'host-rbd-img-2'" in wrong.output  # the other variable of the same option was taken as well
    wrong = run(faulty_fleet(), "-e", "volume_growth_select=[?pool=='pool-1' && disk_bytes < 5]", fails=True)
    assert "numbers stand in backticks" in wrong.output and "(before '5]')" in wrong.output


def test_a_limit_that_leaves_needed_hosts_out_is_an_error_that_names_them(run) -> None:
    measurements = fleet()
    measurements["h2"] = {"errors": {}}  # nobody asked it
    found = run(measurements, "--limit", "t1,t2,t3,t4,h1,h3,h4,h5,h6", fails=True)
    assert re.search(r"left out by --limit, and needed: h2 \(has or may have pool-1/host-rbd-img-1", found.output)
    assert "h1 (" not in found.output


def test_unreachable_hosts_are_reported_and_check_mode_writes_too(run) -> None:
    measurements = fleet()
    measurements["h3"] = {"errors": {"host": "no route to host", "disks": "no route to host"}}
    found = run(measurements, "--check")
    assert [(item["kind"], item["host"]) for item in found.report["findings"]] == [("not-heard", "h3")]
    # nothing is declared of h3, so it may use any of them
    assert {row["verdict"] for row in found.report["volumes"]} == {"unproven at device"}


def test_no_task_of_an_audit_changes_anything() -> None:
    tasks = pathlib.Path(__file__).parents[3] / "roles/volume_growth/tasks"
    for name in ("measure", "measure_images", "audit"):
        for task in yaml.safe_load((tasks / f"{name}.yml").read_text()):
            (module,) = [key for key in task if "." in key]
            if module == "ansible.builtin.copy":  # the reports, on the controller
                assert task["delegate_to"] == "localhost" and task["changed_when"] is False and task["when"].endswith("| length > 0")
            else:
                assert module.endswith("_info") or module in ("ansible.builtin.set_fact", "ansible.builtin.debug", "ansible.builtin.set_stats")


def test_the_playbook_tells_a_fleet_that_does_not_answer(tmp_path: pathlib.Path) -> None:
    """The playbook itself: one target without a socket, one host that ssh does not reach."""
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\nexit 255\n")
    ssh.chmod(0o755)
    inventory = {
        "spdk_targets": {"hosts": {"t1": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}},
        "nvme_initiators": {"hosts": {"h1": {"ansible_connection": "ssh", "ansible_host": "192.0.2.1", "ansible_ssh_executable": str(ssh)}}},
    }
    (tmp_path / "inventory.yml").write_text(json.dumps(inventory))
    program = os.path.join(os.path.dirname(sys.executable), "ansible-playbook")
    wish = {"report": str(tmp_path / "audit.json"), "html": str(tmp_path / "audit.html"), "spdk_target_socket": str(tmp_path / "no.sock")}
    command = [program, "-i", str(tmp_path / "inventory.yml"), "nvmeof.spdk.audit_volumes", "-e", json.dumps(wish)]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "ANSIBLE_NOCOLOR": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "audit.json").read_text())
    assert [(item["kind"], item["host"]) for item in report["findings"]] == [("not-heard", "h1"), ("not-heard", "t1")]
    assert "no.sock" in report["findings"][1]["text"] and "unreachable" in report["findings"][0]["text"]
    assert (tmp_path / "audit.html").read_text().startswith("<!DOCTYPE html>")
