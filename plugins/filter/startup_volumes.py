# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter startup_volumes: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: startup_volumes
short_description: put volumes into a start-up document, or take them out
author: nvmeof.spdk contributors (@nvmeof-spdk)
version_added: 0.1.0
description:
  - Everything else in the document stays as it is, also volumes that the inventory does not declare.
positional: add, remove, found
options:
  _input:
    description: The content of the target's start-up file.
    type: dict
    required: true
  add:
    description: >-
      V(bdevs) and V(subsystems) as M(nvmeof.spdk.spdk_rbd_bdev) and M(nvmeof.spdk.nvmf_subsystem) were given them; before SPDK 21.07 also V(clusters) and
      V(config_defaults).
    type: dict
    default: {}
  remove:
    description: Images (V(pool), V(rados_namespace), V(image)) whose bdevs and namespaces are taken out.
    type: list
    elements: dict
    default: []
  found:
    description: What those modules read back, V(bdevs), V(subsystems) and V(release).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Without a volume
  ansible.builtin.set_fact:
    content: "{{ content | nvmeof.spdk.startup_volumes(remove=[{'pool': 'volumes', 'image': 'vol-9'}]) }}"
"""

RETURN = r"""
_value:
  description: The content of the file.
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._startup_config import StartupConfigError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._startup_volumes import merge


def startup_volumes(
    document: t.Mapping[str, t.Any],
    add: t.Mapping[str, t.Any] | None = None,
    remove: t.Sequence[t.Mapping[str, t.Any]] = (),
    found: t.Mapping[str, t.Any] | None = None,
) -> dict[str, t.Any]:
    """The document with and without."""
    try:
        return merge(plain(document), plain(add or {}), plain(list(remove)), plain(found or {}))
    except StartupConfigError as exc:
        raise AnsibleFilterError(f"startup_volumes: {exc}") from exc
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"startup_volumes: the document or what was read back lacks {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"startup_volumes": startup_volumes}
