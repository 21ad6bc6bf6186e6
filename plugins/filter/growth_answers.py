# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter growth_answers: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: growth_answers
short_description: remember how the calls of a growth ended on a host
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Keeps of the results of a growth's modules what its report and its next steps need.
options:
  _input:
    description:
      - The results by hop, V(image), V(bdev), V(device), V(layer), V(disk) and V(filesystem), as they were registered. One that is empty or was skipped does
        not count.
    type: dict
    required: true
  failure:
    description: The result that ended the host's work, C(ansible_failed_result).
    type: dict
  action:
    description: The module that ended it, C(ansible_failed_task.action).
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Remember how it went
  ansible.builtin.set_fact:
    acted: "{{ {'device': devices, 'disk': resized} | nvmeof.spdk.growth_answers }}"
"""

RETURN = r"""
_value:
  description:
    - For each hop V(state) (V(ok), V(failed) or V(lost)), V(error), V(seconds), and V(arrived), the bytes of what has its size though the call failed.
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth_evidence import HOPS_OF, answers
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain

#: What is read of a result; the rest is none of a report's business.
READ = ("unreachable", "failed", "skipped", "msg", "seconds", "bdevs", "images")


def growth_answers(results: t.Mapping[str, t.Any], failure: t.Mapping[str, t.Any] | None = None, action: str = "") -> dict[str, dict[str, t.Any]]:
    """How the calls ended."""
    try:
        unknown = sorted(set(results) - set(HOPS_OF.values()))
        if unknown:
            raise AnsibleFilterError(f"growth_answers: {', '.join(unknown)} is no hop; there are {', '.join(HOPS_OF.values())}")
        known = {plain(hop): _read(result) if result else {} for hop, result in results.items()}
        return answers(known, _read(failure) if failure else None, plain(action))
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"growth_answers: the results do not have the expected form: {type(exc).__name__} {exc}") from exc


def _read(result: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {key: plain(result[key]) for key in READ if key in result}


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"growth_answers": growth_answers}
