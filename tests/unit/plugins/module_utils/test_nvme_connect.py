# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connecting and disconnecting on a made-up host."""

from __future__ import annotations

import errno
import os
import pathlib
import stat
import subprocess
import types
import typing as t

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_connect import Connector
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.fake_host import HOST_UUID, HOSTNQN, MIB, NQN, UUID1, FakeHost

DHCHAP = "DHHC-1:01:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+KfiaR:"
PATH: dict[str, t.Any] = {
    "nqn": NQN,
    "transport": "tcp",
    "traddr": "192.0.2.10",
    "trsvcid": "4420",
    "host_traddr": None,
    "hostnqn": None,
    "ctrl_loss_tmo": -1,
    "reconnect_delay": 10,
    "keep_alive_tmo": 5,
    "fast_io_fail_tmo": None,
    "nr_io_queues": None,
}


@pytest.fixture(name="host")
def _host(tmp_path: pathlib.Path) -> FakeHost:
    return FakeHost(tmp_path)


def test_connect_writes_one_line_and_waits_until_live(host: FakeHost) -> None:
    assert host.connector().connect(PATH) == "nvme0"
    assert host.lines == [
        f"transport=tcp,traddr=192.0.2.10,trsvcid=4420,nqn={NQN},hostnqn={HOSTNQN},hostid={HOST_UUID},ctrl_loss_tmo=-1,reconnect_delay=10,keep_alive_tmo=5"
    ]
    assert host.sysfs.controller("nvme0")["state"] == "live"


def test_optional_parts_of_the_line(host: FakeHost) -> None:
    line = host.connector().options({**PATH, "host_traddr": "192.0.2.20", "nr_io_queues": 2, "fast_io_fail_tmo": 30})
    assert "host_traddr=192.0.2.20" in line
    assert line.endswith("keep_alive_tmo=5,fast_io_fail_tmo=30,nr_io_queues=2")


def test_another_hostnqn_gets_a_hostid_of_its_own(host: FakeHost) -> None:
    connector = host.connector()
    other = "nqn.2014-08.org.nvmexpress:uuid:0A1B2C3D-0000-4000-8000-00000000000A"
    assert connector.identity({**PATH, "hostnqn": other}) == (other, "0a1b2c3d-0000-4000-8000-00000000000a")
    named = [connector.identity({**PATH, "hostnqn": name})[1] for name in ("nqn.2026-01.test:a", "nqn.2026-01.test:b", "nqn.2026-01.test:a")]
    assert named[0] == named[2] != named[1]
    assert HOST_UUID not in named


def test_no_hostnqn_is_an_error_with_a_remedy(host: FakeHost) -> None:
    (host.root / "etc/hostnqn").unlink()
    with pytest.raises(HopError) as caught:
        host.connector().connect(PATH)
    assert "uuidgen" in str(caught.value.remedy)
    assert host.lines == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ECONNREFUSED, "nothing listens there"),
        (errno.EIO, "no such NQN, or does not allow this host"),
        (errno.EINVAL, "cntlid"),
        (errno.ETIMEDOUT, "does not answer"),
        (errno.EACCES, "permission denied"),
        (errno.ENOMEM, "the kernel refused"),
    ],
)
def test_what_the_kernel_refuses(host: FakeHost, number: int, words: str) -> None:
    host.refuse = number
    with pytest.raises(HopError) as caught:
        host.connector().connect(PATH)
    error = caught.value
    assert words in error.message
    assert (error.cause, error.obj) == (f"{os.strerror(number)} (errno {number})", f"{NQN} at tcp 192.0.2.10:4420")
    assert error.remedy


