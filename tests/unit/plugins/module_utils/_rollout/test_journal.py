# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal gets every end of a rollout with fields that can be searched, and can hold nothing up."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._rollout import journal
from plugins.module_utils._rollout.release import RolloutError

from .model import BAD, A, World, api, engine

BEFORE = {"id": "aaaaaaaaaaaa-11111111", "image": "r.example/x@sha256:aa", "digest": "sha256:aa", "config_hash": "1"}
AFTER = {"id": "bbbbbbbbbbbb-11111111", "image": "r.example/x@sha256:bb", "digest": "sha256:bb", "config_hash": "1"}


def entry(**changes: Any) -> dict[str, Any]:
    values = {
        "id": "2026-11-25T12:00:00.000Z-1a2b3c4d",
        "at": "2026-11-25T12:00:34.000Z",
        "service": "api",
        "kind": "rollout",
        "before": BEFORE,
        "after": AFTER,
        "slot": "green",
        "outcome": "rejected",
        "failure": "unhealthy",
        "message": "api-green-1 is\nnot healthy",
        "actor": "agent",
        "seconds": {"pull": 4.0, "gate": 30.25},
    }
    return {**values, **changes}


def fields_of(datagram: bytes) -> dict[str, str]:
    """Read an entry as systemd.io/JOURNAL_NATIVE_PROTOCOL defines it; anything else is an error."""
    found: dict[str, str] = {}
    while datagram:
        line, newline, datagram = datagram.partition(b"\n")
        assert newline
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,), datagram = struct.unpack("<Q", datagram[:8]), datagram[8:]
            value, datagram = datagram[:size], datagram[size:]
            assert len(value) == size
            assert datagram[:1] == b"\n"
            datagram = datagram[1:]
        assert name.isupper()
        assert name.decode() not in found
        found[name.decode()] = value.decode()
    return found


class Journal:
    """The socket of a journal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(5)

    def send(self, message: str, priority: int = 3, **fields: str) -> None:
        journal.send(message, priority, fields, self.path)

    def datagram(self) -> bytes:
        return self.socket.recv(1 << 20)


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Journal]:
    here = Journal(tmp_path / "socket")
    with here.socket:
        yield here


def test_an_entry_arrives_with_all_fields(there: Journal) -> None:
    there.send("api rejected", BILLING_SERVICE="api", BILLING_OUTCOME="rejected")
    assert fields_of(there.datagram()) == {
        "MESSAGE": "api rejected",
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "billing-rollout",
        "BILLING_SERVICE": "api",
        "BILLING_OUTCOME": "rejected",
    }


def test_no_value_can_forge_a_field(there: Journal) -> None:
    forged = "first\nPRIORITY=7\nBILLING_OUTCOME=live"
    there.send(forged, BILLING_FAILURE=f"{forged}\n", BILLING_SERVICE="a=b")
    found = fields_of(there.datagram())
    assert (found["MESSAGE"], found["BILLING_FAILURE"], found["PRIORITY"]) == (forged, f"{forged}\n", "3")
    assert found["BILLING_SERVICE"] == "a=b"
    assert "BILLING_OUTCOME" not in found


@pytest.mark.parametrize("line", ["", "\n"])
def test_what_is_too_long_is_cut_between_characters_and_the_fields_stay(there: Journal, line: str) -> None:
    there.send(line + "é" * 100_000, BILLING_FAILURE="€" * 10_000, BILLING_OUTCOME="failed")
    datagram = there.datagram()
    found = fields_of(datagram)
    assert len(datagram) <= 48 << 10
    assert len(found["MESSAGE"]) > 20_000
    assert set(found["MESSAGE"]) - {"\n"} == {"é"}
    assert set(found["BILLING_FAILURE"]) == {"€"}
    assert found["BILLING_OUTCOME"] == "failed"


def test_text_that_is_no_unicode_does_no_harm(there: Journal) -> None:
    there.send("half a pair: \ud800")
    assert fields_of(there.datagram())["MESSAGE"] == "half a pair: ?"


def test_without_a_journal_every_line_goes_to_standard_error_with_its_priority(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal.send("first\nsecond", 2, {"BILLING_SERVICE": "api"}, tmp_path / "nothing")
    assert capsys.readouterr().err == "<2>first\n<2>second\n"


def test_a_journal_that_does_not_read_is_not_waited_for(
    there: Journal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journal, "_PATIENCE", 0.05)
    for _entry in range(5000):  # More than any queue holds.
        there.send("x" * 40_000)
        said = capsys.readouterr().err
        if said:
            break
    assert said.startswith("<3>xxx")


def test_the_sentence_says_what_happened_why_how_long_and_who() -> None:
    assert journal.sentence(entry(), "billing-api1") == (
        "api rejected on billing-api1: rollout aaaaaaaaaaaa-11111111 -> bbbbbbbbbbbb-11111111, 34.2 s, by agent; "
        "unhealthy: api-green-1 is not healthy"
    )
    first = entry(before=None, outcome="live", failure=None, message=None)
    assert journal.sentence(first) == "api live: rollout nothing -> bbbbbbbbbbbb-11111111, 34.2 s, by agent"
    open_ = entry(kind="agent", before=AFTER, outcome="breaker_open", failure=None, message="3 failed", seconds={})
    assert journal.sentence(open_) == "api breaker open: agent bbbbbbbbbbbb-11111111, by agent; 3 failed"


@pytest.mark.parametrize(
    ("outcome", "wanted"),
    [("live", 5), ("healed", 4), ("rejected", 3), ("rolled_back", 3), ("failed", 2), ("breaker_open", 2), ("new", 4)],
)
def test_the_graver_the_outcome_the_higher_the_priority(outcome: str, wanted: int) -> None:
    assert journal.entry_fields(entry(outcome=outcome))[1] == wanted


def test_an_entry_from_before_these_fields_can_be_told() -> None:
    old = {name: value for name, value in entry(after=None).items() if name not in ("actor", "message", "seconds")}
    message, _priority, fields = journal.entry_fields(old)
    assert message == "api rejected: rollout aaaaaaaaaaaa-11111111 -> nothing; unhealthy"
    assert "BILLING_ACTOR" not in fields


def test_what_the_engine_writes_can_be_searched(world: World) -> None:
    engine(world).apply(api(A))
    with pytest.raises(RolloutError, match="api-green"):
        engine(world, actor="agent").apply(api(BAD))
    written = engine(world).store.history(1)[0]
    message, priority, fields = journal.entry_fields(written)
    assert (priority, fields.pop("BILLING_SECONDS")) == (3, f"{sum(written['seconds'].values()):.3f}")
    assert fields == {
        "BILLING_SERVICE": "api",
        "BILLING_KIND": "rollout",
        "BILLING_OUTCOME": "rejected",
        "BILLING_FAILURE": "unhealthy",
        "BILLING_RELEASE": written["after"]["id"],
        "BILLING_DIGEST": BAD.rpartition("@")[2],
        "BILLING_RELEASE_BEFORE": written["before"]["id"],
        "BILLING_SLOT": "green",
        "BILLING_ACTOR": "agent",
        "BILLING_ROLLOUT_ID": written["id"],
    }
    assert message.startswith(f"api rejected: rollout {written['before']['id']} -> {written['after']['id']}, ")
