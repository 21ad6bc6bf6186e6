# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter declared_paths: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: declared_paths
short_description: list the paths of a host to all that targets declare
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Takes what C(hostvars) hold of C(spdk_target_subsystems) of each target and returns a path for each listener, as
    M(nvmeof.spdk.nvme_connection) takes them.
  - Subsystems that do not allow the host are left out, and so are loopback addresses of other hosts. Listeners without an address, or on all addresses,
    are found by networks among the target's C(spdk_target_addresses) or facts.
  - Fails when none or several of the addresses lie in a network. Needs the Python library netaddr on the controller.
positional: targets, host, hostnqn, networks, options
options:
  _input:
    description: The C(hostvars).
    type: dict
    required: true
  targets:
    description: The targets, in the order of the inventory.
    type: list
    elements: str
    required: true
  host:
    description: The name of the host whose paths these are.
    type: str
  hostnqn:
    description: Its host NQN; without it, no subsystem is left out.
    type: str
  networks:
    description: Only paths to addresses in these networks (CIDR), as a list or as text separated by commas.
    type: raw
  options:
    description: Options for each path, such as RV(ignore:reconnect_delay). RV(ignore:tls_psk_file) counts only for listeners with a secure channel.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Connect to everything
  nvmeof.spdk.nvme_connection:
    connections: "{{ hostvars | nvmeof.spdk.declared_paths(groups['spdk_targets'], inventory_hostname, networks='10.1.1.0/24') }}"
"""

RETURN = r"""
_value:
  description: The paths, with RV(ignore:nqn), RV(ignore:transport), RV(ignore:traddr), RV(ignore:trsvcid), RV(ignore:tls) and the options.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils import _addresses
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain


def declared_paths(
    hostvars: t.Mapping[str, t.Any],
    targets: t.Sequence[str],
    host: str | None = None,
    hostnqn: str | None = None,
    networks: t.Any = None,
    options: t.Mapping[str, t.Any] | None = None,
) -> list[dict[str, t.Any]]:
    """The paths of ``host``."""
    try:
        return _addresses.declared_paths(hostvars, plain(list(targets)), plain(host), plain(hostnqn), plain(networks), plain(options))
    except _addresses.AddressError as exc:
        raise AnsibleFilterError(f"declared_paths: {exc}") from exc
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"declared_paths: the declared state does not have the expected form: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"declared_paths": declared_paths}
