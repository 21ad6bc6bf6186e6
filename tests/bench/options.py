# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be set from outside, by environment variables."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: The parts of a bench, in their order.
RUNS = ("plan-only", "first-growth", "repeated-growth", "one-volume", "audit", "plans")
#: What is run only where it is named.
MORE_RUNS = ("lost-hosts", "killed-runs")


@dataclass(frozen=True)
class Options:
    """Sizes of the fleet, and what is run on it.

    ``forks`` 0: what playbooks/ansible.cfg says. ``ceph_ms``: milliseconds that each operation of the Ceph stand-in takes.
    ``canary`` is grow_volume's option of that name.
    """

    hosts: int
    volumes: int
    targets: int
    subsystems: int
    forks: int
    ceph_ms: float
    plan_volumes: int
    plan_hosts: int
    runs: tuple[str, ...]
    canary: str
    out: Path

    @property
    def pairs(self) -> int:
        """Two targets export the same volumes; a single one is alone."""
        return max(1, self.targets // 2)

    def targets_of(self, pair: int) -> list[int]:
        """Numbers (from 1) of the targets of a pair (from 0)."""
        return [number for number in (2 * pair + 1, 2 * pair + 2) if number <= self.targets]


def read() -> Options:
    """From ``BENCH_*``; raises ValueError for what cannot be."""

    def number(name: str, default: int) -> int:
        return int(os.environ.get(f"BENCH_{name}") or default)

    hosts, volumes = number("HOSTS", 50), number("VOLUMES", 1000)
    options = Options(
        hosts=hosts,
        volumes=volumes,
        targets=number("TARGETS", 2),
        subsystems=number("SUBSYSTEMS", max(hosts, volumes // 10)),
        forks=number("FORKS", 0),
        ceph_ms=float(os.environ.get("BENCH_CEPH_MS") or 0),
        plan_volumes=number("PLAN_VOLUMES", 300),
        plan_hosts=number("PLAN_HOSTS", 500),
        runs=tuple((os.environ.get("BENCH_RUNS") or ",".join(RUNS)).split(",")),
        canary=os.environ.get("BENCH_CANARY") or "",
        out=Path(os.environ.get("BENCH_OUT") or ROOT / "build" / "bench").absolute(),
    )
    if not (1 <= options.hosts <= 250 and options.hosts <= options.subsystems <= options.volumes and (options.targets == 1 or options.targets % 2 == 0)):
        raise ValueError("BENCH_HOSTS (1 to 250) <= BENCH_SUBSYSTEMS <= BENCH_VOLUMES, and BENCH_TARGETS 1 or even")
    if set(options.runs) - {*RUNS, *MORE_RUNS}:
        raise ValueError(f"BENCH_RUNS is a list, with commas, of {', '.join(RUNS + MORE_RUNS)}")
    return options
