# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter upgrade_paths: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: upgrade_paths
short_description: list paths of a host that have not yet left a target, or not come back to it
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Compares a result of M(nvmeof.spdk.nvme_info) with the paths that P(nvmeof.spdk.upgrade_plan#filter) expects.
positional: expected
options:
  _input:
    description: The registered result of M(nvmeof.spdk.nvme_info).
    type: dict
    required: true
  expected:
    description: The paths of this host, from RV(nvmeof.spdk.upgrade_plan#filter:_value).
    type: list
    elements: dict
    required: true
  drained:
    description: Whether the paths must have been left, instead of being live, accessible and of the right size again.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Wait until the paths are back
  nvmeof.spdk.nvme_info:
  register: seen
  until: seen | nvmeof.spdk.upgrade_paths(plan.expected[inventory_hostname]) | length == 0
  retries: 30
  delay: 2
"""

RETURN = r"""
_value:
  description: One text for every path that is not as it must be.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import as_bool, plain
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._upgrade import path_problems


def upgrade_paths(result: t.Mapping[str, t.Any], expected: t.Sequence[t.Mapping[str, t.Any]], drained: t.Any = False) -> list[str]:
    """What is not yet as it must be."""
    try:
        host = plain(result.get("host"))
        if host is None:
            return ["the host could not be read: " + str(result.get("msg") or "no reason given").strip()]
        return path_problems(host, plain(expected), as_bool(plain(drained)))
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"upgrade_paths: not a result of nvme_info and paths of upgrade_plan: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"upgrade_paths": upgrade_paths}
