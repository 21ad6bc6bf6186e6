# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Over 500 lines: many short cases of one manager on one set of fakes.
"""Keys of hosts, secure listeners and ANA groups, masked namespaces; what is taken from connected hosts; the number of calls."""

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystem_wish import wanted_subsystems
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_subsystems import SubsystemManager
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target

NQN = "nqn.2026-01.org.example:vols"
HOST = "nqn.2014-08.org.nvmexpress:uuid:4ca08835-0e71-4c63-85af-4b201ffa646d"
OTHER = "nqn.2026-01.org.example:host-b"
UUID = "0a1b2c3d-0000-4000-8000-00000000000a"


def listener(traddr="192.0.2.1", trsvcid="4420", **options):
    return {"trtype": "TCP", "adrfam": None, "traddr": traddr, "trsvcid": trsvcid, **options}


def namespace(bdev, nsid=None, **options):
    return {"bdev": bdev, "nsid": nsid, **options}


def prepared(fake):
    """A target with a transport, keys and two bdevs."""
    fake.transports["TCP"] = {"trtype": "TCP", "max_io_size": 131072}
    if fake.release >= (24, 5):
        fake.keys.update(psk0="/k/psk0", psk1="/k/psk1", dh0="/k/dh0", dh1="/k/dh1")
    fake.add_bdev("a", "p", "one", uuid=UUID)
    fake.add_bdev("b", "p", "two", uuid=UUID[:-1] + "b")
    return fake


@pytest.fixture
def ready(fake):
    return prepared(fake)


def run(fake, *entries, check=False):
    wishes = wanted_subsystems(copy.deepcopy(list(entries)))
    with Target.open(fake.path, 10) as target:
        manager = SubsystemManager(target)
        manager.plan(wishes)
        if not check:
            manager.apply(wishes)
            manager.verify(wishes)
        fake.sent = target.sent
    return manager


def settled(fake, *entries):
    """Run once: check mode says the same as the real run, and a second run has nothing to do."""
    checked = run(fake, *entries, check=True)
    before = copy.deepcopy(fake.subsystems)
    manager = run(fake, *entries)
    assert [{"method": call.method, "params": call.params} for call in checked.ordered()] == fake.sent
    assert checked.changes.diff() == manager.changes.diff()
    for entry in entries:
        assert _sorted(checked.result(entry["nqn"])) == _sorted(manager.result(entry["nqn"]))
    again = run(fake, *entries)
    assert fake.sent == [] and not again.changes.changed
    assert fake.subsystems != before or not manager.changes.changed
    return manager


def _sorted(result):
    return {key: sorted(value, key=json.dumps) if isinstance(value, list) else value for key, value in result.items()}


def failure(fake, *entries):
    before = copy.deepcopy(fake.subsystems)
    with pytest.raises(HopError) as caught:
        run(fake, *entries)
    assert fake.subsystems == before, "something was touched"
    assert caught.value.remedy
    return caught.value


def sent(fake):
    return [call["method"] for call in fake.sent]


# -- keys of hosts ---------------------------------------------------------------------------------------------------


def test_hosts_with_keys(ready):
    wish = {"nqn": NQN, "hosts": [OTHER, {"nqn": HOST, "psk": "psk0", "dhchap_key": "dh0", "dhchap_ctrlr_key": "dh1"}]}
    result = settled(ready, wish).result(NQN)
    assert sorted(result["hosts"]) == sorted([HOST, OTHER])
    assert {"nqn": HOST, "psk": "psk0", "dhchap_key": "dh0", "dhchap_ctrlr_key": "dh1"} in result["host_keys"]
    assert ready.subsystems[NQN]["hosts"][HOST] == {"psk": "psk0", "dhchap_key": "dh0", "dhchap_ctrlr_key": "dh1"}
    # keys that are not named are left as they are
    assert not run(ready, {"nqn": NQN, "hosts": [HOST, OTHER]}).changes.changed


