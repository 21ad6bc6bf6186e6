# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers on namespaces grown: what each should have, what is refused, what is read back."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.nvmeof.spdk.plugins.module_utils._block_layer_growth import LayerGrowth, Wish, changes_of, describe, expected_bytes
from ansible_collections.nvmeof.spdk.plugins.module_utils._block_layer_tools import CryptTable, LayerTools, PhysicalVolume, ToolError
from ansible_collections.nvmeof.spdk.plugins.modules import nvme_info, nvme_layers
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.call import call
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.fake_host import MIB, UUID1, UUID2, FakeHost

HEADER = 16 * MIB


class FakeTools(LayerTools):
    """The programs, acting on the fake host's sysfs."""

    def __init__(self, host: FakeHost) -> None:
        super().__init__(run=self.refuse, crypttab=str(host.root / "crypttab"), proc=str(host.root / "proc"))
        self.host = host
        self.crypt: dict[str, CryptTable] = {}
        self.volumes: dict[str, PhysicalVolume] = {}
        self.users: dict[str, list[str]] = {}
        self.tokens: set[str] = set()
        self.calls: list[list[str]] = []
        self.fail: dict[str, list[str]] = {}
        self.idle: set[str] = set()

    @staticmethod
    def refuse(argv: t.Sequence[str]) -> tuple[int, str, str]:
        raise AssertionError(f"not expected: {argv}")

    def crypt_tables(self) -> dict[str, CryptTable]:
        return self.crypt

    def physical_volumes(self, devices: t.Sequence[str]) -> dict[int, PhysicalVolume]:
        if not self.volumes:
            raise ToolError("pvs", "pvs is not installed", missing=True)
        return {t.cast(int, self.number(device)): self.volumes[device] for device in devices if device in self.volumes}

    def number(self, path: str) -> int | None:
        return sum(path.encode())

    def users_of(self, number: int) -> list[str]:
        return next((users for device, users in self.users.items() if self.number(device) == number), [])

    def has_token(self, device: str) -> bool:
        return device in self.tokens

    def grow(self, layer: t.Mapping[str, t.Any]) -> str:
        self.calls.append(self.command(layer))
        failures = self.fail.get(layer["kind"]) or []
        if failures:
            raise ToolError(" ".join(self.command(layer)), failures.pop(0))
        if layer["kind"] in self.idle:
            return "ok"
        if layer["kind"] == "lvm-pv":
            volume = self.volumes[layer["device"]]
            room = self.host.size(os.path.basename(layer["device"])) - volume.overhead_bytes
            volume.extents_bytes = room // volume.extent_bytes * volume.extent_bytes
            return "resized"
        below = min(self.host.size(os.path.basename(device)) for device in layer["on"])
        self.host.resize(os.path.basename(layer["device"]), below - (layer["overhead_bytes"] or 0))
        return "ok"


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self, host: FakeHost) -> None:
        self.monotonic = host.clock
        self.sleep = host.sleep


@pytest.fixture(name="host")
def _host(tmp_path: pathlib.Path) -> FakeHost:
    host = FakeHost(tmp_path)
    host.controller("nvme0")
    host.namespace("nvme0n1", 1, UUID1, 64 * MIB, ["nvme0"])
    return host


@pytest.fixture(name="tools")
def _tools(host: FakeHost) -> FakeTools:
    return FakeTools(host)


def stack(host: FakeHost, below: str | t.Sequence[str], block: str, size: int, **dm: str) -> None:
    """A dm or md device on one device (or ``device/partition``) or several."""
    host.write(f"sys/block/{block}/size", f"{size // 512}\n")
    for key, value in dm.items():
        host.write(f"sys/block/{block}/dm/{key}", value + "\n")
    for name in [below] if isinstance(below, str) else below:
        holders = host.root / "sys/block" / name / "holders"
        holders.mkdir(parents=True, exist_ok=True)
        (holders / block).symlink_to(host.root / "sys/block" / block)
        host.write(f"sys/block/{block}/slaves/{os.path.basename(name)}", "")


