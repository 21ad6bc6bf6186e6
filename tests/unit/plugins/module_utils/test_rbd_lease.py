# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease of an image: its wire form as a Ceph 16 answered, who gets it, how it is kept and lost."""

from __future__ import annotations

import json

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils import _rbd_lease
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import CephError, CephOptions, ImageSpec
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_lease import (
    LEASE,
    Holder,
    LeaseHeldError,
    LeaseLostError,
    LeaseOptions,
    Leases,
    Lock,
    LockLost,
    LockTaken,
    decode_info,
    decode_listing,
    describe,
    encode_break,
    encode_get_info,
    lease_of,
    lease_text,
)
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_tool import ToolCeph
from fake_ceph import FakeCeph

MIB = 1024**2
ONE, TWO = ImageSpec("p", "", "one"), ImageSpec("p", "", "two")
HEADER = "rbd_header.one"

# what an OSD of Ceph 16.2.15 answered to lock.get_info
NOBODY = b"\x01\x01\x09\0\0\0" + b"\0" * 9
EXCLUSIVE = (
    b"\x01\x01\x5c\0\0\0\x01\0\0\0\x01\x01\x0f\0\0\0\x082\x10\0\0\0\0\0\0\x02\0\0\0ck\x01\x018\0\0\0/@\x06k\x97\x05\x13\x0c"
    b"\x01\x01\x01\x1c\0\0\0\x01\0\0\0G\xe3g\xea\x10\0\0\0\x02\0\0\0\x7f\0\0\x01\0\0\0\0\0\0\0\0\x09\0\0\0desc-text\x01\0\0\0\0"
)
SHARED = (
    b"\x01\x01\xbc\0\0\0\x02\0\0\0\x01\x01\x0e\0\0\0\x08>\x10\0\0\0\0\0\0\x01\0\0\x001\x01\x01?\0\0\0.@\x06k<\x92:\x19\x01\x01\x01\x1c"
    b"\0\0\0\x01\0\0\0T\xb9\x11\xd8\x10\0\0\0\x02\0\0\0\x7f\0\0\x01\0\0\0\0\0\0\0\0\x10\0\0\0"
    b'{"owner": "x y"}\x01\x01\x0e\0\0\0\x08A\x10\0\0\0\0\0\0\x01\0\0\x002\x01\x01?\0\0\0.@\x06k|Ie\x1d\x01\x01\x01\x1c\0\0\0\x01\0\0\0'
    b"\x8c\x1b\x01(\x10\0\0\0\x02\0\0\0\x7f\0\0\x01\0\0\0\0\0\0\0\0\x10\0\0\0"
    b'{"owner": "x y"}\x02\x01\0\0\0T'
)
# and what "rados lock info" printed
LISTING = (
    '{"name":"L","type":"shared","tag":"T","lockers":[{"name":"client.4158","cookie":"1","description":"{\\"owner\\": \\"x y\\"}",'
    '"expiration":"2026-11-25T01:55:58.423268+0000","addr":"127.0.0.1:0/3625040212"}]}'
)


def test_the_answer_of_the_lock_class():
    assert decode_info(NOBODY) == []
    assert decode_info(EXCLUSIVE) == [Holder("client.4146", "ck", "desc-text", 1795571759 + 0.202573207, "127.0.0.1:0/3932676935")]
    assert [(one.entity, one.cookie, one.text) for one in decode_info(SHARED)] == [
        ("client.4158", "1", '{"owner": "x y"}'),
        ("client.4161", "2", '{"owner": "x y"}'),
    ]


def test_old_and_other_forms_of_an_address():
    old = b"\0\0\0\0" + b"\x05\0\0\0" + b"\x02\0\0\0\x7f\0\0\x09".ljust(128, b"\0")
    six = b"\x0a\0\0\0" + b"\0\0\0\0" + bytes(15) + b"\x01" + b"\0\0\0\0"
    new = b"\x01\x01\x01" + (12 + len(six)).to_bytes(4, "little") + b"\x02\0\0\0\x07\0\0\0" + len(six).to_bytes(4, "little") + six
    for raw, address in ((old, "127.0.0.9:0/5"), (new, "[::1]:0/7")):
        reader = _rbd_lease._Reader(raw + b"rest")
        assert _rbd_lease._address(reader) == address and reader.take(4) == b"rest"


@pytest.mark.parametrize("cut", [0, 5, 20, 60, len(EXCLUSIVE) - 5])
def test_an_answer_that_is_cut_off(cut):
    with pytest.raises(ValueError):
        decode_info(EXCLUSIVE[:cut])


def test_an_answer_of_another_form():
    with pytest.raises(ValueError):
        decode_info(b"\x09\x09" + EXCLUSIVE[2:])


def test_requests_to_the_lock_class():
    assert encode_get_info("L") == b"\x01\x01\x05\0\0\0\x01\0\0\0L"
    assert encode_break("L", Holder("client.4146", "ck", "", None)) == b"\x01\x01\x14\0\0\0\x01\0\0\0L\x082\x10\0\0\0\0\0\0\x02\0\0\0ck"
    with pytest.raises(ValueError):
        encode_break("L", Holder("osd.1", "ck", "", None))