def test_dhchap_keys_change_in_place_even_while_the_host_is_connected(ready):
    run(ready, {"nqn": NQN, "hosts": [{"nqn": HOST, "psk": "psk0", "dhchap_key": "dh0", "dhchap_ctrlr_key": "dh0"}]})
    ready.controllers[NQN] = [{"cntlid": 1, "hostnqn": HOST}]
    settled(ready, {"nqn": NQN, "hosts": [{"nqn": HOST, "dhchap_key": "dh1"}]})
    # the controller's key was not named, and is sent along so that it stays
    assert ready.subsystems[NQN]["hosts"][HOST] == {"psk": "psk0", "dhchap_key": "dh1", "dhchap_ctrlr_key": "dh0"}


@pytest.mark.parametrize(
    ("release", "keys"), [((26, 5), {"psk": "psk1"}), ((24, 5), {"dhchap_key": "dh1"}), ((26, 5), {"dhchap_key": ""}), ((26, 5), {"psk": ""})]
)
def test_other_changes_of_keys_are_refused_while_that_host_is_connected(make_target, release, keys):
    fake = prepared(make_target(release))
    run(fake, {"nqn": NQN, "hosts": [{"nqn": HOST, "psk": "psk0", "dhchap_key": "dh0"}]})
    wish = {"nqn": NQN, "hosts": [{"nqn": HOST, **keys}]}
    fake.controllers[NQN] = [{"cntlid": 1, "hostnqn": HOST}]
    error = failure(fake, wish)
    assert HOST in error.message and next(iter(keys)) in error.message
    fake.controllers[NQN] = [{"cntlid": 1, "hostnqn": OTHER}]
    settled(fake, wish)
    expected = {"psk": "psk0", "dhchap_key": "dh0", **keys}
    assert fake.subsystems[NQN]["hosts"][HOST] == {key: name for key, name in expected.items() if name}


def test_force_changes_the_psk_of_a_connected_host(ready):
    run(ready, {"nqn": NQN, "hosts": [{"nqn": HOST, "psk": "psk0"}]})
    ready.controllers[NQN] = [{"cntlid": 1, "hostnqn": HOST}]
    settled(ready, {"nqn": NQN, "hosts": [{"nqn": HOST, "psk": "psk1"}], "force": True})


def test_a_key_that_the_keyring_lacks_is_named_before_anything_is_sent(ready):
    run(ready, {"nqn": NQN, "hosts": [{"nqn": HOST, "dhchap_key": "dh0"}]})
    for keys in ({"psk": "none"}, {"dhchap_key": "none"}):
        error = failure(ready, {"nqn": NQN, "hosts": [{"nqn": HOST, **keys}]})
        assert "no key none" in error.message and "spdk_keyring" in error.remedy


def test_a_psk_without_a_tcp_transport_would_be_dropped(ready):
    ready.transports.clear()
    assert "drop the psk silently" in failure(ready, {"nqn": NQN, "hosts": [{"nqn": HOST, "psk": "psk0"}]}).cause


@pytest.mark.parametrize(
    ("release", "keys", "word"),
    [
        ((23, 1), {"psk": "/k/psk"}, "23.05"),
        ((23, 5), {"psk": "psk0"}, "path"),
        ((23, 5), {"dhchap_key": "dh0"}, "24.05"),
        ((24, 1), {"psk": "/k/psk", "dhchap_key": "dh0"}, "24.05"),
        ((24, 9), {"psk": "/k/psk"}, "key's name"),
    ],
)
def test_a_key_that_the_release_lacks_is_an_error_never_dropped(make_target, release, keys, word):
    fake = prepared(make_target(release))
    assert word in failure(fake, {"nqn": NQN, "hosts": [{"nqn": HOST, **keys}]}).remedy
    run(fake, {"nqn": NQN, "hosts": [HOST]})
    assert word in failure(fake, {"nqn": NQN, "hosts": [{"nqn": HOST, **keys}]}).remedy


