# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""A wanted RBD bdev: the module's options, checked and normalised before anything is asked, and what becomes of it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import CapacityError, parse_image_size, parse_size
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import ImageSpec, ImageState
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Change
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_qos import wanted_limits
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_facts import normal_uuid


@dataclass
class WantedBdev:
    """One wanted bdev with everything that was read and decided about it; sizes in bytes."""

    wish: dict[str, t.Any]
    name: str
    spec: ImageSpec | None
    wanted: int | None
    exact: bool
    observed: int | None = None  # the image's bytes as another Ceph client read them
    found: dict[str, t.Any] | None = None
    image: ImageState | None = None
    action: str = "none"
    message: str = ""
    uuid: str | None = None
    cluster: str | None = None
    access: dict[str, t.Any] | None = None  # user and configuration, where a release opens bdevs without clusters
    grow_image: bool = False
    changed: bool = False
    before_image_bytes: int | None = None
    before_bytes: int | None = None
    image_bytes: int | None = None
    snapshot: str | None = None  # taken before the image grew
    size_bytes: int | None = None
    satisfied: bool = True
    changes: list[Change] = field(default_factory=list)
    error: HopError | None = None  # what kept this one back, while the others went on

    @property
    def state(self) -> str:
        return self.wish["state"]

    @property
    def source(self) -> ImageSpec:
        """The image, for steps that are only planned when it is known."""
        if self.spec is None:
            raise HopError("the image of this bdev is not known", obj=self.name, hop="bdev", remedy="give pool and image")
        return self.spec

    @property
    def goal(self) -> int:
        """The wanted bytes, for steps that are only planned when a size is asked for."""
        if self.wanted is None:
            raise HopError("no size is asked for", obj=self.name or str(self.spec), hop="bdev", remedy="give size, such as 800G")
        return self.wanted

    @property
    def bdev_name(self) -> str:
        """The name the target knows it by: the existing bdev's where one is used under another name."""
        return self.found["name"] if self.found else self.name

    def result(self) -> dict[str, t.Any]:
        """This bdev for the module's ``bdevs`` return value."""
        found = self.found or {}
        spec = self.spec or ImageSpec(found.get("pool") or "", "", found.get("image") or "")
        return {
            "name": found.get("name") or self.name,
            "uuid": found.get("uuid") or self.uuid,
            "pool": spec.pool or None,
            "rados_namespace": spec.namespace or None,
            "image": spec.image or None,
            "cluster": self.cluster or self.wish.get("cluster"),
            "block_size": found.get("block_size") or self.wish.get("block_size"),
            "state": "absent" if (self.state == "absent") else "present",
            "action": self.action,
            "changed": self.changed,
            "before_image_bytes": self.before_image_bytes,
            "before_bytes": self.before_bytes,
            "image_bytes": self.image_bytes,
            "snapshot": self.snapshot,
            "size_bytes": self.size_bytes,
            "satisfied": self.satisfied,
            "message": self.message if self.error is None else str(self.error),
        }


def wanted_bdevs(wishes: t.Sequence[t.Mapping[str, t.Any]]) -> list[WantedBdev]:
    """Items of the module's options; raises :class:`HopError` for what cannot be meant, before anything is asked."""
    items: list[WantedBdev] = []
    names: set[str] = set()
    images: set[ImageSpec] = set()
    for wish in wishes:
        name, pool, image = wish.get("name") or "", wish.get("pool"), wish.get("image")
        label = name or "/".join(part for part in (pool, wish.get("rados_namespace"), image) if part) or "bdev"

        def bad(message: str, remedy: str, label: str = label) -> HopError:
            return HopError(message, obj=label, hop="bdev", remedy=remedy)

        if bool(pool) != bool(image):
            raise bad("pool and image belong together", "give both")
        if wish["state"] == "present" and not (name and pool):
            raise bad("a bdev that is to be present needs name, pool and image", "give all three")
        if not name and not pool:
            raise bad("nothing names the bdev", "give name, or pool and image")
        if wish["state"] == "grown" and not wish.get("size"):
            raise bad("state=grown needs a size", "give size, such as 800G")
        block_size = wish.get("block_size")
        if block_size is not None and (block_size < 512 or block_size & (block_size - 1)):
            raise bad(f"block_size {block_size} is not a power of two from 512 on", "use 512 or 4096")
        wanted = None
        if wish.get("size") is not None:
            if wish["state"] == "absent":
                raise bad("a size means nothing for state=absent", "leave size out")
            try:
                wanted = parse_image_size(wish["size"])
            except CapacityError as error:
                raise bad(str(error), "correct the size") from error
            if block_size and wanted % block_size:
                raise bad(f"a size of {wanted} bytes is not a multiple of the block_size {block_size}", "correct size or block_size")
        observed = None
        if wish.get("image_size"):
            try:
                observed = parse_size(wish["image_size"], "image_size")
            except CapacityError as error:
                raise bad(str(error), "give the bytes that nvmeof.spdk.rbd_image returned") from error
            if wanted is not None and wanted > observed:
                raise bad(
                    f"the image has {observed} bytes, less than the wanted {wanted}, and this target does not grow it",
                    "grow it first with nvmeof.spdk.rbd_image on a Ceph client",
                )
        wanted_limits(wish.get("qos"), label)
        try:
            uuid = normal_uuid(wish.get("uuid"))
        except ValueError:
            raise bad(f"uuid {wish['uuid']!r} is not a UUID", "correct it, or leave it out") from None
        spec = ImageSpec(pool, wish.get("rados_namespace") or "", image) if pool and image else None
        if (name and name in names) or (spec and spec in images):
            raise bad("the list names this bdev or image twice", "name each bdev and each image once")
        names.add(name)
        if spec:
            images.add(spec)
        items.append(WantedBdev(dict(wish), name, spec, wanted, bool(wish.get("exact")), observed, uuid=uuid))
    return items
