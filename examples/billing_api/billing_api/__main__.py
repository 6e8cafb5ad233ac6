# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Runs the server: `python -m billing_api`.

It ends with 0 after a graceful stop, 1 after one cut short, 2 on bad settings.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import sys
import time
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from . import logs
from .app import create_app
from .database import describe
from .faults import Faults
from .settings import ConfigurationError, Settings

_log = logging.getLogger("billing_api")


class Server(uvicorn.Server):
    """uvicorn, with a stop that is bounded in time even when a request sits in a worker thread."""

    def __init__(self, config: uvicorn.Config, faults: Faults) -> None:
        super().__init__(config)
        self._handle_exit = faults.signal_handler(super().handle_exit)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        started = time.monotonic()
        await super().shutdown(sockets)
        if time.monotonic() - started >= (self.config.timeout_graceful_shutdown or math.inf):
            # A thread cannot be cancelled, and the interpreter would wait for it. Its transaction is not committed.
            _log.error("requests were cut short at the end of the grace")
            sys.stdout.flush()
            os._exit(1)


def _stop(_number: int, _frame: FrameType | None) -> None:
    """End before or after the server runs (it has a handler of its own): PID 1 has no default action for a signal."""
    raise SystemExit(0)


def main() -> int:
    """Read the environment, serve until SIGTERM, and return the exit code."""
    logs.configure()
    try:
        settings, faults = Settings.from_env(os.environ), Faults.from_env(os.environ)
    except ConfigurationError as error:
        _log.error("%s", error)
        return 2
    fields = {"release": settings.release, "slot": settings.slot}
    logs.configure(settings.log_level, fields, logs.secrets_of(settings.database_url))
    signal.signal(signal.SIGTERM, faults.signal_handler(_stop))
    faults.before_start()
    server = Server(server_config(create_app(settings, faults), settings), faults)
    _log.info("starting", extra={"data": describe(settings.database_url)})
    server.run()
    return 0


def server_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """Return how uvicorn is to serve the application."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=math.ceil(settings.keep_alive),
        timeout_graceful_shutdown=math.ceil(settings.shutdown_grace),
        proxy_headers=True,
        forwarded_allow_ips=settings.forwarded_allow_ips,
    )


if __name__ == "__main__":
    sys.exit(main())