@pytest.mark.parametrize(("release", "psk"), [((23, 5), "/k/psk"), ((24, 5), "/k/psk"), ((24, 5), "psk0"), ((24, 9), "psk0")])
def test_a_psk_is_a_path_or_a_name(make_target, release, psk):
    fake = prepared(make_target(release))
    settled(fake, {"nqn": NQN, "hosts": [{"nqn": HOST, "psk": psk}]})
    assert fake.subsystems[NQN]["hosts"][HOST] == {"psk": psk}


def test_a_psk_that_cannot_be_read_back_is_unproven(make_target):
    fake = prepared(make_target((23, 5)))
    fake.hidden.add(("nvmf_subsystem_add_host", "psk"))
    manager = run(fake, {"nqn": NQN, "hosts": [{"nqn": HOST, "psk": "/k/psk"}]})
    assert manager.changes.changed and HOST in manager.unproven[0]
    again = run(fake, {"nqn": NQN, "hosts": [{"nqn": HOST, "psk": "/k/other"}]})
    assert not again.changes.changed and "does not show the PSK" in again.unproven[0]


@pytest.mark.parametrize(
    "hosts",
    [
        [{"psk": "psk0"}],
        [{"nqn": HOST, "pks": "psk0"}],
        [{"nqn": HOST, "psk": 1}],
        [[HOST]],
        [{"nqn": HOST, "dhchap_ctrlr_key": "dh0"}],
        [{"nqn": HOST, "psk": "psk0"}, HOST],
        [{"nqn": HOST, "psk": "NVMeTLSkey-1:01:c2VjcmV0:"}],
        [{"nqn": HOST, "dhchap_key": "DHHC-1:00:c2VjcmV0:"}],
    ],
)
def test_hosts_that_cannot_be_meant(hosts):
    with pytest.raises(HopError) as caught:
        wanted_subsystems([{"nqn": NQN, "hosts": hosts}])
    assert caught.value.remedy and "c2VjcmV0" not in str(caught.value)


# -- listeners -------------------------------------------------------------------------------------------------------


def test_a_secure_listener(ready):
    wish = {"nqn": NQN, "hosts": [{"nqn": HOST, "psk": "psk0"}], "listeners": [listener(secure_channel=True, sock_impl="ssl"), listener(trsvcid="4421")]}
    (secure, plain) = settled(ready, wish).result(NQN)["listeners"]
    assert (secure["secure_channel"], secure["sock_impl"]) == (True, "ssl")
    assert (plain["secure_channel"], plain["sock_impl"]) == (False, None)


def test_a_secure_channel_and_any_host(ready):
    wish = {"nqn": NQN, "allow_any_host": True, "listeners": [listener(secure_channel=True)]}
    assert "allows any host" in failure(ready, wish).message
    run(ready, {"nqn": NQN, "listeners": [listener(secure_channel=True)]})
    assert "allows any host" in failure(ready, {"nqn": NQN, "allow_any_host": True}).message
    # somebody else's doing keeps nothing else from being declared
    ready.subsystems[NQN]["allow_any_host"] = True
    settled(ready, {"nqn": NQN, "hosts": [HOST]})
    assert "allows any host" in failure(ready, {"nqn": NQN, "listeners": [listener(secure_channel=True)]}).message
    settled(ready, {"nqn": NQN, "allow_any_host": True, "listeners": [], "purge": True})


@pytest.mark.parametrize("options", [{"secure_channel": True}, {"sock_impl": "ssl"}])
def test_a_listener_changes_only_by_force(ready, options):
    run(ready, {"nqn": NQN, "ana_reporting": True, "listeners": [listener(ana_state="non_optimized")]})
    wish = {"nqn": NQN, "listeners": [listener(**options)]}
    assert "only when it adds a listener" in failure(ready, wish).cause
    settled(ready, {**wish, "force": True})
    # re-created in the state it had
    assert ana(ready, 1) == ana(ready, 256) == "non_optimized"


