# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""HTTP/1.1, written and read byte by byte: no library that might retry, pool or hide anything."""

from __future__ import annotations

import asyncio
import re

from tests.lab.load.exchange import CLOSED, PROTOCOL, UPSTREAM_HEADER, Answer, ExchangeError, Request, classify

_STATUS_LINE = re.compile(r"HTTP/1\.[01] (\d{3})( |$)")
_LINGER_SECONDS = 1.0


class Http1(asyncio.Protocol):
    """One connection that carries one request at a time.

    Args:
        host: what the header Host says.
        keep: ask the server to keep the connection; without, the server closes it after its answer. (It, not we: our
            side would keep the port in TIME_WAIT, and a minute of new connections uses all ports up.)
    """

    def __init__(self, host: str, keep: bool) -> None:
        self._head = f"Host: {host}\r\nContent-Type: application/json\r\n" + ("" if keep else "Connection: close\r\n")
        self._keep = keep
        self._received = bytearray()
        self._waiter: asyncio.Future[Answer] | None = None
        self._linger: asyncio.TimerHandle | None = None
        self.usable = True
        self.idle_error: ExchangeError | None = None

    async def post(self, request: Request) -> Answer:
        """Send one request and return its answer.

        Raises:
            ExchangeError: there was none. The connection is then torn down, as it is on a timeout.
        """
        waiter: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        head = f"POST {request.path} HTTP/1.1\r\n{self._head}X-Request-ID: {request.identity}\r\n"
        self._transport.write(f"{head}Content-Length: {len(request.body)}\r\n\r\n".encode() + request.body)
        try:
            return await waiter
        except BaseException:
            self.usable = False
            self._transport.abort()
            raise
        finally:
            self._waiter = None

    def close(self) -> None:
        """End the connection in order."""
        self.usable = False
        self._transport.close()

    # -- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the way out."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Collect the answer, and hand it over once it is whole."""
        self._received += data
        if self._waiter is None or self._waiter.done():
            self.idle_error = ExchangeError(PROTOCOL, f"bytes that nobody asked for: {bytes(self._received[:80])!r}")
            self.close()
            return
        try:
            parsed = parse(self._received)
        except ValueError as error:
            self._waiter.set_exception(ExchangeError(PROTOCOL, str(error)))
            return
        if parsed is None:
            return
        answer, kept = parsed
        self._received.clear()
        if not (kept and self._keep):
            self.usable = False
            self._linger = asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._transport.abort)
        self._waiter.set_result(answer)

    def eof_received(self) -> None:
        """The server's FIN: no next request; the transport closes itself."""
        self.usable = False

    def connection_lost(self, exc: Exception | None) -> None:
        """The end: of a request that is under way, or in between."""
        self.usable = False
        if self._linger is not None:
            self._linger.cancel()
        elif self._waiter is None:
            self.idle_error = self.idle_error or (classify(exc) if exc else None)
        elif not self._waiter.done():
            failed = classify(exc)
            if failed.outcome == CLOSED and self._received:
                failed.detail = f"after {len(self._received)} bytes of the answer"
            self._waiter.set_exception(failed)


def parse(received: bytearray) -> tuple[Answer, bool] | None:
    """Return the answer in these bytes and whether the connection lives on; None as long as the answer is not whole.

    Raises:
        ValueError: this is no answer with a Content-Length, or more than one.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        if len(received) > 65536:
            raise ValueError("no end of the head in 64 KiB")
        return None
    first, *lines = received[:end].decode("latin-1").split("\r\n")
    status = _STATUS_LINE.match(first)
    headers = {name.lower(): value.strip() for name, _colon, value in (line.partition(":") for line in lines)}
    length = headers.get("content-length", "")
    if status is None or not length.isdecimal():
        raise ValueError(f"no answer with a Content-Length: {first!r}")
    missing = end + 4 + int(length) - len(received)
    if missing > 0:
        return None
    if missing < 0:
        raise ValueError(f"{-missing} bytes more than the answer's length")
    answer = Answer(int(status[1]), bytes(received[end + 4 :]), headers.get(UPSTREAM_HEADER, ""))
    return answer, headers.get("connection", "").lower() != "close"
