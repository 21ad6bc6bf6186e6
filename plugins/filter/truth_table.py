# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter truth_table: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: truth_table
short_description: print volumes as a table of text
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - One line per volume, one column per hop, in bytes, and the verdict.
options:
  _input:
    description: Rows from P(nvmeof.spdk.growth_outcome#filter), P(nvmeof.spdk.growth_plan#filter), or volumes from P(nvmeof.spdk.volume_table#filter).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the truth
  ansible.builtin.debug:
    msg: "{{ volumes | nvmeof.spdk.truth_table }}"
"""

RETURN = r"""
_value:
  description: The lines of the table.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth import audit
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._verdict import table_lines


def truth_table(volumes: t.Sequence[dict[str, t.Any]]) -> list[str]:
    """The lines of the table."""
    try:
        if all("verdict" in row for row in volumes):
            return [plain(line) for line in table_lines(volumes)]  # a few figures of each row: copying the whole would cost ten times as much
        return table_lines(audit(plain(volumes)))
    except (KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"truth_table: not a list of volumes: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"truth_table": truth_table}
