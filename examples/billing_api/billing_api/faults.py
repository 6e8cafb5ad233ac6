# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Faults for tests of what surrounds the application: a release that misbehaves on demand.

All of it is switched by environment variables and nothing of it runs without them. The rest of the application knows
only the five hooks of `Faults`, each of which does nothing when its switch is not given.

    variable                            what it does
    BILLING_FAULT_NEVER_HEALTHY=1       /health and /health/db always answer 503
    BILLING_FAULT_DIE_AFTER_SECONDS=5   the process ends abruptly with code 70, that long after it began to serve
    BILLING_FAULT_ERROR_RATE=0.05       this share of requests, except /health* and /metrics, is answered 500 unexecuted
    BILLING_FAULT_LATENCY_SECONDS=2     every request except /health* and /metrics waits that long first
    BILLING_FAULT_SLOW_START_SECONDS=30 the process listens only after that long
    BILLING_FAULT_IGNORE_SIGTERM=1      SIGTERM is ignored: only SIGKILL ends the process
    BILLING_FAULT_MIGRATION=fail|hang   `alembic upgrade` fails, or hangs, after its statements and before its commit
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import FrameType

from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import problem
from .settings import ConfigurationError, number, switch

_log = logging.getLogger(__name__)
_DEATH_EXIT_CODE = 70

SignalHandler = Callable[[int, FrameType | None], None]


@dataclass(frozen=True)
class Faults:
    """The switches that are on. Times are in seconds."""

    never_healthy: bool = False
    die_after: float | None = None
    error_rate: float = 0.0
    latency: float = 0.0
    slow_start: float = 0.0
    ignore_sigterm: bool = False
    migration: str = ""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Faults:
        """Read the switches; ConfigurationError when one of them is malformed."""
        migration = env.get("BILLING_FAULT_MIGRATION") or ""
        if migration not in {"", "fail", "hang"}:
            raise ConfigurationError(f"BILLING_FAULT_MIGRATION must be fail or hang, not {migration!r}")
        rate = number(env, "BILLING_FAULT_ERROR_RATE", 0.0)
        if rate > 1:
            raise ConfigurationError(f"BILLING_FAULT_ERROR_RATE must be between 0 and 1, not {rate}")
        death = env.get("BILLING_FAULT_DIE_AFTER_SECONDS")
        return cls(
            never_healthy=switch(env, "BILLING_FAULT_NEVER_HEALTHY"),
            die_after=number(env, "BILLING_FAULT_DIE_AFTER_SECONDS", 0.0) if death else None,
            error_rate=rate,
            latency=number(env, "BILLING_FAULT_LATENCY_SECONDS", 0.0),
            slow_start=number(env, "BILLING_FAULT_SLOW_START_SECONDS", 0.0),
            ignore_sigterm=switch(env, "BILLING_FAULT_IGNORE_SIGTERM"),
            migration=migration,
        )

    def before_start(self) -> None:
        """Warn about the faults that are on, and hold the start back."""
        active = {name: value for name, value in asdict(self).items() if value not in (False, None, 0.0, "")}
        if active:
            _log.warning("faults for tests are switched on: this is no release for production", extra={"data": active})
        time.sleep(self.slow_start)

    def on_start(self) -> None:
        """Start the clock of a process that is to die."""
        if self.die_after is None:
            return

        def die() -> None:
            _log.error("BILLING_FAULT_DIE_AFTER_SECONDS is over")
            os._exit(_DEATH_EXIT_CODE)

        clock = threading.Timer(self.die_after, die)
        clock.daemon = True
        clock.start()

    def signal_handler(self, handler: SignalHandler) -> SignalHandler:
        """Return the handler, deaf to SIGTERM if that is switched on."""
        if not self.ignore_sigterm:
            return handler

        def deaf(number: int, frame: FrameType | None) -> None:
            if number != signal.SIGTERM:
                handler(number, frame)

        return deaf

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Return the application, with faulty answers if they are switched on."""
        if self.never_healthy or self.error_rate or self.latency:
            return FaultyAnswers(app, self)
        return app

    def before_migration_commit(self) -> None:
        """Fail or hang where a migration hurts most: its locks are held, and nothing of it is to remain."""
        if self.migration == "fail":
            raise RuntimeError("BILLING_FAULT_MIGRATION=fail")
        while self.migration == "hang":
            time.sleep(1)


class FaultyAnswers:
    """ASGI application that answers some requests itself. The errors come evenly, not by chance: tests can count."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults
        self._owed = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == "/metrics":
            await self._app(scope, receive, send)
        elif scope["path"] in {"/health", "/health/db"}:
            if self._faults.never_healthy:
                await problem(503, "fault", "BILLING_FAULT_NEVER_HEALTHY is on")(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        else:
            await asyncio.sleep(self._faults.latency)
            self._owed += self._faults.error_rate
            if self._owed >= 1 - 1e-9:
                self._owed -= 1
                await problem(500, "fault", "BILLING_FAULT_ERROR_RATE is on")(scope, receive, send)
            else:
                await self._app(scope, receive, send)
