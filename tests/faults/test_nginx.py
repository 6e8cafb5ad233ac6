# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The first process of Nginx is killed during a rollout: Docker starts it again, and the rollout ends well."""

from __future__ import annotations

import pytest

from tests.faults.conftest import UnderLoad
from tests.faults.site import Site, sure_of

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
