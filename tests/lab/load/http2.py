# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""HTTP/2: several requests at a time on one connection, and a GOAWAY honoured the way a careful client does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from tests.lab.load.exchange import (
    NOT_PROCESSED,
    PROTOCOL,
    RESET,
    UPSTREAM_HEADER,
    Answer,
    ExchangeError,
    Request,
    classify,
)

_FRAME_HEAD = 9
_GOAWAY = 7  # RFC 9113, section 6.8


@dataclass
class _Stream:
    answer: asyncio.Future[Answer]
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)


class Http2(asyncio.Protocol):
    """One connection that carries many requests.

    GOAWAY frames are kept from h2, which ends the connection on one: the streams that the server still answers could
    not be finished then.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._received = bytearray()
        self._streams: dict[int, _Stream] = {}
        self.usable = True
        self.idle_error: ExchangeError | None = None

    async def post(self, request: Request) -> Answer:
        """Send one request on a stream of its own and return its answer.

        After a timeout the connection gets no more requests: it may be dead without a sign.

        Raises:
            ExchangeError: there was no answer.
        """
        number = self._h2.get_next_available_stream_id()
        stream = self._streams[number] = _Stream(asyncio.get_running_loop().create_future())
        headers = [(":method", "POST"), (":scheme", "https"), (":authority", self._host), (":path", request.path)]
        headers += [("content-type", "application/json"), ("content-length", str(len(request.body)))]
        self._h2.send_headers(number, [*headers, ("x-request-id", request.identity)])
        self._h2.send_data(number, request.body, end_stream=True)
        self._flush()
        try:
            return await stream.answer
        except asyncio.CancelledError:
            self.usable = False
            raise
        finally:
            self._streams.pop(number, None)
            self._end_when_drained()

    def close(self) -> None:
        """End the connection in order."""
        self.usable = False
        self._end_when_drained()

    # -- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._h2.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Feed whole frames to h2, GOAWAY excepted."""
        self._received += data
        try:
            for kind, frame in self._frames():
                if kind == _GOAWAY:
                    self._go_away(int.from_bytes(frame[_FRAME_HEAD : _FRAME_HEAD + 4]) & 0x7FFFFFFF)
                else:
                    for event in self._h2.receive_data(frame):
                        self._on(event)
        except ProtocolError as error:
            self._break(ExchangeError(PROTOCOL, str(error)))
            self._transport.abort()
            return
        self._flush()

    def eof_received(self) -> None:
        """The server's FIN: no next request; the transport closes itself."""
        self.usable = False

    def connection_lost(self, exc: Exception | None) -> None:
        """The end: of the requests that are under way, or in between."""
        if not self._streams and exc is not None:
            self.idle_error = classify(exc)
        self._break(classify(exc))

    # -- inside

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        while len(self._received) >= _FRAME_HEAD:
            end = _FRAME_HEAD + int.from_bytes(self._received[:3])
            if len(self._received) < end:
                return
            frame = bytes(self._received[:end])
            del self._received[:end]
            yield frame[3], frame

    def _on(self, event: Event) -> None:
        stream = self._streams.get(getattr(event, "stream_id", None) or 0)
        if isinstance(event, DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if stream is None or stream.answer.done():
            return
        if isinstance(event, ResponseReceived):
            stream.headers = {str(name): str(value) for name, value in event.headers}
        elif isinstance(event, DataReceived):
            stream.body += event.data
        elif isinstance(event, StreamEnded):
            headers = stream.headers
            answer = Answer(int(headers[":status"]), bytes(stream.body), headers.get(UPSTREAM_HEADER, ""))
            stream.answer.set_result(answer)
        elif isinstance(event, StreamReset):
            refused = event.error_code == ErrorCodes.REFUSED_STREAM
            error = ExchangeError(NOT_PROCESSED if refused else RESET, f"stream reset, code {event.error_code}")
            stream.answer.set_exception(error)

    def _go_away(self, last: int) -> None:
        """No new stream from now on; those that the server did not take will get no answer."""
        self.usable = False
        for number, stream in self._streams.items():
            if number > last and not stream.answer.done():
                stream.answer.set_exception(ExchangeError(NOT_PROCESSED, f"GOAWAY after stream {last}"))
        self._end_when_drained()

    def _break(self, error: ExchangeError) -> None:
        self.usable = False
        for stream in self._streams.values():
            if not stream.answer.done():
                stream.answer.set_exception(error)

    def _end_when_drained(self) -> None:
        if not self.usable and not self._streams:
            self._transport.close()

    def _flush(self) -> None:
        if waiting := self._h2.data_to_send():
            self._transport.write(waiting)
