# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real file systems in a real guest, on disks that grow, through its agent."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t

import pytest
from ansible_collections.nvmeof.spdk.tests.module_runner import run_module
from guest_shell import GuestShell
from private_libvirt import MIB, Domain, Loop

TARGETS = ("vda", "vdb", "vdc", "vdd", "vde")
#: On the whole disk, on the last of two partitions (GPT), on the whole disk, LVM, on the only partition (MBR). xfs has at least 300 MiB.
SIZES = {"vda": (64, 128), "vdb": (96, 256), "vdc": (320, 640), "vdd": (64, 128), "vde": (328, 640)}
FILESYSTEMS = """
mkdir -p /run/lock /run/lvm /mnt/a /mnt/b /mnt/c /mnt/e
mkfs.ext4 -q /dev/vda
mount /dev/vda /mnt/a
printf 'label: gpt\\n,16M\\n,\\n' | sfdisk -q /dev/vdb
udevadm settle
mkfs.ext4 -q /dev/vdb2
mount /dev/vdb2 /mnt/b
mkfs.xfs -q /dev/vdc
mount /dev/vdc /mnt/c
pvcreate -q /dev/vdd
vgcreate -q vg /dev/vdd
lvcreate -q -y -L 8M -n lv vg
printf 'label: dos\\n,\\n' | sfdisk -q /dev/vde
udevadm settle
mkfs.xfs -q /dev/vde1
mount /dev/vde1 /mnt/e
for place in a b c e; do echo kept >/mnt/$place/file; done
"""


@pytest.fixture
def run(hypervisor) -> t.Callable[..., dict[str, t.Any]]:
    """Runs guest_filesystem on the hypervisor."""

    def call(domain: Domain, *targets: str, check: bool = False) -> dict[str, t.Any]:
        disks = [{"domain": domain.name, "target": target} for target in targets or TARGETS]
        return run_module("guest_filesystem", {"disks": disks}, check=check, diff=True, python=hypervisor.python)

    return call


@pytest.fixture
def guest(debian_guest, loops, domains) -> tuple[Domain, GuestShell, dict[str, Loop]]:
    """A running guest with its file systems, and its disks' loop devices."""
    found = {target: loops(SIZES[target][0]) for target in TARGETS}
    domain = domains("linux", [{"target": target, "source": loop.device} for target, loop in found.items()], **debian_guest)
    domain.start()
    shell = GuestShell(domain)
    shell.wait_agent()
    shell.script(FILESYSTEMS)
    return domain, shell, found


def states(result: dict[str, t.Any]) -> dict[str, tuple[str, bool]]:
    return {entry["target"]: (entry["state"], entry["changed"]) for entry in result["filesystems"]}


@pytest.mark.parametrize("growpart", [True, False])
def test_file_systems_take_what_their_disks_have(guest, resize, run, growpart):
    """ext4 and xfs, on the whole disk and on the last partition; LVM is left alone; a second run does nothing."""
    domain, shell, disks = guest
    if not growpart:
        shell.script("rm /usr/bin/growpart")
    assert set(states(run(domain, "vda", "vdb", "vdc", "vde")).values()) == {("unchanged", False)}
    for target, loop in disks.items():
        loop.grow(SIZES[target][1] * MIB)
    result = resize(disks=[{"domain": domain.name, "target": target} for target in TARGETS], guest_agent="require")
    assert not result["failed"], result
    before = shell.script("df -k /mnt/a /mnt/b /mnt/c /mnt/e | awk '{print $NF, $2}'")
    checked = run(domain, check=True)
    assert shell.script("df -k /mnt/a /mnt/b /mnt/c /mnt/e | awk '{print $NF, $2}'") == before
    grown = run(domain)
    assert not grown["failed"], grown
    assert states(grown) == states(checked) == {**dict.fromkeys(TARGETS, ("grown", True)), "vdd": ("not_grown", False)}
    found = {entry["target"]: entry for entry in grown["filesystems"]}
    assert {target: [argv[0] for argv in entry["commands"]] for target, entry in found.items()} == {
        "vda": ["resize2fs"],
        "vdb": ["growpart", "resize2fs"] if growpart else ["sfdisk", "partx", "resize2fs"],
        "vdc": ["xfs_growfs"],
        "vdd": [],
        "vde": ["growpart", "xfs_growfs"] if growpart else ["sfdisk", "partx", "xfs_growfs"],
    }
    assert found["vdd"]["message"] == "not grown: LVM inside (dm-0 on /dev/vdd)"
    for target in ("vda", "vdb", "vdc", "vde"):
        entry = found[target]
        assert entry["total_bytes"] > entry["before_total_bytes"] * 3 // 2
        assert entry["disk_bytes"] == SIZES[target][1] * MIB
        end = entry["partition_bytes"] if entry["partition"] else entry["disk_bytes"]
        assert 0 <= end - entry["size_bytes"] < 4 * MIB
    for place, target in (("a", "vda"), ("b", "vdb"), ("c", "vdc"), ("e", "vde")):
        assert shell.script(f"cat /mnt/{place}/file") == "kept\n"
        blocks = int(shell.script(f"df -k /mnt/{place}").split()[-5])
        assert blocks * 1024 >= found[target]["total_bytes"]
    assert "No errors detected" in shell.script("sfdisk --verify /dev/vdb")
    again = run(domain)
    assert not again["failed"] and not again["changed"]
    assert states(again) == {**dict.fromkeys(TARGETS, ("unchanged", False)), "vdd": ("not_grown", False)}


