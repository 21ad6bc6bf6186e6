# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""RBD images wanted against found: present, grown and absent."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import CapacityError, human, parse_image_size
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import Ceph, CephError, ImageNotFoundError, ImageSpec, ImageState, image_spec
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_lease import LeaseOptions, Leases
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_snapshots import SnapshotWish
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Change, Changes


@dataclass
class WantedImage:
    """One wanted image; sizes in bytes, None where there is none."""

    spec: ImageSpec
    size: int | None
    exact: bool
    state: str
    before: int | None = None
    after: int | None = None
    changed: bool = False
    action: str = "none"
    found: ImageState | None = None
    trash: bool = True
    snapshot: str | None = None
    leases: Leases = field(default_factory=Leases)


def wanted_images(entries: t.Sequence[t.Mapping[str, t.Any]]) -> list[WantedImage]:
    """The module's options, checked before Ceph is asked anything."""
    wanted: list[WantedImage] = []
    seen: set[ImageSpec] = set()
    for entry in entries:
        spec = image_spec(entry)
        if spec in seen:
            raise HopError("the list names this image twice", obj=str(spec), hop="image", remedy="name each image once")
        seen.add(spec)
        size = None
        if entry.get("size") is not None:
            try:
                size = parse_image_size(entry["size"])
            except CapacityError as error:
                raise HopError(str(error), obj=str(spec), hop="image", remedy="correct the size") from error
        elif entry["state"] == "grown":
            raise HopError("state=grown needs a size", obj=str(spec), hop="image", remedy="give size, such as 800G")
        wanted.append(WantedImage(spec, size, bool(entry.get("exact")), entry["state"], trash=entry.get("trash") is not False))
    return wanted


def plan_images(ceph: Ceph, wanted: list[WantedImage], snapshots: SnapshotWish | None = None) -> Changes:
    """Read every image and decide; raises :class:`HopError` before anything is touched. ``snapshots``: one is taken of each image before it grows."""
    changes = Changes()
    for item in wanted:
        try:
            item.found = ceph.state(item.spec)
            item.before = item.after = item.found.size_bytes
        except ImageNotFoundError as error:
            if item.state == "absent":
                continue
            if item.state == "grown":
                raise
            if item.size is None:
                raise HopError(
                    "the image does not exist and no size is given to create it", obj=str(item.spec), hop="image", remedy="give size, such as 800G"
                ) from error
            _plan_create(ceph, changes, item, item.size)
            continue
        if item.state == "absent":
            refuse_used(ceph, item)
            _plan_remove(ceph, changes, item)
            continue
        if item.size is None or item.size == item.before:
            continue
        if item.size < item.before:
            if item.exact:
                raise HopError(
                    f"the image has {human(item.before)} ({item.before} bytes), more than exactly {human(item.size)} ({item.size} bytes)",
                    obj=str(item.spec),
                    hop="image",
                    remedy="an image never shrinks; ask for the present size, or leave exact out",
                )
            continue
        ceph.check_growable(item.spec, item.found)
        if snapshots is not None:
            _plan_snapshot(ceph, changes, item, item.size, snapshots)
        _plan_grow(ceph, changes, item, item.size)
    return changes


def refuse_used(ceph: Ceph, item: WantedImage) -> None:
    """Raise :class:`HopError` for an image that anybody uses; there is no force for it, because the data would be gone."""
    uses = ceph.uses(item.spec)
    if item.found is not None and item.found.lease is not None:
        uses.append(f"{item.found.lease['owner']} grows it")
    if uses:
        raise HopError(
            f"the image is in use: {'; '.join(uses)}",
            obj=str(item.spec),
            hop="image",
            call="trash move" if item.trash else "remove",
            remedy="end that use first (remove the bdev, the snapshots with their clones, the mirroring); an image in use is never removed",
        )


def apply_images(ceph: Ceph, changes: Changes, wanted: list[WantedImage], options: LeaseOptions, check_mode: bool) -> None:
    """Carry the plan out, holding the lease of every image that grows."""
    growing = {item.spec: item.found for item in wanted if item.action == "grown" and item.found is not None}
    leases = Leases(options)
    for item in wanted:
        item.leases = leases
    with leases.held(lambda: ceph, {} if check_mode else growing):
        changes.apply(check_mode)


