# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    """Options of a module that declares subsystems: one, or many in one call."""

    # Each option is described once, for one subsystem, and referred to in the list.
    DOCUMENTATION = r"""
options:
  nqn:
    description: NQN of the subsystem.
    type: str
  serial_number: &serial_number
    description:
      - Serial number, 1 to 20 printable ASCII characters.
      - Default for a new subsystem is one that is derived from the NQN, and so the same on every target.
    type: str
  model_number: &model_number
    description: Model number, 1 to 40 printable ASCII characters. Default for a new subsystem is SPDK's own.
    type: str
  max_namespaces: &max_namespaces
    description: Largest namespace id, and largest ANA group. Default for a new subsystem is 256.
    type: int
  ana_reporting: &ana_reporting
    description: Whether the subsystem reports ANA states, as multipath over several targets needs.
    type: bool
  min_cntlid: &min_cntlid
    description: Lowest controller id; targets that share a subsystem need ranges that do not overlap.
    type: int
  max_cntlid: &max_cntlid
    description: Highest controller id.
    type: int
  allow_any_host: &allow_any_host
    description: Whether every host may connect. A new subsystem lets in only O(hosts) unless this is set.
    type: bool
  hosts: &hosts
    description:
      - Hosts that may connect. Left alone if not given.
      - Each is the NQN of a host, or a dictionary of C(nqn), C(psk), C(dhchap_key) and C(dhchap_ctrlr_key).
      - The keys are NAMES of keys in the target's keyring (M(nvmeof.spdk.spdk_keyring)), never their content. A key that is not
        given is left as it is, an empty name takes it away.
      - C(psk) (TLS, SPDK 23.05 and later) is the absolute path of the key's file up to 24.01, path or name in 24.05, and a name from
        24.09 on. Whether a host has one is shown from 24.05 on; before, the module warns that it cannot compare.
      - C(dhchap_key) and C(dhchap_ctrlr_key) (DH-HMAC-CHAP of host and controller) need SPDK 24.05. From 24.09 on they change in place.
      - Any other change of keys removes the host and adds it again, which is refused while that host is connected, without O(force).
      - A key that the running release lacks is an error.
    type: list
    elements: raw
  listeners: &listeners
    description: Addresses to listen on. Left alone if not given.
    type: list
    elements: dict
    suboptions:
      trtype:
        description: Type of the transport.
        type: str
        choices: [TCP, RDMA, tcp, rdma]
        default: TCP
      adrfam:
        description: Family of the address; follows from the address if not given.
        type: str
        choices: [IPv4, IPv6, ipv4, ipv6]
      traddr:
        description: IP address to listen on.
        type: str
        required: true
      trsvcid:
        description: Port.
        type: str
        default: "4420"
      secure_channel:
        description:
          - Whether hosts must connect by TLS (SPDK 23.05 and later), each with its C(psk). Such a subsystem cannot allow any host.
          - If it differs from a listener that is there, that is an error; with O(force) the listener is removed and added again.
        type: bool
      sock_impl:
        description: SPDK's socket implementation, such as V(ssl) (SPDK 24.09 and later). Differences are as those of C(secure_channel).
        type: str
      ana_state:
        description: ANA state of the listener for all groups but those of C(ana_states). Left alone if not given.
        type: str
        choices: [optimized, non_optimized, inaccessible]
      ana_states:
        description: ANA states of single groups (SPDK 21.10 and later).
        type: list
        elements: dict
        suboptions:
          anagrpid:
            description: The ANA group.
            type: int
            required: true
          ana_state:
            description: Its state.
            type: str
            choices: [optimized, non_optimized, inaccessible]
            required: true
  namespaces: &namespaces
    description: Namespaces. Left alone if not given.
    type: list
    elements: dict
    suboptions:
      bdev:
        description: Name of the bdev.
        type: str
        required: true
      nsid:
        description: Namespace id. Default is that of the bdev where it is a namespace already, else the lowest free one.
        type: int
      uuid:
        description: UUID of the namespace, by which hosts know the volume. Default is the bdev's.
        type: str
      nguid:
        description: NGUID of the namespace. Default is the UUID without dashes.
        type: str
      eui64:
        description: EUI-64 of the namespace, 16 hex digits. None by default.
        type: str
      anagrpid:
        description: ANA group of the namespace. It changes in place from SPDK 24.09 on. Default for a new namespace is its nsid.
        type: int
      auto_visible:
        description:
          - Whether every host of the subsystem sees the namespace. V(false) needs SPDK 24.05. Default for a new namespace is V(true).
          - If it differs from a namespace that is there, that is an error; with O(force) the namespace is removed and added again.
        type: bool
      hosts:
        description: NQNs of the hosts that see the namespace; needs C(auto_visible) to be V(false). Left alone if not given.
        type: list
        elements: str
      ptpl_file:
        description: File on the target's host that keeps reservations over a restart (SPDK 19.07 and later). Differences are as those of C(auto_visible).
        type: path
      state:
        description:
          - V(absent) removes the namespace of this bdev, and no other. With C(nsid) or C(uuid) it must be the one named.
          - Refused while hosts are connected, without O(force).
        type: str
        choices: [present, absent]
        default: present
  state: &state
    description:
      - V(present) creates the subsystem and adds what is missing.
      - V(absent) deletes it; its bdevs stay.
    type: str
    choices: [present, absent]
    default: present
  purge: &purge
    description:
      - Whether hosts, listeners and namespaces that are not in a given list are removed, and so hosts from a namespace's list.
      - Beside a list of subsystems it holds for all of them.
    type: bool
    default: false
  force: &force
    description:
      - Whether something is taken from connected hosts, a namespace is given another identity (bdev, nsid, uuid, nguid, eui64), or a
        listener or namespace is removed and added again for what cannot change in place.
      - Releases before 20.10 cannot tell who is connected, so nothing is taken there without it.
    type: bool
    default: false
  subsystems:
    description: Many subsystems in one call over one connection, each with the same options as a single one.
    type: list
    elements: dict
    suboptions:
      nqn:
        description: NQN of the subsystem.
        type: str
        required: true
      serial_number: *serial_number
      model_number: *model_number
      max_namespaces: *max_namespaces
      ana_reporting: *ana_reporting
      min_cntlid: *min_cntlid
      max_cntlid: *max_cntlid
      allow_any_host: *allow_any_host
      hosts: *hosts
      listeners: *listeners
      namespaces: *namespaces
      state: *state
      purge: *purge
      force: *force
"""
