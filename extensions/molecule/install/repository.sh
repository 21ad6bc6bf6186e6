#!/bin/sh
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors

# An apt repository of one package, nvmf-tgt: the simulator as /usr/bin/nvmf_tgt, with a user of its own. Nothing is fetched from anywhere.
# usage: repository.sh SIMULATOR DIRECTORY
set -eu
umask 022
tree=$2/tree
rm -rf "$2"
mkdir -p "$tree/DEBIAN" "$tree/usr/bin" "$tree/usr/share/nvmf-tgt" "$tree/usr/lib/sysusers.d"
cp -R "$1" "$tree/usr/share/nvmf-tgt/simulator"
find "$tree" -name __pycache__ -prune -exec rm -rf {} +
ln -s ../share/nvmf-tgt/simulator/spdk_tgt "$tree/usr/bin/nvmf_tgt"
echo 'u nvmf - "NVMe-oF target"' >"$tree/usr/lib/sysusers.d/nvmf-tgt.conf"
cat >"$tree/DEBIAN/control" <<'C'
Package: nvmf-tgt
Version: 26.05-1
Architecture: all
Maintainer: nvmeof.spdk contributors <root@localhost>
Depends: python3, python3-rados, python3-rbd
Description: NVMe-oF target
C
printf '#!/bin/sh\nexec systemd-sysusers nvmf-tgt.conf\n' >"$tree/DEBIAN/postinst"
chmod 755 "$tree/DEBIAN/postinst"
deb=$2/nvmf-tgt_26.05-1_all.deb
dpkg-deb --root-owner-group --build "$tree" "$deb" >/dev/null
rm -rf "$tree"
{
    dpkg-deb --field "$deb"
    echo "Filename: ./${deb##*/}"
    echo "Size: $(stat -c %s "$deb")"
    echo "SHA256: $(sha256sum "$deb" | cut -d ' ' -f 1)"
} >"$2/Packages"
