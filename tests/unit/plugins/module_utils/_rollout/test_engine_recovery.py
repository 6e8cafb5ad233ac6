# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine makes of a run that was killed, and of a world that fails under it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from plugins.module_utils._rollout import actions, store
from plugins.module_utils._rollout.release import RolloutError
from plugins.module_utils._rollout.state import Action

from .model import (
    ADDRESSES,
    BAD,
    DIES,
    A,
    B,
    C,
    Killed,
    World,
    api,
    assert_settled,
    engine,
    killed_at_every_change,
    postgres,
    record,
)


@pytest.mark.parametrize("following", [A, B, C, BAD], ids=["back", "again", "another", "bad"])
def test_a_kill_at_any_change_leaves_traffic_alone_and_the_next_run_converges(world: World, following: str) -> None:
    kills = 0
    for _kill in killed_at_every_change(
        world, lambda: engine(world).apply(api(A)), lambda: engine(world).apply(api(B))
    ):
        kills += 1
        assert world.serves()
        if following == BAD:
            with pytest.raises(RolloutError):
                engine(world).apply(api(BAD, force=True))
            assert world.serves()
            engine(world).apply(api(B))
        else:
            engine(world).apply(api(following))
        assert_settled(world, B if following == BAD else following)
    assert kills >= 20


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_every_action_converges(world: World, when: str) -> None:
    names: list[str] = []
    engine(world).apply(api(A))
    engine(world, lambda at, action: names.append(_name(action)) if at == when else None).apply(api(B))
    engine(world).apply(api(A))
    steps = ["begin", "start", "wait gate", "commit", "switch", "reload", "wait drain", "wait soak", "remove"]
    assert [step for step in (*steps, "finish live", "environment") if step not in names] == []
    for number, name in enumerate(dict.fromkeys(names)):

        def die(at: str, action: Action, name: str = name) -> None:
            if (at, _name(action)) == (when, name):
                raise Killed

        # An image and a configuration that are new each time, so that there is something to do in every action.
        (world.root / "api.env").write_text(f"NAME={number}\n")
        world.images.discard(B)
        if name in ("migrate", "prune"):  # The digest was migrated, and there may be nothing to prune.
            continue
        with pytest.raises(Killed):
            engine(world, die).apply(api(B))
        assert world.serves()
        engine(world).apply(api(A))
        assert_settled(world, A)


def _name(action: Action) -> str:
    return f"{action.name} {action.reason}".strip()


def test_a_kill_during_the_recovery_converges_too(world: World) -> None:
    kills = 0

    def begin() -> None:
        engine(world).apply(api(A))

        def die(when: str, action: Action) -> None:
            if (when, action.name) == ("after", "reload"):
                raise Killed

        with pytest.raises(Killed):
            engine(world, die).apply(api(B))
        assert record(world).rollout is not None

    for _kill in killed_at_every_change(world, begin, lambda: engine(world).apply(api(C))):
        kills += 1
        engine(world).apply(api(C))
        assert_settled(world, C)
    assert kills >= 20


def test_a_kill_while_the_traffic_goes_back_converges(world: World) -> None:
    kills = 0
    for _kill in killed_at_every_change(
        world,
        lambda: engine(world).apply(api(A)),
        lambda: engine(world).apply(api(DIES, soak=10.0, force=True)),
    ):
        kills += 1
        engine(world).apply(api(A))
        assert_settled(world, A)
    assert kills >= 20


def test_a_lost_record_is_made_anew_from_what_runs(world: World) -> None:
    engine(world).apply(api(A))
    engine(world).apply(api(B))
    (world.root / "state" / "api.json").unlink()
    assert engine(world).apply(api(B)).changed is False
    assert_settled(world, B)


def test_a_damaged_record_is_named(world: World) -> None:
    engine(world).apply(api(A))
    (world.root / "state" / "api.json").write_text("{}")
    with pytest.raises(RolloutError, match="is not what the engine wrote") as raised:
        engine(world).apply(api(B))
    assert raised.value.code == "state_invalid"


def test_a_daemon_that_comes_back_is_waited_for(world: World) -> None:
    engine(world).apply(api(A))

    def away(when: str, action: Action) -> None:
        if (when, action.name) == ("before", "start") and world.away_until < 0:
            world.away_until = world.time + 10

    engine(world, away).apply(api(B))
    assert_settled(world, B)


def test_a_daemon_that_stays_away_is_named(world: World) -> None:
    engine(world).apply(api(A))
    world.away_until = world.time + 1000
    with pytest.raises(RolloutError) as raised:
        engine(world).apply(api(B))
    assert raised.value.code == "docker_down"
    world.away_until = -1.0
    engine(world).apply(api(B))
    assert_settled(world, B)


def test_a_killed_database_rollout_does_not_forget_the_good_release(world: World) -> None:
    kills = 0
    for _kill in killed_at_every_change(
        world, lambda: engine(world).apply(postgres(A)), lambda: engine(world).apply(postgres(BAD, force=True))
    ):
        kills += 1
        with pytest.raises(RolloutError):
            engine(world).apply(postgres(BAD, force=True))
        assert [(one.image, one.serving) for one in world.there.values()] == [(A, True)]
        assert engine(world).apply(postgres(A)).changed is False
    assert kills >= 8


def test_a_full_disk_is_named_and_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    engine(world).apply(api(A))

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(store, "write_atomic", full)
        with pytest.raises(RolloutError) as raised:
            engine(world).apply(api(B))
    assert raised.value.code == "disk_full"
    engine(world).apply(api(A))
    assert_settled(world, A)


def test_the_history_names_each_rollout_once(world: World) -> None:
    for _kill in killed_at_every_change(
        world, lambda: engine(world).apply(api(A)), lambda: engine(world).apply(api(B))
    ):
        engine(world).apply(api(B))
    lines = (world.root / "state" / "history.jsonl").read_text().splitlines()
    ids = [json.loads(line)["id"] for line in lines]
    assert len(ids) == len(set(ids)) > 10


def test_a_release_is_not_blamed_for_what_clients_got_while_its_host_booted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power goes right after the switch: Nginx is back before the new slot is, and answers 502 in its place."""

    def at_its_time() -> str:
        return datetime.fromtimestamp(world.time, UTC).isoformat().replace("+00:00", "Z")

    monkeypatch.setattr(actions, "timestamp", at_its_time)
    engine(world).apply(api(A))

    def power_cut(when: str, action: Action) -> None:
        if (when, action.name) == ("after", "reload"):
            raise Killed

    with pytest.raises(Killed):
        engine(world, power_cut).apply(api(B))
    world.sleep(5)
    booting, line = world.time, json.dumps({"upstream_addr": ADDRESSES["green"][0], "status": 502})
    world.sleep(5)
    monkeypatch.setattr(world, "output", lambda _proxy, since, until: [line] * 50 if since <= booting < until else [])
    engine(world).apply(api(B))
    assert_settled(world, B)
    assert engine(world).store.quarantine() == {}
