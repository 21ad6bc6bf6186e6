# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter audit_report: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: audit_report
short_description: judge everything the hosts measured
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Takes C(hostvars) with the results that the role P(nvmeof.spdk.volume_growth#role) registered on every host, and returns the truth table of all
    volumes, what is wrong or risky besides, and the way from any name of a volume to its image and its users.
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
  select:
    description:
      - A JMESPath expression over the rows of the truth table. With it only these volumes are returned, and the findings that are about them or touch them by
        their subsystem or a host; RV(ignore:findings_elsewhere) counts the others.
    type: str
    default: ''
  find:
    description:
      - Names of volumes from any end, a list or text with commas. V(pool/image), a bdev, a UUID, V(NQN#nsid), V(SERIAL#nsid), a device, a layer on one, a
        domain or V(domain:disk); from the bdev on also with V(host:) in front.
      - With it only these volumes and the findings that are about them or touch them are returned, and RV(ignore:paths) has the whole path of each.
    type: raw
    default: ''
  playing:
    description:
      - The hosts that take part in the play, C(ansible_play_hosts_all). A host that is not among them was left out by C(--limit), which is an error where it
        has, or may have, a part of the volumes that are returned. All of them when not given.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Which image is behind vdb of vm4
  ansible.builtin.debug:
    msg: "{{ (hostvars | nvmeof.spdk.audit_report(asked, find='vm4:vdb')).paths }}"
"""

RETURN = r"""
_value:
  description:
    - RV(ignore:volumes) (rows of the truth table), RV(ignore:findings) (each with C(severity), C(kind), C(hop), C(host), C(object), C(volume), C(text)
      and C(remedy); C(volumes) has all rows that it is about or touches), RV(ignore:findings_elsewhere) (how many others there are, by severity),
      RV(ignore:paths) and RV(ignore:lines) (text), RV(ignore:summary) (counts and the first critical texts) and
      RV(ignore:not_heard) (text).
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._audit import AuditError, report
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._lookup import LookupFailure
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._select import SelectError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._volumes import declared_of, measurements_of


def audit_report(
    hostvars: t.Mapping[str, t.Any],
    asked: t.Mapping[str, t.Sequence[str]],
    select: str = "",
    find: t.Any = "",
    playing: t.Sequence[str] | None = None,
) -> dict[str, t.Any]:
    """The audit of the inventory."""
    try:
        measured = plain(measurements_of(hostvars, {kind: plain(list(names)) for kind, names in asked.items()}, playing=plain(playing)))
        return report(measured, plain(declared_of(hostvars, measured)), plain(select), plain(find))
    except (AuditError, LookupFailure, SelectError) as exc:
        raise AnsibleFilterError(str(exc)) from exc
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"audit_report: the measurements do not have the expected form: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"audit_report": audit_report}
