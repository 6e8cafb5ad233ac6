# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What the tests found, kept in a file: one row per case, the newest result of each."""

from __future__ import annotations

import fcntl
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.integration.runs import ROOT

PATH = ROOT / "build" / "faults" / "matrix.json"


@dataclass
class Row:
    """One case.

    Attributes:
        test: its id.
        fault: the line of the table that it belongs to.
        converged: the service answered, and the next run led to one live release with nothing left over.
        requests: that were sent meanwhile.
        failed: of these, without an answer or with a bad one.
        lost: acknowledged, but not in the database.
        duplicated: in the database more than once.
        excused: the fault itself breaks requests, because it kills the API or Nginx.
    """

    test: str
    fault: str
    converged: bool = False
    requests: int = 0
    failed: int = 0
    lost: int = 0
    duplicated: int = 0
    excused: bool = False


def read(path: Path = PATH) -> list[Row]:
    """Return what was found until now."""
    return [Row(**row) for row in json.loads(path.read_text())] if path.exists() else []


def add(row: Row, path: Path = PATH) -> None:
    """Keep a row in place of an older one of the same test. Two runs, with labs of their own, may share the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = [*(one for one in read(path) if one.test != row.test), row]
        path.write_text(json.dumps([asdict(one) for one in rows], indent=1) + "\n")
