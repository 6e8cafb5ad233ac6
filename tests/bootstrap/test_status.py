# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What the server says of itself: to a file, the console and a bucket, and after a run that could say nothing."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest
from billing_bootstrap.program import main, stopped

from tests.bootstrap.conftest import Machine


def published(machine: Machine) -> list[dict[str, Any]]:
    """Return every status that was published so far."""
    texts = (machine.root / "published.json").read_text()
    return [json.loads(one) for one in texts.replace("}\n{", "}\n\n{").split("\n\n")]


@pytest.fixture
def bucket(machine: Machine) -> Machine:
    """A machine that publishes its status."""
    machine.config["status_url"] = "s3://bucket/status/billing-api1.json"
    machine.command("aws", f"cat >> {machine.root}/published.json")
    return machine


def test_server_that_is_not_ready_tells_how_far_it_is_also_in_a_playbook_that_hangs(bucket: Machine) -> None:
    bucket.run()
    told = [(status["state"], status["phase"]) for status in published(bucket)]
    assert told == [("waiting", ""), ("waiting", "playbook"), ("ready", "")]


def test_server_that_is_ready_stays_so_while_it_looks(bucket: Machine) -> None:
    bucket.run()
    bucket.run()
    assert [status["state"] for status in published(bucket)][3:] == ["ready"]


def killed(machine: Machine) -> dict[str, Any]:
    """Run in a process that is killed hard in the playbook; return the status that it leaves."""
    machine.command("ansible-playbook", "kill -KILL $PPID; sleep 1")
    child = os.fork()
    if child == 0:
        machine.run()
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    left: dict[str, Any] = json.loads(machine.paths.status.read_text())
    return left


def test_run_that_was_killed_hard_is_told_by_the_next_one(bucket: Machine) -> None:
    assert killed(bucket)["reason"] == ""
    assert killed(bucket)["reason"] == "the run before was killed in phase playbook: see the journal"
    assert published(bucket)[-1]["reason"] == killed(bucket)["reason"]
    bucket.command("ansible-playbook", "true")
    assert (bucket.run()["state"], published(bucket)[-1]["reason"]) == ("ready", "")


def test_run_that_was_killed_does_not_hide_why_the_one_before_failed(machine: Machine) -> None:
    machine.command("ansible-playbook", "exit 4")
    assert "ended with 4" in machine.run()["reason"]
    assert "ended with 4" in killed(machine)["reason"]
    machine.command("ansible-playbook", "exit 5")
    assert "ended with 5" in machine.run()["reason"]


def test_server_that_was_ready_stays_so_where_its_next_run_is_killed(machine: Machine) -> None:
    machine.run()
    assert killed(machine)["state"] == "ready"
    machine.command("ansible-playbook", "true")
    status = machine.run()
    assert (status["state"], status["reason"]) == ("ready", "")


def test_a_run_that_is_stopped_says_so(machine: Machine) -> None:
    machine.run()
    machine.command("ansible-playbook", "kill -TERM $PPID; sleep 5")
    before = signal.signal(signal.SIGTERM, stopped)
    try:
        status = machine.run()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (status["state"], status["phase"], "was stopped" in status["reason"]) == ("waiting", "playbook", True)


def test_a_configuration_that_is_half_written_is_told_on_the_console(machine: Machine) -> None:
    machine.paths.config.parent.mkdir(parents=True)
    machine.paths.config.write_text("{half")
    with pytest.raises(ValueError, match="Expecting"):
        main(machine.paths)
    assert "cannot be read" in machine.paths.console.read_text()


def test_status_is_published_through_a_pipe(machine: Machine) -> None:
    machine.command("aws", f"cat > {machine.root}/published.json")
    machine.config["status_url"] = "s3://bucket/status/billing-api1.json"
    machine.run()
    assert json.loads((machine.root / "published.json").read_text())["state"] == "ready"


def test_status_that_cannot_be_published_stops_nothing(machine: Machine) -> None:
    machine.command("aws", "exit 1")
    machine.config["status_url"] = "s3://bucket/status/billing-api1.json"
    assert machine.run()["state"] == "ready"
