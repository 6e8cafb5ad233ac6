# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What clients send and get. Unknown fields are refused: a misspelled one must not be dropped in silence."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

BIGINT_MAX = 2**63 - 1

Item = TypeVar("Item")


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must not contain control characters")
    return value


Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_printable)
]
Email = Annotated[str, StringConstraints(pattern=r"^[^\s@]+@[^\s@]+\.[^\s@]+$", max_length=254, to_lower=True)]
Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$", max_length=100)]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$"), Field(examples=["EUR"])]
Id = Annotated[int, Field(strict=True, ge=1, le=BIGINT_MAX)]
MinorUnits = Annotated[int, Field(strict=True, ge=0, le=10**15, description="In minor units: 1299 is 12.99 EUR")]


class _New(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewCustomer(_New):
    """A customer to create."""

    name: Line
    email: Annotated[Email, AfterValidator(_printable)]


class Customer(BaseModel):
    """A customer."""

    id: int
    name: str
    email: str
    created_at: datetime


class NewPlan(_New):
    """A plan to create."""

    code: Code
    name: Line
    amount_minor: MinorUnits
    currency: Currency
    interval: Literal["month", "year"]


class Plan(BaseModel):
    """A plan that customers can subscribe to."""

    id: int
    code: str
    name: str
    amount_minor: int
    currency: str
    interval: str
    created_at: datetime


class NewSubscription(_New):
    """A subscription to create."""

    customer_id: Id
    plan_id: Id


class Subscription(BaseModel):
    """A customer's subscription to a plan."""

    id: int
    customer_id: int
    plan_id: int
    status: str
    created_at: datetime


class NewInvoice(_New):
    """An invoice to create. `reference` is the client's own id of it, unique if given."""

    customer_id: Id
    subscription_id: Id | None = None
    reference: Code | None = None
    description: Line | None = None
    amount_minor: Annotated[MinorUnits, Field(gt=0)]
    currency: Currency
    due_on: date | None = None


class Invoice(BaseModel):
    """An invoice."""

    id: int
    customer_id: int
    subscription_id: int | None
    reference: str | None
    description: str | None
    amount_minor: int
    currency: str
    due_on: date | None
    created_at: datetime


class Page(BaseModel, Generic[Item]):
    """Some of a collection, by rising id. `next_after` is what `after` must be for the next page, null at the end."""

    items: list[Item]
    next_after: int | None
