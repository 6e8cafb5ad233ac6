# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What answers on a host with the role firewall, seen from its neighbour: the machine that runs Molecule."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from testinfra.host import Host

_UNIT = "molecule-listener"
_LISTEN = """
import socket, threading
def serve(port):
    listener = socket.create_server(("", port))
    while True:
        listener.accept()[0].close()
for port in (80, 443, 8080): threading.Thread(target=serve, args=(port,)).start()
"""


@pytest.fixture(scope="module")
def address(host: Host) -> Iterator[str]:
    """The host's address, with something listening on ports 80, 443 and 8080."""
    host.run_expect([0], "systemd-run --quiet --unit %s python3 -c %s", _UNIT, _LISTEN)
    host.run_expect([0], "timeout 10 sh -c 'until ss -Hltn sport = 8080 | grep -q .; do sleep 0.1; done'")
    yield host.check_output("hostname --ip-address")
    host.run("systemctl stop %s", _UNIT)


def answers(address: str, port: int) -> bool:
    """Whether a connection to this port comes about. The firewall drops, it does not refuse."""
    try:
        socket.create_connection((address, port), timeout=1.5).close()
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("port", [22, 80, 443])
def test_open_ports_answer(address: str, port: int) -> None:
    assert answers(address, port)


def test_other_ports_do_not_answer(address: str) -> None:
    assert not answers(address, 8080)


def test_the_host_reaches_itself(host: Host, address: str) -> None:
    assert host.run("python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8080), 2)'").rc == 0
    assert host.run(f"python3 -c 'import socket; socket.create_connection((\"{address}\", 8080), 2)'").rc == 0


def test_name_resolution_works(host: Host) -> None:
    assert host.run("getent hosts registry.lab").rc == 0


def test_table_comes_back_after_everything_was_flushed(host: Host, address: str) -> None:
    host.run_expect([0], "systemctl restart nftables.service")
    assert "billing_firewall" in host.check_output("nft list tables")
    assert not answers(address, 8080)
    host.run_expect([0], "systemctl stop nftables.service")
    host.run_expect([0], "systemctl start billing-firewall.service")
    assert not answers(address, 8080)


def test_unit_loads_it_at_boot_before_docker(host: Host) -> None:
    unit = host.service("billing-firewall")
    assert unit.is_enabled
    assert unit.is_running
    assert {"docker.service", "network-pre.target"} <= set(unit.systemd_properties["Before"].split())


def test_nothing_is_left_of_the_undo(host: Host) -> None:
    assert "undo" not in host.check_output("systemctl list-units --all --plain --no-legend 'billing-firewall*'")