def test_refused_host_is_named(host: FakeHost) -> None:
    host.refuse = errno.EIO
    with pytest.raises(HopError) as caught:
        host.connector().connect(PATH)
    assert HOSTNQN in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("number", "grumbles", "words"),
    [
        (
            errno.ENOKEY,
            ["nvme nvme0: qid 0: no key", "nvme nvme0: qid 0: authentication setup failed"],
            "the target wants DH-HMAC-CHAP, and this host has no key",
        ),
        (errno.EKEYREJECTED, ["nvme nvme0: qid 0: authentication failed, error -129"], "the target rejected this host's DH-HMAC-CHAP key"),
        (
            errno.EKEYREJECTED,
            ["nvme nvme0: qid 0: controller authentication failed", "nvme nvme0: qid 0: authentication failed, error -129"],
            "the target could not prove itself",
        ),
        (errno.ETIMEDOUT, ["nvme nvme0: queue 0: TLS handshake complete, error -110"], "the TLS handshake failed: the keys differ"),
        (errno.ESRCH, ["nvme nvme0: queue 0: failed to start TLS: -3"], "no program on this host makes TLS handshakes"),
        (errno.ECONNRESET, ["nvme_tcp: queue 0: failed to receive icresp, error -104"], "the target hung up"),
    ],
)
def test_refusals_of_security_as_linux_6_12_words_them(host: FakeHost, number: int, grumbles: list[str], words: str) -> None:
    host.refuse, host.grumbles = number, grumbles
    with pytest.raises(HopError) as caught:
        host.connector().connect(PATH)
    assert words in caught.value.message
    assert caught.value.cause == "; ".join([f"{os.strerror(number)} (errno {number})", *grumbles])
    assert caught.value.remedy


def test_a_key_in_the_kernels_log_is_not_repeated(host: FakeHost) -> None:
    host.refuse, host.grumbles = errno.EINVAL, [f"nvme_fabrics: unknown parameter or missing value 'dhchap_secret={DHCHAP}' in ctrl creation request"]
    with pytest.raises(HopError) as caught:
        host.connector().connect(PATH)
    assert "DHHC" not in str(caught.value)


def test_target_that_does_not_ask_for_the_key_is_left_again(host: FakeHost) -> None:
    path = {**PATH, "dhchap_secret_file": host.key("host", DHCHAP)}
    with pytest.raises(HopError, match="did not authenticate"):
        host.connector().connect(path)
    assert host.sysfs.controllers() == []
    host.authenticates = ["nvme {name}: qid 0: authenticated with hash hmac(sha256) dhgroup null"]
    assert host.connector().connect(path) == "nvme0"
    assert host.lines[-1].endswith(f"dhchap_secret={DHCHAP}")


def test_one_sided_authentication_is_not_both(host: FakeHost) -> None:
    host.authenticates = ["nvme {name}: qid 0: authenticated with hash hmac(sha256) dhgroup null"]
    path = {**PATH, "dhchap_secret_file": host.key("host", DHCHAP), "dhchap_ctrl_secret_file": host.key("target", DHCHAP)}
    with pytest.raises(HopError, match="did not authenticate"):
        host.connector().connect(path)
    host.authenticates.append("nvme {name}: qid 0: controller authenticated")
    assert host.connector().connect(path) == "nvme0"


def test_kernel_without_the_option_is_not_given_the_key(host: FakeHost) -> None:
    host.write("dev/nvme-fabrics", "instance=-1,cntlid=-1,transport=%s,traddr=%s\n")
    for more, words in (({"dhchap_secret_file": host.key("host", DHCHAP)}, "cannot do DH-HMAC-CHAP"), ({"tls": True}, "cannot do TLS")):
        with pytest.raises(HopError, match=words):
            host.connector().connect({**PATH, **more})
    assert host.lines == []


def test_rdma_needs_a_device(host: FakeHost) -> None:
    path = {**PATH, "transport": "rdma"}
    with pytest.raises(HopError, match="no RDMA device"):
        host.connector().connect(path)
    (host.root / "sys/class/infiniband/rxe0").mkdir(parents=True)
    assert host.connector().connect(path) == "nvme0"
    assert host.lines[0].startswith("transport=rdma,traddr=192.0.2.10,")


def test_what_an_existing_path_lacks(host: FakeHost) -> None:
    connector, file = host.connector(), host.key("host", DHCHAP)
    host.controller("nvme0", dhchap_secret="none", dhchap_ctrl_secret="none")
    host.controller("nvme1", dhchap_secret=DHCHAP, dhchap_ctrl_secret="none", tls_key="1c2d3e4f")
    wish = {**PATH, "dhchap_secret_file": file, "dhchap_ctrl_secret_file": file, "tls": True}
    plain, secured = host.sysfs.controllers()
    assert connector.insecure(wish, plain) == ["this host was not authenticated", "the target was not authenticated", "it is not encrypted"]
    assert connector.insecure(wish, secured) == ["the target was not authenticated"]
    assert connector.insecure(PATH, plain) == []
    assert connector.other_keys({**PATH, "dhchap_secret_file": file}, secured) == []
    other = host.key("other", "DHHC-1:00:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQHMnzFi:")
    assert connector.other_keys({**PATH, "dhchap_secret_file": other}, secured) == [f"its dhchap_secret is another one than in {other}"]


