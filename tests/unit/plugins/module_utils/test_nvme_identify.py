# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decoding of Identify, and the ioctl's own words when it fails."""

from __future__ import annotations

import ctypes
import pathlib
import struct
import typing as t

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils import _nvme_fabrics
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_identify import Identify, active_nsids, served_bytes


def answer(blocks: int, flbas: int, formats: dict[int, int]) -> bytes:
    data = bytearray(4096)
    struct.pack_into("<Q", data, 0, blocks)
    data[26] = flbas
    for index, shift in formats.items():
        data[128 + 4 * index + 2] = shift
    return bytes(data)


@pytest.mark.parametrize(
    ("blocks", "flbas", "formats", "size"),
    [
        (2048, 0, {0: 9}, 1048576),
        (256, 1, {0: 9, 1: 12}, 1048576),
        # bit 4 is about metadata, bits 6:5 are the index' upper ones
        (256, 0x11, {0: 9, 1: 12}, 1048576),
        (256, 0x21, {1: 9, 17: 12}, 1048576),
        (0, 0, {}, 0),
        (2**41, 0, {0: 12}, 2**53),
    ],
)
def test_served_bytes(blocks: int, flbas: int, formats: dict[int, int], size: int) -> None:
    assert served_bytes(answer(blocks, flbas, formats)) == size


def test_absurd_block_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2\*\*0"):
        served_bytes(answer(1, 0, {}))


def test_active_nsids() -> None:
    data = struct.pack("<1024I", 1, 3, 7, *([0] * 1021))
    assert active_nsids(data) == [1, 3, 7]


def test_command_is_the_kernels_structure(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "nvme3").write_text("")
    seen = {}

    def ioctl(_handle: int, request: int, command: bytearray) -> int:
        fields = struct.unpack("=BBHIIIQQIIIIIIIIII", command)
        seen.update(request=request, length=len(command), opcode=fields[0], nsid=fields[3], data_len=fields[9], cdw10=fields[10], timeout=fields[16])
        ctypes.memmove(fields[7], answer(2048, 0, {0: 9}), 4096)
        return 0

    monkeypatch.setattr(_nvme_fabrics.fcntl, "ioctl", ioctl)
    assert Identify(str(tmp_path), timeout_ms=1234).namespace_bytes("nvme3", 5) == 1048576
    assert seen == {"request": 0xC0484E41, "length": 72, "opcode": 6, "nsid": 5, "data_len": 4096, "cdw10": 0, "timeout": 1234}


def test_nvme_status_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "nvme3").write_text("")
    monkeypatch.setattr(_nvme_fabrics.fcntl, "ioctl", lambda *_args: 0x400B)
    with pytest.raises(HopError) as caught:
        Identify(str(tmp_path)).nsids("nvme3")
    assert (caught.value.obj, caught.value.cause) == ("nvme3", "NVMe status 0x400b")


@pytest.mark.parametrize(("name", "cause"), [("nvme9", "No such file or directory"), ("nvme3", "Inappropriate ioctl for device")])
def test_system_errors_are_told(tmp_path: pathlib.Path, name: str, cause: t.Any) -> None:
    (tmp_path / "nvme3").write_text("")
    with pytest.raises(HopError) as caught:
        Identify(str(tmp_path)).namespace_bytes(name, 1)
    assert caught.value.cause == cause
    assert "Traceback" not in str(caught.value)
