# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Over HTTP/2 a refused stream is sent again and counted; every loss is counted as what it is, without a retry."""

from __future__ import annotations

import asyncio

import pytest
from h2.errors import ErrorCodes

from tests.lab.load.records import HTTP2
from tests.unit.lab.load.conftest import Certificate
from tests.unit.lab.load.services import Http2Service, Service, Stream, StreamAct, drive, outcomes, reset, stream_at


def refuse(stream: Stream) -> None:
    stream.reset_stream(ErrorCodes.REFUSED_STREAM)


def give_up(stream: Stream) -> None:
    stream.reset_stream(ErrorCodes.INTERNAL_ERROR)


def go_away_before_it(stream: Stream) -> None:
    stream.go_away(0)


def close(stream: Stream) -> None:
    stream.transport.close()


def cut(stream: Stream) -> None:
    reset(stream.transport)


def no_answer(_stream: Stream) -> None:
    pass


def no_http2(stream: Stream) -> None:
    stream.transport.write(b"\0\0\1\0\0\0\0\0\0x")  # DATA on stream 0


@pytest.mark.parametrize(
    ("fault", "outcome", "connections"),
    [
        (give_up, "reset", 1),
        (close, "closed_before_answer", 2),
        (cut, "reset", 2),
        (no_answer, "timeout", 2),
        (no_http2, "protocol", 2),
    ],
)
def test_a_failure_is_counted_once_and_not_retried(
    fault: StreamAct, outcome: str, connections: int, certificate: Certificate
) -> None:
    async def test() -> None:
        async with Http2Service(certificate.server(["h2"]), stream_at(fault)) as service:
            timeout = 0.3 if fault is no_answer else 10
            records = await drive(HTTP2, 3, service.port, ca=certificate.file, timeout=timeout)
        assert outcomes(records) == [outcome, "ok", "ok"]
        assert service.seen == [record.id for record in records]
        assert service.connections == connections

    asyncio.run(test())


@pytest.mark.parametrize(("refusal", "connections"), [(refuse, 1), (go_away_before_it, 2)])
def test_what_the_server_refused_is_sent_again(refusal: StreamAct, connections: int, certificate: Certificate) -> None:
    async def test() -> None:
        async with Http2Service(certificate.server(["h2"]), stream_at(refusal)) as service:
            first, second = await drive(HTTP2, 2, service.port, ca=certificate.file)
        assert outcomes([first, second]) == ["ok", "ok"]
        assert (first.resent, second.resent) == (1, 0)
        assert service.seen == [first.id, first.id, second.id]
        assert service.connections == connections

    asyncio.run(test())


def test_a_server_that_refuses_for_ever_is_a_failure(certificate: Certificate) -> None:
    async def test() -> None:
        async with Http2Service(certificate.server(["h2"]), stream_at(*[refuse] * 4)) as service:
            records = await drive(HTTP2, 2, service.port, ca=certificate.file)
        assert outcomes(records) == ["not_processed", "ok"]
        assert [record.resent for record in records] == [3, 0]

    asyncio.run(test())


def test_users_share_a_connection(certificate: Certificate) -> None:
    async def test() -> None:
        async with Http2Service(certificate.server(["h2"])) as service:
            records = await drive(HTTP2, 6, service.port, ca=certificate.file, connections=3)
        assert set(outcomes(records)) == {"ok"}
        assert {record.served_by for record in records} == {"10.0.0.1:8000"}
        assert service.connections == 1

    asyncio.run(test())


def test_after_a_goaway_open_streams_finish_and_new_ones_go_elsewhere(certificate: Certificate) -> None:
    """Two streams are open when GOAWAY comes, before their answers; the next requests take a new connection."""
    held: list[Stream] = []

    def act(stream: Stream) -> None:
        held.append(stream)
        if stream.number == 2:
            stream.go_away(stream.id)
            for late in held:
                late.answer()
                late.transport.write(late.h2.data_to_send())
        elif stream.number > 2:
            stream.answer()

    async def test() -> None:
        async with Http2Service(certificate.server(["h2"]), act) as service:
            records = await drive(HTTP2, 6, service.port, ca=certificate.file, connections=2)
        assert set(outcomes(records)) == {"ok"}
        assert sorted(service.seen) == sorted(record.id for record in records)
        assert [stream.h2 is held[0].h2 for stream in held[:3]] == [True, True, False]
        assert service.connections == 2

    asyncio.run(test())


def test_a_server_without_http2_is_a_failure(certificate: Certificate) -> None:
    async def test() -> None:
        async with Service(tls=certificate.server(["http/1.1"])) as service:
            records = await drive(HTTP2, 1, service.port, ca=certificate.file)
        assert outcomes(records) == ["protocol"]
        assert service.seen == []

    asyncio.run(test())
