# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Puts the parts together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp

from . import errors, operations, resources
from .database import DatabaseCheck, make_engine, shipped_revisions
from .faults import Faults
from .observe import Metrics, Observe
from .settings import Settings


def create_app(settings: Settings, faults: Faults) -> ASGIApp:
    """Build the application. It opens no connection before the first request."""
    engine = make_engine(settings)
    head, known = shipped_revisions()
    check = DatabaseCheck(settings.database_url, head, known, settings.health_timeout, settings.allow_newer_schema)
    metrics = Metrics(settings, engine)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        faults.on_start()
        yield
        engine.dispose()

    app = FastAPI(title="Billing API", version=settings.version, lifespan=lifespan, docs_url=None, redoc_url=None)
    errors.register(app)
    app.include_router(operations.make_router(settings, head, check, metrics.registry))
    app.include_router(resources.make_router(resources.Store(engine, metrics, settings)))
    return Observe(faults.wrap(app), metrics, settings.access_log)
