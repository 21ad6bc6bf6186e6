# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter growth_wishes: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: growth_wishes
short_description: read a list of volumes with a size each
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Reads what P(nvmeof.spdk.growth_plan#filter) takes as O(nvmeof.spdk.growth_plan#filter:wishes).
  - A list or a file that cannot be read, or has no volume in it, fails. What is wrong with a single line is its RV(_value[].problem), so that the plan
    tells it together with what only the inventory shows.
options:
  _input:
    description:
      - The volumes. A list of dictionaries (V(volume), V(size), V(exact), V(comment)), a dictionary of volumes and sizes, or text with either as YAML or JSON.
      - Text can also be lines of V(VOLUME SIZE) or V(VOLUME,SIZE), with C(exact) after it where a larger image is an error, or CSV with or without a header.
        A line without a size has O(size). Lines that begin with C(#) are comments.
      - Empty text is no list; a list without a volume is an error.
    type: raw
    required: true
  file:
    description: Path on the controller, from its working directory, of a file with the same (C(.yml), C(.json), C(.csv), or text), instead of the input.
    type: str
    default: ''
  size:
    description: The size of volumes without their own.
    type: str
    default: ''
  exact:
    description: Whether an image that is already larger is an error, for volumes that do not say so themselves.
    type: bool
    default: false
  volume:
    description: Handles of volumes that all get O(size), instead of a list.
    type: raw
    default: ''
"""

EXAMPLES = r"""
- name: Grow two volumes to sizes of their own
  ansible.builtin.set_fact:
    plan: "{{ volumes | nvmeof.spdk.growth_plan('', wishes=text | nvmeof.spdk.growth_wishes) }}"
  vars:
    text: |
      rbd/vm1 800G
      vm4:vdb 1T

- name: Read them from a spreadsheet's CSV
  ansible.builtin.set_fact:
    wishes: "{{ '' | nvmeof.spdk.growth_wishes(file='batch.csv', size='500G') }}"
"""

RETURN = r"""
_value:
  description: An entry for each volume; empty where neither a list nor handles were given.
  type: list
  elements: dict
  contains:
    where:
      description: The line or entry.
      type: str
      sample: line 3
    volume:
      description: The handle.
      type: str
      sample: rbd/vm1
    size:
      description: The size as written.
      type: str
      sample: 800G
    size_bytes:
      description: The size; V(0) if it could not be read.
      type: int
      sample: 858993459200
    exact:
      description: Whether a larger image is an error.
      type: bool
      sample: false
    problem:
      description: What is wrong with the line, empty for nothing.
      type: str
      sample: ''
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth_wishes import WishError, wishes_of
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import as_bool, as_list, plain


def growth_wishes(volumes: t.Any, file: str = "", size: t.Any = "", exact: t.Any = False, volume: t.Any = "") -> list[dict[str, t.Any]]:
    """The volumes and the size of each."""
    try:
        return wishes_of(plain(volumes), plain(file), plain(size), as_bool(plain(exact)), as_list(plain(volume)))
    except WishError as exc:
        raise AnsibleFilterError(str(exc)) from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"growth_wishes": growth_wishes}
