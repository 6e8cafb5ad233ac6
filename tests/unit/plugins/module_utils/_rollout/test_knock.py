# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A knock says "look now" and nothing else; only who knows the secret can say it, and nobody wears the receiver out."""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plugins.module_utils._rollout import cli, knock

from .knock_service import (
    CLIENT,
    OLD,
    SECRET,
    TOKEN,
    Headers,
    Service,
    bearer,
    github,
    gitlab,
    head,
    mac,
    ours,
    received,
    wait_until,
)

ROOT = Path(__file__).parents[5]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    started = Service(tmp_path, [OLD, SECRET], [b"older-token", TOKEN])
    yield started
    started.stop()


Shape = Callable[[bytes], Headers]
SHAPES: dict[str, Shape] = {
    "github": lambda secret: github(secret=secret),
    "billing": lambda secret: ours(time.time(), secret=secret),
    "gitlab": gitlab,
    "registry": bearer,
}
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


# -- who may knock


@each_shape
def test_who_knows_the_secret_is_heard(service: Service, shape: Shape) -> None:
    status, said, head = service.ask("POST", "/any/where/knock?x=1", shape(SECRET), b"{}")
    assert (status, said) == (202, {"looked": "soon"})
    assert "Content-Type: application/json" in head
    assert service.took()


@each_shape
def test_while_secrets_rotate_both_count(service: Service, shape: Shape) -> None:
    assert service.knock(shape(OLD)) == 202
    assert service.took()


@each_shape
def test_who_does_not_know_it_is_refused_and_not_told_why(service: Service, shape: Shape) -> None:
    for secret in (b"wrong", SECRET[:-1], SECRET + b"x"):
        status, said, _head = service.ask("POST", "/-/knock", shape(secret), b"{}")
        assert (status, said["error"]) == (401, {"code": "unauthorized", "message": "not authorized"})
    assert not service.took()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hub-Signature-256": ""},
        {"X-Hub-Signature-256": mac(SECRET, b"{}")},
        {"X-Hub-Signature": f"sha1={hmac.new(SECRET, b'{}', 'sha1').hexdigest()}"},
        {"X-Billing-Signature": "t=,v1="},
        {"X-Billing-Signature": f"v1={mac(SECRET, b'.{}')}"},
        {"X-Gitlab-Token": ""},
        {"Authorization": SECRET.decode()},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer \xe9"},
    ],
)
def test_what_is_no_proof_is_refused(service: Service, headers: Headers) -> None:
    assert service.knock(headers) == 401
    assert not service.took()


def test_a_signature_is_for_its_body(service: Service) -> None:
    assert service.knock(github(b"{}"), b'{"a": 1}') == 401
    assert service.knock(ours(service.now()), b'{"a": 1}') == 401
    assert not service.took()


def test_the_first_shape_decides(service: Service) -> None:
    """Else a stolen static token would do where signatures are sent."""
    assert service.knock({**bearer(), **github(secret=b"wrong")}) == 401
    assert service.knock({**gitlab(), **ours(service.now(), secret=b"wrong")}) == 401


def test_a_knock_of_another_time_is_refused(service: Service) -> None:
    assert service.knock(ours(service.now() - 310)) == 401
    assert service.knock(ours(service.now() + 310)) == 401
    assert not service.took()
    assert service.knock(ours(service.now() - 290)) == 202
    assert service.knock(ours(service.now() + 290)) == 202


def test_the_time_is_signed(service: Service) -> None:
    value = ours(service.now() - 310)["X-Billing-Signature"].partition(",")[2]
    assert service.knock({"X-Billing-Signature": f"t={service.now():.0f},{value}"}) == 401


# -- what it can do


@pytest.mark.parametrize("body", [b"", b"not json", b'{"target": {"repository": "evil", "tag": "x"}}', b"\xff" * 65536])
def test_the_body_never_matters(service: Service, body: bytes) -> None:
    assert service.knock(github(body), body) == 202
    assert service.mark.read_bytes() == b""


def test_a_repeat_is_refused_also_by_the_next_process(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knock, "_PAUSE", 0.0)
    signed = [ours(service.now() + 290), github()]
    assert [service.knock(headers) for headers in signed] == [202, 202]
    service.took()
    assert [service.knock(headers) for headers in signed] == [409, 409]
    service.restart()
    assert [service.knock(headers) for headers in signed] == [409, 409]
    service.ahead = 580  # As long as the one from the future is genuine.
    assert service.knock(signed[0]) == 409
    assert not service.took()
    assert mac(SECRET, b"{}") not in (service.mark.with_name("seen.json")).read_text()


