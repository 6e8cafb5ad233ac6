# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The proxy holds back what it forwards, and forwards everything: bytes, half-closes and resets."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.lab.load.delay import DelayingProxy
from tests.unit.lab.load.services import reset

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Test = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
DELAY_MS = 20


def through_proxy(handler: Handler, test: Test) -> None:
    """Run the test with a connection to the handler, through a proxy."""

    async def run() -> None:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        async with DelayingProxy("127.0.0.1", server.sockets[0].getsockname()[1], DELAY_MS) as address:
            await asyncio.wait_for(test(*await asyncio.open_connection(*address)), 10)
        server.close()

    asyncio.run(run())


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
    writer.close()


def test_an_answer_takes_the_delay_twice() -> None:
    async def test(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began = time.monotonic()
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        assert time.monotonic() - began >= 2 * DELAY_MS / 1000
        writer.close()

    through_proxy(echo, test)


def test_bytes_keep_their_order_and_none_is_missing() -> None:
    sent = b"".join(index.to_bytes(4) for index in range(200_000))

    async def test(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        writer.write_eof()
        assert await reader.read() == sent

    through_proxy(echo, test)


def test_a_half_close_leaves_the_other_direction_open() -> None:
    async def answer_after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read()  # until the FIN
        writer.write(b"you said " + asked)
        writer.close()

    async def test(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"all")
        writer.write_eof()
        assert await reader.read() == b"you said all"

    through_proxy(answer_after_the_end, test)


def test_a_reset_by_the_service_reaches_the_client() -> None:
    async def reset_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        reset(writer.transport)

    async def test(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read()

    through_proxy(reset_it, test)


def test_a_reset_by_the_client_reaches_the_service() -> None:
    ended: asyncio.Queue[type[Exception] | None] = asyncio.Queue()

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"here")
        try:
            await reader.read()
        except ConnectionResetError:
            ended.put_nowait(ConnectionResetError)
        else:
            ended.put_nowait(None)
        writer.close()

    async def test(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4)
        reset(writer.transport)
        assert await ended.get() is ConnectionResetError

    through_proxy(read, test)


def test_who_writes_to_a_closed_service_is_reset() -> None:
    """The race of every keep-alive client: its request crosses the server's FIN, and an RST comes back."""

    async def close_at_once(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def test(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        client = socket.socket()
        client.setblocking(False)
        with client:
            await loop.sock_connect(client, writer.get_extra_info("peername"))
            assert await loop.sock_recv(client, 1) == b""  # the FIN
            await loop.sock_sendall(client, b"too late")
            while not client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                await asyncio.sleep(0.01)

    through_proxy(close_at_once, test)


def test_a_service_that_is_not_there_is_a_reset() -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        async with DelayingProxy("127.0.0.1", port, DELAY_MS) as address:
            reader, _writer = await asyncio.open_connection(*address)
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 10)

    asyncio.run(run())
