# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules (gates, soak, names of files, the reference) come and go with the release that was asked for with them."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.module_utils._rollout import signature, store
from plugins.module_utils._rollout.release import RolloutError

from .model import BAD, A, B, C, Killed, World, api, engine, record
from .test_agent import TAG, agent
from .test_engine_trouble import D, follow, live_image


@pytest.mark.parametrize("pinned", [B, BAD], ids=["rolled back by a person", "refused"])
def test_a_secret_that_came_with_a_release_is_not_asked_for_without_it(deployed: World, pinned: str) -> None:
    (deployed.root / "secrets").mkdir()
    (deployed.root / "secrets/api_new").write_text("s")
    deployed.tags["stable"] = pinned
    wanted = api(TAG, soak=4.0, secret_files=("secrets/api_new",))
    if pinned == BAD:
        with pytest.raises(RolloutError):
            engine(deployed, actor="ansible").apply(wanted)
    else:
        engine(deployed, actor="ansible").apply(wanted)
        assert engine(deployed).recorded_intent("api") == wanted
        engine(deployed, actor="root").rollback("api")
    assert engine(deployed).recorded_intent("api").secret_files == ()
    deployed.tags["stable"] = C
    agent(deployed).check()
    assert live_image(deployed) == C


def test_a_rollback_brings_back_the_secret_that_its_release_needs(deployed: World) -> None:
    (deployed.root / "secrets").mkdir()
    (deployed.root / "secrets/api_old").write_text("s")
    deployed.tags["stable"] = B
    engine(deployed, actor="ansible").apply(api(TAG, soak=4.0, secret_files=("secrets/api_old",)))
    deployed.tags["stable"] = C
    engine(deployed, actor="ansible").apply(api(TAG, soak=4.0))
    engine(deployed, actor="root").rollback("api")
    follow(deployed, D)
    live = record(deployed).live_release
    assert live is not None
    assert live.image == D
    assert engine(deployed).store.kept_file("api", live.id, "secrets/api_old") == b"s"


def test_rules_that_change_without_a_release_count_at_once_and_after_a_rollback(deployed: World) -> None:
    engine(deployed, actor="ansible").apply(api(TAG, soak=1.0))
    assert engine(deployed).recorded_intent("api").soak == 1.0
    deployed.tags["stable"] = B
    engine(deployed, actor="ansible").apply(api(TAG, soak=2.0))
    engine(deployed, actor="root").rollback("api")
    assert engine(deployed).recorded_intent("api").soak == 1.0


@pytest.mark.parametrize("ends", ["refused", "killed"])
def test_half_a_playbook_is_not_rolled_out_by_the_agent(
    deployed: World, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    (deployed.root / "api.env").write_text("NAME=two\n")
    deployed.tags["v2"] = B

    def fails(_world: World, _image: str, _timeout: float) -> None:
        raise Killed if ends == "killed" else RolloutError("registry_unreachable", "it broke off")

    with monkeypatch.context() as patched:
        patched.setattr(World, "pull", fails)
        with pytest.raises((RolloutError, Killed)):
            engine(deployed, actor="ansible").apply(api("r.example/x:v2", soak=4.0))
    agent(deployed).check()
    assert live_image(deployed) == A
    engine(deployed, actor="ansible").apply(api("r.example/x:v2", soak=4.0))
    assert live_image(deployed) == B


def test_signatures_are_asked_for_from_the_first_run_on_that_asks_for_them(
    deployed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def verify(pinned: str, *_more: Any) -> None:
        asked.append(pinned)
        raise RolloutError("signature_missing", "it is not signed")

    monkeypatch.setattr(signature, "verify", verify)
    monkeypatch.setattr(signature, "fingerprint", lambda _key: "k")
    with pytest.raises(RolloutError, match="not signed"):
        engine(deployed, actor="ansible").apply(api(TAG, soak=4.0, signature_key="/keys/api.pub"))
    deployed.tags["stable"] = B
    agent(deployed).check()
    assert (asked, live_image(deployed)) == ([A, B], A)


def test_a_release_that_comes_back_has_the_rules_of_its_last_time(deployed: World) -> None:
    for pinned, soak in ((B, 10.0), (A, 3.0), (C, 10.0)):
        deployed.tags["stable"] = pinned
        engine(deployed, actor="ansible").apply(api(TAG, soak=soak))
    engine(deployed, actor="root").rollback("api")
    assert live_image(deployed) == A
    assert engine(deployed).recorded_intent("api").soak == 3.0


def test_rules_of_a_release_that_an_older_engine_kept_without_them_are_kept_before_it_leaves(deployed: World) -> None:
    for path in (deployed.root / "releases/api").glob("*/intent.json"):
        path.unlink()
    deployed.tags["stable"] = B
    engine(deployed, actor="ansible").apply(api(TAG, soak=1.0))
    engine(deployed, actor="root").rollback("api")
    assert engine(deployed).recorded_intent("api").soak == 10.0


def test_a_kill_between_the_rules_and_the_record_leaves_the_new_rules_to_the_next_run(
    deployed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(store.Store, "save", dies)
        with pytest.raises(Killed):
            engine(deployed, actor="ansible").apply(api(TAG, soak=3.0))
    engine(deployed, actor="ansible").apply(api(TAG, soak=3.0))
    deployed.tags["stable"] = B
    engine(deployed, actor="ansible").apply(api(TAG, soak=1.0))
    engine(deployed, actor="root").rollback("api")
    assert engine(deployed).recorded_intent("api").soak == 3.0


def test_a_record_that_was_lost_is_made_anew_with_the_rules_of_what_runs(deployed: World) -> None:
    (deployed.root / "state/api.json").unlink()
    deployed.tags["v2"] = BAD
    with pytest.raises(RolloutError):
        engine(deployed, actor="ansible").apply(api("r.example/x:v2", soak=4.0))
    assert live_image(deployed) == A
    assert engine(deployed).recorded_intent("api").image == TAG
