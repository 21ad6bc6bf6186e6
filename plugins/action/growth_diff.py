# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a growth as a difference: only an action can return one without asking a host."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._growth_diff import diffs_of
from ansible_collections.nvmeof.spdk.plugins.plugin_utils._plain import plain


class ActionModule(ActionBase):
    """Returns the differences; touches nothing."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """The differences of the plan as ``diff``; ``changed`` says whether there are any."""
        result = super().run(tmp, task_vars)
        _checked, arguments = self.validate_argument_spec(argument_spec={"plan": {"type": "dict", "required": True}})
        try:
            diffs = diffs_of(plain(arguments["plan"]))
        except (KeyError, TypeError) as error:
            return {**result, "failed": True, "msg": f"growth_diff: not a plan of nvmeof.spdk.growth_plan: {type(error).__name__} {error}"}
        return {**result, "changed": bool(diffs), "diff": diffs}
