# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter from_host_network: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: from_host_network
short_description: give paths the host's own address in a network
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Returns paths with RV(ignore:host_traddr), for those that have none and are to be present.
  - Of several networks that one counts in which the target's address lies, too, else the only one of its family (IPv4 or IPv6).
  - Fails when none or several of the addresses lie in it. Needs the Python library netaddr on the controller.
positional: addresses, networks
options:
  _input:
    description: Paths, as O(nvmeof.spdk.nvme_connection#module:connections).
    type: list
    elements: dict
    required: true
  addresses:
    description: The host's addresses, with or without a prefix length.
    type: list
    elements: str
    required: true
  networks:
    description: Networks in CIDR form, as a list or as text separated by commas. Without any, the paths stay as they are.
    type: raw
"""

EXAMPLES = r"""
- name: Show from where paths go
  ansible.builtin.debug:
    msg: "{{ [{'nqn': 'nqn.2016-06.io.spdk:cnode1', 'traddr': '10.1.1.10'}] | nvmeof.spdk.from_host_network(['10.1.1.20', '192.0.2.20'], '10.1.1.0/24') }}"
"""

RETURN = r"""
_value:
  description: The paths.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils import _addresses
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import as_list, plain


def from_host_network(paths: t.Sequence[t.Mapping[str, t.Any]], addresses: t.Sequence[str] | None = None, networks: t.Any = None) -> list[dict[str, t.Any]]:
    """The paths with ``host_traddr``."""
    try:
        known = None if addresses is None else as_list(plain(addresses))
        return _addresses.from_host(plain(paths), known, plain(networks))
    except _addresses.AddressError as exc:
        raise AnsibleFilterError(f"from_host_network: {exc}") from exc
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"from_host_network: the declared state does not have the expected form: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"from_host_network": from_host_network}
