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
  - Timeouts of an existing path (O(ctrl_loss_tmo), O(reconnect_delay), O(fast_io_fail_tmo)) are set live. Other options that differ are warned of, are
    in C(differs) and C(problems), and need a new connection. A path that exists without the security asked for is refused.
  - Keys are named by files of the host. What is in them goes to the kernel only, never to a command line, a result, a log or a diff.
  - With O(persistent_file) the paths are also written for the boot; the role P(nvmeof.spdk.nvme_initiator#role) has the unit that reads the file.
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
attributes:
  check_mode:
    support: full
    description: Nothing is connected, set or disconnected, but for O(discover); a refusal because of a device in use is the same.
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
      - The subsystem's NQN. Needed, here or in each of O(connections), unless O(controller) is there.
    type: str
  controller:
    description:
      - With O(state=absent), the controller to disconnect, such as V(nvme3), instead of O(nqn) and O(traddr). One that is not there is absent already.
      - A namespace's device, such as V(nvme3n1), is refused. With multipath its number is its subsystem's, and other controllers serve it.
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
      - Disconnect even the last live path of a device that is mounted, held by another device, swapped to or open in a process such as the QEMU of a
        domain. Its I/O fails then. A path beside another live one needs no force.
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
      controller:
        description: See O(controller).
        type: str
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
  discover:
    description:
      - Discovery services whose subsystems are connected. Each is connected to for as long as its log page is read, also in check mode; services that it
        refers to are asked, too.
      - The options are those of the paths to make; only those of the address are also the service's, which is asked without keys and without TLS.
      - What O(connections) says of a path, also that it is absent, goes before. A path that no service names any more is left alone.
    type: list
    elements: dict
    suboptions:
      transport:
        description: See O(transport).
        type: str
        choices: [tcp, rdma]
        default: tcp
      traddr:
        description: The service's IP address.
        type: str
        required: true
      trsvcid:
        description: The service's port. Targets often answer discovery on the ports of their subsystems, such as 4420, too.
        type: str
        default: "8009"
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
      nqns:
        description: The NQNs of the subsystems to connect, as patterns with C(*), C(?) and C([...]). A service that names none of them is an error.
        type: list
        elements: str
        default: ["*"]
  nvme_cli_files:
    description:
      - Also write the services of O(discover) for nvme-cli, which connects all that they name; up to release 2 (and where it is not installed) as lines of
        C(/etc/nvme/discovery.conf), from release 3 on as C(/etc/nvme/nvme-fabrics.conf.d/nvmeof-spdk.conf). Other lines of the former stay.
    type: bool
    default: false
  persistent_file:
    description:
      - A file for the boot that shall hold exactly the present paths and the discovery services of this call, one a line. It names key files and holds no key.
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

- name: Connect all subsystems of a family that two targets name
  nvmeof.spdk.nvme_connection:
    discover:
      - traddr: 192.0.2.10
        nqns: ["nqn.2016-06.io.spdk:*"]
      - traddr: 192.0.2.11
        nqns: ["nqn.2016-06.io.spdk:*"]
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

- name: Disconnect one controller
  nvmeof.spdk.nvme_connection:
    controller: nvme3
    state: absent

- name: Disconnect a whole subsystem
  nvmeof.spdk.nvme_connection:
    nqn: nqn.2016-06.io.spdk:cnode1
    state: absent
"""

RETURN = r"""
connections:
  description:
    - One entry for each path asked for, in that order, then for those that were discovered.
    - C(controller) is V(null) where there is none (with O(state=absent) also where none was).
    - C(state) is the controller's, or V(absent); C(namespaces) counts the namespaces that have a path through it.
    - C(differs) are options that an existing path has otherwise and that cannot be changed live.
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
      differs: []
      problems: []
      error: null
discovered:
  description: The services of O(discover); C(found) is what they name, C(chosen) whether it matches.
  returned: always
  type: list
  elements: dict
  sample:
    - transport: tcp
      traddr: 192.0.2.10
      trsvcid: "8009"
      nqns: ["*"]
      found:
        - nqn: nqn.2016-06.io.spdk:cnode1
          traddr: 192.0.2.10
          trsvcid: "4420"
          chosen: true
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

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils import _nvme_cli_files, _nvme_fabrics, _nvme_files
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_connect import Connector
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_identify import Identify
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_path_wish import check
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_paths import Plan
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_services import check_service, resolve
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_sysfs import SysfsNvme
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Change


def argument_spec() -> dict[str, t.Any]:
    """The options; those of one path stand at the top and in the list alike."""
    one: dict[str, t.Any] = {
        "nqn": {"type": "str"},
        "controller": {"type": "str"},
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
    service: dict[str, t.Any] = {key: value for key, value in one.items() if key not in ("nqn", "controller", "state", "force")}
    service.update(
        traddr={"type": "str", "required": True}, trsvcid={"type": "str", "default": "8009"}, nqns={"type": "list", "elements": "str", "default": ["*"]}
    )
    return {
        **one,
        "connections": {"type": "list", "elements": "dict", "options": one},
        "discover": {"type": "list", "elements": "dict", "options": service},
        "nvme_cli_files": {"type": "bool", "default": False},
        "persistent_file": {"type": "path"},
        "wait_timeout": {"type": "int", "default": 30},
    }


def persist(file: str, paths: list[dict[str, t.Any]], services: list[dict[str, t.Any]]) -> list[Change]:
    """The change that makes the file of the boot right, if it is not. A service stands there itself: what it names can be different then."""
    wanted = [path for path in paths if path["state"] == "present"] + services
    text = "# Made by nvmeof.spdk.nvme_connection: one path a line, as the kernel takes it; keys by the names of their files.\n"
    text += "".join(_nvme_fabrics.words({**path, "tls": path["tls"] or None}) + "\n" for path in wanted)
    change = _nvme_files.change(file, text, 0o600)
    return [] if change is None else [change]


def wishes(module: AnsibleModule, sysfs: SysfsNvme) -> tuple[list[dict[str, t.Any]], list[dict[str, t.Any]]]:
    """The paths and the discovery services that are asked for, checked."""
    params = module.params
    services = params["discover"] or []
    named = sum(params[key] is not None for key in ("nqn", "controller", "connections"))
    if named > 1 or not named and params["discover"] is None:
        module.fail_json(msg="name one path by nqn and traddr (or controller), or many by connections, and not both")
    if params["wait_timeout"] < 1:
        module.fail_json(msg=f"wait_timeout {params['wait_timeout']} is less than a second")
    paths = params["connections"] or []
    if named and params["connections"] is None:
        paths = [{key: value for key, value in params.items() if key not in ("connections", "discover", "nvme_cli_files", "persistent_file", "wait_timeout")}]
    try:
        for path in paths:
            check(path, sysfs)
        for service in services:
            check_service(service, sysfs)
        if params["nvme_cli_files"]:
            _nvme_cli_files.check(services)
    except ValueError as exc:
        module.fail_json(msg=str(exc))
    return paths, services


def main() -> None:
    """Check the options, ask the discovery services, plan, apply every path on its own, read back."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    sysfs = SysfsNvme()
    declared, services = wishes(module, sysfs)
    connector = Connector(sysfs, Identify(), wait_timeout=params["wait_timeout"])

    paths = list(declared)
    discovered: list[dict[str, t.Any]] = []
    # of a service that does not answer: the others go on
    failed: list[HopError] = []
    if services and module.check_mode and not os.path.exists(connector.fabrics):
        module.warn("check mode loads no kernel module, and without nvme-fabrics no discovery service can be asked: what they name is not in this preview")
    else:
        for service in services:
            found, entry, errors_of_it = resolve(service, paths, connector)
            paths += found
            discovered.append(entry)
            failed += errors_of_it

    work = Plan(paths, connector)
    if not work.refused:
        try:
            if params["persistent_file"]:
                work.changes.items += persist(params["persistent_file"], declared, services)
            if params["nvme_cli_files"]:
                work.changes.items += _nvme_cli_files.changes(services, sysfs.etc, _nvme_cli_files.installed())
        except HopError as exc:
            failed.append(exc)
    if not module.check_mode:
        failed += work.apply()

    entries = work.entries()
    result: dict[str, t.Any] = {"changed": work.changes.changed, "connections": entries, "discovered": discovered}
    result.update(changes=work.changes.summaries(), diff=work.changes.diff())
    failed = [error for error in work.errors if error is not None] + failed
    if failed:
        result["error"] = failed[0].as_dict()
        module.fail_json(msg="; ".join(str(error) for error in failed), **result)
    for entry in entries:
        for one in entry["differs"]:
            module.warn(
                f"{entry['nqn']} {entry['transport']} {entry['traddr']}:{entry['trsvcid']} ({entry['controller']}): {one['option']} is {one['found']}, "
                f"not {one['wanted']}, and cannot be changed live. Next step: disconnect this path while another one is live, and connect it again"
            )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
