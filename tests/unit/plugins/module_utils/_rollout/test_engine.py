# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine does with releases, good and bad, on a model of Docker and Nginx."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plugins.module_utils._rollout import registry
from plugins.module_utils._rollout.release import RolloutError
from plugins.module_utils._rollout.state import Action

from .model import BAD, DIES, NO_MIGRATION, A, B, C, Killed, World, api, assert_settled, engine, postgres, record


def test_a_first_release_goes_to_blue_and_a_second_to_green(world: World) -> None:
    first = engine(world).apply(api(A))
    assert (first.changed, first.before, first.slot) == (True, None, "blue")
    assert_settled(world, A)
    second = engine(world).apply(api(B))
    assert (second.changed, second.before, second.slot) == (True, first.after, "green")
    assert_settled(world, B)
    assert world.migrations == [A, B]


def test_a_bad_release_is_removed_and_quarantined_and_the_live_one_never_notices(world: World) -> None:
    engine(world).apply(api(A))
    with pytest.raises(RolloutError) as raised:
        engine(world).apply(api(BAD))
    assert (raised.value.code, raised.value.logs) == ("unhealthy", ["last words"])
    assert raised.value.details["outcome"] == "rejected"
    assert_settled(world, A)
    with pytest.raises(RolloutError) as refused:
        engine(world).apply(api(BAD))
    assert refused.value.code == "quarantined"
    with pytest.raises(RolloutError) as predicted:
        engine(world).predict(api(BAD), pending_config=False)
    assert predicted.value.code == "quarantined"
    with pytest.raises(RolloutError) as forced:
        engine(world).apply(api(BAD, force=True))
    assert forced.value.code == "unhealthy"
    assert BAD not in world.images
    assert_settled(world, A)


def test_a_first_release_that_is_bad_may_be_tried_again(world: World) -> None:
    for _attempt in range(2):
        with pytest.raises(RolloutError) as raised:
            engine(world).apply(api(BAD))
        assert raised.value.code == "unhealthy"
    engine(world).apply(api(A))
    assert_settled(world, A)


def test_a_failed_migration_stops_before_anything_starts(world: World) -> None:
    engine(world).apply(api(A))
    with pytest.raises(RolloutError) as raised:
        engine(world).apply(api(NO_MIGRATION))
    assert raised.value.code == "migration_failed"
    assert_settled(world, A)


def test_a_release_that_dies_in_its_soak_gives_the_traffic_back(world: World) -> None:
    engine(world).apply(api(A))
    with pytest.raises(RolloutError) as raised:
        engine(world).apply(api(DIES, soak=10.0))
    assert (raised.value.code, raised.value.details["outcome"]) == ("unhealthy", "rolled_back")
    assert_settled(world, A)
    assert [entry["outcome"] for entry in engine(world).store.history(9)] == ["live", "rolled_back"]


def test_a_configuration_change_replaces_without_a_second_migration(world: World) -> None:
    engine(world).apply(api(A))
    (world.root / "api.env").write_text("NAME=two\nMORE=x\n")
    outcome = engine(world).apply(api(A))
    assert (outcome.slot, outcome.diff_keys) == ("green", ["MORE", "NAME"])
    assert world.migrations == [A]


@pytest.mark.parametrize(("old", "new"), [(1, 2), (2, 1)])
def test_replicas_come_and_go_with_the_slot(world: World, old: int, new: int) -> None:
    engine(world).apply(api(A, old))
    (world.root / "compose.d" / "api.blue.yaml").write_text("second")
    engine(world).apply(api(A, new))
    assert_settled(world, A, new)
    engine(world).rollback("api")
    assert [one.image for one in world.there.values()] == [A] * old


def test_a_dead_live_release_is_started_again(world: World) -> None:
    engine(world).apply(api(A))
    del world.there["api-blue-1"]
    assert engine(world).predict(api(A), pending_config=False).changed is True
    assert engine(world).apply(api(A)).changed is True
    assert_settled(world, A)


def test_an_upstream_file_changed_by_hand_is_put_right(world: World) -> None:
    engine(world).apply(api(A))
    (world.root / "nginx/upstreams/api.conf").write_text("upstream api { server 10.9.9.9:8000 ; }\n")
    assert engine(world).apply(api(A)).changed is True
    assert_settled(world, A)


