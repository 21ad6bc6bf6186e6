# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module nvme_kernel on a made-up host: modules, native multipath, io policies."""

from __future__ import annotations

import errno
import pathlib
import types
import typing as t

import pytest
import yaml
from ansible_collections.nvmeof.spdk.plugins.module_utils import _nvme_host_kernel
from ansible_collections.nvmeof.spdk.plugins.module_utils._nvme_kernel import lacks_iopolicy
from ansible_collections.nvmeof.spdk.plugins.modules import nvme_kernel
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.call import call
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.fake_host import NQN, FakeHost

OPTIONS = "etc/modprobe.d/nvmeof-spdk.conf"
LOADED = "etc/modules-load.d/nvmeof-spdk.conf"
RULES = "etc/udev/rules.d/72-nvmeof-spdk-iopolicy.rules"
POLICY = "sys/class/nvme-subsystem/nvme-subsys0/iopolicy"


class Machine:
    """A host with a kernel that loads modules."""

    def __init__(self, root: pathlib.Path) -> None:
        self.host = FakeHost(root)
        self.release = "6.12.48+deb13-amd64"
        self.ran: list[list[str]] = []
        self.complaint = ""
        self.builtin([])

    def builtin(self, names: list[str]) -> None:
        self.host.write(f"lib/{self.release}/modules.builtin", "".join(f"kernel/drivers/nvme/host/{name}.ko\n" for name in names))

    def run(self, argv: list[str], **_options: t.Any) -> types.SimpleNamespace:
        """modprobe and udevadm."""
        self.ran.append(argv)
        if argv[0] == "modprobe" and not self.complaint:
            (self.host.root / "sys/module" / argv[1].replace("-", "_")).mkdir(parents=True, exist_ok=True)
        return types.SimpleNamespace(returncode=1 if self.complaint else 0, stderr=self.complaint.encode())

    def kernel(self, sysfs: t.Any) -> _nvme_host_kernel.HostKernel:
        root = self.host.root
        return _nvme_host_kernel.HostKernel(sysfs, etc=str(root / "etc"), modules=str(root / "lib"), release=self.release, run=self.run)

    def has(self, name: str) -> bool:
        return (self.host.root / name).exists()


