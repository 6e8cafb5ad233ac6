# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Measure what clients notice of our operations, and of what people do today, under the same load."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.operations import Baselines, Step, ours
from tests.bench.server import OUTPUT, OperationFailedError, Server, spread, write
from tests.lab.load import SHAPES, Ledger, Load
from tests.lab.load.ledger import compare, read_rows, remote_command
from tests.lab.load.records import read_records, read_run

WANTED_REQUESTS = 100_000
_GAP = 2.0  # Seconds of load without an operation, before and after each.


@dataclass(frozen=True)
class Size:
    """How much is measured. Users are per shape; the delay is in each direction, milliseconds."""

    counts: Mapping[str, int]
    baselines: int
    users: int
    delay_ms: float


def measure(server: Server, size: Size) -> dict[str, Any]:
    """Measure all of it; the file is written after every kind of operation, so that a long run is never in vain."""
    report: dict[str, Any] = {
        "units": {"latency": "milliseconds", "seconds": "seconds", "cpu": "share of one core, the client's"},
        "machine": server.facts(),
        "load": {"users_per_shape": size.users, "shapes": list(SHAPES), "delay_ms_each_direction": size.delay_ms},
        "requests": 0,
        "operations": {},
        "baselines": {},
    }
    for name, cycle in ours(server).items():
        if size.counts[name]:
            report["operations"][name] = _under_load(server, name, cycle, size.counts[name], size)
            _conclude(report)
    baselines = Baselines(server)
    for name, cycle in baselines.cycles().items():
        if size.baselines:
            report["baselines"][name] = _under_load(server, name, cycle, size.baselines, size)
            baselines.restore()
            _conclude(report)
    return report


def _conclude(report: dict[str, Any]) -> None:
    report["requests"] = sum(one["requests"] for one in report["operations"].values())
    report["problems"] = problems(report)
    write("rollout", report)


def problems(report: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the operations, or with the load that finds nothing wrong with the baselines."""
    found = []
    for name, one in report["operations"].items():
        found += [f"{name}: {error['message']}" for error in one["errors"]]
        found += [f"{name}: {count} requests failed: {kind}" for kind, count in one["classes"].items()]
        found += [f"{name}: {one[what]} requests {what}" for what in ("duplicated", "lost", "unknown") if one[what]]
    for name, one in report["baselines"].items():
        found += [f"{name}: {error['message']}" for error in one["errors"]]
        if not one["failed"]:
            found.append(f"{name} failed no request: the load is too weak to show anything")
    return found


def _under_load(server: Server, name: str, cycle: Sequence[Step], count: int, size: Size) -> dict[str, Any]:
    """Repeat a cycle of operations under load and return what the clients saw."""
    server.demo.say(f"{name}: {count} times under load")
    folder = OUTPUT / "load" / name
    seconds: dict[str, list[float]] = {step.name: [] for step in cycle}
    errors: list[dict[str, Any]] = []
    load = Load(
        server.host.address,
        folder=folder,
        shapes=SHAPES,
        connections=size.users,
        ca=server.authority,
        delay_ms=size.delay_ms,
    )
    with load:
        for number in range(count):
            for step in cycle:
                step.prepare()
                time.sleep(_GAP)
                began = time.monotonic()
                try:
                    with load.operation(step.name):
                        step.perform()
                except OperationFailedError as error:
                    errors.append({"step": step.name, "number": number, "message": str(error), **error.details})
                    server.demo.say(f"    {step.name}: {error}")
                seconds[step.name].append(round(time.monotonic() - began, 3))
        time.sleep(_GAP)
    report = _report(server, load, count, seconds, errors)
    words = ", ".join(f"{report[what]} {what}" for what in ("requests", "failed", "resent", "duplicated", "lost"))
    server.demo.say(f"    {words} {report['classes'] or ''}".rstrip())
    return report


def _report(
    server: Server, load: Load, count: int, seconds: Mapping[str, Sequence[float]], errors: list[dict[str, Any]]
) -> dict[str, Any]:
    result = load.result
    ledgers = {shape: _ledger(server, load, shape) for shape in result.shapes}
    shapes: dict[str, Any] = {}
    classes: Counter[str] = Counter()
    for name, shape in result.shapes.items():
        classes.update(shape.all.failed)
        shapes[name] = {
            **asdict(shape),
            "duplicated": ledgers[name].duplicated.count,
            "lost": ledgers[name].lost.count,
        }
    counts = {
        what: sum(getattr(ledger, what).count for ledger in ledgers.values())
        for what in ("duplicated", "lost", "unknown", "unacknowledged")
    }
    return {
        "count": count,
        "seconds": {step: spread(values) for step, values in seconds.items()},
        "requests": result.requests,
        "failed": result.failed,
        "resent": sum(shape.all.resent for shape in result.shapes.values()),
        "classes": dict(classes),
        **counts,
        "cpu": result.cpu,
        "shapes": shapes,
        "failures": result.failures,
        "errors": errors,
    }


def _ledger(server: Server, load: Load, shape: str) -> Ledger:
    """Compare what the clients of one shape were told with what the database has of them."""
    ids = f"{read_run(load.output).ids}{shape}-"
    command = [*server.host.ssh_command(), remote_command(ids, "billing", "billing")]
    records = (record for record in read_records(load.output) if record.shape == shape)
    return compare(records, read_rows(command))


def summary(report: Mapping[str, Any]) -> str:
    """Return a table: per operation the requests, what went wrong, and the 99th percentile inside and outside."""
    columns = ("count", "requests", "failed", "resent", "duplicated", "lost")
    lines = [f"{'':16}{''.join(f'{name:>11}' for name in columns)}  p99 ms inside/outside, by shape"]
    for name, one in {**report["operations"], **report["baselines"]}.items():
        shapes = (
            f"{shape} {_p99(figures['inside'].get(name))}/{_p99(figures['outside'])}"
            for shape, figures in one["shapes"].items()
        )
        counts = "".join(f"{one[column]:>11}" for column in columns)
        lines.append(f"{name:16}{counts}  {', '.join(shapes)}")
    if report["requests"] < WANTED_REQUESTS:
        lines.append(f"only {report['requests']} requests during our operations, {WANTED_REQUESTS} are wanted")
    return "\n".join(lines)


def _p99(figures: Mapping[str, Any] | None) -> str:
    value = figures and figures["p99_ms"]
    return "-" if value is None else f"{value:.0f}"
