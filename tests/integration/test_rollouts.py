# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Deploying, going back and restarting by playbook and module, while clients that never retry write invoices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.runs import Run
from tests.integration.stack import CONTAINERS, TAG, Stack, image
from tests.lab.load import SHAPES, Load, reconcile

NEXT = {"api_image": image("next"), "api_env": {"GREETING": "new"}, "api_soak": 3}


@contextmanager
def nobody_notices(stack: Stack) -> Iterator[Load]:
    """Run the block under load, and hold it to the promise: nothing failed, nothing lost, nothing twice."""
    with Load(stack.server.address, folder=stack.lab.dir / "load", shapes=SHAPES[:3], connections=4) as load:
        yield load
    assert load.result.failed == 0, load.result.failures
    assert load.result.requests > 100
    ledger = reconcile(stack.server.host, load.output)
    assert ledger.balanced, ledger


def restart(stack: Stack, folder: Path, service: str, *arguments: str) -> dict[str, Any]:
    """Restart a service by the module and return its result."""
    play = {
        "hosts": "billing",
        "gather_facts": False,
        "tasks": [{"name": "restart", "billing.infrastructure.service_restart": {"service": service}}],
    }
    (folder / "restart.yml").write_text(json.dumps([play]))
    run = stack.playbooks.run(str(folder / "restart.yml"), *arguments).ok()
    return next(dict(event["result"]) for event in run.events if event["event"] == "ok")


def environment_of_the_api(stack: Stack) -> list[str]:
    """Return the environment of the live API container."""
    return next(list(item["Config"]["Env"]) for name, item in stack.server.running().items() if name.startswith("api-"))


def test_a_deployment_and_the_way_back_without_a_registry(deployed: Stack) -> None:
    before = deployed.digest_running()
    digest = deployed.lab.push_variant("next", {"NEXT": "1"})
    with nobody_notices(deployed):
        run = deployed.playbooks.run("deploy_compose.yml", "--tags=api", variables=NEXT).ok()
        deployed.measure("rollout_timeline", _rollout(run)["timeline"])
        assert deployed.digest_running() == digest
        assert "GREETING=new" in environment_of_the_api(deployed)
        deployed.lab.registry.stop()
        try:
            predicted = deployed.playbooks.run("rollback.yml", "--check").ok()
            assert (predicted.changed, deployed.digest_running()) == (["Go back to the release before"], digest)
            deployed.playbooks.run("rollback.yml").ok()
        finally:
            deployed.lab.registry.start()
        assert deployed.digest_running() == before
        assert "GREETING=new" not in environment_of_the_api(deployed)
    deployed.server.wait_running(CONTAINERS)


def test_what_was_left_is_refused_until_forced(deployed: Stack) -> None:
    run = deployed.playbooks.run("deploy_compose.yml", "--tags=api", variables=NEXT)
    run.the_failure()
    assert run.failure["code"] == "quarantined"
    assert "rolled back by a person" in run.message
    deployed.playbooks.run("deploy_compose.yml", "--tags=api", variables=NEXT | {"api_force": True}).ok()
    assert "GREETING=new" in environment_of_the_api(deployed)
    deployed.playbooks.run("rollback.yml").ok()
    again = deployed.playbooks.run("deploy_compose.yml", "--tags=api").ok()
    assert "api : Roll the API" not in "\n".join(again.changed)


@pytest.mark.parametrize("service", ["api", "nginx"])
def test_restarts_that_nobody_notices(deployed: Stack, tmp_path: Path, service: str) -> None:
    before = deployed.server.running()
    assert restart(deployed, tmp_path, service, "--check")["changed"]
    assert sorted(deployed.server.running()) == sorted(before)
    with nobody_notices(deployed):
        result = restart(deployed, tmp_path, service)
    assert result["changed"]
    deployed.server.wait_running(CONTAINERS)
    mine = {name: item["Id"] for name, item in deployed.server.running().items() if name.startswith(service)}
    assert len(mine) == 1
    assert mine.keys() != {name for name in before if name.startswith(service)}  # the other slot
    assert len(deployed.server.containers()) == CONTAINERS


def test_restart_of_the_database_keeps_the_data(deployed: Stack, tmp_path: Path, invoice: dict[str, Any]) -> None:
    before = deployed.server.containers()["postgres"]["Id"]
    assert restart(deployed, tmp_path, "postgres")["changed"]
    assert deployed.server.containers()["postgres"]["Id"] != before
    deployed.client.wait_serves(invoice)


def test_a_run_after_all_that_changes_nothing(deployed: Stack) -> None:
    deployed.playbooks.run("deploy_compose.yml", variables={"api_image": image(TAG)}).unchanged()


def _rollout(run: Run) -> dict[str, Any]:
    done = [event for event in run.events if event["event"] == "ok" and "Roll the API" in event["task"]]
    return dict(done[0]["result"])
