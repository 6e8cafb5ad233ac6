# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The whole stack behind its one door, seen from its neighbour: the machine that runs Molecule."""

from __future__ import annotations

import http.client
import json
import socket
import uuid
from typing import Any

import pytest
from testinfra.host import Host


@pytest.fixture(scope="module")
def address(host: Host) -> str:
    """The host's address."""
    return str(host.check_output("hostname --ip-address"))


def call(address: str, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Send one request to Nginx; return status and decoded body."""
    connection = http.client.HTTPConnection(address, 80, timeout=10)
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
    try:
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_an_invoice_is_written_and_read_back(address: str) -> None:
    mark = uuid.uuid4().hex[:12]
    status, customer = call(address, "POST", "/customers", {"name": "Ada", "email": f"{mark}@example.com"})
    assert status == 201
    wanted = {"customer_id": customer["id"], "reference": mark, "amount_minor": 4200, "currency": "EUR"}
    status, invoice = call(address, "POST", "/invoices", wanted)
    assert status == 201
    assert call(address, "GET", f"/invoices/{invoice['id']}") == (200, invoice)


@pytest.mark.parametrize("port", [5000, 5432, 8000])
def test_api_and_database_have_no_port(address: str, port: int) -> None:
    with pytest.raises(TimeoutError):
        socket.create_connection((address, port), timeout=1.5).close()


def test_every_service_is_healthy_and_runs_a_digest(host: Host) -> None:
    rows = host.check_output("docker ps --no-trunc --format '{{.Names}} {{.Image}} {{.Status}}'").splitlines()
    assert len(rows) == 3
    for row in rows:
        assert "@sha256:" in row
        assert "(healthy)" in row


def test_docker_publishes_no_port(host: Host) -> None:
    bindings = host.check_output("docker inspect --format '{{json .HostConfig.PortBindings}}' $(docker ps --quiet)")
    assert set(bindings.split()) <= {"{}", "null"}
