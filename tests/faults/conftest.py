# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""One deployment for all faults. FAULTS_KEEP=1 leaves it up, and the next run goes on with it.

FAULTS=all runs every case. Otherwise each class of faults (marker `fault`, over all its tests in the order of the
files) gives every k-th of its cases, from the first on; k stands at the class in EVERY.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.faults.load import Case, fault_under_load
from tests.faults.site import KEEP, Site

ALL = os.environ.get("FAULTS") == "all"
# class -> every how-many-th case is part of the subset
EVERY = {
    "kill": 11,
    "image": 4,
    "docker": 10,
    "two engines": 25,
    "nginx": 6,
    "power": 15,
    "registry": 6,
    "meanwhile": 3,
    "system calls": 80,
    "many rollouts": 2,
}
UnderLoad = Callable[..., AbstractContextManager[Case]]


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "fault(name): the class of faults that a test belongs to")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the subset."""
    seen: Counter[str] = Counter()
    chosen: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        if item.path.parent != Path(__file__).parent:
            chosen.append(item)
            continue
        mark = item.get_closest_marker("fault")
        if mark is None:
            raise pytest.UsageError(f"{item.nodeid} belongs to no class of faults")
        number = seen[mark.args[0]]
        seen[mark.args[0]] += 1
        (chosen if ALL or number % EVERY[mark.args[0]] == 0 else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = chosen


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """The host, deployed."""
    made = Site()
    made.up()
    yield made
    if not KEEP:
        made.down()


@pytest.fixture
def under_load(site: Site, request: pytest.FixtureRequest) -> UnderLoad:
    """Return the context in which a test injects its fault: its arguments are the line of the table, and `allowed`."""
    return partial(fault_under_load, site, request.node.nodeid)