def test_what_was_said_is_forgotten_in_the_end(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knock, "_REMEMBERED", 3)
    for number in range(5):
        assert service.knock(github(b"%d" % number), b"%d" % number) == 202
    assert len(json.loads(service.mark.with_name("seen.json").read_text())) == 3
    service.ahead = 301
    assert service.knock(github(b"4"), b"4") == 202


def test_a_memory_that_is_damaged_keeps_nobody_out(service: Service) -> None:
    service.mark.with_name("seen.json").write_text('["half')
    service.restart()
    assert service.knock(github()) == 202


def test_two_deliveries_of_the_same_words_are_two(service: Service) -> None:
    assert service.knock(github(delivery="1")) == 202
    assert service.knock(github(delivery="1")) == 409
    assert service.knock(github(delivery="2")) == 202


def test_an_unsigned_header_makes_no_new_knock_of_ours(service: Service) -> None:
    headers = ours(service.now())
    assert service.knock(headers) == 202
    assert service.knock({**headers, "X-GitHub-Delivery": "2"}) == 409


def test_shapes_that_are_always_the_same_may_come_again(service: Service) -> None:
    assert [service.knock(gitlab()), service.knock(gitlab()), service.knock(bearer())] == [202, 202, 202]


def test_many_knocks_are_one_look_in_a_pause_and_none_is_lost(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knock, "_PAUSE", 600.0)
    service.restart()
    assert service.knock(gitlab()) == 202
    assert service.took()
    assert [service.knock(gitlab()) for _time in range(20)] == [202] * 20
    assert not service.took()
    service.ahead += 600  # The agent may have looked before the later ones: it looks once more
    wait_until(service.took)
    service.ahead += 600
    assert service.ask("GET", "/", {})[0] == 404
    assert not service.took()


def test_a_mark_that_cannot_be_set_is_not_promised(service: Service) -> None:
    service.mark = service.mark.parent / "missing" / "look"
    service.restart()
    assert service.knock(gitlab()) == 503


# -- what it does not take


def test_what_is_not_configured_is_not_there(tmp_path: Path) -> None:
    service = Service(tmp_path, [], [])
    service.release.write_text("{}")
    assert service.knock(github(secret=b"")) == 404
    assert service.knock(bearer(b"")) == 404
    assert service.ask("GET", "/-/release", bearer(b""))[0] == 404
    assert not service.took()
    service.stop()


def test_each_path_has_one_method(service: Service) -> None:
    status, _said, head = service.ask("GET", "/-/knock", gitlab())
    assert (status, "Allow: POST" in head) == (405, True)
    status, _said, head = service.ask("POST", "/-/release", bearer(TOKEN))
    assert (status, "Allow: GET" in head) == (405, True)
    assert service.ask("GET", "/-/knock/", {})[0] == 404
    assert not service.took()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(head(), 411, id="no-length"),
        pytest.param(head("Content-Length: x"), 411, id="no-number"),
        pytest.param(head("Content-Length: 2", "Content-Length: 3") + b"{}", 411, id="two-lengths"),
        pytest.param(head("Transfer-Encoding: chunked") + b"0\r\n\r\n", 411, id="chunked"),
        pytest.param(head("Content-Length: 0", "Transfer-Encoding: chunked"), 411, id="chunked-with-length"),
        pytest.param(head(f"Content-Length: {65537}"), 413, id="large-body"),
        pytest.param(head(f"X: {'x' * 32768}", "Content-Length: 0"), 431, id="large-header"),
        pytest.param(head(*["X: x"] * 200, "Content-Length: 0"), 431, id="many-headers"),
        pytest.param(b"POST /" + b"x" * 32768, 431, id="large-line"),
        pytest.param(b"hello\r\n\r\n", 400, id="no-http"),
    ],
)
def test_what_is_too_large_or_malformed_is_refused(service: Service, request_: bytes, status: int) -> None:
    assert service.raw(request_)[0] == status
    assert not service.took()


