# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The discovery log: its bytes, its parts, and services that refer to each other."""

from __future__ import annotations

import pathlib
import struct
import typing as t

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils import _nvme_discovery, _nvme_fabrics
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_identify import Identify

NQN = "nqn.2016-06.io.spdk:cnode1"


def raw(nqn: str, traddr: str, trsvcid: str = "4420", kind: int = 2, transport: int = 3, treq: int = 0) -> bytes:
    """An entry as a target sends it: text padded with zeros or, as some do, with blanks."""
    data = bytearray(1024)
    struct.pack_into("<4BHHH", data, 0, transport, 1, kind, treq, 1, 0xFFFF, 32)
    data[32:64] = trsvcid.encode().ljust(32)
    data[256 : 256 + len(nqn)] = nqn.encode()
    data[512:768] = traddr.encode().ljust(256)
    return bytes(data)


def log(entries: t.Sequence[bytes], generation: int = 7, layout: int = 0, count: int | None = None) -> bytes:
    return struct.pack("<QQH", generation, len(entries) if count is None else count, layout).ljust(1024, b"\0") + b"".join(entries)


def record(nqn: str, traddr: str, trsvcid: str = "4420", kind: str = "subsystem", transport: str = "tcp") -> dict[str, t.Any]:
    return {"transport": transport, "kind": kind, "secure": False, "trsvcid": trsvcid, "nqn": nqn, "traddr": traddr}


def refer(traddr: str) -> dict[str, t.Any]:
    return record(_nvme_discovery.NQN, traddr, "8009", "referral")


def test_an_entry() -> None:
    assert _nvme_discovery.entry(raw(NQN, "192.0.2.10")) == record(NQN, "192.0.2.10")
    other = _nvme_discovery.entry(raw(_nvme_discovery.NQN, "2001:db8::1", "8009", kind=1, transport=1, treq=1))
    assert other == {**record(_nvme_discovery.NQN, "2001:db8::1", "8009", "referral", "rdma"), "secure": True}
    assert [_nvme_discovery.entry(raw(NQN, "x", kind=kind))["kind"] for kind in (3, 9)] == ["discovery", "discovery"]
    assert _nvme_discovery.entry(raw(NQN, "x", transport=77))["transport"] == "type 77"


@pytest.mark.parametrize("count", [0, 1, 4, 5, 11])
def test_a_log_is_read_in_parts(count: int) -> None:
    page = log([raw(f"{NQN}-{number}", "192.0.2.10") for number in range(count)])
    asked: list[tuple[int, int]] = []

    def read(offset: int, length: int) -> bytes:
        asked.append((offset, length))
        return page[offset : offset + length]

    assert [one["nqn"] for one in _nvme_discovery.records(read)] == [f"{NQN}-{number}" for number in range(count)]
    assert all(length <= 4096 and offset + length <= len(page) for offset, length in asked)


def test_a_log_that_changes_meanwhile_is_read_again() -> None:
    old, new = log([raw(NQN, "192.0.2.1")], 1), log([raw(NQN + "-b", "192.0.2.1")], 2)
    pages = [old, old, new, new, new, new]

    def read(offset: int, length: int) -> bytes:
        return pages.pop(0)[offset : offset + length]

    assert [one["nqn"] for one in _nvme_discovery.records(read)] == [NQN + "-b"]
    assert pages == []


def test_a_log_that_never_stands_still_and_one_that_makes_no_sense() -> None:
    numbers = iter(range(1000))
    with pytest.raises(ValueError, match="all the time"):
        _nvme_discovery.records(lambda offset, length: log([raw(NQN, "192.0.2.1")], next(numbers))[offset : offset + length])
    for page in (log([], layout=1), log([], count=2**40)):
        with pytest.raises(ValueError, match="make no sense"):
            _nvme_discovery.records(lambda offset, length, page=page: page[offset : offset + length])


def walk(logs: dict[str, t.Any], start: str = "192.0.2.1") -> tuple[list[dict[str, str]], list[tuple[str, str]]]:
    def ask(place: dict[str, t.Any]) -> list[dict[str, t.Any]]:
        answer = logs[place["traddr"]]
        if isinstance(answer, str):
            raise OSError(111, answer)
        return answer

    found, failed = _nvme_discovery.walk({"transport": "tcp", "traddr": start, "trsvcid": "8009", "host_traddr": None}, ask, (OSError,))
    return found, [(place["traddr"], str(exc)) for place, exc in failed]


