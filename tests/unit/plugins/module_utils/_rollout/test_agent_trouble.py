# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong around the agent: kills, clocks, damaged files, two at once. The service and the others go on."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from plugins.module_utils._rollout.agent import BREAKER, Agent
from plugins.module_utils._rollout.agent_state import AgentState
from plugins.module_utils._rollout.config import Policy
from plugins.module_utils._rollout.notify import Outbox, Target
from plugins.module_utils._rollout.release import RolloutError

from .model import BAD, DIES, NO_MIGRATION, A, B, World, api, engine, killed_at_every_change, record
from .test_agent import TAG, agent, outcomes, state


def live_image(world: World) -> str:
    live = record(world).live_release
    assert live is not None
    return live.image


def test_a_killed_rollback_is_not_undone(deployed: World) -> None:
    def begin() -> None:
        engine(deployed).store.set_quarantine({})
        deployed.tags["stable"] = B
        agent(deployed).check()
        assert live_image(deployed) == B

    kept = 0
    for _kill in killed_at_every_change(deployed, begin, lambda: engine(deployed).rollback("api")):
        # Killed before the switch it is abandoned, and the release that serves goes on.
        begun = live_image(deployed) == A
        for _run in range(2):
            agent(deployed).check()
        assert live_image(deployed) == (A if begun else B)
        kept += begun
    assert kept > 10


def test_an_image_that_says_nonsense_of_its_age_is_one_of_unknown_age(deployed: World) -> None:
    deployed.built = {A: "2026-11-02T10:00:00Z", B: "last tuesday"}
    deployed.tags["stable"] = B
    agent(deployed).check()
    assert live_image(deployed) == B


def test_trouble_with_one_service_is_not_the_trouble_of_the_next(
    deployed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def check(_agent: Agent, known: Any, *_rest: Any) -> None:
        looked.append(known.intent.service)
        raise OSError(28, "No space left on device")

    store = engine(deployed).store
    known = record(deployed)
    store.save(replace(known, intent=replace(known.intent, service="other")))
    monkeypatch.setattr(Agent, "_check", check)
    agent(deployed, services={"api": Policy(), "other": Policy()}).check()
    assert looked == ["api", "other"]


def test_a_damaged_quarantine_is_named(deployed: World) -> None:
    (deployed.root / "state" / "quarantine.json").write_text("{half")
    with pytest.raises(RolloutError, match=r"quarantine\.json is not what the engine wrote") as caught:
        engine(deployed).store.quarantine()
    assert caught.value.code == "state_invalid"


@pytest.mark.parametrize("ahead", [4e8, 1e12])
def test_a_clock_that_was_wrong_makes_nobody_blind(deployed: World, ahead: float) -> None:
    memo = replace(state(deployed).memo("api"), next_check=deployed.time + ahead, not_before=deployed.time + ahead)
    state(deployed).remember("api", memo)
    deployed.tags["stable"] = B
    agent(deployed).check()
    assert live_image(deployed) == B


def test_a_registry_may_ask_for_an_hour_at_most(deployed: World) -> None:
    deployed.outage = RolloutError("registry_throttled", "later", {"retry_after": 1e10})
    agent(deployed).check()
    deployed.outage = None
    deployed.tags["stable"] = B
    deployed.sleep(3601)
    agent(deployed).check()
    assert live_image(deployed) == B


def test_two_writers_lose_nothing(deployed: World) -> None:
    def write(service: str) -> None:
        for number in range(40):
            AgentState(deployed.root).remember(service, replace(state(deployed).memo(service), failures=number))

    writers = [threading.Thread(target=write, args=(service,)) for service in ("api", "nginx", "postgres")]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    assert [state(deployed).memo(service).failures for service in ("api", "nginx", "postgres")] == [39, 39, 39]


def test_a_pin_may_name_an_older_image(deployed: World) -> None:
    deployed.built = {A: "2026-11-02T10:00:00Z", B: "2026-11-01T10:00:00Z"}
    agent(deployed, services={"api": Policy("pin", B.rpartition("@")[2])}).check()
    assert live_image(deployed) == B


def test_a_rollout_that_cannot_begin_is_tried_less_and_less_often(
    deployed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[float] = []

    def refuse(*_what: Any) -> None:
        tried.append(deployed.time)
        raise RolloutError("disk_full", "no room")

    monkeypatch.setattr("plugins.module_utils._rollout.preflight.refuse_older", refuse)
    deployed.tags["stable"] = B
    for _run in range(40):
        agent(deployed).check()
        deployed.sleep(30)
    assert len(tried) < 8
    assert state(deployed).memo("api").failures == len(tried)


def test_the_breaker_opens_also_after_a_kill(deployed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Agent, "_break", lambda *_what: None)
        for bad in (BAD, NO_MIGRATION, DIES):
            deployed.tags["stable"] = bad
            agent(deployed).check()
    agent(deployed).check()
    agent(deployed).check()
    hold = state(deployed).hold("api")
    assert hold is not None
    assert hold.by == BREAKER
    assert [outcome for _actor, outcome in outcomes(deployed)].count("breaker_open") == 1


def test_what_a_playbook_had_refused_is_not_tried_with_half_of_its_configuration(deployed: World) -> None:
    (deployed.root / "api.env").write_text("NAME=two\n")
    deployed.tags["stable"] = BAD
    with pytest.raises(RolloutError):
        engine(deployed, actor="ansible").apply(api(TAG, soak=10.0))
    agent(deployed).check()
    assert outcomes(deployed) == [("ansible", "live"), ("ansible", "rejected")]
    candidate = state(deployed).memo("api").candidate
    assert candidate is not None
    assert candidate.code == "quarantined"


def test_a_receiver_that_is_new_is_told_of_what_its_first_run_does(deployed: World) -> None:
    told: list[str] = []

    def send(_target: Target, _headers: Any, body: bytes, _seconds: float) -> str:
        told.append(body.decode())
        return ""

    box = Outbox(
        state(deployed).folder / "outbox.json", [Target.parse({"name": "ops", "url": "https://x.example/"})], send
    )
    box.expect(engine(deployed).store.history(9))
    deployed.tags["stable"] = B
    agent(deployed).check()
    box.deliver(engine(deployed).store.history(9), 1.0, "host")
    assert ["live" in one and B in one for one in told] == [True]
