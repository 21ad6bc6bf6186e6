# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules run in the process of the tests."""

from __future__ import annotations

import pytest
from ansible.module_utils import _internal


@pytest.fixture(autouse=True)
def on_a_managed_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings are part of a module's result, also where the tests of filters came first: ansible.errors makes ansible-core 2.19 print them instead."""
    monkeypatch.setattr(_internal, "is_controller", False)
