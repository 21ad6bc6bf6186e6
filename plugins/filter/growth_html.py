# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter growth_html: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: growth_html
short_description: render what became of a growth as one page of HTML
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Renders the truth table with what each hop had before and how long its calls took, and the hosts that failed or were lost, as one page that loads nothing.
  - Every value is escaped; the page forbids itself every script but its own.
positional: evidence, style, script
options:
  _input:
    description: The outcome from P(nvmeof.spdk.growth_outcome#filter), made with O(evidence).
    type: dict
    required: true
  evidence:
    description: What hosts did, from P(nvmeof.spdk.growth_evidence#filter).
    type: dict
    required: true
  style:
    description: The style sheet, as the role's file C(report.css) has it.
    type: str
    required: true
  script:
    description: The script, as the role's file C(report.js) has it.
    type: str
    required: true
  about:
    description: What the head of the page says, word to text.
    type: dict
    default: {}
  notes:
    description: Why the growth was stopped, where it was.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: The page
  ansible.builtin.copy:
    content: >-
      {{ outcome | nvmeof.spdk.growth_html(evidence, lookup('ansible.builtin.file', 'report.css'), lookup('ansible.builtin.file', 'report.js'),
                                           about={'run': run_id}) }}
    dest: growth.html
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The page.
  type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._report_growth import growth_page


def growth_html(
    outcome: t.Mapping[str, t.Any],
    evidence: t.Mapping[str, t.Any],
    style: str,
    script: str,
    about: t.Mapping[str, t.Any] | None = None,
    notes: t.Sequence[str] = (),
) -> str:
    """The growth as a page."""
    try:
        return growth_page(plain(outcome), plain(evidence), plain(style), plain(script), plain(about), plain(notes))
    except ValueError as exc:
        raise AnsibleFilterError(f"growth_html: {exc}") from exc
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"growth_html: not an outcome of growth_outcome: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"growth_html": growth_html}
