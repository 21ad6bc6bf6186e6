#!/bin/sh
# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# build_mini.sh OUT: builds the mini guest, a multiboot ELF of a few KiB. Needs gcc only (no 32-bit C library).
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OUT" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
exec gcc -m32 -march=i686 -O2 -Wall -Wextra -Werror -std=gnu11 \
    -ffreestanding -nostdlib -fno-pic -fno-pie -no-pie -static -fno-stack-protector -fno-asynchronous-unwind-tables \
    -fno-tree-loop-distribute-patterns -mno-sse -mno-mmx \
    -Wl,-T,"$here/mini.ld" -Wl,--build-id=none -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments -s -o "$1" "$here/mini.c"
