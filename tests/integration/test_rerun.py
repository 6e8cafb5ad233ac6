# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A run that was cut off at any point is completed by the next one: on the second server, bare until now."""

from __future__ import annotations

import time

from tests.integration.client import Client
from tests.integration.stack import CONTAINERS, OTHER, SERVER, Stack

ONLY_OTHER = f"--limit={OTHER}"
# (begun task, seconds into it, whether the server loses power too)
CUTS = [
    ("docker : Install Docker Engine and Compose", 4.0, False),
    ("postgres : Run PostgreSQL from the resolved digest", 3.0, False),
    ("api : Roll the API to the digest behind its reference", 2.0, True),
]


def test_killed_runs_are_completed_by_the_next(deployed: Stack) -> None:
    started = time.monotonic()
    for task, into, power_cut in CUTS:
        with deployed.playbooks.started("deploy_compose.yml", ONLY_OTHER) as run:
            run.wait_for_task(task)
            time.sleep(into)
            run.kill()
        if power_cut:
            host = deployed.lab.host(OTHER)
            deployed.other.forget()
            host.kill()
            host.start()
    deployed.playbooks.run("deploy_compose.yml", ONLY_OTHER).ok()
    deployed.measure("deployed_after_three_cuts_seconds", time.monotonic() - started)
    assert len(deployed.other.containers()) == len(deployed.other.running()) == CONTAINERS
    client = Client(deployed.other.address)
    assert client.serves(client.write_invoice())


def test_both_servers_one_after_the_other_change_nothing(deployed: Stack) -> None:
    run = deployed.playbooks.run("deploy_compose.yml", "--limit=all", variables={"billing_serial": 1}).unchanged()
    assert sorted(run.hosts) == [SERVER, OTHER]
    first, second = (
        [position for position, event in enumerate(run.events) if event.get("host") == host] for host in (SERVER, OTHER)
    )
    assert max(first) < min(second)
