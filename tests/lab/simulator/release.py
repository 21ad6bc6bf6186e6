# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which release is played: its methods (``releases.json``, ``methods.json``) and its other behaviour (`BEHAVIOUR`).

Release 26.05 is ``methods.json``, all of its 206 methods as recorded. The others are cut out of ``releases.json``: for every method its
name up to 19.07 (and how long that stayed an alias), its state mask and its parameters, each as ``[since, until, ...]``.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

HERE = os.path.dirname(os.path.realpath(__file__))
Number = tuple[int, int]
DEFAULT = "26.05"

#: What differs beyond names and parameters, as ``(since, until)``; None is open. Asked with `Release.does`.
BEHAVIOUR: dict[str, tuple[str | None, str | None]] = {
    # -- the process and the wire
    "config_is_json": ("20.10", None),  # -c; before, only --json is
    "wait_with_json": ("24.05", None),  # --wait-for-rpc beside a JSON configuration
    "socket_before_config": ("24.05", None),  # the socket is there while the configuration loads
    "batches": ("26.05", None),
    "large_requests": ("26.05", None),
    "null_params": ("19.10", None),  # "params": null is no parameters
    "state_mask_error": (None, "19.10"),
    # -- errors
    "bdev_errno": ("19.10", None),  # bdev methods answer -errno; before, -32602
    "delete_false": (None, "22.05"),  # deleting another product's bdev answers false
    "create_subsystem_named": ("20.10", None),  # "Unable to create subsystem NQN"
    "half_created_subsystem": (None, "20.01"),  # a bad serial number leaves the subsystem behind, inactive
    "transport_newline": (None, "21.01"),
    "built_without_rdma": (None, "19.04"),  # as the recorded 19.01.1 was
    "psk_path": ("23.05", "24.09"),
    "duplicate_listener": (None, "24.05"),  # true
    "duplicate_host": (None, "24.09"),  # true
    "nqn_named": ("26.09", None),  # "Subsystem with NQN '...' not found"
    "target_named": ("26.09", None),
    "busy": ("20.10", "24.05"),  # two changes of one subsystem at once: "Internal error"
    "qos_sticks": ("26.05", None),  # measured in 26.05; not looked for elsewhere
    # -- crashes (measured: 19.01.1, 23.01, 26.05)
    "block_size_0_crash": (None, "23.05"),
    "nameless_cluster_crash": ("21.07", "26.05"),
    "bad_user_crash": ("23.01", "23.05"),
    "vanished_image_crash": ("23.01", "23.05"),
    # -- RBD
    "empty_bdev": ("21.10", "22.09"),  # a missing image makes a bdev of 0 blocks
    "watch": ("24.01", None),
    "resize_ignores_busy": (None, "24.01"),  # a resize that cut the image says true on an idle bdev
    # -- what is shown
    "bdev_uuid_always": ("22.05", None),  # every bdev has one, and it is an alias
    "bdev_details": ("24.01", None),  # preferred_write_alignment and so on
    "bdev_numa": ("25.05", None),
    "bdev_zoned": ("20.04", None),
    "bdev_claim_type": ("23.01", None),
    "rbd_unmap": ("20.01", None),
    "nvme_config_first": (None, "19.10"),
    "io_types_all": ("20.04", None),
    "model_number": ("19.04", None),
    "transport_key": (None, "24.05"),  # listen addresses have "transport" beside "trtype"
    "default_max_namespaces": ("21.01", None),  # 32; before, no limit
    "cntlid_shown": ("21.07", None),
    "anagrpid": ("21.10", None),
    "nguid_from_bdev": ("21.10", None),
    "passthrough_shown": ("26.01", None),
    "limits_shown": ("26.05", None),
    "ana_state_scalar": (None, "21.10"),
    "serial_newline": (None, "19.04"),  # the default serial number, as recorded in 19.01.1
    "io_qpairs_shown": ("20.07", None),
    "config_by_subsystem": (None, "20.07"),
}

#: Options of the program that did not always exist.
OPTIONS = {
    "json-ignore-init-errors": "20.04",
    "iova-mode": "20.07",
    "pci-allowed": "21.01",
    "pci-blocked": "21.01",
    "disable-cpumask-locks": "23.01",
    "rpcs-allowed": "23.01",
    "msg-mempool-size": "23.01",
    "lcores": "23.05",
    "no-huge": "24.01",
    "interrupt-mode": "24.01",
    "no-rpc-server": "24.05",
    "enforce-numa": "24.09",
}
COMMITS = {(26, 5): "d519b163cb", (23, 1): "10edc60aa8"}
#: Names of configuration entries up to 19.07 that have no row in releases.json.
OLD_CONFIG_NAMES = {
    "bdev_set_options": "set_bdev_options",
    "bdev_nvme_set_options": "set_bdev_nvme_options",
    "bdev_nvme_set_hotplug": "set_bdev_nvme_hotplug",
}


