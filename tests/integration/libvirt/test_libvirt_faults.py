# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirtd goes away in the middle of a growth: the guest does not notice, the module says so, and the repetition ends well."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import time

from private_libvirt import MIB, wait_for


def finished(domain, resize, loop):
    """The repetition has the size, one more changes nothing, and the guest has seen it."""
    again = resize(domain=domain.name, target="vda", size="24M")
    assert not again["failed"] and again["disks"][0]["satisfied"], again
    once_more = resize(source=loop.device, size="24M")
    assert not once_more["failed"] and not once_more["changed"] and once_more["diff"] == [], once_more
    domain.wait_line("vda=49152")
    domain.send("x")
    domain.send("v")
    assert " err=0 bad=0" in domain.wait_line("VERIFY")
    return again


def test_libvirtd_is_restarted_between_the_device_and_the_disk(hypervisor, mini_guest, loops, domains, resize):
    loop = loops(8)
    domain = domains("mini", [{"target": "vda", "source": loop.device}], **mini_guest)
    domain.start()
    domain.send("w")
    domain.wait_line("gen=1 ")
    loop.grow(24 * MIB)
    hypervisor.kill_libvirtd()
    down = resize(domain=domain.name, target="vda", size="24M")
    assert down["failed"] and not down["changed"] and down["error"]["remedy"], down
    assert domain.capacities() == {"vda": 8 * MIB}
    hypervisor.start_libvirtd()
    assert finished(domain, resize, loop)["changed"]


def test_libvirtd_dies_under_the_call(hypervisor, mini_guest, loops, domains, resize):
    """It stands still until the module waits for it, and then it is killed."""
    loop = loops(8)
    domain = domains("mini", [{"target": "vda", "source": loop.device}], **mini_guest)
    domain.start()
    domain.send("w")
    domain.wait_line("gen=1 ")
    loop.grow(24 * MIB)
    (pid,) = hypervisor.libvirtd()
    os.kill(pid, signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(resize, domain=domain.name, target="vda", size="24M")
        time.sleep(3)
        assert not call.done()
        hypervisor.kill_libvirtd()
        result = call.result(60)
    assert result["failed"] and not result["changed"] and result["error"]["remedy"], result
    hypervisor.start_libvirtd()
    finished(domain, resize, loop)
    wait_for("the domain", lambda: "running" in hypervisor.virsh("domstate", domain.name).stdout)
