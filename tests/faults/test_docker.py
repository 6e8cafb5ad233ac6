# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The Docker daemon is restarted, or killed, during each phase of a rollout: the rollout waits for it and goes on."""

from __future__ import annotations

import pytest

from tests.faults.conftest import UnderLoad
from tests.faults.site import Site, sure_of

PHASES = ("pull", "begin", "migrate", "start", "gate", "switch", "reload", "drain", "soak", "remove")
FAULTS = {
    "systemctl restart docker": "systemctl restart docker",
    "kill -9 dockerd": 'kill -9 "$(cat /run/docker.pid)"',
}
CASES = [(phase, fault) for phase in PHASES for fault in FAULTS]


@pytest.mark.fault("docker")
@pytest.mark.parametrize(("phase", "fault"), CASES, ids=[f"{fault} in {phase}" for phase, fault in CASES])
def test_a_rollout_goes_on_when_the_daemon_is_back(site: Site, under_load: UnderLoad, phase: str, fault: str) -> None:
    # systemd gives up on a service that is started too often in a minute; all these tests together are.
    site.remote.sh("systemctl reset-failed docker")
    with under_load(f"{fault} during a rollout") as case:
        case.wanted = site.push()
        running = site.start(case.wanted, intent=sure_of(phase))
        running.wait_for(phase)
        life = site.remote.sh("cat /run/docker.pid")
        site.remote.sh(FAULTS[fault])
        done = running.wait()
        assert "ok" in done, done
        assert site.remote.sh("cat /run/docker.pid") != life
