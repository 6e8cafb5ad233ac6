# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A lab gets a /24 that belongs to its name and overlaps nothing that is there."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import islice

import pytest

from tests.lab import network
from tests.lab.shell import LabError

INSIDE_HOSTS = [IPv4Network("10.201.0.0/16"), IPv4Network("10.202.0.0/16"), IPv4Network("10.203.0.0/16")]
ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""


def test_the_same_name_gets_the_same_subnet() -> None:
    assert network.choose_subnet("demo", []) == network.choose_subnet("demo", [])


def test_names_spread_over_the_pool() -> None:
    assert len({network.choose_subnet(f"lab{number}", []) for number in range(50)}) > 30


def test_candidates_are_the_whole_pool_once_each() -> None:
    assert sorted(network.candidates("demo")) == list(network.POOL.subnets(new_prefix=24))


def test_a_taken_subnet_is_passed_over() -> None:
    first, second = islice(network.candidates("demo"), 2)
    assert network.choose_subnet("demo", [first]) == second


def test_a_larger_network_around_the_candidate_counts_as_taken() -> None:
    first = network.choose_subnet("demo", [])
    around = first.supernet(new_prefix=20)
    assert not network.choose_subnet("demo", [around]).overlaps(around)


def test_a_full_pool_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(LabError, match="remove labs"):
        network.choose_subnet("demo", [network.POOL])


def test_the_pool_keeps_clear_of_the_networks_inside_the_hosts() -> None:
    assert not any(network.POOL.overlaps(other) for other in INSIDE_HOSTS)


def test_host_addresses_are_reused_from_the_lowest() -> None:
    subnet = IPv4Network("10.77.5.0/24")
    assert network.next_host_address(subnet, []) == "10.77.5.11"
    assert network.next_host_address(subnet, ["10.77.5.11", "10.77.5.13"]) == "10.77.5.12"


def test_docker_takes_addresses_where_no_host_is() -> None:
    subnet = IPv4Network("10.77.5.0/24")
    dynamic = network.dynamic_range(subnet)
    assert not any(IPv4Network(f"{address}/32").subnet_of(dynamic) for address in network.host_addresses(subnet))
    with pytest.raises(LabError, match="no address"):
        network.next_host_address(subnet, network.host_addresses(subnet))


def test_routes_count_but_not_the_default_route() -> None:
    assert network.parse_routes(ROUTES) == [IPv4Network("192.0.2.0/24")]
