# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Ansible callback: when plays and tasks began and ended, and which module was called on which host, as JSON in ``$BENCH_EVENTS``."""

from __future__ import annotations

import json
import os
import time
import typing as t

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: bench_times
type: notification
short_description: times and calls of a run
version_added: 0.1.0
description: Writes them as JSON to the file that the environment names.
"""


class CallbackModule(CallbackBase):
    """Collects; writes once, at the end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "bench_times"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.plays: list[dict[str, t.Any]] = []
        self.tasks: dict[str, dict[str, t.Any]] = {}
        self.calls: list[dict[str, t.Any]] = []

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        """The play before it ends here."""
        self._end_play()
        self.plays.append({"play": play.get_name(), "began": time.monotonic()})

    def _end_play(self) -> None:
        if self.plays:
            self.plays[-1].setdefault("ended", time.monotonic())

    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        """Known by its own number: with the strategy free a task starts many times."""
        now = time.monotonic()
        self.tasks.setdefault(
            task._uuid, {"play": len(self.plays) - 1, "task": task.get_name(), "action": task.action, "began": now, "ended": now, "conditional": is_conditional}
        )

    def _note(self, result: t.Any, status: str, item: bool = False) -> None:
        now = time.monotonic()
        task = result._task
        if task._uuid in self.tasks:
            self.tasks[task._uuid]["ended"] = now
        if not item and "results" in result._result and task.loop is not None:
            return  # its items were noted
        self.calls.append(
            {
                "play": len(self.plays) - 1,
                "host": result._host.get_name(),
                "action": task.action,
                "status": status,
                "changed": bool(result._result.get("changed")),
                "at": now,
            }
        )

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """Done."""
        self._note(result, "ok")

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        """Refused."""
        self._note(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        """Lost."""
        self._note(result, "unreachable")

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        """Not called."""
        self._note(result, "skipped")

    def v2_runner_item_on_ok(self, result: t.Any) -> None:
        """One turn of a loop."""
        self._note(result, "ok", item=True)

    def v2_runner_item_on_failed(self, result: t.Any) -> None:
        """One turn of a loop."""
        self._note(result, "failed", item=True)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """The end."""
        self._end_play()
        summary = {host: stats.summarize(host) for host in sorted(stats.processed)}
        with open(os.environ["BENCH_EVENTS"], "w", encoding="utf-8") as file:
            json.dump({"plays": self.plays, "tasks": list(self.tasks.values()), "calls": self.calls, "stats": summary}, file)
