# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What each request leaves behind: a request id, metrics, an access log if wanted, and the trace of a defect."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from sqlalchemy import Engine
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import unavailable
from .settings import Settings

_log = logging.getLogger(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The application's metrics, in a registry of its own."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "billing_http_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "billing_http_request_seconds", "Time to answer", ["route"], buckets=_BUCKETS, registry=self.registry
        )
        self.in_flight = Gauge("billing_http_requests_in_flight", "Requests being answered", registry=self.registry)
        self.replays = Counter(
            "billing_idempotent_replays", "POSTs answered from an idempotency key", registry=self.registry
        )
        pool = Gauge("billing_db_connections_in_use", "Connections taken from the pool", registry=self.registry)
        pool.set_function(lambda: float(engine.pool.checkedout()))  # type: ignore[attr-defined]
        Gauge("billing_db_connections_max", "Size of the pool", registry=self.registry).set(settings.pool_size)
        Gauge(
            "billing_build_info", "Always 1", ["release", "version", "revision", "slot"], registry=self.registry
        ).labels(settings.release, settings.version, settings.revision, settings.slot).set(1)


class Observe:
    """ASGI middleware around everything else that is ours."""

    def __init__(self, app: ASGIApp, metrics: Metrics, access_log: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        started = time.perf_counter()
        status, complete = 0, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:  # the grace after SIGTERM is over, see __main__.py
            if status:
                raise
            await unavailable("the server stops before this is done")(scope, receive, send_with_id)
        except Exception:
            _log.exception("unhandled error", extra={"data": self._facts(scope, request_id)})
            if not complete:
                raise
        finally:
            self._metrics.in_flight.dec()
            self._record(scope, request_id, status or 499, time.perf_counter() - started)

    def _record(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")  # the template: /invoices/{id} is one series
        self._metrics.requests.labels(scope["method"], route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if self._access_log:
            data = {**self._facts(scope, request_id), "status": status, "seconds": round(seconds, 4)}
            _log.info("request", extra={"data": data})

    @staticmethod
    def _facts(scope: Scope, request_id: str) -> dict[str, object]:
        client = scope.get("client")
        return {
            "request_id": request_id,
            "method": scope["method"],
            "path": scope["path"],
            "client": client[0] if client else None,
        }
