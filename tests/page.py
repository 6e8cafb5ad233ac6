# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""docs/benchmarks.md: tables that are written from what was measured, between marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first column is text, the others are numbers."""
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def insert(name: str, text: str, page: Path = PAGE) -> None:
    """Write text between the marks `begin: NAME` and `end: NAME`; ValueError where a mark is missing."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    head, began, rest = page.read_text().partition(begin)
    _old, ended, tail = rest.partition(end)
    if not began or not ended:
        raise ValueError(f"{page} lacks the lines {begin} and {end}")
    page.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}")
