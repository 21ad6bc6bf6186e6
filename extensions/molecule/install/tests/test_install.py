# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""Three targets that were installed in three ways: who they are, and that they come back the same however they ended."""

from __future__ import annotations

import json
import time
import typing as t

import pytest

testinfra_hosts = ["ansible://spdk_targets"]

ASK = """
import json, socket, sys
found = []
for method in ("bdev_get_bdevs", "nvmf_get_subsystems", "nvmf_get_transports", "bdev_rbd_get_clusters_info"):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(sys.argv[1])
        connection.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode())
        text = b""
        while not text.endswith(b"\\n"):
            text += connection.recv(1 << 20)
        found.append(json.loads(text)["result"])
print(json.dumps(found))
"""


def answers(host: t.Any, service: str) -> list[t.Any]:
    """What a target says of its bdevs, subsystems, transports and clusters."""
    return json.loads(host.check_output("python3 -c %s %s", ASK, f"/run/{service}/spdk.sock"))


def show(host: t.Any, service: str, name: str) -> str:
    """A property of a service."""
    return host.check_output("systemctl show --property=%s --value %s", name, service)


def wait_for_another(host: t.Any, service: str, pid: str) -> None:
    """Until the service is active with another main process."""
    deadline = time.monotonic() + 180
    while show(host, service, "ActiveState") != "active" or show(host, service, "MainPID") in ("0", pid):
        assert time.monotonic() < deadline, host.run("systemctl status %s", service).stdout
        time.sleep(1)


def test_the_package_brought_the_program(host: t.Any) -> None:
    """By the machine's own package manager."""
    assert host.package("nvmf-tgt").is_installed
    assert "nvmf-tgt" in host.check_output("dpkg --search /usr/bin/nvmf_tgt")


def test_the_target_of_the_package_runs_as_its_user(host: t.Any) -> None:
    """And all that it needs belongs to that user."""
    pid = show(host, "spdk_package", "MainPID")
    assert host.check_output("stat -c %%U:%%G /proc/%s", pid) == "nvmf:nvmf"
    for path, mode in (
        ("/run/spdk_package", 0o750),
        ("/run/spdk_package/spdk.sock", 0o770),
        ("/etc/spdk/package.json", 0o600),
        ("/etc/ceph/package.keyring", 0o600),
    ):
        file = host.file(path)
        assert (file.user, file.group, file.mode) == ("nvmf", "nvmf", mode), path


def test_the_group_may_use_the_socket_and_others_may_not(host: t.Any) -> None:
    """Somebody else, in the group and not in it."""
    program = "setpriv --reuid=nobody --clear-groups --regid=%s python3 -c %s /run/spdk_package/spdk.sock"
    assert host.run(program, "nvmf", ASK).rc == 0
    outsider = host.run(program, "nogroup", ASK)
    assert outsider.rc != 0
    assert "Permission denied" in outsider.stderr


def test_hugepages_are_reserved_now_and_at_boot(host: t.Any) -> None:
    """As many as were asked for."""
    assert host.check_output("cat /proc/sys/vm/nr_hugepages") == "8"
    assert host.file("/etc/sysctl.d/90-spdk_package.conf").content_string == "vm.nr_hugepages = 8\n"


def test_the_container_is_the_only_one_and_has_the_program(host: t.Any) -> None:
    """No attempt of the role left another one."""
    assert host.check_output("podman ps --all --format '{{.Names}}'").split() == ["spdk_container"]
    assert "/opt/spdk/" in host.check_output("podman top spdk_container args")


@pytest.mark.parametrize("service", ["spdk_package", "spdk_container"])
def test_a_killed_target_comes_back_the_same(host: t.Any, service: str) -> None:
    """SIGKILL of the program itself: systemd starts it again from the file of the role."""
    before, pid = answers(host, service), show(host, service, "MainPID")
    program = host.check_output("podman inspect --format '{{.State.Pid}}' spdk_container") if service == "spdk_container" else pid
    host.check_output("kill -KILL %s", program)
    wait_for_another(host, service, pid)
    assert answers(host, service) == before
    assert len(before[0]) == 1


def test_a_killed_podman_leaves_no_second_target(host: t.Any) -> None:
    """The container outlives podman, and is replaced."""
    before, pid = answers(host, "spdk_container"), show(host, "spdk_container", "MainPID")
    first = host.check_output("podman inspect --format '{{.State.Pid}}' spdk_container")
    host.check_output("kill -KILL %s", pid)
    wait_for_another(host, "spdk_container", pid)
    assert answers(host, "spdk_container") == before
    assert host.run("kill -0 %s", first).rc != 0
    assert host.check_output("podman ps --all --quiet | wc -l") == "1"


@pytest.mark.parametrize("service", ["spdk_package", "spdk_container"])
def test_stop_and_start(host: t.Any, service: str) -> None:
    """A clean end is no failure, leaves nothing behind, and the next start brings the same."""
    before = answers(host, service)
    host.check_output("systemctl stop %s", service)
    assert (show(host, service, "ActiveState"), show(host, service, "Result")) == ("inactive", "success")
    assert not host.file(f"/run/{service}").exists
    if service == "spdk_container":
        assert host.check_output("podman ps --all --quiet") == ""
    host.check_output("systemctl start %s", service)
    assert answers(host, service) == before


def test_the_restart_took_the_new_number(host: t.Any) -> None:
    """The target of the binary, whose program came from the controller."""
    assert host.file("/usr/local/bin/nvmf_tgt").mode == 0o755
    calls = [call for part in json.loads(host.file("/etc/spdk/spdk_tgt.json").content_string)["subsystems"] for call in part["config"]]
    (given,) = [call["params"] for call in calls if call["method"] == "nvmf_set_max_subsystems"]
    assert given == {"max_subsystems": 88}
