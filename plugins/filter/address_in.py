# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter address_in: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: address_in
short_description: choose the one address that lies in a network
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - For listeners and host addresses; gives the single address of the list inside the network, IPv4 or IPv6, and fails when none or several match.
  - Needs the Python library netaddr on the controller.
positional: network
options:
  _input:
    description: Addresses, with or without a prefix length.
    type: list
    elements: str
    required: true
  network:
    description: The network in CIDR form.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: The storage address of this host
  ansible.builtin.debug:
    msg: "{{ ['192.168.1.5', '10.1.1.7'] | nvmeof.spdk.address_in('10.1.1.0/24') }}"
"""

RETURN = r"""
_value:
  description: The address.
  type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._select import SelectError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._select import address_in as choose


def address_in(addresses: t.Sequence[str], network: str) -> str:
    """The address inside the network."""
    found = plain(addresses)
    if isinstance(found, str) or not isinstance(found, list):
        raise AnsibleFilterError("address_in needs a list of addresses")
    try:
        return choose([str(address) for address in found], plain(network))
    except SelectError as exc:
        raise AnsibleFilterError(str(exc)) from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"address_in": address_in}
