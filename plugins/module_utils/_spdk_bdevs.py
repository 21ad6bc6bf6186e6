# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""RBD bdevs wanted against found: present, absent and grown.

The dangerous call is ``bdev_rbd_resize``: SPDK compares its ``new_size`` (MiB) with the *bdev's* size rounded down, never
with the image's, and then lets librbd cut the image (26.05 truncated an image to 0 bytes for an overflowing size, and cut half a MiB
for a "same" size). So images grow through librbd, the bdev follows by its watch (24.01 and later), and the call is only
ever sent to make a bdev notice a size that the image, read right before, already has.

A little over 500 lines: plan, execution and read-back of one bdev share its state, and the guards belong next to the calls they guard.
"""

from __future__ import annotations

import time
import typing as t
import uuid as uuid_module

from ansible_collections.nvmeof.spdk.plugins.module_utils._capacity import MIB, human
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import Ceph, ImageSpec
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_lease import LeaseOptions, Leases
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_snapshots import SnapshotWish
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Change, Changes
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdev_guard import refuse_vanished_image, resize_call, settle
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_bdev_wish import WantedBdev
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_clusters import (
    REGISTER,
    access_for,
    bdev_access,
    cluster_for,
    clusters_to_register,
    has_clusters,
    register_cluster,
)
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_qos import QosManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import RBD_PRODUCT, Target, TimedOut

#: Seconds a watching target (24.01 and later) gets to see a new image size by itself; measured are 4 to 18 ms.
WATCH_GRACE = 5.0
POLL = 0.05

#: From so many lagging bdevs on, one call for all bdevs is cheaper than one for each (30 ms for 1000 bdevs).
MANY = 16


def _not_applied() -> None:
    """Stands in a change's ``apply``: bdev changes are carried out in pipelined phases, not one by one."""


