#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: growth_diff
short_description: Show the plan of a growth as a difference
version_added: 0.1.0
description:
  - Returns, for every volume that a plan lets grow, the bytes of each hop before and after, so that C(--diff) shows them.
  - It runs on the controller, asks no host and changes nothing. It reports a change where the plan has one, so it belongs into check mode only.
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
attributes:
  check_mode:
    support: full
    description: Runs the same in check mode; it never changes anything.
  diff_mode:
    support: full
    description: The difference is all that it is for.
  idempotent:
    support: full
    description: It never changes anything.
  platform:
    support: full
    platforms: linux
    description: Runs on the controller.
options:
  plan:
    description: The plan from P(nvmeof.spdk.growth_plan#filter).
    type: dict
    required: true
seealso:
  - plugin: nvmeof.spdk.growth_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what would grow
  when: ansible_check_mode and ansible_diff_mode
  run_once: true
  nvmeof.spdk.growth_diff:
    plan: "{{ plan }}"
"""

RETURN = r"""
diff:
  description: One difference for each volume.
  returned: always
  type: list
  elements: dict
  sample:
    - before_header: rbd/vm1 (now)
      after_header: rbd/vm1 (wanted 800 GiB)
      before: "image     t1:rbd/vm1: 536870912000 bytes (500 GiB)\n"
      after: "image     t1:rbd/vm1: 858993459200 bytes (800 GiB)\n"
"""
