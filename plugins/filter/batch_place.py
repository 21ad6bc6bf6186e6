# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter batch_place: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: batch_place
short_description: tell which of its batches a play is at
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Ansible tells a play with C(serial) the hosts of the batch, not its number. This filter counts as Ansible does.
positional: hosts, serial
options:
  _input:
    description: The hosts of the batch, C(ansible_play_batch).
    type: list
    elements: str
    required: true
  hosts:
    description: The hosts of the play, C(ansible_play_hosts_all).
    type: list
    elements: str
    required: true
  serial:
    description: What C(serial) of the play says, also as text. Empty for one batch.
    type: raw
    default: ''
"""

EXAMPLES = r"""
- name: Tell the progress
  ansible.builtin.debug:
    msg: "batch {{ ansible_play_batch | nvmeof.spdk.batch_place(ansible_play_hosts_all, [1, '50%']) }}"
"""

RETURN = r"""
_value:
  description: Number of the batch, and of all, such as V(2 of 5).
  type: str
"""

import typing as t

import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._batches import place
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain


def batch_place(batch: t.Sequence[str], hosts: t.Sequence[str], serial: t.Any = "") -> str:
    """Which batch this is."""
    try:
        text = plain(serial)
        sizes = yaml.safe_load(text) if isinstance(text, str) else text
        return place(plain(list(batch)), plain(list(hosts)), sizes)
    except (TypeError, ValueError, yaml.YAMLError) as exc:
        raise AnsibleFilterError(f"batch_place: serial {serial!r} is neither a number, nor a percentage, nor a list of them: {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"batch_place": batch_place}
