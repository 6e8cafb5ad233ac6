# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A load runs in a process of its own, ends with its last answer, and does not hide that it could not begin."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.lab.load import Load
from tests.lab.load.__main__ import main
from tests.lab.load.ledger import compare
from tests.lab.load.records import KEEPALIVE_THINK, NEW_CONNECTION, read_records
from tests.lab.shell import LabError
from tests.unit.lab.load.services import Exchange, Service, at, well


async def bad_gateway(exchange: Exchange) -> None:
    exchange.answer(502)


def test_it_reports_requests_failures_and_operations(tmp_path: Path) -> None:
    async def test() -> None:
        rollout, enough = asyncio.Event(), asyncio.Event()

        async def act(exchange: Exchange) -> None:
            await rollout.wait()
            if exchange.number >= 30 and any(KEEPALIVE_THINK in identity for identity in service.seen):
                enough.set()
            await at(bad_gateway)(exchange)

        async with Service(act) as service:
            shapes = [NEW_CONNECTION, KEEPALIVE_THINK]
            load = Load("127.0.0.1", folder=tmp_path, shapes=shapes, connections=2, port=service.port, delay_ms=1)
            await asyncio.to_thread(load.__enter__)
            with load.operation("rollout"):
                rollout.set()
                await asyncio.wait_for(enough.wait(), 30)
            await asyncio.to_thread(load.__exit__, None, None, None)
        records = list(read_records(load.output))
        assert sorted(record.id for record in records) == sorted(service.seen)
        assert compare(records, service.rows.items()).balanced
        assert load.result.requests == len(records)
        assert [(failure["outcome"], failure["during"]) for failure in load.result.failures] == [
            ("http_502", ["rollout"])
        ]
        assert all(load.result.shapes[shape].inside["rollout"].requests for shape in shapes)

    asyncio.run(test())


def test_a_request_under_way_at_the_end_is_waited_for(tmp_path: Path) -> None:
    async def test() -> None:
        arrived, stopping = asyncio.Event(), asyncio.Event()

        async def slow(exchange: Exchange) -> None:
            arrived.set()
            await stopping.wait()
            await asyncio.sleep(0.2)
            exchange.answer()

        async with Service(slow) as service:
            shapes = [KEEPALIVE_THINK]
            load = Load("127.0.0.1", folder=tmp_path, shapes=shapes, connections=1, port=service.port)
            await asyncio.to_thread(load.__enter__)
            await asyncio.wait_for(arrived.wait(), 30)
            stopping.set()
            await asyncio.to_thread(load.__exit__, None, None, None)
        assert (load.result.requests, load.result.failed) == (1, 0)

    asyncio.run(test())


def test_a_service_that_is_not_there_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="the load cannot begin"), Load("127.0.0.1", folder=tmp_path, port=1):
        raise AssertionError("the load has begun")


def test_a_client_that_dies_is_an_error(tmp_path: Path) -> None:
    async def test() -> None:
        async with Service(well) as service:
            load = Load("127.0.0.1", folder=tmp_path, shapes=[KEEPALIVE_THINK], port=service.port)
            await asyncio.to_thread(load.__enter__)
            load._process.kill()
            with pytest.raises(LabError, match="ended with -9"):
                await asyncio.to_thread(load.__exit__, None, None, None)

    asyncio.run(test())


@pytest.mark.parametrize("shapes", ["http2", "keepalive_busy,nonsense"])
def test_shapes_that_cannot_run_are_refused(shapes: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--address", "127.0.0.1", "--shapes", shapes, "--output", str(tmp_path / "requests.jsonl")])
