# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What the libvirt modules share: finding the bindings, and one way to fail."""

from __future__ import annotations

import typing as t
from importlib import import_module

from ansible.module_utils.common.respawn import has_respawned, probe_interpreters_for_module, respawn_module
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

#: libvirt-python is built for the distribution's own Python, which need not be the one Ansible uses.
INTERPRETERS = ["/usr/bin/python3"] + [f"/usr/bin/python3.{minor}" for minor in range(14, 6, -1)] + ["/usr/libexec/platform-python"]


def bindings(module: AnsibleModule) -> tuple[t.Any, t.Any]:
    """The modules ``libvirt`` and ``libvirt_qemu``; starts the module again under a Python that has them, or fails clearly."""
    try:
        return import_module("libvirt"), import_module("libvirt_qemu")
    except ImportError as error:
        cause = str(error)
    if not has_respawned():
        interpreter = probe_interpreters_for_module(INTERPRETERS, "libvirt")
        if interpreter:
            respawn_module(interpreter)  # does not return
    return fail(
        module,
        [
            HopError(
                "the Python binding of libvirt is missing",
                obj="libvirt",
                hop="disk",
                call="import libvirt",
                cause=cause,
                remedy="install python3-libvirt (the distribution's package) on the hypervisor",
            )
        ],
    )


def fail(module: AnsibleModule, errors: list[HopError], **values: t.Any) -> t.NoReturn:
    """Fail with every error named in one message; ``error`` is the first, ``errors`` are all."""
    text = str(errors[0]) if len(errors) == 1 else f"{len(errors)} disks failed. " + " | ".join(str(error) for error in errors)
    module.fail_json(msg=text, error=errors[0].as_dict(), errors=[error.as_dict() for error in errors], **{"changed": False, **values})
    raise AssertionError("fail_json returned")
