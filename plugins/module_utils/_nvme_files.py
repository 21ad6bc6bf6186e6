# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Small text files that a module owns, or has a part in: compared, and written whole or not at all."""

from __future__ import annotations

import os
import tempfile
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Change


def read(path: str) -> str | None:
    """What is in a file; ``None`` where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise _error(path, "read", exc) from exc


def _error(path: str, call: str, exc: OSError) -> HopError:
    return HopError(
        f"the file cannot be {'read' if call == 'read' else 'written'}",
        obj=path,
        hop="path",
        call=f"{call} {path}",
        cause=exc.strerror or str(exc),
        remedy="run as root (become), and see that its directory can be written",
    )


def write(path: str, text: str, mode: int) -> None:
    """Replace a file; its directory is made where it is missing."""
    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        # beside it, so that it gets the labels of that directory
        handle, new = tempfile.mkstemp(dir=directory)
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(new, mode)
            os.replace(new, path)
        except OSError:
            os.unlink(new)
            raise
    except OSError as exc:
        raise _error(path, "write", exc) from exc


def change(path: str, text: str | None, mode: int = 0o644, after: t.Callable[[], None] | None = None) -> Change | None:
    """The change that makes a file hold ``text`` (``None``: there is no such file), if it does not. ``after`` is called when it was made.

    A file that is right but open to more than ``mode`` says is written anew.
    """
    before = read(path)
    if before == text and (text is None or not os.stat(path).st_mode & 0o777 & ~mode):
        return None

    def apply() -> None:
        if text is None:
            try:
                os.unlink(path)
            except OSError as exc:
                raise _error(path, "delete", exc) from exc
        else:
            write(path, text, mode)
        if after is not None:
            after()

    action = "create" if before is None else "delete" if text is None else "update"
    return Change("file", path, action, None if before is None else {"content": before}, None if text is None else {"content": text}, apply)
