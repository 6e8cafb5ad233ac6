# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Runs the migrations: one at a time on a database, in one transaction, as whoever DATABASE_URL(_FILE) logs in as."""

from __future__ import annotations

import logging
import os

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, pool, text
from sqlalchemy.exc import OperationalError

from billing_api import logs
from billing_api.database import describe
from billing_api.faults import Faults
from billing_api.settings import ConfigurationError, database_url, number
from billing_api.tables import metadata

_log = logging.getLogger("billing_api.migrations")
_LOCK = 4_268_917_001  # any number, the same in every release


def _lock(connection: Connection, seconds: float) -> None:
    """Wait until no other migration runs. PostgreSQL frees the lock when this session ends, however it ends."""
    connection.execute(text("SELECT set_config('lock_timeout', :wait, false)"), {"wait": f"{int(seconds * 1000)}ms"})
    try:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == "55P03":
            raise CommandError(f"another migration has been running for more than {seconds:g} seconds") from None
        raise
    connection.commit()


def _migrate() -> None:
    try:
        url, faults = database_url(os.environ), Faults.from_env(os.environ)
        wait = number(os.environ, "BILLING_MIGRATION_WAIT_SECONDS", 60.0)
        lock_timeout = number(os.environ, "BILLING_MIGRATION_LOCK_TIMEOUT_SECONDS", 5.0)
    except ConfigurationError as error:
        raise CommandError(str(error)) from None
    logs.configure(secrets=logs.secrets_of(url))
    _log.info("migrating", extra={"data": describe(url)})
    arguments = {"application_name": "billing_api/migration", "connect_timeout": 10}
    engine = create_engine(url, poolclass=pool.NullPool, connect_args=arguments)
    try:
        connection = engine.connect()
    except OperationalError as error:
        raise CommandError(f"the database cannot be reached: {str(error.orig).strip()}") from None
    with connection:
        _lock(connection, wait)
        # A statement that waits for a table makes every request after it wait too: give up early, the release is then
        # rejected and the old one serves on.
        timeout = f"{int(lock_timeout * 1000)}ms"
        connection.execute(text("SELECT set_config('lock_timeout', :wait, false)"), {"wait": timeout})
        connection.commit()
        context.configure(connection=connection, target_metadata=metadata, compare_type=True)
        with context.begin_transaction():
            context.run_migrations()
            faults.before_migration_commit()
    _log.info("migrated")


if context.is_offline_mode():
    raise CommandError("migrations run against a database, not as a script: leave --sql out")
_migrate()
