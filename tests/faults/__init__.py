# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The fault matrix: whatever breaks during a rollout, the service serves, and the next run makes everything good."""
