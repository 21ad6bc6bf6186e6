# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counting: what a level's checks came to."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree


@dataclass
class Tally:
    """Counts of a level. ``notes`` are printed with the summary."""

    passed: int = 0
    failed: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, ok: bool) -> None:
        """Count one check."""
        if ok:
            self.passed += 1
        else:
            self.failed += 1

    def settle(self, status: int, what: str) -> None:
        """A command that failed without naming a failed check counts as one; so does a level that proved nothing."""
        if status and not self.failed:
            self.failed += 1
            self.notes.append(f"{what} ended with status {status}")
        elif not status and not self.passed and not self.failed:
            self.failed += 1
            self.notes.append(f"{what} ran no test at all")


def from_junit(paths: t.Iterable[Path]) -> Tally:
    """Sum JUnit reports. A skipped test counts as failed: it proved nothing, and this project has no reason to skip."""
    tally = Tally()
    for path in sorted(paths):
        try:
            root = ElementTree.parse(path).getroot()
        except ElementTree.ParseError as error:
            tally.failed += 1
            tally.notes.append(f"{path.name} is no report: {error}")
            continue
        for case in root.iter("testcase"):
            tags = {child.tag for child in case}
            tally.add(not tags & {"failure", "error", "skipped"})
            if "skipped" in tags:
                tally.notes.append(f"skipped: {case.get('classname')}.{case.get('name')}")
    return tally


def from_sanity(text: str) -> Tally:
    """Count the tests in ansible-test's output: those it says it runs, less those it lists as failed at the end.

    A test that runs once per Python counts as often; it is listed as "NAME --python VERSION".
    """
    ran = {
        f"{name} --python {python}" if python else name
        for name, python in re.findall(r'^Running sanity test "([^"]+)"(?: on Python (\S+))?', text, re.MULTILINE)
    }
    listed = re.search(r"The \d+ sanity test\(s\) listed below \(out of \d+\) failed\..*\n((?:.+\n?)+)", text)
    failed = {line.strip() for line in listed.group(1).splitlines()} if listed else set()
    notes = sorted(set(re.findall(r"^WARNING: (Skipping .*)$", text, re.MULTILINE)))
    return Tally(passed=len(ran - failed), failed=len(failed), notes=notes)
