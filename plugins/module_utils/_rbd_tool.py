# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""RBD images through the ``rbd`` and ``ceph`` programs, for hosts without python3-rbd."""

from __future__ import annotations

import json
import re
import shutil
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import (
    Ceph,
    CephError,
    CephOptions,
    ImageSpec,
    ImageState,
    first_json,
)


def find_tool(name: str) -> str | None:
    """The path of a program, also where sbin is not in PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/bin:/usr/local/bin:/usr/sbin:/bin")


class ToolCeph(Ceph):
    """Every operation is one process under ``timeout``; sizes are sent in bytes (``--size NB``)."""

    how = "rbd"

    def __init__(self, options: CephOptions, tool: str, run_command: t.Callable[..., t.Any]) -> None:
        super().__init__(options)
        self._tool = tool
        self._run_command = run_command

    def _run(self, program: str, *arguments: str) -> tuple[int, str, str]:
        command = ["timeout", "-k", "5", str(self.options.timeout), program, "-c", self.options.conf, "--id", self.options.user]
        if self.options.keyring:
            command += ["--keyring", self.options.keyring]
        rc, out, err = self._run_command(command + list(arguments))
        return rc, out, err

    @staticmethod
    def _why(err: str) -> str:
        """The program's own complaint, without librados' log lines around it."""
        lines = [line for line in err.strip().splitlines() if line.strip()]
        chosen = [line for line in lines if re.match(r"(rbd|ceph|Error\b)", line)] or lines
        return " ".join(chosen[-2:])

    def _rbd(self, spec: ImageSpec, *arguments: str, shrink: int = 0) -> str:
        call = arguments[0]
        rc, out, err = self._run(self._tool, *arguments)
        if rc == 0:
            return out
        why = self._why(err)
        if rc in (124, 137):
            raise self._dead(spec, call)
        if rc == 2:
            raise self._missing(spec, call, why)
        if call == "resize" and rc == 22 and "shrink" in err:
            raise self._shrink(spec, shrink, why)
        raise self._error(f"the rbd program could not {call} the image {spec}", spec, call, f"exit code {rc}: {why}")

    def _ceph(self, *arguments: str) -> t.Any:
        program = find_tool("ceph")
        if program is None:
            raise self._error(f"cannot ask for '{' '.join(arguments)}'", None, arguments[0], "there is no ceph program", "install ceph-common")
        rc, out, err = self._run(program, *arguments, "--format", "json")
        if rc != 0:
            raise self._error(f"'ceph {' '.join(arguments)}' failed", None, " ".join(arguments), f"exit code {rc}: {self._why(err)}")
        return first_json(out)

    def fsid(self) -> str:
        return str(self._ceph("fsid")["fsid"]).lower()

    def state(self, spec: ImageSpec) -> ImageState:
        size = int(json.loads(self._rbd(spec, "info", "--format", "json", str(spec)))["size"])
        status = json.loads(self._rbd(spec, "status", "--format", "json", str(spec)))
        watchers = status.get("watchers") or []
        if isinstance(watchers, dict):  # before Ceph 14
            watchers = list(watchers.values())
        return ImageState(size, [str(watcher["address"]) for watcher in watchers])

    def create(self, spec: ImageSpec, size: int) -> None:
        rc, unused, err = self._run(self._tool, "create", "--no-progress", "--size", f"{size}B", str(spec))
        if rc == 0 or rc == 17:
            return
        if rc in (124, 137):
            raise self._dead(spec, "create")
        raise self._error(f"the rbd program could not create the image {spec}", spec, "create", f"exit code {rc}: {self._why(err)}")

    def _resize(self, spec: ImageSpec, size: int) -> None:
        self._rbd(spec, "resize", "--no-progress", "--size", f"{size}B", str(spec), shrink=size)

    def blocklist(self) -> list[str]:
        try:
            entries = self._ceph("osd", "blocklist", "ls")
        except CephError as error:
            if error.cause is None or "EINVAL" not in error.cause:
                raise
            entries = self._ceph("osd", "blacklist", "ls")  # its name before Ceph 16
        return [str(entry["addr"]) for entry in entries or []]

    def pool_free_bytes(self, pool: str) -> int | None:
        try:
            pools = self._ceph("df")["pools"]
        except CephError:
            return None
        return next((int(entry["stats"]["max_avail"]) for entry in pools if entry["name"] == pool), None)

    def close(self) -> None:
        """Nothing is kept open."""
