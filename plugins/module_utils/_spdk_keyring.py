# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The keys of a target's keyring: files by name. Their content is never read here.

SPDK answers -1 "Operation not permitted" for every file it does not take (relative path, another owner, open to others), so the
file is looked at here, where it can be said what is wrong (checks of module/keyring/file/keyring.c; answers recorded on 26.05).
"""

from __future__ import annotations

import os
import re
import socket as socket_module
import stat
import struct
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._jsonrpc import RpcError
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Change, Changes
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_facts import HOST_KEYS, SavedConfig
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target, TimedOut, hop_error

#: The keyring's module for files; keys of other modules (linux) are shown and never touched.
FILE_MODULE = "keyring_file"
#: The order in which calls are sent: what is given another file goes first.
ORDER = ("keyring_file_remove_key", "keyring_file_add_key")


def keys(target: Target) -> list[dict[str, t.Any]]:
    """The keys: ``name``, ``path`` (None if it has none), ``module``, ``users`` (how many refer to it), ``removed``. None before 24.05."""
    if not target.table.has("keyring_get_keys"):
        return []
    try:
        raw = target.read("keyring_get_keys", hop="path")
    except RpcError as error:
        raise hop_error(error, target.client.path, "path") from error
    return [
        {
            "name": key["name"],
            "path": key.get("path"),
            "module": key.get("module"),
            # the keyring itself holds one reference, until the key is removed
            "users": max(0, int(key.get("refcnt") or 0) - (0 if key.get("removed") else 1)),
            "removed": bool(key.get("removed")),
        }
        for key in raw
    ]


def present_keys(target: Target) -> dict[str, dict[str, t.Any]]:
    """The keys that can be taken, by name: without those that are removed and only live on in a host."""
    return {key["name"]: key for key in keys(target) if not key["removed"]}


def looks_like_key(text: t.Any) -> bool:
    """Whether a text is the content of a key rather than a name or a path: such a text must never be shown."""
    return isinstance(text, str) and re.match(r"\s*(NVMeTLSkey-|DHHC-)", text) is not None


def wanted_keys(entries: t.Sequence[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Wishes ``name``, ``path``, ``state``, ``force``; raises for a name without a file or named twice."""
    wishes: dict[str, dict[str, t.Any]] = {}
    for entry in entries:
        name = entry["name"]
        if looks_like_key(name) or looks_like_key(entry.get("path")):
            raise HopError(
                "name or path is a key itself",
                obj="key",
                hop="path",
                remedy="put it into a file with mode 0600, and give a name and that file's path",
            )
        if not name or name.startswith("/"):
            raise HopError(f"{name!r} is not the name of a key", obj=str(name), hop="path", remedy="use a short word, by which hosts are given the key")
        if entry["state"] == "present" and not entry.get("path"):
            raise HopError("a key needs the path of its file", obj=name, hop="path", remedy="give path, or state=absent")
        if name in wishes:
            raise HopError("the list names this key twice", obj=name, hop="path", remedy="name each once")
        wishes[name] = {key: entry.get(key) for key in ("name", "path", "state", "force")}
    return list(wishes.values())


class TargetProcess(t.NamedTuple):
    """Who listens on the socket: ``uid``, and ``root``, below which its files are seen from here ("" for the same root)."""

    uid: int
    root: str


def target_process(socket: str) -> TargetProcess:
    """The process behind the socket, from the kernel (SO_PEERCRED); without that, the owner of the socket's file."""
    try:
        with socket_module.socket(socket_module.AF_UNIX, socket_module.SOCK_STREAM) as sock:
            sock.settimeout(10)
            sock.connect(socket)
            pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket_module.SOL_SOCKET, socket_module.SO_PEERCRED, struct.calcsize("3i")))
    except (OSError, AttributeError, struct.error):
        return TargetProcess(os.stat(socket).st_uid, "")
    root = f"/proc/{pid}/root"
    try:
        # a target in a container sees other files under the same path
        same = os.path.samestat(os.stat(root), os.stat("/"))
    except OSError:
        same = True
    return TargetProcess(uid, "" if same or pid <= 0 else root)


def check_file(name: str, path: str, process: TargetProcess) -> None:
    """Raise :class:`HopError` for a file that the target would refuse, saying why. Looks at its attributes only."""

    def bad(message: str, remedy: str, cause: str | None = None) -> HopError:
        return HopError(f"the key's file {path} {message}", obj=name, hop="path", call="keyring_file_add_key", cause=cause, remedy=remedy)

    if not path.startswith("/"):
        raise bad("has no absolute path", "give the path from / on")
    try:
        found = os.stat(process.root + path)
    except FileNotFoundError:
        if process.root:
            remedy = "put it into a directory that the container sees, or mount its own (the role: spdk_target_container_arguments)"
            raise bad("does not exist in the target's container", remedy) from None
        raise bad("does not exist on the target's host", "put it there first, with mode 0600") from None
    except OSError as error:
        raise bad("cannot be looked at", "let the module run as root or as the target's user", str(error)) from None
    if not stat.S_ISREG(found.st_mode):
        raise bad("is not a regular file", "give the path of the file that holds the key")
    if found.st_uid != process.uid:
        raise bad(f"belongs to uid {found.st_uid}, the target runs as uid {process.uid}", "let the file belong to the target's user; SPDK takes no other")
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise bad(f"has mode {mode:04o}, which lets group or others in", "set its mode to 0600; SPDK takes no other")


