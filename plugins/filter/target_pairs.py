# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter target_pairs: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: target_pairs
short_description: find what targets that export one subsystem declare differently
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Compares C(spdk_target_subsystems) and C(spdk_target_rbd_bdevs) of all targets, as the role P(nvmeof.spdk.spdk_target#role) reads them,
    for every NQN that more than one of them exports.
  - Controller ids must be disjoint; serial and model number, ANA reporting, allowed hosts, and image, nsid, UUID, NGUID, ANA group, block size and
    read-only flag of every namespace must be the same; listeners must not clash; one ANA state at least must not be V(inaccessible).
positional: targets
options:
  _input:
    description: The C(hostvars).
    type: dict
    required: true
  targets:
    description: The targets, in the order of the inventory.
    type: list
    elements: str
    required: true
  auto_cntlid:
    description: Whether controller ids that are not declared follow from a target's place in O(targets).
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Refuse targets that do not fit together
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | map(attribute='line') | join(' | ') }}"
  vars:
    problems: "{{ hostvars | nvmeof.spdk.target_pairs(groups['spdk_targets']) }}"
"""

RETURN = r"""
_value:
  description: >-
    One entry per difference with RV(ignore:nqn), RV(ignore:targets), RV(ignore:kind), RV(ignore:problem), RV(ignore:remedy), and all of it as one
    sentence in RV(ignore:line).
  type: list
  elements: dict
  sample:
    - nqn: nqn.2016-06.io.spdk:cnode1
      targets: [t1, t2]
      kind: serial_number
      problem: "serial_number differs: A on t1, B on t2"
      remedy: "declare the same on every target: for a host it is one subsystem"
      line: >-
        t1 and t2: nqn.2016-06.io.spdk:cnode1: serial_number differs: A on t1, B on t2. Next step: declare the same on every target: for a host it is
        one subsystem
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._ha import HaError, declared_of, pair_problems, problem_lines
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import as_bool, plain


def target_pairs(hostvars: t.Mapping[str, t.Any], targets: t.Sequence[str], auto_cntlid: t.Any = False) -> list[dict[str, t.Any]]:
    """The problems of the declared state of ``targets``."""
    try:
        problems = pair_problems(plain(declared_of(hostvars, plain(list(targets)))), as_bool(plain(auto_cntlid)))
        return [{**problem, "line": line} for problem, line in zip(problems, problem_lines(problems))]
    except (HaError, ValueError) as exc:
        raise AnsibleFilterError(f"target_pairs: {exc}") from exc
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"target_pairs: the declared state does not have the expected form: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"target_pairs": target_pairs}
