# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import time

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils import _rbd
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd import CephError, CephOptions, ImageNotFoundError, ImageSpec, ShrinkError, open_ceph
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_images import apply_images, plan_images, pool_facts, wanted_images
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_lease import LEASE, Holder, LeaseOptions
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_librbd import LibrbdCeph
from ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_tool import ToolCeph
from fake_ceph import FakeCeph

MIB = 1024**2
ONE = ImageSpec("p", "", "one")


class Commands:
    """Answers of the programs by their first word after the options."""

    def __init__(self, **answers):
        self.answers = answers
        self.seen = []

    def __call__(self, argv):
        self.seen.append(argv)
        if any(word.endswith("/rados") for word in argv):
            return self.answers.get("rados", (0, "{}", ""))
        words = argv[argv.index("/usr/bin/rbd") + 1 :] if "/usr/bin/rbd" in argv else argv
        word = next(word for word in words if word in self.answers)
        return self.answers[word]


def tool(**answers):
    commands = Commands(**answers)
    return ToolCeph(CephOptions("/c", "spdk", "/k", 7), "/usr/bin/rbd", commands), commands


def test_the_program_is_asked_in_bytes_with_a_time_limit_and_never_to_shrink():
    ceph, commands = tool(info=(0, json.dumps({"size": 64 * MIB, "id": "1a"}), ""), status=(0, json.dumps({"watchers": []}), ""), resize=(0, "", ""))
    with pytest.raises(CephError, match="after it was to become"):
        ceph.grow(ONE, 128 * MIB)  # this fake never grows
    resize = next(argv for argv in commands.seen if "resize" in argv)
    assert resize == [
        *["timeout", "-k", "5", "7", "/usr/bin/rbd", "-c", "/c", "--id", "spdk", "--keyring", "/k"],
        *["resize", "--no-progress", "--size", "134217728B", "p/one"],
    ]
    assert not any("--allow-shrink" in argv for argv in commands.seen)


def test_the_program_tells_size_and_watchers():
    watchers = {"watchers": [{"address": "127.0.0.1:0/12", "client": 1, "cookie": 2}]}
    ceph, _commands = tool(info=(0, '{"size": 68681728}', ""), status=(0, json.dumps(watchers), ""))
    state = ceph.state(ImageSpec("p", "ns", "one"))
    assert (state.size_bytes, state.watchers) == (68681728, ["127.0.0.1:0/12"])


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((2, "", "rbd: error opening image one: (2) No such file or directory"), ImageNotFoundError, "does not exist"),
        ((124, "", ""), CephError, "did not answer within 7 s"),
        ((137, "", ""), CephError, "did not answer within 7 s"),
        ((1, "", "2026-11-22 log line\nrbd: couldn't connect to the cluster!"), CephError, "couldn't connect to the cluster"),
    ],
)
def test_the_program_fails_with_a_reason(answer, kind, words):
    ceph, _commands = tool(info=answer)
    with pytest.raises(kind) as caught:
        ceph.size(ONE)
    assert words in str(caught.value) and caught.value.remedy


def test_the_program_refuses_to_shrink():
    refused = (22, "", "rbd: shrinking an image is only allowed with the --allow-shrink flag")
    ceph, _commands = tool(info=(0, '{"size": 1048576, "id": "1a"}', ""), status=(0, "{}", ""), resize=refused)
    with pytest.raises(ShrinkError):
        ceph.grow(ONE, 2 * MIB, exact=True)


@pytest.mark.parametrize("which", ["ceph_conf", "keyring"])
def test_files_that_are_not_there(tmp_path, which):
    conf = tmp_path / "ceph.conf"
    if which == "keyring":
        conf.write_text("")
    with pytest.raises(CephError) as caught:
        open_ceph(CephOptions(str(conf), "admin", str(tmp_path / "keyring")))
    assert which in caught.value.remedy and "no such file" in caught.value.cause


def test_a_host_that_can_ask_nobody(tmp_path, monkeypatch):
    conf = tmp_path / "ceph.conf"
    conf.write_text("")
    monkeypatch.setattr(_rbd, "HAS_BINDINGS", False)
    monkeypatch.setattr("ansible_collections.nvmeof.spdk.plugins.module_utils._rbd_tool.find_tool", lambda name: None)
    with pytest.raises(CephError) as caught:
        open_ceph(CephOptions(str(conf)), lambda argv: (0, "", ""))
    assert "install python3-rbd" in caught.value.remedy