def test_a_re_created_listener_keeps_the_states_of_its_groups(ready):
    base = {"nqn": NQN, "ana_reporting": True, "max_namespaces": 4}
    groups = [{"anagrpid": 2, "ana_state": "inaccessible"}]
    run(ready, {**base, "listeners": [listener(ana_state="non_optimized", ana_states=groups)]})
    settled(ready, {**base, "listeners": [listener(secure_channel=True)], "force": True})
    assert [ana(ready, group) for group in (1, 2, 3, 4)] == ["non_optimized", "inaccessible", "non_optimized", "non_optimized"]


@pytest.mark.parametrize(("options", "release", "word"), [({"secure_channel": True}, (23, 1), "23.05"), ({"sock_impl": "ssl"}, (24, 5), "24.09")])
def test_a_listener_option_that_the_release_lacks(make_target, options, release, word):
    fake = prepared(make_target(release))
    assert word in failure(fake, {"nqn": NQN, "listeners": [listener(**options)]}).remedy
    run(fake, {"nqn": NQN, "listeners": [listener(secure_channel=False)]})
    assert word in failure(fake, {"nqn": NQN, "listeners": [listener(**options)], "force": True}).remedy


def test_a_secure_channel_that_is_not_shown_is_unproven(ready):
    run(ready, {"nqn": NQN, "listeners": [listener()]})
    ready.hidden.add(("nvmf_subsystem_add_listener", "secure_channel"))
    manager = run(ready, {"nqn": NQN, "listeners": [listener(secure_channel=True)]})
    assert not manager.changes.changed and "secure channel" in manager.unproven[0]


def ana(fake, group, traddr="192.0.2.1"):
    return next(entry["ana"][group] for key, entry in fake.subsystems[NQN]["listeners"].items() if traddr in key)


def test_ana_states_of_groups(ready):
    base = {"nqn": NQN, "ana_reporting": True, "max_namespaces": 8}
    groups = [{"anagrpid": 2, "ana_state": "optimized"}, {"anagrpid": 3, "ana_state": "inaccessible"}]
    result = settled(ready, {**base, "listeners": [listener(ana_state="non_optimized", ana_states=groups)]}).result(NQN)
    (there,) = result["listeners"]
    assert there["ana_state"] == "mixed"
    assert [(one["anagrpid"], one["ana_state"]) for one in there["ana_states"]][:4] == [
        (1, "non_optimized"),
        (2, "optimized"),
        (3, "inaccessible"),
        (4, "non_optimized"),
    ]
    settled(ready, {**base, "listeners": [listener(ana_states=[{"anagrpid": 2, "ana_state": "inaccessible"}])]})
    assert (ana(ready, 1), ana(ready, 2)) == ("non_optimized", "inaccessible")
    settled(ready, {**base, "listeners": [listener(ana_state="optimized")]})
    assert settled(ready, {**base, "listeners": [listener(ana_state="optimized")]}).result(NQN)["listeners"][0]["ana_states"] == []


def test_a_group_that_is_right_is_not_turned_for_a_moment(ready):
    base = {"nqn": NQN, "ana_reporting": True, "max_namespaces": 4}
    run(ready, {**base, "listeners": [listener(ana_state="optimized")]})
    groups = [{"anagrpid": 2, "ana_state": "optimized"}]
    settled(ready, {**base, "listeners": [listener(ana_state="inaccessible", ana_states=groups)]})
    calls = [params for method, params in ready.calls if method == "nvmf_subsystem_listener_set_ana_state"]
    assert [params["anagrpid"] for params in calls] == [1, 3, 4] and ana(ready, 2) == "optimized"


def test_a_new_listener_has_its_state_from_the_start(ready):
    run(ready, {"nqn": NQN, "ana_reporting": True, "listeners": [listener(ana_state="inaccessible")]})
    assert sent(ready) == ["nvmf_create_subsystem", "nvmf_subsystem_add_listener"]


