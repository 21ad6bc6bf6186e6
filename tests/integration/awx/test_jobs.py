# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks as jobs of AWX: survey answers as text, a limit, check mode, diff mode, a workflow's artifacts."""

from __future__ import annotations

import json
import shutil
from typing import Iterator

import pytest
from controller import ROOT, Controller, answers

STATE = """
- hosts: spdk_targets
  gather_facts: false
  tasks:
    - ansible.builtin.import_role:
        name: nvmeof.spdk.spdk_target
        tasks_from: state
"""
LOAD = """
- hosts: localhost
  gather_facts: false
  vars_files: controller_objects.yml
  vars: {nvmeof_spdk_ee_image: image, nvmeof_spdk_inventory: production, nvmeof_spdk_credentials: [machine]}
  tasks:
    - ansible.builtin.set_stats:
        per_host: false
        data:
          templates: "{{ controller_templates }}"
          workflows: "{{ controller_workflows }}"
          types: "{{ controller_credential_types }}"
"""


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """Two targets in their declared state, made so by the role; every test leaves them as it found them, but for the workflow, which comes last."""
    directory = tmp_path_factory.mktemp("a")
    found = Controller(directory)
    try:
        (found.project / "playbooks" / "state.yml").write_text(STATE)
        made = found.launch("state", answers("deploy"))
        assert made.status == "successful", made.output
        yield found
    finally:
        found.stop()
        shutil.rmtree(directory)


def test_a_limit_that_leaves_out_needed_hosts_stops_before_anything_is_touched(controller: Controller) -> None:
    """allow_degraded is for what is down, and nobody knows whether these are."""
    before = controller.sizes()
    job = controller.launch("grow_volume", answers("grow", size="96M", volume="rbd/vol-1", allow_degraded="true"), limit="t1:h1")
    assert job.status == "failed" and sum(job.changed.values()) == 0
    assert "nothing was touched. BLOCKED" in job.messages[0] and "left out by --limit: h2, t2;" in job.messages[0], job.output
    assert controller.sizes() == before


def test_a_limit_without_any_target_says_whom_nobody_asked(controller: Controller) -> None:
    job = controller.launch("grow_volume", answers("grow", size="96M"), limit="h1")
    assert job.status == "failed" and "t1 (target): left out by --limit | t2 (target): left out by --limit" in job.output, job.output


def test_an_audit_names_the_hosts_that_a_limit_left_out_and_it_needs(controller: Controller) -> None:
    """Not a smaller picture that looks whole; also where every target was left out, and so every row is missing."""
    job = controller.launch("audit_volumes", answers("audit"), limit="t1:h1")
    assert job.status == "failed" and sum(job.changed.values()) == 0
    assert "left out by --limit, and needed: h2 (has or may have rbd/vol-1, rbd/vol-2); t2 (has or may have" in job.output, job.output
    job = controller.launch("audit_volumes", answers("audit"), limit="h1")
    assert job.status == "failed" and "needed: t1 (a target that may export what is missing); t2 (" in job.output, job.output


@pytest.mark.parametrize(
    ("playbook", "survey", "limit"),
    [
        ("deploy_target", "deploy", ""),
        ("upgrade_targets", "upgrade", ""),
        # both hosts are this machine, so each is the other's clone
        ("connect_initiators", "connect", "h1"),
    ],
)
def test_the_other_templates_start_in_check_mode(controller: Controller, playbook: str, survey: str, limit: str) -> None:
    before = controller.sizes()
    job = controller.launch(playbook, answers(survey), check=True, limit=limit)
    assert job.status == "successful", job.output
    assert controller.sizes() == before


def test_an_upgrade_takes_no_limit(controller: Controller) -> None:
    job = controller.launch("upgrade_targets", answers("upgrade"), limit="t1")
    assert job.status == "failed" and "choose targets with -e targets=NAME,NAME instead of --limit" in job.messages[0], job.output


def test_a_form_can_hold_a_list_of_volumes(controller: Controller) -> None:
    listed = answers("retire", volumes="- {pool: rbd, image: vol-1}\n- {pool: rbd, image: vol-9}\n")
    job = controller.launch("retire_volume", listed, check=True, limit="spdk_targets:h1")
    assert job.status == "failed" and "nothing was taken; " in job.messages[0], job.output
    assert "h2 (host): not measured (host left out by --limit" in job.messages[0], job.output
    assert sum(job.changed.values()) == 0


def test_ansible_renders_the_objects(controller: Controller) -> None:
    shutil.copytree(ROOT / "extensions" / "awx" / "surveys", controller.project / "playbooks" / "surveys")
    shutil.copy(ROOT / "extensions" / "awx" / "controller_objects.yml", controller.project / "playbooks")
    (controller.project / "playbooks" / "load.yml").write_text(LOAD)
    made = controller.launch("load", {}).artifacts
    surveys = {template["name"]: template["survey_spec"]["spec"] for template in made["templates"] + made["workflows"]}
    assert len(surveys) == 9 and all(surveys.values()) and surveys["nvmeof.spdk grow"] == surveys["nvmeof.spdk grow and prove"]
    assert made["types"][0]["injectors"]["file"]["template.keyring"] == "{{ keyring }}"


def test_the_workflow_audits_grows_and_audits(controller: Controller) -> None:
    first = controller.launch("audit_volumes", answers("audit"))
    assert first.status == "successful" and sum(first.changed.values()) == 0, first.output
    asked = answers("grow", size="128M", volume="rbd/vol-1,rbd/vol-2")
    tried = controller.launch("grow_volume", asked, check=True, artifacts=first.artifacts)
    assert tried.status == "successful" and tried.changed, tried.output
    assert controller.sizes() == dict.fromkeys(("vol-1", "vol-2"), [64, 64, 64])
    grown = controller.launch("grow_volume", asked, artifacts=first.artifacts)
    assert grown.status == "successful", grown.output
    assert controller.sizes() == dict.fromkeys(("vol-1", "vol-2"), [128, 128, 128])
    told = grown.artifacts["nvmeof_spdk_growth"]
    assert (told["volumes"], told["failed"], told["verdicts"], told["not_ok"], told["trouble"]) == (2, 0, {"ok": 2}, [], []) and told["run"]
    # a workflow hands all its variables to every node
    last = controller.launch("audit_volumes", {**asked, **answers("audit")}, artifacts={**first.artifacts, **grown.artifacts})
    assert last.status == "successful" and last.artifacts["nvmeof_spdk_audit"]["verdicts"] == {"ok": 2}, last.output
    for job in (first, grown, last):
        assert len(json.dumps(job.artifacts)) < 2000
