# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A TCP proxy that holds everything back for a while: a network with a real round trip, where the kernel has no netem.

Bytes, half-closes and resets reach the other side in their order, each after the delay. What a proxy cannot hold back
is the connection itself: it is accepted at once, and reset where the service cannot be reached.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections import deque
from collections.abc import Callable
from types import TracebackType

_CLOSE_WITH_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no seconds


class DelayingProxy:
    """Listens on loopback as long as the context lasts, which yields its host and port.

    Args:
        address, port: where to forward to.
        delay_ms: milliseconds that each direction takes; the round trip is twice that.
    """

    def __init__(self, address: str, port: int, delay_ms: float) -> None:
        self._service = address, port
        self.delay_seconds = delay_ms / 1000
        self._sides: set[_Side] = set()
        self._dialling: set[asyncio.Task[None]] = set()
        self._half_closed: dict[int, Callable[[], None]] = {}

    async def __aenter__(self) -> tuple[str, int]:
        self._loop = asyncio.get_running_loop()
        self._errors = select.epoll()
        self._loop.add_reader(self._errors.fileno(), self._on_errors)
        self._server = await self._loop.create_server(lambda: _Side(self), "127.0.0.1", 0)
        return "127.0.0.1", self._server.sockets[0].getsockname()[1]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._dialling:
            task.cancel()
        for side in self._sides:
            side.transport.abort()
        await asyncio.sleep(0)  # the transports close their sockets in the next turn of the loop
        self._loop.remove_reader(self._errors.fileno())
        self._errors.close()

    def opened(self, side: _Side) -> None:
        """Remember a side, and dial the service for one that a client opened."""
        self._sides.add(side)
        if side.other is None:
            task = self._loop.create_task(self._dial(side))
            self._dialling.add(task)
            task.add_done_callback(self._dialling.discard)

    def closed(self, side: _Side) -> None:
        """Forget a side whose socket is about to be closed."""
        self._sides.discard(side)
        if self._half_closed.pop(side.socket.fileno(), None):
            self._errors.unregister(side.socket.fileno())

    def watch(self, side: _Side) -> None:
        """Call the side's ``was_reset`` when an RST follows the FIN: asyncio looks no more at what has sent a FIN."""
        self._half_closed[side.socket.fileno()] = side.was_reset
        self._errors.register(side.socket.fileno(), 0)  # errors are reported unasked

    async def _dial(self, client: _Side) -> None:
        try:
            await self._loop.create_connection(lambda: _Side(self, client), *self._service)
        except OSError:
            client.reset()

    def _on_errors(self) -> None:
        for number, _events in self._errors.poll(0):
            self._errors.unregister(number)
            self._half_closed.pop(number)()


class _Side(asyncio.Protocol):
    """One side of a connection: what it hears is done on the other side, after the delay."""

    def __init__(self, proxy: DelayingProxy, other: _Side | None = None) -> None:
        self._proxy = proxy
        self._due: deque[Callable[[_Side], None]] = deque()
        self._heard_end = False
        self._sent_end = False
        self.other = other

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.socket: socket.socket = transport.get_extra_info("socket")
        if self.other is None:
            transport.pause_reading()  # until the service is there to hear it
        else:
            self.other.other = self
            self.other.transport.resume_reading()
        self._proxy.opened(self)

    def data_received(self, data: bytes) -> None:
        self._later(lambda other: other.transport.write(data))

    def eof_received(self) -> bool:
        self._heard_end = True
        self._later(_Side.finish)
        if not self._sent_end:
            self._proxy.watch(self)
        return not self._sent_end  # true: the other direction stays open

    def connection_lost(self, exc: Exception | None) -> None:
        self._proxy.closed(self)
        if exc is not None:
            self._later(_Side.reset)

    def was_reset(self) -> None:
        """An RST came after the FIN."""
        self.transport.abort()
        self._later(_Side.reset)

    def finish(self) -> None:
        """Close our half, and with it the whole once the peer has closed its own."""
        self._sent_end = True
        if self._heard_end:
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.write_eof()

    def reset(self) -> None:
        """End the connection the hard way."""
        if not self.transport.is_closing():
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_WITH_RESET)
            self.transport.abort()

    def _later(self, action: Callable[[_Side], None]) -> None:
        self._due.append(action)
        # Whichever timer fires takes the oldest action: the order holds even where two are due at the same moment
        asyncio.get_running_loop().call_later(self._proxy.delay_seconds, self._do_next)

    def _do_next(self) -> None:
        action = self._due.popleft()
        if self.other is not None:
            action(self.other)
