# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What others on the network can reach: the web ports and SSH, and nothing behind them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.remote import Remote
from tests.integration.stack import CONTAINERS, Stack

# Attempts to connect to every address:port given on standard input, thousands at a time; prints those that answered.
# An open port answers within milliseconds here; the limit leaves time for the kernel to ask twice.
_SCAN = r"""
import errno, json, resource, select, socket, sys, time
targets = json.loads(sys.argv[1])
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
batch, wait = min(22000, hard - 100), 2.0
open_ports, todo = [], [(host, port) for host, first, last in targets for port in range(first, last + 1)]
while todo:
    now, todo = todo[:batch], todo[batch:]
    poll, waiting = select.epoll(), {}
    for host, port in now:
        sock = socket.socket()
        sock.setblocking(False)
        code = sock.connect_ex((host, port))
        if code in (0, errno.EINPROGRESS):
            waiting[sock.fileno()] = (sock, host, port)
            poll.register(sock.fileno(), select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP)
        else:
            sock.close()
    deadline = time.monotonic() + wait
    while waiting and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left, len(waiting)):
            sock, host, port = waiting.pop(descriptor)
            poll.unregister(descriptor)
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                open_ports.append([host, port])
            sock.close()
    for sock, host, port in waiting.values():
        sock.close()
    poll.close()
print(json.dumps(sorted(open_ports)))
"""


def scan(source: Remote, *targets: tuple[str, int, int]) -> set[tuple[str, int]]:
    """Return the open (address, port) pairs among the (address, first port, last port) given, as `source` sees them."""
    return {(str(host), int(port)) for host, port in json.loads(source.python(_SCAN, json.dumps(targets)))}


@pytest.fixture
def container_ports(deployed: Stack) -> list[tuple[str, int, int]]:
    """Address and port of every service that runs on a container network."""
    found = []
    for service, item in deployed.server.running().items():
        port = 5432 if service == "postgres" else 8000
        addresses = [network["IPAddress"] for network in item["NetworkSettings"]["Networks"].values()]
        found += [(address, port, port) for address in addresses if address]
    assert len(found) >= 2
    return found


@pytest.fixture
def routes(deployed: Stack) -> Iterator[None]:
    """Routes on the neighbour that lead to the container networks through the server."""
    networks = ("10.201.0.0/24", "10.202.0.0/24")
    for network in networks:
        deployed.other.run("ip", "route", "add", network, "via", deployed.server.address)
    yield
    for network in networks:
        deployed.other.run("ip", "route", "del", network)


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, str]:
    """A self-signed certificate, as the variables of the role."""
    files = {"nginx_tls_certificate": tmp_path / "tls.crt", "nginx_tls_certificate_key": tmp_path / "tls.key"}
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    argv += ["-subj", "/CN=billing.example", "-addext", "subjectAltName=DNS:billing.example"]
    argv += ["-out", str(files["nginx_tls_certificate"]), "-keyout", str(files["nginx_tls_certificate_key"])]
    subprocess.run(argv, check=True, capture_output=True)
    return {name: str(path) for name, path in files.items()}


def test_scan_of_all_ports_finds_ssh_and_http_only(deployed: Stack) -> None:
    address = deployed.server.address
    assert scan(deployed.other, (address, 1, 65535)) == {(address, 22), (address, 80)}


@pytest.mark.usefixtures("routes")
def test_containers_do_not_answer_from_outside(deployed: Stack, container_ports: list[tuple[str, int, int]]) -> None:
    # Each answers the server itself, so that silence outside is the firewall's doing.
    inside = scan(deployed.server, *container_ports)
    assert inside == {(address, port) for address, port, _last in container_ports}
    assert scan(deployed.other, *container_ports) == set()


@pytest.mark.parametrize("service", ["api", "postgres"])
def test_containers_do_not_reach_the_server(deployed: Stack, service: str) -> None:
    pid = next(item["State"]["Pid"] for name, item in deployed.server.running().items() if name.startswith(service))
    connect = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"

    def reaches(address: str, port: int) -> bool:
        argv = ["nsenter", f"--net=/proc/{pid}/ns/net", "python3", "-c", connect, address, str(port)]
        return deployed.server.run(*argv, check=False).returncode == 0

    # The API may call others, a payment provider say, so that it is the server that does not let it in
    assert reaches(deployed.other.address, 22) == (service == "api")
    assert not reaches(deployed.server.address, 22)
    assert not reaches(deployed.server.address, 80)


def test_database_network_leads_nowhere(deployed: Stack) -> None:
    """The data network is internal: no default route for PostgreSQL."""
    pid = deployed.server.running()["postgres"]["State"]["Pid"]
    assert deployed.server.sh(f"nsenter --net=/proc/{pid}/ns/net ip route show default").strip() == ""


def test_certificate_opens_https_and_nothing_else(deployed: Stack, certificate: dict[str, str]) -> None:
    address = deployed.server.address
    deployed.playbooks.run("deploy_compose.yml", "--tags=nginx", variables=certificate).ok()
    try:
        assert scan(deployed.other, (address, 1, 65535)) == {(address, 22), (address, 80), (address, 443)}
        moved = deployed.client.get("/health/db")
        assert (moved.status, moved.headers["location"][:8]) == (308, "https://")
        probe = ["curl", "-sS", "--cacert", certificate["nginx_tls_certificate"], "--noproxy", "*"]
        probe += ["--resolve", f"billing.example:443:{address}", "https://billing.example/health/db"]
        answer = subprocess.run(probe, capture_output=True, text=True, check=False)
        assert json.loads(answer.stdout)["status"] == "ok", answer.stderr
        deployed.playbooks.run("deploy_compose.yml", "--tags=nginx", variables=certificate).unchanged()
    finally:
        deployed.playbooks.run("deploy_compose.yml", "--tags=nginx").ok()
    deployed.server.wait_running(CONTAINERS)
    assert scan(deployed.other, (address, 443, 443)) == set()
