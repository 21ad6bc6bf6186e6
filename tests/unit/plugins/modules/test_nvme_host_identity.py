# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module nvme_host_identity on a made-up host."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from ansible_collections.nvmeof.spdk.plugins.modules import nvme_host_identity
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.call import call
from ansible_collections.nvmeof.spdk.tests.fixtures.sysfs.fake_host import HOST_UUID, HOSTNQN, FakeHost

OTHER = "0b0cc7a1-34ea-4b67-9e42-6bb56d0ed38b"
PREFIX = "nqn.2014-08.org.nvmexpress:uuid:"


@pytest.fixture(name="host")
def _host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    host = FakeHost(tmp_path)
    monkeypatch.setattr(nvme_host_identity, "SysfsNvme", lambda etc: host.sysfs)
    return host


def run(host: FakeHost, check: bool = False, **params: object) -> dict:
    return call(nvme_host_identity, {"directory": str(host.root / "etc"), **params}, check)


def pair(host: FakeHost) -> tuple[str, str]:
    return host.read("etc/hostnqn").strip(), host.read("etc/hostid").strip()


def test_pair_that_belongs_together_stays(host: FakeHost) -> None:
    result = run(host)
    assert (result["changed"], pair(host)) == (False, (HOSTNQN, HOST_UUID))
    assert set(result["identity"]) == set(yaml.safe_load(nvme_host_identity.RETURN)["identity"]["sample"])


def test_debians_pair_is_made_one_and_keeps_the_nqn(host: FakeHost) -> None:
    host.write("etc/hostid", OTHER + "\n")
    preview = run(host, check=True)
    assert (preview["changed"], pair(host)) == (True, (HOSTNQN, OTHER))
    result = run(host)
    assert (result["changed"], result["changes"], pair(host)) == (True, preview["changes"], (HOSTNQN, HOST_UUID))
    assert run(host)["changed"] is False


def test_pair_in_use_is_left_and_reported(host: FakeHost) -> None:
    host.write("etc/hostid", OTHER + "\n")
    host.controller("nvme0")
    result = run(host)
    assert (result["changed"], pair(host)) == (False, (HOSTNQN, OTHER))
    assert [(item["object"], item["severity"]) for item in result["identity"]["problems"]] == [(str(host.root / "etc"), "warning")]
    assert result["identity"]["connected"] == ["nvme0"]


def test_local_drive_is_no_use_of_the_pair(host: FakeHost) -> None:
    host.write("etc/hostid", OTHER + "\n")
    host.controller("nvme0", transport="pcie")
    assert (run(host)["changed"], pair(host)) == (True, (HOSTNQN, HOST_UUID))


@pytest.mark.parametrize("missing", [("hostnqn",), ("hostnqn", "hostid"), ("hostid",)])
def test_what_is_missing_is_made(host: FakeHost, missing: tuple[str, ...]) -> None:
    for name in missing:
        (host.root / "etc" / name).unlink()
    assert run(host)["changed"] is True
    nqn, uuid = pair(host)
    assert nqn == PREFIX + uuid
    # a host id that was there is kept
    assert ("hostid" not in missing or "hostnqn" not in missing) == (uuid == HOST_UUID)
    assert (host.root / "etc/hostnqn").stat().st_mode & 0o777 == 0o644
    assert run(host)["changed"] is False


def test_clone_is_refused_or_renewed(host: FakeHost) -> None:
    refused = run(host, clone_of="h1")
    assert (refused["failed"], pair(host)) == (True, (HOSTNQN, HOST_UUID))
    assert "is that of h1, too" in refused["msg"]
    renewed = run(host, clone_of="h1", renew=True)
    nqn, uuid = pair(host)
    assert (renewed["changed"], nqn) == (True, PREFIX + uuid)
    assert uuid != HOST_UUID


def test_connected_clone_keeps_its_pair(host: FakeHost) -> None:
    host.controller("nvme0")
    result = run(host, clone_of="h1", renew=True)
    assert (result["failed"], result["error"]["cause"], pair(host)) == (True, "nvme0 connected", (HOSTNQN, HOST_UUID))


def test_pair_that_is_asked_for(host: FakeHost) -> None:
    assert run(host, hostnqn="nqn.2026-01.test:h1", hostid=OTHER)["changed"] is True
    assert pair(host) == ("nqn.2026-01.test:h1", OTHER)
    assert run(host)["changed"] is False  # an NQN without a UUID belongs to any id
    assert [run(host, **bad)["failed"] for bad in ({"hostnqn": "me"}, {"hostid": "5"})] == [True, True]
