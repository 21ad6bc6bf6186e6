# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""RBD block devices: clusters, create, delete, and the resize that can destroy data.

`bdev_rbd_resize` takes MiB and compares them with the *bdev's* size rounded down, never with the image, and librbd's plain resize
shrinks: 2**44 MiB wraps to 0 bytes, and the floor of a size that is no whole number of MiB cuts the rest. Both are kept as recorded.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from .bdev import MIB, Bdev, Bdevs
from .decode import RpcError, errno_error
from .rbd_backend import Backend, BackendError, Cluster, Image
from .release import Release

if TYPE_CHECKING:
    from .target import Target


class RbdBdev(Bdev):
    product = "Ceph Rbd Disk"

    def __init__(
        self, p: dict[str, Any], name: str, size: int, image: Image | None, own: Cluster | None, cluster: "RegisteredCluster | None", release: Release
    ) -> None:
        super().__init__(name, p["block_size"], size // p["block_size"], p.get("uuid"))
        if not release.does("bdev_uuid_always") and not p.get("uuid"):
            self.uuid = ""
        self.pool, self.image_name = p["pool_name"], p["rbd_name"]
        self.user, self.own_config = p.get("user_id"), p.get("config")
        self.read_only = p.get("read_only", False)
        self.image, self.own, self.cluster = image, own, cluster
        writes = set() if self.read_only else {"write", "write_zeroes"}
        self.io_types = frozenset({"read", "flush", "reset"} | writes | ({"unmap"} if release.does("rbd_unmap") else set()))

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
        if self.uuid:
            params["uuid"] = self.uuid
        return {"method": "bdev_rbd_create", "params": params}

    def close(self) -> None:
        if self.image is not None:
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

    @property
    def watching(self) -> bool:
        """Whether bdevs follow their images: a matter of the release, and of the faults asked for."""
        return self.target.faults.watch and self.target.release.does("watch")

    # -- clusters -----------------------------------------------------------------------------------------------------------------

    def rpc_bdev_rbd_register_cluster(self, p: dict[str, Any]) -> str:
        if "name" not in p:
            if self.target.release.does("nameless_cluster_crash"):
                self.target.crash("cluster without a name")
            raise errno_error(errno.EPERM)
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
        release = self.target.release
        if not p["block_size"]:
            if release.does("block_size_0_crash"):
                self.target.crash("block_size 0")
            raise errno_error(errno.EINVAL)
        own = cluster = image = None
        size = 0
        try:
            if "cluster_name" in p:
                cluster = self.clusters.get(p["cluster_name"])
                if cluster is None:
                    raise BackendError(f"no cluster {p['cluster_name']}")
                connection = cluster.connection
            else:
                # with `config` the default file is not read (bdev_rbd.c of 26.05)
                if release.does("bad_user_crash"):
                    self._try_user(p)
                connection = own = self.backend.connect(p.get("user_id"), None, not p.get("config"), p.get("config") or {}, None)
            image = connection.open(p["pool_name"], p["rbd_name"], p.get("read_only", False))
            size = image.size()
        except BackendError as error:
            self.target.log("ERROR", f"bdev_rbd_create: {error}")
            if not (release.does("empty_bdev") and (own or cluster)):
                if own is not None:
                    own.close()
                raise errno_error(errno.EPERM) from None
        name = p.get("name", f"Ceph{self.created}")
        self.created += 1
        if cluster is not None:
            cluster.references += 1
        bdev = RbdBdev(p, name, size, image, own, cluster, release)
        try:
            self.bdevs.register(bdev)
        except RpcError:
            bdev.close()
            raise
        if self.watching and image is not None:
            try:
                image.watch(lambda: self.target.post(lambda: self._image_changed(bdev)))
            except BackendError as error:
                # as in SPDK: only logged, the device then never follows its image
                self.target.log("ERROR", f"Failed to set up watch: {error}")
        return name

    def _try_user(self, p: dict[str, Any]) -> None:
        try:
            self.backend.connect(p.get("user_id"), None, not p.get("config"), p.get("config") or {}, None).close()
        except BackendError as error:
            self.target.crash(str(error))

    def opened(self, bdev: Bdev) -> None:
        """A namespace opens the bdev: where an idle bdev holds no watcher, its image may be gone by now."""
        if not self.target.release.does("vanished_image_crash") or not isinstance(bdev, RbdBdev) or bdev.image is None:
            return
        try:
            bdev.image.size()
        except BackendError as error:
            self.target.crash(str(error))

    def _image_changed(self, bdev: RbdBdev) -> None:
        if self.bdevs.all.get(bdev.name) is not bdev or not self.watching or bdev.image is None:
            return
        try:
            self.bdevs.notify_blocks(bdev, bdev.image.size() // bdev.block_size)
        except BackendError as error:
            self.target.log("ERROR", f"{bdev.name}: {error}")
        except OSError:
            self.target.log("ERROR", f"failed to notify block cnt change of {bdev.name}")

    def rpc_bdev_rbd_delete(self, p: dict[str, Any]) -> bool:
        return self.bdevs.delete(p["name"], RbdBdev)

    def rpc_bdev_rbd_resize(self, p: dict[str, Any]) -> bool:
        bdev = self.bdevs.need(p["name"])
        if not isinstance(bdev, RbdBdev) or bdev.size // MIB > p["new_size"]:
            raise errno_error(errno.EINVAL)
        return self._resize(bdev, p["new_size"] * MIB % 2**64)

    def rpc_resize_rbd_bdev(self, p: dict[str, Any]) -> bool:
        """The patch that was never merged: bytes (or MiB, in its forerunner), no guard at all."""
        bdev = self.bdevs.find(p.get("name", ""))
        if not isinstance(bdev, RbdBdev):
            raise RpcError(-32602, "Invalid parameters")
        unit = MIB if os.environ.get("SPDK_SIM_RESIZE_RBD_BDEV") == "mib" else 1
        return self._resize(bdev, p["size"] * unit % 2**64)

    def _resize(self, bdev: RbdBdev, wanted: int) -> bool:
        if bdev.image is None:
            raise errno_error(errno.EPERM)
        # the call itself holds the device open, so a smaller result is -EBUSY even on an idle device - after the image was cut
        held = 0 if self.target.release.does("resize_ignores_busy") else 1
        bdev.users += held
        try:
            bdev.image.resize(wanted)
            self.bdevs.notify_blocks(bdev, wanted // bdev.block_size)
        except BackendError as error:
            raise errno_error(error.number) from None
        except OSError as error:
            raise errno_error(error.errno or errno.EIO) from None
        finally:
            bdev.users -= held
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
