# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""From a bare server to a served invoice: predicted, done, and not done again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.runs import Run
from tests.integration.stack import CONTAINERS, OTHER, SERVER, TAG, Stack

CORES = ["2.19", "current"]
# Not predicted by itself: it puts in force the file that "Keep the ruleset for the next boot" is predicted to change.
CARRIED_OUT = ("firewall : Load the new ruleset",)


def test_inventory_comes_from_terraform(stack: Stack) -> None:
    if stack.terraform_problem:
        pytest.skip(stack.terraform_problem)
    assert (stack.inventory / "terraform_outputs.yml").exists()
    run = stack.playbooks.run("status.yml", "--limit=all").ok()
    assert sorted(run.hosts) == [SERVER, OTHER]


@pytest.mark.parametrize("core", CORES)
def test_check_mode_works_on_a_bare_server(predictions: dict[str, Any], core: str) -> None:
    run = predictions["runs"][core].ok()
    assert run.changed


def test_check_mode_changes_nothing(predictions: dict[str, Any]) -> None:
    before, after = set(predictions["before"]), set(predictions["after"])
    assert len(before) > 1000
    assert sorted(before ^ after) == []


@pytest.mark.parametrize("core", CORES)
def test_check_mode_names_what_the_first_run_changes(predictions: dict[str, Any], first_run: Run, core: str) -> None:
    predicted, changed = predictions["runs"][core].changed, first_run.changed
    assert [task for task in predicted if task not in changed] == []
    assert [task for task in changed if task not in predicted and not task.endswith(CARRIED_OUT)] == []


@pytest.mark.parametrize("core", CORES)
def test_second_run_changes_nothing(deployed: Stack, core: str) -> None:
    run = deployed.playbooks.run("deploy_compose.yml", core=core).unchanged()
    deployed.measure(f"no_op_seconds_{core}", run.seconds)
    deployed.measure(f"no_op_tasks_{core}", run.tasks)


def test_second_check_predicts_no_change(deployed: Stack) -> None:
    deployed.playbooks.run("deploy_compose.yml", "--check", "--diff").unchanged()


def test_invoice_is_read_back_through_nginx(deployed: Stack, invoice: dict[str, Any]) -> None:
    answer = deployed.client.get(f"/invoices/{invoice['id']}")
    assert (answer.status, answer.json()) == (200, invoice)


def test_answers_carry_request_id_and_safe_headers(deployed: Stack) -> None:
    given = deployed.client.get("/health/db", X_Request_ID="integration-4711")
    made = deployed.client.get("/health/db")
    assert given.headers["x-request-id"] == "integration-4711"
    assert len(made.headers["x-request-id"]) == 32
    assert made.headers["x-content-type-options"] == "nosniff"
    # neither a version nor the framework
    assert made.headers["server"] == "nginx"


def test_health_of_nginx_is_for_the_host_itself(deployed: Stack) -> None:
    assert deployed.client.get("/nginx-health").status in {403, 404}
    inside = "import urllib.request as r; print(r.urlopen('http://127.0.0.1/nginx-health').read().decode())"
    assert deployed.server.python(inside).strip() == "ok"


def test_nginx_answers_itself_while_the_api_is_away(deployed: Stack, invoice: dict[str, Any]) -> None:
    service = next(name for name in deployed.server.running() if name.startswith("api-"))
    deployed.server.sh(f"docker stop billing-{service}-1")
    try:
        answer = deployed.client.get("/invoices", X_Request_ID="integration-4712")
    finally:
        deployed.server.sh(f"docker start billing-{service}-1")
    assert answer.status in {502, 503, 504}
    error = answer.json()["error"]
    assert error["request_id"] == answer.headers["x-request-id"] == "integration-4712"
    assert error["message"]
    deployed.client.wait_serves(invoice)
    deployed.server.wait_running(CONTAINERS)


def test_resolved_digest_runs_whatever_its_tag_does(deployed: Stack, invoice: dict[str, Any]) -> None:
    resolved = deployed.lab.registry.digest(f"billing-api:{TAG}")
    assert deployed.digest_running() == resolved
    moved = deployed.lab.push_variant(TAG, {"MOVED": "yes"})
    try:
        assert moved != resolved
        service = next(name for name in deployed.server.running() if name.startswith("api-"))
        deployed.server.sh(f"docker restart billing-{service}-1")
        deployed.client.wait_serves(invoice)
        deployed.server.wait_running(CONTAINERS)
        assert deployed.digest_running() == resolved
    finally:
        assert deployed.lab.push_variant(TAG, {}) == resolved


def test_status_prints_service_digest_health_and_since(deployed: Stack) -> None:
    run = deployed.playbooks.run("status.yml").unchanged()
    head, *rows = [event["result"]["msg"] for event in run.events if "msg" in event.get("result", {})][-1]
    assert head.split() == ["SERVICE", "DIGEST", "STATE", "HEALTH", "SINCE"]
    shown = {row.split()[0]: row.split()[1:] for row in rows}
    running = deployed.server.running()
    assert sorted(shown) == sorted(running)
    for service, (digest, state, health, since) in shown.items():
        assert running[service]["Config"]["Image"].rpartition("@")[2].startswith(digest)
        assert (state, health) == ("running", "healthy")
        assert running[service]["State"]["StartedAt"].startswith(since.rstrip("Z"))
