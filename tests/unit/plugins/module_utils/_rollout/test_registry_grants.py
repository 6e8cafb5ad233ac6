# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What satisfied a registry once is used again, so that a check is one request; nothing depends on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from plugins.module_utils._rollout.registry import RegistryFiles, resolve
from plugins.module_utils._rollout.release import RolloutError

from .http_registry import Answer, Asked, Registry, basic, files, running

DIGEST = "sha256:" + "1" * 64
FOUND: Answer = (200, {"Docker-Content-Digest": DIGEST}, b"")


@pytest.fixture
def registry() -> Iterator[Registry]:
    with running() as server:
        yield server


def wants_token(registry: Registry, token: str, **more: object) -> None:
    challenge = {"WWW-Authenticate": f'Bearer realm="{registry.url}/token",service="lab"'}

    def rule(asked: Asked) -> Answer:
        if asked.path.startswith("/token"):
            return 200, {}, json.dumps({"token": token, **more}).encode()
        return FOUND if asked.authorization == f"Bearer {token}" else (401, challenge, b"")

    registry.rule = rule


def granted(folder: Path, registry: Registry) -> RegistryFiles:
    return replace(files(folder, registry.name, auth=basic("lab:s3cret")), grants=folder / "grants.json")


def methods(registry: Registry) -> list[str]:
    said = [asked.method for asked in registry.asked]
    registry.asked.clear()
    return said


def test_a_token_that_is_good_saves_the_challenge(tmp_path: Path, registry: Registry) -> None:
    wants_token(registry, "t0ken", expires_in=300)
    for expected in (["HEAD", "GET", "HEAD"], ["HEAD"], ["HEAD"]):
        assert resolve(registry.reference, granted(tmp_path, registry)) == DIGEST
        assert methods(registry) == expected
    assert (tmp_path / "grants.json").stat().st_mode & 0o777 == 0o600


def test_a_token_that_is_over_or_revoked_is_fetched_anew(tmp_path: Path, registry: Registry) -> None:
    wants_token(registry, "sh0rt", expires_in=5)
    for _check in range(2):
        resolve(registry.reference, granted(tmp_path, registry))
        assert methods(registry) == ["HEAD", "GET", "HEAD"]
    wants_token(registry, "f1rst", expires_in=300)
    resolve(registry.reference, granted(tmp_path, registry))
    wants_token(registry, "sec0nd", expires_in=300)
    methods(registry)
    assert resolve(registry.reference, granted(tmp_path, registry)) == DIGEST
    assert methods(registry) == ["HEAD", "GET", "HEAD"]


def test_a_password_is_sent_at_once_to_a_registry_that_wanted_it_and_is_not_kept(
    tmp_path: Path, registry: Registry
) -> None:
    wanted = f"Basic {basic('lab:s3cret')}"
    challenge: Answer = (401, {"WWW-Authenticate": 'Basic realm="lab"'}, b"")
    registry.rule = lambda asked: FOUND if asked.authorization == wanted else challenge
    for expected in (["HEAD", "HEAD"], ["HEAD"]):
        resolve(registry.reference, granted(tmp_path, registry))
        assert methods(registry) == expected
    kept = (tmp_path / "grants.json").read_text()
    assert basic("lab:s3cret") not in kept
    assert "s3cret" not in kept


@pytest.mark.parametrize("content", ["{half", "[]", '{"x": 1}'])
def test_a_damaged_file_costs_one_challenge(tmp_path: Path, registry: Registry, content: str) -> None:
    wants_token(registry, "t0ken")
    (tmp_path / "grants.json").write_text(content)
    assert resolve(registry.reference, granted(tmp_path, registry)) == DIGEST
    assert methods(registry) == ["HEAD", "GET", "HEAD"]


def test_a_folder_that_is_not_there_costs_one_challenge(tmp_path: Path, registry: Registry) -> None:
    wants_token(registry, "t0ken")
    away = replace(granted(tmp_path, registry), grants=tmp_path / "none" / "grants.json")
    assert resolve(registry.reference, away) == DIGEST


def test_a_token_server_that_talks_nonsense_about_time_is_named(tmp_path: Path, registry: Registry) -> None:
    wants_token(registry, "t0ken", expires_in={"never": 1})
    with pytest.raises(RolloutError) as raised:
        resolve(registry.reference, granted(tmp_path, registry), sleep=lambda _seconds: None)
    assert raised.value.code == "registry_invalid"
