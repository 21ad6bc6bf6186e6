# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Block devices: the list every other part looks things up in, and the kinds that need no Ceph (malloc, null, aio)."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Any

from .decode import RpcError, errno_error
from .release import Release
from .server import Deferred

if TYPE_CHECKING:
    from .target import Target

MIB = 1024 * 1024
MAX_NAME = 255
IO_TYPES = (
    "read write unmap flush reset nvme_admin nvme_io nvme_io_md write_zeroes zcopy get_zone_info zone_management zone_append "
    "compare compare_and_write abort seek_hole seek_data copy nvme_iov_md nvme_nssr write_uncorrectable"
).split()
OLD_IO_TYPES = "read write unmap write_zeroes flush reset nvme_admin nvme_io".split()


def random_uuid() -> str:
    """A version 4 UUID (the uuid module takes longer to import than everything else here to run)."""
    text = bytearray(os.urandom(16))
    text[6] = text[6] & 0x0F | 0x40
    text[8] = text[8] & 0x3F | 0x80
    digits = text.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


class Bdev:
    """One block device. `users` counts open descriptors: a device in use never shrinks (-EBUSY), an idle one does."""

    product = ""
    io_types: frozenset[str] = frozenset()
    numa_id: int | None = None

    def __init__(self, name: str, block_size: int, num_blocks: int, uuid: str | None) -> None:
        self.name = name
        self.block_size = block_size
        self.num_blocks = num_blocks
        self.uuid = uuid or random_uuid()
        self.claimed = False
        self.users = 0
        self.qos = {"rw_ios_per_sec": 0, "rw_mbytes_per_sec": 0, "r_mbytes_per_sec": 0, "w_mbytes_per_sec": 0}
        self.qos_stuck = False

    @property
    def size(self) -> int:
        """Bytes."""
        return self.num_blocks * self.block_size

    def driver_specific(self) -> dict[str, Any]:
        """The `driver_specific` member of bdev_get_bdevs."""
        return {}

    def config(self) -> dict[str, Any] | None:
        """The entry framework_get_config shows in registration order, or None when the module lists its own first."""
        return None

    def close(self) -> None:
        """Let go of what is behind it."""

    def describe(self, release: Release) -> dict[str, Any]:
        """The shape of bdev_get_bdevs, keys in SPDK's order."""
        shown = self.uuid or None
        shape: dict[str, Any] = {"name": self.name, "aliases": [shown] if release.does("bdev_uuid_always") else [], "product_name": self.product}
        shape |= {"block_size": self.block_size, "num_blocks": self.num_blocks}
        if release.does("bdev_details"):
            shape |= {"preferred_write_alignment": 0, "preferred_write_granularity": 0}
            shape |= {"optimal_write_size": 0, "preferred_unmap_alignment": 0, "preferred_unmap_granularity": 0}
        if shown:
            shape["uuid"] = shown
        if self.numa_id is not None and release.does("bdev_numa"):
            shape["numa_id"] = self.numa_id
        shape["assigned_rate_limits"] = dict(self.qos)
        shape["claimed"] = self.claimed
        if self.claimed and release.does("bdev_claim_type"):
            shape["claim_type"] = "exclusive_write"
        if release.does("bdev_zoned"):
            shape["zoned"] = False
        shape["supported_io_types"] = {kind: kind in self.io_types for kind in (IO_TYPES if release.does("io_types_all") else OLD_IO_TYPES)}
        shape["driver_specific"] = self.driver_specific()
        return shape


class MallocBdev(Bdev):
    product = "Malloc disk"
    io_types = frozenset("read write unmap flush reset write_zeroes zcopy compare abort copy".split())
    numa_id = -1

    def module_config(self) -> dict[str, Any]:
        """The entry of framework_get_config."""
        params = {
            "name": self.name,
            "num_blocks": self.num_blocks,
            "block_size": self.block_size,
            "physical_block_size": self.block_size,
            "uuid": self.uuid,
            "optimal_io_boundary": 0,
            "md_size": 0,
            "dif_type": 0,
            "dif_is_head_of_md": False,
            "dif_pi_format": 0,
            "numa_id": -1,
        }
        return {"method": "bdev_malloc_create", "params": params}


class NullBdev(Bdev):
    product = "Null disk"
    io_types = frozenset("read write reset write_zeroes abort".split())

    def module_config(self) -> dict[str, Any]:
        """The entry of framework_get_config."""
        params = {
            "name": self.name,
            "num_blocks": self.num_blocks,
            "block_size": self.block_size,
            "physical_block_size": self.block_size,
            "md_size": 0,
            "dif_type": 0,
            "dif_is_head_of_md": False,
            "dif_pi_format": 0,
            "uuid": self.uuid,
        }
        params |= {"preferred_write_granularity": 0, "preferred_write_alignment": 0, "optimal_write_size": 0}
        params |= {"preferred_unmap_granularity": 0, "preferred_unmap_alignment": 0}
        return {"method": "bdev_null_create", "params": params}


