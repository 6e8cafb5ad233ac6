# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The ledger finds what was lost and what was executed twice, and takes no half-read table for the truth."""

from __future__ import annotations

import asyncio
import shlex

import pytest

from tests.lab.load.ledger import compare, read_rows, remote_command
from tests.lab.load.records import KEEPALIVE_BUSY, Record
from tests.lab.shell import LabError
from tests.unit.lab.load.services import Exchange, Service, at, drive, well


def record(number: int, outcome: str = "ok") -> Record:
    return Record(f"load-test-{number}", KEEPALIVE_BUSY, 0.0, 0.0, 1.0, outcome)


def rows(*counts: tuple[int, int]) -> list[tuple[str, int]]:
    return [(f"load-test-{number}", count) for number, count in counts]


def test_what_was_acknowledged_and_is_there_once_is_balanced() -> None:
    ledger = compare([record(1), record(2), record(3, "reset")], rows((1, 1), (2, 1)))
    assert ledger.balanced
    assert (ledger.acknowledged, ledger.rows, ledger.unacknowledged.count) == (2, 2, 0)


def test_an_acknowledged_request_without_a_row_is_lost() -> None:
    ledger = compare([record(1), record(2)], rows((1, 1)))
    assert (ledger.lost.count, ledger.lost.first) == (1, ("load-test-2",))
    assert not ledger.balanced


@pytest.mark.parametrize("outcome", ["ok", "reset"])
def test_more_than_one_row_is_duplicated_whatever_the_client_saw(outcome: str) -> None:
    ledger = compare([record(1, outcome)], rows((1, 2)))
    assert (ledger.duplicated.count, ledger.duplicated.first) == (1, ("load-test-1",))
    assert not ledger.balanced


def test_a_row_of_a_failed_request_is_told_and_allowed() -> None:
    ledger = compare([record(1, "http_502")], rows((1, 1)))
    assert (ledger.unacknowledged.count, ledger.unacknowledged.first) == (1, ("load-test-1",))
    assert ledger.balanced


def test_a_row_that_the_client_does_not_know_is_an_error() -> None:
    ledger = compare([record(1)], rows((1, 1), (9, 1)))
    assert (ledger.unknown.count, ledger.unknown.first) == (1, ("load-test-9",))
    assert not ledger.balanced


def test_of_many_ids_the_first_are_shown() -> None:
    ledger = compare([record(number) for number in range(100, 200)], [])
    assert ledger.lost.count == 100
    assert ledger.lost.first == tuple(f"load-test-{number}" for number in range(100, 110))


def test_a_service_that_forgets_and_repeats_is_found_out() -> None:
    """The whole way: what a proxy that sends a request twice does to the table, and what a crash does."""

    async def test() -> None:
        service = Service()

        async def twice(exchange: Exchange) -> None:
            service.rows[exchange.identity] += 1
            exchange.answer()

        async def forget(exchange: Exchange) -> None:
            del service.rows[exchange.identity]
            exchange.answer()

        async def write_and_fail(exchange: Exchange) -> None:
            exchange.answer(502)

        service.act = at(well, twice, forget, write_and_fail)
        async with service:
            records = await drive(KEEPALIVE_BUSY, 6, service.port)
        ledger = compare(records, service.rows.items())
        assert ledger.duplicated.first == (records[1].id,)
        assert ledger.lost.first == (records[2].id,)
        assert ledger.unacknowledged.first == (records[3].id,)
        assert (ledger.acknowledged, ledger.unknown.count) == (5, 0)

    asyncio.run(test())


def test_rows_are_read_as_they_are_printed() -> None:
    assert list(read_rows(["printf", r"load-a-1\t1\nload-a-2\t2\n"])) == [("load-a-1", 1), ("load-a-2", 2)]


def test_a_table_that_was_read_by_half_is_an_error() -> None:
    with pytest.raises(LabError, match="it broke"):
        list(read_rows(["sh", "-c", r"printf 'load-a-1\t1\n'; echo it broke >&2; exit 1"]))


def test_only_the_rows_of_the_run_are_asked_for() -> None:
    *_program, query = shlex.split(remote_command("load-1-", "billing", "billing"))
    assert "WHERE starts_with(description, 'load-1-')" in query
