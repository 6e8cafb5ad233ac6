# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""``python3 -m tests.faults.table``: write what the tests found as a table into docs/benchmarks.md."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests import page
from tests.faults.matrix import Row, read

_COUNTED = ("converged", "requests", "failed", "lost", "duplicated")
_EXCUSED = "the fault itself cuts requests off: it kills the API, Nginx or the host, or makes the API answer 5xx"


def render(rows: Sequence[Row]) -> str:
    """Return the table: a line per fault, in the order in which they were first seen."""
    lines = []
    for fault in dict.fromkeys(row.fault for row in rows):
        mine = [row for row in rows if row.fault == fault]
        mark = " [1]" if any(row.excused for row in mine) else ""
        counts = [len(mine), *(sum(getattr(row, name) for row in mine) for name in _COUNTED)]
        lines.append([f"{fault}{mark}", *(f"{count:,}" for count in counts)])
    return f"{page.table(('fault', 'injected', *_COUNTED), lines)}\n\n[1]: {_EXCUSED}."


def main() -> int:
    """Write the table; 1 where nothing was found yet."""
    rows = read()
    if not rows:
        print("there is no build/faults/matrix.json yet: run make faults first", file=sys.stderr)
        return 1
    page.insert("fault matrix", render(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
