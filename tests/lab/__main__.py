# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""``python3 -m tests.lab``: see cli.py."""

import sys

from tests.lab.cli import main

sys.exit(main())
