# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter startup_config: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: startup_config
short_description: render a target's start-up JSON from its declared state
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - SPDK's own C(save_config) loses registered clusters, read-only flags and ANA states, so the file is made from what the inventory declares.
  - Every name that is used (a cluster, a bdev, a key, a transport) must be declared. What the release lacks is an error; nothing is left out.
positional: found
options:
  _input:
    description:
      - The declared state, with the keys V(keys), V(clusters), V(config_defaults), V(bdevs), V(controllers), V(transports), V(referrals), V(subsystems),
        V(max_subsystems), V(nvmf_config), V(crdt), each as the variable C(spdk_target_...) of the role C(nvmeof.spdk.spdk_target). All are optional.
    type: dict
    required: true
  found:
    description:
      - What the modules read back - RV(ignore:bdevs) and RV(ignore:release) of M(nvmeof.spdk.spdk_rbd_bdev), RV(ignore:subsystems) of
        M(nvmeof.spdk.nvmf_subsystem) - under these names. Without a release the newest is taken.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Render
  ansible.builtin.set_fact:
    content: "{{ {'transports': [{'trtype': 'TCP'}]} | nvmeof.spdk.startup_config({'release': {'major': 26, 'minor': 5}}) }}"
"""

RETURN = r"""
_value:
  description: The content of the file.
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._startup_config import StartupConfigError, render


def startup_config(declared: t.Mapping[str, t.Any], found: t.Mapping[str, t.Any] | None = None) -> dict[str, t.Any]:
    """The content of the start-up file."""
    try:
        return render(plain(declared), plain(found))
    except StartupConfigError as exc:
        raise AnsibleFilterError(f"startup_config: {exc}") from exc
    except KeyError as exc:
        raise AnsibleFilterError(f"startup_config: an object of the declared state lacks {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"startup_config": startup_config}
