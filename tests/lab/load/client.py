# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The four kinds of clients. Each user of them sends a request, waits for its end, thinks, and sends another one."""

from __future__ import annotations

import asyncio
import json
import resource
import ssl
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.lab.load.delay import DelayingProxy
from tests.lab.load.exchange import (
    CONNECT_TIMEOUT,
    NOT_PROCESSED,
    OK,
    PROTOCOL,
    TIMEOUT,
    Answer,
    Connection,
    ExchangeError,
    Request,
    classify,
)
from tests.lab.load.http1 import Http1
from tests.lab.load.http2 import Http2
from tests.lab.load.records import HTTP2, KEEPALIVE_THINK, NEW_CONNECTION, End, Record, Recorder, Run
from tests.lab.shell import LabError

THINK_SECONDS = 0.05
# No retry: the next request. A user who is refused at once must not take the processor from what is measured
_PAUSE_AFTER_FAILURE = 0.05
# How often a request that the server has refused unprocessed is sent again: Nginx ends a connection at a reload, once
_RESENDS = 3


@dataclass(frozen=True)
class Target:
    """Where the service is. With ``ca`` (a PEM file) all shapes speak TLS. Delay: milliseconds in each direction."""

    address: str
    port: int
    ca: Path | None = None
    delay_ms: float = 0


class Session:
    """The connection that a user holds, or that users share.

    A new one is opened only when none is there, or when the last one ended in order: a FIN, ``Connection: close`` or a
    GOAWAY that was seen before any byte of the next request was written.
    """

    def __init__(self, dial: Callable[[], Awaitable[Connection]]) -> None:
        self._dial = dial
        self._lock = asyncio.Lock()
        self._current: Connection | None = None

    async def connection(self) -> Connection:
        """Return the connection for the next request.

        Raises:
            ExchangeError: the last one was broken while it was idle, or there is no new one.
        """
        async with self._lock:
            last = self._current
            if last is not None and last.usable:
                return last
            self._current = None
            if last is not None and last.idle_error is not None:
                raise last.idle_error
            self._current = await self._dial()
            return self._current

    def close(self) -> None:
        """End the connection in order."""
        if self._current is not None:
            self._current.close()


