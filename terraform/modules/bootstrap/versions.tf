# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

terraform {
  required_version = ">= 1.6.0"
}
