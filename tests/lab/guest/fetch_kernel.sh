#!/bin/sh
# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# fetch_kernel.sh OUT: the distribution's present cloud kernel, by the ordinary package client, unpacked into OUT for build_linux.sh.
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OUT" >&2; exit 2; }
package=$(apt-cache depends --important linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
[ -n "$package" ] || { echo "the package lists have no linux-image-cloud-amd64: run apt-get update" >&2; exit 1; }
mkdir -p "$(dirname "$1")"
work=$(mktemp -d "$1.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
(cd "$work" && apt-get -q -o APT::Sandbox::User=root download "$package" >/dev/null)
dpkg-deb -x "$work"/*.deb "$work/root"
rm -rf "$1"
mv "$work/root" "$1"
