# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""extensions/awx against AWX's rules and against the playbooks: templates, surveys, credential types, the workflow."""

from __future__ import annotations

import copy
import json
import re
import typing as t
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROOT = Path(__file__).resolve().parents[3]
AWX = ROOT / "extensions" / "awx"
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
ROLE_FILES = sorted(path for path in (ROOT / "roles").glob("*/*/**/*.yml"))
SURVEYS = sorted((AWX / "surveys").glob("*.json"))
#: What a playbook reads and no survey asks for, and why.
NOT_ASKED = {
    "volumes_file": "a file on the controller; the question for several volumes takes its content",
    "report": "a file on the controller ends with the job's container",
    "html": "a file on the controller ends with the job's container",
    "declare": "a file on the controller ends with the job's container",
    "uuid": "derived from the image, the same on every target",
    "bdev": "derived from the image",
    "cluster": "a matter of the inventory",
}
SETTINGS = {
    "nvmeof_spdk_ee_image": "image",
    "nvmeof_spdk_inventory": "production",
    "nvmeof_spdk_credentials": ["machine"],
}
#: Options of awx.awx.job_template and awx.awx.workflow_job_template, as far as they are used here.
TEMPLATE_KEYS = {
    *("name", "description", "organization", "project", "playbook", "inventory", "execution_environment", "credentials", "become_enabled", "forks"),
    *("job_type", "ask_job_type_on_launch", "diff_mode", "ask_diff_mode_on_launch", "ask_limit_on_launch", "ask_variables_on_launch"),
    *("job_slice_count", "ask_job_slice_count_on_launch", "allow_simultaneous", "survey_enabled", "survey_spec"),
}
#: awx/api/views, JobTemplateSurveySpec: the type of a default.
TYPES = {"text": str, "textarea": str, "password": str, "multiplechoice": str, "multiselect": str, "integer": int, "float": float}


def load(path: Path) -> t.Any:
    """A file as Ansible loads it: its templates are templates."""
    return DataLoader().load_from_file(str(path), trusted_as_template=True)


def render(data: t.Any, variables: dict[str, t.Any]) -> t.Any:
    """What Ansible makes of ``data``, as plain JSON types."""
    return json.loads(json.dumps(Templar(loader=DataLoader(), variables=variables).template(data), default=str))


def objects() -> dict[str, t.Any]:
    """The objects; lookups of surveys are followed here, all else is rendered by Ansible."""
    found = load(AWX / "controller_objects.yml")
    credential_types = found.pop("controller_credential_types")
    for entry in found["controller_templates"] + found["controller_workflows"]:
        (name,) = re.findall(r"^\{\{ lookup\('ansible.builtin.file', '(surveys/\w+\.json)'\) \| from_json \}\}$", entry["survey_spec"])
        entry["survey_spec"] = json.loads((AWX / name).read_text())
    return {**render(found, SETTINGS), "controller_credential_types": credential_types}


OBJECTS = objects()
TEMPLATES = {template["playbook"]: template for template in OBJECTS["controller_templates"]}


def survey_of(playbook: Path) -> list[dict[str, t.Any]]:
    return TEMPLATES[f"playbooks/{playbook.name}"]["survey_spec"]["spec"]


def survey_errors(survey: t.Any) -> list[str]:
    """What AWX answers to a POST of this survey (JobTemplateSurveySpec._validate_spec_data)."""
    errors = [f"{key}: not a {kind.__name__}" for key, kind in (("name", str), ("description", str), ("spec", list)) if not isinstance(survey.get(key), kind)]
    if errors or not survey["spec"]:
        return errors or ["spec doesn't contain any items"]
    seen = set()
    for item in survey["spec"]:
        label = str(item.get("variable"))
        for key, kind in (("type", str), ("question_name", str), ("variable", str), ("required", bool)):
            if not isinstance(item.get(key), kind):
                errors.append(f"{label}: {key} is missing or no {kind.__name__}")
        errors += [f"{label}: twice"] if label in seen else []
        seen.add(label)
        if item.get("type") not in TYPES:
            errors.append(f"{label}: no type {item.get('type')}")
            continue
        default = item.get("default", "")
        if default != "" and (not isinstance(default, TYPES[item["type"]]) or isinstance(default, bool)):
            errors.append(f"{label}: its default is no {item['type']}")
        errors += [f"{label}: {key} is no integer" for key in ("min", "max") if item.get(key) is not None and not isinstance(item[key], int)]
        if item["type"] in ("multiplechoice", "multiselect"):
            choices = item.get("choices") or []
            choices = choices.splitlines() if isinstance(choices, str) else choices
            defaults = [line for line in str(default).splitlines() if line]
            errors += [] if choices and all(isinstance(choice, str) for choice in choices) else [f"{label}: its choices are no texts"]
            errors += [f"{label}: {line} is none of its choices" for line in defaults if line not in choices]
            errors += [f"{label}: several defaults"] if item["type"] == "multiplechoice" and len(defaults) > 1 else []
    return errors


