# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What goes over a connection, and how an exchange can fail.

Nothing here or above it ever sends a request again, with one exception: a stream of HTTP/2 that the server has refused
as not processed. RFC 9113, section 8.7, lets a client do that, POST or not; ours counts how often it did.
"""

from __future__ import annotations

import errno
import ssl
from dataclasses import dataclass
from typing import Protocol

OK = "ok"
CONNECT_REFUSED = "connect_refused"
CONNECT_TIMEOUT = "connect_timeout"
UNREACHABLE = "unreachable"
RESET = "reset"
CLOSED = "closed_before_answer"
TIMEOUT = "timeout"
TLS = "tls"
PROTOCOL = "protocol"
# HTTP/2: the server said that it did not and will not execute the request
NOT_PROCESSED = "not_processed"

UPSTREAM_HEADER = "x-billing-upstream"


class ExchangeError(Exception):
    """A request without a usable answer. ``outcome`` is its class, ``detail`` is for the reader."""

    def __init__(self, outcome: str, detail: str = "") -> None:
        super().__init__(f"{outcome}: {detail}")
        self.outcome = outcome
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Request:
    """A POST with a JSON body. ``identity`` goes into the header X-Request-ID, which Nginx and the API log."""

    path: str
    identity: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. ``served_by`` is the upstream's address where Nginx sends it (see Load)."""

    status: int
    body: bytes
    served_by: str = ""


class Connection(Protocol):
    """One connection, of either version of HTTP."""

    @property
    def usable(self) -> bool:
        """Whether the next request may be sent here."""

    @property
    def idle_error(self) -> ExchangeError | None:
        """Why the connection ended while no request was under way, unless that was in order."""

    async def post(self, request: Request) -> Answer:
        """Send one request and return its answer; raises ExchangeError."""

    def close(self) -> None:
        """End the connection in order."""


def classify(error: BaseException | None) -> ExchangeError:
    """Tell what the end of a connection means for a request on it; None is an orderly end (FIN)."""
    outcomes: tuple[tuple[type[BaseException], str], ...] = (
        (ConnectionRefusedError, CONNECT_REFUSED),
        (ssl.SSLError, TLS),
        (ConnectionError, RESET),
        (TimeoutError, TIMEOUT),
    )
    if error is None:
        return ExchangeError(CLOSED)
    for kind, outcome in outcomes:
        if isinstance(error, kind):
            return ExchangeError(outcome, str(error))
    if isinstance(error, OSError) and error.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH}:
        return ExchangeError(UNREACHABLE, str(error))
    raise error