def test_the_listing_of_the_program():
    (holder,) = decode_listing(LISTING)
    assert holder == Holder("client.4158", "1", '{"owner": "x y"}', 1795571758.0, "127.0.0.1:0/3625040212")
    assert decode_listing('{"name":"nolock","type":"none","tag":"","lockers":[]}') == []
    assert decode_listing('{"lockers":[{"name":"client.1","cookie":"","expiration":"0.000000"}]}')[0].expires is None


def test_a_lease_in_a_result_and_in_words():
    text = describe("job-1", "root@t1:7", 1795571600, 120)
    lease = lease_of([Holder("client.1", "c", text, 1000.2), Holder("client.2", "c", text, 1040.2)], 1000)
    assert lease == {"owner": "job-1", "by": "root@t1:7", "since": "2026-11-25T01:53:20Z", "duration_seconds": 120, "remaining_seconds": 41}
    assert lease_text(lease) == "job-1 (root@t1:7) since 2026-11-25T01:53:20Z; it ends in 41 s unless renewed"
    foreign = lease_of([Holder("client.1", "c", "by hand", None, "192.0.2.1:0/1")], 0)
    assert foreign["owner"] == "client.1 at 192.0.2.1:0/1" and foreign["remaining_seconds"] is None
    assert "does not end by itself" in lease_text(foreign)
    assert lease_of([Holder("client.1", "c", "[1]", 10)], 20)["remaining_seconds"] == 0
    assert lease_of([], 0) is None


@pytest.mark.parametrize("options", [LeaseOptions(duration=29), LeaseOptions(wait=-1), LeaseOptions("a\nb"), LeaseOptions("x" * 201)])
def test_options_that_cannot_be_meant(options):
    with pytest.raises(HopError) as caught:
        options.check()
    assert caught.value.remedy
    LeaseOptions("job", 30, 0).check()


# -- who gets it -----------------------------------------------------------------------------------------------------


def planned(ceph, *specs):
    return {spec: ceph.state(spec) for spec in specs or (ONE,)}


def test_held_told_and_given_back(images):
    ceph = FakeCeph(images)
    leases = Leases(LeaseOptions("job-1"))
    with leases.held(lambda: ceph, planned(ceph, TWO, ONE)):
        told = ceph.state(ONE).lease
        assert (told["owner"], told["duration_seconds"]) == ("job-1", 120) and told["since"].endswith("Z")
        leases.require(ONE)
    assert ceph.locks == {}
    assert ceph.done == [("lease", "p/one"), ("lease", "p/two")], "always in one order, so two runs never wait for each other"
    with pytest.raises(LeaseLostError):
        leases.require(ONE)


def test_without_work_ceph_is_not_asked():
    def door():
        raise AssertionError

    with Leases().held(door, {}):
        pass


def test_every_run_is_another_owner_by_default():
    assert Leases().owner != Leases().owner and "@" in Leases().owner


@pytest.mark.parametrize("owner", [None, "job-2"])
def test_another_run_is_named_and_nothing_is_kept(images, owner):
    ceph = FakeCeph(images)
    other = Leases(LeaseOptions("job-1"))
    with other.held(lambda: ceph, planned(ceph, TWO)):
        with pytest.raises(LeaseHeldError) as caught, Leases(LeaseOptions(owner)).held(lambda: ceph, planned(ceph, ONE, TWO)):
            raise AssertionError("it must not get this far")
        assert list(ceph.locks) == [("rbd_header.two", LEASE)], "the lease on the first image was given back"
        other.require(TWO)
    assert "job-1" in str(caught.value) and "ends by itself" in caught.value.remedy and caught.value.obj == "p/two"


def test_another_run_is_waited_for(images, monkeypatch):
    ceph = FakeCeph(images)
    ceph.locks[(HEADER, LEASE)] = Holder("client.9", "theirs", "{}", 50)
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            ceph.locks.clear()

    monkeypatch.setattr(_rbd_lease.time, "sleep", sleep)
    with Leases(LeaseOptions(wait=60)).held(lambda: ceph, planned(ceph)):
        assert len(pauses) == 3 and pauses == sorted(pauses)


def test_the_same_owner_takes_over_and_the_old_process_stops(images):
    ceph = FakeCeph(images)
    old, new = Leases(LeaseOptions("job-1")), Leases(LeaseOptions("job-1"))
    with old.held(lambda: ceph, planned(ceph)):
        old._held[ONE].renewed -= 60
        with new.held(lambda: ceph, planned(ceph)):
            with pytest.raises(LeaseLostError, match="took it over"):
                old.require(ONE)
            new.require(ONE)
    assert ceph.locks == {}


def test_an_image_that_changed_under_the_plan_is_not_touched(images):
    ceph = FakeCeph(images)
    ceph.after_lease = lambda: images.update({("p", "one"): 32 * MIB})
    with pytest.raises(HopError, match="CRITICAL"), Leases().held(lambda: ceph, planned(ceph)):
        raise AssertionError
    assert ceph.locks == {}