def luks(host: FakeHost, tools: FakeTools, below: str = "nvme0n1", block: str = "dm-0", keyring: bool = False, name: str = "luks-1") -> None:
    stack(host, below, block, host.size(below) - HEADER, name=name, uuid=f"CRYPT-LUKS2-0a1b-{name}")
    tools.crypt[name] = CryptTable(HEADER, 4096, keyring, "259:0")


def volume_group(host: FakeHost, tools: FakeTools, below: str) -> None:
    stack(host, below, "dm-9", 12 * MIB, name="vg1-data", uuid="LVM-abcdef")
    extents = (host.size(below) - MIB) // (4 * MIB) * 4 * MIB
    tools.volumes["/dev/" + below] = PhysicalVolume("/dev/" + below, "vg1", extents, 4 * MIB, MIB)


def run(host: FakeHost, tools: FakeTools, size: int | None = None, check: bool = False, uuid: str = UUID1, wait: float = 10) -> Wish:
    wish = Wish(uuid, size)
    LayerGrowth(host.sysfs, tools, wait, check, Clock(host)).run([wish])
    return wish


def grow_device(host: FakeHost, size: int = 128 * MIB) -> None:
    host.resize("nvme0n1", size)


@pytest.mark.parametrize(
    ("overhead", "unit", "below", "bytes_"),
    [
        (0, 512, 64 * MIB, 64 * MIB),
        (HEADER, 4096, 64 * MIB + 512, 48 * MIB),
        (MIB, 4 * MIB, 48 * MIB, 44 * MIB),
        (HEADER, 512, MIB, 0),
        (None, None, MIB, None),
    ],
)
def test_what_a_layer_should_have(overhead: int | None, unit: int | None, below: int, bytes_: int | None) -> None:
    assert expected_bytes({"overhead_bytes": overhead, "unit_bytes": unit}, below) == bytes_
    assert expected_bytes({"overhead_bytes": overhead, "unit_bytes": unit}, None) is None


def test_luks_grows_by_what_its_device_grew(host: FakeHost, tools: FakeTools) -> None:
    luks(host, tools)
    grow_device(host)
    checked = run(host, tools, 128 * MIB, check=True)
    assert checked.changed and not checked.satisfied and tools.calls == [] and host.size("dm-0") == 48 * MIB
    wish = run(host, tools, 128 * MIB)
    assert (wish.error, wish.satisfied, host.size("dm-0")) == (None, True, 112 * MIB)
    assert tools.calls == [["cryptsetup", "resize", "luks-1"]]
    assert [(layer["before_bytes"], layer["size_bytes"], layer["wanted_bytes"]) for layer in wish.layers] == [(48 * MIB, 112 * MIB, 112 * MIB)]
    assert changes_of([wish], False).diff() == changes_of([checked], True).diff()
    again = run(host, tools, 128 * MIB)
    assert (again.changed, again.satisfied, len(tools.calls)) == (False, True, 1)


def test_a_whole_stack_from_the_bottom_up(host: FakeHost, tools: FakeTools) -> None:
    stack(host, "nvme0n1", "dm-0", 64 * MIB, name="mpatha", uuid="mpath-uuid.1")
    luks(host, tools, "dm-0", "dm-1")
    volume_group(host, tools, "dm-1")
    grow_device(host)
    wish = run(host, tools, 128 * MIB)
    assert wish.error is None
    assert tools.calls == [["multipathd", "resize", "map", "mpatha"], ["cryptsetup", "resize", "luks-1"], ["pvresize", "/dev/dm-1"]]
    assert [(layer["kind"], layer["size_bytes"]) for layer in wish.layers] == [
        ("multipath", 128 * MIB),
        ("dm-crypt", 112 * MIB),
        ("lvm-pv", 108 * MIB),
        ("lvm", 12 * MIB),
    ]
    assert not run(host, tools, 128 * MIB).changed


