# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter report_html: a thin door to plugin_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: report_html
short_description: render an audit as one page of HTML
version_added: 0.1.0
author: nvmeof.spdk contributors (@nvmeof-spdk)
description:
  - Renders the truth table with search, filters, sorting and a drawing of every volume's path, and the findings, as one page that loads nothing.
  - Every value is escaped; the page forbids itself every script but its own.
positional: style, script
options:
  _input:
    description: The audit from P(nvmeof.spdk.audit_report#filter).
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
"""

EXAMPLES = r"""
- name: The page
  ansible.builtin.copy:
    content: >-
      {{ audit | nvmeof.spdk.report_html(lookup('ansible.builtin.file', 'report.css'), lookup('ansible.builtin.file', 'report.js'),
                                         about={'when': '2026-01-31'}) }}
    dest: audit.html
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
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._report_html import page


def report_html(report: t.Mapping[str, t.Any], style: str, script: str, about: t.Mapping[str, t.Any] | None = None) -> str:
    """The audit as a page."""
    try:
        return page(plain(report), plain(style), plain(script), plain(about))
    except ValueError as exc:
        raise AnsibleFilterError(f"report_html: {exc}") from exc
    except (AttributeError, KeyError, TypeError) as exc:
        raise AnsibleFilterError(f"report_html: not an audit of audit_report: {type(exc).__name__} {exc}") from exc


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"report_html": report_html}
