# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""PCI functions: their driver, what the running system does with their disks, and how they get another driver.

Everything is read from sysfs and proc; ``root`` puts another tree in their place for tests. What cannot be read counts as in use.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError

ADDRESS = re.compile(r"([0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$")
#: PCI class of an NVMe controller (mass storage, non-volatile memory, NVM Express).
NVME_CLASS = "0x010802"
NVME_DRIVER = "nvme"


def normal_address(text: str, obj: str | None = None) -> str:
    """``0000:18:00.0`` for that, for ``18:00.0`` and for capital letters; :class:`HopError` for something else."""
    address = str(text).strip().lower()
    if not ADDRESS.match(address):
        raise HopError(f"{text!r} is not a PCI address", obj=obj or str(text), hop="bdev", remedy="write it as lspci -D does, such as 0000:18:00.0")
    return address if address.count(":") == 2 else "0000:" + address


class PciFunction:
    """One PCI function."""

    def __init__(self, address: str, root: str = "/") -> None:
        self.address = address
        self.root = root
        self.path = os.path.join(root, "sys/bus/pci/devices", address)

    def _read(self, *parts: str) -> str:
        with open(os.path.join(self.path, *parts), encoding="ascii", errors="replace") as file:
            return file.read().strip()

    @property
    def exists(self) -> bool:
        return os.path.isdir(self.path)

    @property
    def driver(self) -> str:
        """The bound driver; empty for none."""
        link = os.path.join(self.path, "driver")
        return os.path.basename(os.readlink(link)) if os.path.islink(link) else ""

    @property
    def override(self) -> str:
        """The driver that alone may bind; empty if any may."""
        try:
            text = self._read("driver_override")
        except OSError:
            return ""
        return "" if text == "(null)" else text

    @property
    def has_iommu(self) -> bool:
        return os.path.exists(os.path.join(self.path, "iommu_group"))

    @property
    def is_nvme(self) -> bool:
        try:
            return self._read("class") == NVME_CLASS
        except OSError:
            return False

    def disks(self) -> list[str]:
        """Names of the kernel's block devices of an NVMe controller, without partitions (nvme0n1); heads of multipath, too."""
        found = set()
        base = os.path.join(self.path, "nvme")
        for controller in sorted(os.listdir(base)) if os.path.isdir(base) else []:
            for name in os.listdir(os.path.join(base, controller)):
                path = re.match(r"nvme([0-9]+)(?:c[0-9]+)?n([0-9]+)$", name)
                if path:
                    found.add(f"nvme{path.group(1)}n{path.group(2)}")  # nvme0c1n1 is a path of the head nvme0n1
        return sorted(found)

    def uses(self) -> list[str]:
        """What the running system does with its disks, in words; empty means that nothing uses them."""
        found = []
        mounts, swaps = self._mounts(), self._swaps()
        for disk in self.disks():
            base = os.path.join(self.root, "sys/class/block", disk)
            try:
                parts = [disk, *sorted(name for name in os.listdir(base) if name.startswith(disk))]
            except OSError as error:
                found.append(f"{disk} cannot be looked at ({error.strerror})")
                continue
            for part in parts:
                folder = base if part == disk else os.path.join(base, part)
                try:
                    with open(os.path.join(folder, "dev"), encoding="ascii") as file:
                        number = file.read().strip()
                    holders = sorted(os.listdir(os.path.join(folder, "holders")))
                except OSError as error:
                    found.append(f"{part} cannot be looked at ({error.strerror})")
                    continue
                found += [f"{part} is mounted on {where}" for device, source, where in mounts if device == number or source == f"/dev/{part}"]
                found += [f"{part} is held by {holder}" for holder in holders]
                found += [f"{part} is swap"] if f"/dev/{part}" in swaps else []
                found += [f"{part} is open in process {pid}" for pid in self._openers(f"/dev/{part}")]
        # a device that a user-space driver has open (an SPDK target) cannot be unbound: the write would wait for it
        for device in self._user_devices():
            found += [f"{device} is open in process {pid}" for pid in self._openers(device)]
        return found

    def _user_devices(self) -> list[str]:
        devices = []
        group = os.path.join(self.path, "iommu_group")
        if self.driver == "vfio-pci" and os.path.islink(group):
            devices.append("/dev/vfio/" + os.path.basename(os.readlink(group)))
        uio = os.path.join(self.path, "uio")
        return devices + [f"/dev/{name}" for name in (sorted(os.listdir(uio)) if os.path.isdir(uio) else [])]

    def _mounts(self) -> list[tuple[str, str, str]]:
        """(major:minor, source, mount point) of every mount this process sees."""
        found = []
        with open(os.path.join(self.root, "proc/self/mountinfo"), encoding="utf-8", errors="replace") as file:
            for line in file:
                fields, _dash, rest = line.partition(" - ")
                words, tail = fields.split(), rest.split()
                found.append((words[2], tail[1] if len(tail) > 1 else "", words[4]))
        return found

    def _swaps(self) -> set[str]:
        try:
            with open(os.path.join(self.root, "proc/swaps"), encoding="utf-8", errors="replace") as file:
                return {line.split()[0] for line in file if line.strip()}
        except OSError:
            return set()  # a kernel without swap

    def _openers(self, device: str) -> list[str]:
        """Processes that have the device open, such as QEMU, which holds no claim that the kernel would show."""
        found = []
        base = os.path.join(self.root, "proc")
        for pid in os.listdir(base):
            if not pid.isdigit():
                continue
            folder = os.path.join(base, pid, "fd")
            try:
                links = [os.readlink(os.path.join(folder, name)) for name in os.listdir(folder)]
            except OSError:
                continue  # it ended, or is a kernel thread
            if device in links:
                found.append(pid)
        return found

    # -- checks ------------------------------------------------------------------------------------------------------

    def require(self, obj: str) -> None:
        """Raise unless there is such a function."""
        if not self.exists:
            raise HopError(
                f"this host has no PCI device {self.address}",
                obj=obj,
                hop="bdev",
                cause=f"{self.path} does not exist",
                remedy="look at lspci -D, and correct the address",
            )

    def refuse_used(self, obj: str) -> None:
        """Raise when the running system uses a disk of it."""
        uses = self.uses()
        if uses:
            raise HopError(
                f"the PCI device {self.address} is part of the running system",
                obj=obj,
                hop="bdev",
                cause="; ".join(uses),
                remedy="nothing was done; unmount it and end what uses it first, or correct the address",
            )

    def require_user_driver(self, obj: str) -> None:
        """Raise, with the way out, when the kernel's own driver has it or none does: SPDK drives it from user space."""
        driver = self.driver
        if driver not in ("", NVME_DRIVER):
            return
        wanted = "vfio-pci" if self.has_iommu else "uio_pci_generic"
        reason = "an IOMMU protects it" if self.has_iommu else "no IOMMU is on (intel_iommu=on or amd_iommu=on turns one on, and vfio-pci is better)"
        raise HopError(
            f"the PCI device {self.address} is " + (f"still bound to the kernel's driver {driver}" if driver else "bound to no driver"),
            obj=obj,
            hop="bdev",
            cause="SPDK drives the controller itself and needs it bound to vfio-pci or uio_pci_generic",
            remedy=f"bind it with nvmeof.spdk.pci_driver to {wanted} ({reason}), or set spdk_target_nvme_driver in the role spdk_target",
        )

    # -- binding -----------------------------------------------------------------------------------------------------

    def _write(self, path: str, text: str) -> None:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)

    def bind(self, driver: str, obj: str) -> None:
        """Bind to ``driver`` (its module is loaded), or with an empty one to whatever the kernel chooses; read back."""
        call = f"write {driver or '(none)'} to driver_override"
        try:
            self._write(os.path.join(self.path, "driver_override"), (driver or "") + "\n")
            if self.driver and self.driver != driver:
                call = "unbind"
                self._write(os.path.join(self.path, "driver", "unbind"), self.address)
            if not self.driver:
                call = "drivers_probe"
                self._write(os.path.join(self.root, "sys/bus/pci/drivers_probe"), self.address)
        except OSError as error:
            raise HopError(
                f"the PCI device {self.address} could not be bound to {driver or 'its own driver'}",
                obj=obj,
                hop="bdev",
                call=call,
                cause=str(error),
                remedy="look at dmesg; vfio-pci needs an IOMMU" if driver == "vfio-pci" else "look at dmesg",
            ) from error
        if driver and self.driver != driver:
            raise HopError(
                f"the PCI device {self.address} is bound to {self.driver or 'no driver'}, not to {driver}",
                obj=obj,
                hop="bdev",
                call="drivers_probe",
                remedy=f"check that the kernel module {driver} is there (modprobe {driver}) and look at dmesg",
            )


def checked_addresses(entries: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """Addresses in their one spelling; one that is named twice is an error."""
    addresses: list[str] = []
    for entry in entries:
        address = normal_address(entry["traddr"])
        if address in addresses:
            raise HopError("the list names this PCI device twice", obj=address, hop="bdev", remedy="name each once")
        addresses.append(address)
    return addresses
