#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nvme_kernel
short_description: Prepare a host's kernel for NVMe-oF
version_added: 0.1.0
description:
  - Loads the kernel modules of transports, turns native NVMe multipath on or off, and sets the io policy of subsystems; now and at boot.
  - What is not given is left as it is, now and in its file. Modules are never unloaded, and the host is never rebooted.
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
attributes:
  check_mode:
    support: full
    description: Nothing is loaded, set or written.
  diff_mode:
    support: full
    description: Shows the modules, the policies and the files that change.
  idempotent:
    support: full
    description: What is as wanted is left alone. That native multipath needs a reboot is told every time, and is no change.
  platform:
    support: full
    platforms: linux
    description: Linux 5.4 and newer; needs root. The files are for systemd, udev and kmod.
options:
  transports:
    description:
      - The transports whose modules are loaded now, and at boot by C(/etc/modules-load.d/nvmeof-spdk.conf). An empty list removes that file.
    type: list
    elements: str
    choices: [tcp, rdma]
  multipath:
    description:
      - Whether the kernel joins the paths of a namespace to one device (native multipath), by C(/etc/modprobe.d/nvmeof-spdk.conf).
      - It is decided when C(nvme_core) is loaded. Where the running kernel differs, C(reboot_needed) is true and a warning says what to do.
    type: bool
  iopolicy:
    description:
      - How the kernel chooses among the paths of a namespace. V(queue-depth) came with Linux 6.11.
      - It is set on the subsystems that are there, and by C(/etc/udev/rules.d/72-nvmeof-spdk-iopolicy.rules) on those to come.
    type: str
    choices: [numa, round-robin, queue-depth]
  iopolicy_nqns:
    description:
      - The NQNs of the subsystems that O(iopolicy) is for, as patterns with C(*), C(?) and C([...]).
    type: list
    elements: str
    default: ["*"]
seealso:
  - module: nvmeof.spdk.nvme_connection
"""

EXAMPLES = r"""
- name: Be ready for NVMe/TCP, with I/O over all paths
  nvmeof.spdk.nvme_kernel:
    transports: [tcp]
    multipath: true
    iopolicy: round-robin

- name: Use the less busy path of our own targets only
  nvmeof.spdk.nvme_kernel:
    iopolicy: queue-depth
    iopolicy_nqns: ["nqn.2016-06.io.spdk:*"]
"""

RETURN = r"""
kernel:
  description:
    - The kernel as it is now. C(builtin) says that a module is a part of the kernel; C(multipath) is V(null) when C(nvme_core) is not loaded.
    - C(subsystems) are those whose NQN matches.
  returned: always
  type: dict
  sample:
    release: 6.12.48+deb13-amd64
    modules:
      - name: nvme-fabrics
        loaded: true
        builtin: false
    multipath: true
    reboot_needed: false
    subsystems:
      - name: nvme-subsys0
        nqn: nqn.2016-06.io.spdk:cnode1
        iopolicy: round-robin
    problems: []
changes:
  description: What was, or in check mode would be, changed.
  returned: always
  type: list
  elements: dict
  sample:
    - kind: subsystem
      name: nvme-subsys0 nqn.2016-06.io.spdk:cnode1
      action: update
      before:
        iopolicy: numa
      after:
        iopolicy: round-robin
error:
  description: The error in parts.
  returned: when it failed
  type: dict
  sample:
    object: queue-depth
    hop: device
    call: uname -r
    cause: null
    remedy: boot Linux 6.11 or newer, or choose numa, round-robin
    message: kernel 6.1.0-18-amd64 has no io policy queue-depth; it came with Linux 6.11
"""

import re
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_host_kernel import HostKernel
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_sysfs import SysfsNvme
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Changes


def main() -> None:
    """Plan what was asked for, do it, read back."""
    module = AnsibleModule(
        argument_spec={
            "transports": {"type": "list", "elements": "str", "choices": ["tcp", "rdma"]},
            "multipath": {"type": "bool"},
            "iopolicy": {"type": "str", "choices": ["numa", "round-robin", "queue-depth"]},
            "iopolicy_nqns": {"type": "list", "elements": "str", "default": ["*"]},
        },
        supports_check_mode=True,
    )
    params = module.params
    for pattern in params["iopolicy_nqns"]:
        if not re.match(r"^[!#-\[\]-{}~]+$", pattern):
            module.fail_json(msg=f"iopolicy_nqns: {pattern!r} is no pattern of an NQN: it has no blank, quote, backslash or bar")
    if not params["iopolicy_nqns"]:
        module.fail_json(msg="iopolicy_nqns is empty; leave it out to mean all subsystems")
    sysfs = SysfsNvme()
    kernel = HostKernel(sysfs)
    changes = Changes()
    wanted = params["multipath"]
    found: dict[str, t.Any] = {}
    problems: list[dict[str, str]] = []
    try:
        # the option before the module that takes it
        if wanted is not None:
            kernel.plan_multipath(wanted, changes)
        if params["transports"] is not None:
            kernel.plan_modules(params["transports"], changes)
        if params["iopolicy"] is not None:
            kernel.plan_iopolicy(params["iopolicy"], params["iopolicy_nqns"], changes)
        changes.apply(module.check_mode)
        problems = kernel.multipath_problems(wanted) if wanted is not None else []
        found = {
            "release": kernel.release,
            "modules": [
                {"name": name, "loaded": kernel.loaded(name), "builtin": kernel.builtin(name)}
                for name in ("nvme-core", "nvme-fabrics", "nvme-tcp", "nvme-rdma")
            ],
            "multipath": sysfs.multipath(),
            "reboot_needed": wanted is not None and sysfs.multipath() not in (None, wanted),
            "subsystems": kernel.subsystems(params["iopolicy_nqns"]),
            "problems": problems,
        }
    except HopError as exc:
        changes.items = [change for change in changes.items if change.done]
        module.fail_json(msg=str(exc), error=exc.as_dict(), changed=changes.changed, changes=changes.summaries(), diff=changes.diff())
    for item in problems:
        module.warn(f"{item['object']}: {item['problem']}. Next step: {item['remedy']}")
    module.exit_json(changed=changes.changed, kernel=found, changes=changes.summaries(), diff=changes.diff())


if __name__ == "__main__":
    main()
