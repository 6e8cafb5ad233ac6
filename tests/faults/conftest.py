# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""One deployment for all faults. FAULTS_KEEP=1 leaves it up, and the next run goes on with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.faults import subset
from tests.faults.load import Case, fault_under_load
from tests.faults.site import KEEP, Site

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
    subset.declare(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the subset."""
    subset.choose(config, items, Path(__file__).parent, EVERY)


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
