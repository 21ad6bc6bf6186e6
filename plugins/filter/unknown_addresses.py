# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter unknown_addresses: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: unknown_addresses
short_description: list targets whose addresses are needed and not known
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Returns the targets that declare a listener without an address, or on all addresses, and of which neither C(spdk_target_addresses) nor facts are known.
positional: targets
options:
  _input:
    description: The C(hostvars).
    type: dict
    required: true
  targets:
    description: The targets.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Gather the facts that are missing
  ansible.builtin.setup:
    gather_subset: ["!all", "!min", network]
  delegate_to: "{{ item }}"
  delegate_facts: true
  loop: "{{ hostvars | nvmeof.spdk.unknown_addresses(groups['spdk_targets']) }}"
"""

RETURN = r"""
_value:
  description: Names of targets.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils import _addresses
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain


def unknown_addresses(hostvars: t.Mapping[str, t.Any], targets: t.Sequence[str]) -> list[str]:
    """The targets to ask."""
    try:
        return _addresses.unknown(hostvars, plain(list(targets)))
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"unknown_addresses: the declared state does not have the expected form: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"unknown_addresses": unknown_addresses}
