# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What the SPDK and Ceph modules share: option groups, the Ceph connection on demand, and how they fail."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.respawn import has_respawned, probe_interpreters_for_module, respawn_module
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import (
    HAS_BINDINGS,
    INTERPRETERS,
    TIMEOUT,
    Ceph,
    CephError,
    CephOptions,
    open_ceph,
)
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_lease import DURATION, LeaseOptions
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_snapshots import SnapshotWish
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_keyring import looks_like_key

#: Options of the documentation fragment ``_spdk``.
SPDK_OPTIONS: dict[str, t.Any] = {
    "socket": {"type": "path", "default": "/var/tmp/spdk.sock"},
    "timeout": {"type": "int", "default": 60},
}
#: Options of the documentation fragment ``_ceph``.
CEPH_OPTIONS: dict[str, t.Any] = {
    "ceph_conf": {"type": "path", "default": "/etc/ceph/ceph.conf"},
    "ceph_user": {"type": "str", "default": "admin"},
    "ceph_keyring": {"type": "path", "no_log": False},
}
#: Options of the documentation fragment ``_lease``.
LEASE_OPTIONS: dict[str, t.Any] = {
    "lease_owner": {"type": "str"},
    "lease_duration": {"type": "int", "default": DURATION},
    "lease_wait": {"type": "int", "default": 0},
}
#: Options of the documentation fragment ``_growth_snapshot``.
SNAPSHOT_OPTIONS: dict[str, t.Any] = {
    "snapshot_keep": {"type": "str"},
    "snapshot_run": {"type": "str"},
}


def use_python_with_rbd() -> None:
    """Start the module again under the system's python if only that has python3-rbd; else go on (the rbd program may do)."""
    if HAS_BINDINGS or has_respawned():
        return
    interpreter = probe_interpreters_for_module(INTERPRETERS, "rbd")
    if interpreter is not None:
        respawn_module(interpreter)


class CephDoor:
    """The Ceph connection of a module call, opened when it is first needed; a failure is remembered and raised again."""

    def __init__(self, module: AnsibleModule, timeout: int = TIMEOUT) -> None:
        self._module = module
        self._options = CephOptions(conf=module.params["ceph_conf"], user=module.params["ceph_user"], keyring=module.params["ceph_keyring"], timeout=timeout)
        self._ceph: Ceph | None = None
        self._error: HopError | None = None

    def __call__(self) -> Ceph:
        if self._error is not None:
            raise self._error
        if self._ceph is None:
            try:
                self._ceph = open_ceph(self._options, self._module.run_command)
            except HopError as error:
                self._error = error
                raise
        return self._ceph

    @property
    def opened(self) -> bool:
        return self._ceph is not None

    def close(self) -> None:
        if self._ceph is not None:
            try:
                self._ceph.close()
            except CephError:
                pass  # the results are complete; the process ends next
            self._ceph = None


def check_timeout(module: AnsibleModule, *names: str) -> None:
    """Fail for time-outs that cannot be meant."""
    for name in names:
        if module.params[name] < 1:
            module.fail_json(msg=f"{name} must be at least 1 second, not {module.params[name]}")


def warn_of_short_timeout(module: AnsibleModule, *names: str) -> None:
    """Warn of time-outs below :data:`TIMEOUT`: after a killed client the first call to an image took 15 to 18 s (SPDK 26.05, Ceph 16)."""
    for name in names:
        if module.params[name] < TIMEOUT:
            module.warn(f"{name}={module.params[name]} is less than {TIMEOUT} s: Ceph can take that long, for example after a client was killed")


def lease_options(module: AnsibleModule) -> LeaseOptions:
    """The module's lease options; raises :class:`HopError` for what cannot be meant."""
    options = LeaseOptions(module.params["lease_owner"] or None, module.params["lease_duration"], module.params["lease_wait"])
    options.check()
    return options


def snapshot_wish(module: AnsibleModule) -> SnapshotWish | None:
    """Whether, and how, snapshots are taken before images grow; raises :class:`HopError` for what cannot be meant."""
    keep = module.params["snapshot_keep"]
    return SnapshotWish(keep, module.params["snapshot_run"] or None) if keep else None


def fail(module: AnsibleModule, error: HopError, **results: t.Any) -> t.NoReturn:
    """End the module with one sentence and the parts of the error."""
    module.fail_json(msg=str(error), error=error.as_dict(), **results)
    raise AssertionError  # fail_json does not return


def hide_keys(module: AnsibleModule, value: t.Any) -> None:
    """Keep keys that were given in place of names out of everything the module prints; they are refused later."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            hide_keys(module, item)
    elif looks_like_key(value):
        module.no_log_values.add(value)


def warn(module: AnsibleModule, texts: t.Sequence[str], most: int = 20) -> None:
    """Warnings, at most ``most`` of them: a thousand objects may say the same."""
    for text in texts[:most]:
        module.warn(text)
    if len(texts) > most:
        module.warn(f"and {len(texts) - most} more of the kind")


def one_or_many(module: AnsibleModule, plural: str, names: t.Sequence[str], for_all: t.Sequence[str] = ()) -> list[dict[str, t.Any]]:
    """The list option ``plural``, or the one object given by the options ``names``; an empty list if neither is given.

    Beside the list an option of a single object would say nothing, so it is an error, except switches in ``for_all``, which hold for every entry.
    """
    given = module.params[plural]
    if given is None:
        return [{name: module.params[name] for name in names}]
    for name in names:
        if name not in for_all and module.params[name] != module.argument_spec[name].get("default"):
            module.fail_json(msg=f"{name} says nothing beside {plural}; give it in each entry of {plural}", changed=False)
    return [{**entry, **{name: entry[name] or module.params[name] for name in for_all}} for entry in given]
