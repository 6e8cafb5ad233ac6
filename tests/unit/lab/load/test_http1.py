# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Every failure of an HTTP/1.1 exchange is counted as what it is, and no request is ever sent twice."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.load.records import KEEPALIVE_BUSY, KEEPALIVE_THINK, NEW_CONNECTION
from tests.unit.lab.load.conftest import Certificate, make_certificate
from tests.unit.lab.load.services import Act, Exchange, Service, at, drive, outcomes, reset

HTTP1 = [NEW_CONNECTION, KEEPALIVE_BUSY, KEEPALIVE_THINK]
HALF = "HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\nhalf"


async def reset_at_once(exchange: Exchange) -> None:
    reset(exchange.writer.transport)


async def reset_in_the_answer(exchange: Exchange) -> None:
    exchange.send(HALF)
    await exchange.writer.drain()
    reset(exchange.writer.transport)


async def close_at_once(exchange: Exchange) -> None:
    exchange.writer.close()


async def close_in_the_answer(exchange: Exchange) -> None:
    exchange.send(HALF)
    exchange.writer.close()


async def bad_gateway(exchange: Exchange) -> None:
    exchange.answer(502)


async def too_many(exchange: Exchange) -> None:
    exchange.answer(429)


async def no_answer(_exchange: Exchange) -> None:
    await asyncio.Event().wait()


async def no_http(exchange: Exchange) -> None:
    exchange.send("SSH-2.0-OpenSSH_10.0\r\n\r\n")


async def too_much(exchange: Exchange) -> None:
    exchange.send("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}{}")


async def answer_for_another(exchange: Exchange) -> None:
    exchange.answer(body='{"id":1,"description":"load-other-1"}')


FAULTS: list[tuple[Act, str]] = [
    (reset_at_once, "reset"),
    (reset_in_the_answer, "reset"),
    (close_at_once, "closed_before_answer"),
    (close_in_the_answer, "closed_before_answer"),
    (bad_gateway, "http_502"),
    (too_many, "http_429"),
    (no_answer, "timeout"),
    (no_http, "protocol"),
    (too_much, "protocol"),
    (answer_for_another, "protocol"),
]


@pytest.mark.parametrize("shape", HTTP1)
@pytest.mark.parametrize(("fault", "outcome"), FAULTS, ids=[fault.__name__ for fault, _outcome in FAULTS])
def test_a_failure_is_counted_once_and_not_retried(shape: str, fault: Act, outcome: str) -> None:
    async def test() -> None:
        async with Service(at(fault)) as service:
            records = await drive(shape, 3, service.port, timeout=0.3 if fault is no_answer else 10)
        assert outcomes(records) == [outcome, "ok", "ok"]
        assert service.seen == [record.id for record in records]  # once each: what failed was not sent again
        assert len(set(service.seen)) == 3

    asyncio.run(test())


def test_a_server_that_is_not_there_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert outcomes(asyncio.run(drive(NEW_CONNECTION, 2, port))) == ["connect_refused"] * 2


def test_a_server_whose_backlog_is_full_is_a_timeout_of_the_connection() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _index in range(2):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        records = asyncio.run(drive(NEW_CONNECTION, 1, server.getsockname()[1], timeout=0.3))
    assert outcomes(records) == ["connect_timeout"]


def test_a_certificate_that_is_not_trusted_fails_as_tls(certificate: Certificate, tmp_path: Path) -> None:
    async def test() -> None:
        other = make_certificate(tmp_path)
        async with Service(tls=certificate.server(["http/1.1"])) as service:
            records = await drive(NEW_CONNECTION, 1, service.port, ca=other.file)
        assert outcomes(records) == ["tls"]
        assert service.seen == []

    asyncio.run(test())


@pytest.mark.parametrize("shape", HTTP1)
def test_over_tls_it_works_as_well(shape: str, certificate: Certificate) -> None:
    async def test() -> None:
        async with Service(tls=certificate.server(["http/1.1"])) as service:
            records = await drive(shape, 3, service.port, ca=certificate.file)
        assert outcomes(records) == ["ok"] * 3

    asyncio.run(test())


def test_shapes_differ_in_their_connections() -> None:
    async def connections(shape: str) -> int:
        async with Service() as service:
            await drive(shape, 4, service.port)
        return service.connections

    assert {shape: asyncio.run(connections(shape)) for shape in HTTP1} == {
        NEW_CONNECTION: 4,
        KEEPALIVE_BUSY: 1,
        KEEPALIVE_THINK: 1,
    }


async def close_after_the_answer(exchange: Exchange) -> None:
    exchange.answer()
    exchange.writer.close()


async def announce_the_close(exchange: Exchange) -> None:
    exchange.answer(headers="Connection: close\r\n")  # and then takes its time


@pytest.mark.parametrize("close", [close_after_the_answer, announce_the_close])
def test_an_orderly_close_before_the_next_request_is_no_failure(close: Act) -> None:
    async def test() -> None:
        async with Service(at(close)) as service:
            records = await drive(KEEPALIVE_THINK, 3, service.port)
        assert outcomes(records) == ["ok"] * 3
        assert service.connections == 2

    asyncio.run(test())


async def reset_after_the_answer(exchange: Exchange) -> None:
    exchange.answer()
    await exchange.writer.drain()
    await asyncio.sleep(0.01)  # the answer must have been read, or the RST takes it away
    reset(exchange.writer.transport)


async def speak_unasked(exchange: Exchange) -> None:
    exchange.answer()
    await asyncio.sleep(0.01)
    exchange.send("HTTP/1.1 408 Request Timeout\r\n\r\n")


@pytest.mark.parametrize(("fault", "outcome"), [(reset_after_the_answer, "reset"), (speak_unasked, "protocol")])
def test_a_disorderly_end_of_an_idle_connection_fails_the_next_request(fault: Act, outcome: str) -> None:
    async def test() -> None:
        async with Service(at(fault)) as service:
            records = await drive(KEEPALIVE_THINK, 3, service.port)
        assert outcomes(records) == ["ok", outcome, "ok"]
        assert service.seen == [records[0].id, records[2].id]

    asyncio.run(test())


def test_it_records_which_upstream_answered() -> None:
    async def served(exchange: Exchange) -> None:
        exchange.answer(headers="X-Billing-Upstream: 10.201.0.11:8000\r\n")

    async def test() -> None:
        async with Service(served) as service:
            records = await drive(NEW_CONNECTION, 1, service.port)
        assert (records[0].status, records[0].served_by) == (201, "10.201.0.11:8000")

    asyncio.run(test())
