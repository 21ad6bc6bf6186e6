# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The start-up file of a target on its host: read, compared with the declared document, replaced as a whole."""

from __future__ import annotations

import json
import os
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_startup import masked_param


def read_document(path: str) -> t.Any:
    """The document in the file, or None if there is no file. :class:`HopError` for a file that cannot be read or parsed.

    SPDK allows comments in it; a file with comments is somebody's own and cannot be parsed here.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise HopError(
            "the start-up file cannot be read", obj=path, hop="bdev", cause=str(error), remedy="look at the file; state=written replaces it"
        ) from error


def text_of(document: t.Any) -> str:
    return json.dumps(document, indent=2) + "\n"


def masked(document: t.Any) -> t.Any:
    """A copy for diffs: a secret that somebody put into config_param of a file is not shown."""
    if isinstance(document, dict):
        return {key: masked_param(value) if key in ("config_param", "config") and isinstance(value, dict) else masked(value) for key, value in document.items()}
    if isinstance(document, list):
        return [masked(entry) for entry in document]
    return document


class ConfigFile:
    """The file and what is to become of it."""

    def __init__(self, module: AnsibleModule, path: str, document: t.Any) -> None:
        self.module = module
        self.path = path
        self.document = document
        self.saved: t.Any = None
        self.broken: HopError | None = None
        try:
            self.saved = read_document(path)
        except HopError as error:
            self.broken = error

    @property
    def exists(self) -> bool:
        return self.saved is not None or self.broken is not None

    @property
    def differs(self) -> bool:
        return self.broken is not None or self.saved != self.document

    def diff(self) -> dict[str, str]:
        before = "" if self.saved is None else text_of(masked(self.saved))
        return {"before_header": self.path, "after_header": self.path, "before": before, "after": text_of(masked(self.document))}

    def write(self, backup: bool) -> str | None:
        """Replace the file in one step, the directory made where it is missing; the backup's path, if one was made."""
        saved_as = None
        if backup and self.exists:
            saved_as = self.module.backup_local(self.path) or None
            if saved_as:
                os.chmod(saved_as, 0o600)
        os.makedirs(os.path.dirname(self.path) or ".", mode=0o755, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(self.path) or ".", prefix=".spdk_config-")  # 0600 from the start
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text_of(self.document))
                file.flush()
                os.fsync(file.fileno())
            new = not os.path.exists(self.path)
            self.module.atomic_move(temporary, self.path)
            if new:
                os.chmod(self.path, 0o600)  # it made the mode of any new file; what was asked for comes later, and may fail
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)
        return saved_as
