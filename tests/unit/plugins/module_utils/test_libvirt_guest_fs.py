# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File systems in guests grown through the agent; the answers are those of qemu-ga 7.2, e2fsprogs 1.47 and xfsprogs 6.1."""

from __future__ import annotations

import base64
import functools
import json
import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.nvmeof.spdk.plugins.module_utils import _libvirt_disk, _libvirt_guest, _libvirt_guest_fs
from ansible_collections.nvmeof.spdk.plugins.module_utils._libvirt_guest import GuestAgent, GuestError
from ansible_collections.nvmeof.spdk.plugins.modules import guest_filesystem
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.call import call
from ansible_collections.nvmeof.spdk.tests.unit.plugins.module_utils.fake_libvirt import (
    DOMAIN_UUID,
    GIB,
    UUID,
    FakeDomain,
    FakeError,
    FakeHost,
    FakeLibvirt,
    disk_xml,
    domain_xml,
)

MIB = 1024**2
EVERYTHING = ("growpart", "sfdisk", "partx", "resize2fs", "dumpe2fs", "xfs_growfs")
READS = (["growpart", "--version"], ["sfdisk", "--version"], ["partx", "--version"], ["resize2fs", "-V"])


class FakeGuest:
    """The module ``libvirt_qemu``: a guest with one disk ``/dev/vda``."""

    def __init__(self, size: int = GIB) -> None:
        self.sysfs: dict[str, str] = {"vda/size": str(size // 512)}
        self.nodes: list[dict[str, t.Any]] = [
            {
                "name": "/dev/vda",
                "partition": False,
                "address": {"bus-type": "virtio", "pci-controller": {"domain": 0, "bus": 0, "slot": 4, "function": 0}},
            }
        ]
        self.mounts: list[dict[str, t.Any]] = []
        self.blocks: dict[str, int] = {}
        self.programs = set(EVERYTHING)
        self.forbidden: set[str] = set()
        self.ran: list[list[str]] = []
        self.inputs: list[str] = []
        self.fails: dict[str, tuple[int, str]] = {}
        self.idle: set[str] = set()
        self.slow = 0
        self._running: dict[int, tuple[int, str]] = {}
        self._path = ""

    # -- building

    def partition(self, name: str, begin: int, size: int) -> None:
        """A partition; both in bytes."""
        self.nodes.append({"name": f"/dev/{name}", "partition": True, "dependencies": ["/dev/vda"]})
        self.sysfs.update({f"{name}/size": str(size // 512), f"{name}/start": str(begin // 512), f"{name}/partition": name[3:]})

    def upper(self, name: str, below: str, uuid: str) -> None:
        """A dm device."""
        self.nodes.append({"name": f"/dev/{name}", "partition": False, "dependencies": [f"/dev/{below}"]})
        self.sysfs[f"{name}/dm/uuid"] = uuid

    def mount(self, device: str, kind: str, mountpoint: str, blocks: int) -> None:
        """A mounted file system of so many blocks of 4096 bytes."""
        self.mounts.append({"name": device, "mountpoint": mountpoint, "type": kind, "total-bytes": blocks * 4096 - MIB, "used-bytes": 0, "disk": []})
        self.blocks[device] = blocks

    def bytes(self, device: str) -> int:
        """A device's size."""
        return int(self.sysfs[f"{device}/size"]) * 512

    # -- libvirt_qemu

    def qemuAgentCommand(self, _domain: t.Any, command: str, _timeout: int, _flags: int) -> str:
        """Answer one command."""
        request = json.loads(command)
        name = request["execute"]
        if name in self.forbidden:
            raise FakeError(86, f"the command {name} has been disabled for this instance")
        answer = getattr(self, "_" + name.replace("-", "_"))(**{key.replace("-", "_"): value for key, value in request.get("arguments", {}).items()})
        return json.dumps({"return": answer})

    def _guest_info(self) -> dict[str, t.Any]:
        names = ("guest-exec", "guest-exec-status", "guest-get-fsinfo", "guest-get-disks", "guest-file-open")
        return {"version": "7.2", "supported_commands": [{"name": name, "enabled": name not in self.forbidden} for name in names]}

    def _guest_get_disks(self) -> list[dict[str, t.Any]]:
        return self.nodes

    def _guest_get_fsinfo(self) -> list[dict[str, t.Any]]:
        return self.mounts

    def _guest_file_open(self, path: str, mode: str) -> int:
        assert mode == "r"
        self._path = path[len("/sys/class/block/") :]
        return 1000

    def _guest_file_read(self, handle: int, count: int) -> dict[str, t.Any]:
        assert (handle, count) == (1000, 64)
        return {"count": 1, "buf-b64": base64.b64encode((self.sysfs[self._path] + "\n").encode()).decode(), "eof": True}

    def _guest_file_close(self, handle: int) -> dict[str, t.Any]:
        assert handle == 1000
        return {}

    def _guest_exec(self, path: str, arg: list[str], capture_output: bool, env: list[str], input_data: str = "") -> dict[str, int]:
        assert capture_output and "LC_ALL=C" in env
        if path not in self.programs:
            raise FakeError(86, f"Guest agent command failed, error was 'Failed to execute child process {path} (No such file or directory)'")
        argv = [path, *arg]
        self.ran.append(argv)
        self.inputs.append(base64.b64decode(input_data).decode())
        self._running[len(self.ran)] = self._execute(argv)
        return {"pid": len(self.ran)}

    def _guest_exec_status(self, pid: int) -> dict[str, t.Any]:
        if self.slow:
            self.slow -= 1
            return {"exited": False}
        code, said = self._running[pid]
        return {"exited": True, "exitcode": code, "out-data": base64.b64encode(said.encode()).decode()}

    def _execute(self, argv: list[str]) -> tuple[int, str]:
        program, last = argv[0], argv[-1].rpartition("/")[2]
        if program in self.fails:
            return self.fails[program]
        if argv in READS:
            return (1 if program == "resize2fs" else 0), program
        if program == "dumpe2fs":
            return 0, f"Filesystem volume name:   <none>\nBlock count:              {self.blocks[last]}\nBlock size:               4096\n"
        if argv[:2] == ["xfs_growfs", "-n"]:
            device = next(mount["name"] for mount in self.mounts if mount["mountpoint"] == argv[2])
            return 0, f"meta-data=/dev/{device} isize=512 agcount=4\ndata     =                       bsize=4096   blocks={self.blocks[device]}, imaxpct=25\n"
        if program in self.idle:
            return 0, ""
        if program in ("growpart", "sfdisk"):
            name = f"vda{argv[2] if program == 'growpart' else argv[4]}"
            self._grow_partition(name, at_once=program == "growpart")
            return 0, f"CHANGED: {name}"
        if program == "partx":
            name = f"vda{argv[3]}"
            self.sysfs[f"{name}/size"] = self.sysfs.pop(f"{name}/later")
            return 0, ""
        device = last if program == "resize2fs" else next(mount["name"] for mount in self.mounts if mount["mountpoint"] == argv[1])
        self.blocks[device] = self.bytes(device) // 4096
        next(mount for mount in self.mounts if mount["name"] == device)["total-bytes"] = self.blocks[device] * 4096 - MIB
        return 0, ""

    def _grow_partition(self, name: str, at_once: bool) -> None:
        room = self.bytes("vda") // 512 - int(self.sysfs[f"{name}/start"]) - 33
        self.sysfs[f"{name}/{'size' if at_once else 'later'}"] = str(room)


class FakeTime:
    """A clock that only moves by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(name="guest")
def _guest(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> FakeGuest:
    host = FakeHost(tmp_path)
    host.add_block("nvme0n1", (259, 1), GIB, uuid=UUID)
    host.add_qemu(200, DOMAIN_UUID, "/dev/nvme0n1")
    fake, guest = FakeLibvirt(FakeDomain(domain_xml(disk_xml()))), FakeGuest()
    guest.libvirt = fake  # type: ignore[attr-defined]
    monkeypatch.setattr(guest_filesystem, "bindings", lambda _module: (fake, guest))
    monkeypatch.setattr(_libvirt_disk, "HostDevices", functools.partial(_libvirt_disk.HostDevices, **host.arguments()))
    clock = FakeTime()
    for module in (_libvirt_guest, _libvirt_guest_fs):
        monkeypatch.setattr(module, "time", clock)
    return guest


def run(check: bool = False, **params: t.Any) -> dict[str, t.Any]:
    return call(guest_filesystem, params or {"domain": "db1", "target": "vda"}, check)


def one(check: bool = False) -> dict[str, t.Any]:
    result = run(check)
    (entry,) = result["filesystems"]
    assert result["changed"] == entry["changed"] and result["failed"] == (entry["state"] == "failed")
    return entry


def acting(guest: FakeGuest) -> list[list[str]]:
    """What ran in the guest and does not only read."""
    return [argv for argv in guest.ran if argv not in READS and argv[0] != "dumpe2fs" and argv[:2] != ["xfs_growfs", "-n"]]


def ext4_on_disk(guest: FakeGuest) -> None:
    guest.mount("vda", "ext4", "/data", 512 * MIB // 4096)


def ext4_on_last_partition(guest: FakeGuest) -> None:
    guest.partition("vda1", MIB, 16 * MIB)
    guest.partition("vda2", 17 * MIB, 495 * MIB)
    guest.mount("vda2", "ext4", "/", 495 * MIB // 4096)


def xfs_on_disk(guest: FakeGuest) -> None:
    guest.mount("vda", "xfs", "/srv", 512 * MIB // 4096)


@pytest.mark.parametrize(
    ("build", "commands"),
    [
        (ext4_on_disk, [["resize2fs", "/dev/vda"]]),
        (xfs_on_disk, [["xfs_growfs", "/srv"]]),
        (ext4_on_last_partition, [["growpart", "/dev/vda", "2"], ["resize2fs", "/dev/vda2"]]),
    ],
)
def test_grown_and_then_unchanged(guest: FakeGuest, build: t.Callable[[FakeGuest], None], commands: list[list[str]]) -> None:
    build(guest)
    before = guest.mounts[0]["total-bytes"]
    checked = one(check=True)
    assert (checked["state"], checked["changed"], checked["commands"]) == ("grown", True, commands)
    assert acting(guest) == []
    entry = one()
    assert set(entry) == set(yaml.safe_load(guest_filesystem.RETURN)["filesystems"]["contains"])
    assert (entry["state"], entry["changed"], entry["error"], entry["commands"]) == ("grown", True, None, commands)
    assert acting(guest) == commands
    assert entry["before_total_bytes"] == before < entry["total_bytes"] == guest.mounts[0]["total-bytes"]
    assert entry["size_bytes"] > entry["before_bytes"] and entry["disk_bytes"] == GIB and entry["namespace_uuid"] == UUID
    if entry["partition"]:
        assert (entry["before_partition_bytes"], entry["partition_bytes"]) == (495 * MIB, GIB - 17 * MIB - 33 * 512)
    again = one()
    assert (again["state"], again["changed"], again["commands"]) == ("unchanged", False, [])
    assert acting(guest) == commands


def test_sfdisk_where_there_is_no_growpart(guest: FakeGuest) -> None:
    ext4_on_last_partition(guest)
    guest.programs.discard("growpart")
    entry = one()
    assert entry["state"] == "grown"
    assert acting(guest) == [
        ["sfdisk", "--no-reread", "--no-tell-kernel", "--partno", "2", "/dev/vda"],
        ["partx", "--update", "--nr", "2", "/dev/vda"],
        ["resize2fs", "/dev/vda2"],
    ]
    assert [text for argv, text in zip(guest.ran, guest.inputs) if text] == [", +\n"]


def test_an_interrupted_run_grows_the_file_system_only(guest: FakeGuest) -> None:
    ext4_on_last_partition(guest)
    guest._grow_partition("vda2", at_once=True)
    assert one()["commands"] == [["resize2fs", "/dev/vda2"]]


def test_a_small_end_is_no_reason(guest: FakeGuest) -> None:
    guest.mount("vda", "ext4", "/data", (GIB - 3 * MIB) // 4096)
    assert one()["state"] == "unchanged"
    guest.blocks["vda"] = (GIB - 4 * MIB) // 4096
    assert one()["state"] == "grown"


def lvm_on_disk(guest: FakeGuest) -> None:
    guest.upper("dm-0", "vda", "LVM-abc")


def luks_on_partition(guest: FakeGuest) -> None:
    guest.partition("vda1", MIB, 500 * MIB)
    guest.upper("dm-0", "vda1", "CRYPT-LUKS2-abc-x")


def raid_on_partition(guest: FakeGuest) -> None:
    guest.partition("vda1", MIB, 500 * MIB)
    guest.nodes.append({"name": "/dev/md0", "partition": False, "dependencies": ["/dev/vda1"]})


def swap_last(guest: FakeGuest) -> None:
    guest.partition("vda2", 400 * MIB, 100 * MIB)
    guest.partition("vda1", MIB, 300 * MIB)
    guest.mount("vda1", "ext4", "/", 100)


def logical(guest: FakeGuest) -> None:
    guest.partition("vda1", MIB, 100 * MIB)
    guest.partition("vda2", 101 * MIB, 1024)
    guest.partition("vda5", 102 * MIB, 100 * MIB)
    guest.mount("vda5", "ext4", "/", 100)


def btrfs(guest: FakeGuest) -> None:
    guest.mount("vda", "btrfs", "/data", 100)


def nothing(_guest: FakeGuest) -> None:
    pass


def windows(guest: FakeGuest) -> None:
    guest.nodes[0]["name"] = "\\\\.\\PhysicalDrive0"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lvm_on_disk, "not grown: LVM inside (dm-0 on /dev/vda)"),
        (luks_on_partition, "not grown: LUKS inside (dm-0 on /dev/vda1)"),
        (raid_on_partition, "not grown: RAID inside (md0 on /dev/vda1)"),
        (swap_last, "not grown: the last partition /dev/vda2 has no mounted file system"),
        (logical, "not grown: logical partitions on /dev/vda"),
        (btrfs, "not grown: file system btrfs on /dev/vda"),
        (nothing, "not grown: /dev/vda has no mounted file system"),
        (windows, "not grown: not a Linux guest"),
    ],
)
def test_what_is_left_alone_is_named_and_no_failure(guest: FakeGuest, build: t.Callable[[FakeGuest], None], message: str) -> None:
    build(guest)
    entry = one()
    assert (entry["state"], entry["message"], entry["changed"]) == ("not_grown", message, False)
    assert acting(guest) == []


def test_a_domain_that_does_not_run(guest: FakeGuest) -> None:
    guest.libvirt.connection.domains[0].number = 5  # type: ignore[attr-defined]
    assert one()["message"] == "not grown: the domain is shut off"


def test_a_disk_that_several_guests_have(guest: FakeGuest) -> None:
    ext4_on_disk(guest)
    other = FakeDomain(domain_xml(disk_xml(), name="db2", uuid=DOMAIN_UUID.replace("0", "2")), name="db2")
    guest.libvirt.connection.domains.append(other)  # type: ignore[attr-defined]
    assert one()["message"] == "not grown: the disk is in several running domains (db1, db2)"
    other.number = 5
    assert one()["state"] == "grown"


@pytest.mark.parametrize("command", ["guest-exec", "guest-get-fsinfo"])
def test_an_agent_that_forbids_it(guest: FakeGuest, command: str) -> None:
    ext4_on_disk(guest)
    guest.forbidden.add(command)
    for check in (True, False):
        entry = one(check)
        assert entry["state"] == "failed" and f"does not allow {command}" in entry["message"]
        assert "qemu-ga.conf" in entry["error"]["remedy"] and entry["error"]["hop"] == "guest"


def test_no_agent_at_all(guest: FakeGuest) -> None:
    guest.forbidden.add("guest-get-disks")
    entry = one()
    assert entry["state"] == "failed" and "guest agent: libvirt code 86" in entry["message"]


@pytest.mark.parametrize(
    ("build", "missing", "message", "package"),
    [
        (ext4_on_disk, ("resize2fs",), "does not have resize2fs", "e2fsprogs"),
        (ext4_on_disk, ("dumpe2fs",), "does not have dumpe2fs", "e2fsprogs"),
        (xfs_on_disk, ("xfs_growfs",), "does not have xfs_growfs", "xfsprogs"),
        (ext4_on_last_partition, ("growpart", "sfdisk"), "neither growpart, nor sfdisk and partx", "cloud-guest-utils"),
        (ext4_on_last_partition, ("growpart", "partx"), "neither growpart, nor sfdisk and partx", "cloud-guest-utils"),
    ],
)
def test_programs_that_the_guest_lacks(guest: FakeGuest, build: t.Callable[[FakeGuest], None], missing: tuple[str, ...], message: str, package: str) -> None:
    build(guest)
    guest.programs -= set(missing)
    for check in (True, False):
        entry = one(check)
        assert entry["state"] == "failed" and message in entry["message"] and package in entry["error"]["remedy"]
    assert acting(guest) == []


def test_a_program_that_fails(guest: FakeGuest) -> None:
    ext4_on_last_partition(guest)
    guest.fails["resize2fs"] = (1, "resize2fs: Permission denied")
    entry = one()
    assert entry["state"] == "failed" and entry["error"]["cause"] == "resize2fs: Permission denied" and entry["error"]["call"] == "resize2fs /dev/vda2"
    assert entry["changed"] and entry["partition_bytes"] > entry["before_partition_bytes"]  # that much is done, and is told
    assert entry["size_bytes"] == entry["before_bytes"]


def test_success_is_the_size_read_back(guest: FakeGuest) -> None:
    ext4_on_disk(guest)
    guest.idle.add("resize2fs")
    entry = one()
    assert entry["state"] == "failed" and not entry["changed"] and "still has 512 MiB of 1 GiB" in entry["message"]


def test_a_partition_that_the_guests_kernel_does_not_follow(guest: FakeGuest) -> None:
    ext4_on_last_partition(guest)
    guest.idle.add("growpart")
    entry = one()
    assert entry["state"] == "failed" and "the partition /dev/vda2 still has 495 MiB" in entry["message"] and "partx --update" in entry["error"]["remedy"]


def test_a_slow_program_is_awaited_and_an_endless_one_given_up(guest: FakeGuest) -> None:
    ext4_on_disk(guest)
    guest.slow = 20
    assert one()["state"] == "grown"
    guest.blocks["vda"] //= 2
    guest.slow = 10**6
    assert "did not end within 60 s" in one()["message"]


def test_a_strange_answer_is_an_error(guest: FakeGuest) -> None:
    ext4_on_disk(guest)
    guest.fails["dumpe2fs"] = (0, "Block count: many")
    assert "size is not in what the guest's program said" in one()["message"]


def test_several_disks_and_one_that_is_not_there(guest: FakeGuest) -> None:
    ext4_on_disk(guest)
    result = run(disks=[{"uuid": UUID}, {"domain": "db1", "target": "vda"}, {"domain": "db9", "target": "vda"}])
    assert result["failed"] and result["changed"]
    assert [entry["state"] for entry in result["filesystems"]] == ["grown"]
    assert "there is no domain db9" in result["msg"] and len(result["errors"]) == 1
    assert result["changes"][0]["kind"] == "filesystem" and result["changes"][0]["name"] == "db1:vda /data"


@pytest.mark.parametrize("params", [{"domain": "db1"}, {"uuid": "x"}, {"domain": "db1", "target": "vda", "wait_timeout": 0}, {}])
def test_bad_options(guest: FakeGuest, params: dict[str, t.Any]) -> None:
    assert call(guest_filesystem, params)["failed"]
    assert guest.ran == []


def test_the_agent_gets_words_and_no_shell() -> None:
    seen = []

    def answer(command: str) -> str:
        seen.append(json.loads(command))
        return json.dumps({"return": {"pid": 1, "exited": True, "exitcode": 0}})

    GuestAgent(answer).run(["xfs_growfs", "/a b; reboot"])
    assert (seen[0]["arguments"]["path"], seen[0]["arguments"]["arg"]) == ("xfs_growfs", ["/a b; reboot"])
    with pytest.raises(GuestError, match="no result"):
        GuestAgent(lambda _command: "{}").run(["x"])
