# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: one private libvirtd for all tests, guests built once, domains and loop devices of each test's own."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import typing as t

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import private_libvirt
from ansible_collections.nvmeof.spdk.tests.module_runner import run_module

#: Kept between runs, under the project's own build directory: the kernel package is 27 MB.
CACHE = os.path.join(private_libvirt.HERE, "..", "..", "..", "build", "guest")


def _build(script: str, *arguments: str) -> None:
    done = subprocess.run([os.path.join(private_libvirt.GUEST, script), *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"


@pytest.fixture(scope="session")
def hypervisor() -> t.Iterator[private_libvirt.PrivateLibvirt]:
    """The running libvirtd."""
    host = private_libvirt.PrivateLibvirt()
    yield host
    host.stop()


@pytest.fixture(scope="session")
def mini_guest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Parameters of the mini guest's domains."""
    kernel = str(tmp_path_factory.mktemp("mini") / "mini.elf")
    _build("build_mini.sh", kernel)
    return {"kernel": kernel}


@pytest.fixture(scope="session")
def linux_guest() -> dict[str, str]:
    """Parameters of the Linux guest's domains."""
    cache = os.path.realpath(CACHE)
    kernel, out = os.path.join(cache, "kernel"), os.path.join(cache, "linux")
    image = os.path.join(out, "initrd.img")
    sources = [os.path.join(private_libvirt.GUEST, name) for name in ("linux_init", "build_linux.sh")]
    if not os.path.isdir(os.path.join(kernel, "boot")):
        _build("fetch_kernel.sh", kernel)
    if not os.path.exists(image) or os.path.getmtime(image) < max(os.path.getmtime(source) for source in sources):
        _build("build_linux.sh", kernel, out)
    return {"kernel": os.path.join(out, "vmlinuz"), "initrd": image}


@pytest.fixture(scope="session")
def debian_guest() -> dict[str, str]:
    """Parameters of domains with the Linux guest that has a Debian userland."""
    cache = os.path.realpath(CACHE)
    kernel, out = os.path.join(cache, "kernel"), os.path.join(cache, "debian")
    image = os.path.join(out, "initrd.img")
    sources = [os.path.join(private_libvirt.GUEST, name) for name in ("linux_init", "build_debian.sh")]
    if not os.path.isdir(os.path.join(kernel, "boot")):
        _build("fetch_kernel.sh", kernel)
    if not os.path.exists(image) or os.path.getmtime(image) < max(os.path.getmtime(source) for source in sources):
        _build("build_debian.sh", kernel, out)
    return {"kernel": os.path.join(out, "vmlinuz"), "initrd": image, "memory": "768"}


@pytest.fixture
def loops(hypervisor: private_libvirt.PrivateLibvirt) -> t.Iterator[t.Callable[[int], private_libvirt.Loop]]:
    """Makes loop devices of a size in MiB; they end with the test."""
    made: list[private_libvirt.Loop] = []

    def make(mib: int) -> private_libvirt.Loop:
        made.append(private_libvirt.Loop(hypervisor.folder, mib * private_libvirt.MIB))
        return made[-1]

    yield make
    for loop in made:
        loop.close()


@pytest.fixture
def domains(
    hypervisor: private_libvirt.PrivateLibvirt,
    loops: t.Callable[[int], private_libvirt.Loop],
) -> t.Iterator[t.Callable[..., private_libvirt.Domain]]:
    """Defines domains; they end with the test, before its loop devices."""
    made: list[private_libvirt.Domain] = []

    def make(kind: str, disks: list[dict[str, t.Any]], **parameters: t.Any) -> private_libvirt.Domain:
        made.append(private_libvirt.Domain(hypervisor, kind, disks, **parameters))
        return made[-1]

    yield make
    for domain in made:
        domain.remove()


@pytest.fixture
def resize(hypervisor: private_libvirt.PrivateLibvirt) -> t.Callable[..., dict[str, t.Any]]:
    """Runs virt_blockresize on the hypervisor; guests are asked only where a test says so."""

    def run(check: bool = False, **params: t.Any) -> dict[str, t.Any]:
        return run_module("virt_blockresize", {"guest_agent": "never", **params}, check=check, diff=True, python=hypervisor.python)

    return run


@pytest.fixture
def disk_info(hypervisor: private_libvirt.PrivateLibvirt) -> t.Callable[..., list[dict[str, t.Any]]]:
    """Runs virt_disk_info on the hypervisor and returns the disks."""
    call = functools.partial(run_module, "virt_disk_info", python=hypervisor.python)

    def run(**params: t.Any) -> list[dict[str, t.Any]]:
        result = call(params)
        assert not result["failed"], result
        assert not result["changed"]
        return result["disks"]

    return run


@pytest.fixture
def disk(hypervisor: private_libvirt.PrivateLibvirt) -> t.Callable[..., dict[str, t.Any]]:
    """Runs virt_disk on the hypervisor."""

    def run(check: bool = False, **params: t.Any) -> dict[str, t.Any]:
        return run_module("virt_disk", params, check=check, diff=True, python=hypervisor.python)

    return run
