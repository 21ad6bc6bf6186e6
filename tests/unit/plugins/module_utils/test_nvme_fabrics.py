# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The line for the kernel, key files, and the program that connects at boot."""

from __future__ import annotations

import base64
import errno
import pathlib
import struct
import sys
import typing as t
import zlib

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils import _nvme_discovery, _nvme_fabrics
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_fabrics import FabricsError
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.fake_host import HOST_UUID, HOSTNQN, NQN, FakeHost
from ansible_collections.nvmeof.spdk.tests.lab.simulator import tls_keys

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+KfiaR"
DHCHAP, PSK = f"DHHC-1:01:{KEY}:", f"NVMeTLSkey-1:01:{KEY}:"
PATH = {"transport": "tcp", "traddr": "192.0.2.10", "trsvcid": "4420", "nqn": NQN, "ctrl_loss_tmo": -1}


@pytest.fixture(name="host")
def _host(tmp_path: pathlib.Path) -> FakeHost:
    return FakeHost(tmp_path)


def test_tls_key_is_derived_as_the_specification_says(host: FakeHost) -> None:
    """Both HKDF steps by `openssl kdf` with the same labels."""
    name, key = _nvme_fabrics.tls_psk(host.key("psk", PSK), HOSTNQN, NQN)
    assert name == f"NVMe0R01 {HOSTNQN} {NQN}"
    assert key.hex() == "9319124bf933db2c43234960153b6add37620d05edb8ef9748bba8a4a64f4859"


@pytest.mark.parametrize(("kind", "length"), [("00", 32), ("00", 48), ("01", 32), ("02", 48)])
def test_the_lab_derives_the_same_for_its_target(host: FakeHost, kind: str, length: int) -> None:
    """Another implementation, which the kernel's TLS has agreed with."""
    secret = bytes(range(7, 7 + length))
    text = f"NVMeTLSkey-1:{kind}:{base64.b64encode(secret + struct.pack('<I', zlib.crc32(secret))).decode()}:"
    assert _nvme_fabrics.tls_psk(host.key("psk", text), HOSTNQN, NQN) == tls_keys.derive(text, HOSTNQN, NQN)


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (DHCHAP, 0o640, "others than its owner"),
        (DHCHAP[:-4] + "AA=:", 0o600, "checksum"),
        (DHCHAP.replace("AAEC", "AAED"), 0o600, "checksum"),
        (PSK, 0o600, "checksum"),
        ("", 0o600, "checksum"),
        ("DHHC-1:01:AAAA:", 0o600, "checksum"),
    ],
)
def test_bad_key_files_are_refused_without_their_content(host: FakeHost, text: str, mode: int, words: str) -> None:
    with pytest.raises(FabricsError) as caught:
        _nvme_fabrics.secret(host.key("host", text, mode), "DHHC-1")
    assert words in str(caught.value)
    assert "AAE" not in str(caught.value)


def test_missing_key_file_is_named(host: FakeHost) -> None:
    with pytest.raises(FabricsError, match="read /nowhere/key: No such file"):
        _nvme_fabrics.check_keys({"dhchap_secret_file": "/nowhere/key"})


def test_the_line_has_the_keys_and_the_file_has_their_names(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    inserted: list[tuple[str, bytes]] = []
    monkeypatch.setattr(_nvme_fabrics, "insert", lambda *key: inserted.append(key) or 7)
    path = {**PATH, "dhchap_secret_file": host.key("host", DHCHAP), "tls": True, "tls_psk_file": host.key("psk", PSK)}
    written = _nvme_fabrics.words(path)
    assert KEY not in written
    assert _nvme_fabrics.parse(written) == {**path, "ctrl_loss_tmo": "-1"}
    line = _nvme_fabrics.line(_nvme_fabrics.parse(written), str(host.root / "etc"))
    assert line == (
        f"transport=tcp,traddr=192.0.2.10,trsvcid=4420,nqn={NQN},hostnqn={HOSTNQN},hostid={HOST_UUID},ctrl_loss_tmo=-1,dhchap_secret={DHCHAP},tls,tls_key=7"
    )
    assert [name for name, _key in inserted] == [f"NVMe0R01 {HOSTNQN} {NQN}"]


def test_given_hostid_and_another_hostnqn(host: FakeHost) -> None:
    etc = str(host.root / "etc")
    assert _nvme_fabrics.identity({"hostid": "5"}, etc) == (HOSTNQN, "5")
    other = _nvme_fabrics.identity({"hostnqn": "nqn.2026-01.test:a"}, etc)
    assert other[0] == "nqn.2026-01.test:a"
    assert other[1] != HOST_UUID


def test_a_kernel_without_the_keyring_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "keys").write_text("011c2139 I--Q---     1 perm 0b0b0000     0     0 user      invocation_id: 16\n")
    with pytest.raises(FabricsError, match="no keyring .nvme"):
        _nvme_fabrics.keyring(str(tmp_path))
    (tmp_path / "keys").write_text("385d42c2 I------     2 perm 1f1f0000     0     0 keyring   .nvme: empty\n")
    assert _nvme_fabrics.keyring(str(tmp_path)) == 0x385D42C2


