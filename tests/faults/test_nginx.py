# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Nginx dies or quits during a rollout, which ends well all the same."""

from __future__ import annotations

import contextlib
import socket

import pytest

from tests.faults.conftest import UnderLoad
from tests.faults.site import Site, sure_of, wait_until

PHASES = ("start", "switch", "reload", "drain", "soak", "remove")


@pytest.mark.fault("nginx")
@pytest.mark.parametrize("phase", PHASES)
def test_nginx_is_killed(site: Site, under_load: UnderLoad, phase: str) -> None:
    with under_load("Nginx killed during a rollout", anything=True) as case:
        case.wanted = site.push()
        (nginx,) = (item for name, item in site.remote.containers().items() if name.startswith("nginx-"))
        running = site.start(case.wanted, intent=sure_of(phase))
        running.wait_for(phase)
        site.remote.sh(f"kill -9 {nginx['State']['Pid']}")
        done = running.wait()
        assert "ok" in done, done
        site.wait_answers(30)


@pytest.mark.fault("nginx")
def test_a_release_is_rolled_out_while_an_old_nginx_still_quits(site: Site, under_load: UnderLoad) -> None:
    """Its handover was cut off, and the daemon goes on to stop it: for as long as it takes its last clients to end."""
    with under_load("Nginx quits during a rollout") as case, contextlib.ExitStack() as slow_clients:
        (old,) = (name for name in site.remote.containers() if name.startswith("nginx-"))
        for _client in range(12):  # Some of them reach the one that is to go.
            client = slow_clients.enter_context(socket.create_connection((site.host.address, 80), timeout=10))
            client.sendall(b"POST /health HTTP/1.1\r\nHost: slow\r\nContent-Length: 9\r\n\r\n")
        assert site.drive.run("restart", "nginx", kill=["before", "remove"]).get("killed")
        site.remote.sh(f"systemd-run --quiet docker stop billing-{old}-1")
        pid = site.remote.containers()[old]["State"]["Pid"]
        wait_until(
            lambda: not site.remote.sh(f"ls /proc/{pid}/root/run/prove-api.sock || true"), 10, "it does not quit"
        )
        case.wanted = site.push()
        running = site.start(case.wanted)
        running.wait_for("drain")
        assert site.remote.containers()[old]["State"]["Running"], "it was gone too early to prove anything"
        slow_clients.close()
        done = running.wait()
        assert "ok" in done, done
        assert "ok" in site.drive.run("restart", "nginx")
