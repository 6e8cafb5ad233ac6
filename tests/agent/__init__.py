# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Tests of the agent on a lab host: pushes, knocks, bad images, crashes, what CI and people see of it."""
