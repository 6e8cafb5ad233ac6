# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent follows tags, tries nothing bad twice, mends what drifted, and stops when too much fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._rollout import window
from plugins.module_utils._rollout.agent import BREAKER, Agent, status
from plugins.module_utils._rollout.agent_state import AgentState, Hold
from plugins.module_utils._rollout.config import Config, Policy
from plugins.module_utils._rollout.release import RolloutError

from .model import BAD, DIES, NO_MIGRATION, A, B, C, Killed, World, engine, image, record

TAG = "r.example/x:stable"


def agent(world: World, **changes: Any) -> Agent:
    """Return the agent as the timer starts it."""
    config = Config(world.root, "billing", **{"services": {"api": Policy()}, **changes})
    actor = engine(world, actor="agent")
    return Agent(actor, config, AgentState(world.root), world.clock(), lambda: 0.5)


def state(world: World) -> AgentState:
    return AgentState(world.root)


def outcomes(world: World) -> list[tuple[str, str]]:
    return [(entry["actor"], entry["outcome"]) for entry in engine(world).store.history(99)]


def test_a_moved_tag_is_rolled_out_with_the_configuration_that_is_live(deployed: World) -> None:
    before = record(deployed).live_release
    (deployed.root / "api.env").write_text("NAME=half of a playbook\n")
    deployed.tags["stable"] = B
    agent(deployed).check()
    live = record(deployed).live_release
    assert live is not None
    assert before is not None
    assert (live.image, live.config_hash) == (B, before.config_hash)
    kept = engine(deployed).store.kept_file("api", live.id, "api.env")
    assert kept == b"NAME=one\n"
    assert outcomes(deployed) == [("ansible", "live"), ("agent", "live")]


def test_an_unchanged_tag_is_asked_for_once_and_changes_nothing(deployed: World) -> None:
    asked, changes = deployed.resolved, deployed.count
    agent(deployed).check()
    assert deployed.resolved == asked + 1
    assert deployed.count - changes == 0
    assert outcomes(deployed) == [("ansible", "live")]


@pytest.mark.parametrize("bad", [BAD, NO_MIGRATION, DIES])
def test_a_bad_image_is_tried_once_in_many_runs(deployed: World, bad: str) -> None:
    deployed.tags["stable"] = bad
    for _run in range(10):
        agent(deployed).check()
        deployed.sleep(30)
    assert [actor for actor, _outcome in outcomes(deployed)] == ["ansible", "agent"]
    candidate = state(deployed).memo("api").candidate
    assert candidate is not None
    assert (candidate.digest, candidate.code) == (bad.rpartition("@")[2], "quarantined")
    deployed.tags["stable"] = B
    agent(deployed).check()
    assert record(deployed).live_release == replace(record(deployed).good[0], image=B)
    assert state(deployed).memo("api").candidate is None


