# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""``python3 -m tests.faults.table``: write what the tests found as tables into docs/benchmarks.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from tests import page
from tests.agent.watched import MEASUREMENTS
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


def render_noticed(measured: Mapping[str, float]) -> str:
    """Return how long a pushed image takes until it is noticed, serves, and its rollout has ended."""
    steps = ("noticed", "serving", "released")
    ways = {"poll": "timer, every 5 s", "knock": "knock"}
    rows = [[called, *(f"{measured[f'{how}_{step}_seconds']:.1f}" for step in steps)] for how, called in ways.items()]
    return page.table(("seconds after the push", "noticed", "serving", "drained, soaked, done"), rows)


def main() -> int:
    """Write the tables; 1 where nothing was found yet."""
    rows = read()
    if not rows or not MEASUREMENTS.exists():
        print("build/faults/matrix.json or build/agent/measurements.json is missing: run make faults", file=sys.stderr)
        return 1
    page.insert("fault matrix", render(rows))
    page.insert("noticed", render_noticed(json.loads(MEASUREMENTS.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