def key_users(saved: SavedConfig) -> dict[str, list[str]]:
    """Key name -> the hosts of subsystems that have it, as ``host of subsystem``."""
    users: dict[str, list[str]] = {}
    for (nqn, host), params in saved.hosts.items():
        for option in HOST_KEYS:
            if params.get(option):
                users.setdefault(params[option], []).append(f"{host} of {nqn}")
    return {name: sorted(set(hosts)) for name, hosts in users.items()}


def _not_applied() -> None:
    """Stands in a change's ``apply``: the calls are carried out in pipelined stages."""


class KeyringManager:
    """One call of the module: read, plan, carry out, read back."""

    def __init__(self, target: Target, process: t.Callable[[], TargetProcess]) -> None:
        self.target = target
        self.changes = Changes()
        self.calls: list[tuple[str, dict[str, t.Any], Change]] = []
        self.there: dict[str, dict[str, t.Any]] = {}
        self._process = process
        self._removing: list[dict[str, t.Any]] = []

    def plan(self, wishes: t.Sequence[t.Mapping[str, t.Any]], purge: bool = False, force: bool = False) -> None:
        """``wishes`` of :func:`wanted_keys`; with ``purge`` other keys of files go. Touches nothing."""
        self.changes, self.calls, self._removing = Changes(), [], []
        if any(wish["state"] == "present" for wish in wishes):
            self.target.table.require("keyring_file_add_key", wishes[0]["name"], "path")
        self.there = present_keys(self.target)
        adding = []
        for wish in wishes:
            found = self.there.get(wish["name"])
            if wish["state"] == "absent":
                if found is not None:
                    self._remove(found, bool(wish["force"]))
                continue
            check_file(wish["name"], wish["path"], self._process())
            if found is not None and found["path"] == wish["path"]:
                continue
            if found is not None:
                self._remove(found, bool(wish["force"]))
            adding.append(wish)
        if purge:
            named = {wish["name"] for wish in wishes}
            for key in [key for key in self.there.values() if key["name"] not in named and key["module"] == FILE_MODULE]:
                self._remove(key, force)
        for wish in adding:
            params = {"name": wish["name"], "path": wish["path"]}
            change = self.changes.add("key", wish["name"], "add", None, {"state": "present", "path": wish["path"]}, _not_applied)
            self.calls.append(("keyring_file_add_key", params, change))
            self.there[wish["name"]] = {**params, "module": FILE_MODULE, "users": 0, "removed": False}
        self._refuse_use()

    def _remove(self, key: dict[str, t.Any], force: bool) -> None:
        if key["module"] != FILE_MODULE:
            raise HopError(
                f"the key is one of the module {key['module']}, not a file's",
                obj=key["name"],
                hop="path",
                remedy="use another name; this module handles keys in files only",
            )
        change = self.changes.add("key", key["name"], "remove", {"state": "present", "path": key["path"]}, None, _not_applied)
        self.calls.append(("keyring_file_remove_key", {"name": key["name"]}, change))
        if not force:
            self._removing.append(key)
        del self.there[key["name"]]

    def _refuse_use(self) -> None:
        used = [key for key in self._removing if key["users"]]
        if not used:
            return
        self.target.subsystems()
        users = key_users(self.target.saved).get(used[0]["name"])
        raise HopError(
            f"the key is in use by {', '.join(users) if users else 'the target'}",
            obj=used[0]["name"],
            hop="path",
            call="keyring_file_remove_key",
            cause="SPDK would remove it from the keyring while its users go on with it until they are removed",
            remedy="give its users another key first (nvmeof.spdk.nvmf_subsystem), or set force",
        )

    def ordered(self) -> list[tuple[str, dict[str, t.Any]]]:
        """The planned calls in the order in which they are sent."""
        return [(method, params) for kind in ORDER for method, params, _change in self.calls if method == kind]

    def apply(self, wishes: t.Sequence[t.Mapping[str, t.Any]], purge: bool = False) -> None:
        """Send, removals first, then read back: what is left over is an error."""
        failures = []
        for method in ORDER:
            calls = [(params, change) for called, params, change in self.calls if called == method]
            try:
                outcomes: t.Sequence[t.Any] = self.target.change([(method, params, params["name"]) for params, _change in calls], "path") if calls else []
            except TimedOut as error:
                outcomes = [error] * len(calls)
            for (_params, change), outcome in zip(calls, outcomes):
                change.done = not isinstance(outcome, HopError)
                if not change.done:
                    failures.append(outcome)
        again = KeyringManager(self.target, self._process)
        again.plan(wishes, purge, force=True)
        left = {change.name for _method, _params, change in again.calls}
        for change in self.changes.items:
            change.done = change.done or change.name not in left
        if left:
            raise next(
                (failure for failure in failures if failure.obj in left or isinstance(failure, TimedOut)),
                HopError(
                    "the target took the call, but reading back shows that it did not happen", obj=min(left), hop="path", remedy="look at the target's log"
                ),
            )
        self.there = again.there

    def result(self, name: str) -> dict[str, t.Any]:
        key, changed = self.there.get(name), bool(self.changes.of("key", name))
        if key is None:
            return {"name": name, "path": None, "users": 0, "state": "absent", "changed": changed}
        return {"name": name, "path": key["path"], "users": key["users"], "state": "present", "changed": changed}
