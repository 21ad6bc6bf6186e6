#!/bin/sh
# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# build_debian.sh KERNEL_DIR OUT: the Linux guest (linux_init) with a Debian userland: udev, guest agent, Python, the tools of file systems, partitions and
# block layers, and the kernel modules for NVMe/TCP to itself. OUT/vmlinuz and OUT/initrd.img; the packages stay in OUT/archives.
# KERNEL_DIR is an unpacked Debian kernel package. The packages come by the ordinary package client (apt-get). Needs busybox-static, kmod, cpio and zstd.
set -eu
[ $# -eq 2 ] || { echo "usage: $0 KERNEL_DIR OUT" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
kernel=$(cd "$1" && pwd)
mkdir -p "$2/archives/partial"
out=$(cd "$2" && pwd)

set -- "$kernel"/boot/vmlinuz-*
if [ $# -ne 1 ] || [ ! -r "$1" ]; then
    echo "$kernel/boot does not have exactly one vmlinuz-*" >&2
    exit 1
fi
version=${1##*/vmlinuz-}
modules=$kernel/lib/modules/$version
[ -d "$modules" ] || modules=$kernel/usr/lib/modules/$version
[ -d "$modules" ] || { echo "no modules of $version in $kernel" >&2; exit 1; }

work=$(mktemp -d "$out/build.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
root=$work/root
for folder in bin dev proc sys run tmp etc lib usr/bin usr/sbin var/log; do
    mkdir -p "$root/$folder"
done

# An empty status makes the client resolve everything that the packages need, whatever this machine has.
apt-get -q -o Dir::State::status=/dev/null -o Dir::Cache::archives="$out/archives" -o APT::Sandbox::User=root -o Debug::NoLocking=1 \
    install --yes --download-only --no-install-recommends \
    qemu-guest-agent python3-minimal libpython3-stdlib udev kmod cryptsetup-bin lvm2 multipath-tools e2fsprogs xfsprogs fdisk util-linux util-linux-extra \
    cloud-guest-utils >"$out/apt.log" 2>&1 || { cat "$out/apt.log" >&2; exit 1; }
for package in "$out"/archives/*.deb; do
    case ${package##*/} in
    *perl* | libicu* | initramfs-tools* | klibc* | libklibc* | dpkg_* | debconf_* | adduser_* | passwd_* | usrmerge_* | gcc-* | lsb-* | linux-base_* | libpam* | media-types_*) ;;
    # whether /bin is a link to usr/bin or not, the files meet there
    *) dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --keep-directory-symlink --exclude './usr/share/doc/*' --exclude './usr/share/man/*' \
        --exclude './usr/share/locale/*' --exclude '*/__pycache__/*' ;;
    esac
done

cp "$(command -v busybox)" "$root/bin/busybox"
# what the packages do not have, busybox does
for applet in $("$root/bin/busybox" --list); do
    for folder in bin sbin usr/bin usr/sbin; do
        [ ! -e "$root/$folder/$applet" ] || continue 2
    done
    ln -s /bin/busybox "$root/usr/bin/$applet"
done
[ -e "$root/bin/sh" ] || ln -s busybox "$root/bin/sh"
printf 'root:x:0:0:root:/:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\ndisk:x:6:\nkmem:x:15:\ntty:x:5:\naudio:x:29:\nvideo:x:44:\ninput:x:101:\nrender:x:102:\nsgx:x:103:\nkvm:x:104:\nlp:x:7:\ndialout:x:20:\ncdrom:x:24:\ntape:x:26:\n' >"$root/etc/group"
install -m 755 "$here/linux_init" "$root/init"
echo xfs nvmet_tcp nvme_tcp loop dm_mod dm_crypt dm_multipath dm_round_robin dm_service_time xts ecb >"$root/etc/guest-modules"

# the modules the guest loads and what they need; a driver built into the kernel has no file
mkdir -p "$root/lib/modules/$version"
copy_module() {
    found=$(find "$modules" -name "$1.ko*" -o -name "$(echo "$1" | tr _ -).ko*" | head -n 1)
    [ -n "$found" ] || return 0
    name=${found##*/}
    [ ! -e "$root/lib/modules/$version/$name" ] || return 0
    cp "$found" "$root/lib/modules/$version/$name"
    for needed in $(modinfo -F depends "$found" | tr , ' '); do
        copy_module "$needed"
    done
}
for module in virtio_pci virtio_blk virtio_scsi sd_mod virtio_console $(cat "$root/etc/guest-modules") xts ecb aesni_intel algif_skcipher; do
    copy_module "$module"
done
for list in modules.builtin modules.order modules.builtin.modinfo; do
    [ ! -e "$modules/$list" ] || cp "$modules/$list" "$root/lib/modules/$version/"
done
depmod -b "$root" "$version"

cp "$kernel/boot/vmlinuz-$version" "$out/vmlinuz"
(cd "$root" && find . | sort | cpio --quiet -o -H newc -R 0:0 | zstd -q -3 -T0) >"$work/initrd.img"
mv "$work/initrd.img" "$out/initrd.img"
