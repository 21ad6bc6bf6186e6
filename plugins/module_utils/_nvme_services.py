# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Discovery services that a task names: their options checked, the paths that they stand for."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils import _nvme_discovery
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_connect import Connector
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_path_wish import check
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_sysfs import SysfsNvme


def as_path(service: dict[str, t.Any], nqn: str = _nvme_discovery.NQN, **place: str) -> dict[str, t.Any]:
    """The wish for a path that a service stands for; without more, the wish for the service itself."""
    return {**{key: value for key, value in service.items() if key != "nqns"}, "nqn": nqn, "controller": None, "state": "present", "force": False, **place}


def check_service(service: dict[str, t.Any], sysfs: SysfsNvme) -> None:
    """Refuse options that make no sense."""
    path = as_path(service)
    check(path, sysfs)
    service["trsvcid"] = path["trsvcid"]
    for pattern in service["nqns"]:
        # they stand in one line of words, joined by bars
        if not re.match(r"^[!-+\--{}~]+$", pattern):
            raise ValueError(f"nqns: {pattern!r} is no pattern of an NQN: it has no blank, comma or bar")
    if not service["nqns"]:
        raise ValueError(f"nqns of the discovery service at {service['traddr']} is empty; leave it out to mean all subsystems")


def _same(one: dict[str, t.Any], other: dict[str, t.Any], sysfs: SysfsNvme) -> bool:
    """Whether a path of the task, or all of a subsystem's, is the same as a path that was found."""
    if one["nqn"] != other["nqn"]:
        return False
    if one["traddr"] is None:
        return True
    return one["transport"] == other["transport"] and one["trsvcid"] == other["trsvcid"] and sysfs.same_address(one["traddr"], other["traddr"])


def resolve(
    service: dict[str, t.Any], declared: t.Sequence[dict[str, t.Any]], connector: Connector
) -> tuple[list[dict[str, t.Any]], dict[str, t.Any], list[HopError]]:
    """The paths of a service that the task does not name itself (what it says goes before), the entry of the result, and the errors."""
    found, errors = connector.discover(service)
    wanted = _nvme_discovery.chosen(found, service["nqns"])
    place = f"{service['transport']} {service['traddr']}:{service['trsvcid']}"
    if not wanted and not errors:
        named = sorted({path["nqn"] for path in found})
        errors = [
            HopError(
                f"the discovery service names no subsystem that matches {', '.join(service['nqns'])}",
                obj=f"discovery at {place}",
                hop="path",
                call="Get Log Page 0x70",
                cause=f"it names {', '.join(named) or 'none'}",
                remedy="check nqns, and that the target allows this host and has listeners for this transport",
            )
        ]
    entry = {
        **{key: service[key] for key in ("transport", "traddr", "trsvcid", "nqns")},
        "found": [{**path, "chosen": path in wanted} for path in found],
        "error": errors[0].as_dict() if errors else None,
    }
    paths = [as_path(service, **path) for path in wanted]
    return [path for path in paths if not any(_same(one, path, connector.sysfs) for one in declared)], entry, errors
