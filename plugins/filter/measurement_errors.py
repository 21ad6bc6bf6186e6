# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter measurement_errors: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: measurement_errors
short_description: list who was asked and did not answer
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Takes C(hostvars) with the results that the role P(nvmeof.spdk.volume_growth#role) registered on every host.
positional: asked
options:
  _input:
    description: The C(hostvars).
    type: dict
    required: true
  asked:
    description: For each of V(target), V(images), V(host) and V(disks) the list of hosts that were asked for it.
    type: dict
    required: true
  playing:
    description: The hosts that take part in the play, C(ansible_play_hosts_all); the others were left out by C(--limit). All of them when not given.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Who is silent
  ansible.builtin.debug:
    msg: "{{ hostvars | nvmeof.spdk.measurement_errors({'target': groups['spdk_targets']}) }}"
"""

RETURN = r"""
_value:
  description: One text per host and measurement, with the reason.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._volumes import measurements_of, silent_hosts


def measurement_errors(hostvars: t.Mapping[str, t.Any], asked: t.Mapping[str, t.Sequence[str]], playing: t.Sequence[str] | None = None) -> list[str]:
    """Who did not answer what."""
    try:
        return plain(silent_hosts(measurements_of(hostvars, {kind: plain(list(names)) for kind, names in asked.items()}, playing=plain(playing))))
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"measurement_errors: the measurements do not have the expected form: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"measurement_errors": measurement_errors}