def test_referrals_are_followed_once_and_paths_are_named_once() -> None:
    logs = {
        "192.0.2.1": [record(NQN, "192.0.2.1"), refer("192.0.2.2"), record(_nvme_discovery.NQN, "192.0.2.1", "8009", "discovery")],
        "192.0.2.2": [record(NQN, "192.0.2.2"), record(NQN, "192.0.2.1"), refer("192.0.2.1"), refer("192.0.2.3")],
        "192.0.2.3": "Connection refused",
    }
    found, failed = walk(logs)
    assert found == [{"nqn": NQN, "traddr": traddr, "trsvcid": "4420"} for traddr in ("192.0.2.1", "192.0.2.2")]
    assert [place for place, _text in failed] == ["192.0.2.3"]
    assert "Connection refused" in failed[0][1]


def test_only_the_same_transport_and_a_wildcard_is_the_service_itself() -> None:
    logs = {
        "192.0.2.1": [record(NQN, "192.0.2.1", transport="rdma"), record(NQN, "0.0.0.0", "4421"), refer("0.0.0.0")],
        "2001:db8::1": [record(NQN, "::", "4420")],
    }
    assert walk(logs) == ([{"nqn": NQN, "traddr": "192.0.2.1", "trsvcid": "4421"}], [])
    assert walk(logs, "2001:db8::1") == ([{"nqn": NQN, "traddr": "2001:db8::1", "trsvcid": "4420"}], [])


@pytest.mark.parametrize(
    "bad",
    [record(NQN + ",hostnqn=x", "192.0.2.1"), record("x", "192.0.2.1"), record(NQN, "target,x=1"), record(NQN, "192.0.2.1", "4420,x"), record("", "", "")],
)
def test_what_could_become_other_words_of_the_line_is_refused(bad: dict[str, t.Any]) -> None:
    found, failed = walk({"192.0.2.1": [bad, record(NQN, "192.0.2.9")]})
    assert [path["traddr"] for path in found] == ["192.0.2.9"]
    assert [place for place, _text in failed] == ["192.0.2.1"]
    assert "makes no sense" in failed[0][1]


def test_a_chain_without_end_ends() -> None:
    class Endless(dict):
        def __missing__(self, traddr: str) -> list[dict[str, t.Any]]:
            last = int(traddr.rpartition(".")[2])
            return [refer(f"192.0.2.{last + 1}"), record(NQN, traddr)]

    found, failed = walk(Endless())
    assert (len(found), failed) == (32, [])


def test_patterns() -> None:
    paths = [{"nqn": "nqn.2016-06.io.spdk:a"}, {"nqn": "nqn.2016-06.io.spdk:b"}, {"nqn": "nqn.2014-08.org:c"}]
    assert _nvme_discovery.chosen(paths, ["*"]) == paths
    assert _nvme_discovery.chosen(paths, ["*:[bc]", "none"]) == paths[1:]


def test_the_command_is_the_kernels_structure(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "nvme3").write_text("")
    page = log([raw(NQN, "192.0.2.10")] * 6)
    seen = []

    def ioctl(_handle: int, request: int, command: bytearray) -> int:
        fields = struct.unpack("=BBHIIIQQIIIIIIIIII", command)
        offset, length = fields[12] | fields[13] << 32, fields[9]
        seen.append((request, fields[0], fields[3], fields[10], fields[11], offset, length))
        _nvme_fabrics.ctypes.memmove(fields[7], page[offset : offset + length], length)
        return 0

    monkeypatch.setattr(_nvme_fabrics.fcntl, "ioctl", ioctl)
    assert len(Identify(str(tmp_path)).discovery_log("nvme3")) == 6
    assert seen == [
        (0xC0484E41, 2, 0, 0x70 | 255 << 16, 0, 0, 1024),
        (0xC0484E41, 2, 0, 0x70 | 1023 << 16, 0, 1024, 4096),
        (0xC0484E41, 2, 0, 0x70 | 511 << 16, 0, 5120, 2048),
        (0xC0484E41, 2, 0, 0x70 | 255 << 16, 0, 0, 1024),
    ]
    monkeypatch.setattr(_nvme_fabrics.fcntl, "ioctl", lambda *_args: 0x2002)
    with pytest.raises(HopError, match="does not give its discovery log") as caught:
        Identify(str(tmp_path)).discovery_log("nvme3")
    assert caught.value.cause == "NVMe status 0x2002"