class AioBdev(Bdev):
    product = "AIO disk"
    io_types = frozenset("read write flush reset write_zeroes".split())

    def __init__(self, params: dict[str, Any], size: int) -> None:
        super().__init__(params["name"], params["block_size"], size // params["block_size"], params.get("uuid"))
        self.filename = params["filename"]
        self.flags = {key: params.get(key, False) for key in ("readonly", "fallocate", "nowait")}

    def driver_specific(self) -> dict[str, Any]:
        return {"aio": {"filename": self.filename, "block_size_override": True, **self.flags}}

    def config(self) -> dict[str, Any]:
        params = {
            "name": self.name,
            "block_size": self.block_size,
            "filename": self.filename,
            "readonly": self.flags["readonly"],
            "fallocate": self.flags["fallocate"],
            "uuid": self.uuid,
            "nowait": self.flags["nowait"],
        }
        return {"method": "bdev_aio_create", "params": params}


class Bdevs:
    """All block devices of the target, in registration order."""

    def __init__(self, target: "Target") -> None:
        self.target = target
        self.all: dict[str, Bdev] = {}
        self.options: dict[str, Any] = {}
        self.events: list[dict[str, str]] = []
        self.automatic_malloc = 0

    def find(self, name: str) -> Bdev | None:
        """By name or by alias (the UUID)."""
        if name in self.all:
            return self.all[name]
        return next((bdev for bdev in self.all.values() if bdev.uuid and bdev.uuid == name.lower()), None)

    def need(self, name: str, kind: type | None = None) -> Bdev:
        """The device, or the recorded -19 (also for another product)."""
        bdev = self.find(name)
        if bdev is None or kind is not None and not isinstance(bdev, kind):
            raise errno_error(errno.ENODEV)
        return bdev

    def register(self, bdev: Bdev) -> str:
        """Add a device; -22 for an empty name, -17 when its name or UUID is taken."""
        if not bdev.name:
            raise errno_error(errno.EINVAL)
        if self.find(bdev.name) or bdev.uuid and self.find(bdev.uuid):
            raise errno_error(errno.EEXIST)
        self.all[bdev.name] = bdev
        self.event("bdev_register", bdev.name)
        return bdev.name

    def unregister(self, bdev: Bdev) -> None:
        """Remove a device; a namespace on it vanishes under its hosts, as in SPDK."""
        self.target.nvmf.bdev_removed(bdev)
        del self.all[bdev.name]
        self.event("bdev_unregister", bdev.name)
        bdev.close()

    def delete(self, name: str, kind: type) -> bool:
        """bdev_*_delete: False for another product up to 22.01, else -19."""
        if self.target.release.does("delete_false") and not isinstance(self.need(name), kind):
            return False
        self.unregister(self.need(name, kind))
        return True

    def event(self, kind: str, name: str) -> None:
        """Remember a notification for notify_get_notifications."""
        self.events.append({"type": kind, "ctx": name})

    def notify_blocks(self, bdev: Bdev, num_blocks: int) -> None:
        """SPDK's spdk_bdev_notify_blockcnt_change: OSError(EBUSY) when it would shrink a device somebody has open."""
        if num_blocks == bdev.num_blocks:
            return
        if num_blocks < bdev.num_blocks and bdev.users:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        bdev.num_blocks = num_blocks
        self.event("bdev_resize", bdev.name)
        self.target.nvmf.bdev_resized(bdev)

    # -- methods ------------------------------------------------------------------------------------------------------------------

    def rpc_bdev_get_bdevs(self, p: dict[str, Any]) -> Any:
        if "name" not in p:
            return [bdev.describe(self.target.release) for bdev in self.all.values()]
        bdev = self.find(p["name"])
        if bdev is not None:
            return [bdev.describe(self.target.release)]
        if not p.get("timeout"):
            raise errno_error(errno.ENODEV)
        end = time.monotonic() + p["timeout"] / 1000

        def poll() -> tuple[bool, Any]:
            found = self.find(p["name"])
            if found is not None:
                return True, [found.describe(self.target.release)]
            if time.monotonic() >= end:
                raise errno_error(errno.ETIMEDOUT)
            return False, None

        return Deferred(poll)

    def rpc_bdev_wait_for_examine(self, p: dict[str, Any]) -> bool:
        return True

    def rpc_bdev_set_options(self, p: dict[str, Any]) -> bool:
        options = self.options_now() | p
        if options["bdev_io_pool_size"] < options["bdev_io_cache_size"] * 2:
            raise RpcError(-32602, f"Pool size {options['bdev_io_pool_size']} too small for cache size {options['bdev_io_cache_size']}")
        self.options = options
        return True

    def options_now(self) -> dict[str, Any]:
        """bdev_set_options as it stands, defaults included."""
        if self.target.release.does("state_mask_error"):
            return {"bdev_io_pool_size": 65536, "bdev_io_cache_size": 256} | self.options
        pools = {"bdev_io_pool_size": 65535, "bdev_io_cache_size": 256, "bdev_auto_examine": True}
        return pools | {"iobuf_small_cache_size": 128, "iobuf_large_cache_size": 16} | self.options

    def rpc_bdev_set_qos_limit(self, p: dict[str, Any]) -> bool:
        bdev = self.need(p.pop("name"))
        if not p:
            raise RpcError(-errno.EINVAL, "No rate limits specified")
        if bdev.qos_stuck and not bdev.users:
            # recorded: on a device nobody ever opened only the first call works
            raise RpcError(-32602, "Failed to configure rate limit: Resource temporarily unavailable")
        bdev.qos_stuck = not bdev.users and self.target.release.does("qos_sticks")
        for key, value in p.items():
            bdev.qos[key] = -(-value // 1000) * 1000 if key == "rw_ios_per_sec" else value
        return True

    def rpc_bdev_malloc_create(self, p: dict[str, Any]) -> str:
        if p["block_size"] % 512 or not p["block_size"] or not p["num_blocks"]:
            raise errno_error(errno.EINVAL)
        if p["num_blocks"] * p["block_size"] > 1 << 36:
            raise errno_error(errno.ENOMEM)
        name = p.get("name")
        if name is None:
            name = f"Malloc{self.automatic_malloc}"
            self.automatic_malloc += 1
        return self.register(MallocBdev(name, p["block_size"], p["num_blocks"], p.get("uuid")))

    def rpc_bdev_malloc_delete(self, p: dict[str, Any]) -> bool:
        return self.delete(p["name"], MallocBdev)

    def rpc_bdev_null_create(self, p: dict[str, Any]) -> str:
        if p["block_size"] % 512 or not p["block_size"] or not p["num_blocks"]:
            raise errno_error(errno.EINVAL)
        return self.register(NullBdev(p["name"], p["block_size"], p["num_blocks"], p.get("uuid")))

    def rpc_bdev_null_delete(self, p: dict[str, Any]) -> bool:
        return self.delete(p["name"], NullBdev)

    def rpc_bdev_null_resize(self, p: dict[str, Any]) -> bool:
        bdev = self.need(p["name"])
        if not isinstance(bdev, NullBdev) or bdev.size // MIB > p["new_size"]:
            raise errno_error(errno.EINVAL)
        self.notify_blocks(bdev, p["new_size"] * MIB % 2**64 // bdev.block_size)
        return True

    def rpc_bdev_aio_create(self, p: dict[str, Any]) -> str:
        try:
            size = os.stat(p["filename"]).st_size
        except OSError as error:
            raise errno_error(error.errno or errno.EIO) from None
        block = p.get("block_size", 0)
        if block < 512 or block & (block - 1):
            raise errno_error(errno.EINVAL)
        return self.register(AioBdev(p, size))

    def rpc_bdev_aio_delete(self, p: dict[str, Any]) -> bool:
        return self.delete(p["name"], AioBdev)

    def rpc_bdev_aio_rescan(self, p: dict[str, Any]) -> bool:
        bdev = self.need(p["name"], AioBdev)
        bdev.users += 1
        try:
            self.notify_blocks(bdev, os.stat(bdev.filename).st_size // bdev.block_size)
        except OSError as error:
            raise errno_error(error.errno or errno.EIO) from None
        finally:
            bdev.users -= 1
        return True

    def config(self, nvme_entries: list[dict[str, Any]], batches: bool) -> list[Any]:
        """The bdev section of framework_get_config: modules that list their own devices (as arrays when `batches`), then the others."""
        entries: list[Any] = [
            {"method": "bdev_set_options", "params": self.options_now()},
            {"method": "bdev_raid_set_options", "params": {"process_window_size_kb": 1024, "process_max_bandwidth_mb_sec": 0}},
        ]
        early = self.target.release.does("nvme_config_first")
        entries += nvme_entries if early else []
        for kind in (MallocBdev, NullBdev):
            own_list = [bdev.module_config() for bdev in self.all.values() if isinstance(bdev, kind)]
            entries += [own_list] if batches else own_list
        if not early:
            entries += [nvme_entries[0], nvme_entries[1:-1], nvme_entries[-1]] if batches else nvme_entries
        for bdev in self.all.values():
            own = bdev.config()
            if own is not None:
                entries.append(own)
            limits = {key: value for key, value in bdev.qos.items() if value}
            if limits:
                entries.append({"method": "bdev_set_qos_limit", "params": {"name": bdev.name, **limits}})
        entries.append({"method": "bdev_wait_for_examine"})
        return entries