def test_an_interrupted_run_goes_on_where_it_ended(host: FakeHost, tools: FakeTools) -> None:
    stack(host, "nvme0n1", "dm-0", 64 * MIB, name="mpatha", uuid="mpath-uuid.1")
    luks(host, tools, "dm-0", "dm-1")
    grow_device(host)
    host.resize("dm-0", 128 * MIB)
    assert run(host, tools, 128 * MIB).satisfied
    assert tools.calls == [["cryptsetup", "resize", "luks-1"]]


def test_a_device_that_is_behind_stops_it(host: FakeHost, tools: FakeTools) -> None:
    luks(host, tools)
    wish = run(host, tools, 128 * MIB)
    assert wish.error and "no layer on it is touched" in wish.error.message and "nvme_rescan" in str(wish.error.remedy)
    checked = run(host, tools, 128 * MIB, check=True)
    assert checked.error is None and checked.changed and tools.calls == []


def test_one_path_that_is_behind_stops_it(tmp_path: pathlib.Path) -> None:
    host = FakeHost(tmp_path, multipath="N")
    tools = FakeTools(host)
    for number in (0, 1):
        host.controller(f"nvme{number}", traddr=f"192.0.2.1{number}")
        host.single(f"nvme{number}n1", 1, UUID1, 64 * MIB, f"nvme{number}")
    stack(host, ["nvme0n1", "nvme1n1"], "dm-0", 64 * MIB, name="mpatha", uuid="mpath-uuid.1")
    host.resize("nvme0n1", 128 * MIB)
    wish = run(host, tools, 128 * MIB)
    assert wish.error and wish.error.obj == "/dev/nvme1n1"
    assert tools.calls == [] and host.size("dm-0") == 64 * MIB
    host.resize("nvme1n1", 128 * MIB)
    assert run(host, tools, 128 * MIB).satisfied and host.size("dm-0") == 128 * MIB


def test_a_map_with_a_strange_path(host: FakeHost, tools: FakeTools) -> None:
    stack(host, "nvme0n1", "dm-0", 64 * MIB, name="mpatha", uuid="mpath-uuid.1")
    host.write("sys/block/dm-0/slaves/sdz", "")
    grow_device(host)
    wish = run(host, tools, 128 * MIB)
    assert wish.error and "sdz, which is no path to this namespace" in wish.error.message and tools.calls == []


def test_a_key_in_the_keyring_is_a_blocker_unless_there_is_a_way(host: FakeHost, tools: FakeTools) -> None:
    stack(host, "nvme0n1", "dm-0", 64 * MIB, name="mpatha", uuid="mpath-uuid.1")
    luks(host, tools, "dm-0", "dm-1", keyring=True)
    assert run(host, tools).satisfied  # nothing lags
    grow_device(host)
    for check in (True, False):
        wish = run(host, tools, check=check)
        assert wish.error and "asks for a passphrase" in wish.error.message and "/etc/crypttab" in str(wish.error.remedy)
        assert not wish.changed
    assert tools.calls == [] and host.size("dm-0") == 64 * MIB  # nor the layer below
    tools.tokens.add("/dev/dm-0")
    assert run(host, tools).satisfied
    assert tools.calls[-1] == ["cryptsetup", "resize", "--token-only", "luks-1"]
    grow_device(host, 256 * MIB)
    key = host.root / "key"
    key.write_text("x")
    host.write("crypttab", f"luks-1 /dev/x {key} luks\n")
    assert run(host, tools).satisfied
    assert tools.calls[-1] == ["cryptsetup", "resize", "--key-file", str(key), "luks-1"]


@pytest.mark.parametrize(
    ("name", "dm", "text"),
    [
        ("dm-0", {"name": "lin", "uuid": ""}, "lin (device-mapper) keeps its size"),
        ("md0", {}, "the RAID device md0 keeps its size"),
        ("dm-0", {"name": "v", "uuid": "CRYPT-VERITY-x-v"}, "v has no dm-crypt table"),
        ("dm-0", {"name": "b", "uuid": "CRYPT-BITLK-x-b"}, "b is neither LUKS nor plain dm-crypt (BITLK)"),
        ("dm-0", {"name": "vg1-data", "uuid": "LVM-x"}, "the physical volume /dev/nvme0n1 cannot be read: pvs: pvs is not installed"),
    ],
)
def test_what_is_not_known_is_a_blocker(host: FakeHost, tools: FakeTools, name: str, dm: dict[str, str], text: str) -> None:
    stack(host, "nvme0n1", name, 32 * MIB, **dm)
    tools.crypt["b"] = CryptTable(0, 512, False, "259:0")
    grow_device(host)
    wish = run(host, tools, 128 * MIB)
    assert wish.error and text in wish.error.message and wish.error.remedy
    assert tools.calls == []


