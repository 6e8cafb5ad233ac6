# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""One followed server for all tests. FAULTS_KEEP=1 leaves it up, and the next run goes on with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.agent.watched import Watched
from tests.faults import subset
from tests.faults.load import Case, fault_under_load
from tests.faults.site import KEEP

# class -> every how-many-th case is part of the subset
EVERY = {"follow": 1, "image": 2, "drift": 2, "kill": 11, "power": 15, "operations": 1, "workflow": 2, "signature": 1}
UnderLoad = Callable[..., AbstractContextManager[Case]]


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    subset.declare(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the subset."""
    subset.choose(config, items, Path(__file__).parent, EVERY)


@pytest.fixture(scope="session")
def site() -> Iterator[Watched]:
    """The host, deployed, its agent stopped."""
    made = Watched()
    made.up()
    yield made
    if not KEEP:
        made.down()


@pytest.fixture
def under_load(site: Watched, request: pytest.FixtureRequest) -> UnderLoad:
    """Return the context in which a test lets the agent work: its argument is the line of the table."""
    return partial(fault_under_load, site, request.node.nodeid)
