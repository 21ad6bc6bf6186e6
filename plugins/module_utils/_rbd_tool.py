# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""RBD images through the ``rbd``, ``rados`` and ``ceph`` programs (ceph-common), for hosts without python3-rbd."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import time
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import (
    Ceph,
    CephError,
    CephOptions,
    ImageSpec,
    ImageState,
    Snapshot,
    first_json,
    limits_of,
    usage_of,
    where_primary,
)
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_lease import LEASE, Holder, Lock, LockLost, LockTaken, decode_listing, lease_of


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
        self._count = itertools.count()

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
        chosen = [line for line in lines if re.match(r"(rbd|ceph|ERROR|error|Error\b)", line)] or lines
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
        info = json.loads(self._rbd(spec, "info", "--format", "json", str(spec)))
        status = json.loads(self._rbd(spec, "status", "--format", "json", str(spec)))
        watchers = status.get("watchers") or []
        if isinstance(watchers, dict):  # before Ceph 14
            watchers = list(watchers.values())
        # block_name_prefix has the id also where "id" is not shown (before Ceph 14)
        number = info.get("id") or str(info.get("block_name_prefix") or "").rpartition(".")[2]
        header = f"{spec.image}.rbd" if info.get("format") == 1 else f"rbd_header.{number}" if number else ""
        try:
            lease = lease_of(self.lockers(spec, header, LEASE), time.time()) if header else None
        except CephError:
            lease = None  # what cannot be read here stops the growth where the lease is taken
        return ImageState(int(info["size"]), [str(watcher["address"]) for watcher in watchers], header, lease, self._primary(spec, info))

    def _primary(self, spec: ImageSpec, info: t.Mapping[str, t.Any]) -> str | None:
        mirroring = info.get("mirroring")
        if not mirroring or mirroring.get("primary") is not False or mirroring.get("state") != "enabled":
            return None
        rc, out, _err = self._run(self._tool, "mirror", "pool", "info", "--format", "json", spec.pool)
        peers = (json.loads(out).get("peers") or []) if rc == 0 else []
        return where_primary([str(peer.get("site_name")) for peer in peers])

    # A lock belongs to one client instance, and every process is another one. So the lock is of the type "shared" with a tag of our own:
    # nobody without this tag gets in, and a renewal is one more holder, which counts only while an earlier one is still there.

    def _rados(self, spec: ImageSpec, *arguments: str) -> tuple[int, str, str]:
        program = find_tool("rados")
        if program is None:
            raise self._error(
                "the lease of the image cannot be taken, so it is not resized",
                spec,
                "lock",
                "there is no rados program",
                "install ceph-common (programs rbd, rados, ceph) or python3-rbd",
            )
        rc, out, err = self._run(program, "-p", spec.pool, *(("-N", spec.namespace) if spec.namespace else ()), *arguments)
        if rc in (124, 137):
            raise self._dead(spec, " ".join(arguments[:2]))
        return rc, out, err

    def _refused(self, spec: ImageSpec, call: str, rc: int, err: str) -> CephError:
        return self._error(f"the rados program could not {call} the image {spec}", spec, call, f"exit code {rc}: {self._why(err)}")

    def lease_seconds(self, wanted: int, count: int) -> int:
        # nothing is renewed while a program runs, and each renewal is a process
        return max(wanted, 2 * self.options.timeout + 30) + count

    def lock(self, spec: ImageSpec, header: str, lock: Lock, renew: bool = False) -> None:
        if not header:
            raise self._error("the image's id is not known, so its lease cannot be taken", spec, "lock", "rbd info shows none")
        cookie = f"{lock.cookie}.{next(self._count)}"
        rc, _out, err = self._rados(
            spec,
            *("lock", "get", header, lock.name, "--lock-type", "shared", "--lock-tag", lock.cookie, "--lock-cookie", cookie),
            *("--lock-duration", str(lock.duration), "--lock-description", lock.text),
        )
        if rc != 0:
            if "(16)" in err:
                raise LockLost if renew else LockTaken
            raise self._refused(spec, "lock", rc, err)
        if renew and not any(holder.cookie != cookie for holder in self._own(spec, header, lock)):
            self.unlock(spec, header, lock)
            raise LockLost

    def _own(self, spec: ImageSpec, header: str, lock: Lock) -> list[Holder]:
        return [holder for holder in self.lockers(spec, header, lock.name) if holder.cookie.startswith(lock.cookie + ".")]

    def unlock(self, spec: ImageSpec, header: str, lock: Lock) -> None:
        for holder in self._own(spec, header, lock):
            self.break_lock(spec, header, lock.name, holder)

    def lockers(self, spec: ImageSpec, header: str, name: str) -> list[Holder]:
        rc, out, err = self._rados(spec, "lock", "info", header, name)
        if rc != 0:
            raise self._refused(spec, "lock info", rc, err)
        try:
            return decode_listing(out)
        except (ValueError, KeyError, TypeError) as error:
            raise self._error("cannot tell who holds the lock of the image", spec, "lock info", error) from error

    def break_lock(self, spec: ImageSpec, header: str, name: str, holder: Holder) -> None:
        rc, _out, err = self._rados(spec, "lock", "break", header, name, holder.entity, "--lock-cookie", holder.cookie)
        if rc != 0 and "(2)" not in err:
            raise self._refused(spec, "lock break", rc, err)

    def create(self, spec: ImageSpec, size: int) -> None:
        rc, unused, err = self._run(self._tool, "create", "--no-progress", "--size", f"{size}B", str(spec))
        if rc == 0 or rc == 17:
            return
        if rc in (124, 137):
            raise self._dead(spec, "create")
        raise self._error(f"the rbd program could not create the image {spec}", spec, "create", f"exit code {rc}: {self._why(err)}")

    def uses(self, spec: ImageSpec) -> list[str]:
        info = json.loads(self._rbd(spec, "info", "--format", "json", str(spec)))
        found = [f"client {address} has it open" for address in self.state(spec).watchers]
        for snapshot in json.loads(self._rbd(spec, "snap", "ls", "--all", "--format", "json", str(spec))):
            found.append(f"it has the snapshot {snapshot['name']}")
            if (snapshot.get("namespace") or {}).get("type", "user") == "user":
                for child in json.loads(self._rbd(spec, "children", "--format", "json", f"{spec}@{snapshot['name']}")):
                    found.append(f"{child['pool']}/{child['image']} is a clone of it")
        lockers = json.loads(self._rbd(spec, "lock", "ls", "--format", "json", str(spec)) or "[]")
        found += [f"{owner['locker']} holds a lock on it" for owner in (lockers.values() if isinstance(lockers, dict) else lockers)]
        if (info.get("mirroring") or {}).get("state", "disabled") != "disabled":
            found.append("it is mirrored")
        if info.get("group"):
            found.append(f"it belongs to the group {info['group']}")
        return found

    def remove(self, spec: ImageSpec, trash: bool) -> None:
        self._rbd(spec, *(("trash", "mv") if trash else ("rm", "--no-progress")), str(spec))

    def snapshots(self, spec: ImageSpec) -> list[Snapshot]:
        return [
            Snapshot(str(one["name"]), int(one["size"]), self._taken(one.get("timestamp")), str(one.get("protected")).lower() == "true")
            for one in json.loads(self._rbd(spec, "snap", "ls", "--format", "json", str(spec)))
        ]

    @staticmethod
    def _taken(text: str | None) -> float | None:
        """The program tells local time, as ctime(3) writes it."""
        try:
            return time.mktime(time.strptime(text or "", "%a %b %d %H:%M:%S %Y"))
        except ValueError:
            return None

    def clones(self, spec: ImageSpec, snapshot: str) -> list[str]:
        return [f"{child['pool']}/{child['image']}" for child in json.loads(self._rbd(spec, "children", "--format", "json", f"{spec}@{snapshot}"))]

    def create_snapshot(self, spec: ImageSpec, snapshot: str) -> None:
        rc, _out, err = self._run(self._tool, "snap", "create", f"{spec}@{snapshot}")
        if rc in (124, 137):
            raise self._dead(spec, "snap create")
        if rc == 2:
            raise self._missing(spec, "snap create", self._why(err))
        if rc not in (0, 17):
            raise self._error(f"the rbd program could not take a snapshot of the image {spec}", spec, "snap create", f"exit code {rc}: {self._why(err)}")

    def remove_snapshot(self, spec: ImageSpec, snapshot: str) -> None:
        self._rbd(spec, "snap", "rm", "--no-progress", f"{spec}@{snapshot}")

    def namespaces(self, pool: str) -> list[str]:
        return [str(one["name"]) for one in json.loads(self._rbd(ImageSpec(pool, "", ""), "namespace", "ls", "--format", "json", pool))]

    def image_names(self, pool: str, namespace: str) -> list[str]:
        spec = ImageSpec(pool, namespace, "")
        return [str(name) for name in json.loads(self._rbd(spec, "ls", "--format", "json", str(spec)))]

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

    def pool_usage(self) -> dict[str, dict[str, int | None]]:
        return usage_of(self._ceph("df"))

    def pool_provisioned(self, pool: str) -> int:
        place = ImageSpec(pool, "", "")
        names = [str(entry["name"]) for entry in json.loads(self._rbd(place, "namespace", "ls", "--format", "json", pool))]
        total = 0
        for namespace in ["", *names]:
            listed = self._rbd(place, "ls", "--long", "--format", "json", f"{pool}/{namespace}" if namespace else pool)
            # a snapshot has a line of its own; what it holds is not its image's size
            total += sum(int(entry["size"]) for entry in json.loads(listed) if not entry.get("snapshot"))
        return total

    def pool_limits(self) -> dict[str, dict[str, t.Any]]:
        return limits_of(self._ceph("osd", "pool", "ls", "detail"))

    def close(self) -> None:
        """Nothing is kept open."""
