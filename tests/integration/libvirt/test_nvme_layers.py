# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real dm-multipath, LUKS and LVM on real NVMe/TCP namespaces, grown by nvme_layers.

They are in a guest that is its own target and its own initiator: this computer's kernel need not have any of that.
"""

from __future__ import annotations

import typing as t

import pytest
from guest_shell import GuestShell, code_archive
from private_libvirt import MIB, Domain, PrivateLibvirt

if t.TYPE_CHECKING:
    import pathlib

MULTIPATH, PLAIN, PARTED, VOLUMES = (f"{n}{n}{n}{n}{n}{n}{n}{n}-{n}{n}{n}{n}-4{n}{n}{n}-8{n}{n}{n}-{n}{n}{n}{n}{n}{n}{n}{n}{n}{n}{n}{n}" for n in range(1, 5))

#: Two paths without native multipath, so two devices for each namespace; multipathd takes the first namespace only.
NAMESPACES = """
ip link set lo up
mount -t configfs none /sys/kernel/config
mkdir -p /backing /etc/multipath /run/lock /run/lvm /run/cryptsetup
mount -t tmpfs none /backing
cat >/etc/multipath.conf <<END
defaults {
    find_multipaths no
    user_friendly_names no
}
blacklist {
    wwid "^uuid.[234]"
}
END
# LVM takes the first path of a namespace only
echo 'devices { global_filter = [ "r|^/dev/nvme1n|" ] }' >/etc/lvm/lvmlocal.conf
cd /sys/kernel/config/nvmet
subsystem=subsystems/nqn.2016-06.io.spdk:cnode1
mkdir $subsystem
echo 1 >$subsystem/attr_allow_any_host
for n in 1 2 3 4; do
    truncate -s 64M /backing/$n
    mkdir $subsystem/namespaces/$n
    echo /backing/$n >$subsystem/namespaces/$n/device_path
    echo $n$n$n$n$n$n$n$n-$n$n$n$n-4$n$n$n-8$n$n$n-$n$n$n$n$n$n$n$n$n$n$n$n >$subsystem/namespaces/$n/device_uuid
    echo 1 >$subsystem/namespaces/$n/buffered_io
    echo 1 >$subsystem/namespaces/$n/enable
done
for p in 1 2; do
    mkdir ports/$p
    echo tcp >ports/$p/addr_trtype
    echo ipv4 >ports/$p/addr_adrfam
    echo 127.0.0.1 >ports/$p/addr_traddr
    echo 442$p >ports/$p/addr_trsvcid
    ln -s /sys/kernel/config/nvmet/$subsystem ports/$p/subsystems/
    id=4ca08835-0e71-4c63-85af-4b201ffa646d
    echo "transport=tcp,traddr=127.0.0.1,trsvcid=442$p,nqn=${subsystem#*/},hostnqn=nqn.2014-08.org.nvmexpress:uuid:$id,hostid=$id" >/dev/nvme-fabrics
