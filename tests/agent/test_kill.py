# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""kill -9 of the agent's unit, and power loss, at every action of a rollout: the next run of the unit makes it good."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.agent.conftest import UnderLoad
from tests.agent.watched import UNIT, Watched
from tests.faults.test_kill import ACTIONS

_DROP_IN = f"/etc/systemd/system/{UNIT}.d/kill.conf"
_CASES = [(when, action) for action in ACTIONS for when in ("before", "after") if action != "prove"]


@contextmanager
def killed(site: Watched, when: str, action: str) -> Iterator[None]:
    """Let the unit, with all its limits, end itself at an action."""
    request = json.dumps({"op": "check", "service": "api", "kill": [when, action]})
    site.drive.install()
    site.remote.run("mkdir", "-p", _DROP_IN.rpartition("/")[0])
    words = f"[Service]\nExecStart=\nExecStart=/usr/bin/python3 /usr/local/lib/billing-drive/driver.py '{request}'\n"
    site.remote.run("tee", _DROP_IN, text=words)
    site.remote.sh("systemctl daemon-reload")
    try:
        yield
    finally:
        site.remote.sh(f"rm -f {_DROP_IN}; systemctl daemon-reload")


@pytest.mark.fault("kill")
@pytest.mark.parametrize(("when", "action"), _CASES, ids=["-".join(case) for case in _CASES])
def test_a_killed_agent_is_made_good_by_its_next_run(
    site: Watched, under_load: UnderLoad, when: str, action: str
) -> None:
    with under_load("agent's unit killed before or after an action") as case:
        digest = site.publish()
        case.wanted = site.good
        with killed(site, when, action):
            assert site.look() == "signal"
        site.wait_answers(1)
        assert site.look() == "success"
        site.one_release(digest)
        mine = [one for one in site.history() if one["after"] and one["after"]["digest"] == digest]
        assert [one["outcome"] for one in mine][-1] == "live"


@pytest.mark.fault("power")
@pytest.mark.parametrize("action", [action for action in ACTIONS if action != "prove"])
def test_the_host_loses_its_power_while_the_agent_works(site: Watched, under_load: UnderLoad, action: str) -> None:
    with under_load("power loss of the host during an action of the agent", anything=True) as case:
        digest = site.publish()
        case.wanted = site.good
        # The unit stops itself at the action and stays there: then the power goes.
        with killed(site, "before", action):
            site.remote.sh(f'sed -i \'s/"kill"/"stop"/\' {_DROP_IN}; systemctl daemon-reload')
            site.remote.sh(f"systemctl reset-failed {UNIT} || true; systemctl start --no-block {UNIT}")
            site.remote.sh(
                f"for _ in $(seq 600); do pid=$(systemctl show --property=MainPID --value {UNIT})\n"
                'grep -qs "^State:.T" "/proc/$pid/status" && exit 0; sleep 0.1; done; exit 1'
            )
            site.host.kill()
            site.remote.forget()
            site.host.start()
        site.wait_answers(90)
        site.wait_released(digest, 120)
        site.stop_timer()
