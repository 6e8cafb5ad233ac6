# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS: whom the client trusts, and that it does not leave TLS again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.module_utils._rollout.registry import RegistryFiles, resolve
from plugins.module_utils._rollout.release import RolloutError
from tests.lab import keys

from .http_registry import DIGEST, Registry, basic, files, running


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Path, Path]]:
    """A certificate authority and a certificate with its key for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    authority = keys.ensure_authority(folder, "unit")
    return authority[0], keys.ensure_certificate(folder, authority, "registry", {"127.0.0.1": "IP"})


@pytest.fixture
def registry(secured: tuple[Path, tuple[Path, Path]]) -> Iterator[Registry]:
    with running(secured[1]) as server:
        yield server


def known(tmp_path: Path, registry: Registry, authority: Path) -> RegistryFiles:
    """Docker's files where the authority is the one of the registry."""
    folder = tmp_path / "certs.d" / registry.name
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(authority.read_bytes())
    found = files(tmp_path, registry.name, auth=basic("lab:s3cret"))
    found.daemon.write_text("{}")
    return found


def never(seconds: float) -> None:
    """Stands for time.sleep where nothing is to be waited for."""
    pytest.fail(f"waited {seconds} s")


def failure(registry: Registry, found: RegistryFiles) -> RolloutError:
    with pytest.raises(RolloutError) as raised:
        resolve(registry.reference, found, timeout=5, sleep=lambda _seconds: None)
    return raised.value


def test_the_authority_of_a_registry_is_trusted(
    tmp_path: Path, registry: Registry, secured: tuple[Path, tuple[Path, Path]]
) -> None:
    assert resolve(registry.reference, known(tmp_path, registry, secured[0]), timeout=5) == DIGEST


def test_an_unknown_authority_is_refused_at_once_and_the_remedy_named(tmp_path: Path, registry: Registry) -> None:
    def never(_seconds: float) -> None:
        pytest.fail("it asked again")

    with pytest.raises(RolloutError) as raised:
        resolve(registry.reference, RegistryFiles(tmp_path / "c", tmp_path / "d", tmp_path / "e"), sleep=never)
    assert raised.value.code == "registry_unreachable"
    assert f"certs.d/{registry.name}/ca.crt" in raised.value.message


def test_an_insecure_registry_may_have_any_certificate(tmp_path: Path, registry: Registry) -> None:
    assert resolve(registry.reference, files(tmp_path, registry.name), timeout=5) == DIGEST


def test_a_redirect_away_from_tls_is_refused(
    tmp_path: Path, registry: Registry, secured: tuple[Path, tuple[Path, Path]]
) -> None:
    with running() as plain:
        registry.rule = lambda _asked: (302, {"Location": f"{plain.url}/m"}, b"")
        error = failure(registry, known(tmp_path, registry, secured[0]))
    assert (error.code, error.details["location"]) == ("registry_invalid", f"{plain.url}/m")
    assert plain.asked == []


def test_a_password_does_not_leave_tls_for_a_token(
    tmp_path: Path, registry: Registry, secured: tuple[Path, tuple[Path, Path]]
) -> None:
    with running() as plain:
        registry.rule = lambda _asked: (401, {"WWW-Authenticate": f'Bearer realm="{plain.url}/token"'}, b"")
        error = failure(registry, known(tmp_path, registry, secured[0]))
    assert error.code == "registry_invalid"
    assert plain.asked == []