@pytest.fixture(name="machine")
def _machine(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setattr(nvme_kernel, "SysfsNvme", lambda: machine.host.sysfs)
    monkeypatch.setattr(nvme_kernel, "HostKernel", machine.kernel)
    return machine


def subsystem(machine: Machine, nqn: str = NQN, number: int = 0, policy: str | None = "numa") -> None:
    machine.host.write(f"sys/class/nvme-subsystem/nvme-subsys{number}/subsysnqn", nqn + "\n")
    if policy:
        machine.host.write(f"sys/class/nvme-subsystem/nvme-subsys{number}/iopolicy", policy + "\n")


def test_modules_are_loaded_now_and_at_boot(machine: Machine) -> None:
    wish = {"transports": ["tcp", "rdma"]}
    preview = call(nvme_kernel, wish, check=True)
    assert (preview["changed"], machine.ran, machine.has(LOADED)) == (True, [], False)
    first, second = call(nvme_kernel, wish), call(nvme_kernel, wish)
    assert [first["changed"], second["changed"]] == [True, False]
    assert (preview["changes"], preview["diff"]) == (first["changes"], first["diff"])
    assert machine.ran == [["modprobe", "nvme-fabrics"], ["modprobe", "nvme-rdma"], ["modprobe", "nvme-tcp"]]
    assert machine.host.read(LOADED).splitlines()[1:] == ["nvme-fabrics", "nvme-rdma", "nvme-tcp"]
    assert (machine.host.root / LOADED).stat().st_mode & 0o777 == 0o644
    assert {item["name"]: item["loaded"] for item in second["kernel"]["modules"]}["nvme-rdma"] is True
    assert not machine.has(OPTIONS) and not machine.has(RULES)
    documented = yaml.safe_load(nvme_kernel.RETURN)
    assert set(first["kernel"]) == set(documented["kernel"]["sample"])
    assert set(first["kernel"]["modules"][0]) == set(documented["kernel"]["sample"]["modules"][0])
    gone = call(nvme_kernel, {"transports": []})
    assert (gone["changed"], machine.has(LOADED), gone["changes"][0]["action"]) == (True, False, "delete")


def test_a_module_that_is_part_of_the_kernel_is_not_loaded(machine: Machine) -> None:
    machine.builtin(["nvme-fabrics", "nvme_tcp"])
    result = call(nvme_kernel, {"transports": ["tcp"]})
    assert ([change["kind"] for change in result["changes"]], machine.ran) == (["file"], [])
    assert {item["name"]: item["builtin"] for item in result["kernel"]["modules"]} == {
        "nvme-core": False,
        "nvme-fabrics": True,
        "nvme-tcp": True,
        "nvme-rdma": False,
    }


def test_a_module_that_cannot_be_loaded_is_not_promised_for_the_boot(machine: Machine) -> None:
    machine.complaint = "modprobe: FATAL: Module nvme-rdma not found"
    result = call(nvme_kernel, {"transports": ["rdma"]})
    assert (result["failed"], result["changed"], machine.has(LOADED)) == (True, False, False)
    assert "nvme-rdma not found" in result["error"]["cause"] and "install the kernel's modules" in result["error"]["remedy"]


def test_multipath_is_written_and_a_reboot_is_asked_for_not_made(machine: Machine) -> None:
    first, second = call(nvme_kernel, {"multipath": False}), call(nvme_kernel, {"multipath": False})
    assert [first["changed"], second["changed"]] == [True, False]
    assert machine.host.read(OPTIONS).splitlines()[1:] == ["options nvme_core multipath=N"]
    for result in (first, second):
        assert (result["kernel"]["multipath"], result["kernel"]["reboot_needed"]) == (True, True)
        assert "is on, not off, and stays so until a reboot" in result["warned"][0]
        assert "update-initramfs" in result["kernel"]["problems"][0]["remedy"]
    assert machine.ran == []
    result = call(nvme_kernel, {"multipath": True})
    assert (result["kernel"]["reboot_needed"], result["kernel"]["problems"], result["changes"][0]["action"]) == (False, [], "update")


def test_multipath_of_a_module_that_is_loaded_by_this_call_needs_no_reboot(machine: Machine) -> None:
    (machine.host.root / "sys/module/nvme_core/parameters/multipath").unlink()
    (machine.host.root / "sys/module/nvme_core/parameters").rmdir()
    (machine.host.root / "sys/module/nvme_core").rmdir()
    result = call(nvme_kernel, {"multipath": True, "transports": ["tcp"]})
    assert [(change["kind"], change["name"].rpartition("/")[2]) for change in result["changes"]] == [
        ("file", "nvmeof-spdk.conf"),
        ("module", "nvme-fabrics"),
        ("module", "nvme-tcp"),
        ("file", "nvmeof-spdk.conf"),
    ]
    assert (result["kernel"]["multipath"], result["kernel"]["reboot_needed"]) == (None, False)


def test_no_file_reaches_a_built_in_module(machine: Machine) -> None:
    machine.builtin(["nvme-core"])
    machine.host.write("sys/module/nvme_core/parameters/multipath", "N\n")
    result = call(nvme_kernel, {"multipath": True})
    (found,) = result["kernel"]["problems"]
    assert "add nvme_core.multipath=Y to the kernel's command line" in found["remedy"]


@pytest.mark.parametrize(("live", "words"), [("Y", "would change it at the next boot"), ("N", "is off, not on")])
def test_a_command_line_that_says_otherwise_is_named(machine: Machine, live: str, words: str) -> None:
    machine.host.write("sys/module/nvme_core/parameters/multipath", live + "\n")
    machine.host.write("proc/cmdline", "root=/dev/vda1 nvme_core.multipath=N quiet\n")
    (found,) = call(nvme_kernel, {"multipath": True})["kernel"]["problems"]
    assert words in found["problem"] and "command line says nvme_core.multipath=N" in found["remedy"]
    machine.host.write("proc/cmdline", "nvme_core.multipath=1\n")
    assert len(call(nvme_kernel, {"multipath": True})["kernel"]["problems"]) == (live == "N")


def test_a_kernel_without_native_multipath_is_an_error(machine: Machine) -> None:
    (machine.host.root / "sys/module/nvme_core/parameters/multipath").unlink()
    result = call(nvme_kernel, {"multipath": True})
    assert (result["failed"], machine.has(OPTIONS)) == (True, False)
    assert "CONFIG_NVME_MULTIPATH" in result["error"]["remedy"]
    assert call(nvme_kernel, {"multipath": False})["failed"] is False


def test_iopolicy_is_set_now_and_for_subsystems_to_come(machine: Machine) -> None:
    subsystem(machine)
    subsystem(machine, "nqn.2019-08.org.qemu:local", 1)
    subsystem(machine, "nqn.2014-08.org.nvmexpress.discovery", 2)
    wish = {"iopolicy": "queue-depth", "iopolicy_nqns": ["nqn.2016-06.io.spdk:*", "nqn.2026-01.test:?"]}
    preview = call(nvme_kernel, wish, check=True)
    assert (machine.host.read(POLICY), machine.has(RULES)) == ("numa\n", False)
    first, second = call(nvme_kernel, wish), call(nvme_kernel, wish)
    assert [preview["changed"], first["changed"], second["changed"]] == [True, True, False]
    assert (preview["changes"], preview["diff"]) == (first["changes"], first["diff"])
    assert second["kernel"]["subsystems"] == [{"name": "nvme-subsys0", "nqn": NQN, "iopolicy": "queue-depth"}]
    assert machine.host.read("sys/class/nvme-subsystem/nvme-subsys1/iopolicy") == "numa\n"
    line = 'ACTION=="add|change", SUBSYSTEM=="nvme-subsystem", ATTR{subsysnqn}=="%s", ATTR{iopolicy}="queue-depth"'
    assert machine.host.read(RULES).splitlines()[1:] == [line % pattern for pattern in wish["iopolicy_nqns"]]
    assert machine.ran == [["udevadm", "control", "--reload"]]
    every = call(nvme_kernel, {"iopolicy": "round-robin"})
    assert [item["iopolicy"] for item in every["kernel"]["subsystems"]] == ["round-robin", "round-robin"]


@pytest.mark.parametrize("check", [False, True])
def test_a_policy_that_the_kernel_lacks_names_the_kernel_that_has_it(machine: Machine, check: bool) -> None:
    machine.release = "6.1.0-18-cloud-amd64"
    subsystem(machine)
    result = call(nvme_kernel, {"iopolicy": "queue-depth", "transports": ["tcp"]}, check)
    assert (result["failed"], result["changed"], machine.ran, machine.has(LOADED)) == (True, False, [], False)
    assert "kernel 6.1.0-18-cloud-amd64 has no io policy queue-depth; it came with Linux 6.11" in result["msg"]
    assert "choose numa, round-robin" in result["error"]["remedy"]


def test_of_a_kernel_with_backports_only_the_kernel_itself_tells(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.release = "5.14.0-427.el9.x86_64"
    subsystem(machine)

    def refuse(file: str, *args: t.Any, **kwargs: t.Any) -> t.Any:
        if file.endswith("iopolicy") and args[:1] == ("w",):
            raise OSError(errno.EINVAL, "Invalid argument")
        return open(file, *args, **kwargs)

    monkeypatch.setattr(_nvme_host_kernel, "open", refuse, raising=False)
    result = call(nvme_kernel, {"iopolicy": "queue-depth"})
    assert (result["failed"], machine.has(RULES)) == (True, False)
    assert "it came with Linux 6.11" in result["msg"] and result["error"]["cause"] == "Invalid argument"


def test_a_kernel_without_policies_is_an_error(machine: Machine) -> None:
    subsystem(machine, policy=None)
    result = call(nvme_kernel, {"iopolicy": "numa"})
    assert result["failed"] is True and "has no io policies" in result["msg"]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"transports": ["fc"]}, "transports"),
        ({"iopolicy": "fastest"}, "iopolicy"),
        ({"iopolicy": "numa", "iopolicy_nqns": ['x", RUN+="/bin/x']}, "no pattern"),
        ({"iopolicy": "numa", "iopolicy_nqns": ["a|b"]}, "no pattern"),
        ({"iopolicy": "numa", "iopolicy_nqns": []}, "is empty"),
    ],
)
def test_bad_input_is_refused(machine: Machine, params: dict[str, t.Any], words: str) -> None:
    result = call(nvme_kernel, params)
    assert result["failed"] is True and words in result["msg"]
    assert not machine.has(RULES)


