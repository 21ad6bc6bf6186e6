# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
"""The host after converge: both paths authenticated in both directions, the second encrypted; and what the target refuses."""

from __future__ import annotations

import typing as t

testinfra_hosts = ["ansible://nvme_initiators"]

FILE = "/etc/nvme/nvmeof-spdk.connections"
PROGRAM = "python3 /usr/local/sbin/nvmeof_spdk_connect.py"


def controllers(host: t.Any) -> list[list[str]]:
    """Name, state, portal and key of TLS of every controller, by portal."""
    show = "echo ${c##*/} $(cat $c/state) $(sed 's/.*traddr=//; s/,.*//' $c/address) $(cat $c/tls_key 2>/dev/null || echo 0)"
    listing = host.check_output("for c in /sys/class/nvme/nvme*; do " + show + "; done")
    return sorted((line.split() for line in listing.splitlines()), key=lambda words: words[2])


def test_both_paths_are_live_and_one_is_encrypted(host: t.Any) -> None:
    """A key of TLS is a serial number of the kernel's keyring; the plain path has none."""
    plain, encrypted = controllers(host)
    assert (plain[1], encrypted[1]) == ("live", "live")
    assert int(plain[3], 16) == 0
    assert int(encrypted[3], 16) != 0
    assert f"{int(encrypted[3], 16):08x}" in host.file("/proc/keys").content_string


def test_both_sides_have_proven_themselves(host: t.Any) -> None:
    """The kernel says so for every controller."""
    log = host.check_output("dmesg")
    for name, _state, _address, _key in controllers(host):
        assert f"{name}: qid 0: authenticated with hash" in log
        assert f"{name}: qid 0: controller authenticated" in log


def test_no_key_is_in_the_file_of_the_boot(host: t.Any) -> None:
    """Only the names of key files."""
    file = host.file(FILE)
    assert file.mode == 0o600
    lines = file.content_string.splitlines()[1:]
    assert [",dhchap_secret_file=/etc/nvme/keys/host.key," in line for line in lines] == [True, True]
    assert [line.endswith(",tls_psk_file=/etc/nvme/keys/psk.key,tls") for line in lines] == [False, True]
    assert "DHHC-1" not in file.content_string
    assert "NVMeTLSkey" not in file.content_string


def test_no_key_is_in_the_kernels_log_or_the_journal(host: t.Any) -> None:
    """Not even a part of one."""
    secrets = [host.file(f"/etc/nvme/keys/{name}.key").content_string.strip().split(":")[2][:16] for name in ("host", "target", "psk")]
    said = host.check_output("dmesg; journalctl -b --no-pager")
    assert [secret in said for secret in secrets] == [False] * 3


def refused(host: t.Any, number: int, key: str, wrong: str) -> str:
    """Take path number away and connect it with another key; what is said. Then connect it as it was."""
    name = controllers(host)[number][0]
    host.check_output("echo 1 >/sys/class/nvme/%s/delete_controller", name)
    host.check_output("sed 's,/%s.key,/%s.key,' %s >/tmp/wrong", key, wrong, FILE)
    done = host.run(PROGRAM + " /tmp/wrong")
    assert done.rc == 1
    assert len(controllers(host)) == 1
    host.check_output(PROGRAM + " " + FILE)
    assert len(controllers(host)) == 2
    return done.stderr


def test_a_wrong_key_of_the_host_is_refused(host: t.Any) -> None:
    """By the target."""
    assert "Key was rejected by service" in refused(host, 0, "host", "wrong")


def test_a_wrong_key_of_the_target_is_refused(host: t.Any) -> None:
    """By the host."""
    assert "Key was rejected by service" in refused(host, 0, "target", "wrong")
    assert "controller authentication failed" in host.check_output("dmesg")


def test_a_wrong_key_of_tls_is_refused(host: t.Any) -> None:
    """In the handshake."""
    assert "traddr=192.168.78.10" in refused(host, 1, "psk", "wrongpsk")
    assert "TLS handshake" in host.check_output("dmesg")