def test_partitions(host: FakeHost, tools: FakeTools) -> None:
    host.write("sys/block/nvme0n1/nvme0n1p1/partition", "1\n")
    host.write("sys/block/nvme0n1/nvme0n1p1/size", f"{60 * MIB // 512}\n")
    grow_device(host)
    wish = run(host, tools, 128 * MIB)  # nothing on it: what a guest has made on its disk
    assert (wish.error, wish.satisfied, wish.layers) == (None, True, [])
    stack(host, "nvme0n1/nvme0n1p1", "dm-0", 44 * MIB, name="luks-1", uuid="CRYPT-LUKS2-x-luks-1")
    tools.crypt["luks-1"] = CryptTable(HEADER, 512, False, "259:1")
    wish = run(host, tools, 128 * MIB)
    assert wish.error and "the partition nvme0n1p1 keeps its size" in wish.error.message and tools.calls == []


def test_a_volume_group_that_a_guest_may_own(host: FakeHost, tools: FakeTools) -> None:
    volume_group(host, tools, "nvme0n1")
    tools.users["/dev/nvme0n1"] = ["pid 100 (qemu-system-x86)"]
    grow_device(host)
    wish = run(host, tools, 128 * MIB)
    assert wish.error and "pid 100 (qemu-system-x86) has /dev/nvme0n1 open" in wish.error.message and "vgchange -an vg1" in str(wish.error.remedy)
    assert tools.calls == []
    tools.users.clear()
    assert run(host, tools, 128 * MIB).satisfied and tools.calls == [["pvresize", "/dev/nvme0n1"]]


def test_a_busy_multipathd_is_asked_again(host: FakeHost, tools: FakeTools) -> None:
    stack(host, "nvme0n1", "dm-0", 64 * MIB, name="mpatha", uuid="mpath-uuid.1")
    grow_device(host)
    tools.fail["multipath"] = ["timeout", "fail"]
    wish = run(host, tools, 128 * MIB)
    assert wish.satisfied and len(tools.calls) == 3
    grow_device(host, 256 * MIB)
    tools.fail["multipath"] = ["timeout"] * 99
    wish = run(host, tools, 256 * MIB)
    assert wish.error and wish.error.cause == "timeout" and wish.error.call == "multipathd resize map mpatha"


def test_success_is_the_size_read_back(host: FakeHost, tools: FakeTools) -> None:
    luks(host, tools)
    grow_device(host)
    tools.idle.add("dm-crypt")
    wish = run(host, tools, 128 * MIB, wait=3)
    assert wish.error and "it has 48 MiB" in wish.error.message and wish.error.cause == "ok"
    assert not wish.changed and not wish.satisfied
    assert host.now >= 3
    tools.idle.clear()
    host.events.append((host.now + 2, lambda: host.resize("dm-0", 112 * MIB)))
    tools.grow = lambda _layer: "later"  # type: ignore[method-assign,assignment]
    assert run(host, tools, 128 * MIB).satisfied