done
timeout 30 sh -c 'until [ -b /dev/nvme0n4 ] && [ -b /dev/nvme1n4 ]; do sleep 0.1; done'
udevadm settle
multipathd -v3 >/run/multipathd.log 2>&1
map=/dev/mapper/uuid.11111111-1111-4111-8111-111111111111
timeout 30 sh -c "until [ -e $map ]; do sleep 0.1; done" || { cat /run/multipathd.log; ls /dev/mapper; exit 1; }
printf secret >/etc/luks-key
"""
LAYERS = """
luks() {
    cryptsetup luksFormat --batch-mode --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$1" /etc/luks-key
    cryptsetup open $3 --key-file /etc/luks-key "$1" "$2"
}
luks /dev/mapper/uuid.11111111-1111-4111-8111-111111111111 luks-1
pvcreate -q /dev/mapper/luks-1
vgcreate -q vg1 /dev/mapper/luks-1
lvcreate -q -y -L 12M -n data vg1
luks /dev/nvme0n2 luks-2 --disable-keyring
printf 'label: gpt\\n,\\n' | sfdisk -q /dev/nvme0n3
udevadm settle
dmsetup create linear --table '0 8192 linear /dev/nvme0n3p1 0'
pvcreate -q /dev/nvme0n4
vgcreate -q vg4 /dev/nvme0n4
lvcreate -q -y -L 12M -n data vg4
udevadm settle
"""
GROW = """
cd /sys/kernel/config/nvmet/subsystems/*/namespaces
for n in $1; do
    truncate -s $2M /backing/$n
    echo 1 >$n/revalidate_size
    until [ "$(cat /sys/block/nvme0n$n/size)" = $(($2 * 2048)) ] && [ "$(cat /sys/block/nvme1n$n/size)" = $(($2 * 2048)) ]; do sleep 0.1; done
done
"""


class Host(GuestShell):
    """The guest as a host of NVMe namespaces."""

    def grow_namespaces(self, mib: int, *numbers: int) -> None:
        """As a target's event does."""
        self.run("sh", "-e", "-c", GROW, "grow", " ".join(str(number) for number in numbers), str(mib))

    def mib(self, device: str) -> float:
        """What the kernel shows."""
        return int(self.run("cat", f"/sys/class/block/{device}/size")[1]) * 512 / MIB

    def layers(self, uuid: str) -> dict[str, dict[str, t.Any]]:
        """By kind, as nvme_info tells them."""
        result = self.module("nvme_info", layer_details=True)
        (namespace,) = [entry for entry in result["host"]["namespaces"] if entry["uuid"] == uuid]
        return {layer["kind"]: layer for layer in namespace["layers"]}

    def grow_layers(self, *uuids: str, size: str, check: bool = False) -> dict[str, t.Any]:
        """Run the module."""
        return self.module("nvme_layers", check=check, namespaces=[{"uuid": uuid, "size": size} for uuid in uuids])


@pytest.fixture(scope="module")
def host(hypervisor: PrivateLibvirt, debian_guest: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Host]:
    """The running guest with its namespaces and what lies on them."""
    folder: pathlib.Path = tmp_path_factory.mktemp("layers")
    image = code_archive(str(folder), debian_guest["initrd"])
    domain = Domain(hypervisor, "linux", [], **{**debian_guest, "initrd": image}, append="nvme_core.multipath=N")
    domain.start()
    found = Host(domain)
    found.wait_agent()
    found.script(NAMESPACES)
    found.script(LAYERS)
    yield found
    domain.remove()


def test_a_map_luks_and_a_physical_volume_grow_one_after_the_other(host: Host) -> None:
    """The mapping's key is in the kernel's keyring: without its key file nothing is touched, with it everything grows."""
    layers = host.layers(MULTIPATH)
    assert {kind: (layer["size_bytes"] // MIB, layer["overhead_bytes"]) for kind, layer in layers.items()} == {
        "multipath": (64, 0),
        "dm-crypt": (48, 16 * MIB),
        "lvm-pv": (44, MIB),
        "lvm": (12, None),
    }
    assert "keyring" in layers["dm-crypt"]["blocker"] and layers["multipath"]["grown_by"] == "multipathd"
    host.grow_namespaces(128, 1)
    assert host.mib("dm-0") == 64  # nobody has told multipathd
    refused = host.grow_layers(MULTIPATH, size="128M")
    assert refused["failed"] and not refused["changed"] and "asks for a passphrase" in refused["msg"]
    assert host.mib("dm-0") == 64
    host.script("echo luks-1 /dev/mapper/x /etc/luks-key luks >/etc/crypttab")
    checked = host.grow_layers(MULTIPATH, size="128M", check=True)
    assert checked["changed"] and host.mib("dm-0") == 64
    grown = host.grow_layers(MULTIPATH, size="128M")
    assert not grown["failed"], grown
    assert grown["diff"] == checked["diff"]
    assert [(change["kind"], change["after"]["size_bytes"] // MIB) for change in grown["changes"]] == [("multipath", 128), ("dm-crypt", 112), ("lvm-pv", 108)]
    assert (host.mib("dm-0"), host.mib("dm-1")) == (128, 112)
    assert host.run("pvs", "--noheadings", "--units", "m", "-o", "pv_size", "/dev/mapper/luks-1")[1].strip() == "108.00m"
    again = host.grow_layers(MULTIPATH, size="128M")
    assert (again["failed"], again["changed"]) == (False, False)
    assert "secret" not in str(grown) + str(refused)


def test_luks_without_the_keyring_needs_no_key(host: Host) -> None:
    """dm-crypt still has the key; what the mapping holds stays readable."""
    host.script("printf 0123456789 | dd of=/dev/mapper/luks-2 bs=512 conv=sync,fsync status=none")
    too_early = host.grow_layers(PLAIN, size="128M")
    assert too_early["failed"] and "nvme_rescan" in too_early["error"]["remedy"]
    host.grow_namespaces(128, 2)
    grown = host.grow_layers(PLAIN, size="128M")
    assert not grown["failed"] and grown["changed"], grown
    (entry,) = grown["namespaces"]
    assert [(layer["before_bytes"] // MIB, layer["size_bytes"] // MIB) for layer in entry["layers"]] == [(48, 112)]
    assert host.run("head", "-c", "10", "/dev/mapper/luks-2")[1] == "0123456789"
    assert not host.grow_layers(PLAIN, size="128M")["changed"]


def test_a_partition_and_a_stranger_are_named(host: Host) -> None:
    """Nothing of that namespace is touched."""
    host.grow_namespaces(128, 3)
    refused = host.grow_layers(PARTED, size="128M")
    assert refused["failed"] and not refused["changed"]
    assert "nvme0n3p1 keeps its size" in refused["msg"] and "linear (device-mapper) keeps its size" in refused["msg"]


def test_a_physical_volume_that_a_process_writes_to(host: Host) -> None:
    """As QEMU does when the volume group is a guest's, and the host has activated it, too."""
    host.grow_namespaces(128, 4)
    host.script("exec 9<>/dev/nvme0n4; sleep 600 >/dev/null 2>&1 & echo $! >/run/holder")
    refused = host.grow_layers(VOLUMES, size="128M")
    assert refused["failed"] and "(sleep) has /dev/nvme0n4 open" in refused["msg"] and "vgchange -an vg4" in refused["msg"]
    host.script("kill $(cat /run/holder)")
    grown = host.grow_layers(VOLUMES, size="128M")
    assert not grown["failed"] and grown["changed"], grown
    assert host.run("vgs", "--noheadings", "--units", "m", "-o", "vg_size", "vg4")[1].strip() == "124.00m"
    assert not host.grow_layers(VOLUMES, size="128M")["changed"]
