# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Idempotency keys: a POST that is sent twice is executed once, and answered twice with the same bytes.

The key is claimed by the first statement of the transaction that also does the write and keeps the answer: all three
are there, or none. A second request with the same key waits on that row (PostgreSQL's `ON CONFLICT`) until the first
has committed and then gets its answer, or has rolled back and then takes its place. An answer that is an error is not
kept, as nothing was written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import Header, Request
from sqlalchemy import Connection, Engine, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import OperationalError

from .errors import Problem
from .tables import idempotency_keys as keys

_ATTEMPTS = 3
_SWEPT_PER_WRITE = 2  # more than the one that each write adds, so that the table does not grow for ever


@dataclass(frozen=True)
class Call:
    """What makes a request the same request: its key, and a hash of method, path and body."""

    key: str | None
    fingerprint: bytes


@dataclass(frozen=True)
class Answer:
    """What a write answers."""

    status: int
    location: str
    body: bytes
    replayed: bool = False


async def call_of(
    request: Request,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255, pattern=r"^[!-~]+$")] = None,
) -> Call:
    """Identify the request. The hash is over what was sent, not over what this release makes of it: it must be equal
    in the next release, and for a client that orders or spaces its JSON differently the second time."""
    if idempotency_key is None:
        return Call(None, b"")
    try:
        canonical = json.dumps(await request.json(), sort_keys=True, separators=(",", ":")).encode()
    except ValueError:  # no JSON: the validation of the body answers that
        canonical = await request.body()
    prefix = f"{request.method} {request.url.path}\n".encode()
    return Call(idempotency_key, hashlib.sha256(prefix + canonical).digest())


def run_once(engine: Engine, call: Call, write: Callable[[Connection], Answer], retention_hours: float) -> Answer:
    """Do the write in one transaction, or return the answer of the request that did it.

    Args:
        engine: where.
        call: the request's identity; without a key the write is simply done.
        write: does the write and builds the answer; its transaction is committed here.
        retention_hours: how long an answer is kept at least.

    Raises:
        Problem: 422 when the key was used for another request, 409 when that request is still being executed.
    """
    if call.key is None:
        with engine.begin() as connection:
            return write(connection)
    for _attempt in range(_ATTEMPTS):
        with engine.begin() as connection:
            if _claim(connection, call):
                answer = write(connection)
                _keep(connection, call, answer)
                _sweep(connection, retention_hours)
                return answer
            stored = connection.execute(select(keys).where(keys.c.key == call.key)).one_or_none()
        if stored is None:  # swept between the two statements: it is free again
            continue
        if stored.fingerprint != call.fingerprint:
            raise Problem(422, "idempotency_key_reused", "this Idempotency-Key was used for another request")
        return Answer(stored.status, stored.location, stored.body, replayed=True)
    raise _in_progress()


def _claim(connection: Connection, call: Call) -> bool:
    statement = upsert(keys).values(key=call.key, fingerprint=call.fingerprint).on_conflict_do_nothing()
    try:
        return connection.execute(statement.returning(keys.c.key)).one_or_none() is not None
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == "55P03":  # lock_timeout: the first one is still at it
            raise _in_progress() from None
        raise


def _keep(connection: Connection, call: Call, answer: Answer) -> None:
    statement = update(keys).where(keys.c.key == call.key)
    connection.execute(statement.values(status=answer.status, location=answer.location, body=answer.body))


def _sweep(connection: Connection, retention_hours: float) -> None:
    old = (
        select(keys.c.key)
        .where(keys.c.created_at < func.now() - timedelta(hours=retention_hours))
        .order_by(keys.c.created_at)
        .limit(_SWEPT_PER_WRITE)
        .with_for_update(skip_locked=True)
    )
    connection.execute(delete(keys).where(keys.c.key.in_(old)))


def _in_progress() -> Problem:
    detail = "a request with this Idempotency-Key is being executed: ask again"
    return Problem(409, "idempotency_in_progress", detail, headers={"Retry-After": "1"})
