# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the planner, whatever is asked for and wherever a run dies: see docs/architecture.md."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from plugins.module_utils._rollout.release import RolloutError

from .model import BAD, DIES, NO_MIGRATION, A, B, C, Killed, World, api, assert_settled, engine, make_world, record

KILLS = st.one_of(st.just(-1), st.integers(1, 60))
MOST_CHANGES = 1000  # Of one run; more means that it does not come to an end.


class Rollouts(RuleBasedStateMachine):
    """One service, under runs that die anywhere, and people who interfere."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.folder = tempfile.TemporaryDirectory()
        self.world: World = make_world(Path(self.folder.name), self.patch)
        engine(self.world).apply(api(A))

    def attempt(self, kill_at: int, call: str, argument: object) -> None:
        """Run the engine, which may die at a change, or refuse."""
        self.world.count, self.world.kill_at = 0, kill_at
        try:
            getattr(engine(self.world), call)(argument)
        except (Killed, RolloutError):
            pass
        finally:
            assert self.world.count < MOST_CHANGES
            self.world.kill_at = -1

    @rule(kill_at=KILLS, image=st.sampled_from([A, B, C, BAD, NO_MIGRATION]), force=st.booleans())
    def deploy(self, kill_at: int, image: str, force: bool) -> None:
        """Somebody deploys."""
        self.attempt(kill_at, "apply", api(image, force=force, soak=8.0))

    @rule()
    def deploy_what_dies(self) -> None:
        """Somebody deploys an image that dies in its soak; a run that dies with it could not give traffic back."""
        self.attempt(-1, "apply", api(DIES, force=True, soak=8.0))

    @rule(kill_at=KILLS, call=st.sampled_from(["rollback", "restart"]))
    def operate(self, kill_at: int, call: str) -> None:
        """Somebody rolls back, or restarts."""
        self.attempt(kill_at, call, "api")

    @rule(number=st.integers(0, 9))
    def configure(self, number: int) -> None:
        """Somebody changes the environment."""
        (self.world.root / "api.env").write_text(f"NAME={number}\n")

    @rule(seconds=st.integers(1, 30))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.world.sleep(seconds)

    @rule(image=st.sampled_from([A, B, C]))
    def converge(self, image: str) -> None:
        """A run that nobody kills brings any good image, whatever was before."""
        engine(self.world).apply(api(image, force=True, soak=8.0))
        assert_settled(self.world, image, force=True)
        assert record(self.world).live_release is not None

    @invariant()
    def nobody_is_cut_off(self) -> None:
        """No container is stopped while a worker may still send it a request."""
        assert self.world.taken == []

    @invariant()
    def somebody_serves(self) -> None:
        """Wherever a run died, requests are answered."""
        assert self.world.serves()

    @invariant()
    def what_failed_is_not_good(self) -> None:
        """A release that failed its gate or migration is never recorded as good."""
        assert {BAD, NO_MIGRATION}.isdisjoint(release.image for release in record(self.world).good)

    def teardown(self) -> None:
        """Put back what was patched."""
        self.patch.undo()
        self.folder.cleanup()


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(
    max_examples=60,
    stateful_step_count=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