@pytest.mark.parametrize("path", SURVEYS, ids=lambda path: path.stem)
def test_awx_takes_the_survey(path: Path) -> None:
    survey = json.loads(path.read_text())
    assert survey_errors(survey) == []
    assert all(item["question_description"] for item in survey["spec"])
    assert any(template["survey_spec"] == survey for template in OBJECTS["controller_templates"]), "no template uses it"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"required": "true"}, "required is missing or no bool"),
        ({"type": "boolean"}, "no type boolean"),
        ({"default": True}, "its default is no"),
        ({"default": "maybe"}, "maybe is none of its choices"),
        ({"choices": [True, False]}, "its choices are no texts"),
        ({"min": "0"}, "min is no integer"),
    ],
)
def test_the_rules_find_what_awx_refuses(change: dict[str, t.Any], error: str) -> None:
    survey = copy.deepcopy(json.loads((AWX / "surveys" / "grow.json").read_text()))
    item = next(item for item in survey["spec"] if item["type"] == "multiplechoice")
    item.update(change)
    assert error in " ".join(survey_errors(survey))


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_every_playbook_has_a_template(playbook: Path) -> None:
    template = TEMPLATES[f"playbooks/{playbook.name}"]
    assert set(template) <= TEMPLATE_KEYS
    assert template["ask_limit_on_launch"] and template["ask_job_type_on_launch"] and template["ask_diff_mode_on_launch"]
    assert template["job_slice_count"] == 1 and not template["ask_job_slice_count_on_launch"]
    assert template["survey_enabled"] and template["survey_spec"]["spec"]
    assert {template["project"]} == {project["name"] for project in OBJECTS["controller_projects"]}
    assert {template["execution_environment"]} == {environment["name"] for environment in OBJECTS["controller_execution_environments"]}
    # what AWX offers as a playbook (awx/main/utils/ansible.py, could_be_playbook)
    assert re.search(r"^\s*(-\s+)?['\"]?(hosts|(ansible\.builtin\.)?import_playbook)['\"]?:", playbook.read_text(), re.MULTILINE)


def test_every_template_has_its_playbook() -> None:
    assert len(TEMPLATES) == len(OBJECTS["controller_templates"]) == len({template["name"] for template in TEMPLATES.values()})
    assert set(TEMPLATES) == {f"playbooks/{path.name}" for path in PLAYBOOKS}


# -- what a playbook reads -------------------------------------------------------------------------------------------------


def plays_of(playbook: Path) -> list[dict[str, t.Any]]:
    """The plays of a playbook, and of the parts it is made of."""
    found = []
    for play in load(playbook):
        part = play.get("ansible.builtin.import_playbook")
        found += plays_of(playbook.parent / part) if part else [play]
    return found


def variables_of(playbook: Path) -> list[dict[str, t.Any]]:
    """What plays make of what was given: their variables, those of their files, and what decides on batches."""
    found = []
    for play in plays_of(playbook):
        found.append({**(play.get("vars") or {}), "serial": play.get("serial")})
        # a part is one directory further down than the files that it names
        found += [load(ROOT / "playbooks" / name.replace("../", "")) for name in play.get("vars_files") or []]
    return found


def read_by(playbook: Path) -> set[str]:
    """The variables that the plays take from outside for the variables of their roles."""
    text = json.dumps(variables_of(playbook))
    return set(re.findall(r"\{\{ (\w+) \| default\(", text))


def options_of(playbook: Path) -> set[str]:
    """The options of the roles that are named by ``roles:``, which the extra variables reach by themselves."""
    roles = [role["role"].rpartition(".")[2] for play in plays_of(playbook) for role in play.get("roles") or []]
    specs = [load(ROOT / "roles" / role / "meta" / "argument_specs.yml") for role in roles]
    return {name for spec in specs for name in spec["argument_specs"]["main"]["options"]}


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_surveys_ask_for_what_playbooks_read(playbook: Path) -> None:
    asked = {item["variable"] for item in survey_of(playbook)}
    assert asked - read_by(playbook) - options_of(playbook) == set()
    assert read_by(playbook) - asked - set(NOT_ASKED) == set()


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_what_was_not_answered_is_as_if_not_asked(playbook: Path) -> None:
    """AWX hands over an optional question without an answer as empty text."""
    variables = variables_of(playbook)
    empty = {item["variable"]: "" for item in survey_of(playbook)}
    assert render(variables, empty) == render(variables, {})
    for item in survey_of(playbook):
        if item["variable"] not in read_by(playbook):
            assert item["required"] and item["default"], f"{item['variable']} would replace the role's default by nothing"


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_the_choices_true_and_false_are_text_that_means_it(playbook: Path) -> None:
    variables = variables_of(playbook)
    choices = [item for item in survey_of(playbook) if item.get("choices") == ["false", "true"]]
    for value in (True, False):
        names = [item["variable"] for item in choices]
        assert render(variables, dict.fromkeys(names, str(value).lower())) == render(variables, dict.fromkeys(names, value))
    direct = [item["variable"] for item in choices if item["variable"] not in read_by(playbook)]
    for name in direct:
        used = [line for path in ROLE_FILES if "tasks" in path.parts for line in path.read_text().splitlines() if re.search(rf"(?<!['\w]){name}\b", line)]
        used = [line for line in used if not line.strip().startswith("Next step")]
        assert used and all(f"{name} | bool" in line for line in used), used


