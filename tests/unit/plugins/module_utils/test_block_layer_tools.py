# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and growing layers with the programs of their owners; the outputs are those of Debian 12."""

from __future__ import annotations

import os
import pathlib
import stat
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils import _block_layer_tools
from ansible_collections.nvmeof.spdk.plugins.module_utils._block_layer_tools import CryptTable, LayerTools, ToolError, execute

TABLES = """\
luks-1: 0 98304 crypt aes-xts-plain64 :64:logon:cryptsetup:d7bc8ba2-7b5b-4c83-a93c-4ff2f8b63e2c-d0 0 253:0 32768 1 sector_size:4096
luks-2: 0 98304 crypt aes-xts-plain64 00000000000000000000000000000000 0 259:1 32768
odd: name: 0 8192 crypt aes-cbc-essiv:sha256 0000000000000000 0 7:0 4096 2 allow_discards no_read_workqueue
"""
PVS = """{"report": [{"pv": [
 {"pv_name":"/dev/mapper/luks-1", "vg_name":"vg1", "pv_size":"46137344", "pe_start":"1048576", "vg_extent_size":"4194304",
  "pv_mda_count":"1", "pv_mda_size":"1044480"},
 {"pv_name":"/dev/nvme0n2", "vg_name":"vg2", "pv_size":"46137344", "pe_start":"1048576", "vg_extent_size":"4194304",
  "pv_mda_count":"2", "pv_mda_size":"1044480"}]}]}
"""


class Programs:
    """Answers by the program's name; a missing one is not installed."""

    def __init__(self, **answers: t.Any) -> None:
        self.answers = answers
        self.calls: list[list[str]] = []

    def __call__(self, argv: t.Sequence[str]) -> tuple[int, str, str]:
        self.calls.append(list(argv))
        answer = self.answers.get(argv[0])
        if answer is None:
            raise ToolError(" ".join(argv), f"{argv[0]} is not installed", missing=True)
        return answer if isinstance(answer, tuple) else (0, answer, "")


def nodes(**numbers: int) -> t.Callable[[str], os.stat_result]:
    """os.stat for block devices by their base names."""

    def call(path: str) -> os.stat_result:
        name = os.path.basename(path).replace("-", "_")
        if name not in numbers:
            raise FileNotFoundError(path)
        return os.stat_result((stat.S_IFBLK | 0o600, 0, 0, 1, 0, 0, 0, 0, 0, 0), {"st_rdev": numbers[name]})

    return call


def test_crypt_tables() -> None:
    programs = Programs(dmsetup=TABLES)
    assert LayerTools(programs).crypt_tables() == {
        "luks-1": CryptTable(16 * 1024**2, 4096, True, "253:0"),
        "luks-2": CryptTable(16 * 1024**2, 512, False, "259:1"),
        "odd: name": CryptTable(2 * 1024**2, 512, False, "7:0"),
    }
    # a table is never asked for with its keys
    assert programs.calls == [["dmsetup", "--manglename", "none", "table", "--target", "crypt"]]
    assert LayerTools(Programs(dmsetup="No devices found\n")).crypt_tables() == {}


def test_physical_volumes_by_number_whatever_their_names() -> None:
    tools = LayerTools(Programs(pvs=PVS), stat_call=nodes(luks_1=1, dm_1=1, nvme0n2=2))
    found = tools.physical_volumes(["/dev/dm-1", "/dev/nvme0n2"])
    assert (found[1].name, found[1].vg, found[1].extents_bytes, found[1].extent_bytes) == ("/dev/mapper/luks-1", "vg1", 46137344, 4194304)
    # a second metadata area is at the end, and is no room for extents
    assert (found[1].overhead_bytes, found[2].overhead_bytes) == (1048576, 1048576 + 1044480)


def test_a_physical_volume_that_is_hidden_does_not_hide_the_others() -> None:
    tools = LayerTools(Programs(pvs=(5, PVS, "  Cannot use /dev/nvme0n3: device is rejected by filter config")), stat_call=nodes(luks_1=1, nvme0n2=2))
    assert set(tools.physical_volumes(["/dev/dm-1", "/dev/nvme0n2", "/dev/nvme0n3"])) == {1, 2}


@pytest.mark.parametrize("answer", ["no json", "{}", '{"report": [{"pv": [{"pv_name": "x"}]}]}'])
def test_a_report_of_another_form_is_an_error(answer: str) -> None:
    with pytest.raises(ToolError, match="unknown form"):
        LayerTools(Programs(pvs=answer)).physical_volumes(["/dev/x"])


