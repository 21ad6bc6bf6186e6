# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter declared_volumes: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: declared_volumes
short_description: the file of declared volumes, with and without some
author: nvmeof.spdk contributors (@nvmeof-spdk)
version_added: 0.1.0
description:
  - Merges by image. A file with anything but the list C(spdk_target_volumes) is an error.
positional: add, remove
options:
  _input:
    description: The content of the file, empty for a new one.
    type: str
    required: true
  add:
    description: Volumes to put into it.
    type: list
    elements: dict
    default: []
  remove:
    description: Volumes to take out of it.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Show what to declare
  ansible.builtin.debug:
    msg: "{{ '' | nvmeof.spdk.declared_volumes(plan.volumes) }}"
"""

RETURN = r"""
_value:
  description: The content of the file, YAML.
  type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._provision import ProvisionError, declared_text


def declared_volumes(before: str, add: t.Sequence[dict[str, t.Any]] = (), remove: t.Sequence[dict[str, t.Any]] = ()) -> str:
    """The content of the file."""
    try:
        return declared_text(plain(before), plain(list(add)), plain(list(remove)))
    except (ProvisionError, ValueError) as exc:
        raise AnsibleFilterError(f"declared_volumes: {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"declared_volumes": declared_volumes}
