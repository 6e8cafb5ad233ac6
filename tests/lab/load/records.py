# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What the client writes down: one line of JSON per request, between a line about the run and a line about its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.lab.shell import LabError

NEW_CONNECTION = "new_connection"
KEEPALIVE_BUSY = "keepalive_busy"
KEEPALIVE_THINK = "keepalive_think"
HTTP2 = "http2"
SHAPES = (NEW_CONNECTION, KEEPALIVE_BUSY, KEEPALIVE_THINK, HTTP2)


class Record(NamedTuple):
    """One request.

    ``began`` is monotonic and comparable with every process of this machine, ``wall`` is the time of day (seconds since
    1970). ``outcome`` is ``ok`` for 201, ``http_STATUS`` for another answer, or a class of exchange.py. ``resent``
    tells how often HTTP/2 refused it unprocessed before.
    """

    id: str
    shape: str
    began: float
    wall: float
    latency_ms: float
    outcome: str
    status: int = 0
    served_by: str = ""
    detail: str = ""
    resent: int = 0


@dataclass(frozen=True)
class Run:
    """A run of the client. ``ids`` is what the id of every request of it begins with."""

    ids: str
    customer: int
    began: float


@dataclass(frozen=True)
class End:
    """How a run ended: when, and the processor time that the client took (seconds)."""

    ended: float
    cpu_seconds: float


class Recorder:
    """Writes the file of a run. It stays small: about 130 bytes per request."""

    def __init__(self, path: Path, run: Run) -> None:
        self._file = path.open("w", buffering=1 << 18)
        self._line(asdict(run))

    def add(self, record: Record) -> None:
        """Write one request down."""
        self._line(record)

    def finish(self, end: End) -> None:
        """Write the last line: without it the file is not believed."""
        self._line(asdict(end))

    def _line(self, value: object) -> None:
        self._file.write(json.dumps(value, separators=(",", ":")) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_run(path: Path) -> Run:
    """Read the first line of a run's file."""
    with path.open() as file:
        return Run(**json.loads(file.readline()))


def read_end(path: Path) -> End:
    """Read the last line of a run's file.

    Raises:
        LabError: the run has no end: requests may be missing from the file.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        last = file.read().splitlines()[-1]
    if not last.startswith(b'{"ended"'):
        raise LabError(f"{path} has no end: the client was killed, what it saw is not complete")
    return End(**json.loads(last))


def read_records(path: Path) -> Iterator[Record]:
    """Read the requests of a run that has ended."""
    read_end(path)
    with path.open() as file:
        for line in file:
            if line.startswith("["):
                yield Record(*json.loads(line))