def test_half_a_body_is_no_knock(service: Service) -> None:
    with service.connect() as connection:
        connection.sendall(head("Content-Length: 10") + b"{}")
        connection.shutdown(socket.SHUT_WR)
        assert received(connection)[0] == 400
    assert not service.took()


def test_a_slow_client_is_cut_however_busy_it_looks(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knock, "_PATIENCE", 0.2)
    with service.connect() as silent, service.connect() as trickling:
        trickling.sendall(head("Content-Length: 60000"))
        with contextlib.suppress(OSError):
            for _byte in range(60000):
                trickling.sendall(b"x")
                time.sleep(0.01)
        assert received(trickling)[0] == 408
        assert received(silent)[0] == 408


def test_more_than_eight_at_once_are_told_to_come_later(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knock, "_PATIENCE", 60.0)
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(service.connect()) for _number in range(8)]
        assert service.knock(gitlab()) == 503
        for connection in waiting:
            connection.sendall(head("Content-Length: 2") + b"{}")
            assert received(connection)[0] == 202
    wait_until(lambda: service.ask("GET", "/", {})[0] == 404)


def test_who_fails_too_often_waits_and_nobody_else(service: Service) -> None:
    for _time in range(10):
        assert service.knock(gitlab(b"guess")) == 401
        assert service.ask("GET", "/release", bearer(b"guess"))[0] == 401
    assert service.knock(gitlab()) == 429
    assert service.ask("GET", "/release", bearer(TOKEN))[0] == 429
    assert not service.took()
    assert service.knock({**gitlab(), "X-Real-IP": "203.0.113.8"}) == 202
    service.ahead = 61
    assert service.knock(gitlab()) == 202


# -- the answer for CI


def test_ci_gets_what_the_agent_wrote(service: Service) -> None:
    assert service.ask("GET", "/-/release", bearer(TOKEN))[0] == 503
    service.release.write_text('{"services": {"api": {"digest": "sha256:x"}}}')
    for token in (TOKEN, b"older-token"):
        status, said, head = service.ask("GET", "/-/release", bearer(token))
        assert (status, said["services"]["api"]["digest"]) == (200, "sha256:x")
        assert "Cache-Control: no-store" in head


@pytest.mark.parametrize("headers", [{}, bearer(b"guess"), bearer(SECRET), bearer(b""), gitlab(TOKEN)])
def test_the_release_is_for_who_has_the_token(service: Service, headers: Headers) -> None:
    service.release.write_text('{"services": {}}')
    status, said, _head = service.ask("GET", "/-/release", headers)
    assert (status, sorted(said)) == (401, ["error"])


# -- the process


def test_the_log_says_who_and_what_and_no_secret(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.knock(gitlab(), b"b0dy")
    service.ask("GET", "/release", bearer(TOKEN))
    service.knock({**bearer(b"guess"), "X-Real-IP": "<evil>"})
    printed = capsys.readouterr().err
    assert printed.splitlines() == [
        f"knock (gitlab) from {CLIENT}: 202",
        f"release from {CLIENT}: 503",
        "knock (bearer) from -: 401",
    ]


def arguments(folder: Path) -> list[str]:
    (folder / "secrets").write_bytes(b"\n" + OLD + b"\n  " + SECRET + b"\n\n")
    names = {"mark": "look", "release": "release.json", "secrets": "secrets"}
    return ["receive", *(f"--{option}={folder / name}" for option, name in names.items()), "--idle=0.3"]


def test_systemd_starts_it_with_a_socket_and_it_ends_when_nobody_asks(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "os.dup2(int(sys.argv[1]), 3)\n"
        "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
        "from plugins.module_utils._rollout.cli import main\n"
        "raise SystemExit(main(sys.argv[2:]))\n"
    )
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        client.settimeout(30)
        client.connect(str(tmp_path / "s"))
        client.sendall(head("Content-Length: 0"))
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(listener.fileno()), *arguments(tmp_path)],
            pass_fds=[listener.fileno()],
            cwd=ROOT,
        )
        try:
            assert received(client)[0] == 202
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert (tmp_path / "look").exists()


@pytest.mark.parametrize("environment", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_FDS": "2"}])
def test_a_socket_of_somebody_else_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environment: Headers
) -> None:
    for name, value in {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "", **environment}.items():
        monkeypatch.setenv(name, value)
    assert cli.main(arguments(tmp_path)) == 1
    assert "systemd starts this" in capsys.readouterr().err
