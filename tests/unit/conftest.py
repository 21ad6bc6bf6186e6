# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fakes for the unit tests: a strict RPC server, a Ceph of one dict, and the runner of modules (``tests/module_runner.py``)."""

from __future__ import annotations

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from fake_target import FakeTarget

MIB = 1024**2


@pytest.fixture
def images():
    """(pool, image) -> bytes of a fake Ceph, shared by fake target and FakeCeph."""
    return {("p", "one"): 64 * MIB, ("p", "two"): 64 * MIB}


@pytest.fixture
def make_target(tmp_path, images):
    """Start fake targets; at the end none may have met a method it does not know."""
    targets = []

    def make(release=(26, 5)):
        target = FakeTarget(str(tmp_path / f"spdk{len(targets)}.sock"), release, images)
        targets.append(target)
        return target

    yield make
    for target in targets:
        target.close()
    assert [target.unexpected for target in targets] == [[] for _target in targets]


@pytest.fixture
def fake(make_target):
    """A fake target of SPDK 26.05."""
    return make_target()
