# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The paths that a task asks for: their options checked, so that no nonsense reaches the kernel."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils import _nvme_fabrics
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_sysfs import SysfsNvme, normal_uuid, where

_CONTROLLER = re.compile(r"^(?:/dev/)?(nvme[0-9]+)$")
_NAMESPACE = re.compile(r"^(?:/dev/)?(nvme([0-9]+)(?:c[0-9]+)?n[0-9]+)(?:p[0-9]+)?$")


def label(path: dict[str, t.Any]) -> str:
    """A path for reading."""
    if path["traddr"]:
        return f"{path['nqn']} {path['transport']} {path['traddr']}:{path['trsvcid']}"
    return f"controller {path['controller']}" if path.get("controller") else f"{path['nqn']} (all paths)"


def _no_controller(name: str, sysfs: SysfsNvme) -> str:
    """Why the device of a namespace cannot stand for a controller, and what can."""
    match = _NAMESPACE.match(name)
    device, number = (match.group(1), match.group(2)) if match else (name, "")
    text = f"{name!r} is the device of a namespace, and a namespace cannot be connected or disconnected alone"
    for namespace in sysfs.namespaces():
        if device in [*namespace["devices"], *(path["name"] for path in namespace["paths"])]:
            serving = ", ".join(where(path) for path in namespace["paths"]) or "no controller"
            text += f"; it is served by {serving}: with multipath, {number} is the number of its subsystem, and nvme{number} may be a controller of another one"
            return f"{text}. Name one of them as controller, or name the NQN of its subsystem, {namespace['nqn']}"
    return f"{text}; name a controller, or the NQN of its subsystem"


def _check_controller(path: dict[str, t.Any], sysfs: SysfsNvme) -> None:
    """Fill in which path a controller is; one that is not there is absent already."""
    name = path["controller"]
    if path["nqn"] is not None or path["traddr"] is not None:
        raise ValueError(f"controller {name!r} says which path is meant; leave nqn and traddr out")
    if path["state"] != "absent":
        raise ValueError(f"controller {name!r} can only be made absent: the kernel chooses the numbers of new ones. Connect by nqn and traddr")
    match = _CONTROLLER.match(name)
    if not match:
        raise ValueError(f"controller {_no_controller(name, sysfs)}" if _NAMESPACE.match(name) else f"controller {name!r} is no name such as nvme3")
    path["controller"] = match.group(1)
    found = sysfs.controller(match.group(1))
    if found is not None:
        if found["transport"] == "pcie":
            raise ValueError(f"controller {name!r} is a local drive ({found['traddr']}), no connection")
        path.update({key: found[key] for key in ("nqn", "transport", "traddr", "host_traddr")}, trsvcid=found["trsvcid"] or path["trsvcid"])


def check(path: dict[str, t.Any], sysfs: SysfsNvme) -> None:
    """Refuse options that make no sense; they would go into one comma-separated line for the kernel."""
    if path["controller"] is not None:
        _check_controller(path, sysfs)
        return
    nqn = path["nqn"]
    if nqn is None:
        raise ValueError("each path needs its nqn, or with state=absent its controller")
    if _NAMESPACE.match(nqn):
        raise ValueError(f"nqn {_no_controller(nqn, sysfs)}")
    if _CONTROLLER.match(nqn):
        owner = (sysfs.controller(nqn.rpartition("/")[2]) or {}).get("nqn")
        raise ValueError(f"nqn {nqn!r} is a controller: name it as controller, or name the NQN of its subsystem" + (f", {owner}" if owner else ""))
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