def test_made_by_someone_else_meanwhile_is_fine(host: FakeHost) -> None:
    host.controller("nvme4")
    host.refuse = errno.EALREADY
    assert host.connector().connect(PATH) == "nvme4"


def test_already_but_nowhere_in_sysfs_is_an_error(host: FakeHost) -> None:
    host.refuse = errno.EALREADY
    with pytest.raises(HopError):
        host.connector().connect(PATH)


def test_never_live_is_an_error(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "at", lambda *_args: None)
    with pytest.raises(HopError, match="nvme0 is connecting after 5 s, not live"):
        host.connector().connect(PATH)


def test_answer_without_an_instance(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "kernel_connect", lambda _line: "")
    with pytest.raises(HopError, match="which controller it made"):
        host.connector().connect(PATH)


def test_namespaces_that_the_kernel_dropped(host: FakeHost) -> None:
    host.controller("nvme0")
    host.controller("nvme1", "192.0.2.11")
    host.namespace("nvme0n1", 1, UUID1, 64 * MIB, ["nvme0"])
    host.served["nvme1", 1] = 64 * MIB
    assert [host.connector().dropped(name) for name in ("nvme0", "nvme1")] == [[], [1]]


# -- the kernel module


def loader(host: FakeHost, returncode: int, stderr: bytes = b"", appears: bool = False) -> tuple[Connector, list[list[str]]]:
    calls: list[list[str]] = []

    def run(command: list[str], **_kwargs: t.Any) -> types.SimpleNamespace:
        calls.append(command)
        if appears:
            host.write("dev/nvme-fabrics", "")
        return types.SimpleNamespace(returncode=returncode, stderr=stderr)

    connector = host.connector()
    connector.run = run
    return connector, calls


def test_module_is_loaded_only_when_missing(host: FakeHost) -> None:
    connector, calls = loader(host, 0, appears=True)
    connector.load(PATH)
    assert calls == []
    (host.root / "dev/nvme-fabrics").unlink()
    connector.load(PATH)
    assert calls == [["modprobe", "nvme-tcp"]]


def test_module_that_is_not_there(host: FakeHost) -> None:
    (host.root / "dev/nvme-fabrics").unlink()
    connector, _calls = loader(host, 1, b"modprobe: FATAL: Module nvme-tcp not found in directory /lib/modules/6.1.0\n")
    with pytest.raises(HopError) as caught:
        connector.connect(PATH)
    assert (caught.value.call, caught.value.cause) == ("modprobe nvme-tcp", "modprobe: FATAL: Module nvme-tcp not found in directory /lib/modules/6.1.0")


def test_loaded_but_no_device(host: FakeHost) -> None:
    (host.root / "dev/nvme-fabrics").unlink()
    connector, _calls = loader(host, 0)
    with pytest.raises(HopError, match="did not appear"):
        connector.load(PATH)


def test_no_modprobe_at_all(host: FakeHost) -> None:
    (host.root / "dev/nvme-fabrics").unlink()
    connector = host.connector()
    connector.run = lambda *_args, check, **kwargs: subprocess.run(["/nonexistent/modprobe"], check=check, **kwargs)
    with pytest.raises(HopError, match="No such file or directory"):
        connector.load(PATH)


def test_exchange_is_a_write_and_a_read(host: FakeHost) -> None:
    connector = host.connector()
    connector.fabrics = str(host.root / "dev/plain")
    host.write("dev/plain", "")
    assert Connector.exchange(connector, "nqn=x") == ""
    assert host.read("dev/plain") == "nqn=x"


# -- which path is which


def test_find_compares_addresses_by_meaning(host: FakeHost) -> None:
    host.controller("nvme0", address="traddr=2001:db8::10,trsvcid=4420")
    host.controller("nvme1", address="traddr=2001:db8::10,trsvcid=4421")
    host.controller("nvme2", nqn=NQN + "x", address="traddr=2001:db8::10,trsvcid=4420")
    connector = host.connector()
    assert [item["name"] for item in connector.find({**PATH, "traddr": "2001:0db8:0::0010"})] == ["nvme0"]
    assert [item["name"] for item in connector.find({**PATH, "traddr": None})] == ["nvme0", "nvme1"]
    assert connector.find({**PATH, "transport": "rdma", "traddr": "2001:db8::10"}) == []


