# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter growth_plan: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: growth_plan
short_description: plan the growth of volumes
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Resolves the handles, computes the steps from the first lagging hop on, and names everything that forbids them.
positional: size
options:
  _input:
    description: The volumes from P(nvmeof.spdk.volume_table#filter).
    type: list
    elements: dict
    required: true
  size:
    description: The wanted size, a whole number of MiB with a unit, such as V(800G).
    type: str
    required: true
  volume:
    description: Handles of the volumes to grow; none means the only volume there is.
    type: raw
    default: ''
  exact:
    description: Whether an image that is already larger is an error.
    type: bool
    default: false
  allow_degraded:
    description: Whether to go on without targets and paths that are down.
    type: bool
    default: false
  select:
    description: A JMESPath expression over the rows of the truth table that narrows the volumes.
    type: str
    default: ''
  on_blocked:
    description:
      - What a blocked volume means for the others.
      - V(stop), nothing may be touched. V(skip), the others go on, so RV(ignore:blocked) is true only if all are blocked, and RV(ignore:skipped) names
        those that are left out.
    type: str
    choices: [stop, skip]
    default: stop
  wishes:
    description: Volumes with a size each, from P(nvmeof.spdk.growth_wishes#filter). With any of them O(size), O(volume) and O(exact) have no meaning.
    type: list
    elements: dict
    default: []
  headroom:
    description:
      - What the pools' figures (MAX AVAIL, quota, full and nearly full) mean for the volumes that are to grow, all of a pool together.
      - V(auto), what they forbid blocks, and it is told where there are none. V(require), missing figures block, too. V(warn), they are told, and only a full
        pool blocks. V(off), they are not looked at.
    type: str
    choices: [auto, require, warn, 'off']
    default: auto
  overcommit_ratio:
    description:
      - How many times what a pool can hold (what it stores and C(MAX AVAIL)) all its images together may have. Empty for any.
      - It needs pools measured with O(nvmeof.spdk.spdk_target_info#module:provisioned) or O(nvmeof.spdk.rbd_image_info#module:provisioned).
    type: raw
    default: ''
  silent:
    description: Who did not answer, from P(nvmeof.spdk.measurement_errors#filter); told with the plan.
    type: list
    elements: str
    default: []
  lease_owner:
    description: Identifier of this run; leases of the same owner do not block.
    type: str
    default: ''
  lease_wait:
    description: Seconds that the growth waits for another run's lease on an image. A lease that lasts longer blocks.
    type: int
    default: 0
  grow_layers:
    description: Whether dm-multipath, LUKS and LVM layers on devices are grown, too; without it they block the growth unless they have all their bytes already.
    type: bool
    default: false
  grow_filesystem:
    description: Whether file systems in guests are grown, too.
    type: bool
    default: false
  canary:
    description:
      - How many volumes, or which, go through every hop before the others. Empty for one where more than one is to grow, V(0) for none.
    type: raw
    default: ''
  batch:
    description: The size of the batches of hosts, a number, a percentage or a list of them; only checked here, before anything is touched.
    type: raw
    default: ''
  max_failed_percent:
    description: The share of hosts that may fail; only checked here.
    type: raw
    default: 0
  guest_agent:
    description: Whether guests are asked; only checked here.
    type: str
    default: auto
    choices: [never, auto, require]
"""

EXAMPLES = r"""
- name: Plan
  ansible.builtin.set_fact:
    plan: "{{ volumes | nvmeof.spdk.growth_plan('800G', volume='pool-1/vol-1') }}"
"""

RETURN = r"""
_value:
  description:
    - The plan; RV(ignore:volumes), RV(ignore:lines), RV(ignore:blocked), RV(ignore:skipped), RV(ignore:needed), RV(ignore:pools), the work by host, and
      RV(ignore:stages), the same for the canary and for the rest.
    - Each of RV(ignore:volumes) has all its C(blockers) at once, with C(code), a word for the kind, C(hop), C(object), C(problem) and C(remedy); its C(notes)
      have the same for what should be known and blocks nothing, such as a bus whose guest must reboot (V(bus)) or a domain that is shut off (V(shut_off)).
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import CapacityError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth import GrowthError, audit, plan
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth_options import wrong
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import as_bool, as_list, plain
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._select import SelectError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._select import select as select_rows


def growth_plan(
    volumes: t.Sequence[dict[str, t.Any]],
    size: t.Any,
    volume: t.Any = "",
    exact: t.Any = False,
    allow_degraded: t.Any = False,
    select: str = "",
    silent: t.Sequence[str] = (),
    lease_owner: str = "",
    lease_wait: t.Any = 0,
    on_blocked: str = "stop",
    grow_layers: t.Any = False,
    grow_filesystem: t.Any = False,
    canary: t.Any = "",
    wishes: t.Sequence[dict[str, t.Any]] = (),
    headroom: str = "auto",
    overcommit_ratio: t.Any = "",
    batch: t.Any = "",
    max_failed_percent: t.Any = 0,
    guest_agent: str = "auto",
) -> dict[str, t.Any]:
    """The plan for growing what is meant to ``size``."""
    try:
        problems = wrong(plain(batch), plain(max_failed_percent), plain(guest_agent))
        if problems:
            raise GrowthError("nothing was touched: " + "; ".join(problems))
        known = plain(volumes)
        handles, listed, only = as_list(plain(volume)), plain(wishes), None
        if plain(select):
            rows = select_rows(audit([item for item in known if not item.get("orphan")]), plain(select))
            only = {row["volume"]: True for row in rows}
            if not only:
                raise SelectError(f"no volume matches {select!r}")
            handles = handles or list(only)
        return plan(
            known,
            plain(size),
            handles,
            as_bool(plain(exact)),
            as_bool(plain(allow_degraded)),
            plain(silent),
            on_blocked=plain(on_blocked) or "stop",
            lease_owner=plain(lease_owner),
            lease_wait=int(plain(lease_wait)),
            grow_layers=as_bool(plain(grow_layers)),
            grow_filesystem=as_bool(plain(grow_filesystem)),
            canary=plain(canary),
            wishes=listed,
            only=only,
            headroom=plain(headroom) or "auto",
            overcommit_ratio=plain(overcommit_ratio),
        )
    except (GrowthError, CapacityError, SelectError) as exc:
        raise AnsibleFilterError(str(exc)) from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"growth_plan": growth_plan}
