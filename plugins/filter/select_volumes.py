# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter select_volumes: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: select_volumes
short_description: choose volumes with JMESPath
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Keeps the rows of the truth table for which the expression holds. Every hop is there as C(HOP_bytes).
  - Needs the Python library jmespath on the controller.
positional: expression
options:
  _input:
    description: Volumes from P(nvmeof.spdk.volume_table#filter), or rows of the truth table.
    type: list
    elements: dict
    required: true
  expression:
    description: A JMESPath expression that gives a list of rows.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Small volumes of one pool
  ansible.builtin.debug:
    msg: "{{ volumes | nvmeof.spdk.select_volumes(\"[?pool=='pool-1' && image_bytes < `107374182400`]\") }}"
"""

RETURN = r"""
_value:
  description: The rows that were kept.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth import audit
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._select import SelectError, select


def select_volumes(volumes: t.Sequence[dict[str, t.Any]], expression: str) -> list[dict[str, t.Any]]:
    """The rows that the expression keeps."""
    rows = plain(volumes)
    try:
        if any("verdict" not in row for row in rows):
            rows = audit(rows)
        return select(rows, plain(expression))
    except SelectError as exc:
        raise AnsibleFilterError(str(exc)) from exc
    except (KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"select_volumes: not a list of volumes: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"select_volumes": select_volumes}