def test_librbd_that_hangs_is_given_up(monkeypatch):
    ceph = object.__new__(LibrbdCeph)
    ceph.options, ceph._stuck, ceph._rados, ceph._workers = CephOptions(timeout=0), False, None, []
    started = time.monotonic()
    with pytest.raises(CephError, match="did not answer"):
        ceph._bounded(lambda: time.sleep(5), ONE, "resize", grace=0.2)
    with pytest.raises(CephError, match="did not answer"):
        ceph._bounded(lambda: 1, ONE, "open", grace=5)
    ceph.close()
    assert time.monotonic() - started < 4


@pytest.mark.parametrize(
    ("text", "value"), [("[]listed 0 entries", []), ('[{"addr": "a"}]listed 1 entries\n', [{"addr": "a"}]), ("", None), ('{"fsid": "x"}', {"fsid": "x"})]
)
def test_the_json_at_the_start_of_an_answer(text, value):
    assert _rbd.first_json(text) == value


@pytest.mark.parametrize(
    ("address", "ip"),
    [("127.0.0.1:0/3732381040", "127.0.0.1"), ("v2:[fd00::1]:0/12", "fd00::1"), ("[v2:192.0.2.1:6800/1,v1:192.0.2.1:6801/1]", "192.0.2.1"), ("none", None)],
)
def test_the_ip_of_a_ceph_address(address, ip):
    assert _rbd.address_ip(address) == ip


# -- growth by any means -------------------------------------------------------------------------------------------


def test_a_mirror_secondary_does_not_grow(images):
    ceph = FakeCeph(images)
    ceph.primary = "on the mirror peer site-b"
    for grow in (lambda: ceph.grow(ONE, 128 * MIB), lambda: run(ceph, image(size="128M"), check=True)):
        with pytest.raises(CephError, match="its primary is on the mirror peer site-b"):
            grow()
    assert ceph.grow(ONE, 64 * MIB) == (64 * MIB, 64 * MIB) and ceph.done == []


def test_a_growth_that_timed_out_is_read_and_not_repeated(images):
    ceph = FakeCeph(images)
    resize = ceph._resize

    def late(spec, size):
        resize(spec, size)
        raise ceph._dead(spec, "resize")

    ceph._resize = late
    assert ceph.grow(ONE, 128 * MIB) == (64 * MIB, 128 * MIB)
    assert [name for _header, name in ceph.locks] == [_rbd.GROW_LOCK], "it may still be under way, so nobody else resizes until the lock ends"
    ceph.locks.clear()
    ceph._resize = lambda spec, size: (none for none in ()).throw(ceph._dead(spec, "resize"))
    with pytest.raises(CephError, match="did not answer"):
        ceph.grow(ONE, 256 * MIB)
    assert [entry for entry in ceph.done if entry[0] == "resize"] == [("resize", "p/one", 128 * MIB)]


def test_what_a_pool_can_take():
    detail = [
        {"pool_name": "a", "quota_max_bytes": 0, "flags_names": "hashpspool,selfmanaged_snaps"},
        {"pool_name": "b", "quota_max_bytes": 1000, "flags_names": "hashpspool,full,full_quota"},
        {"pool_name": "c", "quota_max_bytes": 0, "flags_names": "hashpspool,nearfull"},
    ]
    assert _rbd.limits_of(detail) == {
        "a": {"max_bytes": None, "full": False, "nearfull": False},
        "b": {"max_bytes": 1000, "full": True, "nearfull": True},
        "c": {"max_bytes": None, "full": False, "nearfull": True},
    }
    ceph = FakeCeph({("p", "one"): 64 * MIB, ("p", "two"): 128 * MIB, ("q", "one"): MIB})
    figures = {"free_bytes": 10**12, "stored_bytes": 10**9, "provisioned_bytes": None, "max_bytes": None, "full": False, "nearfull": True}
    assert pool_facts(ceph, [ONE]) == [{"pool": "p", "exists": True, **figures, "error": None}]
    assert pool_facts(ceph, [ONE], provisioned=True)[0]["provisioned_bytes"] == 192 * MIB
    assert pool_facts(ceph, []) == []

    def refused(*_arguments):
        raise CephError("the mons refused it", obj="x", hop="image")

    for question, gone in (("pool_limits", "nearfull"), ("pool_usage", "free_bytes"), ("pool_provisioned", "provisioned_bytes")):
        ceph = FakeCeph({})
        setattr(ceph, question, refused)
        (fact,) = pool_facts(ceph, [ONE], provisioned=True)
        assert fact[gone] is None and "the mons refused it" in fact["error"]


