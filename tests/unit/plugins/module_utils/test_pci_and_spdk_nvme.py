# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._pci import PciFunction, checked_addresses, normal_address
from ansible_collections.nvmeof.spdk.plugins.module_utils._reconcile import Changes
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_nvme import ControllerManager, wanted_controllers
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target
from ansible_collections.nvmeof.spdk.plugins.modules.pci_driver import plan

ADDRESS = "0000:18:00.0"


class Host:
    """The parts of sysfs and proc that are read, with one NVMe controller whose disk has one partition."""

    def __init__(self, root) -> None:
        self.root = root
        self.device = root / "sys/bus/pci/devices" / ADDRESS
        self.device.mkdir(parents=True)
        (self.device / "class").write_text("0x010802\n")
        (self.device / "driver_override").write_text("(null)\n")
        (root / "sys/kernel/iommu_groups/7").mkdir(parents=True)
        (self.device / "iommu_group").symlink_to(root / "sys/kernel/iommu_groups/7")
        (root / "sys/bus/pci/drivers_probe").write_text("")
        for name in ("nvme", "vfio-pci"):
            (root / "sys/bus/pci/drivers" / name).mkdir(parents=True)
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:5 / /proc rw - proc proc rw\n")
        (root / "proc/swaps").write_text("Filename Type Size Used Priority\n")
        self.bind("nvme")
        for name, path, number in (("nvme0n1", "nvme0n1", "259:0"), ("nvme0n1p1", "nvme0n1/nvme0n1p1", "259:1")):
            folder = root / "sys/class/block" / path
            (folder / "holders").mkdir(parents=True)
            (folder / "dev").write_text(number + "\n")
            assert folder.name == name
        self.disk("nvme0n1")

    def disk(self, name: str) -> None:
        (self.device / "nvme/nvme0" / name).mkdir(parents=True)

    def bind(self, driver: str) -> None:
        link = self.device / "driver"
        if link.is_symlink():
            link.unlink()
        if driver:
            link.symlink_to(self.root / "sys/bus/pci/drivers" / driver)

    def append(self, path: str, text: str) -> None:
        with open(self.root / path, "a", encoding="ascii") as file:
            file.write(text)

    @property
    def function(self) -> PciFunction:
        return PciFunction(ADDRESS, str(self.root))


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_addresses_have_one_spelling():
    assert normal_address("18:00.0") == normal_address(" 0000:18:00.0 ") == ADDRESS
    assert normal_address("0000:AF:00.1") == "0000:af:00.1"
    for bad in ("", "18:00", "nvme0", "0000:18:00.9", "../.."):
        with pytest.raises(HopError, match="not a PCI address"):
            normal_address(bad)
    with pytest.raises(HopError, match="twice"):
        checked_addresses([{"traddr": "18:00.0"}, {"traddr": ADDRESS}])


def test_an_idle_disk_is_not_in_use(host):
    assert host.function.disks() == ["nvme0n1"] and host.function.uses() == []
    assert host.function.driver == "nvme" and host.function.override == "" and host.function.has_iommu and host.function.is_nvme


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("proc/self/mountinfo", "30 22 259:1 / /data rw - xfs /dev/nvme0n1p1 rw\n", "nvme0n1p1 is mounted on /data"),
        # btrfs shows a number of its own
        ("proc/self/mountinfo", "30 22 0:44 / /data rw - btrfs /dev/nvme0n1p1 rw\n", "nvme0n1p1 is mounted on /data"),
        ("proc/swaps", "/dev/nvme0n1 partition 1 0 -2\n", "nvme0n1 is swap"),
        ("sys/class/block/nvme0n1/nvme0n1p1/holders/dm-0", "", "nvme0n1p1 is held by dm-0"),
    ],
)
def test_what_the_running_system_uses_is_refused(host, path, text, words):
    host.append(path, text)
    assert words in host.function.uses()
    with pytest.raises(HopError, match="part of the running system") as caught:
        host.function.refuse_used("Nvme0")
    assert words in caught.value.cause


def test_a_disk_that_a_process_has_open_is_refused(host):
    (host.root / "proc/4711/fd").mkdir(parents=True)
    (host.root / "proc/4711/fd/12").symlink_to("/dev/nvme0n1")
    assert host.function.uses() == ["nvme0n1 is open in process 4711"]


def test_a_head_of_multipath_is_looked_at_and_an_unreadable_disk_counts_as_used(host):
    (host.device / "nvme/nvme0/nvme0n1").rmdir()
    host.disk("nvme0c1n1")
    assert host.function.disks() == ["nvme0n1"]
    host.disk("nvme0c1n2")
    assert host.function.uses() == ["nvme0n2 cannot be looked at (No such file or directory)"]


def test_a_device_that_a_target_drives_is_in_use(host):
    host.bind("vfio-pci")
    (host.device / "nvme/nvme0/nvme0n1").rmdir()
    (host.root / "proc/99/fd").mkdir(parents=True)
    (host.root / "proc/99/fd/3").symlink_to("/dev/vfio/7")
    assert host.function.uses() == ["/dev/vfio/7 is open in process 99"]


