# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""RBD block devices: clusters, create, delete, and the resize that can destroy data.

`bdev_rbd_resize` takes MiB and compares them with the *bdev's* size rounded down, never with the image, and librbd's plain resize
shrinks: 2**44 MiB wraps to 0 bytes, and the floor of a size that is no whole number of MiB cuts the rest. Both are kept as recorded.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from .bdev import MIB, Bdev, Bdevs
from .decode import RpcError, errno_error
from .rbd_backend import Backend, BackendError, Cluster, Image

if TYPE_CHECKING:
    from .target import Target


class RbdBdev(Bdev):
    product = "Ceph Rbd Disk"

    def __init__(self, p: dict[str, Any], name: str, image: Image, own: Cluster | None, cluster: "RegisteredCluster | None") -> None:
        super().__init__(name, p["block_size"], image.size() // p["block_size"], p.get("uuid"))
        self.pool, self.image_name = p["pool_name"], p["rbd_name"]
        self.user, self.own_config = p.get("user_id"), p.get("config")
        self.read_only = p.get("read_only", False)
        self.image, self.own, self.cluster = image, own, cluster
        writes = set() if self.read_only else {"write", "write_zeroes"}
        self.io_types = frozenset({"read", "unmap", "flush", "reset"} | writes)

    @property
    def connection(self) -> Cluster:
        """The Ceph client it uses."""
        connection = self.own or (self.cluster and self.cluster.connection)
        assert connection is not None
        return connection

    def driver_specific(self) -> dict[str, Any]:
        shape: dict[str, Any] = {"pool_name": self.pool, "rbd_name": self.image_name}
        if self.cluster is not None:
            shape.update({key: value for key, value in self.cluster.describe().items() if key not in ("cluster_name", "core_mask")})
        else:
            if self.user is not None:
                shape["user_id"] = self.user
            if self.own_config:
                shape["config"] = dict(self.own_config)
        return {"rbd": shape}

    def config(self) -> dict[str, Any]:
        """As SPDK saves it: without cluster_name and without read_only (recorded; both are lost over a restart)."""
        params: dict[str, Any] = {"name": self.name, "pool_name": self.pool, "rbd_name": self.image_name, "block_size": self.block_size}
        if self.user is not None:
            params["user_id"] = self.user
        if self.own_config:
            params["config"] = dict(self.own_config)
        params["uuid"] = self.uuid
        return {"method": "bdev_rbd_create", "params": params}

    def close(self) -> None:
        self.image.close()
        if self.cluster is not None:
            self.cluster.references -= 1
        if self.own is not None:
            self.own.close()


class RegisteredCluster:
    """A cluster registration: a Ceph client shared by many bdevs."""

    def __init__(self, p: dict[str, Any], connection: Cluster) -> None:
        self.params = p
        self.connection = connection
        self.references = 0

    def describe(self) -> dict[str, Any]:
        """The shape of bdev_rbd_get_clusters_info."""
        p = self.params
        shape: dict[str, Any] = {"cluster_name": p["name"]}
        shape.update({key: p[key] for key in ("user_id", "config_param", "config_file", "key_file", "core_mask") if p.get(key)})
        return shape


class Rbd:
    """The rbd module of the target."""

    def __init__(self, target: "Target", bdevs: Bdevs, backend: Backend) -> None:
        self.target, self.bdevs, self.backend = target, bdevs, backend
        self.clusters: dict[str, RegisteredCluster] = {}
        self.created = 0
        self.watching = True

    # -- clusters -----------------------------------------------------------------------------------------------------------------

    def rpc_bdev_rbd_register_cluster(self, p: dict[str, Any]) -> str:
        if p["name"] in self.clusters or not _core_mask_ok(p.get("core_mask")):
            raise errno_error(errno.EPERM)
        try:
            connection = self.backend.connect(p.get("user_id"), p.get("config_file"), True, p.get("config_param") or {}, p.get("key_file"))
        except BackendError as error:
            self.target.log("ERROR", f"bdev_rbd_register_cluster: {error}")
            raise errno_error(errno.EPERM) from None
        self.clusters[p["name"]] = RegisteredCluster(p, connection)
        return p["name"]

    def rpc_bdev_rbd_unregister_cluster(self, p: dict[str, Any]) -> bool:
        cluster = self.clusters.get(p["name"])
        if cluster is None or cluster.references:
            raise errno_error(errno.EPERM)
        del self.clusters[p["name"]]
        cluster.connection.close()
        return True

    def rpc_bdev_rbd_get_clusters_info(self, p: dict[str, Any]) -> Any:
        if not self.clusters or "name" in p and p["name"] not in self.clusters:
            raise errno_error(errno.ENOENT)
        if "name" in p:
            return self.clusters[p["name"]].describe()
        return [cluster.describe() for cluster in self.clusters.values()]

    # -- bdevs --------------------------------------------------------------------------------------------------------------------

    def rpc_bdev_rbd_create(self, p: dict[str, Any]) -> str:
        if not p["block_size"]:
            raise errno_error(errno.EINVAL)
        own = cluster = None
        try:
            if "cluster_name" in p:
                cluster = self.clusters.get(p["cluster_name"])
                if cluster is None:
                    raise BackendError(f"no cluster {p['cluster_name']}")
                connection = cluster.connection
            else:
                # with `config` the default file is not read (bdev_rbd.c of 26.05)
                connection = own = self.backend.connect(p.get("user_id"), None, not p.get("config"), p.get("config") or {}, None)
            image = connection.open(p["pool_name"], p["rbd_name"], p.get("read_only", False))
            size_known = image.size()
        except BackendError as error:
            self.target.log("ERROR", f"bdev_rbd_create: {error}")
            if own is not None:
                own.close()
            raise errno_error(errno.EPERM) from None
        assert size_known >= 0
        name = p.get("name", f"Ceph{self.created}")
        self.created += 1
        if cluster is not None:
            cluster.references += 1
        bdev = RbdBdev(p, name, image, own, cluster)
        try:
            self.bdevs.register(bdev)
        except RpcError:
            bdev.close()
            raise
        if self.watching:
            try:
                image.watch(lambda: self.target.post(lambda: self._image_changed(bdev)))
            except BackendError as error:
                # as in SPDK: only logged, the device then never follows its image
                self.target.log("ERROR", f"Failed to set up watch: {error}")
        return name

    def _image_changed(self, bdev: RbdBdev) -> None:
        if self.bdevs.all.get(bdev.name) is not bdev or not self.watching:
            return
        try:
            self.bdevs.notify_blocks(bdev, bdev.image.size() // bdev.block_size)
        except BackendError as error:
            self.target.log("ERROR", f"{bdev.name}: {error}")
        except OSError:
            self.target.log("ERROR", f"failed to notify block cnt change of {bdev.name}")

    def rpc_bdev_rbd_delete(self, p: dict[str, Any]) -> bool:
        self.bdevs.unregister(self.bdevs.need(p["name"], RbdBdev))
        return True

    def rpc_bdev_rbd_resize(self, p: dict[str, Any]) -> bool:
        bdev = self.bdevs.need(p["name"])
        if not isinstance(bdev, RbdBdev) or bdev.size // MIB > p["new_size"]:
            raise errno_error(errno.EINVAL)
        wanted = p["new_size"] * MIB % 2**64
        # the call itself holds the device open, so a smaller result is -EBUSY even on an idle device - after the image was cut
        bdev.users += 1
        try:
            bdev.image.resize(wanted)
            self.bdevs.notify_blocks(bdev, wanted // bdev.block_size)
        except BackendError as error:
            raise errno_error(error.number) from None
        except OSError as error:
            raise errno_error(error.errno or errno.EIO) from None
        finally:
            bdev.users -= 1
        return True


def _core_mask_ok(mask: str | None) -> bool:
    if mask is None:
        return True
    text = mask.strip()
    if text.startswith("[") and text.endswith("]"):
        return all(part.strip().replace("-", "", 1).isdigit() for part in text[1:-1].split(","))
    try:
        return int(text, 16) > 0
    except ValueError:
        return False