def test_a_new_listener_before_24_01_is_set_after_it_was_added(make_target):
    fake = prepared(make_target((23, 9)))
    settled(fake, {"nqn": NQN, "ana_reporting": True, "listeners": [listener(ana_state="inaccessible")]})
    assert ana(fake, 1) == "inaccessible"


@pytest.mark.parametrize("groups", [[(9, "optimized")], [(0, "optimized")], [(1, "optimized"), (1, "inaccessible")]])
def test_ana_groups_that_cannot_be_meant(ready, groups):
    states = [{"anagrpid": group, "ana_state": state} for group, state in groups]
    assert "group" in failure(ready, {"nqn": NQN, "ana_reporting": True, "max_namespaces": 8, "listeners": [listener(ana_states=states)]}).message


# -- namespaces ------------------------------------------------------------------------------------------------------


def test_a_namespace_for_one_host(ready):
    masked = namespace("a", 1, auto_visible=False, hosts=[HOST], anagrpid=5, eui64="ABCDEF0123456789", ptpl_file="/run/ptpl")
    result = settled(ready, {"nqn": NQN, "ana_reporting": True, "namespaces": [masked, namespace("b", 2)]}).result(NQN)
    one, two = result["namespaces"]
    assert (one["auto_visible"], one["hosts"], one["anagrpid"], one["eui64"], one["ptpl_file"]) == (False, [HOST], 5, "abcdef0123456789", "/run/ptpl")
    assert (two["auto_visible"], two["hosts"], two["anagrpid"], two["eui64"], two["ptpl_file"]) == (True, [], 2, None, None)


def test_hosts_of_a_namespace_are_added_and_with_purge_removed(ready):
    wish = {"nqn": NQN, "namespaces": [namespace("a", 1, auto_visible=False, hosts=[HOST])]}
    run(ready, wish)
    other = {"nqn": NQN, "namespaces": [namespace("a", 1, auto_visible=False, hosts=[OTHER])]}
    settled(ready, other)
    assert sorted(ready.subsystems[NQN]["namespaces"][1]["_hosts"]) == sorted([HOST, OTHER])
    ready.controllers[NQN] = [{"cntlid": 1, "hostnqn": HOST}]
    assert HOST in failure(ready, {**other, "purge": True}).message
    ready.controllers[NQN] = [{"cntlid": 1, "hostnqn": OTHER}]
    settled(ready, {**other, "purge": True})
    assert ready.subsystems[NQN]["namespaces"][1]["_hosts"] == [OTHER]


@pytest.mark.parametrize("options", [{"auto_visible": False}, {"ptpl_file": "/run/ptpl"}])
def test_what_a_namespace_takes_only_when_it_is_added(ready, options):
    run(ready, {"nqn": NQN, "namespaces": [namespace("a", 1)]})
    wish = {"nqn": NQN, "namespaces": [namespace("a", 1, **options)]}
    error = failure(ready, wish)
    assert "only when it adds a namespace" in error.cause and next(iter(options)) in error.message
    settled(ready, {**wish, "force": True})


def test_what_is_not_said_of_a_namespace_is_left_alone(ready):
    run(ready, {"nqn": NQN, "ana_reporting": True, "namespaces": [namespace("a", 1, auto_visible=False, hosts=[HOST], anagrpid=3, eui64="ab" * 8)]})
    assert not run(ready, {"nqn": NQN, "namespaces": [namespace("a")]}).changes.changed


def test_a_group_changes_in_place_from_24_09_on(make_target):
    for release in ((24, 5), (24, 9)):
        fake = prepared(make_target(release))
        run(fake, {"nqn": NQN, "ana_reporting": True, "namespaces": [namespace("a", 1, anagrpid=2)]})
        fake.controllers[NQN] = [{"cntlid": 1, "hostnqn": HOST}]
        wish = {"nqn": NQN, "namespaces": [namespace("a", 1, anagrpid=3)]}
        if release < (24, 9):
            assert "24.09" in failure(fake, wish).remedy
        else:
            settled(fake, wish)
            assert fake.subsystems[NQN]["namespaces"][1]["anagrpid"] == 3