def number(text: str) -> Number:
    """``(19, 1)`` for ``19.01``."""
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def _load(name: str) -> dict[str, Any]:
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return json.load(file)


class Release:
    """One release: ``19.01``, ``19.01.1``, ``26.09-pre``."""

    def __init__(self, text: str = DEFAULT) -> None:
        match = re.fullmatch(r"v?(\d\d)\.(\d\d)(?:\.(\d+))?(-\w+)?", text)
        table = _load("releases.json")
        if match is None or f"{match[1]}.{match[2]}" not in table["releases"]:
            raise ValueError(f"no release {text}; there are {', '.join(table['releases'])}")
        self.text = text.lstrip("v")
        self.number = number(f"{match[1]}.{match[2]}")
        self.patch, self.suffix = int(match[3] or 0), match[4] or ""
        #: wire name -> {"name": present name, "state", "params", "relaxed", "alias"}
        self.methods: dict[str, dict[str, Any]] = {}
        recorded = _load("methods.json")
        self.enums: dict[str, list[str]] = recorded["enums"]
        self.objects: dict[str, dict[str, list[Any]]] = recorded["objects"]
        if self.number == number(DEFAULT):
            self.methods = {name: {"name": name, **entry} for name, entry in recorded["methods"].items()}
        else:
            self._cut(table)
        self._known = {method: list(entry["params"]) for method, entry in table["methods"].items()}

    def _in(self, since: str | None, until: str | None) -> bool:
        return (since is None or number(since) <= self.number) and (until is None or self.number < number(until))

    def does(self, behaviour: str) -> bool:
        """Whether this release shows a `BEHAVIOUR`."""
        return self._in(*BEHAVIOUR[behaviour])

    def _fields(self, segments: dict[str, list[list[Any]]]) -> dict[str, list[Any]]:
        return {key: [kind, optional] for key, rows in segments.items() for since, until, kind, optional in rows if self._in(since, until)}

    def _cut(self, table: dict[str, Any]) -> None:
        # a recorded list comes first: it has methods of parts that nobody measures, and an order
        listed = table["listed"].get("{}.{:02d}".format(*self.number), {})
        found: dict[str, dict[str, Any]] = {}
        for name, entry in table["methods"].items():
            state = next((mask for since, until, mask in entry["state"] if self._in(since, until)), None)
            if state is None:
                continue
            made = {"name": name, "state": state, "params": self._fields(entry["params"]), "relaxed": self._in(table["relaxed"].get(name, "99.99"), None)}
            old, until, alias_until = entry.get("old", (None, None, None))
            if old and self._in(None, until):
                found[old] = made
            else:
                found[name] = made
                if old and self._in(None, alias_until):
                    found[old] = {**made, "alias": True}
        self.methods = {name: found.get(name, {"name": name, "state": state}) for name, state in listed.items()}
        if not listed:
            self.methods = found
        self.objects = {**self.objects, **{name: self._fields(segments) for name, segments in table["objects"].items()}}

    def wire_name(self, method: str) -> str | None:
        """What this release calls a method (present name), or None."""
        if method in self.methods:
            return method
        found = next((name for name, entry in self.methods.items() if entry["name"] == method), None)
        return found or (OLD_CONFIG_NAMES.get(method) if "set_bdev_options" in self.methods else None)

    def add_patched_resize(self) -> None:
        """The never merged ``resize_rbd_bdev`` of 2019."""
        self.methods["resize_rbd_bdev"] = {"name": "resize_rbd_bdev", "state": "R", "params": {"name": ["string", True], "size": ["uint64", False]}}

    def config_entry(self, entry: dict[str, Any]) -> dict[str, Any] | None:
        """An entry of framework_get_config in this release's words, without what it does not have; None if it lacks the method."""
        method = entry["method"]
        name = self.wire_name(method)
        if name is None:
            return None
        made: dict[str, Any] = {"method": name}
        if "params" in entry:
            made["params"] = entry["params"]
            fields = self.methods.get(name, {}).get("params")
            if fields and self.number != number(DEFAULT):
                made["params"] = {key: value for key, value in entry["params"].items() if key in fields or key not in self._known.get(method, [])}
        return made

    @property
    def version(self) -> dict[str, Any]:
        """The answer of spdk_get_version."""
        major, minor = self.number
        commit = COMMITS.get(self.number)
        patch = f".{self.patch}" if self.patch else ""
        text = f"SPDK v{major}.{minor:02d}{patch}{self.suffix}" + (f" git sha1 {commit}" if commit else "")
        fields = {"major": major, "minor": minor, "patch": self.patch, "suffix": self.suffix}
        return {"version": text, "fields": {**fields, "commit": commit} if commit else fields}
