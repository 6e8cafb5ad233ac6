# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolution against a real HTTP server that answers as registries do, well and badly."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.message import Message
from pathlib import Path

import pytest

from plugins.module_utils._rollout.registry import RegistryFiles, resolve
from plugins.module_utils._rollout.registry_http import retry_after
from plugins.module_utils._rollout.release import Reference, RolloutError

from .http_registry import DIGEST, FOUND, Answer, Asked, Registry, basic, files, running

BASIC: Answer = (401, {"WWW-Authenticate": 'Basic realm="lab"'}, b"")
MANIFEST = "/v2/billing-api/manifests/1.0.0"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with running() as server:
        yield server


class Waits:
    """Stands for time.sleep and keeps what it was asked for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def ask(tmp_path: Path, registry: Registry, waits: Callable[[float], None] | None = None, **entry: str) -> str:
    return resolve(registry.reference, files(tmp_path, registry.name, **entry), timeout=5, sleep=waits or Waits())


def failure(tmp_path: Path, registry: Registry, answer: Answer, waits: Waits | None = None) -> RolloutError:
    registry.rule = lambda _asked: answer
    with pytest.raises(RolloutError) as raised:
        ask(tmp_path, registry, waits)
    return raised.value


def bearer(registry: Registry, *headers: str, realm: str = "") -> Answer:
    """A challenge for a token of this server; more of it may follow."""
    text = f'Bearer realm="{realm or registry.url + "/token"}",service="lab"'
    return 401, {"WWW-Authenticate": ", ".join([text, *headers])}, b""


def in_order(*answers: Answer) -> Callable[[Asked], Answer]:
    """One answer after the other, the last one for ever."""
    left = list(answers)
    return lambda _asked: left.pop(0) if len(left) > 1 else left[0]


def test_one_head_request_gives_the_digest(tmp_path: Path, registry: Registry) -> None:
    assert ask(tmp_path, registry) == DIGEST
    assert registry.requests == [("HEAD", MANIFEST)]


def test_a_digest_is_not_looked_up(tmp_path: Path, registry: Registry) -> None:
    pinned = Reference.parse(f"{registry.name}/billing-api@{DIGEST}")
    assert resolve(pinned, files(tmp_path, registry.name)) == DIGEST
    assert registry.asked == []


def test_a_basic_challenge_is_answered_from_docker_config(tmp_path: Path, registry: Registry) -> None:
    wanted = f"Basic {basic('lab:s3cret')}"
    registry.rule = lambda asked: FOUND if asked.authorization == wanted else BASIC
    assert ask(tmp_path, registry, auth=basic("lab:s3cret")) == DIGEST
    assert [asked.authorization for asked in registry.asked] == ["", wanted]


def test_a_challenge_without_credentials_is_not_tried_again(tmp_path: Path, registry: Registry) -> None:
    assert failure(tmp_path, registry, BASIC).code == "registry_unauthorized"
    assert len(registry.asked) == 1


@pytest.mark.parametrize("key", ["token", "access_token"])
def test_a_bearer_challenge_is_answered_with_a_token(tmp_path: Path, registry: Registry, key: str) -> None:
    def rule(asked: Asked) -> Answer:
        if asked.path.startswith("/token"):
            return 200, {}, json.dumps({key: "t0ken"}).encode()
        return FOUND if asked.authorization == "Bearer t0ken" else bearer(registry)

    registry.rule = rule
    assert ask(tmp_path, registry, auth=basic("lab:s3cret")) == DIGEST
    token = registry.asked[1]
    assert token.path == "/token?service=lab&scope=repository%3Abilling-api%3Apull"
    assert token.authorization == f"Basic {basic('lab:s3cret')}"


def test_an_identity_token_is_exchanged_by_post_and_is_in_no_address(tmp_path: Path, registry: Registry) -> None:
    def rule(asked: Asked) -> Answer:
        if asked.path == "/token":
            return 200, {}, b'{"access_token": "t0ken"}'
        return FOUND if asked.authorization == "Bearer t0ken" else bearer(registry)

    registry.rule = rule
    assert ask(tmp_path, registry, auth=basic("ignored:"), identitytoken="r3fresh") == DIGEST
    exchange = registry.asked[1]
    assert (exchange.method, exchange.authorization) == ("POST", "")
    assert "grant_type=refresh_token" in exchange.body
    assert "refresh_token=r3fresh" in exchange.body
    assert all("r3fresh" not in asked.path for asked in registry.asked)


def test_a_token_is_preferred_where_a_password_would_do_too(tmp_path: Path, registry: Registry) -> None:
    """Some registries send both challenges, each in a header of its own; urllib shows the first one alone."""
    first = bearer(registry, realm=f"{registry.url}/token")[1]["WWW-Authenticate"]
    both = {"WWW-Authenticate": 'Basic realm="lab"', "www-authenticate": first}
    registry.rule = lambda asked: (
        (200, {}, b'{"token": "t0ken"}')
        if asked.path.startswith("/token")
        else FOUND
        if asked.authorization.startswith("Bearer")
        else (401, both, b"")
    )
    assert ask(tmp_path, registry, auth=basic("lab:s3cret")) == DIGEST


def test_a_refused_token_is_final(tmp_path: Path, registry: Registry) -> None:
    registry.rule = lambda asked: (200, {}, b'{"token": "t"}') if asked.path[1] == "t" else bearer(registry)
    with pytest.raises(RolloutError) as raised:
        ask(tmp_path, registry)
    assert raised.value.code == "registry_unauthorized"
    assert [asked.method for asked in registry.asked] == ["HEAD", "GET", "HEAD"]


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"token": ""}'])
def test_a_token_server_that_gives_no_token_is_named(tmp_path: Path, registry: Registry, body: bytes) -> None:
    registry.rule = lambda asked: (200, {}, body) if asked.path.startswith("/token") else bearer(registry)
    with pytest.raises(RolloutError, match="gave no token"):
        ask(tmp_path, registry)


@pytest.mark.parametrize("realm", ["file:///etc/passwd", "ftp://r.example/token", "token"])
def test_a_password_goes_to_no_other_kind_of_address(tmp_path: Path, registry: Registry, realm: str) -> None:
    error = failure(tmp_path, registry, bearer(registry, realm=realm))
    assert error.code == "registry_invalid"
    assert error.details["realm"] == realm


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "image_unknown"),
        (401, "registry_unauthorized"),
        (403, "registry_unauthorized"),
        (400, "registry_invalid"),
    ],
)
def test_a_refusal_is_final(tmp_path: Path, registry: Registry, status: int, code: str) -> None:
    error = failure(tmp_path, registry, (status, {}, b""))
    assert error.code == code
    assert f"{registry.name}/billing-api:1.0.0" in error.message
    assert len(registry.asked) == 1


def test_a_throttled_request_is_repeated_once_after_the_wait(tmp_path: Path, registry: Registry) -> None:
    waits = Waits()
    registry.rule = in_order((429, {"Retry-After": "7"}, b""), FOUND)
    assert ask(tmp_path, registry, waits) == DIGEST
    assert waits.seconds == [7]


def test_a_registry_that_goes_on_throttling_is_left_alone(tmp_path: Path, registry: Registry) -> None:
    error = failure(tmp_path, registry, (429, {"Retry-After": "7"}, b""))
    assert (error.code, error.details["retry_after"]) == ("registry_throttled", 7)
    assert len(registry.asked) == 2


@pytest.mark.parametrize(("timeout", "wanted"), [(5, 12), (1, 8)], ids=["longer than any wait", "longer than is left"])
def test_a_long_wait_is_left_to_the_caller(tmp_path: Path, registry: Registry, timeout: float, wanted: int) -> None:
    waits = Waits()
    registry.rule = lambda _asked: (429, {"Retry-After": str(wanted)}, b"")
    with pytest.raises(RolloutError) as raised:
        resolve(registry.reference, files(tmp_path, registry.name), timeout, waits)
    assert (raised.value.code, raised.value.details["retry_after"]) == ("registry_throttled", wanted)
    assert (len(registry.asked), waits.seconds) == (1, [])


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3),
        ("Wed, 25 Nov 2026 10:00:30 GMT", 30),
        ("Wed, 25 Nov 2026 09:00:00 GMT", 0),
        ("-5", 10),
        ("soon", 10),
        ("", 10),
    ],
)
def test_a_date_to_retry_counts_by_the_clock_of_the_registry(value: str, seconds: float) -> None:
    headers = Message()
    headers["Retry-After"], headers["Date"] = value, "Wed, 25 Nov 2026 10:00:00 GMT"
    assert retry_after(headers) == seconds


def test_a_server_error_is_tried_three_times(tmp_path: Path, registry: Registry) -> None:
    waits = Waits()
    assert failure(tmp_path, registry, (503, {}, b""), waits).code == "registry_unreachable"
    assert (len(registry.asked), waits.seconds) == (3, [1, 2])


def test_a_registry_that_recovers_is_believed(tmp_path: Path, registry: Registry) -> None:
    registry.rule = in_order((500, {}, b""), (502, {}, b""), FOUND)
    assert ask(tmp_path, registry) == DIGEST


@pytest.mark.parametrize("header", ["", "sha256:b", f"sha512:{'b' * 128}", DIGEST.upper(), f"{DIGEST}, {DIGEST}"])
def test_a_missing_or_malformed_digest_is_refused(tmp_path: Path, registry: Registry, header: str) -> None:
    assert failure(tmp_path, registry, (200, {"Docker-Content-Digest": header}, b"")).code == "registry_invalid"


def test_nobody_listens(tmp_path: Path) -> None:
    with running() as registry:
        pass
    with pytest.raises(RolloutError) as raised:
        ask(tmp_path, registry)
    assert raised.value.code == "registry_unreachable"
    assert "check that the registry is up" in raised.value.message


class Dripping:
    """A server that accepts and then sends the same few bytes again and again, for ten seconds at most."""

    def __init__(self, drip: bytes) -> None:
        self.drip = drip
        self.connections = 0
        self.outlasted = False
        self.closing = threading.Event()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.name = f"127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection = self.server.accept()[0]
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            for _turn in range(200):
                if self.closing.wait(0.05):
                    return
                connection.sendall(self.drip)
            self.outlasted = True

    def stop(self) -> None:
        self.closing.set()
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()


@pytest.mark.parametrize("drip", [b"", b"HTTP/1.1 200 OK\r\n", b"x"], ids=["silent", "endless headers", "endless word"])
def test_a_registry_that_never_finishes_its_answer_is_given_up(tmp_path: Path, drip: bytes) -> None:
    server = Dripping(drip)
    reference = Reference.parse(f"{server.name}/billing-api:1.0.0")
    with pytest.raises(RolloutError) as raised:
        resolve(reference, files(tmp_path, server.name), timeout=0.2, sleep=Waits())
    server.stop()
    assert raised.value.code == "registry_unreachable"
    assert not server.outlasted
    assert 0 < server.connections <= 6  # three attempts, each by TLS and without


def test_plain_http_is_spoken_only_where_it_was_allowed(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "daemon.json").write_text("{}")
    with pytest.raises(RolloutError) as raised:
        resolve(registry.reference, RegistryFiles(daemon=tmp_path / "daemon.json"), timeout=5, sleep=Waits())
    assert raised.value.code == "registry_unreachable"
    assert registry.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_by_head(tmp_path: Path, registry: Registry, status: int) -> None:
    registry.rule = lambda asked: FOUND if asked.path == "/moved" else (status, {"Location": "/moved"}, b"")
    assert ask(tmp_path, registry) == DIGEST
    assert registry.requests == [("HEAD", MANIFEST), ("HEAD", "/moved")]


def test_another_host_does_not_get_the_password(tmp_path: Path, registry: Registry) -> None:
    with running() as other:
        registry.rule = lambda asked: (302, {"Location": f"{other.url}/m"}, b"") if asked.authorization else BASIC
        assert ask(tmp_path, registry, auth=basic("lab:s3cret")) == DIGEST
    assert [(asked.path, asked.authorization) for asked in other.asked] == [("/m", "")]


def test_another_host_cannot_ask_for_the_password(tmp_path: Path, registry: Registry) -> None:
    with running() as other:
        registry.rule = lambda _asked: (302, {"Location": f"{other.url}/m"}, b"")
        other.rule = lambda _asked: bearer(other)
        with pytest.raises(RolloutError) as raised:
            ask(tmp_path, registry, auth=basic("lab:s3cret"))
    assert raised.value.code == "registry_unauthorized"
    assert [asked.authorization for asked in other.asked] == [""]


def test_the_same_host_keeps_the_password_over_a_redirect(tmp_path: Path, registry: Registry) -> None:
    registry.rule = lambda asked: (
        BASIC if not asked.authorization else FOUND if asked.path == "/m" else (307, {"Location": "/m"}, b"")
    )
    assert ask(tmp_path, registry, auth=basic("lab:s3cret")) == DIGEST


def test_a_redirect_in_a_circle_ends(tmp_path: Path, registry: Registry) -> None:
    assert failure(tmp_path, registry, (302, {"Location": MANIFEST}, b"")).code == "registry_invalid"
    assert len(registry.asked) < 20


def test_a_mirror_of_docker_hub_is_asked_first(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "daemon.json").write_text(json.dumps({"registry-mirrors": [f"{registry.url}/"]}))
    mirrored = RegistryFiles(tmp_path / "config.json", tmp_path / "certs.d", tmp_path / "daemon.json")
    assert resolve(Reference.parse("nginx:1.30"), mirrored, timeout=5, sleep=Waits()) == DIGEST
    assert registry.requests == [("HEAD", "/v2/library/nginx/manifests/1.30")]


@pytest.mark.parametrize(
    "answer", [(404, {}, b""), (500, {}, b""), (429, {}, b"")], ids=["lacks it", "is ill", "limits"]
)
def test_the_next_mirror_is_asked_where_one_cannot_help(tmp_path: Path, registry: Registry, answer: Answer) -> None:
    with running() as other:
        registry.rule = lambda _asked: answer
        (tmp_path / "daemon.json").write_text(json.dumps({"registry-mirrors": [registry.url, other.url]}))
        mirrored = RegistryFiles(tmp_path / "config.json", tmp_path / "certs.d", tmp_path / "daemon.json")
        assert resolve(Reference.parse("nginx:1.30"), mirrored, timeout=5, sleep=Waits()) == DIGEST
    assert len(registry.asked) == len(other.asked) == 1
