# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A fault under load, and what must hold after every one of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.faults import matrix
from tests.faults.idle import Idle
from tests.faults.site import Site
from tests.lab.load import Load, reconcile

SHAPES = ("keepalive_think", "new_connection")
_CONNECTIONS = 3  # Per shape: the load shall see every gap, not fill the machine.
_REQUEST_SECONDS = 30.0


@dataclass
class Case:
    """A fault that goes on.

    Attributes:
        load: the requests meanwhile.
        before: pinned image that was live when it began.
        wanted: what the next run asks for; by default what was live.
    """

    load: Load
    before: str
    wanted: str


@contextmanager
def fault_under_load(
    site: Site, test: str, fault: str, allowed: tuple[str, ...] = (), anything: bool = False
) -> Iterator[Case]:
    """Inject a fault in the block, then prove the guarantees.

    Args:
        site: where.
        test: id of the test.
        fault: line of the table.
        allowed: outcomes of requests that the fault itself causes.
        anything: the fault kills the API, Nginx or the host, so every outcome is only reported.
    """
    row = matrix.Row(test, fault, excused=anything or bool(allowed))
    site.restore()
    before = site.live_image()
    load = Load(
        site.host.address,
        folder=site.build / "load" / re.sub(r"\W+", "-", test.rpartition("/")[2]),
        shapes=SHAPES,
        connections=_CONNECTIONS,
        timeout=_REQUEST_SECONDS,
    )
    try:
        with load, Idle(site.host.address):
            case = Case(load, before, before)
            yield case
            site.wait_answers(30)
            again = site.apply(case.wanted)
            assert "ok" in again, f"the next run does not converge: {again}"
            site.wait_answers(10)
        site.one_release(site.digest(case.wanted))
        assert site.leftovers() == site.baseline
        row.converged = True
    finally:
        _judge(site, load, row)
        matrix.add(row)
    outcomes = {name: count for shape in load.result.shapes.values() for name, count in shape.all.failed.items()}
    unexpected = {} if anything else {name: count for name, count in outcomes.items() if name not in allowed}
    assert row.requests > 0
    assert (unexpected, row.lost, row.duplicated) == ({}, 0, 0), load.result.failures[:5]


def _judge(site: Site, load: Load, row: matrix.Row) -> None:
    """Compare what the client saw with the database."""
    row.requests, row.failed = load.result.requests, load.result.failed
    ledger = reconcile(site.host, load.output)
    row.lost, row.duplicated = ledger.lost.count, ledger.duplicated.count
    row.converged = row.converged and ledger.unknown.count == 0
