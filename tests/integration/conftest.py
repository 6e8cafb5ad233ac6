# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""One deployment for all tests. INTEGRATION_KEEP=1 leaves it up, and the next run goes on with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration import sampling
from tests.integration.runs import TALKATIVE, Run
from tests.integration.stack import CONTAINERS, KEEP, Stack

# What breaks more comes later; each test leaves the deployment as it found it.
ORDER = [
    "test_first_run",
    "test_exposure",
    "test_secrets",
    "test_recovery",
    "test_rollouts",
    "test_bad_input",
    "test_rerun",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the modules, keep the order within each."""
    mine = [item for item in items if item.path.parent == Path(__file__).parent]
    rest = [item for item in items if item not in mine]
    items[:] = rest + sorted(mine, key=lambda item: ORDER.index(item.path.stem))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The lab with two bare servers."""
    started = time.monotonic()
    made = Stack()
    made.up()
    made.measure("lab_up_seconds", time.monotonic() - started)
    yield made
    if not KEEP:
        made.down()


@pytest.fixture(scope="session")
def predictions(stack: Stack) -> dict[str, Any]:
    """What `--check --diff` says about the bare server, and what the server looked like before and after it."""
    before = sampling.snapshot(stack.server)
    runs = {
        core: stack.playbooks.run("deploy_compose.yml", "--check", "--diff", core=core) for core in ("2.19", "current")
    }
    for core, run in runs.items():
        stack.measure(f"first_check_seconds_{core}", run.seconds)
    return {"before": before, "runs": runs, "after": sampling.snapshot(stack.server)}


@pytest.fixture(scope="session")
def first_run(stack: Stack, request: pytest.FixtureRequest) -> Run:
    """The first deployment, as talkative as can be, with every command line on both machines watched."""
    if any("predictions" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("predictions")
    with sampling.CommandLines(stack.server) as seen:
        run = stack.playbooks.run("deploy_compose.yml", "-vvv", "--diff", env=TALKATIVE)
    stack.command_lines = seen.found
    stack.measure("first_run_seconds", run.seconds)
    return run.ok()


@pytest.fixture(scope="session")
def deployed(stack: Stack, first_run: Run) -> Stack:
    """The server after its first deployment."""
    assert first_run.returncode == 0
    stack.server.wait_running(CONTAINERS)
    return stack


@pytest.fixture(scope="session")
def invoice(deployed: Stack) -> dict[str, Any]:
    """An invoice that was written through Nginx at the beginning, and must be there ever after."""
    return deployed.client.write_invoice()