def test_usage_of_pools_before_and_since_ceph_14():
    pools = [{"name": "a", "stats": {"max_avail": 100, "stored": 7, "bytes_used": 21}}, {"name": "b", "stats": {"max_avail": 50, "bytes_used": 9}}]
    assert _rbd.usage_of({"pools": pools}) == {"a": {"free_bytes": 100, "stored_bytes": 7}, "b": {"free_bytes": 50, "stored_bytes": 9}}


def test_the_program_adds_up_what_a_pool_has_promised():
    listings = {"p": [{"image": "one", "size": 64}, {"image": "one", "snapshot": "s", "size": 32}], "p/n": [{"image": "two", "size": 8}]}

    def run_command(command):
        return (0, json.dumps([{"name": "n"}] if "namespace" in command else listings[command[-1]]), "")

    assert ToolCeph(CephOptions(), "rbd", run_command).pool_provisioned("p") == 72


def test_growing_reads_before_and_after(images):
    ceph = FakeCeph(images)
    assert ceph.grow(ONE, 128 * MIB) == (64 * MIB, 128 * MIB)
    assert ceph.grow(ONE, 128 * MIB) == (128 * MIB, 128 * MIB)
    assert ceph.grow(ONE, 64 * MIB) == (128 * MIB, 128 * MIB)
    assert ceph.done == [("resize", "p/one", 128 * MIB)]


def test_two_growers_end_at_the_larger_size(images):
    ceph = FakeCeph(images)
    ceph.before_resize = lambda: images.update({("p", "one"): 256 * MIB})
    assert ceph.grow(ONE, 128 * MIB) == (64 * MIB, 256 * MIB)
    images[("p", "one")] = 64 * MIB
    with pytest.raises(ShrinkError):
        ceph.grow(ONE, 128 * MIB, exact=True)
    assert images[("p", "one")] == 256 * MIB


# -- images wanted against found -----------------------------------------------------------------------------------


def image(**given):
    return {"pool": "p", "image": "one", "state": "present", "exact": False, **given}


def run(ceph, *entries, check=False):
    wanted = wanted_images(entries)
    changes = plan_images(ceph, wanted)
    apply_images(ceph, changes, wanted, LeaseOptions(), check)
    assert ceph.locks == {}, "every lock was given back"
    return changes, wanted


def test_images_are_created_and_grown_once(images):
    ceph = FakeCeph(images)
    entries = [image(size="128M"), image(image="new", size="1G")]
    checked, _wanted = run(ceph, *entries, check=True)
    assert ceph.done == [], "check mode takes no lease either"
    changes, wanted = run(ceph, *entries)
    assert checked.diff() == changes.diff()
    assert [(item.before, item.after, item.action) for item in wanted] == [(64 * MIB, 128 * MIB, "grown"), (None, 1024 * MIB, "created")]
    again, _wanted = run(ceph, *entries)
    assert not again.changed


def test_an_image_that_another_run_grows_is_left_alone(images):
    ceph = FakeCeph(images)
    ceph.locks[("rbd_header.one", LEASE)] = Holder("client.9", "theirs", '{"owner": "job-9"}', 77.0)
    with pytest.raises(HopError, match="held by another run: job-9"):
        run(ceph, image(size="128M"))
    assert ceph.done == [] and images[("p", "one")] == 64 * MIB
    assert not run_unlocked(ceph, image(size="64M")).changed, "nothing to do needs no lease"


