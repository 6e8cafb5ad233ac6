# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The routes for those who run the application: /health, /health/db, /version, /metrics."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.responses import JSONResponse

from .database import DatabaseCheck
from .errors import unavailable
from .settings import Settings


def make_router(settings: Settings, head: str, check: DatabaseCheck, registry: CollectorRegistry) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=["operations"])
    version = {
        "release": settings.release,
        "version": settings.version,
        "revision": settings.revision,
        "slot": settings.slot,
        "hostname": settings.hostname,
        "schema": head,
    }

    @router.get("/health")
    async def health() -> JSONResponse:
        """The process answers. Nothing else is asked: a database that is away is no reason to replace the process."""
        return JSONResponse({"status": "ok"})

    @router.get("/health/db")
    async def health_db() -> JSONResponse:
        """The database answers and has the schema that this image was made for."""
        reason = await check.reason_against()
        return JSONResponse({"status": "ok", "schema": head}) if reason is None else unavailable(reason)

    @router.get("/version")
    async def version_() -> JSONResponse:
        """Which release answers, and from where."""
        return JSONResponse(version)

    @router.get("/metrics")
    async def metrics() -> Response:
        """Prometheus's text format."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router
