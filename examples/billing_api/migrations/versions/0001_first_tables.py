# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Create the first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False)


def _created_at() -> sa.Column[object]:
    return sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def upgrade() -> None:
    op.create_table(
        "customers",
        _id(),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name="pk_customers"),
        sa.UniqueConstraint("email", name="uq_customers_email"),
    )
    op.create_table(
        "plans",
        _id(),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("interval", sa.Text, nullable=False),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name="pk_plans"),
        sa.UniqueConstraint("code", name="uq_plans_code"),
        sa.CheckConstraint("amount_minor >= 0", name="ck_plans_amount"),
    )
    op.create_table(
        "subscriptions",
        _id(),
        sa.Column("customer_id", sa.BigInteger, nullable=False),
        sa.Column("plan_id", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False, server_default="active"),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name="pk_subscriptions"),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name="fk_subscriptions_customer"),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name="fk_subscriptions_plan"),
        sa.UniqueConstraint("id", "customer_id", name="uq_subscriptions_id_customer"),
    )
    op.create_index(
        "uq_subscriptions_active",
        "subscriptions",
        ["customer_id", "plan_id"],
        unique=True,
        postgresql_where=sa.text("status = 'active'"),
    )
    op.create_table(
        "invoices",
        _id(),
        sa.Column("customer_id", sa.BigInteger, nullable=False),
        sa.Column("subscription_id", sa.BigInteger),
        sa.Column("reference", sa.Text),
        sa.Column("description", sa.Text),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("due_on", sa.Date),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name="pk_invoices"),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name="fk_invoices_customer"),
        sa.ForeignKeyConstraint(
            ["subscription_id", "customer_id"],
            ["subscriptions.id", "subscriptions.customer_id"],
            name="fk_invoices_subscription",
        ),
        sa.UniqueConstraint("reference", name="uq_invoices_reference"),
        sa.CheckConstraint("amount_minor > 0", name="ck_invoices_amount"),
    )
    op.create_index("ix_invoices_customer_id", "invoices", ["customer_id", "id"])


def downgrade() -> None:
    for table in ("invoices", "subscriptions", "plans", "customers"):
        op.drop_table(table)