def test_the_defaults_of_a_survey_are_those_of_the_playbook() -> None:
    for playbook in PLAYBOOKS:
        variables = variables_of(playbook)
        assert render(variables, {item["variable"]: item["default"] for item in survey_of(playbook)}) == render(variables, {}), playbook.name


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("headroom", False, "off"),  # a file of variables with headroom: off
        ("headroom", "off", "off"),
        ("headroom", None, "auto"),
        ("headroom", "warn", "warn"),
        ("overcommit_ratio", 0, 0),
        ("overcommit_ratio", None, None),
        ("overcommit_ratio", "1.5", "1.5"),
        ("canary", 0, 0),
        ("canary", "0", "0"),
        ("max_failed_percent", "", 0),
        ("on_blocked", "", "stop"),
        ("snapshot_keep", None, "7d"),
    ],
)
def test_what_yaml_makes_of_an_answer_means_what_was_written(name: str, value: t.Any, wanted: t.Any) -> None:
    variables = load(ROOT / "playbooks" / "vars" / "grow_volume.yml")
    made = render({f"volume_growth_{name}": variables[f"volume_growth_{name}"]}, {name: value})[f"volume_growth_{name}"]
    assert made == wanted


def test_nothing_waits_for_somebody_at_a_terminal() -> None:
    for path in [*PLAYBOOKS, *ROLE_FILES]:
        assert not re.search(r"\bvars_prompt:|\bpause:|\bwait_for_connection:", path.read_text()), path


# -- the workflow and the credential types ---------------------------------------------------------------------------------


def test_the_workflow_is_audit_grow_audit() -> None:
    (workflow,) = OBJECTS["controller_workflows"]
    nodes = {node["identifier"]: node for node in workflow["simplified_workflow_nodes"]}
    names = {template["name"]: template["playbook"] for template in OBJECTS["controller_templates"]}
    order, following = [], ["audit_before"]
    while following:
        (name,) = following
        order.append(Path(names[nodes[name]["unified_job_template"]]).stem)
        following = nodes[name].get("success_nodes", []) + nodes[name].get("always_nodes", [])
    assert order == ["audit_volumes", "grow_volume", "audit_volumes"] and len(nodes) == len(order)
    assert workflow["survey_spec"] == TEMPLATES["playbooks/grow_volume.yml"]["survey_spec"]
    assert not workflow["ask_limit_on_launch"]


def test_the_execution_environment_has_what_the_collection_needs() -> None:
    needed = [line for line in (ROOT / "meta" / "ee-requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert load(AWX / "execution-environment.yml")["dependencies"]["python"] == needed


def test_secrets_reach_a_job_as_files_only() -> None:
    options = {name for path in (ROOT / "roles").glob("*/meta/argument_specs.yml") for name in re.findall(r"^      (\w+):$", path.read_text(), re.MULTILINE)}
    for kind in OBJECTS["controller_credential_types"]:
        fields = {field["id"]: field for field in kind["inputs"]["fields"]}
        assert set(kind["inputs"]["required"]) == set(fields) and not any(name.startswith("ANSIBLE_") for name in fields)
        files = {name.partition(".")[2]: text for name, text in kind["injectors"].get("file", {}).items()}
        for name, text in kind["injectors"]["extra_vars"].items():
            assert name in options or name.startswith("nvmeof_spdk_"), name
            (used,) = re.findall(r"^\{\{ ([\w.]+) \}\}$", text)
            if used.startswith("tower.filename."):
                assert used.rpartition(".")[2] in files
            else:
                assert not fields[used].get("secret")
        assert all(re.fullmatch(r"\{\{ (\w+) \}\}", text) and text[3:-3] in fields for text in files.values())
        assert {name for name, field in fields.items() if field.get("secret")} <= {text[3:-3] for text in files.values()}
