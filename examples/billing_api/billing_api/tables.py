# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The tables, as the newest migration leaves them (`alembic check` compares). Money is minor units and a currency."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)

metadata = MetaData()


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), nullable=False)


def _created_at() -> Column[object]:
    return Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now())


customers = Table(
    "customers",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    _created_at(),
    PrimaryKeyConstraint("id", name="pk_customers"),
    UniqueConstraint("email", name="uq_customers_email"),
)

plans = Table(
    "plans",
    metadata,
    _id(),
    Column("code", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("interval", Text, nullable=False),
    _created_at(),
    PrimaryKeyConstraint("id", name="pk_plans"),
    UniqueConstraint("code", name="uq_plans_code"),
    CheckConstraint("amount_minor >= 0", name="ck_plans_amount"),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    _id(),
    Column("customer_id", BigInteger, nullable=False),
    Column("plan_id", BigInteger, nullable=False),
    Column("status", Text, nullable=False, server_default="active"),
    _created_at(),
    PrimaryKeyConstraint("id", name="pk_subscriptions"),
    ForeignKeyConstraint(["customer_id"], ["customers.id"], name="fk_subscriptions_customer"),
    ForeignKeyConstraint(["plan_id"], ["plans.id"], name="fk_subscriptions_plan"),
    UniqueConstraint("id", "customer_id", name="uq_subscriptions_id_customer"),
    Index("uq_subscriptions_active", "customer_id", "plan_id", unique=True, postgresql_where=text("status = 'active'")),
)

invoices = Table(
    "invoices",
    metadata,
    _id(),
    Column("customer_id", BigInteger, nullable=False),
    Column("subscription_id", BigInteger),
    Column("reference", Text),
    Column("description", Text),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("due_on", Date),
    _created_at(),
    PrimaryKeyConstraint("id", name="pk_invoices"),
    ForeignKeyConstraint(["customer_id"], ["customers.id"], name="fk_invoices_customer"),
    # Two columns, so that an invoice cannot name the subscription of another customer.
    ForeignKeyConstraint(
        ["subscription_id", "customer_id"],
        ["subscriptions.id", "subscriptions.customer_id"],
        name="fk_invoices_subscription",
    ),
    UniqueConstraint("reference", name="uq_invoices_reference"),
    CheckConstraint("amount_minor > 0", name="ck_invoices_amount"),
    Index("ix_invoices_customer_id", "customer_id", "id"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    # Null only inside the transaction that claims the key: nobody else ever sees it so.
    Column("status", SmallInteger),
    Column("location", Text),
    Column("body", LargeBinary),
    _created_at(),
    PrimaryKeyConstraint("key", name="pk_idempotency_keys"),
    Index("ix_idempotency_keys_created_at", "created_at"),
)
