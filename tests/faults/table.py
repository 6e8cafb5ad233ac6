# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""``python3 -m tests.faults.table``: write what the tests found as a table into docs/benchmarks.md."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.faults.matrix import Row, read
from tests.integration.runs import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- begin: fault matrix -->", "<!-- end: fault matrix -->"
_COLUMNS = ("fault", "injected", "converged", "requests", "failed", "lost", "duplicated")
_HEADER = f"| {' | '.join(_COLUMNS)} |\n| --- |{' --: |' * (len(_COLUMNS) - 1)}"
_EXCUSED = "the fault itself cuts requests off: it kills the API, Nginx or the host, or makes the API answer 5xx"


def render(rows: Sequence[Row]) -> str:
    """Return the table: a line per fault, in the order in which they were first seen."""
    lines = [_HEADER]
    for fault in dict.fromkeys(row.fault for row in rows):
        mine = [row for row in rows if row.fault == fault]
        mark = " [1]" if any(row.excused for row in mine) else ""
        counts = [len(mine), *(sum(getattr(row, name) for row in mine) for name in ("converged", "requests", "failed"))]
        counts += [sum(getattr(row, name) for row in mine) for name in ("lost", "duplicated")]
        lines.append(f"| {fault}{mark} | {' | '.join(f'{count:,}' for count in counts)} |")
    return "\n".join([*lines, "", f"[1]: {_EXCUSED}."])


def insert(page: str, table: str) -> str:
    """Return the page with the table between its marks; ValueError where a mark is missing."""
    head, begin, rest = page.partition(BEGIN)
    _old, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} lacks the lines {BEGIN} and {END}")
    return f"{head}{BEGIN}\n\n{table}\n\n{END}{tail}"


def main(page: Path = PAGE) -> int:
    """Write the table; 1 where nothing was found yet."""
    rows = read()
    if not rows:
        print("there is no build/faults/matrix.json yet: run make faults first", file=sys.stderr)
        return 1
    page.write_text(insert(page.read_text(), render(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