def test_a_failure_keeps_neither_the_layers_below_nor_other_namespaces_secret(host: FakeHost, tools: FakeTools) -> None:
    stack(host, "nvme0n1", "dm-0", 64 * MIB, name="mpatha", uuid="mpath-uuid.1")
    luks(host, tools, "dm-0", "dm-1")
    host.namespace("nvme0n2", 2, UUID2, 64 * MIB, ["nvme0"])
    luks(host, tools, "nvme0n2", "dm-2", name="luks-2")
    grow_device(host)
    host.resize("nvme0n2", 128 * MIB)
    tools.fail["dm-crypt"] = ["Device luks-1 is busy"]
    wishes = [Wish(UUID1), Wish("33333333-3333-4333-8333-333333333333"), Wish(UUID2)]
    LayerGrowth(host.sysfs, tools, 0, False, Clock(host)).run(wishes)
    assert wishes[0].error and wishes[0].error.cause == "Device luks-1 is busy"
    assert wishes[1].error and "no namespace of this host" in wishes[1].error.message
    assert wishes[2].satisfied
    assert [change.name for change in changes_of(wishes, False).items] == ["mpatha", "luks-2"]


def test_it_never_shrinks(host: FakeHost, tools: FakeTools) -> None:
    luks(host, tools)
    host.resize("dm-0", 60 * MIB)  # more than its device has: somebody's own doing
    wish = run(host, tools, 32 * MIB)
    assert wish.satisfied and not wish.changed and tools.calls == []


def test_details_leave_no_secret_words(host: FakeHost, tools: FakeTools, monkeypatch: pytest.MonkeyPatch) -> None:
    luks(host, tools)
    monkeypatch.setattr(nvme_info, "SysfsNvme", lambda: host.sysfs)
    monkeypatch.setattr(nvme_info, "LayerTools", lambda: tools)
    (plain,) = call(nvme_info, {})["host"]["namespaces"][0]["layers"]
    assert set(plain) == {"name", "device", "kind", "size_bytes", "on"}
    (layer,) = call(nvme_info, {"layer_details": True})["host"]["namespaces"][0]["layers"]
    assert set(layer) - set(plain) == {"overhead_bytes", "unit_bytes", "grown_by", "blocker", "remedy"}
    assert (layer["overhead_bytes"], layer["grown_by"], layer["blocker"]) == (HEADER, "cryptsetup", None)


def test_programs_are_asked_only_where_there_are_layers(host: FakeHost) -> None:
    namespaces = host.sysfs.namespaces()
    describe(host.sysfs.root, namespaces, LayerTools(run=FakeTools.refuse))
    assert namespaces[0]["layers"] == []


@pytest.mark.parametrize("check", [False, True])
def test_the_module(host: FakeHost, tools: FakeTools, monkeypatch: pytest.MonkeyPatch, check: bool) -> None:
    monkeypatch.setattr(nvme_layers, "SysfsNvme", lambda: host.sysfs)
    monkeypatch.setattr(nvme_layers, "LayerTools", lambda: tools)
    luks(host, tools)
    grow_device(host)
    result = call(nvme_layers, {"uuid": UUID1.upper(), "size": "128M"}, check)
    assert (result["failed"], result["changed"]) == (False, True)
    (entry,) = result["namespaces"]
    documented = yaml.safe_load(nvme_layers.RETURN)["namespaces"]["contains"]
    assert set(entry) == set(documented) and set(entry["layers"][0]) == set(documented["layers"]["sample"][0])
    assert entry["satisfied"] is not check and (entry["device"], entry["device_bytes"], entry["wanted_bytes"]) == ("/dev/nvme0n1", 128 * MIB, 128 * MIB)
    assert result["diff"][0]["before"] == {"size_bytes": 48 * MIB} and result["diff"][0]["after"] == {"size_bytes": 112 * MIB}
    assert bool(tools.calls) is not check
    failed = call(nvme_layers, {"namespaces": [{"uuid": UUID1, "size": "256M"}, {"uuid": UUID2}]})
    assert failed["failed"] and failed["error"]["hop"] == "device" and "no namespace" in failed["msg"]


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"uuid": "nvme0n1"}, "not the UUID"),
        ({"uuid": UUID1, "size": "much"}, "much"),
        ({"uuid": UUID1, "wait_timeout": -1}, "negative"),
        ({"uuid": UUID1, "namespaces": []}, "mutually exclusive"),
        ({}, "one of the following is required"),
    ],
)
def test_bad_options(params: dict[str, t.Any], text: str) -> None:
    result = call(nvme_layers, params)
    assert result["failed"] and text in result["msg"]
