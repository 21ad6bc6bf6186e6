# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Capacities: one string form for people, whole bytes inside.

The words are libvirt's scaled integers (libvirt 9.0, ``virScaleInteger``): ``K``, ``M``, ``G``, ``T``, ``P``
and ``KiB`` ... ``PiB`` are powers of 1024, ``KB`` ... ``PB`` powers of 1000, ``B`` is bytes. A number without
a unit is refused: virsh reads it as KiB, SPDK as MiB, librbd as bytes.
"""

from __future__ import annotations

import re
import typing as t

MIB = 1024**2

#: Largest size that is ever asked of an image: 1 PiB. librbd takes any 64-bit number and growth cannot be
#: taken back (librbd 16.2 accepts 2**64-1), so an absurd wish must fail before it is sent.
MAX_BYTES = 1024**5

_PATTERN = re.compile(r"^\s*(?P<number>[0-9]+)\s*(?P<unit>[A-Za-z]+)\s*$")
_LETTERS = "KMGTP"
_UNITS: dict[str, int] = {"b": 1, "bytes": 1}
for _power, _letter in enumerate(_LETTERS, start=1):
    _UNITS[_letter.lower()] = 1024**_power
    _UNITS[_letter.lower() + "ib"] = 1024**_power
    _UNITS[_letter.lower() + "b"] = 1000**_power


class CapacityError(ValueError):
    """A size that cannot be meant; the text says what would be right."""


def parse_size(value: t.Any, what: str = "size") -> int:
    """Bytes of a size such as ``800G``, ``800GiB``, ``64MB`` or ``1073741824B``.

    Raises :class:`CapacityError` for anything else: a number without a unit, a fraction, a sign, an
    unknown unit, zero.
    """
    text = str(value)
    match = _PATTERN.match(text)
    if match is None:
        if re.match(r"^\s*[0-9]+\s*$", text):
            number = text.strip()
            raise CapacityError(f"{what} {text!r} has no unit; write {number}G for GiB, {number}M for MiB or {number}B for bytes")
        raise CapacityError(f"{what} {text!r} is not a size; write a whole number and a unit, such as 800G, 1T or 1073741824B")
    factor = _UNITS.get(match.group("unit").lower())
    if factor is None:
        raise CapacityError(
            f"{what} {text!r} has the unknown unit {match.group('unit')!r}; "
            "known are B, K, M, G, T, P (and KiB...PiB) in powers of 1024, KB...PB in powers of 1000"
        )
    size = int(match.group("number")) * factor
    if size == 0:
        raise CapacityError(f"{what} {text!r} is zero; a volume has at least 1M")
    return size


def check_image_size(size: int, what: str = "size", maximum: int = MAX_BYTES) -> int:
    """``size`` (bytes) if an image may have it: whole MiB, at most ``maximum`` bytes.

    Whole MiB, because ``bdev_rbd_resize`` counts in MiB and cuts what is left over (SPDK 26.05).
    """
    if size > maximum:
        raise CapacityError(f"{what} {human(size)} ({size} bytes) is above the limit of {human(maximum)}; growth cannot be taken back, so check the unit")
    if size % MIB:
        below = size // MIB
        raise CapacityError(f"{what} of {size} bytes is not a whole number of MiB; the nearest are {below}M and {below + 1}M")
    return size


def parse_image_size(value: t.Any, what: str = "size", maximum: int = MAX_BYTES) -> int:
    """:func:`parse_size` and :func:`check_image_size` in one."""
    return check_image_size(parse_size(value, what), what, maximum)


def human(size: int | None) -> str:
    """A size (bytes) for reading: exact in the largest whole unit, else rounded to two digits with its bytes' unit."""
    if size is None:
        return "unknown"
    unit, word = 1, "B"
    for power, letter in enumerate(_LETTERS, start=1):
        if abs(size) < 1024**power:
            break
        unit, word = 1024**power, letter + "iB"
    if size % unit == 0:
        return f"{size // unit} {word}"
    return f"{size / unit:.2f} {word}"
