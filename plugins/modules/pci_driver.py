#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pci_driver
short_description: Bind PCI devices to a driver, such as vfio-pci for SPDK
version_added: 0.1.0
description:
  - Binds PCI devices of this host to a driver through C(driver_override), which holds until the host is started again.
  - A device that the running system uses (a mounted, held or open disk, or a user-space driver that has it open) is refused.
  - The role C(nvmeof.spdk.spdk_target) keeps the binding over restarts of the host.
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
attributes:
  check_mode:
    support: full
    description: Reads everything and changes nothing.
  diff_mode:
    support: full
    description: Shows the driver before and after.
  idempotent:
    support: full
    description: The bound driver and C(driver_override) are compared.
  platform:
    support: full
    platforms: linux
    description: Needs root.
options:
  traddr:
    description: PCI address, such as V(0000:18:00.0).
    type: str
  driver:
    description: The driver, such as V(vfio-pci) or V(uio_pci_generic); its kernel module is loaded. An empty one gives the device back to the kernel's choice.
    type: str
  devices:
    description: Many devices in one call.
    type: list
    elements: dict
    suboptions:
      traddr:
        description: See O(traddr).
        type: str
        required: true
      driver:
        description: See O(driver). Default is that.
        type: str
seealso:
  - module: nvmeof.spdk.spdk_nvme_bdev
"""

EXAMPLES = r"""
- name: Give a controller to user space
  nvmeof.spdk.pci_driver:
    traddr: "0000:18:00.0"
    driver: vfio-pci

- name: Give two back to the kernel
  nvmeof.spdk.pci_driver:
    driver: ""
    devices:
      - traddr: "0000:18:00.0"
      - traddr: "0000:19:00.0"
"""

RETURN = r"""
devices:
  description: The devices in the order of the call.
  returned: success
  type: list
  elements: dict
  contains:
    traddr:
      description: PCI address.
      type: str
      sample: "0000:18:00.0"
    driver:
      description: The bound driver, read back (in check mode, the wanted one); empty for none.
      type: str
      sample: vfio-pci
    before_driver:
      description: The driver that was bound before; empty for none.
      type: str
      sample: nvme
    iommu:
      description: Whether the device is in an IOMMU group, as C(vfio-pci) needs it.
      type: bool
      sample: true
    changed:
      description: Whether it was, or in check mode would be, bound anew.
      type: bool
      sample: true
changes:
  description: What was, or in check mode would be, changed.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: V(pci device).
      type: str
      sample: pci device
    name:
      description: The object.
      type: str
      sample: "0000:18:00.0"
    action:
      description: What happens to it.
      type: str
      sample: bind
    before:
      description: What it had, or V(null).
      type: dict
      sample: {"driver": "nvme"}
    after:
      description: What it has, or V(null).
      type: dict
      sample: {"driver": "vfio-pci"}
error:
  description: The parts of a failure.
  returned: failure
  type: dict
  contains:
    object:
      description: What failed.
      type: str
      sample: "0000:18:00.0"
    hop:
      description: The hop of the volume's path.
      type: str
      sample: bdev
    call:
      description: The call that failed, or V(null).
      type: str
      sample: drivers_probe
    cause:
      description: The other side's words, or V(null).
      type: str
      sample: nvme0n1p1 is mounted on /
    remedy:
      description: What to do next, or V(null).
      type: str
      sample: nothing was done; unmount it and end what uses it first, or correct the address
    message:
      description: The failure in one sentence.
      type: str
      sample: the PCI device 0000:18:00.0 is part of the running system
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._pci import PciFunction, checked_addresses
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Changes


def plan(changes: Changes, functions: list[tuple[PciFunction, str]], load: t.Callable[[str], None]) -> None:
    """Add a change for every device that has another driver; raises for what may not be touched."""
    for function, driver in functions:
        function.require(function.address)
        if function.driver == driver and function.override == driver or not driver and not function.override:
            continue
        function.refuse_used(function.address)
        if driver == "vfio-pci" and not function.has_iommu:
            raise HopError(
                f"the PCI device {function.address} is in no IOMMU group, and vfio-pci needs one",
                obj=function.address,
                hop="bdev",
                remedy="turn the IOMMU on (firmware, and intel_iommu=on or amd_iommu=on), or use uio_pci_generic",
            )

        def bind(function: PciFunction = function, driver: str = driver) -> None:
            load(driver)
            function.bind(driver, function.address)

        changes.add("pci device", function.address, "bind", {"driver": function.driver}, {"driver": driver}, bind)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "traddr": {"type": "str"},
            "driver": {"type": "str"},
            "devices": {"type": "list", "elements": "dict", "options": {"traddr": {"type": "str", "required": True}, "driver": {"type": "str"}}},
        },
        mutually_exclusive=[("devices", "traddr")],
        required_one_of=[("devices", "traddr")],
        supports_check_mode=True,
    )
    entries = module.params["devices"] if module.params["devices"] is not None else [{"traddr": module.params["traddr"], "driver": None}]
    changes = Changes()

    def load(driver: str) -> None:
        if driver:
            module.run_command(["modprobe", driver])  # built-in drivers have no module; what counts is read back

    functions: list[tuple[PciFunction, str]] = []
    try:
        for entry, address in zip(entries, checked_addresses(entries)):
            driver = entry["driver"] if entry["driver"] is not None else module.params["driver"]
            if driver is None:
                raise HopError("no driver is given", obj=address, hop="bdev", remedy="give driver, such as vfio-pci, or an empty one")
            functions.append((PciFunction(address), driver))
        before = {function.address: function.driver for function, _driver in functions if function.exists}
        plan(changes, functions, load)
        changes.apply(module.check_mode)
    except HopError as error:
        done = [change.summary() for change in changes.items if change.done]
        module.fail_json(msg=str(error), error=error.as_dict(), changed=bool(done), changes=done)
    changed = {change.name for change in changes.items}
    module.exit_json(
        changed=changes.changed,
        devices=[
            {
                "traddr": function.address,
                "driver": driver if module.check_mode and function.address in changed else function.driver,
                "before_driver": before[function.address],
                "iommu": function.has_iommu,
                "changed": function.address in changed,
            }
            for function, driver in functions
        ],
        changes=changes.summaries(),
        diff=changes.diff(),
    )


if __name__ == "__main__":
    main()
