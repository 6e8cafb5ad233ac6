# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolution against a real HTTP server that answers as registries do."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from plugins.module_utils._rollout.registry import RegistryFiles, credentials, resolve
from plugins.module_utils._rollout.release import Reference, RolloutError

DIGEST = "sha256:" + "b" * 64
Answer = tuple[int, dict[str, str], bytes]
Rule = Callable[[str, str, str], Answer]


class Registry:
    """A server whose answers a test chooses; it keeps what it was asked."""

    def __init__(self) -> None:
        self.rule: Rule = lambda _method, _path, _authorization: (200, {"Docker-Content-Digest": DIGEST}, b"")
        self.asked: list[tuple[str, str]] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                registry.asked.append((self.command, self.path))
                status, headers, body = registry.rule(self.command, self.path, self.headers.get("Authorization", ""))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_HEAD = do_GET = answer  # noqa: N815 - the names that the server looks for

            def log_message(self, *_arguments: object) -> None:
                """Keep the test's output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.name = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def registry() -> Iterator[Registry]:
    running = Registry()
    yield running
    running.server.shutdown()
    running.server.server_close()


def files(tmp_path: Path, registry: Registry, login: str = "") -> RegistryFiles:
    (tmp_path / "daemon.json").write_text(json.dumps({"insecure-registries": [registry.name]}))
    if login:
        auth = {"auths": {registry.name: {"auth": base64.b64encode(login.encode()).decode()}}}
        (tmp_path / "config.json").write_text(json.dumps(auth))
    return RegistryFiles(tmp_path / "config.json", tmp_path / "certs.d", tmp_path / "daemon.json")


def ask(tmp_path: Path, registry: Registry, login: str = "") -> str:
    reference = Reference.parse(f"{registry.name}/billing-api:1.0.0")
    return resolve(reference, files(tmp_path, registry, login), timeout=2, sleep=lambda _seconds: None)


def failure(tmp_path: Path, registry: Registry, answer: Answer) -> RolloutError:
    registry.rule = lambda *_request: answer
    with pytest.raises(RolloutError) as raised:
        ask(tmp_path, registry)
    return raised.value


def test_one_head_request_gives_the_digest(tmp_path: Path, registry: Registry) -> None:
    assert ask(tmp_path, registry) == DIGEST
    assert registry.asked == [("HEAD", "/v2/billing-api/manifests/1.0.0")]


def test_a_digest_is_not_looked_up(tmp_path: Path, registry: Registry) -> None:
    pinned = Reference.parse(f"{registry.name}/billing-api@{DIGEST}")
    assert resolve(pinned, files(tmp_path, registry)) == DIGEST
    assert registry.asked == []


def test_a_basic_challenge_is_answered_from_docker_config(tmp_path: Path, registry: Registry) -> None:
    wanted = "Basic " + base64.b64encode(b"lab:s3cret").decode()
    registry.rule = lambda _method, _path, authorization: (
        (200, {"Docker-Content-Digest": DIGEST}, b"")
        if authorization == wanted
        else (401, {"WWW-Authenticate": 'Basic realm="lab"'}, b"")
    )
    assert ask(tmp_path, registry, "lab:s3cret") == DIGEST


def test_a_bearer_challenge_is_answered_with_a_token(tmp_path: Path, registry: Registry) -> None:
    def rule(_method: str, path: str, authorization: str) -> Answer:
        if path.startswith("/token"):
            assert "scope=repository%3Abilling-api%3Apull" in path
            return 200, {}, b'{"token": "t0ken"}'
        if authorization == "Bearer t0ken":
            return 200, {"Docker-Content-Digest": DIGEST}, b""
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{registry.name}/token",service="lab"'}, b""

    registry.rule = rule
    assert ask(tmp_path, registry) == DIGEST


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "image_unknown"), (401, "registry_unauthorized"), (403, "registry_unauthorized")],
)
def test_a_refusal_is_final(tmp_path: Path, registry: Registry, status: int, code: str) -> None:
    error = failure(tmp_path, registry, (status, {"WWW-Authenticate": 'Basic realm="lab"'}, b""))
    assert error.code == code
    assert f"{registry.name}/billing-api:1.0.0" in error.message


def test_a_throttled_request_is_not_repeated_and_says_when(tmp_path: Path, registry: Registry) -> None:
    error = failure(tmp_path, registry, (429, {"Retry-After": "17"}, b""))
    assert (error.code, error.details["retry_after"]) == ("registry_throttled", "17")
    assert len(registry.asked) == 1


def test_a_server_error_is_tried_three_times(tmp_path: Path, registry: Registry) -> None:
    assert failure(tmp_path, registry, (500, {}, b"")).code == "registry_unreachable"
    assert len(registry.asked) == 3


def test_an_answer_without_a_digest_is_refused(tmp_path: Path, registry: Registry) -> None:
    assert failure(tmp_path, registry, (200, {}, b"")).code == "registry_invalid"


def test_nobody_listens(tmp_path: Path, registry: Registry) -> None:
    registry.server.shutdown()
    registry.server.server_close()
    with pytest.raises(RolloutError) as raised:
        ask(tmp_path, registry)
    assert raised.value.code == "registry_unreachable"
    assert "check that the registry is up" in raised.value.message


def test_plain_http_is_spoken_only_where_it_was_allowed(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "daemon.json").write_text("{}")
    reference = Reference.parse(f"{registry.name}/billing-api:1.0.0")
    with pytest.raises(RolloutError) as raised:
        resolve(reference, RegistryFiles(daemon=tmp_path / "daemon.json"), timeout=2, sleep=lambda _seconds: None)
    assert raised.value.code == "registry_unreachable"
    assert registry.asked == []


def test_a_mirror_of_docker_hub_is_asked_first_and_may_lack_an_image(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "daemon.json").write_text(json.dumps({"registry-mirrors": [f"http://{registry.name}/"]}))
    mirrored = RegistryFiles(tmp_path / "config.json", tmp_path / "certs.d", tmp_path / "daemon.json")
    assert resolve(Reference.parse("nginx:1.30"), mirrored, timeout=2, sleep=lambda _seconds: None) == DIGEST
    assert registry.asked == [("HEAD", "/v2/library/nginx/manifests/1.30")]


def test_a_token_server_that_gives_no_token_is_named(tmp_path: Path, registry: Registry) -> None:
    registry.rule = lambda _method, path, _authorization: (
        (200, {}, b"<html>")
        if path.startswith("/token")
        else (401, {"WWW-Authenticate": f'Bearer realm="http://{registry.name}/token"'}, b"")
    )
    with pytest.raises(RolloutError, match="gave no token"):
        ask(tmp_path, registry)


def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-lab"
    helper.write_text('#!/bin/sh\nread -r key\necho "{\\"Username\\": \\"$key\\", \\"Secret\\": \\"s3cret\\"}"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    config = tmp_path / "config.json"
    config.write_text('{"credHelpers": {"r.example": "lab", "q.example": "absent"}}')
    assert base64.b64decode(credentials("r.example", config)) == b"r.example:s3cret"
    with pytest.raises(RolloutError, match="docker-credential-absent"):
        credentials("q.example", config)


def test_a_broken_docker_config_is_named(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text("{")
    with pytest.raises(RolloutError, match=r"config\.json is not valid JSON"):
        credentials("r.example", config)