def test_find_takes_a_connecting_path_but_no_dying_one(host: FakeHost) -> None:
    host.controller("nvme0", state="connecting", address="traddr=192.0.2.10,trsvcid=4420")
    assert [item["name"] for item in host.connector().find(PATH)] == ["nvme0"]
    host.write("sys/class/nvme/nvme0/state", "deleting\n")
    assert host.connector().find(PATH) == []


def test_host_address_counts_only_when_given(host: FakeHost) -> None:
    host.controller("nvme0", address="traddr=192.0.2.10,trsvcid=4420,host_traddr=192.0.2.20,src_addr=192.0.2.20")
    connector = host.connector()
    assert len(connector.find(PATH)) == 1
    assert len(connector.find({**PATH, "host_traddr": "192.0.2.20"})) == 1
    assert connector.find({**PATH, "host_traddr": "192.0.2.21"}) == []


# -- options of an existing path


def test_no_drift(host: FakeHost) -> None:
    host.controller("nvme0")
    assert host.connector().drift(PATH, host.sysfs.controller("nvme0")) == ({}, [])


def test_drift_that_can_be_set_live(host: FakeHost) -> None:
    host.controller("nvme0", ctrl_loss_tmo="600", reconnect_delay="2", fast_io_fail_tmo="5")
    live, fixed = host.connector().drift({**PATH, "fast_io_fail_tmo": 9}, host.sysfs.controller("nvme0"))
    # the delay first: the kernel counts ctrl_loss_tmo in delays
    assert list(live.items()) == [("reconnect_delay", 10), ("ctrl_loss_tmo", -1), ("fast_io_fail_tmo", 9)]
    assert fixed == []
    host.connector().adjust("nvme0", {"reconnect_delay": 10})
    assert host.sysfs.controller("nvme0")["reconnect_delay"] == 10


def test_time_rounded_up_by_the_kernel_is_no_drift(host: FakeHost) -> None:
    host.controller("nvme0", ctrl_loss_tmo="609", reconnect_delay="7")
    assert host.connector().drift({**PATH, "ctrl_loss_tmo": 605, "reconnect_delay": 7}, host.sysfs.controller("nvme0")) == ({}, [])


def test_drift_that_needs_a_new_connection(host: FakeHost) -> None:
    host.controller("nvme0", kato="10", queue_count="9", hostnqn="nqn.2026-01.test:other")
    live, fixed = host.connector().drift({**PATH, "nr_io_queues": 4, "hostnqn": HOSTNQN}, host.sysfs.controller("nvme0"))
    assert live == {}
    assert fixed == [
        {"option": "keep_alive_tmo", "found": 10, "wanted": 5},
        {"option": "nr_io_queues", "found": 8, "wanted": 4},
        {"option": "hostnqn", "found": "nqn.2026-01.test:other", "wanted": HOSTNQN},
    ]


def test_timeout_that_the_kernel_does_not_show_is_told(host: FakeHost) -> None:
    """Linux before 5.11 has no fast_io_fail_tmo."""
    host.controller("nvme0", fast_io_fail_tmo=None)
    live, fixed = host.connector().drift({**PATH, "fast_io_fail_tmo": 20}, host.sysfs.controller("nvme0"))
    assert (live, fixed) == ({}, [{"option": "fast_io_fail_tmo", "found": None, "wanted": 20}])


def test_value_that_the_kernel_does_not_take(host: FakeHost) -> None:
    host.controller("nvme0")
    (host.root / "sys/class/nvme/nvme0/reconnect_delay").unlink()
    (host.root / "sys/class/nvme/nvme0/reconnect_delay").mkdir()
    with pytest.raises(HopError, match="reconnect_delay cannot be set to 3"):
        host.connector().adjust("nvme0", {"reconnect_delay": 3})


# -- disconnecting


@pytest.fixture(name="pair")
def _pair(host: FakeHost) -> FakeHost:
    host.controller("nvme0")
    host.controller("nvme1", "192.0.2.11")
    host.namespace("nvme0n1", 1, UUID1, 64 * MIB, ["nvme0", "nvme1"])
    return host


def test_disconnect_deletes_and_looks(pair: FakeHost) -> None:
    pair.connector().disconnect("nvme1")
    assert [item["name"] for item in pair.sysfs.controllers()] == ["nvme0"]


def test_disconnect_of_what_is_gone_is_fine(pair: FakeHost) -> None:
    pair.connector().disconnect("nvme9")
    assert len(pair.sysfs.controllers()) == 2


