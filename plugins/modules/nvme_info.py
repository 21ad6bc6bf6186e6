#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nvme_info
short_description: Show the NVMe controllers, namespaces and paths of a host
version_added: 0.1.0
description:
  - Reads controllers, namespaces, their paths and sizes from sysfs, with native NVMe multipath or without it, and names what is wrong or risky.
  - It needs no nvme-cli, changes nothing and sends nothing to a target.
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
attributes:
  check_mode:
    support: full
    description: Runs the same in check mode; it never changes anything.
  diff_mode:
    support: none
    description: There is nothing to differ.
  idempotent:
    support: full
    description: It never changes anything.
  platform:
    support: full
    platforms: linux
    description: Linux 5.4 and newer; an attribute that a kernel does not have is V(null).
options:
  layer_details:
    description:
      - Whether to tell of the layers on the devices what growing them needs, with C(dmsetup table) and C(pvs). They are run once, only where there are
        such layers, and change nothing. Needs root.
      - Each layer then also has C(overhead_bytes) (what it keeps for itself, V(null) when unknown), C(unit_bytes), C(grown_by) (V(multipathd), V(cryptsetup),
        V(pvresize), or V(null)), and C(blocker) and C(remedy) where M(nvmeof.spdk.nvme_layers) could not grow it. A device with active LVM volumes has
        a layer of kind V(lvm-pv) more, whose size is that of the physical volume's extents.
    type: bool
    default: false
notes:
  - With native multipath off, the devices of one namespace are joined into one entry with several paths.
  - The number after the C(n) of a device name is not the namespace id; use the namespace's C(uuid).
seealso:
  - module: nvmeof.spdk.nvme_rescan
  - module: nvmeof.spdk.nvme_connection
  - module: nvmeof.spdk.nvme_layers
"""

EXAMPLES = r"""
- name: Look at the NVMe paths of this host
  nvmeof.spdk.nvme_info:
  register: nvme

- name: Stop unless every path is in order
  ansible.builtin.assert:
    that: nvme.host.problems | length == 0
"""

RETURN = r"""
host:
  description: Everything that was read.
  returned: always
  type: dict
  contains:
    hostnqn:
      description: The host NQN in C(/etc/nvme/hostnqn), or V(null).
      type: str
      sample: nqn.2014-08.org.nvmexpress:uuid:4ca08835-0e71-4c63-85af-4b201ffa646d
    hostid:
      description: The host id in C(/etc/nvme/hostid), or V(null).
      type: str
      sample: 4ca08835-0e71-4c63-85af-4b201ffa646d
    multipath:
      description: Whether native NVMe multipath is on; V(null) when the kernel does not say.
      type: bool
      sample: true
    kernel:
      description: The release of the running kernel.
      type: str
      sample: 6.12.0-55.el10.x86_64
    rescan_hazard:
      description: What a rescan can do on this kernel (C(text)) and what helps (C(remedy)), or V(null) if nothing is known.
      type: dict
      sample: null
    controllers:
      description: All controllers, local PCIe ones included. Times are seconds, V(-1) is endless.
      type: list
      elements: dict
      sample:
        - name: nvme0
          nqn: nqn.2016-06.io.spdk:cnode1
          transport: tcp
          address: traddr=192.0.2.10,trsvcid=4420,src_addr=192.0.2.20
          traddr: 192.0.2.10
          trsvcid: "4420"
          host_traddr: null
          hostnqn: nqn.2014-08.org.nvmexpress:uuid:4ca08835-0e71-4c63-85af-4b201ffa646d
          state: live
          cntlid: 1
          cntrltype: io
          ctrl_loss_tmo: -1
          reconnect_delay: 10
          fast_io_fail_tmo: -1
          keep_alive_tmo: 5
          queue_count: 3
    namespaces:
      description:
        - All namespaces. The size is that of the device; each path has its own.
        - RV(ignore:layers) are the partitions, device-mapper and md devices on top, the lower ones first; their C(kind) is V(partition), V(dm-crypt),
          V(lvm), V(multipath), V(dm), V(md) or V(other).
      type: list
      elements: dict
      sample:
        - uuid: 11111111-1111-4111-8111-111111111111
          nguid: null
          nqn: nqn.2016-06.io.spdk:cnode1
          nsid: 1
          device: /dev/nvme0n1
          by_id: /dev/disk/by-id/nvme-uuid.11111111-1111-4111-8111-111111111111
          size_bytes: 67108864
          block_size: 4096
          read_only: false
          holders: [dm-0]
          mounts: []
          layers:
            - name: luks-vm4
              device: /dev/dm-0
              kind: dm-crypt
              size_bytes: 50331648
              "on": [/dev/nvme0n1]
          paths:
            - name: nvme0c0n1
              controller: nvme0
              address: traddr=192.0.2.10,trsvcid=4420,src_addr=192.0.2.20
              traddr: 192.0.2.10
              trsvcid: "4420"
              transport: tcp
              state: live
              ana_state: optimized
              size_bytes: 67108864
    problems:
      description: What is wrong (V(critical)) or risky (V(warning)).
      type: list
      elements: dict
      sample:
        - object: nvme0
          hop: path
          problem: nvme0 (tcp 192.0.2.10:4420) is given up for good after 600 s without its target, and its devices with it
          remedy: set ctrl_loss_tmo to -1 with nvme_connection
          severity: warning
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._block_layer_growth import describe
from ansible_collections.nvmeof.spdk.plugins.module_utils._block_layer_tools import LayerTools
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_sysfs import SysfsNvme


def main() -> None:
    """Read and return."""
    module = AnsibleModule(argument_spec={"layer_details": {"type": "bool", "default": False}}, supports_check_mode=True)
    sysfs = SysfsNvme()
    host = sysfs.host()
    if module.params["layer_details"]:
        describe(sysfs.root, host["namespaces"], LayerTools())
    for namespace in host["namespaces"]:
        del namespace["devices"], namespace["by_id_target"]
        for layer in namespace["layers"]:
            layer.pop("unlock", None)
    module.exit_json(changed=False, host=host)


if __name__ == "__main__":
    main()
