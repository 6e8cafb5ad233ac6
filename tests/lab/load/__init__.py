# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Load that sees every failure: clients that repeat nothing that may have been taken, the database's ledger, delay.

with Load(address, folder=folder, delay_ms=5) as load:
    with load.operation("rollout"):
        ...
load.result.failed, load.result.shapes["http2"].inside["rollout"].p99_ms
reconcile(host, load.output).lost
"""

from tests.lab.load.ledger import Ledger, reconcile
from tests.lab.load.load import Load
from tests.lab.load.records import SHAPES
from tests.lab.load.summary import Figures, Summary

__all__ = ["SHAPES", "Figures", "Ledger", "Load", "Summary", "reconcile"]
