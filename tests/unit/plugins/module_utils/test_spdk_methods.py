# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's tables against the decoders of SPDK, release by release.

``tests/lab/simulator/releases.json`` was cut out of SPDK's source at every release tag: up to 26.01 from the C decoder tables, from 26.05 on from
SPDK's own schema files; the parameters that transports decode themselves (20.10 to 26.01) and the parts of ``listen_address`` and ``namespace``
were added from the code. The development branch stands there as 26.09. A span is ``[since, until, ...]``, null is open.
"""

from __future__ import annotations

import json
import os
import re

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_methods import METHODS, RELEASES, TRANSPORT_OPTIONS
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import ReleaseTable, release_name

TESTS = os.path.abspath(__file__).split(os.sep + "unit" + os.sep)[0]
with open(os.path.join(TESTS, "lab", "simulator", "releases.json"), encoding="utf-8") as _file:
    SOURCE = json.load(_file)

#: No release has it, so the source does not know it: a patch that was never merged, and a parameter of vendors.
ONLY_OURS = {"resize_rbd_bdev": None, "bdev_rbd_create": {"namespace_name"}}
#: Taken and ignored, because adding and removing share a decoder there. The collection never sends them.
ONLY_DECODED = {
    "nvmf_subsystem_remove_host": {"dhchap_key", "dhchap_ctrlr_key"},
    "nvmf_subsystem_remove_listener": {"secure_channel", "ana_state", "sock_impl"},
}
#: `transport` is the older spelling of trtype, which every release takes.
OBJECTS = {"object:nvmf_listen_address": {"transport"}, "object:nvmf_namespace": set()}
KINDS = {"boolean": bool, "uint8": int, "uint16": int, "uint32": int, "int32": int, "array:oncs_features": list, "array:fuses_features": list}


def number(text):
    major, minor = text.split(".")
    return int(major), int(minor)


def holds(release, since, until, *_rest):
    return (since is None or number(since) <= release) and (until is None or release < number(until))


def source_params(method, release):
    """The names a release decodes, inner ones as ``object.name``."""
    names = set()
    for name, rows in SOURCE["methods"][method]["params"].items():
        kinds = [row[2] for row in rows if holds(release, *row)]
        if not kinds or name in ONLY_DECODED.get(method, ()):
            continue
        names.add(name)
        if kinds[0] in OBJECTS:
            inner = SOURCE["objects"][kinds[0].partition(":")[2]]
            names |= {f"{name}.{key}" for key, spans in inner.items() if key not in OBJECTS[kinds[0]] and any(holds(release, *span) for span in spans)}
    return names


def test_the_releases_are_the_same():
    assert [release_name(release) for release in RELEASES] == SOURCE["releases"]
    assert (25, 1) not in RELEASES


@pytest.mark.parametrize("method", sorted(METHODS))
def test_method_name_and_parameters_in_every_release(method):
    if method in ONLY_OURS and ONLY_OURS[method] is None:
        assert method not in SOURCE["methods"]
        return
    entry = SOURCE["methods"][method]
    old, until = (entry.get("old") or [None, None])[:2]
    for release in RELEASES:
        table = ReleaseTable(release)
        there = any(holds(release, *row) for row in entry["state"])
        name = None if not there else old if old and holds(release, None, until) else method
        assert table.wire_name(method) == name, release
        if not there:
            continue
        ours = {param for param, span in METHODS[method].params.items() if span.holds(release)}
        if method == "nvmf_create_transport":
            ours |= {option for option, (span, _kind) in TRANSPORT_OPTIONS.items() if span.holds(release)}
        assert ours == source_params(method, release), release
        assert METHODS[method].startup == all(mask == "S" for _since, _until, mask in entry["state"])
    for param in ONLY_OURS.get(method, ()):
        assert METHODS[method].params[param].since is None


def test_types_of_transport_options():
    rows = SOURCE["methods"]["nvmf_create_transport"]["params"]
    for option, (_span, kind) in TRANSPORT_OPTIONS.items():
        assert KINDS[rows[option][-1][2]] is kind, option


#: What no person calls: how a target is asked what it is, whether it is ready; and what the collection never sends.
NOT_FOR_PEOPLE = {
    *("rpc_get_methods", "spdk_get_version", "framework_start_init", "framework_wait_init", "bdev_wait_for_examine"),
    *("bdev_rbd_unregister_cluster", "nvmf_subsystem_get_qpairs"),
}


def test_every_call_has_its_place_in_the_documentation():
    root = os.path.dirname(TESTS)
    with open(os.path.join(root, "docs", "calls.md"), encoding="utf-8") as file:
        named = set(re.findall(r"`([a-z_]+)`", file.read()))
    known = {name: method for name, method in METHODS.items() if name not in NOT_FOR_PEOPLE}
    assert [name for name in known if name not in named] == []
    assert [method.legacy for method in known.values() if method.legacy and method.legacy not in named] == []
