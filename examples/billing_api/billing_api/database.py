# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The way to the database: a bounded pool that mends itself, and the check behind /health/db."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import URL

from .settings import Settings

_MIGRATIONS = Path(__file__).parent.parent / "migrations" / "versions"
_REVISION = re.compile(r"^(revision|down_revision) = (?:None|['\"](\w+)['\"])$", re.MULTILINE)


def connect_args(settings: Settings) -> dict[str, object]:
    """Return libpq's parameters: nothing waits without a bound, whatever becomes of the server or the network."""
    args: dict[str, object] = {
        "application_name": f"billing_api/{settings.slot}",
        "connect_timeout": int(settings.connect_timeout),
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": 5000,  # milliseconds
        # No server-side prepared statements: they outlive a migration, and a pooler in transaction mode.
        "prepare_threshold": None,
    }
    if "options" not in settings.database_url.query:
        args["options"] = (
            f"-c statement_timeout={int(settings.statement_timeout * 1000)}"
            f" -c lock_timeout={int(settings.lock_timeout * 1000)}"
            f" -c idle_in_transaction_session_timeout={int(settings.statement_timeout * 1000)}"
        )
    return {name: value for name, value in args.items() if name not in settings.database_url.query}


def make_engine(settings: Settings) -> Engine:
    """Build the pool. No connection is made yet: the process starts and is healthy without a database."""
    return create_engine(
        settings.database_url,
        connect_args=connect_args(settings),
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.pool_timeout,
        pool_recycle=1800,
        pool_pre_ping=True,
        hide_parameters=True,  # values of a statement are customers' data: they stay out of errors and logs
    )


def shipped_revisions(folder: Path = _MIGRATIONS) -> tuple[str, frozenset[str]]:
    """Return the schema version that this image's migrations lead to, and every version they know.

    It reads the files' own lines: to ask Alembic would cost a fifth of the start. A test holds it to Alembic's answer.

    Raises:
        RuntimeError: the migrations do not lead to one version.
    """
    lines = [match for file in folder.glob("*.py") for match in _REVISION.findall(file.read_text(encoding="utf-8"))]
    known = frozenset(value for name, value in lines if name == "revision")
    heads = known - {value for name, value in lines if name == "down_revision"}
    if len(heads) != 1:
        raise RuntimeError(f"the migrations in {folder} lead to {sorted(heads)}, not to one version")
    return next(iter(heads)), known


class DatabaseCheck:
    """Says whether the database answers and has the schema that this image was made for.

    It uses a connection of its own, opened each time: it must not wait for a pool that is full, and it shall notice a
    password that no longer works. Requests that come while a check runs share its result.
    """

    def __init__(self, url: URL, head: str, known: frozenset[str], timeout: float, allow_newer: bool) -> None:
        self._conninfo = conninfo(url)
        self._head = head
        self._known = known
        self._timeout = timeout
        self._allow_newer = allow_newer
        self._running: asyncio.Task[str | None] | None = None

    async def reason_against(self) -> str | None:
        """Return None when all is well, else what is wrong, in at most the timeout."""
        task = self._running
        if task is None or task.done():
            task = self._running = asyncio.create_task(self._probe())
        done, _pending = await asyncio.wait({task}, timeout=self._timeout)
        if done:
            return task.result()
        # Not awaited: psycopg first asks a silent server to cancel, which takes its own time.
        task.cancel()
        self._running = None
        return f"the database does not answer within {self._timeout:g} seconds"

    async def _probe(self) -> str | None:
        query = b"SELECT version_num FROM alembic_version"
        try:
            async with await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
                rows = await (await connection.execute(query)).fetchall()
        except psycopg.errors.UndefinedTable:
            return f"the database has no schema yet: this image needs {self._head}"
        except psycopg.Error as error:
            return f"the database refuses: {type(error).__name__}"
        return self._judge({str(row[0]) for row in rows})

    def _judge(self, found: set[str]) -> str | None:
        if found == {self._head}:
            return None
        if self._allow_newer and found and not found & self._known:
            return None
        return f"the database has schema {', '.join(sorted(found)) or 'none'}: this image needs {self._head}"


def conninfo(url: URL) -> str:
    """Return the address for libpq. Not as a URL: SQLAlchemy leaves `%` and blanks in passwords as they are there."""
    options = {name: value if isinstance(value, str) else ",".join(value) for name, value in url.query.items()}
    parameters: dict[str, Any] = {**url.translate_connect_args(username="user", database="dbname"), **options}
    return make_conninfo(**parameters)


def describe(url: URL) -> Mapping[str, str]:
    """Return what may be logged of the database's address."""
    return {"database_host": url.host or "", "database_name": url.database or "", "database_user": url.username or ""}
