#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Over 500 lines, because two thirds are documentation that ansible-doc wants in one place.

from __future__ import annotations

DOCUMENTATION = r"""
module: nvme_connection
short_description: Connect a host to NVMe-oF subsystems and disconnect it
version_added: 0.1.0
description:
  - Connects the paths of a subsystem through the kernel's C(/dev/nvme-fabrics) and disconnects them through sysfs. It needs no nvme-cli.
  - A path is the same when its NQN, transport, address, service and, where given, host address are. A path that is connecting exists.
  - Timeouts of an existing path are set live; other options that differ are reported in C(problems) and need a new connection.
    A path that exists without the security asked for is refused.
  - Keys are named by files of the host. What is in them goes to the kernel only, never to a command line, a result, a log or a diff.
  - With O(persistent_file) the paths are also written for the boot; the role P(nvmeof.spdk.nvme_initiator#role) has the unit that reads the file.
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
attributes:
  check_mode:
    support: full
    description: Nothing is connected, set or disconnected; a refusal because of a device in use is the same.
  diff_mode:
    support: full
    description: Shows the paths and timeouts that change, and the lines of O(persistent_file).
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
  hostid:
    description:
      - The host ID (a UUID) to connect with; without it, the one in C(/etc/nvme/hostid), or one made from another O(hostnqn) than the file's.
        The kernel lets no two host NQNs share one.
    type: str
  dhchap_secret_file:
    description:
      - A file of the host with its DH-HMAC-CHAP key (C(DHHC-1:...:), as C(nvme gen-dhchap-key) prints it), mode 0600.
        The target must ask for it; a path whose target does not is taken away again.
      - Needs a kernel built with NVME_HOST_AUTH (Debian 13's is, Debian 12's is not).
    type: path
  dhchap_ctrl_secret_file:
    description:
      - A file of the host with the target's key, so that the target has to prove itself too. Needs O(dhchap_secret_file).
    type: path
  tls:
    description:
      - Encrypt the path with TLS 1.3. Needs O(transport=tcp), a kernel built with NVME_TCP_TLS (Linux 6.7 and newer) and tlshd (package ktls-utils).
      - Without O(tls_psk_file) the kernel uses a key of its keyring C(.nvme) for this host and subsystem.
    type: bool
    default: false
  tls_psk_file:
    description:
      - A file of the host with the pre-shared key (C(NVMeTLSkey-1:...:), as C(nvme gen-tls-key) prints it), mode 0600. The key that TLS uses is derived
        from it and put into the kernel's keyring.
    type: path
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
      hostid:
        description: See O(hostid).
        type: str
      dhchap_secret_file:
        description: See O(dhchap_secret_file).
        type: path
      dhchap_ctrl_secret_file:
        description: See O(dhchap_ctrl_secret_file).
        type: path
      tls:
        description: See O(tls).
        type: bool
        default: false
      tls_psk_file:
        description: See O(tls_psk_file).
        type: path
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
  persistent_file:
    description:
      - A file for the boot that shall hold exactly the present paths of this call, one a line. It names key files and holds no key.
        It is written also when a path cannot be connected now.
    type: path
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

- name: Connect with keys on both sides, encrypted, and again at boot
  nvmeof.spdk.nvme_connection:
    connections:
      - nqn: nqn.2016-06.io.spdk:cnode1
        traddr: 192.0.2.10
        dhchap_secret_file: /etc/nvme/keys/host.key
        dhchap_ctrl_secret_file: /etc/nvme/keys/target.key
        tls: true
        tls_psk_file: /etc/nvme/keys/psk.key
    persistent_file: /etc/nvme/nvmeof-spdk.connections

- name: Connect by RDMA
  nvmeof.spdk.nvme_connection:
    nqn: nqn.2016-06.io.spdk:cnode1
    transport: rdma
    traddr: 192.0.2.10

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
    - C(authenticated) is V(none), V(host) (the host proves itself) or V(both); C(encrypted) is whether TLS is used.
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
      authenticated: both
      encrypted: true
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
import os
import re
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils import _nvme_fabrics
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_connect import LIVE, Connector
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_identify import Identify
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_sysfs import SysfsNvme, missing_namespaces, normal_uuid, problem, where
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Change, Changes


def argument_spec() -> dict[str, t.Any]:
    """The options; those of one path stand at the top and in the list alike."""
    one: dict[str, t.Any] = {
        "nqn": {"type": "str"},
        "transport": {"type": "str", "choices": ["tcp", "rdma"], "default": "tcp"},
        "traddr": {"type": "str"},
        "trsvcid": {"type": "str", "default": "4420"},
        "host_traddr": {"type": "str"},
        "hostnqn": {"type": "str"},
        "hostid": {"type": "str"},
        "dhchap_secret_file": {"type": "path"},
        "dhchap_ctrl_secret_file": {"type": "path"},
        "tls": {"type": "bool", "default": False},
        "tls_psk_file": {"type": "path"},
        "ctrl_loss_tmo": {"type": "int", "default": -1},
        "reconnect_delay": {"type": "int", "default": 10},
        "keep_alive_tmo": {"type": "int", "default": 5},
        "fast_io_fail_tmo": {"type": "int"},
        "nr_io_queues": {"type": "int"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "force": {"type": "bool", "default": False},
    }
    sub = {**one, "nqn": {"type": "str", "required": True}}
    return {
        **one,
        "connections": {"type": "list", "elements": "dict", "options": sub},
        "persistent_file": {"type": "path"},
        "wait_timeout": {"type": "int", "default": 30},
    }


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
    if path["hostid"] is not None and normal_uuid(path["hostid"]) is None:
        raise ValueError(f"hostid {path['hostid']!r} is not a UUID")
    for key in _nvme_fabrics.FILES:
        if path[key] is not None and not re.match(r"^/[!-+\--~]+$", path[key]):
            raise ValueError(f"{key} {path[key]!r} is not the full name of a file, without blank and comma")
    if path["dhchap_ctrl_secret_file"] and not path["dhchap_secret_file"]:
        raise ValueError("dhchap_ctrl_secret_file needs dhchap_secret_file: a target proves itself only to a host that does")
    if path["tls_psk_file"] and not path["tls"]:
        raise ValueError("tls_psk_file needs tls")
    if path["tls"] and path["transport"] != "tcp":
        raise ValueError(f"tls needs transport tcp, not {path['transport']}")
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
        return
    connector.check(path)
    if not found:
        if name not in [change.name for change in changes.items]:
            changes.add("connection", name, "connect", None, {"state": LIVE}, lambda: t.cast("None", connector.connect(path)))
    else:
        lacks = connector.insecure(path, found[0])
        if lacks:
            raise HopError(
                f"the path exists, but {' and '.join(lacks)}",
                obj=name,
                hop="path",
                call=f"read {connector.sysfs.controller_dir(found[0]['name'])}",
                remedy="disconnect it (state: absent) and connect it again",
            )
        live, _fixed = connector.drift(path, found[0])
        if live:
            before = {key: found[0][key] for key in live}
            changes.add("connection", name, "update", before, dict(live), lambda: connector.adjust(found[0]["name"], live))


def describe(path: dict[str, t.Any], connector: Connector, host: dict[str, t.Any]) -> dict[str, t.Any]:
    """One path as it is now, with what is wrong with it."""
    found = connector.find(path, host["controllers"])
    controller = found[0] if found else None
    entry: dict[str, t.Any] = {key: path[key] for key in ("nqn", "transport", "traddr", "trsvcid", "host_traddr")}
    entry.update(controller=None, state="absent", cntlid=None, namespaces=0, authenticated=None, encrypted=None, problems=[])
    if controller is None or path["state"] == "absent":
        if controller is not None:
            entry.update(controller=controller["name"], state=controller["state"])
        return entry
    entry.update(
        controller=controller["name"],
        state=controller["state"],
        cntlid=controller["cntlid"],
        **secured(connector.sysfs, controller["name"]),
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
    for text in connector.drift(path, controller)[1] + connector.other_keys(path, controller):
        remedy = "disconnect and connect the path again to change it"
        entry["problems"].append(problem(controller["name"], "path", f"{place}: {text}", remedy, "warning"))
    return entry


def secured(sysfs: SysfsNvme, controller: str) -> dict[str, t.Any]:
    """What protects a path, without any secret."""
    has = sysfs.security(controller)
    sides = "both" if has["dhchap_ctrl_secret"] else "host" if has["dhchap_secret"] else "none"
    return {"authenticated": sides, "encrypted": bool(has["tls_key"])}


def persist(file: str, paths: list[dict[str, t.Any]], module: AnsibleModule) -> Change | None:
    """The change that makes the file of the boot right, if it is not."""
    lines = [_nvme_fabrics.words({**path, "tls": path["tls"] or None}) for path in paths if path["state"] == "present"]
    text = "# Made by nvmeof.spdk.nvme_connection: one path a line, as the kernel takes it; keys by the names of their files.\n"
    text += "".join(line + "\n" for line in lines)
    before = None
    if os.path.exists(file):
        with open(file, encoding="utf-8") as handle:
            before = handle.read()
        if before == text and not os.stat(file).st_mode & 0o077:
            return None

    def write() -> None:
        try:
            os.makedirs(os.path.dirname(file), mode=0o755, exist_ok=True)
            handle, new = tempfile.mkstemp(dir=module.tmpdir)
            with open(handle, "w", encoding="utf-8") as out:
                out.write(text)
            module.atomic_move(new, file)
            os.chmod(file, 0o600)
        except OSError as exc:
            raise HopError(
                "the paths cannot be written for the boot",
                obj=file,
                hop="path",
                call=f"write {file}",
                cause=exc.strerror,
                remedy="run as root, and see that its directory can be written",
            ) from exc

    action = "create" if before is None else "update"
    return Change("file", file, action, None if before is None else {"content": before}, {"content": text}, write)


def main() -> None:
    """Check the options, plan, apply every path on its own, read back."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    if (params["nqn"] is None) == (params["connections"] is None):
        module.fail_json(msg="name one path by nqn and traddr, or many by connections, and not both")
    if params["wait_timeout"] < 1:
        module.fail_json(msg=f"wait_timeout {params['wait_timeout']} is less than a second")
    single = {key: value for key, value in params.items() if key not in ("connections", "persistent_file", "wait_timeout")}
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
    elif params["persistent_file"]:
        written = persist(params["persistent_file"], paths, module)
        if written is not None:
            changes.items.append(written)
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
        for change in changes.items:
            if change.kind == "file":
                try:
                    change.apply()
                    change.done = True
                except HopError as exc:
                    errors.append(exc)
        changes.items = [change for change in changes.items if change.done]

    host = sysfs.host()
    entries = []
    words = {"connect": "connected", "update": "updated", "disconnect": "disconnected"}
    for path, error in zip(paths, errors):
        entry = describe(path, connector, host)
        mine = [change for change in changes.items if change.kind == "connection" and change.name == label(path)]
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
