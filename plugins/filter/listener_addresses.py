# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter listener_addresses: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: listener_addresses
short_description: give listeners the address of their target in a network
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Returns declared subsystems in which every listener has a RV(ignore:traddr). One that names a RV(ignore:network) instead gets the target's address in
    it, one with neither becomes a listener for each of O(networks).
  - Fails when none or several of the addresses lie in a network. Needs the Python library netaddr on the controller.
positional: addresses, networks
options:
  _input:
    description: C(spdk_target_subsystems) of a target.
    type: list
    elements: dict
    required: true
  addresses:
    description: The target's addresses, with or without a prefix length.
    type: list
    elements: str
    required: true
  networks:
    description: Networks in CIDR form, as a list or as text separated by commas.
    type: raw
"""

EXAMPLES = r"""
- name: Listen where the storage network is
  ansible.builtin.debug:
    msg: "{{ spdk_target_subsystems | nvmeof.spdk.listener_addresses(ansible_facts.all_ipv4_addresses, '10.1.1.0/24') }}"
"""

RETURN = r"""
_value:
  description: The subsystems, without RV(ignore:network) in their listeners.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils import _addresses
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import as_list, plain


def listener_addresses(
    subsystems: t.Sequence[t.Mapping[str, t.Any]], addresses: t.Sequence[str] | None = None, networks: t.Any = None
) -> list[dict[str, t.Any]]:
    """The subsystems with addresses."""
    try:
        known = None if addresses is None else as_list(plain(addresses))
        return _addresses.resolved(plain(subsystems), known, plain(networks))
    except _addresses.AddressError as exc:
        raise AnsibleFilterError(f"listener_addresses: {exc}") from exc
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"listener_addresses: the declared state does not have the expected form: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"listener_addresses": listener_addresses}
