# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules on a target, without Ansible in between: what they cost, and how many calls a target gets."""

from __future__ import annotations

import os
import sys
import time
import typing as t

from light_fleet import RUN, Fleet, Target
from options import ROOT

sys.path.insert(0, str(ROOT / "tests"))

from module_runner import run_module


def _module(fleet: Fleet, target: Target, name: str, params: dict[str, t.Any]) -> dict[str, t.Any]:
    """Run a module on this machine against a target; its result with ``bench``: seconds, and calls by method."""
    env = {**fleet.environment("controller"), "EXTRA_PYTHONPATH": str(RUN / "standins"), "LIGHT_MODULE": name}
    del env["PYTHONPATH"]
    params = {"socket": str(target.socket), **params}
    before = target.call("light_counts")
    children = os.times()
    began = time.monotonic()
    result = run_module(name, params, timeout=1800, env=env)
    wall = time.monotonic() - began
    after = os.times()
    counts = target.call("light_counts")
    if result["failed"]:
        raise RuntimeError(f"{name} on {target.name}: {result['msg']}")
    calls = {method: count - before.get(method, 0) for method, count in sorted(counts.items()) if count > before.get(method, 0)}
    cpu = after.children_user - children.children_user + after.children_system - children.children_system
    result["bench"] = {
        "target": target.name,
        "module": name,
        "wall_seconds": round(wall, 2),
        "module_cpu_seconds": round(cpu, 2),
        "changed": result["changed"],
        "rpc_calls": sum(calls.values()),
        "rpc": calls,
    }
    return result


def create(fleet: Fleet) -> list[dict[str, t.Any]]:
    """Fill the targets: transports, all bdevs in one call, all subsystems in one call."""
    found = []
    ceph = {"ceph_conf": str(RUN / "ceph" / "ceph.conf")}
    for target in fleet.targets:
        cluster = {"name": "ceph", "config_file": ceph["ceph_conf"], "user": "admin"}
        steps = [
            ("nvmf_transport", "transports", {"transports": [{"trtype": "tcp"}]}, 1),
            ("spdk_rbd_bdev", "bdevs created", {**ceph, "clusters": [cluster], "bdevs": fleet.bdevs(target)}, len(fleet.bdevs(target))),
            ("nvmf_subsystem", "subsystems created", {"subsystems": fleet.subsystems(target)}, len(fleet.subsystems(target))),
        ]
        for module, what, params, count in steps:
            found.append({"step": what, "objects": count, **_module(fleet, target, module, params)["bench"]})
    return found


def idle(fleet: Fleet) -> tuple[list[dict[str, t.Any]], list[str]]:
    """The same again, for all objects and for a tenth of them: nothing changes, and the calls are as many for few as for all."""
    target = fleet.targets[0]
    found, wrong = [], []
    for module, option, objects in (("spdk_rbd_bdev", "bdevs", fleet.bdevs(target)), ("nvmf_subsystem", "subsystems", fleet.subsystems(target))):
        calls = {}
        for part in (objects, objects[: max(1, len(objects) // 10)]):
            measured = _module(fleet, target, module, {option: part})["bench"]
            found.append({"step": f"{option} unchanged", "objects": len(part), **measured})
            calls[len(part)] = measured["rpc_calls"]
            if measured["changed"]:
                wrong.append(f"{module}: changed on the second run")
        if len(set(calls.values())) > 1:
            wrong.append(f"{module}: the number of calls depends on the number of objects: " + ", ".join(f"{n} objects {c} calls" for n, c in calls.items()))
    return found, wrong
