# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What is wrong or risky with a target: its bdevs against their images, its subsystems against its transports."""

from __future__ import annotations

import functools
import socket
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import MIB
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import Ceph, ImageSpec, address_ip
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_release import ReleaseTable

CRITICAL, WARNING = "critical", "warning"


def problem(code: str, obj: str, hop: str, text: str, remedy: str, severity: str = WARNING) -> dict[str, str]:
    """``code`` is a word for its kind that stays the same."""
    return {"code": code, "object": obj, "hop": hop, "problem": text, "remedy": remedy, "severity": severity}


@functools.lru_cache(maxsize=None)
def is_local(ip: str) -> bool:
    """Whether this host has the address: only an own one can be bound."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((ip, 0))
    except OSError:
        return False
    return True


def foreign_bind_allowed() -> bool:
    """Whether binding proves nothing, because the kernel lets a host bind to addresses it does not have (as keepalived sets it)."""
    for family in ("ipv4", "ipv6"):
        try:
            with open(f"/proc/sys/net/{family}/ip_nonlocal_bind", encoding="ascii") as handle:
                if handle.read().strip() == "1":
                    return True
        except OSError:
            continue
    return False


def add_images(bdevs: t.Sequence[dict[str, t.Any]], ceph: t.Callable[[], Ceph], wanted: bool, names: t.Container[str] | None = None) -> None:
    """Fill ``image_bytes``, ``image_error``, ``image_primary``, ``lease`` and ``watched`` of the RBD bdevs; None where it was not or cannot be read.

    ``names``: read the images of these bdevs only.

    ``watched``: whether a client of this host has the image open for writing, which a target on this host keeps as
    long as its Ceph client lives.
    """
    telling = not foreign_bind_allowed()
    for bdev in bdevs:
        bdev.update(image_bytes=None, image_error=None, image_primary=None, lease=None, watched=None)
        if not wanted or not bdev["pool"] or not bdev["image"] or (names is not None and bdev["name"] not in names):
            continue
        try:
            state = ceph().state(ImageSpec(bdev["pool"], bdev["rados_namespace"] or "", bdev["image"]))
        except HopError as error:
            bdev["image_error"] = str(error)
            continue
        bdev["image_bytes"], bdev["image_primary"], bdev["lease"] = state.size_bytes, state.primary, state.lease
        if telling:
            bdev["watched"] = any(is_local(ip) for ip in map(address_ip, state.watchers) if ip)


def blocklisted(ceph: Ceph) -> list[str] | None:
    """Blocklisted clients of this host, or None if the user may not ask."""
    try:
        entries = ceph.blocklist()
    except HopError:
        return None
    addresses = [(entry, address_ip(entry)) for entry in entries]
    return [entry for entry, address in addresses if address and is_local(address)]


def bdev_problems(bdevs: t.Sequence[dict[str, t.Any]], table: ReleaseTable, blocked: list[str] | None) -> list[dict[str, str]]:
    """Problems of bdevs, their images and their identity."""
    found: list[dict[str, str]] = []
    uuids: dict[str, str] = {}
    images: dict[tuple[t.Any, ...], str] = {}
    for bdev in bdevs:
        name, image, size = bdev["name"], bdev["image_bytes"], bdev["size_bytes"]
        if size == 0:
            found.append(
                problem("no_blocks", name, "bdev", "the bdev has 0 blocks", "check its image; delete and create the bdev when nothing uses it", CRITICAL)
            )
        if bdev["image_error"]:
            found.append(
                problem("image_unreadable", name, "image", f"the image's size is unknown: {bdev['image_error']}", "let it be read, else nothing is resized")
            )
        if image is not None and image < size:
            text = f"the image has {image} bytes, less than the {size} of the bdev; I/O beyond its end fails"
            found.append(
                problem("image_smaller", name, "image", text, "find out who shrank the image, and restore what was cut off before growing it", CRITICAL)
            )
        elif image is not None and image // (bdev["block_size"] or 1) * (bdev["block_size"] or 1) > size:
            remedy = "wait, or run the growth again" if table.is_so("follows_image") else "this release does not follow its images; run the growth"
            found.append(problem("bdev_behind", name, "bdev", f"the bdev shows {size} bytes of an image of {image}", remedy))
        if image is not None and image % MIB:
            text = f"the image's {image} bytes are no whole number of MiB; a bdev_rbd_resize by hand to the same size would cut it"
            found.append(problem("not_mib", name, "image", text, f"let it grow to {image // MIB + 1}M"))
        if bdev["watched"] is False and not bdev["read_only"]:
            if blocked:
                text = "no client of this host watches the image, and Ceph has blocklisted a client of this host: " + ", ".join(blocked[:3])
                found.append(problem("blocklisted", name, "image", text, "restart the target: a blocklisted client never recovers", CRITICAL))
            elif table.is_so("follows_image"):
                text = "no client of this host watches the image, so the bdev does not follow it"
                found.append(
                    problem("not_watched", name, "image", text, "look at the target's log for 'Failed to set up watch'; restart the target when it is idle")
                )
        if bdev["uuid"] and uuids.setdefault(bdev["uuid"], name) != name:
            text = f"has the same uuid as {uuids[bdev['uuid']]}"
            found.append(problem("uuid_twice", name, "bdev", text, "create one of them with another uuid; hosts tell volumes apart by it", CRITICAL))
        if bdev["image"]:
            key = (bdev["pool"], bdev["rados_namespace"], bdev["image"])
            if images.setdefault(key, name) != name:
                found.append(problem("image_twice", name, "bdev", f"opens the same image as {images[key]}", "delete one of the two bdevs"))
    return found


def subsystem_problems(
    subsystems: t.Sequence[dict[str, t.Any]], transports: t.Sequence[dict[str, t.Any]], bdevs: t.Sequence[dict[str, t.Any]]
) -> list[dict[str, str]]:
    """Problems of subsystems, their listeners and namespaces."""
    found: list[dict[str, str]] = []
    names = {bdev["name"]: bdev for bdev in bdevs}
    running = {transport["trtype"] for transport in transports}
    uuids: dict[str, str] = {}
    serials: dict[str, str] = {}
    if subsystems and not running:
        found.append(problem("no_transport", "target", "path", "the target has no transport", "create one (nvmeof.spdk.nvmf_transport)", CRITICAL))
    for entry in subsystems:
        nqn = entry["nqn"]
        for listener in entry["listeners"]:
            if running and listener["trtype"] not in running:
                text = f"listens by {listener['trtype']}, which the target does not speak"
                found.append(problem("transport_missing", nqn, "path", text, "create the transport (nvmeof.spdk.nvmf_transport)", CRITICAL))
        if entry["namespaces"] and not entry["listeners"]:
            found.append(problem("no_listener", nqn, "path", "the subsystem has namespaces and no listener", "give it a listener"))
        if entry["namespaces"] and not entry["hosts"] and not entry["allow_any_host"]:
            found.append(problem("no_host", nqn, "path", "no host may connect", "name its hosts"))
        if serials.setdefault(entry["serial_number"], nqn) != nqn:
            text = f"has the same serial number as {serials[entry['serial_number']]}"
            found.append(
                problem("serial_twice", nqn, "namespace", text, "create subsystems with serial numbers of their own; links in /dev/disk/by-id collide")
            )
        for namespace in entry["namespaces"]:
            label = f"{nqn}#{namespace['nsid']}"
            bdev = names.get(namespace["bdev"])
            if bdev is None:
                found.append(
                    problem("bdev_gone", label, "namespace", f"its bdev {namespace['bdev']} is gone", "create the bdev with the same uuid again", CRITICAL)
                )
            elif namespace["uuid"] and bdev["uuid"] and namespace["uuid"] != bdev["uuid"]:
                text = f"its uuid {namespace['uuid']} is not its bdev's {bdev['uuid']}"
                found.append(problem("uuid_differs", label, "namespace", text, "make sure that every target gives this volume the same uuid"))
            if namespace["uuid"] and uuids.setdefault(namespace["uuid"], label) != label:
                text = f"has the same uuid as {uuids[namespace['uuid']]}"
                found.append(problem("uuid_twice", label, "namespace", text, "remove one when no host uses it; hosts take both for one volume", CRITICAL))
    return found


def keyring_problems(keys: t.Sequence[dict[str, t.Any]]) -> list[dict[str, str]]:
    """Keys that were removed and live on in their users, who could not be given them again."""
    text = "the key was removed from the keyring while hosts or controllers go on with it"
    remedy = "add it again (nvmeof.spdk.spdk_keyring), or give its users another key"
    there = {key["name"] for key in keys if not key["removed"]}
    return [problem("key_removed", key["name"], "path", text, remedy) for key in keys if key["removed"] and key["name"] not in there]
