# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The rules of the gates, and the probes against real sockets."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from plugins.module_utils._rollout.health import Expected, Streak, Tally, ask_socket, examine, probe, tally
from plugins.module_utils._rollout.intent import Gate, Intent
from plugins.module_utils._rollout.release import Container, Release

INTENT = Intent("postgres", "postgres:17", "recreate", successes=3, stable=1.0, timeout=10.0)
RELEASE = Release("registry.example.com/api@sha256:" + "a" * 64, "b" * 64)
ONE = Container(
    id="1",
    service="api-blue-1",
    image=RELEASE.image,
    config_hash=RELEASE.config_hash,
    state="running",
    health="healthy",
    restarts=0,
    pid=1,
    started_at="2026-11-25T00:00:00Z",
)
EXPECTED = Expected(["api-blue-1"], RELEASE)


# -- Streak


def test_gates_must_hold_so_often_and_so_long() -> None:
    streak = Streak()
    passed = []
    for now in (100.0, 100.4, 100.8, 101.2):
        streak = streak.look(now, "")
        passed.append(streak.passed(INTENT, now))
    assert passed == [False, False, False, True]  # Three successes at 100.8, but one second only at 101.2.
    assert streak.first_answer == 100.0


def test_one_bad_look_begins_anew_and_is_remembered() -> None:
    streak = Streak().look(1.0, "").look(2.0, "").look(3.0, "no answer")
    assert (streak.successes, streak.good_since, streak.last, streak.dead) == (0, None, "no answer", "")
    streak = streak.look(4.0, "")
    assert (streak.successes, streak.good_since, streak.first_answer, streak.last) == (1, 4.0, 1.0, "")


def test_what_is_dead_is_said_and_may_come_back() -> None:
    streak = Streak().look(1.0, "", "it has ended")
    assert (streak.dead, streak.last) == ("it has ended", "it has ended")
    assert streak.look(2.0, "").dead == ""


def test_the_deadline_counts_from_the_first_look() -> None:
    streak = Streak()
    assert not streak.late(INTENT, 1e9)
    streak = streak.look(100.0, "bad")
    assert [streak.late(INTENT, now) for now in (110.0, 110.1)] == [False, True]


# -- examine


@pytest.mark.parametrize(
    ("changes", "trusted", "bad", "dead"),
    [
        ({}, False, "", ""),
        ({"health": "starting"}, False, "api-blue-1 is running, starting", ""),
        ({"health": "starting"}, True, "", ""),
        ({"state": "created", "health": ""}, True, "api-blue-1 is created", ""),
        ({"health": "unhealthy"}, True, "", "api-blue-1 is unhealthy"),
        ({"state": "exited", "health": ""}, True, "", "api-blue-1 has ended"),
        ({"restarts": 1}, True, "", "api-blue-1 ended and was restarted by Docker"),
        ({"config_hash": "c" * 64}, True, "no container of api-blue-1 is there", ""),
    ],
)
def test_what_is_wrong_with_a_container(changes: dict[str, object], trusted: bool, bad: str, dead: str) -> None:
    assert examine([replace(ONE, **changes)], EXPECTED, trusted) == (bad, dead)  # type: ignore[arg-type]


def test_restarts_from_before_are_not_held_against_it() -> None:
    again = replace(ONE, restarts=4)
    assert examine([again], replace(EXPECTED, restarts={"1": 4}), False) == ("", "")
    assert examine([again], replace(EXPECTED, restarts={"1": 3}), False)[1] != ""


def test_every_replica_counts() -> None:
    both = replace(EXPECTED, services=["api-blue-1", "api-blue-2"])
    assert examine([ONE], both, True) == ("no container of api-blue-2 is there", "")


# -- probes


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response({"/ok": 200, "/moved": 302}.get(self.path, 503))
        self.send_header("X-Who", "me")
        self.end_headers()

    def log_message(self, *_words: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_probes_of_a_server_that_answers(address: str) -> None:
    assert probe(Gate(http="/ok"), address) == ""
    assert probe(Gate(http="/moved"), address) == ""
    assert probe(Gate(http="/down"), address) == f"{address}/down answered 503"
    assert probe(Gate(tcp=True), address) == ""


@pytest.mark.parametrize("gate", [Gate(http="/ok"), Gate(tcp=True)])
def test_a_probe_of_nothing_says_so(gate: Gate) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Bound, and not listening.
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert probe(gate, address).startswith(f"{address}: ConnectionRefusedError")


def test_asking_over_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "prove.sock")
    assert ask_socket(path, "/ok", "X-Who") is None
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def answer() -> None:
            connection, _from = listener.accept()
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 204 No Content\r\nX-Who: 10.0.0.1:8000\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        assert ask_socket(path, "/ok", "X-Who") == ("10.0.0.1:8000", 204)
        thread.join()


# -- the access log


def line(upstream: str, status: int) -> str:
    return json.dumps({"upstream_addr": upstream, "status": status})


def test_answers_are_counted_by_who_gave_them() -> None:
    lines = [
        line("new:1", 201),
        line("new:1", 503),
        line("old:1", 200),
        line("old:1, new:1", 500),  # The last one tried has answered.
        line("-", 404),
        "2026/11/25 07:00:00 [notice] no JSON",
        json.dumps({"status": 500}),
        json.dumps({"upstream_addr": "new:1", "status": "none"}),
    ]
    sides = {"new:1": "new", "old:1": "old"}
    assert tally(lines, sides) == Tally(old=1, old_errors=0, new=3, new_errors=2)
    assert tally(lines, {}, "new") == Tally(new=5, new_errors=2)


@pytest.mark.parametrize(
    ("counts", "condemned"),
    [
        (Tally(old=100, new=100, new_errors=2), False),  # An accident.
        (Tally(old=100, new=100, new_errors=3), True),
        (Tally(old=100, old_errors=5, new=100, new_errors=6), False),  # As the old one.
        (Tally(old=100, old_errors=5, new=100, new_errors=8), True),
        (Tally(new=10, new_errors=3), True),  # Nothing to compare with.
        (Tally(old=10, new=0), False),
    ],
)
def test_a_release_is_condemned_when_it_fails_more_often_than_the_old_one(counts: Tally, condemned: bool) -> None:
    assert bool(counts.verdict(0.02)) is condemned


def test_the_verdict_names_both_shares() -> None:
    said = Tally(old=200, old_errors=1, new=8, new_errors=4).verdict(0.02)
    assert said == "4 of 8 answers were 5xx (50.0%), of the old release 0.5%"


def test_tallies_add_up() -> None:
    assert Tally(1, 2, 3, 4).add(Tally(10, 20, 30, 40)) == Tally(11, 22, 33, 44)