def test_errors_name_the_call_and_what_it_said() -> None:
    with pytest.raises(ToolError, match=r"pvs .*/dev/x: Failed to find device") as error:
        LayerTools(Programs(pvs=(5, "", "  Failed to find\n  device\n"))).physical_volumes(["/dev/x"])
    assert not error.value.missing
    with pytest.raises(ToolError) as error:
        LayerTools(Programs()).crypt_tables()
    assert error.value.missing


def test_key_files_of_crypttab(tmp_path: pathlib.Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret")
    table = tmp_path / "crypttab"
    table.write_text(
        f"# comment\n\nluks-1 UUID=x {key} luks,discard\noffsets /dev/x {key} keyfile-offset=8,keyfile-size=32,header=/etc/h\n"
        f"asks /dev/x none luks\nscript /dev/x {key} keyscript=/bin/x\ngone /dev/x {tmp_path}/gone luks\nshort /dev/x\n"
    )
    tools = LayerTools(Programs(), crypttab=str(table))
    assert tools.key_file_words("luks-1") == ["--key-file", str(key)]
    assert tools.key_file_words("offsets") == ["--key-file", str(key), "--keyfile-offset", "8", "--keyfile-size", "32", "--header", "/etc/h"]
    for name in ("asks", "script", "gone", "short", "unknown"):
        assert tools.key_file_words(name) is None
    assert LayerTools(Programs(), crypttab=str(tmp_path / "none")).key_file_words("luks-1") is None


@pytest.mark.parametrize(
    ("answer", "token"),
    [('{"tokens": {"0": {"type": "systemd-tpm2"}}}', True), ('{"tokens": {}}', False), ("text", False), ((1, "", "unknown option"), False), (None, False)],
)
def test_tokens(answer: t.Any, token: bool) -> None:
    programs = Programs(cryptsetup=answer)
    assert LayerTools(programs).has_token("/dev/x") is token
    assert programs.calls == [["cryptsetup", "luksDump", "--dump-json-metadata", "/dev/x"]]


def test_only_writers_are_users(tmp_path: pathlib.Path) -> None:
    def process(pid: str, name: str, flags: str) -> None:
        for folder in ("fd", "fdinfo"):
            (tmp_path / pid / folder).mkdir(parents=True)
        (tmp_path / pid / "comm").write_text(name + "\n")
        (tmp_path / pid / "fd/nvme0n1").write_text("")
        (tmp_path / pid / "fdinfo/nvme0n1").write_text(f"pos:\t0\nflags:\t{flags}\nmnt_id:\t1\n")

    process("100", "qemu-system-x86", "02140002")
    process("20", "multipathd", "02100000")
    (tmp_path / "self").mkdir()
    tools = LayerTools(Programs(), proc=str(tmp_path), stat_call=nodes(nvme0n1=7))
    assert tools.users_of(7) == ["pid 100 (qemu-system-x86)"]
    assert tools.users_of(8) == []


def test_command_lines() -> None:
    programs = Programs(multipathd="ok\n", cryptsetup="", pvresize="1 physical volume(s) resized")
    tools = LayerTools(programs)
    assert tools.grow({"kind": "multipath", "name": "mpatha", "device": "/dev/dm-0"}) == "ok"
    tools.grow({"kind": "dm-crypt", "name": "luks-1", "device": "/dev/dm-1", "unlock": ["--token-only"]})
    tools.grow({"kind": "lvm-pv", "name": "/dev/dm-1 (physical volume of vg1)", "device": "/dev/dm-1"})
    assert programs.calls == [["multipathd", "resize", "map", "mpatha"], ["cryptsetup", "resize", "--token-only", "luks-1"], ["pvresize", "/dev/dm-1"]]


def test_nothing_can_ask() -> None:
    code, out, err = execute([sys.executable, "-c", "import sys, os; print(repr(sys.stdin.read())); open('/dev/tty')"])
    assert code and out == "''\n" and "/dev/tty" in err
    code, out, _err = execute([sys.executable, "-c", "import os; print(os.environ['LC_ALL'], os.environ['PATH'])"])
    assert code == 0 and out.startswith("C ") and "/usr/sbin" in out


def test_programs_that_cannot_be_run(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ToolError, match="is not installed"):
        execute([str(tmp_path / "none")])
    (tmp_path / "text").write_text("")
    with pytest.raises(ToolError, match="Permission denied"):
        execute([str(tmp_path / "text")])

    def late(*_args: t.Any, **_more: t.Any) -> None:
        raise subprocess.TimeoutExpired("x", 60)

    monkeypatch.setattr(_block_layer_tools.subprocess, "run", late)
    with pytest.raises(ToolError, match="no end after 60 s"):
        execute(["pvs"])