def test_what_the_configuration_does_not_show_is_unproven(ready):
    run(ready, {"nqn": NQN, "namespaces": [namespace("a", 1)]})
    ready.hidden.add(("nvmf_subsystem_add_ns", "no_auto_visible"))
    manager = run(ready, {"nqn": NQN, "namespaces": [namespace("a", 1, auto_visible=False)]})
    assert not manager.changes.changed and "auto_visible" in manager.unproven[0]
    assert manager.result(NQN)["namespaces"][0]["auto_visible"] is None


@pytest.mark.parametrize(
    ("options", "release", "word"),
    [({"auto_visible": False}, (24, 1), "24.05"), ({"auto_visible": False, "hosts": [HOST]}, (24, 1), "24.05"), ({"anagrpid": 2}, (21, 7), "21.10")],
)
def test_a_namespace_option_that_the_release_lacks(make_target, options, release, word):
    fake = prepared(make_target(release))
    assert word in failure(fake, {"nqn": NQN, "ana_reporting": True, "namespaces": [namespace("a", 1, **options)]}).remedy


@pytest.mark.parametrize(
    "options",
    [{"hosts": [HOST]}, {"hosts": [], "auto_visible": True}, {"hosts": ["x"], "auto_visible": False}, {"eui64": "12"}, {"anagrpid": 0}],
)
def test_namespaces_that_cannot_be_meant(options):
    with pytest.raises(HopError) as caught:
        wanted_subsystems([{"nqn": NQN, "namespaces": [namespace("a", 1, **options)]}])
    assert caught.value.remedy


def test_a_group_needs_ana_reporting_and_room(ready):
    assert "ANA" in failure(ready, {"nqn": NQN, "namespaces": [namespace("a", 1, anagrpid=1)]}).message
    wish = {"nqn": NQN, "ana_reporting": True, "max_namespaces": 4, "namespaces": [namespace("a", 1, anagrpid=5)]}
    assert "above max_namespaces 4" in failure(ready, wish).message


# -- nothing is taken from hosts -------------------------------------------------------------------------------------

REIDENTIFIED = {
    "bdev": namespace("b", 1),
    "uuid": namespace("a", 1, uuid=UUID[:-1] + "f"),
    "nguid": namespace("a", 1, nguid="f" * 32),
    "eui64": namespace("a", 1, eui64="f" * 16),
    "nsid": namespace("a", 2),
}


@pytest.mark.parametrize("what", REIDENTIFIED)
@pytest.mark.parametrize("connected", [[], [{"cntlid": 1, "hostnqn": HOST}]])
@pytest.mark.parametrize("purge", [False, True])
def test_a_namespace_is_given_another_identity_only_by_force(ready, what, connected, purge):
    run(ready, {"nqn": NQN, "namespaces": [namespace("a", 1)]})
    ready.controllers[NQN] = connected
    wish = {"nqn": NQN, "namespaces": [REIDENTIFIED[what]], "purge": purge}
    error = failure(ready, wish)
    assert error.hop == "namespace" and "force" in error.remedy
    settled(ready, {**wish, "force": True})
    assert sent(ready) == [] and len(ready.subsystems[NQN]["namespaces"]) == 1


def test_two_namespaces_change_places_only_by_force(ready):
    run(ready, {"nqn": NQN, "namespaces": [namespace("a", 1), namespace("b", 2)]})
    wish = {"nqn": NQN, "namespaces": [namespace("a", 2), namespace("b", 1)]}
    assert "already namespace" in failure(ready, wish).message
    settled(ready, {**wish, "force": True})
    assert {nsid: entry["bdev_name"] for nsid, entry in ready.subsystems[NQN]["namespaces"].items()} == {1: "b", 2: "a"}


