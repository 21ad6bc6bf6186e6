#!/usr/bin/python

# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: spdk_keyring
short_description: Declare the keys that an SPDK target knows by name
version_added: 0.1.0
description:
  - Adds files with keys (TLS PSKs, DH-HMAC-CHAP secrets) to the keyring of a running SPDK target (24.05 and later), by which
    M(nvmeof.spdk.nvmf_subsystem) gives them to hosts.
  - Looks at each file's attributes and says what SPDK would refuse without a reason. The content of a file is never read and never shown.
  - A key that is in use is not removed or given another file without O(force).
author:
  - nvmeof.spdk contributors (@nvmeof-spdk)
extends_documentation_fragment:
  - nvmeof.spdk._spdk
attributes:
  check_mode:
    support: full
    description: Reads the target and the files' attributes and sends no changing call.
  diff_mode:
    support: full
    description: Shows each key's path before and after.
  idempotent:
    support: full
    description: Everything is compared with what the target shows.
  platform:
    support: full
    platforms: linux
    description: Runs on the host of the SPDK target, as a user who may look at the files.
notes:
  - SPDK forgets its keyring when it ends; its start-up configuration must name the keys.
  - SPDK reads a file when a host authenticates, so a file with another content needs no call.
options:
  name:
    description: Name of the key, by which hosts are given it.
    type: str
  path:
    description:
      - Absolute path of the key's file on the target's host. It must exist, belong to the target's user and let in neither group nor others (mode 0600).
    type: path
  state:
    description:
      - V(present) adds the key.
      - V(absent) removes it from the keyring; the file stays.
    type: str
    choices: [present, absent]
    default: present
  keys:
    description: Many keys in one call.
    type: list
    elements: dict
    suboptions:
      name:
        description: See O(name).
        type: str
        required: true
      path:
        description: See O(path).
        type: path
      state:
        description: See O(state).
        type: str
        choices: [present, absent]
        default: present
  purge:
    description: Whether keys of files that are not named are removed.
    type: bool
    default: false
  force:
    description:
      - Whether a key in use is removed or given another file. Its users go on with the old one until they are removed, and a host that is
        to be given it again needs a key that is there.
    type: bool
    default: false
seealso:
  - module: nvmeof.spdk.nvmf_subsystem
  - module: nvmeof.spdk.spdk_target_info
"""

EXAMPLES = r"""
- name: Put a key onto the target's host
  ansible.builtin.copy:
    content: "{{ vault_host_a_psk }}"
    dest: /etc/spdk/keys/host-a.psk
    owner: root
    group: root
    mode: "0600"
  no_log: true

- name: Let the target know it by name
  nvmeof.spdk.spdk_keyring:
    name: host-a-psk
    path: /etc/spdk/keys/host-a.psk

- name: Know these keys and no others
  nvmeof.spdk.spdk_keyring:
    keys:
      - name: host-a-psk
        path: /etc/spdk/keys/host-a.psk
      - name: host-a
        path: /etc/spdk/keys/host-a.dhchap
    purge: true
"""

RETURN = r"""
keys:
  description: The named keys in the order of the call, read back (in check mode, predicted).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the key.
      type: str
      sample: host-a-psk
    path:
      description: Path of its file, or V(null).
      type: str
      sample: /etc/spdk/keys/host-a.psk
    users:
      description: How many hosts, controllers and bdevs of the target refer to it.
      type: int
      sample: 1
    state:
      description: V(present) or V(absent).
      type: str
      sample: present
    changed:
      description: Whether it was, or in check mode would be, changed.
      type: bool
      sample: true
rpc_calls:
  description: The changing calls that were sent, or in check mode would be sent.
  returned: always
  type: list
  elements: dict
  contains:
    method:
      description: Name of the method.
      type: str
      sample: keyring_file_add_key
    params:
      description: Its parameters.
      type: dict
      sample: {"name": "host-a-psk", "path": "/etc/spdk/keys/host-a.psk"}
changes:
  description: What was, or in check mode would be, changed.
  returned: always
  type: list
  elements: dict
  sample:
    - kind: key
      name: host-a-psk
      action: add
      before: null
      after: {"state": "present", "path": "/etc/spdk/keys/host-a.psk"}
error:
  description: The parts of a failure.
  returned: failure
  type: dict
  sample:
    object: host-a-psk
    hop: path
    call: keyring_file_add_key
    cause: null
    remedy: set its mode to 0600; SPDK takes no other
    message: the key's file /etc/spdk/keys/host-a.psk has mode 0644, which lets group or others in
"""

import functools
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_keyring import KeyringManager, target_process, wanted_keys
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_module import SPDK_OPTIONS, check_timeout, fail, hide_keys, one_or_many
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target


def key_options(required: dict[str, t.Any]) -> dict[str, t.Any]:
    """The options of one key, at the top and in the list alike. Names and paths are no secrets."""
    return {
        "name": {"type": "str", **required},
        "path": {"type": "path"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **SPDK_OPTIONS,
            **key_options({}),
            "keys": {"type": "list", "elements": "dict", "options": key_options({"required": True}), "no_log": False},
            "purge": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
        },
        mutually_exclusive=[("keys", "name"), ("keys", "path")],
        required_one_of=[("keys", "name")],
        supports_check_mode=True,
    )
    hide_keys(module, module.params)
    check_timeout(module, "timeout")
    socket, purge, force = module.params["socket"], module.params["purge"], module.params["force"]
    target, manager = None, None
    try:
        wishes = wanted_keys([{**entry, "force": force} for entry in one_or_many(module, "keys", ["name", "path", "state"])])
        target = Target.open(socket, module.params["timeout"])
        manager = KeyringManager(target, functools.lru_cache(maxsize=None)(functools.partial(target_process, socket)))
        manager.plan(wishes, purge, force)
        if manager.calls and not module.check_mode:
            manager.apply(wishes, purge)
    except HopError as error:
        results = {}
        if manager is not None and target is not None:
            done = [change.summary() for change in manager.changes.items if change.done]
            results = {"changed": manager.changes.applied, "rpc_calls": target.sent, "changes": done}
        fail(module, error, **results)
    finally:
        if target is not None:
            target.close()
    module.exit_json(
        changed=manager.changes.changed,
        keys=[manager.result(wish["name"]) for wish in wishes],
        rpc_calls=[{"method": method, "params": params} for method, params in manager.ordered()] if module.check_mode else target.sent,
        changes=manager.changes.summaries(),
        diff=manager.changes.diff(),
    )


if __name__ == "__main__":
    main()
