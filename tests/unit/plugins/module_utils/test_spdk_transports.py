# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.nvmeof.spdk.plugins.module_utils._errors import HopError
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_target import Target
from ansible_collections.nvmeof.spdk.plugins.module_utils._spdk_transports import TransportManager


def transports(fake, *wishes, check=False):
    with Target.open(fake.path, 10) as target:
        manager = TransportManager(target)
        entries = [{"trtype": trtype, "options": options} for trtype, options in wishes]
        manager.plan(entries)
        if not check:
            manager.apply()
        if manager.differing:
            raise manager.differing
    return manager


def test_a_transport_is_created_once(fake):
    assert transports(fake, ("TCP", {"max_io_size": 65536}), check=True).changes.changed and fake.transports == {}
    assert transports(fake, ("TCP", {"max_io_size": 65536})).there["TCP"]["max_io_size"] == 65536
    assert not transports(fake, ("TCP", {"max_io_size": 65536})).changes.changed


@pytest.mark.parametrize(
    ("release", "options", "word"),
    [
        ((26, 5), {"max_io_sise": 1}, "ignore"),
        ((26, 5), {"max_qpairs_per_ctrlr": 64}, "no option"),
        ((24, 1), {"ack_timeout": 5}, "24.05"),
        ((26, 5), {"max_io_size": "131072"}, "whole number"),
        ((26, 5), {"max_io_size": True}, "whole number"),
        ((26, 5), {"c2h_success": 1}, "boolean"),
    ],
)
def test_transport_options_are_checked_because_spdk_does_not(make_target, release, options, word):
    fake = make_target(release)
    with pytest.raises(HopError) as caught:
        transports(fake, ("TCP", options))
    assert word in str(caught.value) and fake.transports == {}


def test_a_transport_with_other_options_is_an_error(fake):
    transports(fake, ("TCP", {}))
    with pytest.raises(HopError) as caught:
        transports(fake, ("TCP", {"max_io_size": 4096}))
    assert "restart" in caught.value.remedy


@pytest.mark.parametrize(("trtype", "options"), [("TCP", {"num_cqe": 4096}), ("RDMA", {"c2h_success": True}), ("TCP", {"disable_mappable_bar0": True})])
def test_an_option_of_another_transport_would_be_ignored(fake, trtype, options):
    with pytest.raises(HopError) as caught:
        transports(fake, (trtype, options))
    assert "ignore it silently" in caught.value.cause and fake.transports == {}


def test_every_rdma_option(fake):
    options = {"max_srq_depth": 4096, "no_srq": False, "acceptor_backlog": 100, "no_wr_batching": False, "num_cqe": 4096, "data_wr_pool_size": 4095}
    assert not transports(fake, ("RDMA", options)).unproven
    assert fake.transports["RDMA"]["num_cqe"] == 4096 and not transports(fake, ("RDMA", options)).changes.changed


def test_an_option_that_is_not_shown_is_unproven(fake):
    transports(fake, ("TCP", {"control_msg_num": 32}))
    del fake.transports["TCP"]["control_msg_num"]
    manager = transports(fake, ("TCP", {"control_msg_num": 64}))
    assert not manager.changes.changed and "control_msg_num" in manager.unproven[0]


def test_an_option_that_the_target_took_otherwise(fake):
    create = fake.nvmf_create_transport
    fake.nvmf_create_transport = lambda trtype, **options: create(trtype, **{**options, "max_queue_depth": 64})
    with pytest.raises(HopError) as caught:
        transports(fake, ("TCP", {"max_queue_depth": 1024}))
    assert "max_queue_depth is 64" in caught.value.message
