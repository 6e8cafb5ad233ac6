# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""An image is built again when, and only when, something that goes into it changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.builder import RECIPES, content_hash


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text("FROM base\n")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "a").write_text("one\n")
    return tmp_path


def test_the_same_content_has_the_same_hash(folder: Path) -> None:
    before = content_hash(folder)
    (folder / "conf" / "a").write_text("one\n")
    assert content_hash(folder) == before


def test_what_is_no_content_does_not_count(folder: Path) -> None:
    before = content_hash(folder)
    (folder / "README.md").write_text("words")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert content_hash(folder) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "conf" / "a").write_text("two\n"),
        lambda folder: (folder / "conf" / "a").rename(folder / "conf" / "b"),
        lambda folder: (folder / "conf" / "a").chmod(0o755),
        lambda folder: (folder / "new").touch(),
        lambda folder: (folder / "Dockerfile").unlink(),
    ],
    ids=["content", "name", "executable", "added", "removed"],
)
def test_every_change_changes_the_hash(folder: Path, change: Callable[[Path], object]) -> None:
    before = content_hash(folder)
    change(folder)
    assert content_hash(folder) != before


def test_the_parent_counts_and_the_parts_do_not_run_together(folder: Path) -> None:
    assert content_hash(folder, "base:1") != content_hash(folder, "base:2")
    assert content_hash(folder, "ab", "c") != content_hash(folder, "a", "bc")


def test_every_own_image_has_a_dockerfile_and_a_page_about_its_contract() -> None:
    for recipe in RECIPES.values():
        if recipe.parent == "base":
            assert (recipe.folder / "Dockerfile").exists(), recipe.name
            assert (recipe.folder / "README.md").exists(), recipe.name
