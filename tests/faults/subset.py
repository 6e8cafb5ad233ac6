# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Which cases run: all with FAULTS=all, otherwise every k-th of each class, from the first on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

ALL = os.environ.get("FAULTS") == "all"


def declare(config: pytest.Config) -> None:
    """Make the marker known that says to which class of faults a test belongs."""
    config.addinivalue_line("markers", "fault(name): the class of faults that a test belongs to")


def choose(config: pytest.Config, items: list[pytest.Item], folder: Path, every: Mapping[str, int]) -> None:
    """Leave out the cases of a folder that are not part of the subset.

    Args:
        config, items: pytest's.
        folder: whose tests are chosen from; each must belong to a class.
        every: class -> k.
    """
    seen: Counter[str] = Counter()
    chosen: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        if item.path.parent != folder:
            chosen.append(item)
            continue
        mark = item.get_closest_marker("fault")
        if mark is None:
            raise pytest.UsageError(f"{item.nodeid} belongs to no class of faults")
        number = seen[mark.args[0]]
        seen[mark.args[0]] += 1
        (chosen if ALL or number % every[mark.args[0]] == 0 else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = chosen
