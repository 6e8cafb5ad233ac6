# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What breaks comes back by itself, with the data. Seconds are reported, not judged."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.integration.client import Probe
from tests.integration.stack import CONTAINERS, Stack


@pytest.mark.parametrize("service", ["postgres", "api", "nginx"])
def test_kill_of_the_main_process(deployed: Stack, invoice: dict[str, Any], service: str) -> None:
    name, item = next(found for found in deployed.server.running().items() if found[0].startswith(service))
    started = time.monotonic()
    deployed.server.sh(f"kill -9 {item['State']['Pid']}")
    seconds = deployed.client.wait_serves(invoice)
    deployed.measure(f"serves_after_kill_seconds_{service}", seconds)
    # It was that very process: the container has another one now.
    deployed.server.wait_running(CONTAINERS)
    deployed.measure(f"healthy_after_kill_seconds_{service}", time.monotonic() - started)
    state = deployed.server.running()[name]
    assert state["Id"] == item["Id"]
    assert (state["State"]["Pid"], state["RestartCount"]) != (item["State"]["Pid"], item["RestartCount"])
    deployed.client.write_invoice()


def test_restart_of_the_docker_daemon(deployed: Stack, invoice: dict[str, Any]) -> None:
    before = {name: item["State"]["StartedAt"] for name, item in deployed.server.running().items()}
    with Probe(deployed.client, invoice) as probe:
        started = time.monotonic()
        deployed.server.sh("systemctl restart docker")
        restarted = time.monotonic() - started
        time.sleep(2)
    assert probe.requests > 10
    deployed.measure("docker_restart_seconds", restarted)
    deployed.measure("docker_restart_requests", probe.requests)
    deployed.measure("docker_restart_failed_requests", probe.failed)
    deployed.client.wait_serves(invoice)
    deployed.server.wait_running(CONTAINERS)
    # live-restore: no container was even restarted
    assert {name: item["State"]["StartedAt"] for name, item in deployed.server.running().items()} == before
    deployed.client.write_invoice()


def test_reboot(deployed: Stack, invoice: dict[str, Any]) -> None:
    deployed.server.forget()
    started = time.monotonic()
    deployed.lab.host(deployed.server.name).reboot()
    deployed.measure("ssh_after_reboot_seconds", time.monotonic() - started)
    deployed.client.wait_serves(invoice)
    deployed.measure("serves_after_reboot_seconds", time.monotonic() - started)
    deployed.server.wait_running(CONTAINERS)
    deployed.client.write_invoice()


def test_power_cut(deployed: Stack, invoice: dict[str, Any]) -> None:
    last = deployed.client.write_invoice()
    host = deployed.lab.host(deployed.server.name)
    deployed.server.forget()
    host.kill()
    started = time.monotonic()
    host.start()
    deployed.client.wait_serves(invoice)
    deployed.measure("serves_after_power_cut_seconds", time.monotonic() - started)
    # What was answered with 201 just before the cut is there too.
    assert deployed.client.serves(last)
    deployed.server.wait_running(CONTAINERS)


def test_a_run_after_all_that_changes_nothing(deployed: Stack) -> None:
    deployed.playbooks.run("deploy_compose.yml").unchanged()
