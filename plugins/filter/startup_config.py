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
positional: found_bdevs, found_subsystems
options:
  _input:
    description: The declared state, with the keys V(clusters), V(transports), V(bdevs), V(subsystems).
    type: dict
    required: true
  found_bdevs:
    description: The RV(ignore:bdevs) that M(nvmeof.spdk.spdk_rbd_bdev) returned.
    type: list
    elements: dict
    required: true
  found_subsystems:
    description: The RV(ignore:subsystems) that M(nvmeof.spdk.nvmf_subsystem) returned.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Render
  ansible.builtin.set_fact:
    content: "{{ {'clusters': [], 'transports': [], 'bdevs': [], 'subsystems': []} | nvmeof.spdk.startup_config([], []) }}"
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


def startup_config(declared: t.Mapping[str, t.Any], found_bdevs: t.Sequence[dict], found_subsystems: t.Sequence[dict]) -> dict[str, t.Any]:
    """The content of the start-up file."""
    state = plain(declared)
    try:
        return render(
            state.get("clusters") or [],
            state.get("transports") or [],
            state.get("bdevs") or [],
            state.get("subsystems") or [],
            plain(found_bdevs),
            plain(found_subsystems),
        )
    except StartupConfigError as exc:
        raise AnsibleFilterError(str(exc)) from exc
    except KeyError as exc:
        raise AnsibleFilterError(f"startup_config: an object of the declared state lacks {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"startup_config": startup_config}
