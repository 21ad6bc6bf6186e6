# shellcheck shell=sh
# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What the builders of Linux guests share; they read this with ".". Needs kmod and cpio.

# begin KERNEL_DIR OUT: sets kernel, out, version, modules, work (removed at the end) and root (where the initramfs grows).
begin() {
    kernel=$(cd "$1" && pwd)
    mkdir -p "$2"
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
}

# copy_module NAME: the module and what it needs; a driver built into the kernel has no file.
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

# copy_modules NAME...: the modules, and the kernel's lists of them.
copy_modules() {
    mkdir -p "$root/lib/modules/$version"
    for module; do
        copy_module "$module"
    done
    for list in modules.builtin modules.order modules.builtin.modinfo; do
        [ ! -e "$modules/$list" ] || cp "$modules/$list" "$root/lib/modules/$version/"
    done
    depmod -b "$root" "$version"
}

# finish COMPRESSOR...: OUT/vmlinuz, and OUT/initrd.img from root.
finish() {
    cp "$kernel/boot/vmlinuz-$version" "$out/vmlinuz"
    (cd "$root" && find . | sort | cpio --quiet -o -H newc -R 0:0 | "$@") >"$work/initrd.img"
    mv "$work/initrd.img" "$out/initrd.img"
}
