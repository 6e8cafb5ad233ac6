# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Services that misbehave on purpose, and a client to drive against them."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived, StreamEnded
from hyperframe.frame import GoAwayFrame

from tests.lab.load.client import Client, Target
from tests.lab.load.records import Record, Run

RUN = Run("load-test-", 1, 0.0)
_RESET = struct.pack("ii", 1, 0)


def reset(transport: asyncio.BaseTransport) -> None:
    """End a connection with an RST."""
    assert isinstance(transport, asyncio.WriteTransport)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


@dataclass
class Exchange:
    """A request that has arrived; ``number`` counts from 1."""

    identity: str
    number: int
    writer: asyncio.StreamWriter

    def answer(self, status: int = 201, body: str | None = None, headers: str = "") -> None:
        """Send a complete answer."""
        content = json.dumps({"id": 1, "description": self.identity}) if body is None else body
        self.send(f"HTTP/1.1 {status} Status\r\nContent-Length: {len(content)}\r\n{headers}\r\n{content}")

    def send(self, text: str) -> None:
        """Send these bytes."""
        self.writer.write(text.encode())


Act = Callable[[Exchange], Awaitable[None]]


async def well(exchange: Exchange) -> None:
    """Behave."""
    exchange.answer()


def at(first: Act, *more: Act) -> Act:
    """Behave so for the first request, the second, ..., and well after those."""
    acts = [first, *more]

    async def act(exchange: Exchange) -> None:
        await (acts[exchange.number - 1] if exchange.number <= len(acts) else well)(exchange)

    return act


class _Server:
    """What services have in common."""

    def __init__(self) -> None:
        self.connections = 0
        self.seen: list[str] = []
        self.rows: Counter[str] = Counter()

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()

    def _listening(self, server: asyncio.Server) -> None:
        self._server = server
        self.port = int(server.sockets[0].getsockname()[1])


class Service(_Server):
    """HTTP/1.1; every invoice becomes a row before ``act`` decides what the client hears of it."""

    def __init__(self, act: Act = well, tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.act = act
        self._tls = tls

    async def __aenter__(self) -> Self:
        self._listening(await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls))
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"Content-Length: (\d+)", head)
                assert length
                body = json.loads(await reader.readexactly(int(length[1])))
                if head.startswith("POST /customers "):
                    Exchange("customer", 0, writer).answer()
                else:
                    await self._invoice(head, body, writer)
                if "Connection: close" in head:
                    break
        writer.close()

    async def _invoice(self, head: str, body: dict[str, object], writer: asyncio.StreamWriter) -> None:
        identity = str(body["description"])
        assert f"X-Request-ID: {identity}\r\n" in head
        self.seen.append(identity)
        self.rows[identity] += 1
        await self.act(Exchange(identity, len(self.seen), writer))


@dataclass
class Stream:
    """A request that has arrived over HTTP/2; ``number`` counts from 1."""

    identity: str
    number: int
    id: int
    h2: H2Connection
    transport: asyncio.Transport

    def answer(self) -> None:
        """Send a complete answer."""
        self.h2.send_headers(self.id, [(":status", "201"), ("x-billing-upstream", "10.0.0.1:8000")])
        self.h2.send_data(self.id, f'{{"description":"{self.identity}"}}'.encode(), end_stream=True)

    def reset_stream(self, code: ErrorCodes) -> None:
        """Send RST_STREAM."""
        self.h2.reset_stream(self.id, code)

    def go_away(self, last: int) -> None:
        """Send GOAWAY; not by h2, which would close the connection."""
        self.transport.write(GoAwayFrame(0, last_stream_id=last).serialize())


StreamAct = Callable[[Stream], None]


def stream_at(first: StreamAct, *more: StreamAct) -> StreamAct:
    """Behave so for the first request, the second, ..., and well after those."""
    acts = [first, *more]

    def act(stream: Stream) -> None:
        (acts[stream.number - 1] if stream.number <= len(acts) else Stream.answer)(stream)

    return act


class Http2Service(_Server):
    """HTTP/2 over TLS."""

    def __init__(self, tls: ssl.SSLContext, act: StreamAct = Stream.answer) -> None:
        super().__init__()
        self._tls = tls
        self.act = act

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._listening(await loop.create_server(lambda: _Http2(self), "127.0.0.1", 0, ssl=self._tls))
        return self


class _Http2(asyncio.Protocol):
    def __init__(self, service: Http2Service) -> None:
        self._service = service
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._identities: dict[int, str] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._service.connections += 1
        self._h2.initiate_connection()
        self._transport.write(self._h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            if isinstance(event, RequestReceived):
                headers = {str(name): str(value) for name, value in event.headers}
                self._identities[event.stream_id] = headers["x-request-id"]
            elif isinstance(event, StreamEnded):
                identity = self._identities[event.stream_id]
                self._service.seen.append(identity)
                number = len(self._service.seen)
                self._service.act(Stream(identity, number, event.stream_id, self._h2, self._transport))
        self._transport.write(self._h2.data_to_send())


async def drive(
    shape: str, requests: int, port: int, *, connections: int = 1, timeout: float = 10, ca: Path | None = None
) -> list[Record]:
    """Let users of one shape send this many requests (and those under way by then), and return what they recorded."""
    stop = asyncio.Event()
    records: list[Record] = []

    def record(done: Record) -> None:
        records.append(done)
        if len(records) >= requests:
            stop.set()

    client = Client(Target("127.0.0.1", port, ca), "127.0.0.1", port, timeout)
    await asyncio.wait_for(client.run(RUN, [shape], connections, stop, record), 30)
    return records


def outcomes(records: Iterable[Record]) -> list[str]:
    """Their outcomes, in order."""
    return [record.outcome for record in records]