class BdevManager:
    """One call of the module: read, plan, carry out, read back.

    ``ceph`` gives the Ceph connection and is only called where an image's size or the cluster's fsid is needed;
    it raises :class:`HopError` when there is none (and so the growth fails closed).
    """

    def __init__(
        self,
        target: Target,
        ceph: t.Callable[[], Ceph],
        wait_timeout: float = 60.0,
        grace: float = WATCH_GRACE,
        resize_unit: str | None = None,
        lease: LeaseOptions | None = None,
        snapshots: SnapshotWish | None = None,
        keep_clusters: bool = False,
    ) -> None:
        self.keep_clusters = keep_clusters
        self.leases = Leases(lease)
        self.snapshots = snapshots
        self.target = target
        self.resize_unit = resize_unit
        self.ceph = ceph
        self.wait_timeout = wait_timeout
        self.grace = grace
        self.changes = Changes()
        self.planned: list[dict[str, t.Any]] = []
        self._register: list[dict[str, t.Any]] = []
        self._cluster_changes: list[Change] = []
        self.qos = QosManager(target, self.changes)

    # -- plan --------------------------------------------------------------------------------------------------

    def plan(self, items: list[WantedBdev], clusters: t.Sequence[t.Mapping[str, t.Any]], config_defaults: t.Mapping[str, t.Any] | None = None) -> None:
        """Read what is there (two calls and one look at each image that counts) and decide; touches nothing."""
        registered = self._plan_clusters(clusters, config_defaults)
        access = None if has_clusters(self.target.table) else bdev_access(clusters, self.target.table, config_defaults)
        bdevs = self.target.bdevs()
        by_name = {bdev["name"]: bdev for bdev in bdevs}
        by_image: dict[ImageSpec, dict[str, t.Any]] = {}
        for bdev in bdevs:
            if bdev["pool"] and bdev["image"]:
                by_image.setdefault(ImageSpec(bdev["pool"], bdev["rados_namespace"] or "", bdev["image"]), bdev)
        for item in items:
            self._find(item, by_name, by_image)
        adopted: dict[str, WantedBdev] = {}
        for item in items:
            if item.found is not None and adopted.setdefault(item.found["name"], item) is not item:
                raise HopError(
                    f"the list names the bdev {item.found['name']} twice, once by its name and once by its image",
                    obj=item.name or str(item.spec),
                    hop="bdev",
                    remedy="name each bdev once",
                )
        for item in items:
            if item.state == "absent":
                self._plan_absent(item)
            elif item.found is None:
                self._plan_create(item, registered, clusters, access)
            else:
                self._plan_existing(item, item.found)
        self.planned += self.qos.plan(items)

    def _plan_clusters(self, clusters: t.Sequence[t.Mapping[str, t.Any]], config_defaults: t.Mapping[str, t.Any] | None) -> list[str]:
        """Registered cluster names after this call."""
        self._register, registered = clusters_to_register(self.target, clusters, config_defaults, self.keep_clusters)
        for params in self._register:
            after = {key: value for key, value in params.items() if key != "name"}
            self._cluster_changes.append(self._change("cluster", params["name"], "register", None, {"state": "present", **after}))
            self.planned.append({"method": REGISTER, "params": params})
        return registered

    def _change(self, kind: str, name: str, action: str, before: dict[str, t.Any] | None, after: dict[str, t.Any] | None) -> Change:
        return self.changes.add(kind, name, action, before, after, _not_applied)

    @staticmethod
    def _find(item: WantedBdev, by_name: dict[str, dict[str, t.Any]], by_image: dict[ImageSpec, dict[str, t.Any]]) -> None:
        found = by_name.get(item.name) if item.name else None
        if found is None and item.spec is not None:
            found = by_image.get(item.spec)
            if found is not None and item.name:
                if item.state == "absent":
                    found = None  # a bdev of another name is not the one that is to go
                else:
                    item.message = f"the image is exported by the existing bdev {found['name']}, which is used as it is"
        if found is None:
            return
        if found["product"] != RBD_PRODUCT:
            raise HopError(
                f"the bdev {found['name']} is not an RBD bdev but a {found['product']}",
                obj=found["name"],
                hop="bdev",
                remedy="choose another name",
            )
        if item.spec is not None:
            there = ImageSpec(found["pool"], found["rados_namespace"] or "", found["image"])
            if there != item.spec:
                raise HopError(
                    f"the bdev {found['name']} holds the image {there}, not {item.spec}",
                    obj=found["name"],
                    hop="bdev",
                    remedy="choose another name, or remove that bdev first (state=absent) when nothing uses it",
                )
        else:
            item.spec = ImageSpec(found["pool"], found["rados_namespace"] or "", found["image"])
        item.found = found
        item.before_bytes = item.size_bytes = found["size_bytes"]
        if item.uuid is not None and item.state != "absent" and found["uuid"] != item.uuid:
            raise HopError(
                f"the bdev {found['name']} has the uuid {found['uuid']}, not {item.uuid}",
                obj=found["name"],
                hop="bdev",
                cause="hosts identify the volume by it, and SPDK cannot change it",
                remedy="ask for the uuid it has, or remove the bdev first (state=absent) when nothing uses it",
            )

    def _plan_absent(self, item: WantedBdev) -> None:
        found = item.found
        if found is None:
            item.message = "no such bdev"
            return
        if found["claimed"] and not item.wish.get("force"):
            raise HopError(
                f"the bdev {found['name']} is in use as a namespace; deleting it would take the disk from connected hosts",
                obj=found["name"],
                hop="bdev",
                call="bdev_rbd_delete",
                remedy="remove its namespace first (nvmeof.spdk.nvmf_subsystem), or set force",
            )
        item.action, item.changed = "deleted", True
        item.size_bytes = None
        before = {"state": "present", "pool": found["pool"], "image": found["image"], "size_bytes": found["size_bytes"]}
        item.changes.append(self._change("bdev", found["name"], "delete", before, None))
        self.planned.append({"method": "bdev_rbd_delete", "params": {"name": found["name"]}})

    def _create_params(self, item: WantedBdev) -> dict[str, t.Any]:
        params: dict[str, t.Any] = {
            "name": item.name,
            "pool_name": item.source.pool,
            "rbd_name": item.source.image,
            "block_size": item.wish.get("block_size") or 512,
        }
        if item.source.namespace:
            params["namespace_name"] = item.source.namespace
        if item.access is not None:
            params.update(item.access)
        elif item.cluster is not None:
            params["cluster_name"] = item.cluster
        if item.uuid is not None:
            params["uuid"] = item.uuid
        if item.wish.get("read_only"):
            params["read_only"] = True  # never dropped for an older release: that would make the export writable
        return params

    def _plan_create(
        self, item: WantedBdev, registered: list[str], clusters: t.Sequence[t.Mapping[str, t.Any]], access: dict[str, dict[str, t.Any]] | None
    ) -> None:
        if item.state == "grown":
            raise HopError(
                "there is no such bdev to grow", obj=item.name or str(item.spec), hop="bdev", remedy="create it with state=present, or correct the name"
            )
        if access is None:
            item.cluster = cluster_for(item.name, item.wish.get("cluster"), registered, clusters)
        else:
            item.cluster, item.access = access_for(item.name, item.wish.get("cluster"), access, self.target.table)
        self.target.check_call("bdev_rbd_create", {**self._create_params(item), "uuid": None}, item.name, "bdev")
        if item.uuid is not None or self.target.table.has("bdev_rbd_create", "uuid"):
            if item.uuid is None:
                item.uuid = str(uuid_module.uuid5(uuid_module.UUID(self.ceph().fsid()), f"{item.source.pool}/{item.source.namespace}/{item.source.image}"))
            self.target.check_call("bdev_rbd_create", self._create_params(item), item.name, "bdev")
        if item.wanted is not None:
            try:
                image = self._look(item)
            except HopError as error:
                item.error = error  # one missing image does not keep the others away
                return
            self._refuse_larger(item, image)
            item.grow_image = item.wanted > image
        after: dict[str, t.Any] = {"state": "present", **{k: v for k, v in self._create_params(item).items() if k != "name"}}
        if item.grow_image:
            self._grow_change(item)
        predicted = item.wanted if item.grow_image else item.image_bytes
        if predicted is not None:
            after["size_bytes"] = predicted
        item.image_bytes = predicted
        item.size_bytes = predicted
        item.action, item.changed = "created", True
        item.changes.append(self._change("bdev", item.name, "create", None, after))
        self.planned.append({"method": "bdev_rbd_create", "params": self._create_params(item)})

    def _look(self, item: WantedBdev) -> int:
        """Read the image's true size in bytes; an image that cannot be read stops everything (fail closed), unless another client just did."""
        if item.observed is not None:
            if not self.target.table.is_so("follows_image"):
                raise HopError(
                    f"SPDK {self.target.table.name} does not follow its images, so this target must read the image itself",
                    obj=item.bdev_name,
                    hop="bdev",
                    remedy="give the target python3-rbd (or the rbd tool) and a keyring, and leave image_size out",
                )
            item.before_image_bytes = item.image_bytes = item.observed
            return item.observed
        item.image = self.ceph().state(item.source)
        item.before_image_bytes = item.image_bytes = item.image.size_bytes
        return item.image.size_bytes

    @staticmethod
    def _refuse_larger(item: WantedBdev, image: int) -> None:
        if image > item.goal and item.exact:
            raise HopError(
                f"the image has {human(image)} ({image} bytes), more than exactly {human(item.goal)} ({item.goal} bytes)",
                obj=str(item.spec),
                hop="image",
                remedy="a volume never shrinks; ask for the present size, or leave exact out",
            )
        if image > item.goal:
            item.message = f"the image is larger than asked for ({human(image)}); nothing shrinks"

    def _plan_existing(self, item: WantedBdev, found: dict[str, t.Any]) -> None:
        if item.state == "present":
            self._compare(item, found)
            if item.wanted is None:
                refuse_vanished_image(self.target, self.ceph, found, item.source)
        if item.wanted is None:
            return
        image, bdev = self._look(item), found["size_bytes"]
        if image < bdev:
            raise HopError(
                f"CRITICAL: the image has {image} bytes, but the bdev {found['name']} still shows {bdev}; it was made smaller behind the target's back",
                obj=found["name"],
                hop="image",
                cause="I/O beyond the image's end fails",
                remedy="nothing was done; find out who shrank the image, and restore what was cut off before growing it again",
            )
        self._refuse_larger(item, image)
        item.grow_image = item.wanted > image
        if item.grow_image and found["read_only"]:
            item.message = "the bdev is read-only; its image grows"
        if item.grow_image:
            self._grow_change(item)
            item.image_bytes = item.wanted
        if bdev < item.wanted:
            if not self.target.table.is_so("follows_image"):
                method, params = resize_call(self.target, self.resize_unit, found["name"], item.wanted)
                self.target.check_call(method, params, found["name"], "bdev")
                if image > item.wanted:
                    raise self._needs_exact(item, image)
                self.planned.append({"method": method, "params": params})
            item.action, item.changed = "grown", True
            item.changes.append(self._change("bdev", found["name"], "grow", {"size_bytes": bdev}, {"size_bytes": item.image_bytes}))
            item.size_bytes = item.image_bytes

    def _needs_exact(self, item: WantedBdev, image: int) -> HopError:
        name = item.found["name"] if item.found else item.name
        if image % MIB:
            remedy = f"ask for a size of {image // MIB + 1}M or more; the image is no whole number of MiB"
        else:
            remedy = f"ask for the image's size ({image // MIB}M): a target is only told a size that the image has exactly"
        return HopError(
            f"the bdev {name} shows less than {human(item.goal)} and its image has {image} bytes, which is not the wanted size",
            obj=name,
            hop="bdev",
            call="bdev_rbd_resize",
            cause=f"SPDK {self.target.table.name} was not moved by the image"
            if self.target.table.is_so("follows_image")
            else f"SPDK {self.target.table.name} does not follow its images, and bdev_rbd_resize to any other size would cut the image",
            remedy=remedy,
        )

    def _grow_change(self, item: WantedBdev) -> None:
        if item.image is not None:
            self.ceph().check_growable(item.source, item.image)
            if self.snapshots is not None:
                item.snapshot, change = self.snapshots.plan(self.ceph(), self.changes, item.source, item.image.size_bytes, _not_applied)
                item.changes += [change] if change is not None else []
        item.changed = True
        item.changes.append(self._change("image", str(item.spec), "grow", {"size_bytes": item.before_image_bytes}, {"size_bytes": item.wanted}))

    def _compare(self, item: WantedBdev, found: dict[str, t.Any]) -> None:
        """Immutable attributes that differ are an error: re-creating would take the disk from hosts."""
        differs = []
        block_size = item.wish.get("block_size")
        if block_size is not None and block_size != found["block_size"]:
            differs.append(f"block_size is {found['block_size']}, not {block_size}")
        read_only = item.wish.get("read_only")
        if read_only is not None and found["read_only"] is not None and bool(read_only) != found["read_only"]:
            differs.append(f"read_only is {found['read_only']}, not {bool(read_only)}")
        if differs:
            raise HopError(
                f"the bdev {found['name']} exists, and " + " and ".join(differs),
                obj=found["name"],
                hop="bdev",
                cause="SPDK cannot change it in a bdev",
                remedy="ask for what it has, or remove the bdev first (state=absent) when nothing uses it",
            )

    # -- carry out ---------------------------------------------------------------------------------------------

    def apply(self, items: list[WantedBdev]) -> None:
        """Carry the plan out, holding the lease of every image that grows or whose bdev lags, until the bdevs show the size."""
        growing = {item.source: item.image for item in items if item.image is not None and (item.grow_image or item.action == "grown")}
        with self.leases.held(self.ceph, growing):
            self._carry_out(items)

    def _carry_out(self, items: list[WantedBdev]) -> None:
        """Clusters, deletions, images, creations, the wait until every bdev shows its size, limits; the first error ends it.

        An error of a single new bdev, or of limits, is raised when the others are made.
        Deletions come before growth: up to 26.05 a target can crash when a bdev is deleted while the news of a new
        image size is under way.
        """
        for params, change in zip(self._register, self._cluster_changes):
            register_cluster(self.target, params)
            change.done = True
        deleted = [item for item in items if item.action == "deleted"]
        settle(self.target, self.ceph, {item.bdev_name: item.source for item in deleted}, self.grace)
        self._phase(deleted, "delete")
        for item in items:
            if item.grow_image:
                self.leases.require(item.source)
                self._take_snapshot(item)
                item.before_image_bytes, item.image_bytes = self.ceph().grow(item.source, item.goal, item.exact)
                for change in item.changes:
                    change.done = change.done or change.kind == "image"
        self._phase([item for item in items if item.action == "created"], "create")
        self._wait([item for item in items if item.action in ("created", "grown") and item.wanted is not None and item.error is None])
        self.qos.apply()
        self.raise_first(items)

    def _take_snapshot(self, item: WantedBdev) -> None:
        """Take the snapshot that is to be there before the image is resized; it can take long, so the lease is looked at again."""
        if self.snapshots is None:
            return
        change = next((one for one in item.changes if one.kind == "snapshot"), None)
        item.snapshot = None
        item.snapshot = self.snapshots.take(self.ceph(), item.source, item.goal, change)
        self.leases.require(item.source)

    @staticmethod
    def raise_first(items: t.Sequence[WantedBdev]) -> None:
        """Raise the first error of a single bdev, once everything else is done (or, in check mode, planned)."""
        for error in (item.error for item in items if item.error is not None):
            raise error

    def _phase(self, items: list[WantedBdev], verb: str) -> None:
        """Create or delete ``items`` in one pipelined round and read back."""
        if not items:
            return
        creating = verb == "create"
        names = [item.name if creating else (item.found or {})["name"] for item in items]
        if creating:
            calls = [("bdev_rbd_create", self._create_params(item), item.name) for item in items]
        else:
            calls = [("bdev_rbd_delete", {"name": name}, name) for name in names]
        late: TimedOut | None = None
        outcomes: list[t.Any] = [None] * len(items)
        try:
            outcomes = self.target.change(calls, "bdev")
        except TimedOut as error:
            late = error  # some may have happened: what is there decides
        there = {bdev["name"]: bdev for bdev in self.target.bdevs()}
        failure: HopError | None = None
        for item, name, outcome in zip(items, names, outcomes):
            bdev = there.get(name)
            fine = (bdev is not None and bdev["size_bytes"] > 0) if creating else bdev is None
            problem: HopError | None = None
            if isinstance(outcome, HopError):
                problem = outcome
            elif fine:
                for change in item.changes:
                    change.done = True
                if creating and bdev is not None:
                    item.size_bytes, item.uuid = bdev["size_bytes"], bdev["uuid"]
            elif late is not None:
                problem = late
            elif creating and bdev is not None:
                problem = HopError(
                    "the new bdev has 0 blocks",
                    obj=name,
                    hop="bdev",
                    call="bdev_rbd_create",
                    cause=f"SPDK {self.target.table.name} says success for an image it cannot open"
                    if self.target.table.is_so("creates_empty_bdev")
                    else "the image is empty",
                    remedy="check pool, image and the cluster's user; remove the bdev (state=absent) before trying again",
                )
            else:
                problem = HopError(
                    f"the target said it did {verb} the bdev, but reading back shows otherwise",
                    obj=name,
                    hop="bdev",
                    call=f"bdev_rbd_{verb}",
                    remedy="look at the target's log",
                )
            if creating and late is None:
                item.error = problem
            failure = failure or problem
        if failure is not None and not (creating and late is None):
            raise failure

    def _wait(self, items: list[WantedBdev]) -> None:
        """Poll until each bdev shows at least its wanted size, nudging once where the watch did not work."""
        lagging = {(item.found or {"name": item.name})["name"]: item for item in items}
        started = time.monotonic()
        deadline = started + self.wait_timeout
        grace = self.grace if self.target.table.is_so("follows_image") else 0.0
        nudged: set[str] = set()
        while True:
            if len(lagging) > MANY:
                found = {bdev["name"]: bdev for bdev in self.target.bdevs()}
            else:
                found = self.target.bdevs_by_name(list(lagging))
            for name, item in list(lagging.items()):
                bdev = found.get(name)
                if bdev is None:
                    raise HopError("the bdev vanished while it was to grow", obj=name, hop="bdev", remedy="look at the target's log")
                item.size_bytes = bdev["size_bytes"]
                if bdev["size_bytes"] >= (item.wanted or 0):
                    for change in item.changes:
                        change.done = True
                    del lagging[name]
            if not lagging:
                return
            self.leases.renew()
            now = time.monotonic()
            if now - started >= grace:
                for name, item in lagging.items():
                    if name not in nudged:
                        nudged.add(name)
                        self._nudge(name, item)
            if now >= deadline:
                name, item = next(iter(lagging.items()))
                item.satisfied = False
                raise HopError(
                    f"the bdev {name} shows {item.size_bytes} bytes, not {item.wanted}, {self.wait_timeout:g} s after its image grew",
                    obj=name,
                    hop="bdev",
                    call="bdev_get_bdevs",
                    remedy="look at the target's log (its watch of the image may be lost, its Ceph client blocklisted), then run again; no host was touched",
                )
            time.sleep(POLL)

    def _nudge(self, name: str, item: WantedBdev) -> None:
        """Tell the target (:func:`resize_call`), if and only if the image read now has exactly the wanted size and the bdev read now is smaller."""
        if item.observed is not None or not self.leases.holds(item.source):
            return  # what another client read is not read now; without the lease nothing is sent
        self.leases.require(item.source)
        image = self.ceph().size(item.source)
        item.image_bytes = image
        bdev = self.target.bdevs_by_name([name]).get(name)
        if bdev is None or bdev["size_bytes"] >= item.goal:
            return
        if image != item.goal or item.goal % MIB:
            raise self._needs_exact(item, image)
        try:
            method, params = resize_call(self.target, self.resize_unit, name, item.goal)
            outcome = self.target.change([(method, params, name)], "bdev")[0]
        except TimedOut:
            return  # it may still happen: the polling looks, nothing is repeated
        if isinstance(outcome, HopError):
            raise outcome

    def read_back(self, items: list[WantedBdev]) -> None:
        """Final sizes as they are now: one call for all bdevs, and the images that were looked at."""
        there = {bdev["name"]: bdev for bdev in self.target.bdevs()}
        for item in items:
            name = item.found["name"] if item.found else item.name
            bdev = there.get(name)
            item.size_bytes = None if bdev is None else bdev["size_bytes"]
            if item.grow_image and item.spec is not None:
                item.image_bytes = self.ceph().size(item.spec)
            if item.wanted is not None:
                item.satisfied = bdev is not None and bdev["size_bytes"] >= item.wanted and (item.image_bytes or 0) >= item.wanted
            if item.found is None and bdev is not None:
                item.found = bdev

    def after_failure(self, items: list[WantedBdev]) -> None:
        """Let the results say what is, not what was planned; a target that no longer answers leaves sizes unknown (None)."""
        there: dict[str, dict[str, t.Any]] = {}
        try:
            there = {bdev["name"]: bdev for bdev in self.target.bdevs()}
        except HopError:
            pass  # the first failure is the one to report
        for item in items:
            item.changed = any(change.done for change in [*item.changes, *self.changes.of("bdev", item.bdev_name)])
            if not any(change.done and change.kind == "bdev" for change in item.changes):
                item.action = "none"
            if not any(change.done and change.kind == "image" for change in item.changes):
                item.image_bytes = item.before_image_bytes
            if any(change.kind == "snapshot" and not change.done for change in item.changes):
                item.snapshot = None
            bdev = there.get(item.bdev_name)
            item.size_bytes = None if bdev is None else bdev["size_bytes"]
            if item.wanted is not None:
                item.satisfied = min(item.size_bytes or 0, item.image_bytes or 0) >= item.wanted
