# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The routes for clients: create, list and read customers, plans, subscriptions and invoices."""

from __future__ import annotations

from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel
from sqlalchemy import ColumnElement, Connection, Engine, Table, insert, select

from . import schemas, tables
from .errors import Problem
from .idempotency import Answer, Call, call_of, run_once
from .observe import Metrics
from .settings import Settings

Out = TypeVar("Out", bound=BaseModel)
Identity = Annotated[Call, Depends(call_of)]
RowId = Annotated[int, Path(ge=1, le=schemas.BIGINT_MAX)]
CustomerId = Annotated[int | None, Query(ge=1, le=schemas.BIGINT_MAX)]
After = Annotated[int, Query(ge=0, le=schemas.BIGINT_MAX, description="Only ids greater than this")]
Limit = Annotated[int, Query(ge=1, le=1000)]


class Store:
    """What the four resources have in common: insert one, read one, read a page."""

    def __init__(self, engine: Engine, metrics: Metrics, settings: Settings) -> None:
        self._engine = engine
        self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")  # one statement needs no transaction
        self._metrics = metrics
        self._retention = settings.idempotency_retention_hours

    def create(self, call: Call, table: Table, new: BaseModel, out: type[BaseModel]) -> Response:
        """Insert a row once per idempotency key, and answer 201 with what it became."""

        def write(connection: Connection) -> Answer:
            row = connection.execute(insert(table).values(**new.model_dump()).returning(*table.c)).one()
            body = out.model_validate(row._mapping).model_dump_json().encode()
            return Answer(201, f"/{table.name}/{row.id}", body)

        answer = run_once(self._engine, call, write, self._retention)
        headers = {"Location": answer.location}
        if call.key is not None:
            headers["Idempotency-Replayed"] = str(answer.replayed).lower()
        if answer.replayed:
            self._metrics.replays.inc()
        return Response(answer.body, answer.status, headers, "application/json")

    def one(self, table: Table, row_id: int, out: type[Out]) -> Out:
        """Read one row, or answer 404."""
        with self._reader.connect() as connection:
            row = connection.execute(select(table).where(table.c.id == row_id)).one_or_none()
        if row is None:
            raise Problem(404, "not_found", f"/{table.name}/{row_id} does not exist")
        return out.model_validate(row._mapping)

    def page(
        self, table: Table, out: type[Out], after: int, limit: int, *only: ColumnElement[bool]
    ) -> schemas.Page[Out]:
        """Read rows by rising id."""
        query = select(table).where(table.c.id > after, *only).order_by(table.c.id).limit(limit + 1)
        with self._reader.connect() as connection:
            rows = connection.execute(query).all()
        items = [out.model_validate(row._mapping) for row in rows[:limit]]
        return schemas.Page(items=items, next_after=rows[limit - 1].id if len(rows) > limit else None)


def make_router(store: Store) -> APIRouter:
    """Build the routes."""
    router = APIRouter()

    @router.post("/customers", status_code=201, response_model=schemas.Customer, tags=["customers"])
    def create_customer(new: schemas.NewCustomer, call: Identity) -> Response:
        return store.create(call, tables.customers, new, schemas.Customer)

    @router.get("/customers", tags=["customers"])
    def list_customers(after: After = 0, limit: Limit = 50) -> schemas.Page[schemas.Customer]:
        return store.page(tables.customers, schemas.Customer, after, limit)

    @router.get("/customers/{row_id}", tags=["customers"])
    def read_customer(row_id: RowId) -> schemas.Customer:
        return store.one(tables.customers, row_id, schemas.Customer)

    @router.post("/plans", status_code=201, response_model=schemas.Plan, tags=["plans"])
    def create_plan(new: schemas.NewPlan, call: Identity) -> Response:
        return store.create(call, tables.plans, new, schemas.Plan)

    @router.get("/plans", tags=["plans"])
    def list_plans(after: After = 0, limit: Limit = 50) -> schemas.Page[schemas.Plan]:
        return store.page(tables.plans, schemas.Plan, after, limit)

    @router.get("/plans/{row_id}", tags=["plans"])
    def read_plan(row_id: RowId) -> schemas.Plan:
        return store.one(tables.plans, row_id, schemas.Plan)

    @router.post("/subscriptions", status_code=201, response_model=schemas.Subscription, tags=["subscriptions"])
    def create_subscription(new: schemas.NewSubscription, call: Identity) -> Response:
        return store.create(call, tables.subscriptions, new, schemas.Subscription)

    @router.get("/subscriptions", tags=["subscriptions"])
    def list_subscriptions(
        after: After = 0, limit: Limit = 50, customer_id: CustomerId = None
    ) -> schemas.Page[schemas.Subscription]:
        only = [] if customer_id is None else [tables.subscriptions.c.customer_id == customer_id]
        return store.page(tables.subscriptions, schemas.Subscription, after, limit, *only)

    @router.get("/subscriptions/{row_id}", tags=["subscriptions"])
    def read_subscription(row_id: RowId) -> schemas.Subscription:
        return store.one(tables.subscriptions, row_id, schemas.Subscription)

    @router.post("/invoices", status_code=201, response_model=schemas.Invoice, tags=["invoices"])
    def create_invoice(new: schemas.NewInvoice, call: Identity) -> Response:
        return store.create(call, tables.invoices, new, schemas.Invoice)

    @router.get("/invoices", tags=["invoices"])
    def list_invoices(
        after: After = 0, limit: Limit = 50, customer_id: CustomerId = None, reference: schemas.Code | None = None
    ) -> schemas.Page[schemas.Invoice]:
        only = [] if customer_id is None else [tables.invoices.c.customer_id == customer_id]
        if reference is not None:
            only.append(tables.invoices.c.reference == reference)
        return store.page(tables.invoices, schemas.Invoice, after, limit, *only)

    @router.get("/invoices/{row_id}", tags=["invoices"])
    def read_invoice(row_id: RowId) -> schemas.Invoice:
        return store.one(tables.invoices, row_id, schemas.Invoice)

    return router
