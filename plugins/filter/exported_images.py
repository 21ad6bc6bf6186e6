# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter exported_images: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: exported_images
short_description: list the images behind the bdevs of targets
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Takes C(hostvars) with what M(nvmeof.spdk.spdk_target_info) said of every target, and returns the images in the form of
    O(nvmeof.spdk.rbd_image_info#module:images).
positional: targets
options:
  _input:
    description: The C(hostvars).
    type: dict
    required: true
  targets:
    description: The names of the targets.
    type: list
    elements: str
    required: true
  only:
    description: Names of the volumes whose images are meant, as P(nvmeof.spdk.volume_table#filter) has them. All of them when not given.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Read the images on a Ceph client
  nvmeof.spdk.rbd_image_info:
    images: "{{ hostvars | nvmeof.spdk.exported_images(groups['spdk_targets']) }}"
"""

RETURN = r"""
_value:
  description: The images.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils import _volumes
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain


def exported_images(hostvars: t.Mapping[str, t.Any], targets: t.Sequence[str], only: t.Sequence[str] | None = None) -> list[dict[str, str]]:
    """The images of the targets."""
    try:
        return plain(_volumes.exported_images(hostvars, plain(targets), None if only is None else set(plain(only))))
    except (AttributeError, TypeError) as exc:
        raise AnsibleFilterError(f"exported_images: the measurements do not have the expected form: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"exported_images": exported_images}
