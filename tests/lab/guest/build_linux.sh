#!/bin/sh
# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# build_linux.sh KERNEL_DIR OUT: builds the Linux guest: OUT/vmlinuz and OUT/initrd.img.
# KERNEL_DIR is an unpacked Debian kernel package (boot/vmlinuz-*, lib/modules/*). The guest agent comes from Debian by the ordinary
# package client (apt-get download), its libraries too as far as this machine does not have them. Needs busybox-static, kmod and cpio.
set -eu
[ $# -eq 2 ] || { echo "usage: $0 KERNEL_DIR OUT" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lab/guest/linux_kernel.sh
. "$here/linux_kernel.sh"
begin "$1" "$2"
for folder in bin dev proc sys run tmp etc lib usr/sbin "lib/modules/$version"; do
    mkdir -p "$root/$folder"
done
ln -s lib "$root/lib64"

busybox=$(command -v busybox) || { echo "busybox-static is needed" >&2; exit 1; }
cp "$busybox" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
install -m 755 "$here/linux_init" "$root/init"

copy_modules virtio_pci virtio_blk virtio_scsi sd_mod virtio_console

# the agent: its own package, and those it depends on for libraries this machine does not have
fetch() {
    (cd "$work" && apt-get -q -o APT::Sandbox::User=root download "$@" >/dev/null)
    for package in "$work"/*.deb; do
        dpkg-deb -x "$package" "$work/packages"
        dpkg-deb -f "$package" Depends | tr ',' '\n' | sed 's/ *(.*//; s/|.*//; s/ //g' >>"$work/depends"
        rm "$package"
    done
}
libraries() {
    paths=$(find "$work/packages" -name '*.so*' -exec dirname {} + | sort -u | tr '\n' ':')
    LD_LIBRARY_PATH=$paths ldd "$agent"
}
fetch qemu-guest-agent
agent=$(find "$work/packages" -name qemu-ga -type f | head -n 1)
[ -n "$agent" ] || { echo "the package qemu-guest-agent has no qemu-ga" >&2; exit 1; }
if libraries | grep -q 'not found'; then
    # shellcheck disable=SC2046 # a list of package names
    fetch $(grep '^lib' "$work/depends" | sort -u)
fi
if libraries | grep 'not found' >&2; then
    echo "libraries of qemu-ga are missing" >&2
    exit 1
fi
install -m 755 "$agent" "$root/usr/sbin/qemu-ga"
libraries | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) .*/\1/p' | while read -r library; do
    cp -L "$library" "$root/lib/${library##*/}"
done

finish gzip -1
