#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: spdk_nvme_bdev
short_description: Attach local NVMe controllers to an SPDK target
version_added: 0.1.0
description:
  - Lets a running SPDK target drive NVMe controllers of its own host (PCIe); every namespace of a controller becomes a bdev, such as C(Nvme0n1).
  - A device whose disks are mounted, held, or open is refused, and so is one that the kernel's own driver still has; M(nvmeof.spdk.pci_driver) binds
    it to another.
  - A controller whose bdevs are in use as namespaces is not detached without O(force).
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
extends_documentation_fragment:
  - nvmeof.spdk._spdk
attributes:
  check_mode:
    support: full
    description: Reads everything and changes nothing; RV(rpc_calls) shows what would be sent.
  diff_mode:
    support: full
    description: Shows what each controller had and has.
  idempotent:
    support: full
    description: Everything is compared with what the target shows.
  platform:
    support: full
    platforms: linux
    description: Runs on the host of the SPDK target.
notes:
  - SPDK forgets controllers when it ends; its start-up configuration must name them.
options:
  name:
    description: Name of the controller, such as V(Nvme0). The bdev of its first namespace is then C(Nvme0n1).
    type: str
  traddr:
    description: PCI address, such as V(0000:18:00.0). Needed with O(state=present).
    type: str
  state:
    description: V(present) attaches the controller, V(absent) detaches it.
    type: str
    choices: [present, absent]
    default: present
  force:
    description: Whether a controller is detached although namespaces use its bdevs. Connected hosts lose the disks.
    type: bool
    default: false
  controllers:
    description: Many controllers in one call, each with the same options as a single one.
    type: list
    elements: dict
    suboptions:
      name:
        description: See O(name).
        type: str
        required: true
      traddr:
        description: See O(traddr).
        type: str
      state:
        description: See O(state).
        type: str
        choices: [present, absent]
        default: present
      force:
        description: See O(force).
        type: bool
        default: false
seealso:
  - module: nvmeof.spdk.pci_driver
  - module: nvmeof.spdk.spdk_rbd_bdev
  - module: nvmeof.spdk.nvmf_subsystem
"""

EXAMPLES = r"""
- name: Attach a local controller
  nvmeof.spdk.spdk_nvme_bdev:
    name: Nvme0
    traddr: "0000:18:00.0"

- name: Attach two, and detach a third
  nvmeof.spdk.spdk_nvme_bdev:
    controllers:
      - {name: Nvme0, traddr: "0000:18:00.0"}
      - {name: Nvme1, traddr: "0000:19:00.0"}
      - {name: Nvme2, state: absent}
"""

RETURN = r"""
controllers:
  description: The controllers in the order of the call.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the controller.
      type: str
      sample: Nvme0
    traddr:
      description: PCI address, or V(null) for one that is absent and was not named by it.
      type: str
      sample: "0000:18:00.0"
    state:
      description: V(present) or V(absent).
      type: str
      sample: present
    action:
      description: V(none), V(attached) or V(detached).
      type: str
      sample: attached
    changed:
      description: Whether it was, or in check mode would be, attached or detached.
      type: bool
      sample: true
    bdevs:
      description: Its bdevs (C(name), C(uuid), C(size_bytes), C(block_size), C(claimed)); V(null) in check mode for one that would be attached.
      type: list
      elements: dict
      sample: [{"name": "Nvme0n1", "uuid": "0a1b2c3d-0000-4000-8000-000000000009", "size_bytes": 960197124096, "block_size": 512, "claimed": false}]
rpc_calls:
  description: The changing calls that were sent, or in check mode would be sent.
  returned: always
  type: list
  elements: dict
  contains:
    method:
      description: Name of the method.
      type: str
      sample: bdev_nvme_attach_controller
    params:
      description: Its parameters.
      type: dict
      sample: {"name": "Nvme0", "trtype": "PCIe", "traddr": "0000:18:00.0"}
changes:
  description: What was, or in check mode would be, changed.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: V(controller).
      type: str
      sample: controller
    name:
      description: The object.
      type: str
      sample: Nvme0
    action:
      description: What happens to it.
      type: str
      sample: attach
    before:
      description: What it had, or V(null).
      type: dict
      sample: null
    after:
      description: What it has, or V(null).
      type: dict
      sample: {"state": "present", "traddr": "0000:18:00.0"}
error:
  description: The parts of a failure.
  returned: failure
  type: dict
  contains:
    object:
      description: What failed.
      type: str
      sample: Nvme0
    hop:
      description: The hop of the volume's path.
      type: str
      sample: bdev
    call:
      description: The call that failed, or V(null).
      type: str
      sample: bdev_nvme_attach_controller
    cause:
      description: The other side's words, or V(null).
      type: str
      sample: "error -19: No such device"
    remedy:
      description: What to do next, or V(null).
      type: str
      sample: bind it with nvmeof.spdk.pci_driver to vfio-pci
    message:
      description: The failure in one sentence.
      type: str
      sample: the PCI device 0000:18:00.0 is still bound to the kernel's driver nvme
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_module import SPDK_OPTIONS, check_timeout, fail, one_or_many
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_nvme import ControllerManager, wanted_controllers
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target


def controller_options(required: dict[str, t.Any]) -> dict[str, t.Any]:
    """The options of one controller, at the top and in the list alike."""
    return {
        "name": {"type": "str", **required},
        "traddr": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "force": {"type": "bool", "default": False},
    }


def main() -> None:
    options = controller_options({})
    module = AnsibleModule(
        argument_spec={
            **SPDK_OPTIONS,
            **options,
            "controllers": {"type": "list", "elements": "dict", "options": controller_options({"required": True})},
        },
        mutually_exclusive=[("controllers", "name"), ("controllers", "traddr")],
        required_one_of=[("controllers", "name")],
        supports_check_mode=True,
    )
    check_timeout(module, "timeout")
    target, manager = None, None
    try:
        wishes = wanted_controllers(one_or_many(module, "controllers", list(options)))
        target = Target.open(module.params["socket"], module.params["timeout"])
        manager = ControllerManager(target)
        manager.plan(wishes)
        manager.changes.apply(module.check_mode)
        results = manager.results(wishes, module.check_mode)
    except HopError as error:
        done = [] if manager is None else [change.summary() for change in manager.changes.items if change.done]
        fail(module, error, changed=bool(done), changes=done, rpc_calls=[] if target is None else target.sent)
    finally:
        if target is not None:
            target.close()
    module.exit_json(
        changed=manager.changes.changed,
        controllers=results,
        rpc_calls=manager.planned if module.check_mode else target.sent,
        changes=manager.changes.summaries(),
        diff=manager.changes.diff(),
    )


if __name__ == "__main__":
    main()