def test_an_image_that_is_refused_before_anything_began_is_not_tried_again(
    deployed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def verify(_engine: object, known: object, _intent: object, wanted: Any) -> object:
        if wanted.image != B:
            return known
        tried.append(wanted)
        raise RolloutError("signature_missing", "nobody signed it")

    monkeypatch.setattr("plugins.module_utils._rollout.engine.Engine._verified", verify)
    deployed.tags["stable"] = B
    for _run in range(5):
        agent(deployed).check()
    assert len(tried) == 1
    assert outcomes(deployed)[1:] == [("agent", "rejected")]
    assert [entry["code"] for entry in engine(deployed).store.quarantine().values()] == ["signature_missing"]


def test_three_different_bad_images_open_the_breaker_until_a_person_resumes(deployed: World) -> None:
    for bad in (BAD, NO_MIGRATION, DIES):
        deployed.tags["stable"] = bad
        agent(deployed).check()
    hold = state(deployed).hold("api")
    assert hold is not None
    assert hold.by == BREAKER
    assert outcomes(deployed)[-1] == ("agent", "breaker_open")
    deployed.tags["stable"] = B
    agent(deployed).check()
    candidate = state(deployed).memo("api").candidate
    assert candidate is not None
    assert candidate.code == "held"
    state(deployed).resume("api")
    agent(deployed).check()
    live = record(deployed).live_release
    assert live is not None
    assert live.image == B


def test_one_good_image_in_between_closes_the_count(deployed: World) -> None:
    for wanted in (BAD, NO_MIGRATION, B, DIES):
        deployed.tags["stable"] = wanted
        agent(deployed).check()
    assert state(deployed).hold("api") is None


def test_failures_from_before_a_resume_count_no_more(deployed: World) -> None:
    for wanted in (BAD, NO_MIGRATION):
        deployed.tags["stable"] = wanted
        agent(deployed).check()
    state(deployed).resume("api")
    deployed.tags["stable"] = DIES
    agent(deployed).check()
    assert state(deployed).hold("api") is None


def test_a_held_service_is_not_followed_but_still_mended(deployed: World) -> None:
    state(deployed).set_hold("api", Hold("root", "2026-11-25T00:00:00Z", "audit"))
    deployed.tags["stable"] = B
    del deployed.there["api-blue-2"]
    agent(deployed).check()
    assert_live(deployed, A)
    assert outcomes(deployed)[-1] == ("agent", "healed")


def test_a_pinned_service_goes_to_its_digest_and_ignores_the_tag(deployed: World) -> None:
    deployed.tags["stable"] = C
    agent(deployed, services={"api": Policy("pin")}).check()
    assert_live(deployed, A)
    agent(deployed, services={"api": Policy("pin", B.rpartition("@")[2])}).check()
    assert_live(deployed, B)


def test_a_rollout_waits_for_its_window(deployed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[bool] = []
    monkeypatch.setattr(window, "open_at", lambda _expression, _now: bool(opened))
    deployed.tags["stable"] = B
    policies = {"api": Policy(window="Mon..Fri 09..16:*")}
    agent(deployed, services=policies).check()
    assert_live(deployed, A)
    opened.append(True)
    agent(deployed, services=policies).check()
    assert_live(deployed, B)


def test_an_older_image_does_not_replace_a_newer_one_unless_forced(deployed: World) -> None:
    deployed.built = {A: "2026-11-02T10:00:00Z", B: "2026-11-01T10:00:00.5+02:00"}
    deployed.tags["stable"] = B
    for _run in range(3):
        agent(deployed).check()
    assert_live(deployed, A)
    candidate = state(deployed).memo("api").candidate
    assert candidate is not None
    assert candidate.code == "older_image"
    assert outcomes(deployed) == [("ansible", "live")]
    engine(deployed).follow("api", B.rpartition("@")[2], force=True)
    assert_live(deployed, B)


@pytest.mark.parametrize("damage", ["container", "upstream"])
def test_what_drifted_is_brought_back_and_reported_once(deployed: World, damage: str) -> None:
    if damage == "container":
        deployed.there["api-blue-1"] = replace(deployed.there["api-blue-1"], state="exited", health="")
    else:
        (deployed.root / "nginx/upstreams/api.conf").write_text("upstream api { server 10.9.9.9:8000 ; }\n")
    for _run in range(3):
        agent(deployed).check()
    assert_live(deployed, A)
    assert outcomes(deployed)[1:] == [("agent", "healed")]


def test_another_image_in_the_live_slot_is_replaced_without_taking_it_from_its_clients(deployed: World) -> None:
    deployed.there["api-blue-1"] = replace(deployed.there["api-blue-1"], image=image("9"))
    for _run in range(3):
        agent(deployed).check()
    assert_live(deployed, A)
    assert (record(deployed).live, outcomes(deployed)[1:]) == ("green", [("agent", "live")])


def test_a_service_that_is_there_and_does_not_serve_is_restarted_less_and_less_often(deployed: World) -> None:
    for name in ("api-blue-1", "api-blue-2"):
        deployed.there[name] = replace(deployed.there[name], health="unhealthy")
    agent(deployed).check()
    assert_live(deployed, A)
    assert [(entry["kind"], entry["outcome"]) for entry in engine(deployed).store.history(9)][1:] == [
        ("restart", "live")
    ]


def test_a_registry_that_fails_is_asked_less_and_less_often(deployed: World) -> None:
    deployed.outage = RolloutError("registry_unreachable", "away")
    asked = []
    for _run in range(40):
        before = deployed.resolved
        agent(deployed).check()
        asked.append(deployed.resolved - before)
        deployed.sleep(30)
    assert sum(asked) < 8
    assert state(deployed).memo("api").failures == sum(asked)
    deployed.outage = None
    deployed.tags["stable"] = B
    agent(deployed).check(eager=True)
    assert_live(deployed, B)
    assert state(deployed).memo("api").failures == 0


def test_even_a_knock_respects_what_the_registry_asked_for(deployed: World) -> None:
    deployed.outage = RolloutError("registry_throttled", "later", {"retry_after": 120.0})
    agent(deployed).check()
    before = deployed.resolved
    deployed.sleep(100)
    agent(deployed).check(eager=True)
    assert deployed.resolved == before
    deployed.sleep(30)
    agent(deployed).check(eager=True)
    assert deployed.resolved == before + 1


def test_an_agent_that_was_off_goes_to_the_newest_digest_at_once(deployed: World) -> None:
    for passed_over in (B, BAD, C):
        deployed.tags["stable"] = passed_over
    agent(deployed).check()
    assert_live(deployed, C)
    assert outcomes(deployed) == [("ansible", "live"), ("agent", "live")]


def test_what_a_person_rolled_back_is_not_rolled_out_again(deployed: World) -> None:
    deployed.tags["stable"] = B
    agent(deployed).check()
    engine(deployed).rollback("api")
    agent(deployed).check()
    assert_live(deployed, A)


def test_an_agent_that_was_killed_is_made_good_by_its_next_run(deployed: World) -> None:
    deployed.tags["stable"] = B
    deployed.count = 0
    for kill_at in range(1, 200):
        deployed.count, deployed.kill_at = 0, kill_at
        try:
            agent(deployed).check()
        except Killed:
            deployed.kill_at = -1
            agent(deployed).check()
            deployed.sleep(10)
            agent(deployed).check()
            assert_live(deployed, deployed.tags["stable"])
            deployed.tags["stable"] = A if deployed.tags["stable"] == B else B
        else:
            deployed.kill_at = -1
            return
    pytest.fail("it never came to its end")


def test_nothing_deployed_is_nothing_to_follow(world: World) -> None:
    agent(world).check()
    assert world.resolved == 0


def test_notes_can_be_kept_before_anything_is_deployed(tmp_path: Path) -> None:
    AgentState(tmp_path).set_journaled("")
    folders = [tmp_path / "state", tmp_path / "state" / "agent"]
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700, 0o700]


def test_damaged_notes_cost_one_look_and_nothing_else(deployed: World) -> None:
    agent(deployed).check()
    (state(deployed).folder / "memos.json").write_text("{half")
    deployed.tags["stable"] = B
    agent(deployed).check()
    assert_live(deployed, B)


def test_the_status_says_what_runs_waits_and_is_refused(deployed: World) -> None:
    deployed.tags["stable"] = BAD
    here = agent(deployed)
    here.check()
    here.check()
    found: Any = status(here.engine, here.config, here.state)
    one = found["services"]["api"]
    assert (one["live"]["image"], one["slot"], one["healthy"], one["policy"]) == (A, "blue", True, "follow")
    assert (one["candidate"]["code"], one["last"]["outcome"], one["held"]) == ("quarantined", "rejected", False)
    assert [entry["code"] for entry in found["quarantine"]] == ["unhealthy"]


def assert_live(world: World, wanted: str) -> None:
    """Exactly one slot serves the image, and Nginx uses it."""
    world.sleep(10)
    assert [one.image for one in world.there.values()] == [wanted] * 2
    assert all(world.used(service) for service in world.there)
    assert record(world).rollout is None