def run_unlocked(ceph, *entries):
    wanted = wanted_images(entries)
    changes = plan_images(ceph, wanted)
    apply_images(ceph, changes, wanted, LeaseOptions(), False)
    return changes


def test_an_image_somebody_else_just_created_grows(images):
    ceph = FakeCeph(images)
    create = ceph.create
    ceph.create = lambda spec, size: (images.update({("p", "new"): 32 * MIB}), create(spec, size))
    _changes, (item,) = run(ceph, image(image="new", size="64M"))
    assert item.after == images[("p", "new")] == 64 * MIB


@pytest.mark.parametrize(
    "entry",
    [
        image(image="none"),
        image(image="none", state="grown", size="1G"),
        image(size="32M", exact=True),
    ],
)
def test_plans_that_are_refused(images, entry):
    ceph = FakeCeph(images)
    with pytest.raises(HopError) as caught:
        run(ceph, entry)
    assert caught.value.remedy and ceph.done == []


def test_a_larger_image_is_left_alone(images):
    changes, (item,) = run(FakeCeph(images), image(size="32M"))
    assert not changes.changed and item.after == 64 * MIB


@pytest.mark.parametrize(
    "entries",
    [
        [image(size="800")],
        [image(size="800X")],
        [image(size="-1G")],
        [image(size=f"{2**44}M")],
        [image(state="grown")],
        [image(image="a/b")],
        [image(image="a@snap")],
        [image(pool="")],
        [image(), image()],
    ],
)
def test_images_that_cannot_be_meant(entries):
    with pytest.raises(HopError) as caught:
        wanted_images(entries)
    assert caught.value.remedy


# -- images that are to go -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trash", "action", "call"), [(True, "trashed", "trash"), (False, "removed", "remove")])
def test_an_image_nobody_uses_goes_once(images, trash, action, call):
    ceph = FakeCeph(images)
    checked, _wanted = run(ceph, image(state="absent", trash=trash), check=True)
    assert ceph.done == []
    changes, (item,) = run(ceph, image(state="absent", trash=trash))
    assert checked.diff() == changes.diff()
    assert (item.action, item.before, item.after, ceph.done) == (action, 64 * MIB, None, [(call, "p/one")])
    assert not run(ceph, image(state="absent", trash=trash))[0].changed


def test_an_image_in_use_stays_whoever_uses_it(images):
    ceph = FakeCeph(images)
    ceph.used_by = ["it has the snapshot s1", "p/child is a clone of it", "it is mirrored"]
    ceph.watchers = ["192.0.2.1:0/1"]
    ceph.locks[("rbd_header.one", LEASE)] = Holder("client.9", "theirs", '{"owner": "job-9"}', 77.0)
    with pytest.raises(HopError) as caught:
        run_unlocked(ceph, image(state="absent"))
    for word in ("192.0.2.1", "snapshot s1", "p/child", "mirrored", "job-9 grows it"):
        assert word in caught.value.message
    assert ceph.done == [] and ("p", "one") in images


def test_an_image_that_is_opened_meanwhile_stays(images):
    ceph = FakeCeph(images)
    wanted = wanted_images([image(state="absent")])
    changes = plan_images(ceph, wanted)
    ceph.watchers = ["192.0.2.1:0/1"]
    with pytest.raises(HopError, match="in use"):
        apply_images(ceph, changes, wanted, LeaseOptions(), False)
    assert ceph.done == []


def test_the_program_asks_for_every_use():
    ceph, _commands = tool(
        info=(0, '{"size": 1, "id": "1", "mirroring": {"state": "enabled", "primary": true}, "group": "g"}', ""),
        status=(0, '{"watchers": [{"address": "192.0.2.1:0/1"}]}', ""),
        snap=(0, '[{"name": "s1", "namespace": {"type": "user"}}]', ""),
        children=(0, '[{"pool": "p", "image": "child"}]', ""),
        lock=(0, '[{"id": "auto 1", "locker": "client.7"}]', ""),
    )
    assert ceph.uses(ONE) == [
        "client 192.0.2.1:0/1 has it open",
        "it has the snapshot s1",
        "p/child is a clone of it",
        "client.7 holds a lock on it",
        "it is mirrored",
        "it belongs to the group g",
    ]
