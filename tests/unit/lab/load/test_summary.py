# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Figures are those of the requests that they claim to be of, and a file without its end is not believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.load.records import HTTP2, KEEPALIVE_BUSY, End, Record, Recorder, Run, read_records
from tests.lab.load.summary import Span, percentile, summarise
from tests.lab.shell import LabError


def record(began: float, latency_ms: float, outcome: str = "ok", shape: str = KEEPALIVE_BUSY) -> Record:
    return Record(f"load-test-{began}", shape, began, 0.0, latency_ms, outcome, served_by="10.201.0.11:8000")


def write(path: Path, *records: Record) -> None:
    with Recorder(path, Run("load-test-", 1, 100.0)) as recorder:
        for each in records:
            recorder.add(each)
        recorder.finish(End(110.0, 2.5))


def test_percentiles_are_values_that_occurred() -> None:
    ordered = [float(value) for value in range(1, 101)]
    assert (percentile(ordered, 50), percentile(ordered, 99), percentile([7.0], 99)) == (50.0, 99.0, 7.0)


def test_a_request_counts_inside_the_operations_that_it_overlaps(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    write(
        path,
        record(100.0, 10.0),  # before
        record(100.9, 200.0),  # into the first rollout
        record(101.5, 20.0),  # in it
        record(102.9, 4000.0, "timeout"),  # over the second one and on
        record(108.0, 30.0),  # after
        record(104.5, 50.0, shape=HTTP2),
    )
    spans = [Span("rollout", 104.0, 105.0), Span("rollout", 101.0, 102.0), Span("reload", 104.4, 104.6)]
    summary = summarise(path, spans)
    busy = summary.shapes[KEEPALIVE_BUSY]
    assert busy.all.requests == 5
    assert (busy.outside.requests, busy.outside.p50_ms, busy.outside.max_ms) == (2, 10.0, 30.0)
    assert (busy.inside["rollout"].requests, busy.inside["rollout"].max_ms) == (3, 200.0)
    assert busy.inside["rollout"].failed == {"timeout": 1}
    http2 = summary.shapes[HTTP2]
    assert {name: figures.requests for name, figures in http2.inside.items()} == {"rollout": 1, "reload": 1}
    assert (http2.outside.requests, http2.outside.p50_ms) == (0, None)
    assert (summary.requests, summary.failed, summary.cpu) == (6, 1, 0.25)
    assert summary.served_by == {"10.201.0.11:8000": 6}
    assert [(failure["began"], failure["during"]) for failure in summary.failures] == [(2.9, ["rollout", "reload"])]


def test_the_file_of_a_client_that_was_killed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    write(path, record(100.0, 10.0))
    assert [each.latency_ms for each in read_records(path)] == [10.0]
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(LabError, match="killed"):
        summarise(path)