def test_an_agent_that_forbids_guest_exec(guest, resize, run):
    """The capacity is proven all the same; the file system says what to allow."""
    domain, shell, disks = guest
    agent = "/usr/sbin/qemu-ga -d -b guest-exec -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -t /run -f /run/qemu-ga.pid"
    shell.script(f"(sleep 0.5; kill $(cat /run/qemu-ga.pid); sleep 0.5; {agent}) >/dev/null 2>&1 &")
    shell.wait_agent(lambda info: not next(entry for entry in info["supported_commands"] if entry["name"] == "guest-exec")["enabled"])
    disks["vda"].grow(SIZES["vda"][1] * MIB)
    result = resize(domain=domain.name, target="vda", guest_agent="require")
    assert not result["failed"] and result["disks"][0]["guest_bytes"] == SIZES["vda"][1] * MIB
    for check in (True, False):
        result = run(domain, "vda", check=check)
        assert result["failed"] and not result["changed"]
        assert states(result) == {"vda": ("failed", False)}
        assert "does not allow guest-exec" in result["msg"] and "qemu-ga.conf" in result["error"]["remedy"]


def test_the_role_tells_file_systems_apart_from_capacity(guest, hypervisor, tmp_path):
    """A file system that cannot grow fails the run at its end, after everything else was done and told."""
    domain, shell, disks = guest
    for target in ("vda", "vdd"):
        disks[target].grow(SIZES[target][1] * MIB)
    both = [{"domain": domain.name, "target": target} for target in ("vda", "vdd")]
    work = {"targets": {}, "initiators": {}, "layers": {}, "hypervisors": {"h1": both}, "filesystems": {"h1": both}}
    planned = {**work, "stages": {"rest": {**work, "parts": {"rbd/a": work}}}, "volumes": [], "wanted_bytes": 0}
    tasks = [
        {"name": f"Run {part}", "ansible.builtin.include_role": {"name": "nvmeof.spdk.volume_growth", "tasks_from": part}} for part in ("grow_hosts", "report")
    ]
    play = {"name": "Grow", "hosts": "h1", "gather_facts": False, "vars": {"volume_growth__plan": planned, "volume_growth__run": {"id": "one"}}, "tasks": tasks}
    (tmp_path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    variables = {"ansible_connection": "local", "ansible_python_interpreter": hypervisor.python}
    # what the entry point "plan" sets on every host
    variables.update({"volume_growth__stopped": "", "volume_growth__host_state": "", "volume_growth__acted": {}, "volume_growth__filesystems": {}})
    (tmp_path / "inventory.yml").write_text(json.dumps({"all": {"hosts": {"h1": variables}}}), encoding="utf-8")

    def play_it() -> subprocess.CompletedProcess[str]:
        command = ["ansible-playbook", "-i", str(tmp_path / "inventory.yml"), str(tmp_path / "play.yml")]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env={**os.environ, "ANSIBLE_NOCOLOR": "1"})

    shell.script("mv /sbin/resize2fs /sbin/resize2fs.away")
    done = play_it()
    assert done.returncode == 2, done.stdout + done.stderr
    assert "the capacity is as wanted, but: file system of h1:" in done.stdout and "install e2fsprogs in the guest" in done.stdout
    assert "vdd: not grown: LVM inside (dm-0 on /dev/vdd)" in done.stdout
    assert shell.script("cat /sys/class/block/vda/size").strip() == str(SIZES["vda"][1] * MIB // 512)
    shell.script("mv /sbin/resize2fs.away /sbin/resize2fs")
    done = play_it()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ext4 on /mnt/a from 64 MiB to 128 MiB" in done.stdout
    assert "changed=1 " in done.stdout
    done = play_it()
    assert done.returncode == 0 and "changed=0 " in done.stdout, done.stdout + done.stderr
