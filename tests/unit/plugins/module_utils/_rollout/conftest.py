# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A world to roll out in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .model import A, World, api, engine, make_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Return a model whose traffic must not have been hurt at the end."""
    here = make_world(tmp_path, monkeypatch)
    yield here
    assert here.taken == []


@pytest.fixture
def deployed(world: World) -> World:
    """A world where the playbook has deployed A by its tag."""
    world.tags["stable"] = A
    engine(world, actor="ansible").apply(api("r.example/x:stable", soak=10.0))
    return world
