# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils import _capacity as capacity

GIB = 1024**3


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("800G", 800 * GIB),
        ("800GiB", 800 * GIB),
        ("1T", 1024 * GIB),
        (" 64 m ", 64 * 1024**2),
        ("64MB", 64 * 10**6),
        ("512B", 512),
        ("1P", 1024**5),
        ("8k", 8192),
    ],
)
def test_sizes(text, size):
    assert capacity.parse_size(text) == size


@pytest.mark.parametrize("text", ["800", "800X", "-1G", "+1G", "1.5G", "", "G", "0G", "1 2G", None, True, "0x10G", "１G x"])
def test_what_is_no_size(text):
    with pytest.raises(capacity.CapacityError):
        capacity.parse_size(text)


def test_a_number_without_a_unit_is_told_how_to_be_written():
    with pytest.raises(capacity.CapacityError, match="800G for GiB"):
        capacity.parse_size("800", "size of vol-1")


@pytest.mark.parametrize("text", [f"{2**44}M", "1025T", "2P", "64MB", "1B"])
def test_sizes_no_image_may_have(text):
    with pytest.raises(capacity.CapacityError):
        capacity.parse_image_size(text)


def test_the_largest_image():
    assert capacity.parse_image_size("1024T") == capacity.MAX_BYTES


@pytest.mark.parametrize(
    ("size", "text"), [(None, "unknown"), (0, "0 B"), (1023, "1023 B"), (GIB, "1 GiB"), (GIB + 1, "1.00 GiB"), (65 * 1024**2 + 524288, "65.50 MiB")]
)
def test_sizes_for_reading(size, text):
    assert capacity.human(size) == text
