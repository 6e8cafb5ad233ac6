# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""kill -9 of the engine around every action that it takes, and again while the next run makes that good."""

from __future__ import annotations

import pytest

from tests.faults.conftest import UnderLoad
from tests.faults.site import Site, sure_of

# Every action of a rollout, by the word that tells it from the others; a test compares it with a real one.
ACTIONS = (
    *("pull", "keep", "begin", "migrate", "start", "gate", "commit", "switch", "reload", "prove", "drain", "soak"),
    *("remove", "finish", "environment", "prune"),
)
CASES = [(when, action) for action in ACTIONS for when in ("before", "after")]
# Before it the next run has a whole rollout to do, so that its own actions can be killed one after the other.
_LONG = CASES.index(("before", "commit"))
pytestmark = pytest.mark.fault("kill")


def words(actions: list[str]) -> set[str]:
    """Return the word of each action that is in ACTIONS."""
    return {next((word for word in reversed(name.split()) if word in ACTIONS), name) for name in actions}


def test_the_cases_are_all_actions_of_a_rollout(site: Site, under_load: UnderLoad) -> None:
    for _release in range(3):  # The first releases leave nothing to prune.
        site.succeed(site.push())
    with under_load("no fault") as case:
        case.wanted = site.push()
        done = site.succeed(case.wanted, intent=sure_of("soak"))
    # Nginx may prove itself at once; the case of this action waits for a rollout in which it does not.
    assert set(ACTIONS) - {"prove"} <= words(done["actions"]) <= set(ACTIONS), done["actions"]


@pytest.mark.parametrize(("when", "action"), CASES, ids=["-".join(case) for case in CASES])
def test_a_killed_rollout_is_made_good(site: Site, under_load: UnderLoad, when: str, action: str) -> None:
    number = CASES.index((when, action))
    again = number + 1 if number < _LONG else 1 + number % 3
    with under_load("engine killed before or after an action, and again in the next run") as case:
        for _attempt in range(10 if action == "prove" else 1):
            case.wanted = site.push()
            first = site.apply(case.wanted, kill=[when, action], intent=sure_of(action))
            if first.get("killed"):
                break
        assert first.get("killed"), f"{when} {action} was skipped: {first}"
        assert action in first["actions"][-1].split()
        site.wait_answers(1)
        second = site.apply(case.wanted, kill=["after" if when == "before" else "before", again])
        assert second.get("killed") or len(second["actions"]) < again, second