class Boot:
    """The program's kernel."""

    def __init__(self, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines: list[str] = []
        self.refuse: dict[str, int] = {}
        self.deleted: list[str] = []
        self.file = host.root / "connections"
        monkeypatch.setattr(_nvme_fabrics, "load", lambda _transport: None)
        monkeypatch.setattr(_nvme_fabrics, "exchange", self.exchange)
        self.proven = True
        monkeypatch.setattr(_nvme_fabrics, "proven", lambda _path, name, _log: self.proven or name != "nvme0")
        monkeypatch.setattr(_nvme_fabrics, "check_kernel", lambda _path: None)
        made = _nvme_fabrics.line
        monkeypatch.setattr(_nvme_fabrics, "line", lambda path: made(path, str(host.root / "etc")))

    def exchange(self, text: str) -> str:
        for part, number in self.refuse.items():
            if part in text:
                raise OSError(number, errno.errorcode[number])
        self.lines.append(text)
        return "instance=0,cntlid=1\n"

    def run(self, *paths: t.Mapping[str, t.Any]) -> int:
        self.file.write_text("# comment\n\n" + "".join(_nvme_fabrics.words(path) + "\n" for path in paths))
        return _nvme_fabrics.main(["program", str(self.file)])


def test_boot_connects_all_that_is_not_connected(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    boot = Boot(host, monkeypatch)
    boot.refuse = {"192.0.2.11": errno.EALREADY}
    assert boot.run(PATH, {**PATH, "traddr": "192.0.2.11"}) == 0
    assert [line.split(",")[1] for line in boot.lines] == ["traddr=192.0.2.10"]


def test_boot_goes_on_after_a_failure_and_shows_no_key(host: FakeHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    boot = Boot(host, monkeypatch)
    boot.refuse = {"192.0.2.11": errno.EKEYREJECTED}
    refused = {**PATH, "traddr": "192.0.2.11", "dhchap_secret_file": host.key("host", DHCHAP)}
    assert boot.run(refused, {**PATH, "dhchap_secret_file": "/nowhere/key"}, PATH) == 1
    said = capsys.readouterr().err
    assert "EKEYREJECTED" in said
    assert "/nowhere/key: No such file" in said
    assert KEY not in said
    assert len(boot.lines) == 1


def test_boot_keeps_no_path_that_was_not_authenticated(host: FakeHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    boot = Boot(host, monkeypatch)
    boot.proven = False
    deleted: list[str] = []
    real = open

    def fake_open(file: str, *mode: t.Any, **more: t.Any) -> t.Any:
        if str(file).startswith("/sys/"):
            deleted.append(file)
            file = str(host.root / "delete")
        return real(file, *mode, **more)

    monkeypatch.setattr("builtins.open", fake_open)
    assert boot.run({**PATH, "dhchap_secret_file": host.key("host", DHCHAP)}) == 1
    assert deleted == ["/sys/class/nvme/nvme0/delete_controller"]
    assert "did not authenticate" in capsys.readouterr().err


@pytest.fixture(name="boot")
def _boot(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Boot:
    """With the file that the role puts beside the program, and a kernel whose services answer."""
    boot = Boot(host, monkeypatch)
    monkeypatch.setitem(sys.modules, "nvmeof_spdk_discovery", _nvme_discovery)
    monkeypatch.setattr(_nvme_fabrics.os.path, "exists", lambda _node: True)
    monkeypatch.setattr(_nvme_fabrics, "_delete", boot.deleted.append)
    entry = {"transport": "tcp", "kind": "subsystem", "secure": False, "trsvcid": "4420"}
    monkeypatch.setattr(_nvme_discovery, "records", lambda _read: [{**entry, "nqn": nqn, "traddr": "192.0.2.30"} for nqn in (NQN + "-a", NQN + "-b")])
    return boot


SERVICE = {"transport": "tcp", "traddr": "192.0.2.30", "trsvcid": "8009", "nqns": ["*-b", "*-c"], "reconnect_delay": 3, "nqn": None}


def test_boot_asks_a_service_and_connects_what_it_names(boot: Boot) -> None:
    assert _nvme_fabrics.parse(_nvme_fabrics.words(SERVICE))["nqns"] == ["*-b", "*-c"]
    assert boot.run(PATH, SERVICE) == 0
    names = [line.partition(",nqn=")[2].partition(",")[0] for line in boot.lines]
    assert names == [NQN, "nqn.2014-08.org.nvmexpress.discovery", NQN + "-b"]
    assert boot.lines[2].startswith("transport=tcp,traddr=192.0.2.30,trsvcid=4420,nqn=") and boot.lines[2].endswith("reconnect_delay=3")
    assert "nqns" not in boot.lines[2] and boot.deleted == ["nvme0"]


def test_boot_goes_on_after_a_service_that_does_not_answer(boot: Boot, capsys: pytest.CaptureFixture[str]) -> None:
    boot.refuse = {"trsvcid=8009": errno.ECONNREFUSED}
    assert boot.run(SERVICE, PATH) == 1
    assert (len(boot.lines), boot.deleted) == (1, [])
    assert "discovery at 192.0.2.30:8009: ECONNREFUSED" in capsys.readouterr().err


def test_proof_is_the_kernels_word_for_this_controller(host: FakeHost) -> None:
    log = _nvme_fabrics.KernelLog(str(host.root / "dev/kmsg"))
    both = {"dhchap_secret_file": "/a", "dhchap_ctrl_secret_file": "/b"}
    assert _nvme_fabrics.proven({}, "nvme0", log) is True
    # the log began with a word for nvme7, but before this connection
    assert _nvme_fabrics.proven(both, "nvme7", log) is False
    host.says(["nvme nvme0: qid 0: authenticated with hash hmac(sha256) dhgroup null"])
    assert _nvme_fabrics.proven({"dhchap_secret_file": "/a"}, "nvme0", log) is True
    assert _nvme_fabrics.proven(both, "nvme0", log) is False
    assert _nvme_fabrics.proven(both, "nvme0", _nvme_fabrics.KernelLog("/nowhere")) is True
