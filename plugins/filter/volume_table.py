# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter volume_table: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: volume_table
short_description: join what the hosts measured into volumes
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Takes C(hostvars) with the results that the role P(nvmeof.spdk.volume_growth#role) registered on every host, and returns one record per RBD image.
  - A host that was asked and did not answer is remembered as a gap in the volumes that it may carry.
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
  answering:
    description: The hosts that still answer in this play; what the others said earlier does not count. All of them when not given.
    type: list
    elements: str
  playing:
    description:
      - The hosts that take part in the play, C(ansible_play_hosts_all). A host that is not among them was left out by C(--limit), which a plan does not accept
        for a host that may carry the volume. All of them when not given.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Join the measurements
  ansible.builtin.set_fact:
    volumes: "{{ hostvars | nvmeof.spdk.volume_table({'target': groups['spdk_targets'], 'host': groups['nvme_initiators']}) }}"
"""

RETURN = r"""
_value:
  description: One record per volume, with its names, and the readings of every hop.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._volumes import build, declared_of, measurements_of


def volume_table(
    hostvars: t.Mapping[str, t.Any],
    asked: t.Mapping[str, t.Sequence[str]],
    answering: t.Sequence[str] | None = None,
    playing: t.Sequence[str] | None = None,
) -> list[dict[str, t.Any]]:
    """The volumes of the inventory."""
    try:
        hosts = {kind: plain(list(names)) for kind, names in asked.items()}
        measured = measurements_of(hostvars, hosts, plain(answering), playing=plain(playing))
        return build(plain(measured), plain(declared_of(hostvars, measured)))
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"volume_table: the measurements do not have the expected form: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"volume_table": volume_table}
