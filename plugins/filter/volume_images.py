# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter volume_images: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: volume_images
short_description: the images of a list of volumes
author: nvmeof.spdk contributors (@nvmeof-spdk)
version_added: 0.1.0
description:
  - The images that M(nvmeof.spdk.rbd_image_info) is to read before a plan. An entry without an image is left to the plan, which names it.
positional: defaults
options:
  _input:
    description: The volumes, a list of dictionaries, or text in YAML or JSON.
    type: raw
    required: true
  defaults:
    description: What entries leave out; without entries the only volume.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Read the images
  nvmeof.spdk.rbd_image_info:
    images: "{{ volumes | nvmeof.spdk.volume_images }}"
"""

RETURN = r"""
_value:
  description: Each with V(pool), V(rados_namespace) and V(image).
  type: list
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._provision import ProvisionError, parse


def volume_images(volumes: t.Any, defaults: t.Mapping[str, t.Any] | None = None) -> list[dict[str, t.Any]]:
    """Their images, each once."""
    try:
        found, _problems = parse(plain(volumes), plain(defaults), ())
    except ProvisionError as exc:
        raise AnsibleFilterError(str(exc)) from exc
    places = dict.fromkeys(volume.place for volume in found if volume.pool and volume.image and not any(mark in "".join(volume.place) for mark in "/@"))
    return [{"pool": pool, "rados_namespace": namespace or None, "image": image} for pool, namespace, image in places]


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"volume_images": volume_images}
