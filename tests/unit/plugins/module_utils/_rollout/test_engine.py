# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: ARG001, ARG002 - the model takes the arguments of what it stands for
"""The engine against a model of Docker and Nginx that can be killed before and after everything it changes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._rollout import health, nginx, steps, store, strategies
from plugins.module_utils._rollout.docker import Docker, Result
from plugins.module_utils._rollout.engine import Engine
from plugins.module_utils._rollout.registry import RegistryFiles
from plugins.module_utils._rollout.release import Container, Intent, RolloutError
from plugins.module_utils._rollout.store import Store

ADDRESSES = {"blue": ["10.201.0.11:8000", "10.201.0.12:8000"], "green": ["10.201.0.21:8000", "10.201.0.22:8000"]}


def image(letter: str) -> str:
    return "r.example/x@sha256:" + letter * 64


A, B, C, BAD = image("a"), image("b"), image("c"), image("d")
DONE = Result((), 0, "", "")


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it."""


@dataclass
class World(Docker):
    """Containers in memory. `loaded` is what Nginx workers may use; two texts while an old worker is left."""

    root: Path
    project: str = "billing"
    inherited: tuple[int, ...] = ()
    kill_at: int = -1

    def __post_init__(self) -> None:
        self.there: dict[str, Container] = {}
        self.loaded: set[str] = set()
        self.taken_from_traffic: list[str] = []
        self.migrations: list[str] = []
        self.count = 0
        self.ids = itertools.count()

    @staticmethod
    def installed() -> bool:
        return True

    def change(self) -> None:
        """Be killed here when it is this change's turn."""
        self.count += 1
        if self.count == self.kill_at:
            raise Killed

    def carries_traffic(self, service: str) -> bool:
        match = re.fullmatch(r"api-(blue|green)-(\d)", service)
        if match is None or service not in self.there or not self.there[service].serving:
            return False
        address = ADDRESSES[match[1]][int(match[2]) - 1]
        return any(f"server {address} " in text for text in self.loaded)

    def end(self, service: str) -> None:
        if self.carries_traffic(service):
            self.taken_from_traffic.append(service)
        del self.there[service]

    def values(self) -> dict[str, str]:
        return Store(self.root, self.root / "run").read()

    def compose(self, fragments: Sequence[str], *arguments: str, timeout: float = 60.0, check: bool = True) -> Result:
        if arguments[0] == "run":
            self.change()
            self.migrations.append(self.values()["API_MIGRATE_IMAGE"])
            return DONE
        for service in (word for word in arguments[1:] if not word.startswith("--")):
            self.change()
            name = re.sub(r"-\d$", "", service).upper().replace("-", "_")
            wanted = (self.values()[f"{name}_IMAGE"], self.values()[f"{name}_CONFIG_HASH"])
            old = self.there.get(service)
            if old is None or (old.image, old.config_hash) != wanted:
                if old:
                    self.end(service)
                words = "unhealthy" if wanted[0] == BAD else "healthy"
                self.there[service] = Container(
                    f"{service}#{next(self.ids)}", service, *wanted, "running", words, 0, 1, ""
                )
            self.change()
        return DONE

    def run(self, *arguments: str, timeout: float = 60.0, check: bool = True) -> Result:
        if arguments[0] == "stop":
            for service in [one.service for one in self.there.values() if one.id in arguments]:
                self.change()
                if self.carries_traffic(service):
                    self.taken_from_traffic.append(service)
                self.there[service] = replace(self.there[service], state="exited", health="")
        elif arguments[0] == "rm":
            for service in [one.service for one in self.there.values() if one.id in arguments]:
                self.change()
                self.end(service)
        return DONE

    def pull(self, image: str, timeout: float) -> None:
        self.change()

    def containers(self, timeout: float = 30.0) -> list[Container]:
        return list(self.there.values())

    def logs(self, container: Container, lines: int = 30) -> list[str]:
        return ["last words"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    here = World(tmp_path)
    write = store.write_atomic

    def write_or_die(path: Path, content: bytes, mode: int) -> None:
        here.change()
        write(path, content, mode)
        here.change()

    def reload(_docker: Docker, _container: Container, timeout: float) -> None:
        here.change()
        here.loaded.add((tmp_path / "nginx/upstreams/api.conf").read_text())
        here.change()
        here.loaded = {(tmp_path / "nginx/upstreams/api.conf").read_text()}

    monkeypatch.setattr(store, "write_atomic", write_or_die)
    monkeypatch.setattr(strategies, "write_atomic", write_or_die)
    monkeypatch.setattr(nginx, "reload", reload)
    monkeypatch.setattr(nginx, "test_config", lambda *_arguments: None)
    proxy = Container("n", "nginx-blue", "", "", "running", "healthy", 0, 1, "")
    monkeypatch.setattr(steps.Steps, "proxies", lambda _self: [proxy])
    monkeypatch.setattr(health, "_POLL", 0.0)
    (tmp_path / "compose.d").mkdir()
    for service in ("api", "postgres"):
        (tmp_path / "compose.d" / f"{service}.yaml").write_text("first")
    yield here
    assert here.taken_from_traffic == []


def engine(world: World) -> Engine:
    return Engine(world, Store(world.root, world.root / "run"), RegistryFiles(), lambda _line: None)


def api(image: str, replicas: int = 2) -> Intent:
    addresses = {slot: ADDRESSES[slot][:replicas] for slot in ADDRESSES}
    return Intent("api", image, "blue_green", addresses, migrate=True, timeout=0.05)


def postgres(image: str) -> Intent:
    return Intent("postgres", image, "recreate", timeout=0.05)


def assert_settled(world: World, image: str, replicas: int = 2) -> None:
    """Exactly one slot serves the image, Nginx uses it and nothing else, and the next run changes nothing."""
    assert [one.image for one in world.there.values()] == [image] * replicas
    assert len(world.loaded) == 1
    assert all(world.carries_traffic(service) for service in world.there)
    assert "API_SWITCHING" not in world.values()
    assert engine(world).predict(api(image, replicas), pending_config=False).changed is False
    assert engine(world).apply(api(image, replicas)).changed is False


def killed_at_every_change(world: World, begin: Callable[[], Any], attempt: Callable[[], Any]) -> Iterator[None]:
    """Yield after every kill of `attempt`, each begun from `begin`, until an attempt comes to its end."""
    for kill_at in itertools.count(1):
        begin()
        world.count, world.kill_at = 0, kill_at
        try:
            attempt()
        except Killed:
            world.kill_at = -1
            yield
        except RolloutError:
            world.kill_at = -1
            yield
            return
        else:
            world.kill_at = -1
            return


def test_a_first_release_goes_to_blue_and_a_second_to_green(world: World) -> None:
    first = engine(world).apply(api(A))
    assert (first.changed, first.before, first.slot) == (True, None, "blue")
    assert_settled(world, A)
    second = engine(world).apply(api(B))
    assert (second.changed, second.before, second.slot) == (True, first.after, "green")
    assert_settled(world, B)
    assert world.migrations == [A, B]


@pytest.mark.parametrize("following", [A, B, C, BAD], ids=["back", "again", "another", "bad"])
def test_a_kill_at_any_change_leaves_traffic_alone_and_the_next_run_converges(world: World, following: str) -> None:
    kills = 0
    for _kill in killed_at_every_change(
        world, lambda: engine(world).apply(api(A)), lambda: engine(world).apply(api(B))
    ):
        kills += 1
        assert any(world.carries_traffic(service) for service in world.there)
        if following == BAD:
            with pytest.raises(RolloutError):
                engine(world).apply(api(BAD))
            assert any(world.carries_traffic(service) for service in world.there)
            engine(world).apply(api(B))
        else:
            engine(world).apply(api(following))
        assert_settled(world, B if following == BAD else following)
    assert kills >= 15


def test_a_kill_during_the_recovery_converges_too(world: World) -> None:
    kills = 0

    def begin() -> None:
        engine(world).apply(api(A))
        world.count, world.kill_at = 0, 13  # In the middle of the switch: see the assertion.
        with pytest.raises(Killed):
            engine(world).apply(api(B))
        world.kill_at = -1
        assert "API_SWITCHING" in world.values()

    for _kill in killed_at_every_change(world, begin, lambda: engine(world).apply(api(C))):
        kills += 1
        engine(world).apply(api(C))
        assert_settled(world, C)
    assert kills >= 15


def test_a_bad_release_is_removed_and_the_live_one_never_notices(world: World) -> None:
    engine(world).apply(api(A))
    with pytest.raises(RolloutError) as raised:
        engine(world).apply(api(BAD))
    assert (raised.value.code, raised.value.logs) == ("unhealthy", ["last words"])
    assert_settled(world, A)


def test_a_configuration_change_migrates_and_replaces_like_an_image(world: World) -> None:
    engine(world).apply(api(A))
    (world.root / "compose.d" / "api.yaml").write_text("second")
    assert engine(world).apply(api(A)).slot == "green"
    assert world.migrations == [A, A]


@pytest.mark.parametrize(("old", "new"), [(1, 2), (2, 1)])
def test_replicas_come_and_go_with_the_slot(world: World, old: int, new: int) -> None:
    engine(world).apply(api(A, old))
    (world.root / "compose.d" / "api.yaml").write_text("second")
    engine(world).apply(api(A, new))
    assert_settled(world, A, new)


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


def test_a_bad_database_image_is_put_back(world: World) -> None:
    engine(world).apply(postgres(A))
    with pytest.raises(RolloutError, match="postgres"):
        engine(world).apply(postgres(BAD))
    assert [one.image for one in world.there.values()] == [A]
    assert engine(world).apply(postgres(A)).changed is False


def test_a_bad_database_setting_is_put_back_with_its_fragment(world: World) -> None:
    engine(world).apply(postgres(A))
    (world.root / "compose.d" / "postgres.yaml").write_text("second")
    with pytest.raises(RolloutError):
        engine(world).apply(postgres(BAD))
    assert (world.root / "compose.d" / "postgres.yaml").read_text() == "first"
    assert engine(world).apply(postgres(A)).changed is False


def test_a_killed_database_rollout_does_not_forget_the_good_release(world: World) -> None:
    kills = 0
    for _kill in killed_at_every_change(
        world, lambda: engine(world).apply(postgres(A)), lambda: engine(world).apply(postgres(BAD))
    ):
        kills += 1
        with pytest.raises(RolloutError):
            engine(world).apply(postgres(BAD))
        assert [(one.image, one.serving) for one in world.there.values()] == [(A, True)]
        assert engine(world).apply(postgres(A)).changed is False
    assert kills >= 8


def test_an_unknown_digest_is_predicted_before_the_first_release_only(world: World) -> None:
    nowhere = api("127.0.0.1:1/x:1")
    predicted = engine(world).predict(nowhere, pending_config=False)
    assert (predicted.changed, predicted.after, predicted.slot) == (True, None, "blue")
    engine(world).apply(api(A))
    with pytest.raises(RolloutError, match="cannot ask"):
        engine(world).predict(nowhere, pending_config=False)


def test_a_full_disk_is_named_and_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    engine(world).apply(api(A))

    def full(_path: Path, _content: bytes, _mode: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(store, "write_atomic", full)
        with pytest.raises(RolloutError) as raised:
            engine(world).apply(api(B))
    assert raised.value.code == "disk_full"
    engine(world).apply(api(A))
    assert_settled(world, A)
