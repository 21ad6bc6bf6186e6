# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The capabilities that ``docs/cephx.md`` asks for are those with which the lab's client works."""

from __future__ import annotations

import importlib.util
import re
import typing as t
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parents[3]


def test_the_documented_capabilities_are_those_of_the_lab(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("ceph_node", ROOT / "tests" / "lab" / "ceph_node.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    asked: list[tuple[t.Any, ...]] = []
    node = SimpleNamespace(ceph=lambda *words: asked.append(words) or "", keyring_of=lambda client: tmp_path / client)
    module.CephNode.create_client(node, "spdk", ["volumes"])
    module.CephNode.create_client(node, "spdk", ["volumes", "fast"])
    text = (ROOT / "docs" / "cephx.md").read_text(encoding="utf-8")
    for client in ("spdk", "tools"):
        caps = re.findall(rf"^ +ceph auth get-or-create client\.{client} +mon '(.+?)' osd '(.+?)' mgr '(.+?)'$", text, re.MULTILINE)
        assert caps == [tuple(asked[0][number] for number in (4, 6, 8))] and asked[0][3::2] == ("mon", "osd", "mgr")
    assert f"osd '{asked[1][6]}'" in text
