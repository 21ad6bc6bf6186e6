# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The measurements as a table."""

from __future__ import annotations

import typing as t


def _table(head: list[str], rows: list[list[t.Any]]) -> list[str]:
    text = [head, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in text) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) if not column else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in text]


def lines_of(result: t.Mapping[str, t.Any]) -> list[str]:
    """All of it, for reading."""
    options, machine = result["options"], result["machine"]
    lines = [
        f"{options['volumes']} volumes in {options['subsystems']} subsystems on {options['targets']} targets, {options['hosts']} hosts; "
        f"{machine['processors']} processors, {machine['ansible']}"
    ]
    if options["ceph_ms"]:
        lines.append(f"each operation of Ceph takes {options['ceph_ms']} ms")
    head = ["run", "wall s", "controller CPU s", "its memory MiB", "largest process MiB", "changed", "module calls", "per host and hop", "RPC calls"]
    rows = [
        [
            run["run"],
            run["wall_seconds"],
            run["controller_cpu_seconds"],
            run["controller_peak_mib"],
            run["controller_largest_process_mib"],
            run["changed"],
            run["module_calls"],
            run["most_calls_per_host_and_hop"],
            "/".join(str(count) for count in run["rpc_calls"].values()),
        ]
        for run in result["runs"]
    ]
    lines += ["", *_table(head, rows)]
    for run in result["runs"]:
        lines += ["", f"{run['run']}: plays and tasks (seconds)"]
        for play in run["plays"]:
            calls = ", ".join(f"{name} {count}" for name, count in play["calls"].items())
            lines.append(f"  {play['seconds']:>7.2f}  {play['play']}" + (f" ({calls})" if calls else ""))
            lines += [f"           {seconds:>7.2f}  {name}" for name, seconds in play["tasks"].items() if seconds >= 0.3]
        rows = [
            [
                "  " + name,
                module["calls"],
                module["hosts"],
                module["cpu_seconds"],
                module["longest_seconds"],
                module["peak_mib"],
                " ".join(f"{key} {count}" for key, count in module["ceph"].items()) or "-",
            ]
            for name, module in run["modules"].items()
        ]
        lines += _table(["  module on hosts", "calls", "hosts", "CPU s in all", "longest s", "peak MiB", "operations of Ceph"], rows)
    rows = [
        [step["step"], step["target"], step["objects"], step["wall_seconds"], step["module_cpu_seconds"], step["rpc_calls"], step["changed"]]
        for step in result["rpc"]
    ]
    lines += ["", *_table(["module alone", "target", "objects", "wall s", "module CPU s", "RPC calls", "changed"], rows)]
    if result["plans"]:
        names = list(result["plans"][0]["cpu_seconds"])
        rows = [[plan["handles"], plan["volumes"], plan["hypervisors"], *(plan["cpu_seconds"].values()), plan["peak_mib"]] for plan in result["plans"]]
        lines += ["", *_table(["plan by", "volumes", "hypervisors", *(f"{name} CPU s" for name in names), "peak MiB"], rows)]
    if result["wrong"]:
        lines += ["", *(f"WRONG: {text}" for text in result["wrong"])]
    return lines