@pytest.mark.parametrize("wish", [{"state": "absent"}, {"namespaces": [namespace("b", 2)], "purge": True}])
def test_a_namespace_of_a_connected_host_stays(ready, wish):
    run(ready, {"nqn": NQN, "namespaces": [namespace("a", 1), namespace("b", 2)]})
    ready.controllers[NQN] = [{"cntlid": 1, "hostnqn": HOST}]
    assert HOST in failure(ready, {"nqn": NQN, **wish}).message
    ready.controllers[NQN] = []
    settled(ready, {"nqn": NQN, **wish})


def test_who_is_connected_cannot_be_asked(ready):
    run(ready, {"nqn": NQN, "namespaces": [namespace("a", 1)]})
    ready.fail["nvmf_subsystem_get_controllers"] = (-32603, "Internal error")
    assert "cannot tell" in failure(ready, {"nqn": NQN, "namespaces": [], "purge": True}).message


@pytest.mark.parametrize(
    "wish",
    [
        {"state": "absent"},
        {"namespaces": [], "purge": True},
        {"hosts": [], "purge": True},
        {"listeners": [], "purge": True},
        {"namespaces": [namespace("b", 1)]},
        {"namespaces": [namespace("a", 1, uuid=UUID[:-1] + "f")], "purge": True},
    ],
)
def test_before_20_10_nothing_is_taken_without_force(make_target, wish):
    fake = prepared(make_target((20, 7)))
    run(fake, {"nqn": NQN, "hosts": [HOST], "listeners": [listener()], "namespaces": [namespace("a", 1)]})
    assert "force" in failure(fake, {"nqn": NQN, **wish}).remedy
    run(fake, {"nqn": NQN, "force": True, **wish})


def test_the_end_of_any_host_keeps_out_who_is_connected_and_not_named(ready):
    run(ready, {"nqn": NQN, "allow_any_host": True})
    ready.controllers[NQN] = [{"cntlid": 1, "hostnqn": HOST}]
    assert HOST in failure(ready, {"nqn": NQN, "allow_any_host": False}).message
    settled(ready, {"nqn": NQN, "allow_any_host": False, "hosts": [HOST]})


def test_another_host_is_removed_while_one_is_connected(ready):
    run(ready, {"nqn": NQN, "hosts": [HOST, OTHER]})
    ready.controllers[NQN] = [{"cntlid": 1, "hostnqn": HOST}]
    settled(ready, {"nqn": NQN, "hosts": [HOST], "purge": True})


def test_adding_is_fine_while_a_host_is_connected(ready):
    run(ready, {"nqn": NQN, "hosts": [HOST], "listeners": [listener()], "namespaces": [namespace("a", 1)]})
    ready.controllers[NQN] = [{"cntlid": 1, "hostnqn": HOST}]
    wish = {"hosts": [HOST, OTHER], "listeners": [listener(), listener("192.0.2.2")], "namespaces": [namespace("a", 1), namespace("b", 2)]}
    settled(ready, {"nqn": NQN, **wish})
    assert not any(method == "nvmf_subsystem_get_controllers" for method, _params in ready.calls)


def test_a_bdev_moves_to_another_subsystem_in_one_call_whatever_the_order(ready):
    run(ready, {"nqn": NQN, "namespaces": [namespace("a", 1)]})
    moved = [{"nqn": NQN + "2", "namespaces": [namespace("a", 1)]}, {"nqn": NQN, "namespaces": [], "purge": True}]
    settled(ready, *moved)
    settled(ready, {"nqn": NQN, "namespaces": [namespace("a", 1)]}, {"nqn": NQN + "2", "state": "absent"})


def test_a_bdev_for_two_subsystems(ready):
    error = failure(ready, {"nqn": NQN, "namespaces": [namespace("a", 1)]}, {"nqn": NQN + "2", "namespaces": [namespace("a", 1)]})
    assert f"in use by {NQN}#1" in error.message


