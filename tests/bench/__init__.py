# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What the collection promises, measured on the demo's server; results are in build/bench, one file per module."""
