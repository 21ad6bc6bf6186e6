#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nvme_connection
short_description: Connect a host to NVMe-oF subsystems and disconnect it
version_added: 0.1.0
description:
  - Connects the paths of a subsystem through the kernel's C(/dev/nvme-fabrics) and disconnects them through sysfs. It needs no nvme-cli.
  - A path is the same when its NQN, transport, address, service and, where given, host address are. A path that is connecting exists.
  - Timeouts of an existing path are set live; other options that differ are reported in C(problems) and need a new connection.
  - Connections do not survive a boot by this module; the role P(nvmeof.spdk.nvme_initiator#role) makes them persistent.
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
attributes:
  check_mode:
    support: full
    description: Nothing is connected, set or disconnected; a refusal because of a device in use is the same.
  diff_mode:
    support: full
    description: Shows the paths and timeouts that change.
  idempotent:
    support: full
    description: A path that exists with these timeouts is left alone.
  platform:
    support: full
    platforms: linux
    description: Linux 5.4 and newer; needs root.
options:
  nqn:
    description:
      - The subsystem's NQN. Needed, here or in each of O(connections).
    type: str
  transport:
    description:
      - The transport.
    type: str
    choices: [tcp, rdma]
    default: tcp
  traddr:
    description:
      - The target's IP address. With O(state=absent) and without it, all paths of O(nqn) are meant.
    type: str
  trsvcid:
    description:
      - The target's port.
    type: str
    default: "4420"
  host_traddr:
    description:
      - This host's IP address to connect from.
    type: str
  hostnqn:
    description:
      - The NQN to connect as; without it, the one in C(/etc/nvme/hostnqn).
    type: str
  ctrl_loss_tmo:
    description:
      - Seconds after which the kernel gives a lost path up for good and removes its devices. V(-1) is never.
    type: int
    default: -1
  reconnect_delay:
    description:
      - Seconds between attempts to reconnect.
    type: int
    default: 10
  keep_alive_tmo:
    description:
      - Seconds after which a silent target counts as lost.
    type: int
    default: 5
  fast_io_fail_tmo:
    description:
      - Seconds after which I/O fails on a lost path while the kernel still reconnects. V(-1) is never.
    type: int
  nr_io_queues:
    description:
      - The largest number of I/O queues.
    type: int
  state:
    description:
      - V(present) connects, V(absent) disconnects.
    type: str
    choices: [present, absent]
    default: present
  force:
    description:
      - Disconnect even the last live path of a device that is mounted, held by another device or open in a process such as QEMU. Its I/O fails then.
    type: bool
    default: false
  connections:
    description:
      - Many paths in one call.
    type: list
    elements: dict
    suboptions:
      nqn:
        description: See O(nqn).
        type: str
        required: true
      transport:
        description: See O(transport).
        type: str
        choices: [tcp, rdma]
        default: tcp
      traddr:
        description: See O(traddr).
        type: str
      trsvcid:
        description: See O(trsvcid).
        type: str
        default: "4420"
      host_traddr:
        description: See O(host_traddr).
        type: str
      hostnqn:
        description: See O(hostnqn).
        type: str
      ctrl_loss_tmo:
        description: See O(ctrl_loss_tmo).
        type: int
        default: -1
      reconnect_delay:
        description: See O(reconnect_delay).
        type: int
        default: 10
      keep_alive_tmo:
        description: See O(keep_alive_tmo).
        type: int
        default: 5
      fast_io_fail_tmo:
        description: See O(fast_io_fail_tmo).
        type: int
      nr_io_queues:
        description: See O(nr_io_queues).
        type: int
      state:
        description: See O(state).
        type: str
        choices: [present, absent]
        default: present
      force:
        description: See O(force).
        type: bool
        default: false
  wait_timeout:
    description:
      - Seconds to wait until a new controller is live, or a deleted one gone. The kernel's own connect call, 3 s and more for a dead
        address, comes before it and cannot be cut short.
    type: int
    default: 30
seealso:
  - module: nvmeof.spdk.nvme_info
  - module: nvmeof.spdk.nvmf_subsystem
"""

EXAMPLES = r"""
- name: Connect both paths of a subsystem
  nvmeof.spdk.nvme_connection:
    connections:
      - nqn: nqn.2016-06.io.spdk:cnode1
        traddr: 192.0.2.10
      - nqn: nqn.2016-06.io.spdk:cnode1
        traddr: 192.0.2.11

- name: Disconnect one path
  nvmeof.spdk.nvme_connection:
    nqn: nqn.2016-06.io.spdk:cnode1
    traddr: 192.0.2.11
    state: absent

- name: Disconnect a whole subsystem
  nvmeof.spdk.nvme_connection:
    nqn: nqn.2016-06.io.spdk:cnode1
    state: absent
"""

RETURN = r"""
connections:
  description:
    - One entry for each path asked for, in that order; C(controller) is V(null) where there is none (with O(state=absent) also where none was).
    - C(state) is the controller's, or V(absent); C(namespaces) counts the namespaces that have a path through it.
  returned: always
  type: list
  elements: dict
  sample:
    - nqn: nqn.2016-06.io.spdk:cnode1
      transport: tcp
      traddr: 192.0.2.10
      trsvcid: "4420"
      host_traddr: null
      controller: nvme0
      state: live
      cntlid: 1
      namespaces: 2
      action: connected
      changed: true
      problems: []
      error: null
changes:
  description: What was, or in check mode would be, changed.
  returned: always
  type: list
  elements: dict
  sample:
    - kind: connection
      name: nqn.2016-06.io.spdk:cnode1 tcp 192.0.2.10:4420
      action: connect
      before: null
      after:
        state: live
error:
  description: The first failed connection's error.
  returned: when a connection failed
  type: dict
  sample:
    object: nqn.2016-06.io.spdk:cnode1 at tcp 192.0.2.10:4499
    hop: path
    call: write /dev/nvme-fabrics
    cause: Connection refused (errno 111)
    remedy: check traddr and trsvcid, and the subsystem's listeners on the target
    message: "cannot connect: nothing listens there"
"""

import ipaddress
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_connect import LIVE, Connector
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_identify import Identify
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_sysfs import SysfsNvme, missing_namespaces, problem, where
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Changes


def argument_spec() -> dict[str, t.Any]:
    """The options; those of one path stand at the top and in the list alike."""
    one: dict[str, t.Any] = {
        "nqn": {"type": "str"},
        "transport": {"type": "str", "choices": ["tcp", "rdma"], "default": "tcp"},
        "traddr": {"type": "str"},
        "trsvcid": {"type": "str", "default": "4420"},
        "host_traddr": {"type": "str"},
        "hostnqn": {"type": "str"},
        "ctrl_loss_tmo": {"type": "int", "default": -1},
        "reconnect_delay": {"type": "int", "default": 10},
        "keep_alive_tmo": {"type": "int", "default": 5},
        "fast_io_fail_tmo": {"type": "int"},
        "nr_io_queues": {"type": "int"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "force": {"type": "bool", "default": False},
    }
    sub = {**one, "nqn": {"type": "str", "required": True}}
    return {**one, "connections": {"type": "list", "elements": "dict", "options": sub}, "wait_timeout": {"type": "int", "default": 30}}


def label(path: dict[str, t.Any]) -> str:
    """A path for reading."""
    return f"{path['nqn']} {path['transport']} {path['traddr']}:{path['trsvcid']}" if path["traddr"] else f"{path['nqn']} (all paths)"


def check(path: dict[str, t.Any], sysfs: SysfsNvme) -> None:
    """Refuse options that make no sense; they would go into one comma-separated line for the kernel."""
    nqn = path["nqn"]
    if re.match(r"^(/dev/)?nvme[0-9]+(c[0-9]+)?(n[0-9]+)?(p[0-9]+)?$", nqn):
        device = nqn.rpartition("/")[2]
        owner = [item["nqn"] for item in sysfs.namespaces() if device in item["devices"]]
        owner += [item["nqn"] for item in sysfs.controllers() if item["name"] == device]
        raise ValueError(
            f"nqn {nqn!r} is a device, and a namespace cannot be connected or disconnected alone: name the NQN of its subsystem"
            + (f", {owner[0]}," if owner else "")
            + " and, for one controller only, that controller's traddr and trsvcid"
        )
    for key in ("nqn", "hostnqn"):
        value = path[key]
        if value is not None and (not re.match(r"^nqn\.[!-+\--~]+$", value) or len(value) > 223):
            raise ValueError(f"{key} {value!r} is not an NQN: it starts with 'nqn.', has no blank or comma, and at most 223 characters")
    for key in ("traddr", "host_traddr"):
        value = path[key]
        if value is not None:
            address, sep, scope = value.partition("%")
            try:
                ipaddress.ip_address(address)
            except ValueError:
                raise ValueError(f"{key} {value!r} is not an IP address; the kernel resolves no names") from None
            if sep and not re.match(r"^[A-Za-z0-9_.-]+$", scope):
                raise ValueError(f"{key} {value!r} has a scope that is no interface name")
    if not re.match(r"^[0-9]{1,5}$", path["trsvcid"]) or not 0 < int(path["trsvcid"]) < 65536:
        raise ValueError(f"trsvcid {path['trsvcid']!r} is not a port number from 1 to 65535")
    path["trsvcid"] = str(int(path["trsvcid"]))
    if path["state"] == "present" and path["traddr"] is None:
        raise ValueError(f"traddr is missing for {nqn}; only state=absent can mean all paths")
    for key, least in (("ctrl_loss_tmo", -1), ("fast_io_fail_tmo", -1), ("reconnect_delay", 1), ("keep_alive_tmo", 1), ("nr_io_queues", 1)):
        if path[key] is not None and not least <= path[key] <= 2**31 - 1:
            raise ValueError(f"{key} {path[key]} is out of range; the least is {least}")
    loss, fail = path["ctrl_loss_tmo"], path["fast_io_fail_tmo"]
    if loss >= 0 and fail is not None and fail > loss:
        raise ValueError(f"fast_io_fail_tmo {fail} is later than ctrl_loss_tmo {loss}")


def plan(path: dict[str, t.Any], connector: Connector, controllers: list[dict[str, t.Any]], changes: Changes, doomed: set[str]) -> None:
    """Add the changes of one path; ``doomed`` collects the controllers that this call takes away."""
    found = connector.find(path, controllers)
    name = label(path)
    if path["state"] == "absent":
        found = [item for item in found if item["name"] not in doomed]
        doomed.update(item["name"] for item in found)
        if found and not path["force"]:
            connector.check_unused(set(doomed), name)
        for item in found:
            before = {"controller": item["name"], "state": item["state"]}
            changes.add("connection", name, "disconnect", before, None, lambda victim=item["name"]: connector.disconnect(victim))
    elif not found:
        connector.identity(path)
        if name not in [change.name for change in changes.items]:
            changes.add("connection", name, "connect", None, {"state": LIVE}, lambda: t.cast("None", connector.connect(path)))
    else:
        live, _fixed = connector.drift(path, found[0])
        if live:
            before = {key: found[0][key] for key in live}
            changes.add("connection", name, "update", before, dict(live), lambda: connector.adjust(found[0]["name"], live))


def describe(path: dict[str, t.Any], connector: Connector, host: dict[str, t.Any]) -> dict[str, t.Any]:
    """One path as it is now, with what is wrong with it."""
    found = connector.find(path, host["controllers"])
    controller = found[0] if found else None
    entry: dict[str, t.Any] = {key: path[key] for key in ("nqn", "transport", "traddr", "trsvcid", "host_traddr")}
    entry.update(controller=None, state="absent", cntlid=None, namespaces=0, problems=[])
    if controller is None or path["state"] == "absent":
        if controller is not None:
            entry.update(controller=controller["name"], state=controller["state"])
        return entry
    entry.update(
        controller=controller["name"],
        state=controller["state"],
        cntlid=controller["cntlid"],
        namespaces=sum(controller["name"] in [item["controller"] for item in namespace["paths"]] for namespace in host["namespaces"]),
    )
    place = where(controller)
    if controller["state"] != LIVE:
        entry["problems"].append(
            problem(
                controller["name"],
                "path",
                f"{place} is {controller['state']}, not live",
                "check that target and its listener; the kernel reconnects by itself",
                "warning",
            )
        )
    absent = {one["nsid"] for item, lacking in missing_namespaces(host) if item["name"] == controller["name"] for one in lacking}
    if controller["state"] == LIVE:
        absent.update(connector.dropped(controller["name"]))
    if absent:
        text = f"{place} is live but has no path of nsid {', '.join(str(nsid) for nsid in sorted(absent))}, which it serves or other controllers have"
        remedy = (
            "give the namespace the same nsid, uuid and nguid on every target, and no uuid twice in different subsystems "
            "(the kernel drops such a path, with a line in dmesg only)"
        )
        entry["problems"].append(problem(controller["name"], "namespace", text, remedy, "critical"))
    for text in connector.drift(path, controller)[1]:
        remedy = "disconnect and connect the path again to change it"
        entry["problems"].append(problem(controller["name"], "path", f"{place}: {text}", remedy, "warning"))
    return entry


def main() -> None:
    """Check the options, plan, apply every path on its own, read back."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    if (params["nqn"] is None) == (params["connections"] is None):
        module.fail_json(msg="name one path by nqn and traddr, or many by connections, and not both")
    if params["wait_timeout"] < 1:
        module.fail_json(msg=f"wait_timeout {params['wait_timeout']} is less than a second")
    single = {key: value for key, value in params.items() if key not in ("connections", "wait_timeout")}
    paths = [single] if params["connections"] is None else params["connections"]

    sysfs = SysfsNvme()
    connector = Connector(sysfs, Identify(), wait_timeout=params["wait_timeout"])
    try:
        for path in paths:
            check(path, sysfs)
    except ValueError as exc:
        module.fail_json(msg=str(exc))

    controllers = sysfs.controllers()
    changes = Changes()
    plans: list[tuple[int, int]] = []
    doomed: set[str] = set()
    errors: list[HopError | None] = []
    for path in paths:
        start = len(changes.items)
        try:
            plan(path, connector, controllers, changes, doomed)
            errors.append(None)
        except HopError as exc:
            errors.append(exc)
        plans.append((start, len(changes.items)))
    if any(errors):
        # nothing is touched when one wish is refused
        changes = Changes()
        plans = [(0, 0)] * len(paths)
    if not module.check_mode:
        for index, (start, end) in enumerate(plans):
            for change in changes.items[start:end]:
                try:
                    change.apply()
                    change.done = True
                except HopError as exc:
                    errors[index] = exc
                    # a controller that was made but does not become live is a change all the same
                    change.done = change.action == "connect" and bool(connector.find(paths[index]))
                    break
        changes.items = [change for change in changes.items if change.done]

    host = sysfs.host()
    entries = []
    words = {"connect": "connected", "update": "updated", "disconnect": "disconnected"}
    for path, error in zip(paths, errors):
        entry = describe(path, connector, host)
        mine = [change for change in changes.items if change.name == label(path)]
        entry.update(action=words[mine[0].action] if mine else "none", changed=bool(mine), error=error.as_dict() if error else None)
        entries.append(entry)
    result: dict[str, t.Any] = {"changed": changes.changed, "connections": entries, "changes": changes.summaries(), "diff": changes.diff()}
    failed = [error for error in errors if error is not None]
    if failed:
        result["error"] = failed[0].as_dict()
        module.fail_json(msg="; ".join(str(error) for error in failed), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
