# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel's parts an export is made of: device-mapper by its ioctls, rbd by sysfs, nvmet by configfs. No state of its own.

Programs (dmsetup, rbd, nvmetcli) are not used: starting one costs more than the work in an emulated machine.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import subprocess
import time
from typing import Callable, TypeVar

NVMET = "/sys/kernel/config/nvmet"
RBD = "/sys/bus/rbd"
MODULES = ("configfs", "nvmet", "nvmet-tcp", "rbd", "dm-mod")
# include/uapi/linux/dm-ioctl.h: struct dm_ioctl is 312 bytes
_DM_HEAD = struct.Struct("=3I2IIiIIIQ128s129s7x")
_DM_SPEC = struct.Struct("=QQiI16s")
_DM_CREATE, _DM_REMOVE, _DM_SUSPEND, _DM_LOAD = (0xC138FD00 + number for number in (3, 4, 6, 9))
Result = TypeVar("Result")


def load_modules() -> bool:
    """Load what is needed; whether nvmet is there."""
    if not os.path.isdir(NVMET) and os.geteuid() == 0:
        for name in MODULES:
            try:
                subprocess.run(["modprobe", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            except OSError:
                return False
        if not os.path.isdir(NVMET) and os.path.isdir("/sys/kernel/config"):
            subprocess.run(["mount", "-t", "configfs", "none", "/sys/kernel/config"], stderr=subprocess.DEVNULL, check=False)
    if os.path.isdir(NVMET):
        for name in MODULES:
            if not os.path.isdir(f"/sys/module/{name.replace('-', '_')}"):
                subprocess.run(["modprobe", name], stderr=subprocess.DEVNULL, check=False)
    return os.path.isdir(NVMET)


def load_rdma() -> bool:
    """Whether this kernel has an RDMA device and, loaded now if need be, nvmet's transport for it."""
    if not os.path.isdir("/sys/class/infiniband") or not os.listdir("/sys/class/infiniband"):
        return False
    return subprocess.run(["modprobe", "nvmet-rdma"], stderr=subprocess.DEVNULL, check=False).returncode == 0


def write(path: str, text: str) -> None:
    """One write to a kernel file; OSError names the path."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), path) from None
    finally:
        os.close(fd)


def read(path: str) -> str:
    """A kernel file, stripped."""
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def patiently(work: Callable[[], Result], seconds: float = 10.0) -> Result:
    """Do `work`, again while the kernel says busy (udev looks at every new device for a moment)."""
    end = time.monotonic() + seconds
    while True:
        try:
            return work()
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY) or time.monotonic() > end:
                raise
            time.sleep(0.05)


# -- device-mapper ------------------------------------------------------------------------------------------------------------------


def _dm(command: int, name: str, flags: int = 0, table: bytes = b"") -> int:
    """One ioctl; the device number."""
    size = _DM_HEAD.size + len(table)
    buffer = bytearray(_DM_HEAD.pack(4, 0, 0, max(size, 4096), _DM_HEAD.size, 1 if table else 0, 0, flags, 0, 0, 0, name.encode(), b"") + table)
    buffer.extend(bytes(max(0, 4096 - size)))
    fd = os.open("/dev/mapper/control", os.O_RDWR)
    try:
        fcntl.ioctl(fd, command, buffer)
    finally:
        os.close(fd)
    return _DM_HEAD.unpack_from(buffer)[10]


def dm_create(name: str, device: str, size: int) -> str:
    """A linear device of exactly `size` bytes over the start of `device`; its path."""
    number = _dm(_DM_CREATE, name)
    try:
        dm_resize(name, device, size)
    except OSError:
        dm_remove(name)
        raise
    return f"/dev/dm-{os.minor(number)}"


def dm_resize(name: str, device: str, size: int) -> None:
    """Load a new table and swap it in (resume suspends by itself when a table waits)."""
    parameters = f"{device} 0".encode() + b"\0"
    parameters += bytes(-len(parameters) % 8)
    spec = _DM_SPEC.pack(0, size // 512, 0, _DM_SPEC.size + len(parameters), b"linear")
    _dm(_DM_LOAD, name, table=spec + parameters)
    _dm(_DM_SUSPEND, name)


def dm_remove(name: str) -> None:
    """Remove a device; one that is not there is fine."""
    try:
        patiently(lambda: _dm(_DM_REMOVE, name))
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise


# -- rbd ----------------------------------------------------------------------------------------------------------------------------


def _rbd_file(verb: str) -> str:
    single = f"{RBD}/{verb}_single_major"
    return single if os.path.exists(single) else f"{RBD}/{verb}"


def rbd_ids() -> set[int]:
    """Mapped images."""
    return {int(name) for name in os.listdir(f"{RBD}/devices")}


def rbd_image(number: int) -> tuple[str, str]:
    """Pool and image of a mapping."""
    return read(f"{RBD}/devices/{number}/pool"), read(f"{RBD}/devices/{number}/name")


def rbd_map(monitors: str, user: str, secret: str, pool: str, image: str) -> int:
    """Map an image; its number. The secret goes through sysfs only."""
    before = rbd_ids()
    write(_rbd_file("add"), f"{monitors} name={user},secret={secret},ms_mode=prefer-crc {pool} {image} -")
    for number in sorted(rbd_ids() - before, reverse=True):
        if rbd_image(number) == (pool, image):
            return number
    raise OSError(errno.ENODEV, "the kernel mapped nothing", f"{pool}/{image}")


def rbd_unmap(number: int) -> None:
    """Unmap; one that is not there is fine."""
    try:
        patiently(lambda: write(_rbd_file("remove"), str(number)))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


def device_size(number: int) -> int:
    """Bytes of /dev/rbdN now; the kernel's rbd follows its image by itself."""
    return int(read(f"/sys/block/rbd{number}/size")) * 512


# -- nvmet --------------------------------------------------------------------------------------------------------------------------


def remove_port(number: int) -> None:
    """Take a port down: its links first, which hang up on its hosts."""
    base = f"{NVMET}/ports/{number}"
    if not os.path.isdir(base):
        return
    for name in os.listdir(f"{base}/subsystems"):
        os.unlink(f"{base}/subsystems/{name}")
    for group in os.listdir(f"{base}/ana_groups"):
        if group != "1":
            os.rmdir(f"{base}/ana_groups/{group}")
    patiently(lambda: os.rmdir(base))


def remove_namespace(nqn: str, nsid: int) -> None:
    """Disable and remove a namespace."""
    base = f"{NVMET}/subsystems/{nqn}/namespaces/{nsid}"
    if os.path.isdir(base):
        write(f"{base}/enable", "0")
        patiently(lambda: os.rmdir(base))


def remove_subsystem(nqn: str) -> None:
    """Remove a subsystem with all it has; it must be on no port any more."""
    base = f"{NVMET}/subsystems/{nqn}"
    if not os.path.isdir(base):
        return
    for nsid in os.listdir(f"{base}/namespaces"):
        remove_namespace(nqn, int(nsid))
    for host in os.listdir(f"{base}/allowed_hosts"):
        os.unlink(f"{base}/allowed_hosts/{host}")
    patiently(lambda: os.rmdir(base))


def has_address(address: str) -> bool:
    """Whether an IP address is one of this machine's."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def connections(port: int) -> list[tuple[str, str]]:
    """Established TCP connections to a local port: (local address, peer address) as the kernel prints them in hex."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not os.path.exists(table):
            continue
        with open(table, encoding="ascii") as file:
            next(file)
            for line in file:
                local, peer, state = line.split()[1:4]
                if state == "01" and int(local.rsplit(":", 1)[1], 16) == port:
                    found.append((local.rsplit(":", 1)[0], peer.rsplit(":", 1)[0]))
    return found


def hex_addresses(address: str) -> set[str]:
    """How /proc/net/tcp and tcp6 print an address (an IPv4 one also as mapped IPv6): 32-bit words in the processor's order."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    raw = socket.inet_pton(family, address)
    words = "".join(f"{word:08X}" for word in struct.unpack(f"={len(raw) // 4}I", raw))
    if family == socket.AF_INET6:
        return {words}
    prefix = "".join(f"{word:08X}" for word in struct.unpack("=3I", bytes(10) + b"\xff\xff"))
    return {words, prefix + words}