@pytest.mark.parametrize(
    ("release", "policy", "lacks"),
    [
        ("6.1.0-18-cloud-amd64", "queue-depth", True),
        ("6.10.3", "queue-depth", True),
        ("6.11.0-1", "queue-depth", False),
        ("6.1.0", "round-robin", False),
        ("5.14.0-503.11.1.el9_5.x86_64", "queue-depth", False),
        ("6.4.0-150600.23.7-default", "queue-depth", False),
        ("strange", "queue-depth", False),
    ],
)
def test_which_kernels_lack_a_policy(release: str, policy: str, lacks: bool) -> None:
    assert lacks_iopolicy(release, policy) is lacks


def test_after_an_error_the_changes_are_those_that_were_made(machine: Machine) -> None:
    machine.complaint = "no such module"
    result = call(nvme_kernel, {"multipath": True, "transports": ["tcp"]})
    assert (result["failed"], result["changed"]) == (True, True)
    assert [change["name"] for change in result["changes"]] == [str(machine.host.root / OPTIONS)]


def test_a_file_that_cannot_be_read_is_an_error_before_anything(machine: Machine) -> None:
    machine.host.write("etc/modules-load.d", "in the way\n")
    result = call(nvme_kernel, {"multipath": True, "transports": ["tcp"]})
    assert (result["failed"], result["changed"], machine.ran, machine.has(OPTIONS)) == (True, False, [], False)
    assert result["error"]["remedy"].startswith("run as root")
