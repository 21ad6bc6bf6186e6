# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan on the controller alone: made-up answers of many hypervisors, through the filters that a playbook calls. One JSON object on stdout.

``plan_time.py VOLUMES HYPERVISORS HANDLES``: HANDLES is ``all`` (every volume by its name), ``select`` (all by an expression) or ``one``.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures"))

import fleet
from ansible_collections.nvmeof.spdk.plugins.filter.growth_plan import growth_plan
from ansible_collections.nvmeof.spdk.plugins.filter.measurement_errors import measurement_errors
from ansible_collections.nvmeof.spdk.plugins.filter.truth_table import truth_table
from ansible_collections.nvmeof.spdk.plugins.filter.volume_table import volume_table


def main() -> None:
    """Build the answers, take the time of each filter."""
    count, hypervisors, handles = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    targets = ["t1", "t2"]
    numbers = list(range(1, count + 1))
    hosts = [f"h{number}" for number in range(1, hypervisors + 1)]
    # ten volumes to a subsystem; the hosts that are connected to it show all of them, so that domains can move between these hosts
    groups = {f"g{start}": numbers[start : start + 10] for start in range(0, count, 10)}
    answers: dict[str, dict[str, t.Any]] = {}
    for name in targets:
        parts = [fleet.target(name, group, members) for group, members in groups.items()]
        whole = {**parts[0], "bdevs": [bdev for part in parts for bdev in part["bdevs"]], "subsystems": [part["subsystems"][0] for part in parts]}
        answers[name] = {"target": whole, "errors": {}}
    for place, name in enumerate(hosts):
        group, members = list(groups.items())[place % len(groups)]
        own = [(nsid, number) for nsid, number in enumerate(members, start=1) if number % -(-hypervisors // len(groups)) == place // len(groups)]
        answers[name] = {"host": fleet.host(name, group, targets, members), "disks": [fleet.disk(number, nsid) for nsid, number in own], "errors": {}}
    hostvars = fleet.hostvars(answers)
    asked = {"target": targets, "images": [], "host": hosts, "disks": hosts}
    wanted = {"all": [f"pool-1/host-rbd-img-{number}" for number in numbers], "select": "", "one": ["pool-1/host-rbd-img-1"]}[handles]
    seconds: dict[str, float] = {}

    def timed(name: str, work: t.Callable[[], t.Any]) -> t.Any:
        began = time.process_time()
        value = work()
        seconds[name] = round(time.process_time() - began, 2)
        return value

    volumes = timed("volume_table", lambda: volume_table(hostvars, asked, playing=[*targets, *hosts]))
    silent = timed("measurement_errors", lambda: measurement_errors(hostvars, asked, playing=[*targets, *hosts]))
    expression = "[?pool=='pool-1']" if handles == "select" else ""
    plan = timed("growth_plan", lambda: growth_plan(volumes, "200G", volume=wanted, select=expression, silent=silent))
    timed("truth_table", lambda: truth_table(plan["volumes"]))
    steps = sum(len(row["steps"]) for row in plan["volumes"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    result = {"volumes": count, "hypervisors": hypervisors, "handles": handles, "planned": len(plan["volumes"]), "steps": steps, "blocked": plan["blocked"]}
    print(json.dumps({**result, "cpu_seconds": seconds, "peak_mib": peak}))


if __name__ == "__main__":
    main()
