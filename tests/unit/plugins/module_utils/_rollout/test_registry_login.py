# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins are found wherever the Docker client would find them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from plugins.module_utils._rollout.registry_login import Login, credentials
from plugins.module_utils._rollout.release import RolloutError

from .http_registry import basic


def config(folder: Path, content: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def helper(folder: Path, name: str, script: str) -> None:
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\nread -r key\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("registry", "key"),
    [
        ("r.example:5000", "r.example:5000"),
        ("r.example:5000", "https://r.example:5000"),
        ("r.example:5000", "https://r.example:5000/v1/"),
        ("r.example:5000", "http://r.example:5000/v2/"),
        ("docker.io", "https://index.docker.io/v1/"),
        ("docker.io", "docker.io"),
    ],
)
def test_a_login_is_found_under_every_name_docker_writes(tmp_path: Path, registry: str, key: str) -> None:
    path = config(tmp_path, {"auths": {"q.example": {"auth": "wrong"}, key: {"auth": "right"}}})
    assert credentials(registry, path) == Login("right")


def test_the_exact_name_comes_first(tmp_path: Path) -> None:
    path = config(tmp_path, {"auths": {"https://r.example/v1/": {"auth": "old"}, "r.example": {"auth": "new"}}})
    assert credentials("r.example", path) == Login("new")


@pytest.mark.parametrize("key", ["r.example.org", "sub.r.example", "r.example:5000", "https://q.example/r.example"])
def test_a_login_for_another_host_is_not_used(tmp_path: Path, key: str) -> None:
    assert credentials("r.example", config(tmp_path, {"auths": {key: {"auth": "other"}}})) == Login()


def test_a_name_and_a_password_in_clear_are_taken_too(tmp_path: Path) -> None:
    entry = {"username": "lab", "password": "s3cret"}
    assert credentials("r.example", config(tmp_path, {"auths": {"r.example": entry}})) == Login(basic("lab:s3cret"))


def test_an_identity_token_is_found(tmp_path: Path) -> None:
    path = config(tmp_path, {"auths": {"r.example": {"auth": "bm9uZTo=", "identitytoken": "r3fresh"}}})
    assert credentials("r.example", path).identity_token == "r3fresh"


@pytest.mark.parametrize("content", [{}, {"auths": None}, {"auths": {"r.example": {}}}])
def test_nobody_is_logged_in(tmp_path: Path, content: object) -> None:
    assert credentials("r.example", config(tmp_path, content)) == Login()
    assert credentials("r.example", tmp_path / "absent.json") == Login()


@pytest.mark.parametrize(
    "content", [{"auths": ["r.example"]}, {"auths": {"r.example": "text"}}, {"credHelpers": "lab"}]
)
def test_a_config_of_another_shape_is_named(tmp_path: Path, content: object) -> None:
    with pytest.raises(RolloutError, match=r"config\.json") as raised:
        credentials("r.example", config(tmp_path, content))
    assert raised.value.code == "config_invalid"


def test_a_broken_docker_config_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(RolloutError, match=r"config\.json is not readable JSON"):
        credentials("r.example", path)


def test_a_credential_helper_is_asked_for_the_name_docker_uses(helpers: Path) -> None:
    helper(helpers, "lab", 'echo "{\\"Username\\": \\"$key\\", \\"Secret\\": \\"s3cret\\"}"')
    path = config(helpers, {"credHelpers": {"r.example": "lab"}, "credsStore": "absent"})
    assert base64.b64decode(credentials("r.example", path).basic) == b"r.example:s3cret"
    path = config(helpers, {"credsStore": "lab"})
    assert base64.b64decode(credentials("docker.io", path).basic) == b"https://index.docker.io/v1/:s3cret"


def test_a_credential_helper_may_keep_an_identity_token(helpers: Path) -> None:
    helper(helpers, "lab", 'echo "{\\"Username\\": \\"<token>\\", \\"Secret\\": \\"r3fresh\\"}"')
    assert credentials("r.example", config(helpers, {"credsStore": "lab"})) == Login("", "r3fresh")


def test_a_credential_helper_that_knows_nobody_means_no_login(helpers: Path) -> None:
    helper(helpers, "lab", "echo credentials not found in native keychain; exit 1")
    assert credentials("r.example", config(helpers, {"credsStore": "lab"})) == Login()


@pytest.mark.parametrize("script", ["exit 1", "echo no JSON", "echo '{}'", "echo '[]'", "exec sleep 60"])
def test_a_credential_helper_that_fails_or_hangs_is_named(helpers: Path, script: str) -> None:
    helper(helpers, "lab", script)
    with pytest.raises(RolloutError, match="docker-credential-lab") as raised:
        credentials("r.example", config(helpers, {"credsStore": "lab"}), timeout=0.5)
    assert raised.value.code == "registry_unauthorized"


def test_an_absent_credential_helper_is_named(helpers: Path) -> None:
    with pytest.raises(RolloutError, match="docker-credential-absent"):
        credentials("r.example", config(helpers, {"credHelpers": {"r.example": "absent"}}))
