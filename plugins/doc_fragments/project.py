# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that every module of a project has."""

from __future__ import annotations


class ModuleDocFragment:
    """Shared documentation of the project options."""

    DOCUMENTATION = r"""
options:
  root:
    description: Directory of the Compose project on the server; role P(billing.infrastructure.project#role) creates it.
    type: path
    default: /opt/billing
  project:
    description: Name of the Compose project.
    type: str
    default: billing
requirements:
  - Python 3.9 or newer on the server
  - Docker Engine 25 and Compose 2.24 or newer on the server
"""