def test_controller_that_stays_is_an_error(pair: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair, "remove", lambda _name: None)
    with pytest.raises(HopError, match="still there after 5 s"):
        pair.connector().disconnect("nvme1")


def test_one_of_two_paths_loses_nothing(pair: FakeHost) -> None:
    connector = pair.connector()
    assert (connector.losses({"nvme0"}), connector.losses({"nvme0", "nvme1"})) == ([], ["nvme0n1"])
    # a path that is only connecting carries nothing
    pair.write("sys/class/nvme/nvme1/state", "connecting\n")
    assert connector.losses({"nvme0"}) == ["nvme0n1"]


@pytest.mark.parametrize(("state", "lost"), [("optimized", []), ("non-optimized", []), ("inaccessible", ["nvme0n1"]), ("persistent-loss", ["nvme0n1"])])
def test_path_that_is_live_but_takes_no_io_is_no_other_path(pair: FakeHost, state: str, lost: list[str]) -> None:
    pair.write("sys/block/nvme0c1n1/ana_state", state + "\n")
    assert pair.connector().losses({"nvme0"}) == lost


def test_multipath_off_loses_its_own_device(tmp_path: pathlib.Path) -> None:
    host = FakeHost(tmp_path, multipath="N")
    host.controller("nvme0")
    host.controller("nvme1", "192.0.2.11")
    host.single("nvme0n1", 1, UUID1, 64 * MIB, "nvme0")
    host.single("nvme1n1", 1, UUID1, 64 * MIB, "nvme1")
    assert host.connector().losses({"nvme0"}) == ["nvme0n1"]


def test_unused_device_may_go(pair: FakeHost) -> None:
    pair.connector().check_unused({"nvme0", "nvme1"}, NQN)
    assert pair.connector().users("nvme0n1") == []


def test_device_in_use_may_not(pair: FakeHost) -> None:
    (pair.root / "sys/block/nvme0n1/holders/dm-0").mkdir()
    pair.write("proc/self/mountinfo", f"30 1 {pair.read('sys/block/nvme0n1/dev').strip()} / /srv rw - ext4 x rw\n")
    with pytest.raises(HopError) as caught:
        pair.connector().check_unused({"nvme0", "nvme1"}, NQN)
    assert "held by dm-0, mounted at /srv" in caught.value.message
    assert "force" in str(caught.value.remedy)


def test_process_that_has_the_device_open_is_found_by_number(pair: FakeHost, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # QEMU in its own mount namespace has another name for the same node
    node = tmp_path / "node"
    node.write_text("")
    real_stat = os.stat
    block = types.SimpleNamespace(st_mode=stat.S_IFBLK | 0o600, st_rdev=os.makedev(259, 1))
    monkeypatch.setattr(os, "stat", lambda file, **options: block if os.path.realpath(str(file)) == str(node) else real_stat(file, **options))
    pair.write("sys/block/nvme0n1/dev", "259:1\n")
    pair.write("proc/4711/comm", "qemu-system-x86\n")
    pair.write("proc/4711/cmdline", "/usr/bin/qemu-system-x86_64\0-name\0guest=vm1,debug-threads=on\0-S\0")
    (tmp_path / "proc/4711/fd").mkdir()
    (tmp_path / "proc/4711/fd/3").symlink_to("pipe:[1]")
    (tmp_path / "proc/4711/fd/9").symlink_to(node)
    pair.write("proc/swaps", f"Filename Type Size Used Priority\n{node} partition 1 0 -2\n")
    assert pair.connector().users("nvme0n1") == ["open by qemu-system-x86 (pid 4711, domain vm1)", f"swap {node}"]
    assert pair.connector().users("nvme0c0n1") == []


def test_kernel_that_takes_the_key_and_cannot_use_it(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux 6.1 of Debian 12: the option is known, but nothing is authenticated and the controller has no attribute for it."""
    kernel = host.kernel_connect

    def connect(line: str) -> str:
        answer = kernel(line)
        (host.root / "sys/class/nvme/nvme0/dhchap_secret").unlink()
        return answer

    monkeypatch.setattr(host, "kernel_connect", connect)
    with pytest.raises(HopError, match="this kernel cannot do DH-HMAC-CHAP"):
        host.connector().connect({**PATH, "dhchap_secret_file": host.key("host", DHCHAP)})
    assert host.sysfs.controllers() == []