# -- while the work runs ---------------------------------------------------------------------------------------------


def test_renewed_after_a_third_of_its_time(images):
    ceph = FakeCeph(images)
    leases = Leases()
    with leases.held(lambda: ceph, planned(ceph)):
        leases.require(ONE)
        assert ceph.done == [("lease", "p/one")]
        leases._held[ONE].renewed -= 41
        leases.require(ONE)
        assert ceph.done == [("lease", "p/one")] * 2


def test_ceph_that_does_not_answer_loses_the_lease_only_with_the_time(images):
    ceph = FakeCeph(images)
    leases = Leases()
    with leases.held(lambda: ceph, planned(ceph)):
        held = leases._held[ONE]
        lock = ceph.lock
        ceph.lock = lambda *_args, **_kwargs: (none for none in ()).throw(ceph._dead(ONE, "lock"))
        held.renewed -= 60
        leases.require(ONE)
        held.renewed -= 60
        with pytest.raises(LeaseLostError, match="did not answer"):
            leases.require(ONE)
        ceph.lock = lock
    assert ceph.locks == {}


def test_a_renewal_beside_the_work(images):
    ceph = FakeCeph(images)
    ceph.renews_beside = True
    leases = Leases()
    rounds = []
    leases._renew_beside = rounds.append
    with leases.held(lambda: ceph, planned(ceph)):
        pass
    assert rounds == [20], "six times in its duration, so a renewal that fails has more tries"


# -- through the programs --------------------------------------------------------------------------------------------


class Rados:
    """The rados program's locks; the rules are those of Ceph's lock class: one tag at a time."""

    def __init__(self):
        self.holders = []
        self.seen = []

    def __call__(self, argv):
        self.seen.append(argv)
        words = argv[argv.index("lock") + 1 :]

        def option(name):
            return words[words.index(name) + 1]

        if words[0] == "get":
            if any(holder["tag"] != option("--lock-tag") for holder in self.holders):
                return 1, "", "ERROR: failed locking: (16) Device or resource busy\nerror 16: (16) Device or resource busy\n"
            entry = {"name": f"client.{len(self.seen)}", "cookie": option("--lock-cookie"), "tag": option("--lock-tag")}
            self.holders.append({**entry, "description": option("--lock-description"), "expiration": "2037-01-01T00:00:00.0+0000"})
            return 0, "", ""
        if words[0] == "break":
            left = [one for one in self.holders if (one["name"], one["cookie"]) != (words[3], option("--lock-cookie"))]
            gone, self.holders = len(left) == len(self.holders), left
            return (1, "", "ERROR: failed breaking lock: (2) No such file or directory") if gone else (0, "", "")
        return 0, json.dumps({"lockers": self.holders}), ""


def tool():
    rados = Rados()
    return ToolCeph(CephOptions("/c", "spdk", None, 60), "/usr/bin/rbd", rados), rados


def test_the_program_takes_renews_and_gives_back():
    ceph, rados = tool()
    lock = Lock(LEASE, "mine", "text", 150)
    ceph.lock(ONE, HEADER, lock)
    with pytest.raises(LockTaken):
        ceph.lock(ONE, HEADER, lock._replace(cookie="theirs"))
    ceph.lock(ONE, HEADER, lock, renew=True)
    assert len(ceph.lockers(ONE, HEADER, LEASE)) == 2
    ceph.unlock(ONE, HEADER, lock)
    assert rados.holders == []
    assert rados.seen[0][-14:] == [
        *["lock", "get", HEADER, LEASE, "--lock-type", "shared", "--lock-tag", "mine", "--lock-cookie", "mine.0"],
        *["--lock-duration", "150", "--lock-description", "text"],
    ]
    ceph.break_lock(ONE, HEADER, LEASE, Holder("client.1", "mine.0", "", None))  # has ended: no error


def test_the_program_does_not_renew_what_has_ended_or_is_theirs():
    ceph, rados = tool()
    lock = Lock(LEASE, "mine", "text", 150)
    ceph.lock(ONE, HEADER, lock)
    rados.holders.clear()
    with pytest.raises(LockLost):
        ceph.lock(ONE, HEADER, lock, renew=True)
    assert rados.holders == []
    ceph.lock(ONE, HEADER, lock._replace(cookie="theirs"))
    with pytest.raises(LockLost):
        ceph.lock(ONE, HEADER, lock, renew=True)


def test_the_program_cannot_renew_while_it_works_so_its_lease_is_longer():
    ceph, _rados = tool()
    assert ceph.lease_seconds(30, 1) == 151 and ceph.lease_seconds(500, 20) == 520


def test_no_rados_program_means_no_growth(monkeypatch):
    ceph, rados = tool()
    monkeypatch.setattr("ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_tool.find_tool", lambda name: None)
    with pytest.raises(CephError) as caught:
        ceph.lock(ONE, HEADER, Lock(LEASE, "mine", "", 150))
    assert "ceph-common" in caught.value.remedy and rados.seen == []
    with pytest.raises(CephError, match="id is not known"):
        ceph.lock(ONE, "", Lock(LEASE, "mine", "", 150))
