# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""``python3 -m billing_bootstrap``, as its systemd service starts it."""

import signal
import sys

from .host import Paths
from .program import main, stopped

signal.signal(signal.SIGTERM, stopped)
sys.exit(main(Paths()))
