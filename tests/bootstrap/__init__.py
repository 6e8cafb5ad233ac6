# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Servers that configure themselves: the bundle, the bootstrap program, and cloud-init for real in the lab."""
