# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Wanted against found: one list of changes decides ``changed``, ``--check`` and ``--diff`` alike.

A state module reads what is there, adds a :class:`Change` for every difference, and calls :meth:`Changes.apply`.
In check mode nothing is called, and ``changed`` and the diff are those of the real run.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field


@dataclass
class Change:
    """One difference and the call that ends it.

    ``before`` and ``after`` hold only what this change touches (``None``: the object does not exist);
    ``apply`` performs it and reads back, or raises.
    """

    kind: str
    name: str
    action: str
    before: dict[str, t.Any] | None
    after: dict[str, t.Any] | None
    apply: t.Callable[[], None]
    done: bool = False

    def summary(self) -> dict[str, t.Any]:
        """The change for a module's ``changes`` return value."""
        return {"kind": self.kind, "name": self.name, "action": self.action, "before": self.before, "after": self.after}


@dataclass
class Changes:
    """The ordered changes of one module call."""

    items: list[Change] = field(default_factory=list)

    def add(
        self,
        kind: str,
        name: str,
        action: str,
        before: dict[str, t.Any] | None,
        after: dict[str, t.Any] | None,
        apply: t.Callable[[], None],
    ) -> Change:
        change = Change(kind, name, action, before, after, apply)
        self.items.append(change)
        return change

    @property
    def changed(self) -> bool:
        return bool(self.items)

    @property
    def applied(self) -> bool:
        """Whether any change was really made (also when a later one failed)."""
        return any(change.done for change in self.items)

    def of(self, kind: str, name: str) -> list[Change]:
        return [change for change in self.items if change.kind == kind and change.name == name]

    def apply(self, check_mode: bool) -> None:
        """Perform the changes in order, unless in check mode. The first error ends it and is passed on."""
        if check_mode:
            return
        for change in self.items:
            change.apply()
            change.done = True

    def summaries(self) -> list[dict[str, t.Any]]:
        return [change.summary() for change in self.items]

    def diff(self) -> list[dict[str, t.Any]]:
        """One Ansible diff entry per object, in the order of first appearance."""
        merged: dict[tuple[str, str], dict[str, t.Any]] = {}
        for change in self.items:
            entry = merged.setdefault((change.kind, change.name), {"before": {}, "after": {}})
            for side, part in (("before", change.before), ("after", change.after)):
                if part is None:
                    entry[side]["state"] = "absent"
                else:
                    for key, value in part.items():
                        # several changes of one list (listeners, hosts) show as one list
                        if isinstance(value, list) and isinstance(entry[side].get(key), list):
                            entry[side][key] = entry[side][key] + [item for item in value if item not in entry[side][key]]
                        else:
                            entry[side][key] = value
        return [
            {"before_header": f"{kind} {name}", "after_header": f"{kind} {name}", "before": sides["before"], "after": sides["after"]}
            for (kind, name), sides in merged.items()
        ]
