# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keyring module: key files by name. Only what exports to hosts reads the secrets, when it needs them."""

from __future__ import annotations

import errno
import os
from typing import Any

from .decode import errno_error


class Keyring:
    """Keys in SPDK's order; a removed key that is still referred to stays at the end until it is let go."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[str, Any]] = {}
        self.removed: dict[str, dict[str, Any]] = {}

    def has(self, name: str) -> bool:
        """Whether a key of that name can be taken."""
        return name in self.keys

    def secret(self, name: str) -> str | None:
        """What is in the key's file now; None for a removed key and for a file that cannot be read."""
        try:
            with open(self.keys[name]["path"], encoding="ascii") as file:
                return file.read().strip() or None
        except (KeyError, OSError, ValueError):
            return None

    def refer(self, name: str, step: int) -> None:
        """Count a user of the key up or down."""
        for table in (self.keys, self.removed):
            if name in table:
                table[name]["refcnt"] += step
                if table is self.removed and table[name]["refcnt"] <= 0:
                    del table[name]
                return

    def rpc_keyring_file_add_key(self, p: dict[str, Any]) -> bool:
        path = p["path"]
        if not path.startswith("/"):
            raise errno_error(errno.EPERM)
        if p["name"] in self.keys:
            raise errno_error(errno.EEXIST)
        try:
            stat = os.stat(path)
        except OSError as error:
            raise errno_error(error.errno or errno.EIO) from None
        if stat.st_mode & 0o077 or stat.st_uid != os.getuid():
            raise errno_error(errno.EPERM)
        self.keys[p["name"]] = {"name": p["name"], "module": "keyring_file", "removed": False, "probed": False, "refcnt": 1, "path": path}
        return True

    def rpc_keyring_file_remove_key(self, p: dict[str, Any]) -> bool:
        key = self.keys.pop(p["name"], None)
        if key is None:
            raise errno_error(errno.ENOKEY)
        key["refcnt"] -= 1
        if key["refcnt"] > 0:
            del key["path"]
            key["removed"] = True
            self.removed[p["name"]] = key
        return True

    def rpc_keyring_get_keys(self, p: dict[str, Any]) -> list[dict[str, Any]]:
        return [*self.keys.values(), *self.removed.values()]

    def config(self) -> list[dict[str, Any]]:
        """The keyring section of framework_get_config."""
        return [{"method": "keyring_file_add_key", "params": {"name": key["name"], "path": key["path"]}} for key in self.keys.values()]
