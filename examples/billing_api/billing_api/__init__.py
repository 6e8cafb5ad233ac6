# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The sample application of billing.infrastructure: customers, plans, subscriptions and invoices over HTTP."""