def _plan_create(ceph: Ceph, changes: Changes, item: WantedImage, size: int) -> None:
    def create() -> None:
        ceph.create(item.spec, size)
        found = ceph.state(item.spec)
        item.after = found.size_bytes
        if found.size_bytes != size:  # somebody else was quicker with another size
            with Leases(item.leases.options).held(lambda: ceph, {item.spec: found}):
                item.after = ceph.grow(item.spec, size, item.exact)[1]

    item.changed, item.action, item.after = True, "created", size
    changes.add("image", str(item.spec), "create", None, {"state": "present", "size_bytes": size}, create)


def _plan_remove(ceph: Ceph, changes: Changes, item: WantedImage) -> None:
    def remove() -> None:
        refuse_used(ceph, item)
        try:
            ceph.remove(item.spec, item.trash)
        except ImageNotFoundError:
            return  # somebody else was quicker
        try:
            ceph.state(item.spec)
        except ImageNotFoundError:
            return
        raise HopError("the image is still there", obj=str(item.spec), hop="image", call="open", remedy="look for somebody else who makes it, then run again")

    item.changed, item.action, item.after = True, "trashed" if item.trash else "removed", None
    changes.add("image", str(item.spec), "trash" if item.trash else "remove", {"state": "present", "size_bytes": item.before}, None, remove)


def _plan_snapshot(ceph: Ceph, changes: Changes, item: WantedImage, size: int, snapshots: SnapshotWish) -> None:
    change: Change | None = None

    def take() -> None:
        item.leases.require(item.spec)
        item.snapshot = None
        item.snapshot = snapshots.take(ceph, item.spec, size, change)

    item.snapshot, change = snapshots.plan(ceph, changes, item.spec, item.before or 0, take)


def _plan_grow(ceph: Ceph, changes: Changes, item: WantedImage, size: int) -> None:
    def grow() -> None:
        item.leases.require(item.spec)
        item.after = ceph.grow(item.spec, size, item.exact)[1]

    item.changed, item.action, item.after = True, "grown", size
    changes.add("image", str(item.spec), "grow", {"size_bytes": item.before}, {"size_bytes": size}, grow)


def image_result(item: WantedImage) -> dict[str, t.Any]:
    return {
        "pool": item.spec.pool,
        "rados_namespace": item.spec.namespace or None,
        "image": item.spec.image,
        "before_bytes": item.before,
        "size_bytes": item.after,
        "snapshot": item.snapshot,
        "action": item.action,
        "changed": item.changed,
    }


def pool_facts(ceph: Ceph, specs: t.Iterable[ImageSpec], provisioned: bool = False) -> list[dict[str, t.Any]]:
    """What the pools of these images can still take; None for what this client may not ask, with the reason in ``error``.

    Two calls for any number of pools. ``provisioned`` also sums up the sizes of all images of each pool, which opens every one of them.
    """
    pools = sorted({spec.pool for spec in specs})
    problems: list[str] = []

    def asked(question: t.Callable[[], t.Any], otherwise: t.Any) -> t.Any:
        try:
            return question()
        except CephError as error:
            problems.append(str(error))
            return otherwise

    limits = asked(ceph.pool_limits, {}) if pools else {}
    usage = asked(ceph.pool_usage, {}) if pools else {}
    shared = list(problems)
    found = []
    for pool in pools:
        problems[:] = shared
        fact = {"pool": pool, "exists": pool in limits if limits else None, "free_bytes": None, "stored_bytes": None, "provisioned_bytes": None}
        fact.update({"max_bytes": None, "full": None, "nearfull": None, **usage.get(pool, {}), **limits.get(pool, {})})
        if provisioned and fact["exists"] is not False:
            fact["provisioned_bytes"] = asked(lambda pool=pool: ceph.pool_provisioned(pool), None)
        found.append({**fact, "error": "; ".join(problems) or None})
    return found