def bound(host, driver):
    """One run of pci_driver against the tree; the kernel's part is played where it writes."""
    function = host.function
    written = []

    def write(path, text):
        written.append((path.replace(str(host.root) + "/", ""), text.strip()))
        if path.endswith("driver_override"):
            (host.device / "driver_override").write_text(text.strip() or "(null)")
        elif path.endswith("unbind"):
            host.bind("")
        else:
            host.bind(function.override or "nvme")

    function._write = write
    changes = Changes()
    plan(changes, [(function, driver)], lambda name: None)
    changes.apply(False)
    return changes, written


def test_a_device_is_bound_and_given_back(host):
    changes, written = bound(host, "vfio-pci")
    assert changes.summaries()[0]["before"] == {"driver": "nvme"} and host.function.driver == "vfio-pci"
    assert [text for _path, text in written] == ["vfio-pci", ADDRESS, ADDRESS]
    assert written[1][0].endswith("driver/unbind") and written[2][0] == "sys/bus/pci/drivers_probe"
    assert bound(host, "vfio-pci")[1] == []
    assert bound(host, "")[1] and host.function.driver == "nvme"
    assert bound(host, "")[1] == []


def test_what_may_not_be_bound(host):
    (host.device / "iommu_group").unlink()
    with pytest.raises(HopError, match="needs one"):
        bound(host, "vfio-pci")
    host.append("proc/swaps", "/dev/nvme0n1 partition 1 0 -2\n")
    with pytest.raises(HopError, match="running system"):
        bound(host, "uio_pci_generic")
    with pytest.raises(HopError, match="no PCI device"):
        plan(Changes(), [(PciFunction("0000:19:00.0", str(host.root)), "vfio-pci")], lambda name: None)
    assert host.function.driver == "nvme"


# -- controllers of a target -------------------------------------------------------------------------------------------


def wish(name="Nvme0", traddr=ADDRESS, state="present", force=False):
    return {"name": name, "traddr": traddr, "state": state, "force": force}


def run(fake, host, *wishes, check=False):
    items = wanted_controllers(wishes)
    with Target.open(fake.path, 10) as target:
        manager = ControllerManager(target, str(host.root))
        manager.plan(items)
        manager.changes.apply(check)
        return manager, manager.results(items, check)


@pytest.mark.parametrize("release", [(26, 5), (20, 1), (19, 1)])
def test_a_controller_is_attached_and_detached(make_target, host, release):
    fake = make_target(release)
    fake.pci.add(ADDRESS)
    host.bind("vfio-pci")
    manager, (checked,) = run(fake, host, wish(), check=True)
    assert fake.nvme == {} and checked["changed"] and checked["bdevs"] is None
    manager, (done,) = run(fake, host, wish())
    assert done["action"] == "attached" and [bdev["name"] for bdev in done["bdevs"]] == ["Nvme0n1"] and done["bdevs"][0]["size_bytes"] == 1024**2
    assert manager.target.sent[0]["method"] == ("construct_nvme_bdev" if release == (19, 1) else "bdev_nvme_attach_controller")
    assert run(fake, host, wish())[1][0]["changed"] is False
    with pytest.raises(HopError, match="attached to PCIE 0000:18:00.0, not to 0000:19:00.0"):
        run(fake, host, wish(traddr="0000:19:00.0"))
    with pytest.raises(HopError, match="attached as Nvme0"):
        run(fake, host, wish(name="Nvme9"))
    fake.bdevs["Nvme0n1"]["claimed"] = True
    with pytest.raises(HopError, match="Nvme0n1 are in use as namespaces") as caught:
        run(fake, host, wish(state="absent"))
    assert "force" in caught.value.remedy and fake.nvme
    assert run(fake, host, wish(state="absent", force=True))[1][0]["action"] == "detached" and fake.nvme == {}
    assert run(fake, host, wish(state="absent"))[1][0]["changed"] is False


def test_a_device_of_the_kernel_is_explained_and_never_attached(fake, host):
    fake.pci.add(ADDRESS)
    with pytest.raises(HopError, match="still bound to the kernel's driver nvme") as caught:
        run(fake, host, wish())
    assert "pci_driver to vfio-pci (an IOMMU protects it)" in caught.value.remedy
    (host.device / "iommu_group").unlink()
    with pytest.raises(HopError) as caught:
        run(fake, host, wish())
    assert "uio_pci_generic" in caught.value.remedy and "no IOMMU is on" in caught.value.remedy
    host.append("proc/swaps", "/dev/nvme0n1 partition 1 0 -2\n")
    with pytest.raises(HopError, match="part of the running system"):
        run(fake, host, wish())
    (host.device / "class").write_text("0x020000\n")
    with pytest.raises(HopError):
        run(fake, host, wish())
    assert not [method for method, _params in fake.calls if "attach" in method]


@pytest.mark.parametrize("release", [(26, 5), (19, 1)])
def test_a_refusal_of_the_target_says_what_to_look_at(make_target, host, release):
    fake = make_target(release)
    host.bind("vfio-pci")
    with pytest.raises(HopError) as caught:
        run(fake, host, wish())
    assert ("Invalid parameters" if release == (19, 1) else "No such device") in caught.value.cause and "vfio-pci" in caught.value.remedy


def test_wishes_that_cannot_be_meant():
    for bad in ([wish(name="")], [wish(traddr=None)], [wish(traddr="x")], [wish(), wish()], [wish(), wish(name="Nvme1")]):
        with pytest.raises(HopError):
            wanted_controllers(bad)