def test_a_rollback_goes_to_the_last_good_release_without_a_registry(world: World) -> None:
    for wanted in (A, B, C):
        engine(world).apply(api(wanted))
    (world.root / "api.env").write_text("NAME=two\n")
    engine(world).apply(api(C))
    asked = world.resolved
    assert engine(world).predict_rollback("api").after == record(world).good[1]
    outcome = engine(world).rollback("api")
    assert outcome.after is not None
    assert world.resolved == asked
    kept = world.root / "releases" / "api" / outcome.after.id / "api.env"
    assert kept.read_text() == "NAME=one\n"
    assert [one.image for one in world.there.values()] == [C, C]
    engine(world).rollback("api")
    assert [one.image for one in world.there.values()] == [B, B]  # not to what was left before
    with pytest.raises(RolloutError, match="no good release"):
        engine(world).rollback("api")


def test_a_rollback_takes_an_unsoaked_release_back(world: World) -> None:
    engine(world).apply(api(A))

    def die(when: str, action: Action) -> None:
        if (when, action.reason) == ("before", "soak"):
            raise Killed

    with pytest.raises(Killed):
        engine(world, die).apply(api(B, soak=30.0))
    engine(world).rollback("api")
    assert_settled(world, A)
    with pytest.raises(RolloutError) as raised:
        engine(world).apply(api(B))
    assert raised.value.code == "quarantined"


def test_a_restart_moves_to_the_other_slot(world: World) -> None:
    engine(world).apply(api(A))
    assert engine(world).predict_restart("api").slot == "green"
    outcome = engine(world).restart("api")
    assert (outcome.changed, outcome.slot, outcome.before) == (True, "green", outcome.after)
    assert_settled(world, A)


def test_old_releases_go_with_their_images_and_a_rollback_stays_possible(world: World) -> None:
    for wanted in (A, B, C, A, B, C):
        engine(world).apply(api(wanted, keep=2))
    assert world.images == {B, C}
    assert len(list((world.root / "releases" / "api").iterdir())) == 2
    engine(world).rollback("api")
    assert [one.image for one in world.there.values()] == [B, B]


def test_a_bad_database_image_is_put_back(world: World) -> None:
    engine(world).apply(postgres(A))
    with pytest.raises(RolloutError, match="postgres"):
        engine(world).apply(postgres(BAD))
    assert [one.image for one in world.there.values()] == [A]
    assert engine(world).apply(postgres(A)).changed is False


def test_a_bad_database_setting_is_put_back(world: World) -> None:
    engine(world).apply(postgres(A))
    (world.root / "compose.d" / "postgres.yaml").write_text("second")
    with pytest.raises(RolloutError):
        engine(world).apply(postgres(BAD))
    values = (world.root / "release.env").read_text()
    folder = next(line.partition("=")[2] for line in values.splitlines() if line.startswith("POSTGRES_RELEASE="))
    assert (world.root / folder / "postgres.yaml").read_text() == "first"


def test_an_unknown_digest_is_predicted_before_the_first_release_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*_arguments: object) -> str:
        raise RolloutError("registry_unreachable", "cannot ask")

    with monkeypatch.context() as patched:
        patched.setattr(registry, "resolve", nowhere)
        predicted = engine(world).predict(api(A), pending_config=False)
    assert (predicted.changed, predicted.after, predicted.slot) == (True, None, "blue")
    engine(world).apply(api(A))
    monkeypatch.setattr(registry, "resolve", nowhere)
    with pytest.raises(RolloutError, match="cannot ask"):
        engine(world).predict(api(A), pending_config=False)


def test_a_run_that_may_not_update_moves_the_configuration_alone(world: World) -> None:
    def live() -> str:
        release = record(world).live_release
        return release.image if release else ""

    tag = api("r.example/x:stable", update=False)
    world.tags.update({"stable": A, "next": C})
    engine(world).apply(tag)
    world.tags["stable"] = B
    predicted = engine(world).predict(tag, pending_config=False)
    assert predicted.after == predicted.before
    assert (engine(world).apply(tag).changed, live()) == (False, A)
    (world.root / "api.env").write_text("NAME=two\n")
    assert (engine(world).apply(tag).changed, live()) == (True, A)
    engine(world).apply(replace(tag, update=True))
    assert live() == B
    engine(world).rollback("api")
    assert (engine(world).apply(tag).changed, live()) == (False, A)
    engine(world).apply(replace(tag, image="r.example/x:next"))
    assert live() == C


def test_a_container_that_docker_restarted_fails_its_gate(world: World) -> None:
    engine(world).apply(api(A))

    def restarted(when: str, action: Action) -> None:
        if (when, action.name) == ("after", "start"):
            world.there["api-green-1"] = replace(world.there["api-green-1"], restarts=1)

    with pytest.raises(RolloutError, match="restarted by Docker"):
        engine(world, restarted).apply(api(B))
    assert_settled(world, A)
