# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Every error a client sees: a JSON object after RFC 9457 (problem details) with a stable `code`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy import exc
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

_log = logging.getLogger(__name__)

# What a constraint of tables.py means to the client that ran into it: status, code, detail.
_CONSTRAINTS = {
    "uq_customers_email": (409, "conflict", "a customer with this email exists"),
    "uq_plans_code": (409, "conflict", "a plan with this code exists"),
    "uq_subscriptions_active": (409, "conflict", "this customer has an active subscription to this plan"),
    "uq_invoices_reference": (409, "conflict", "an invoice with this reference exists"),
    "fk_subscriptions_customer": (422, "unknown_reference", "customer_id: there is no such customer"),
    "fk_subscriptions_plan": (422, "unknown_reference", "plan_id: there is no such plan"),
    "fk_invoices_customer": (422, "unknown_reference", "customer_id: there is no such customer"),
    "fk_invoices_subscription": (422, "unknown_reference", "subscription_id: this customer has no such subscription"),
}
_BUSY = {"55P03": "a lock", "57014": "a statement", "40P01": "a deadlock", "40001": "a serialization failure"}


class Problem(Exception):  # noqa: N818 (RFC 9457's word)
    """An answer that is an error and is the client's to handle."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Build the JSON answer of an error."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    if errors:
        body["errors"] = list(errors)
    return JSONResponse(body, status, headers=headers, media_type="application/problem+json")


def unavailable(detail: str) -> JSONResponse:
    """Build the answer for a condition that passes by itself."""
    return problem(503, "unavailable", detail, headers={"Retry-After": "1"})


def database_problem(error: exc.SQLAlchemyError) -> JSONResponse | None:
    """Translate what the database said, or return None if it is a defect of ours."""
    if isinstance(error, exc.TimeoutError):
        return unavailable("all database connections are in use")
    original = getattr(error, "orig", None)
    state = getattr(original, "sqlstate", None)
    if isinstance(error, exc.IntegrityError):
        name = getattr(getattr(original, "diag", None), "constraint_name", None) or ""
        if name in _CONSTRAINTS:
            return problem(*_CONSTRAINTS[name])
    if state in _BUSY:
        return unavailable(f"the database is busy: {_BUSY[state]}")
    if isinstance(error, exc.InterfaceError | exc.OperationalError) or getattr(error, "connection_invalidated", False):
        return unavailable("the database does not answer")
    return None


def _on_problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)  # noqa: S101 (what it was registered for)
    return problem(error.status, error.code, error.detail, headers=error.headers)


def _on_http_exception(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return problem(error.status_code, code, str(error.detail), headers=error.headers)


def _on_invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    # The input is not echoed: it may be anything, and a log or a proxy may keep it.
    errors = [{"field": ".".join(str(part) for part in e["loc"]), "message": e["msg"]} for e in error.errors()]
    return problem(422, "invalid", "the request is not valid", errors=errors)


def _on_database_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, exc.SQLAlchemyError)  # noqa: S101
    answer = database_problem(error)
    if answer is None:
        raise error
    if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("database: %s", str(getattr(error, "orig", None) or error).strip())
    return answer


def _on_defect(_request: Request, _error: Exception) -> JSONResponse:
    return problem(500, "internal_error", "this is our fault: the log knows more")


def register(app: FastAPI) -> None:
    """Let every error of the application leave it as problem details."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(exc.SQLAlchemyError, _on_database_error)
    app.add_exception_handler(Exception, _on_defect)  # Starlette raises it again for observe.py, which logs it
