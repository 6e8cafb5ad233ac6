# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Figures of a run: failures by class and latencies, per shape, inside and outside of operations."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.lab.load.exchange import OK
from tests.lab.load.records import Record, read_end, read_records, read_run

_FAILURES_SHOWN = 20


@dataclass(frozen=True)
class Span:
    """A named stretch of time, monotonic seconds. Spans of the same name do not overlap."""

    name: str
    began: float
    ended: float


@dataclass(frozen=True)
class Figures:
    """Some requests in numbers. Latencies are those of the answered ones, in milliseconds; None where there is none.

    ``resent`` is how often HTTP/2 clients sent one again that the server had refused unprocessed.
    """

    requests: int
    failed: dict[str, int]
    resent: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None

    @classmethod
    def of(cls, records: Sequence[Record]) -> Figures:
        """Count and rank."""
        failed = Counter(record.outcome for record in records if record.outcome != OK)
        resent = sum(record.resent for record in records)
        times = sorted(record.latency_ms for record in records if record.outcome == OK)
        if not times:
            return cls(len(records), dict(failed), resent, None, None, None)
        return cls(len(records), dict(failed), resent, percentile(times, 50), percentile(times, 99), times[-1])


@dataclass(frozen=True)
class Shape:
    """The requests of one shape: all; by the operation that they overlap; and those that overlap none."""

    all: Figures
    inside: dict[str, Figures]
    outside: Figures


@dataclass(frozen=True)
class Summary:
    """A run in numbers. ``cpu`` is the share of one processor that the client took; ``failures`` are the first ones."""

    ids: str
    seconds: float
    cpu: float
    requests: int
    failed: int
    served_by: dict[str, int]
    shapes: dict[str, Shape]
    failures: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return asdict(self)


def percentile(ordered: Sequence[float], percent: int) -> float:
    """Return the smallest value that is not less than this share of all (nearest rank)."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def summarise(path: Path, spans: Sequence[Span] = ()) -> Summary:
    """Read the file of a run that has ended.

    Raises:
        LabError: the run did not end in order.
    """
    run, end = read_run(path), read_end(path)
    operations = _Operations(spans)
    records = [(record, operations.of(record)) for record in read_records(path)]
    shapes = dict.fromkeys(record.shape for record, _names in records)
    failures = [
        {**record._asdict(), "began": round(record.began - run.began, 3), "during": names}
        for record, names in records
        if record.outcome != OK
    ]
    seconds = end.ended - run.began
    return Summary(
        ids=run.ids,
        seconds=round(seconds, 1),
        cpu=round(end.cpu_seconds / seconds, 3),
        requests=len(records),
        failed=len(failures),
        served_by=dict(Counter(record.served_by for record, _names in records if record.served_by)),
        shapes={shape: _shape([entry for entry in records if entry[0].shape == shape]) for shape in shapes},
        failures=failures[:_FAILURES_SHOWN],
    )


def _shape(records: Sequence[tuple[Record, list[str]]]) -> Shape:
    operations = dict.fromkeys(name for _record, names in records for name in names)
    return Shape(
        all=Figures.of([record for record, _names in records]),
        inside={
            operation: Figures.of([record for record, names in records if operation in names])
            for operation in operations
        },
        outside=Figures.of([record for record, names in records if not names]),
    )


class _Operations:
    """Finds the operations that a request overlaps."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans: dict[str, list[Span]] = {}
        for span in sorted(spans, key=lambda span: span.began):
            self._spans.setdefault(span.name, []).append(span)

    def of(self, record: Record) -> list[str]:
        ended = record.began + record.latency_ms / 1000
        found = []
        for name, spans in self._spans.items():
            before = bisect_right(spans, ended, key=lambda span: span.began)
            if before and spans[before - 1].ended >= record.began:
                found.append(name)
        return found
