# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that fail, hang or are cut off where it hurts most."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._rollout import metrics, nginx
from plugins.module_utils._rollout.agent import status
from plugins.module_utils._rollout.agent_state import Hold
from plugins.module_utils._rollout.commands import table
from plugins.module_utils._rollout.docker import Result
from plugins.module_utils._rollout.intent import Gate
from plugins.module_utils._rollout.publish import release_answer
from plugins.module_utils._rollout.release import SLOTS, Container, RolloutError
from plugins.module_utils._rollout.state import Action

from .model import BAD, DONE, A, B, C, Killed, World, api, assert_settled, engine, image, postgres, record
from .test_agent import TAG, agent, outcomes, state

D = image("9")
BUSY = RolloutError("docker_failed", "device or resource busy")


def live_image(world: World) -> str:
    live = record(world).live_release
    assert live is not None
    return live.image


def quarantine(world: World) -> list[str]:
    return [entry["image"] for entry in engine(world).store.quarantine().values()]


def follow(world: World, pinned: str, hook: Any = None) -> None:
    world.tags["stable"] = pinned
    engine(world, hook, actor="agent").follow("api", pinned.rpartition("@")[2])


# -- containers that do not go, or do not come back


@pytest.mark.parametrize("command", ["stop", "rm"])
def test_a_release_that_came_through_its_soak_stays_although_the_old_one_cannot_be_removed(
    deployed: World, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    run = World.run
    failed: list[tuple[str, ...]] = []

    def fails_once(self: World, *arguments: str, **options: Any) -> Result:
        if arguments[0] == command and any("api-blue" in word for word in arguments) and not failed:
            failed.append(arguments)
            raise BUSY
        return run(self, *arguments, **options)

    monkeypatch.setattr(World, "run", fails_once)
    follow(deployed, B)
    assert failed
    assert deployed.serves()
    assert (live_image(deployed), quarantine(deployed)) == (B, [])
    agent(deployed).check()
    assert_settled(deployed, B)


def test_after_a_kill_between_stop_and_rm_a_new_release_that_fails_is_not_left_before_the_old_one_runs(
    deployed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = World.run

    def dies(self: World, *arguments: str, **options: Any) -> Result:
        if arguments[0] == "rm" and any("api-blue" in word for word in arguments):
            raise Killed
        return run(self, *arguments, **options)

    monkeypatch.setattr(World, "run", dies)
    with pytest.raises(Killed):
        follow(deployed, B)
    monkeypatch.setattr(World, "run", run)
    for name in ("api-green-1", "api-green-2"):
        deployed.there[name] = replace(deployed.there[name], health="unhealthy")
    agent(deployed).check()
    assert deployed.serves()
    assert_settled(deployed, A, force=True)


def stay(world: World, patched: pytest.MonkeyPatch, dies_after: str = "") -> None:
    """Roll B out: it fails in its soak, while A has died and does not start again. Killed after an action, or not."""
    compose, ended = World.compose, []

    def refuses(self: World, files: Any, *arguments: str, **options: Any) -> Result:
        if "api-blue-1" in arguments:
            raise RolloutError("docker_failed", "cannot start api-blue-1")
        return compose(self, files, *arguments, **options)

    def old_dies(when: str, action: Action) -> None:
        if (when, str(action)) == ("before", "wait green soak"):
            ended.append(action)
            ends(world, "api-blue-1", "api-blue-2")
            for name in ("api-green-1", "api-green-2"):
                world.there[name] = replace(world.there[name], health="unhealthy")
        if (when, str(action)) == ("after", dies_after) and ended:
            raise Killed

    patched.setattr(World, "compose", refuses)
    follow(world, B, old_dies)


@pytest.fixture
def old_never_starts(deployed: World) -> World:
    """A world in which a release that failed had to stay."""
    with pytest.MonkeyPatch.context() as patched, pytest.raises(RolloutError, match=r"is not healthy|failed"):
        stay(deployed, patched)
    return deployed


def test_what_runs_is_never_removed_in_favour_of_what_does_not_start(old_never_starts: World) -> None:
    running = [one.image for one in old_never_starts.there.values() if one.state == "running"]
    assert running == [B, B]
    assert live_image(old_never_starts) == B
    assert outcomes(old_never_starts)[-1] == ("agent", "failed")
    follow(old_never_starts, C)
    assert_settled(old_never_starts, C)


@pytest.mark.parametrize("how", ["dies", "refuses"])
def test_half_of_what_runs_is_not_removed_in_favour_of_what_does_not_start(
    deployed: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    compose = World.compose
    hit: list[Action] = []

    def bad(self: World, files: Any, *arguments: str, **options: Any) -> Result:
        if "api-blue-1" not in arguments:
            return compose(self, files, *arguments, **options)
        if how == "refuses":
            raise RolloutError("docker_failed", "cannot start api-blue-1")
        result = compose(self, files, *arguments, **options)
        ends(deployed, "api-blue-1", "api-blue-2")
        return result

    def half_dies(when: str, action: Action) -> None:
        if (when, str(action)) == ("before", "wait green soak") and not hit:
            hit.append(action)
            ends(deployed, "api-blue-1", "api-blue-2", "api-green-2")

    monkeypatch.setattr(World, "compose", bad)
    with pytest.raises(RolloutError, match=r"failed"):
        follow(deployed, B, half_dies)
    assert deployed.serves()
    agent(deployed).check()
    assert deployed.serves()
    assert_settled(deployed, B, force=True)


def ends(world: World, *services: str) -> None:
    for name in services:
        world.there[name] = replace(world.there[name], state="exited", health="")


def test_a_release_that_stayed_and_recovered_is_refused_no_longer(old_never_starts: World) -> None:
    assert quarantine(old_never_starts) == [B]
    for name in ("api-green-1", "api-green-2"):
        old_never_starts.there[name] = replace(old_never_starts.there[name], health="healthy")
    agent(old_never_starts).check()
    assert quarantine(old_never_starts) == []
    engine(old_never_starts, actor="ansible").apply(api(TAG, soak=10.0))


def test_force_lifts_the_quarantine_of_what_is_live(deployed: World) -> None:
    live = record(deployed).live_release
    assert live is not None
    engine(deployed).records.quarantine("api", live, BUSY)
    engine(deployed).apply(api(TAG, soak=10.0, force=True))
    assert quarantine(deployed) == []


def test_a_rollback_goes_back_from_what_stayed_although_its_end_was_cut_off(
    deployed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(Killed):
        stay(deployed, patched, dies_after="commit green")
    engine(deployed, actor="root").rollback("api")
    assert live_image(deployed) == A


def test_an_nginx_that_quits_condemns_no_release(deployed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    quitting = Container("q", "nginx-green", "", "", "running", "healthy", 0, 2, "2026-01-01T00:00:00Z")
    listed, answering = World.containers, deployed.answering
    monkeypatch.setattr(World, "containers", lambda self, _timeout=30.0: [*listed(self), quitting])
    monkeypatch.setattr(World, "recent", lambda self: [*listed(self), quitting])
    monkeypatch.setattr(nginx, "answering", lambda one, *more: None if one is quitting else answering(one, *more))
    follow(deployed, B)
    assert (live_image(deployed), quarantine(deployed)) == (B, [])


def test_a_gate_that_hangs_ends_a_rollout_before_the_switch_and_after_it(
    deployed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, hangs = World.run, [False]

    def slow(self: World, *arguments: str, **options: Any) -> Result:
        if arguments[0] == "exec" and hangs[0]:
            self.sleep(30)
            raise RolloutError("timeout", "'docker exec ...' did not finish in 30 s")
        return run(self, *arguments, **options)

    monkeypatch.setattr(World, "run", slow)
    engine(deployed, actor="ansible").apply(api(TAG, soak=10.0, gates=(Gate(exec=("check",)),)))
    hangs[0] = True
    with pytest.raises(RolloutError, match="'check' in api-green-1 did not end in 30 s"):
        follow(deployed, B)
    assert (live_image(deployed), quarantine(deployed)) == (A, [B])
    hangs[0] = False

    def hang(when: str, action: Action) -> None:
        hangs[0] = hangs[0] or (when, str(action)) == ("before", "wait green soak")

    with pytest.raises(RolloutError, match="not healthy"):
        follow(deployed, C, hang)
    assert (live_image(deployed), quarantine(deployed)) == (A, [B, C])


def test_an_image_that_cannot_be_removed_is_not_how_the_rollout_ended(
    deployed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_world: World, _image: str) -> None:
        raise RolloutError("timeout", "'docker image rm' did not finish in 60 s")

    for pinned in (B, C):
        follow(deployed, pinned)
    monkeypatch.setattr(World, "remove_image", slow)
    follow(deployed, D)
    assert live_image(deployed) == D
    with pytest.raises(RolloutError, match=r"is not healthy|failed") as caught:
        follow(deployed, BAD)
    assert (caught.value.code, caught.value.details["outcome"]) == ("unhealthy", "rejected")
    monkeypatch.undo()


def test_a_kill_while_files_are_removed_leaves_none_that_count_as_complete(
    deployed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(when: str, action: Action) -> None:
        if (when, action.name) == ("after", "start"):
            raise Killed

    with pytest.raises(Killed):
        follow(deployed, B, dies)
    remove = shutil.rmtree

    def half(folder: Path) -> None:
        (folder / "green.yaml").unlink()
        raise Killed

    monkeypatch.setattr(shutil, "rmtree", half)
    with pytest.raises(Killed):
        agent(deployed).check()
    monkeypatch.setattr(shutil, "rmtree", remove)
    agent(deployed).check()
    assert_settled(deployed, B)


# -- quarantine


def test_check_mode_lifts_no_quarantine(deployed: World) -> None:
    deployed.tags["stable"] = BAD
    agent(deployed).check()
    engine(deployed).predict(api(TAG, soak=10.0, force=True), pending_config=False)
    assert quarantine(deployed) == [BAD]


def test_a_forced_release_leaves_quarantine_when_it_is_live_and_not_before(deployed: World) -> None:
    follow(deployed, B)
    engine(deployed, actor="root").rollback("api")
    assert quarantine(deployed) == [B]

    def dies(when: str, action: Action) -> None:
        if (when, action.name) == ("before", "commit"):
            raise Killed

    with pytest.raises(Killed):
        engine(deployed, dies).follow("api", B.rpartition("@")[2], force=True)
    assert quarantine(deployed) == [B]
    agent(deployed).check()
    assert live_image(deployed) == A
    engine(deployed).follow("api", B.rpartition("@")[2], force=True)
    assert (live_image(deployed), quarantine(deployed)) == (B, [])


def test_what_the_agent_decided_before_it_had_the_lock_is_decided_again(
    deployed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (deployed.root / "api.env").write_text("NAME=two\n")
    deployed.tags["stable"] = BAD
    waiting = agent(deployed)
    alone = waiting.engine._alone
    done: list[float] = []

    def after_a_playbook(timeout: float) -> contextlib.AbstractContextManager[None]:
        if timeout and not done:
            done.append(timeout)
            with pytest.raises(RolloutError):
                engine(deployed, actor="ansible").apply(api(TAG, soak=10.0))
            state(deployed).set_hold("api", Hold("root", "2026-01-01T00:00:00Z", "not tonight"))
        return alone(timeout)

    monkeypatch.setattr(waiting.engine, "_alone", after_a_playbook)
    waiting.check()
    assert done
    assert outcomes(deployed) == [("ansible", "live"), ("ansible", "rejected")]
    candidate = state(deployed).memo("api").candidate
    assert candidate is not None
    assert candidate.code == "held"


# -- a rollback that is said twice, records that are damaged


@pytest.mark.parametrize("at", ["wait drain", "wait soak", "remove"])
def test_a_rollback_that_was_cut_off_and_is_said_again_goes_back_once(deployed: World, at: str) -> None:
    for pinned in (B, C):
        follow(deployed, pinned)

    def dies(when: str, action: Action) -> None:
        if when == "before" and " ".join(word for word in str(action).split() if word not in SLOTS) == at:
            raise Killed

    with pytest.raises(Killed):
        engine(deployed, dies, actor="root").rollback("api")
    outcome = engine(deployed, actor="root").rollback("api")
    assert live_image(deployed) == B
    assert quarantine(deployed) == [C]
    assert outcome.changed
    assert outcome.before is not None
    assert outcome.after is not None
    assert (outcome.before.image, outcome.after.image) == (C, B)


def test_a_rollback_that_failed_and_was_cut_off_is_begun_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = [""]

    def compose(self: World, _files: Any, *arguments: str, **_options: Any) -> Result:
        lines = (self.root / "release.env").read_text().splitlines()
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        release = (values["POSTGRES_IMAGE"], values["POSTGRES_CONFIG_HASH"])
        if release[0] == refused[0]:
            raise RolloutError("docker_failed", f"cannot start {arguments[-1]}")
        one = Container("p", "postgres", *release, "running", "healthy", 0, 1, "2026-01-01T00:00:00Z")
        self.there["postgres"] = one
        return DONE

    def dies(when: str, action: Action) -> None:
        if (when, action.name) == ("after", "fail"):
            raise Killed

    monkeypatch.setattr(World, "compose", compose)
    for pinned in (A, B):
        engine(world).apply(postgres(pinned))
    refused[0] = A
    with pytest.raises(Killed):
        engine(world, dies).rollback("postgres")
    refused[0] = ""
    engine(world).rollback("postgres")
    live = record(world, "postgres").live_release
    assert live is not None
    assert live.image == A


def test_a_damaged_record_is_the_trouble_of_its_service_alone(deployed: World) -> None:
    environment = deployed.root / "release.env"
    files = "releases/postgres/1-2/postgres.yaml"
    lines = [line + f":{files}" * line.startswith("COMPOSE_FILE=") for line in environment.read_text().splitlines()]
    environment.write_text("\n".join([*lines, "POSTGRES_IMAGE=p", "API_X_IMAGE=not its own"]) + "\n")
    (deployed.root / files).parent.mkdir(parents=True)
    (deployed.root / files).touch()
    (deployed.root / "state/postgres.json").write_text("{")
    del deployed.there["api-blue-2"]
    agent(deployed).check()
    assert sorted(deployed.there) == ["api-blue-1", "api-blue-2"]
    said = environment.read_text()
    assert "POSTGRES_IMAGE=p\n" in said
    assert files in said
    assert "API_X" not in said
    assert "run the playbook" in engine(deployed).store.damaged()["postgres"]
    with pytest.raises(RolloutError, match="run the playbook"):
        engine(deployed).status()
    waiting = agent(deployed)
    found = status(waiting.engine, waiting.config, waiting.state)
    assert 'billing_rollout_healthy{service="postgres"} 0' in metrics.render(found, 0.0)
    assert release_answer(found)["services"]["postgres"] == {"digest": None, "healthy": False}
    assert "postgres: " in table(found)
