# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pre-shared keys of NVMe/TCP with TLS in the kernel's keyring ``.nvme``, where tlshd finds them by their identity.

What SPDK does with a configured key (nvme_tcp_internal.h) and what NVMe/TCP 1.0a, 3.6.1, says: HKDF twice with TLS 1.3's labels.
"""

from __future__ import annotations

import base64
import ctypes
import errno
import hashlib
import hmac
import os
import struct
import zlib

# of x86-64, which the lab's machines are
_ADD_KEY, _KEYCTL = 248, 250
_SETPERM, _LINK, _UNLINK = 5, 8, 9
_PROCESS_KEYRING = -2
# what the kernel gives its own generated keys, too: its user (tlshd is root's) may read
_PERMISSIONS = 0x3F0B0000


def derive(configured: str, hostnqn: str, subnqn: str) -> tuple[str, bytes]:
    """Identity and TLS key of a configured key ("NVMeTLSkey-1:..."); ValueError when it is none."""
    prefix, kind, text, end = configured.split(":")
    raw = base64.b64decode(text, validate=True)
    secret, checksum = raw[:-4], raw[-4:]
    if prefix != "NVMeTLSkey-1" or end or kind not in ("00", "01", "02") or struct.unpack("<I", checksum)[0] != zlib.crc32(secret):
        raise ValueError("not a TLS key in interchange format")
    digest = "sha384" if kind == "02" or kind == "00" and len(secret) == 48 else "sha256"

    def expand(key: bytes, label: bytes, context: bytes, length: int) -> bytes:
        extracted = hmac.digest(bytes(hashlib.new(digest).digest_size), key, digest)
        info = struct.pack(">HB", length, len(label)) + label + bytes([len(context)]) + context
        return hmac.digest(extracted, info + b"\x01", digest)[:length]

    if kind != "00":
        secret = expand(secret, b"tls13 HostNQN", hostnqn.encode(), len(secret))
    identity = f"NVMe0R{'02' if digest == 'sha384' else '01'} {hostnqn} {subnqn}"
    return identity, expand(secret, b"tls13 nvme-tls-psk", identity.encode(), len(secret))


def _syscall(*arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "keyring .nvme")
    return result


def keyring() -> int:
    """The serial number of the kernel's NVMe keyring."""
    with open("/proc/keys", encoding="ascii", errors="replace") as file:
        for line in file:
            words = line.split()
            if len(words) > 8 and words[7] == "keyring" and words[8] == ".nvme:":
                return int(words[0], 16)
    raise OSError(errno.ENOKEY, os.strerror(errno.ENOKEY), "keyring .nvme")


def insert(identity: str, secret: bytes) -> int:
    """Add a key or put another in its place; its serial number."""
    # only who holds the keyring may set permissions of a key in it
    ring = keyring()
    _syscall(_KEYCTL, _LINK, ring, _PROCESS_KEYRING)
    serial = _syscall(_ADD_KEY, b"psk", identity.encode(), secret, len(secret), ring)
    _syscall(_KEYCTL, _SETPERM, serial, _PERMISSIONS)
    return serial


def remove(serial: int) -> None:
    """Take a key out of the keyring; one that is not there is fine."""
    try:
        _syscall(_KEYCTL, _UNLINK, serial, keyring())
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOKEY):
            raise
