# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What the environment says: read once at start, checked, and passed on as values."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

_POSTGRESQL_NAMES = {"postgres", "postgresql", "postgresql+psycopg"}


class ConfigurationError(Exception):
    """The environment is incomplete or contradicts itself. The message names variables, never a secret."""


@dataclass(frozen=True)
class Settings:
    """Settings of one process. Times are in seconds. `repr` leaves the password out."""

    database_url: URL = field(repr=False)
    host: str = "0.0.0.0"  # noqa: S104 (inside a container, on a network that publishes nothing)
    port: int = 8000
    pool_size: int = 10
    pool_timeout: float = 5.0
    connect_timeout: float = 3.0
    statement_timeout: float = 15.0
    lock_timeout: float = 5.0
    health_timeout: float = 1.5
    shutdown_grace: float = 30.0
    keep_alive: float = 75.0
    idempotency_retention_hours: float = 48.0
    allow_newer_schema: bool = False
    access_log: bool = False
    log_level: str = "INFO"
    forwarded_allow_ips: str = "127.0.0.1"
    release: str = "unknown"
    version: str = "unknown"
    revision: str = "unknown"
    slot: str = "none"
    hostname: str = ""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read the settings.

        Args:
            env: the environment; an empty variable counts as not given.

        Raises:
            ConfigurationError: a variable is missing, malformed, or given twice.
        """
        return cls(
            database_url=database_url(env),
            host=env.get("BILLING_HOST") or cls.host,
            port=int(number(env, "BILLING_PORT", cls.port, smallest=1)),
            pool_size=int(number(env, "BILLING_DB_POOL_SIZE", cls.pool_size, smallest=1)),
            pool_timeout=number(env, "BILLING_DB_POOL_TIMEOUT_SECONDS", cls.pool_timeout),
            connect_timeout=number(env, "BILLING_DB_CONNECT_TIMEOUT_SECONDS", cls.connect_timeout, smallest=2),
            statement_timeout=number(env, "BILLING_DB_STATEMENT_TIMEOUT_SECONDS", cls.statement_timeout),
            lock_timeout=number(env, "BILLING_DB_LOCK_TIMEOUT_SECONDS", cls.lock_timeout),
            health_timeout=number(env, "BILLING_HEALTH_TIMEOUT_SECONDS", cls.health_timeout),
            shutdown_grace=number(env, "BILLING_SHUTDOWN_GRACE_SECONDS", cls.shutdown_grace),
            keep_alive=number(env, "BILLING_KEEP_ALIVE_SECONDS", cls.keep_alive),
            idempotency_retention_hours=number(
                env, "BILLING_IDEMPOTENCY_RETENTION_HOURS", cls.idempotency_retention_hours
            ),
            allow_newer_schema=switch(env, "BILLING_SCHEMA_ALLOW_NEWER"),
            access_log=switch(env, "BILLING_ACCESS_LOG"),
            log_level=log_level(env),
            forwarded_allow_ips=env.get("FORWARDED_ALLOW_IPS") or cls.forwarded_allow_ips,
            release=env.get("BILLING_RELEASE") or env.get("RELEASE") or cls.release,
            version=env.get("BILLING_VERSION") or cls.version,
            revision=env.get("GIT_SHA") or cls.revision,
            slot=env.get("BILLING_SLOT") or cls.slot,
            hostname=socket.gethostname(),
        )


def database_url(env: Mapping[str, str]) -> URL:
    """Find the database's address in DATABASE_URL or in the file that DATABASE_URL_FILE names.

    Returns:
        The address for SQLAlchemy's psycopg driver, whichever way PostgreSQL was spelled.

    Raises:
        ConfigurationError: neither or both are given, the file cannot be read, or it is no PostgreSQL address.
    """
    text, file = env.get("DATABASE_URL"), env.get("DATABASE_URL_FILE")
    if text and file:
        raise ConfigurationError("DATABASE_URL and DATABASE_URL_FILE are both set: set only one of them")
    if not text and not file:
        raise ConfigurationError("neither DATABASE_URL nor DATABASE_URL_FILE is set: set one of them")
    source = "DATABASE_URL"
    if file:
        source = f"DATABASE_URL_FILE ({file})"
        try:
            text = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ConfigurationError(f"{source} cannot be read: {reason}") from None
    try:
        url = make_url(text or "")
    except (ArgumentError, ValueError):  # their messages may quote the address, and with it the password
        raise ConfigurationError(f"{source} is not a database address (postgresql://user:password@host/name)") from None
    if url.drivername not in _POSTGRESQL_NAMES:
        raise ConfigurationError(f"{source} names the database {url.drivername!r}: only postgresql:// is supported")
    if not url.database:
        raise ConfigurationError(f"{source} names no database: postgresql://user:password@host/name")
    return url.set(drivername="postgresql+psycopg")


def number(env: Mapping[str, str], name: str, default: float, smallest: float = 0) -> float:
    """Read a number, or raise ConfigurationError when it is none or is below the smallest."""
    text = env.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise ConfigurationError(f"{name} must be a number, not {text!r}") from None
    if not smallest <= value < float("inf"):
        raise ConfigurationError(f"{name} must be at least {smallest}, not {text!r}")
    return value


def switch(env: Mapping[str, str], name: str) -> bool:
    """Read a switch, or raise ConfigurationError when it is neither on nor off."""
    text = (env.get(name) or "0").lower()
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off"}:
        return False
    raise ConfigurationError(f"{name} must be 1 or 0, not {text!r}")


def log_level(env: Mapping[str, str]) -> str:
    """Read the log level, or raise ConfigurationError when there is no such level."""
    level = (env.get("BILLING_LOG_LEVEL") or "INFO").upper()
    if level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ConfigurationError(f"BILLING_LOG_LEVEL must be debug, info, warning or error, not {level!r}")
    return level