class Client:
    """All users of one run. ``host`` and ``port`` are what to connect to, the target or a proxy before it."""

    def __init__(self, target: Target, host: str, port: int, timeout: float) -> None:
        self._target = target
        self._host = host
        self._port = port
        self._timeout = timeout
        self._count = 0
        self._tls: dict[str, ssl.SSLContext] = {}
        if target.ca is not None:
            for protocol in ("http/1.1", "h2"):
                self._tls[protocol] = ssl.create_default_context(cafile=target.ca)
                self._tls[protocol].set_alpn_protocols([protocol])

    async def create_customer(self, email: str) -> int:
        """Create the customer that the invoices are for, and return its id.

        Raises:
            LabError: the service did not do it.
        """
        request = Request("/customers", email, json.dumps({"name": "Load", "email": email}).encode())
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._dial_http1(keep=False)
                answer = await connection.post(request)
        except (ExchangeError, TimeoutError) as error:
            raise LabError(f"no customer at {self._target.address}, the load cannot begin: {error}") from error
        if answer.status != 201:
            said = answer.body[:300].decode(errors="replace")
            raise LabError(f"no customer at {self._target.address}: it answered {answer.status} {said}")
        return int(json.loads(answer.body)["id"])

    async def run(
        self, run: Run, shapes: Sequence[str], connections: int, stop: asyncio.Event, record: Callable[[Record], None]
    ) -> None:
        """Keep the users of these shapes at work until ``stop`` is set and the last request has ended."""
        async with asyncio.TaskGroup() as group:
            for shape in shapes:
                shared = Session(self._dial_http2)
                dial = partial(self._dial_http1, keep=shape != NEW_CONNECTION)
                for number in range(connections):
                    session = shared if shape == HTTP2 else Session(dial)
                    start = THINK_SECONDS * number / connections
                    group.create_task(self._user(run, shape, session, start, stop, record))

    async def _user(
        self,
        run: Run,
        shape: str,
        session: Session,
        start: float,
        stop: asyncio.Event,
        record: Callable[[Record], None],
    ) -> None:
        think = THINK_SECONDS if shape in {KEEPALIVE_THINK, HTTP2} else 0.0
        await asyncio.sleep(start)  # not all at the same moment
        while not stop.is_set():
            self._count += 1
            done = await self._one(f"{run.ids}{shape}-{self._count}", shape, run.customer, session)
            record(done)
            await asyncio.sleep(think if done.outcome == OK else max(think, _PAUSE_AFTER_FAILURE))
        session.close()

    async def _one(self, identity: str, shape: str, customer: int, session: Session) -> Record:
        """Send one request until the server takes it, and tell how it ended."""
        invoice = {"customer_id": customer, "description": identity, "amount_minor": 1299, "currency": "EUR"}
        request = Request("/invoices", identity, json.dumps(invoice).encode())
        connection: Connection | None = None
        answer, detail, resent = Answer(0, b""), "", 0
        began, wall = time.monotonic(), time.time()
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    connection = await session.connection()
                    try:
                        answer = await connection.post(request)
                        break
                    except ExchangeError as error:
                        if error.outcome != NOT_PROCESSED or resent == _RESENDS:
                            raise
                        resent += 1
            outcome = judge(answer, identity)
        except ExchangeError as error:
            outcome, detail = error.outcome, error.detail
        except TimeoutError:
            outcome = TIMEOUT if connection else CONNECT_TIMEOUT
        latency = round((time.monotonic() - began) * 1000, 3)
        began, wall = round(began, 6), round(wall, 6)
        return Record(identity, shape, began, wall, latency, outcome, answer.status, answer.served_by, detail, resent)

    async def _dial_http1(self, keep: bool) -> Connection:
        return await self._connect(lambda: Http1(self._target.address, keep), "http/1.1")

    async def _dial_http2(self) -> Connection:
        return await self._connect(lambda: Http2(self._target.address), "h2")

    async def _connect(self, make: Callable[[], Http1 | Http2], protocol: str) -> Http1 | Http2:
        tls = self._tls.get(protocol)
        name = self._target.address if tls else None
        loop = asyncio.get_running_loop()
        try:
            transport, connection = await loop.create_connection(
                make, self._host, self._port, ssl=tls, server_hostname=name
            )
        except OSError as error:
            failed = classify(error)
            if failed.outcome == TIMEOUT:
                failed.outcome = CONNECT_TIMEOUT
            raise failed from error
        if protocol == "h2" and transport.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            connection.close()
            raise ExchangeError(PROTOCOL, "the server does not speak HTTP/2")
        return connection


def judge(answer: Answer, identity: str) -> str:
    """Tell the outcome of a complete answer. A 201 for another request than ours is no success."""
    if answer.status != 201:
        return f"http_{answer.status}"
    return OK if identity.encode() in answer.body else PROTOCOL


async def run_load(
    target: Target,
    shapes: Sequence[str],
    connections: int,
    timeout: float,
    stop: asyncio.Event,
    output: Path,
    begun: Callable[[], None],
) -> None:
    """Put the load on a service until ``stop`` is set.

    Args:
        target: the service.
        shapes: names of ``SHAPES``.
        connections: users per shape, each with a connection of its own (``http2``: with streams on one).
        timeout: seconds in which a request must be answered, connecting included.
        stop: set it to end the load; requests under way are waited for.
        output: file for the records.
        begun: called when the first request is about to be sent.

    Raises:
        LabError: the service is not there to begin with.
    """
    async with AsyncExitStack() as stack:
        host, port = target.address, target.port
        if target.delay_ms:
            host, port = await stack.enter_async_context(DelayingProxy(host, port, target.delay_ms))
        client = Client(target, host, port, timeout)
        ids = f"load-{uuid.uuid4().hex[:8]}-"
        run = Run(ids, await client.create_customer(f"{ids}customer@example.com"), time.monotonic())
        with Recorder(output, run) as recorder:
            begun()
            await client.run(run, shapes, connections, stop, recorder.add)
            used = resource.getrusage(resource.RUSAGE_SELF)
            recorder.finish(End(time.monotonic(), used.ru_utime + used.ru_stime))