# -- speed -----------------------------------------------------------------------------------------------------------


def test_a_thousand_namespaces_in_a_hundred_subsystems(make_target):
    """Creating is pipelined over one connection in small requests; a run with nothing to do costs a constant number of calls."""
    fake = prepared(make_target((24, 9)))
    entries = []
    for number in range(100):
        names = [f"v{number}-{index}" for index in range(10)]
        for index, name in enumerate(names):
            fake.add_bdev(name, "p", "one", uuid=f"00000000-0000-4000-8000-{number * 10 + index:012d}")
        volumes = [namespace(name, auto_visible=False, hosts=[HOST], anagrpid=1) for name in names]
        hosts = [{"nqn": HOST, "psk": "psk0", "dhchap_key": "dh0"}]
        ports = [listener(trsvcid=str(5000 + number), secure_channel=True)]
        entries.append({"nqn": f"{NQN}{number}", "ana_reporting": True, "hosts": hosts, "listeners": ports, "namespaces": volumes, "purge": True})
    run(fake, *entries)
    assert fake.connections == 1 and len(fake.subsystems) == 100
    assert sum(len(entry["namespaces"]) for entry in fake.subsystems.values()) == 1000
    assert max(len(json.dumps(params)) for _method, params in fake.calls) < 2048
    fake.calls.clear()
    assert not run(fake, *entries).changes.changed
    apart = ["rpc_get_methods", "spdk_get_version", "nvmf_get_subsystems", "framework_get_config", "bdev_get_bdevs"]
    # apply and verify of the helper read once more each
    assert {method for method, _params in fake.calls} == set(apart) and len(fake.calls) <= 8


# -- one namespace that is to go ---------------------------------------------------------------------------------------


def test_one_namespace_goes_and_no_other(ready):
    run(ready, {"nqn": NQN, "namespaces": [namespace("a", 1), namespace("b", 2)]})
    gone = {"nqn": NQN, "namespaces": [namespace("a", 1, uuid=UUID, state="absent")]}
    manager = settled(ready, gone)
    assert [there["bdev"] for there in manager.result(NQN)["namespaces"]] == ["b"]
    # its place is not for another volume in the same call
    swap = {"nqn": NQN, "namespaces": [namespace("b", state="absent"), namespace("a", 2)]}
    assert "would become another volume" in failure(ready, swap).message
    found = run(ready, {"nqn": NQN, "namespaces": [namespace("b", state="absent"), namespace("a")]}).result(NQN)["namespaces"]
    assert [(there["bdev"], there["nsid"]) for there in found] == [("a", 1)]
    run(ready, {**swap, "namespaces": [namespace("a", state="absent"), namespace("b", 1)], "force": True})
    assert sent(ready) == ["nvmf_subsystem_remove_ns", "nvmf_subsystem_add_ns"]


def test_another_namespace_than_the_named_one_stays_also_with_force(ready):
    run(ready, {"nqn": NQN, "namespaces": [namespace("a", 1)]})
    for other in ({"nsid": 2}, {"uuid": UUID[:-1] + "c"}):
        wish = {"nqn": NQN, "force": True, "namespaces": [{**namespace("a", state="absent"), **other}]}
        assert "is another one than the one to remove" in failure(ready, wish).message


def test_a_namespace_is_not_taken_from_connected_hosts_without_force(ready):
    run(ready, {"nqn": NQN, "hosts": [HOST], "namespaces": [namespace("a", 1)]})
    ready.controllers[NQN] = [{"cntlid": 1, "hostnqn": HOST}]
    wish = {"nqn": NQN, "namespaces": [namespace("a", state="absent")]}
    assert HOST in failure(ready, wish).message
    run(ready, {**wish, "force": True})
    assert sent(ready) == ["nvmf_subsystem_remove_ns"]
