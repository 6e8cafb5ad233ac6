# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The whole host loses its power in the middle of every action: it comes back by itself, and the next run goes on."""

from __future__ import annotations

import pytest

from tests.faults.conftest import UnderLoad
from tests.faults.site import Site, sure_of
from tests.faults.test_kill import ACTIONS


@pytest.mark.fault("power")
# Whether Nginx has to be waited for after its reload is a matter of milliseconds.
@pytest.mark.parametrize("action", [action for action in ACTIONS if action != "prove"])
def test_the_host_loses_its_power(site: Site, under_load: UnderLoad, action: str) -> None:
    with under_load("power loss of the host during an action", anything=True) as case:
        case.wanted = site.push()
        running = site.start(case.wanted, intent=sure_of(action))
        running.wait_for(action)
        site.host.kill()
        running.cut()
        site.remote.forget()
        site.host.start()
        # Before anybody does anything about it.
        site.wait_answers(90)
