# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Secrets of a lab are made once, complete, and readable by their owner only."""

from __future__ import annotations

from pathlib import Path

from tests.lab import keys


def test_a_private_file_is_private_from_the_start_and_written_only_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "secret"
    assert keys.write_private(path, "one")
    assert path.stat().st_mode & 0o777 == 0o600
    assert not keys.write_private(path, "one")
    path.chmod(0o644)
    assert keys.write_private(path, "one")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["secret"]


def test_a_password_is_made_once_and_differs_between_labs(tmp_path: Path) -> None:
    first = keys.ensure_password(tmp_path / "a")
    assert keys.ensure_password(tmp_path / "a") == first
    assert keys.ensure_password(tmp_path / "b") != first
    assert len(first) >= 32


def test_the_registry_gets_bcrypt_with_a_salt_of_its_own() -> None:
    one, other = keys.bcrypt("secret"), keys.bcrypt("secret")
    assert one.startswith("$2b$05$")
    assert len(one) == 60
    assert one != other
