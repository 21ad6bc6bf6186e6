#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: spdk_config
short_description: Write the start-up file of an SPDK target, and name every drift between declared, saved and live state
version_added: 0.1.0
description:
  - Compares the declared start-up document with the file on the target's host and with what the running target shows, object by object.
  - SPDK forgets everything when it ends, and its own C(save_config) loses registered clusters, C(cluster_name), read-only flags and ANA states.
  - What the target does not show is listed in RV(not_readable) and never taken for equal.
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
extends_documentation_fragment:
  - nvmeof.spdk._spdk
  - ansible.builtin.files
attributes:
  check_mode:
    support: full
    description: Validates and compares; writes nothing.
  diff_mode:
    support: full
    description: Shows the file before and after, without what may be a secret in it.
  idempotent:
    support: full
    description: The file is only replaced when its content differs.
  platform:
    support: full
    platforms: linux
    description: Runs on the host of the SPDK target.
options:
  config:
    description:
      - The declared document, as the filter P(nvmeof.spdk.startup_config#filter) renders it.
      - It is refused when the running release lacks a call or parameter of it, or when it uses a name that it does not make before.
    type: dict
    required: true
  path:
    description: The start-up file (C(spdk_tgt --json)).
    type: path
    default: /etc/spdk/spdk_tgt.json
  state:
    description:
      - V(checked) reads only.
      - V(written) replaces the file in one step when it differs, and makes its directory where that is missing.
      - It is refused while a connected host uses something that the present file has and the document has not (see O(force)).
    type: str
    choices: [checked, written]
    default: checked
  live:
    description: Whether the running target is compared, too. Each subsystem with ANA reporting is paused for a moment by it.
    type: bool
    default: true
  replace:
    description: Whether O(state=written) replaces an existing file.
    type: bool
    default: true
  backup:
    description: Whether the file that is replaced is kept beside it, with the time in its name.
    type: bool
    default: true
  force:
    description:
      - Whether the file is also replaced when the next start would take from connected hosts what a start with the present file gives them back,
        a subsystem or namespace, or would make another volume of it.
    type: bool
    default: false
  fail_on_drift:
    description: Whether a drift is a failure. The file is written before.
    type: bool
    default: false
  command_line:
    description:
      - The program and arguments that the target is to run with. When the running one has other arguments, that is a drift.
    type: list
    elements: str
  restart_reasons:
    description:
      - Further reasons for a restart that the caller has found, in words. They are added to RV(restart_needed).
    type: list
    elements: str
    default: []
seealso:
  - module: nvmeof.spdk.spdk_rbd_bdev
  - module: nvmeof.spdk.nvmf_subsystem
  - plugin: nvmeof.spdk.startup_config
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Keep the declared state over restarts
  nvmeof.spdk.spdk_config:
    state: written
    config: "{{ declared | nvmeof.spdk.startup_config(found) }}"

- name: Fail when somebody changed the target by hand
  nvmeof.spdk.spdk_config:
    config: "{{ declared | nvmeof.spdk.startup_config(found) }}"
    fail_on_drift: true
"""

RETURN = r"""
path:
  description: The start-up file.
  returned: always
  type: str
  sample: /etc/spdk/spdk_tgt.json
backup_file:
  description: The former file.
  returned: when one was replaced and O(backup) is set
  type: str
  sample: /etc/spdk/spdk_tgt.json.4711.2026-05-04@12:00:00~
drifts:
  description:
    - Every object in which declared, saved and live state differ. After O(state=written), saved is declared.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: V(key), V(cluster), V(bdev), V(controller), V(transport), V(referral), V(subsystem), V(host), V(namespace), V(listener), V(setting),
        V(other bdev), V(call) or V(command line).
      type: str
      sample: bdev
    object:
      description: The object; parts of a subsystem begin with its NQN.
      type: str
      sample: vol-1
    declared:
      description: The attributes in which the sides differ; V(null) if the object is not declared.
      type: raw
      sample: {"read_only": true}
    saved:
      description: The same of the file; V(null) if the object is not in it.
      type: raw
      sample: {"read_only": true}
    live:
      description: The same of the running target; V(null) if it does not have the object, V(not readable) for an attribute that it does not show.
      type: raw
      sample: {"read_only": false}
not_readable:
  description: Declared attributes that the running target does not show, so that nobody knows whether they are as declared.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: Kind of the objects.
      type: str
      sample: bdev
    attribute:
      description: The attribute, by SPDK's name.
      type: str
      sample: cluster_name
    objects:
      description: The objects that have it.
      type: list
      elements: str
      sample: [vol-1, vol-2]
restart_needed:
  description: Why the target must be started again before all of the declared state is live, in words; empty if it need not be.
  returned: always
  type: list
  elements: str
  sample: ["nvmf_set_max_subsystems differs in max_subsystems"]
connected:
  description: Hosts that are connected now; read only when a restart is needed. V(null) where the release cannot tell.
  returned: always
  type: list
  elements: dict
  contains:
    nqn:
      description: The subsystem.
      type: str
      sample: nqn.2016-06.io.spdk:cnode1
    hostnqn:
      description: The host.
      type: str
      sample: nqn.2014-08.org.nvmexpress:uuid:5f1c6d3a-0d3e-4d8e-9a55-0f6a3f0b7a11
error:
  description: The parts of a failure.
  returned: failure
  type: dict
  contains:
    object:
      description: What failed.
      type: str
      sample: vol-1
    hop:
      description: The hop of the volume's path.
      type: str
      sample: bdev
    call:
      description: The call that failed, or V(null).
      type: str
      sample: bdev_rbd_create
    cause:
      description: The other side's words, or V(null).
      type: str
      sample: null
    remedy:
      description: What to do next, or V(null).
      type: str
      sample: declare the cluster, or correct the name
    message:
      description: The failure in one sentence.
      type: str
      sample: cluster ceph0 is used, but not declared before
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_config import ConfigFile
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_drift import command_drift, compare, read_live, restart_reasons, taken_at_the_next_start
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_module import SPDK_OPTIONS, check_timeout, fail
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_startup import Objects, calls_of, check_document, objects_of
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target


def connected_hosts(target: Target) -> list[dict[str, t.Any]] | None:
    """Controllers of all subsystems, or None where one cannot be read."""
    subsystems = target.subsystems()
    target.add_controllers(subsystems)
    found: list[dict[str, t.Any]] = []
    for entry in subsystems:
        if entry["controllers"] is None:
            return None
        found += [{"nqn": entry["nqn"], "hostnqn": controller["hostnqn"]} for controller in entry["controllers"]]
    return found


def refuse_taking(target: Target, file: ConfigFile, declared: Objects, live: Objects) -> None:
    """Raise when the declared document would take at the next start what a connected host has now; asks only where something would go."""
    if not file.exists or not file.differs:
        return
    saved = None if file.broken is not None else objects_of(calls_of(file.saved, file.path))
    taken = taken_at_the_next_start(declared, saved, live)
    if not taken:
        return
    subsystems = [entry for entry in target.subsystems() if entry["nqn"] in taken]
    target.add_controllers(subsystems)
    for entry in subsystems:
        hosts = None if entry["controllers"] is None else sorted({str(controller["hostnqn"]) for controller in entry["controllers"]})
        if hosts == []:
            continue
        raise HopError(
            f"the next start would take {taken[entry['nqn']]} from "
            + (f"connected hosts: {', '.join(hosts)}" if hosts else f"hosts, and SPDK {target.table.name} cannot tell who is connected"),
            obj=entry["nqn"],
            hop="namespace",
            cause=f"the target and {file.path} have it, the declared document has not; the file was left as it is",
            remedy="declare it, or remove it first (nvmeof.spdk.nvmf_subsystem) once no host uses it, or set force",
        )


def sentence(drifts: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """The drifts for an error message."""
    words = []
    for drift in drifts:
        where = [side for side in ("declared", "saved", "live") if drift[side] is None]
        words.append(f"{drift['kind']} {drift['object']} (" + (f"not {' and not '.join(where)}" if where else ", ".join(drift["declared"])) + ")")
    return f"{len(drifts)} objects differ: " + "; ".join(words)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **SPDK_OPTIONS,
            "config": {"type": "dict", "required": True},
            "path": {"type": "path", "default": "/etc/spdk/spdk_tgt.json"},
            "state": {"type": "str", "choices": ["checked", "written"], "default": "checked"},
            "live": {"type": "bool", "default": True},
            "replace": {"type": "bool", "default": True},
            "backup": {"type": "bool", "default": True},
            "force": {"type": "bool", "default": False},
            "fail_on_drift": {"type": "bool", "default": False},
            "command_line": {"type": "list", "elements": "str"},
            "restart_reasons": {"type": "list", "elements": "str", "default": []},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    check_timeout(module, "timeout")
    params = module.params
    results: dict[str, t.Any] = {"path": params["path"], "changed": False, "drifts": [], "not_readable": [], "restart_needed": [], "connected": []}
    target = None
    try:
        if params["live"]:
            target = Target.open(params["socket"], params["timeout"])
        declared = objects_of(check_document(params["config"], None if target is None else target.table))
        file = ConfigFile(module, params["path"], params["config"])
        live = None if target is None else read_live(target)
        if params["state"] == "written":
            if target is not None and live is not None and params["replace"] and not params["force"]:
                refuse_taking(target, file, declared, live.objects)
            write(module, file, results)
        elif file.broken is not None:
            raise file.broken
        saved = declared if params["state"] == "written" and params["replace"] else objects_of(calls_of(file.saved or {"subsystems": []}, params["path"]))
        results["drifts"], results["not_readable"] = compare(declared, saved, live)
        if params["live"] and params["command_line"]:
            drift = command_drift(params["command_line"], params["socket"])
            results["drifts"] += [drift] if drift else []
        if target is not None:
            results["restart_needed"] = restart_reasons(results["drifts"]) + params["restart_reasons"]
            if results["restart_needed"]:
                results["connected"] = connected_hosts(target)
    except HopError as error:
        fail(module, error, **results)
    finally:
        if target is not None:
            target.close()
    if params["fail_on_drift"] and results["drifts"]:
        module.fail_json(msg=sentence(results["drifts"]), **results)
    module.exit_json(**results)


def write(module: AnsibleModule, file: ConfigFile, results: dict[str, t.Any]) -> None:
    """Replace the file where it differs, and set its owner and mode."""
    if file.differs and (module.params["replace"] or not file.exists):
        results["changed"] = True
        results["diff"] = file.diff()
        if not module.check_mode:
            backup = file.write(module.params["backup"])
            if backup:
                results["backup_file"] = backup
    if module.check_mode and not file.exists:
        return  # there is no file yet whose mode could be compared
    if module.params["mode"] is None:
        module.params["mode"] = "0600"
    file_args = module.load_file_common_arguments(module.params, path=file.path)
    if module.set_fs_attributes_if_different(file_args, False):
        results["changed"] = True


if __name__ == "__main__":
    main()
