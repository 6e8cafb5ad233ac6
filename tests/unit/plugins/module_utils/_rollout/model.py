# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: ARG002 - the model takes the arguments of what it stands for
"""A model of Docker and Nginx: it can be killed before and after everything it changes, and remembers what hurt."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._rollout import nginx, preflight, registry, store
from plugins.module_utils._rollout.clock import Clock
from plugins.module_utils._rollout.docker import Docker, Result
from plugins.module_utils._rollout.engine import Engine
from plugins.module_utils._rollout.intent import Intent
from plugins.module_utils._rollout.registry import ImageFacts, RegistryFiles
from plugins.module_utils._rollout.release import Container, Reference, RolloutError
from plugins.module_utils._rollout.state import Action, Record
from plugins.module_utils._rollout.store import Store

ADDRESSES = {"blue": ["10.201.0.11:8000", "10.201.0.12:8000"], "green": ["10.201.0.21:8000", "10.201.0.22:8000"]}
LINGER = 3.0  # Seconds that old Nginx workers stay.


def image(letter: str) -> str:
    """Return a pinned reference."""
    return "r.example/x@sha256:" + letter * 64


A, B, C, BAD, DIES, NO_MIGRATION = map(image, "abcdef")
DONE = Result((), 0, "", "")


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it."""


@dataclass
class World(Docker):
    """Containers, images, Nginx's workers and time, in memory. `kill_at` is the change at which the engine dies."""

    root: Path
    project: str = "billing"
    inherited: tuple[int, ...] = ()
    kill_at: int = -1
    away_until: float = -1.0

    def __post_init__(self) -> None:
        self.there: dict[str, Container] = {}
        self.images: set[str] = set()
        self.taken: list[str] = []
        self.migrations: list[str] = []
        self.resolved = 0
        self.tags: dict[str, str] = {}  # tag -> pinned reference
        self.outage: RolloutError | None = None  # What the registry says to everything.
        self.built: dict[str, str] = {}  # pinned reference -> when it was built
        self.count = 0
        self.time = 1000.0
        self.ids = itertools.count(1)
        # Generations of Nginx's workers: process id -> the upstream file that it has read, and when it ends.
        self.workers: dict[int, tuple[str, float]] = {}
        self.proxy = Container("n", "nginx-blue", "", "", "running", "healthy", 0, 1, "2026-01-01T00:00:00Z")

    # -- time and death

    def clock(self) -> Clock:
        """Return the clock of this world: it moves when somebody waits."""
        return Clock(lambda: self.time, lambda: self.time, self.sleep)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.time += max(seconds, 0.01)
        for name, one in list(self.there.items()):
            if one.image == DIES and one.state == "running" and self.time - float(one.pid) > 5:
                self.there[name] = replace(one, state="exited", health="")

    def change(self) -> None:
        """Be killed here when it is this change's turn."""
        self.count += 1
        if self.count == self.kill_at:
            raise Killed

    def used(self, service: str) -> bool:
        """Whether a worker may send a request to this container, which could answer it."""
        match = re.fullmatch(r"api-(blue|green)-(\d)", service)
        if match is None or service not in self.there or not self.there[service].serving:
            return False
        address = ADDRESSES[match[1]][int(match[2]) - 1]
        texts = [text for text, end in self.workers.values() if end > self.time]
        return any(f"server {address} " in text for text in texts)

    def serves(self) -> bool:
        """Whether every worker has somebody to send a request to."""
        texts = [text for text, end in self.workers.values() if end > self.time]
        serving = [name for name in self.there if self.used(name)]
        return bool(texts) and bool(serving)

    # -- Docker

    @staticmethod
    def installed() -> bool:
        return True

    def daemon(self) -> str:
        return "" if self.time < self.away_until else "1"

    def _answer(self) -> None:
        if self.time < self.away_until:
            raise RolloutError("docker_down", "Cannot connect to the Docker daemon")

    def containers(self, timeout: float = 30.0) -> list[Container]:
        self._answer()
        return [*self.there.values(), self.proxy]

    recent = containers

    def compose(self, files: Sequence[str], *arguments: str, timeout: float = 60.0, check: bool = True) -> Result:
        self._answer()
        assert files[0] == "compose.yaml"
        assert all((self.root / name).exists() for name in files[1:])
        values = dict(
            line.split("=", 1) for line in (self.root / "release.env").read_text().splitlines() if "=" in line
        )
        if arguments[0] == "run":
            self.change()
            slot = arguments[arguments.index("--name") + 1].split("-")[2].upper()
            wanted = values[f"API_{slot}_IMAGE"]
            if wanted == NO_MIGRATION:
                return Result((), 1, "", "no")
            self.migrations.append(wanted)
            return DONE
        for service in (word for word in arguments[1:] if not word.startswith("--")):
            self.change()
            name = re.sub(r"-\d$", "", service).upper().replace("-", "_")
            release = (values[f"{name}_IMAGE"], values[f"{name}_CONFIG_HASH"])
            old = self.there.get(service)
            if old is None or old.state != "running" or (old.image, old.config_hash) != release:
                self._end(service)
                health = "unhealthy" if release[0] == BAD else "healthy"
                self.there[service] = Container(
                    f"{service}#{next(self.ids)}", service, *release, "running", health, 0, int(self.time), _START
                )
            self.change()
        return DONE

    def run(self, *arguments: str, timeout: float = 60.0, check: bool = True) -> Result:
        self._answer()
        for service in [one.service for one in self.there.values() if one.id in arguments]:
            self.change()
            if arguments[0] == "stop":
                self._note(service)
                self.there[service] = replace(self.there[service], state="exited", health="")
            elif arguments[0] == "rm":
                self._end(service)
        return DONE

    def _note(self, service: str) -> None:
        if self.used(service):
            self.taken.append(service)

    def _end(self, service: str) -> None:
        self._note(service)
        self.there.pop(service, None)

    def pull(self, image: str, timeout: float) -> None:
        self._answer()
        self.change()
        self.images.add(image)

    def has(self, image: str) -> bool:
        return image in self.images

    def created(self, image: str) -> str:
        return self.built.get(image, "")

    def remove_image(self, image: str) -> None:
        self.change()
        assert all(one.image != image for one in self.there.values())
        self.images.discard(image)

    def logs(self, container: Container, lines: int = 30) -> list[str]:
        return ["last words"]

    def output(self, container: Container, since: float, until: float, most: int = 20000) -> list[str]:
        return []

    # -- Nginx

    def reload(self, _docker: Docker, _container: Container) -> set[int]:
        """Start a worker that reads the upstream file; those from before end a while later."""
        self._answer()
        self.change()
        before = {pid for pid, (_text, end) in self.workers.items() if end > self.time}
        for pid in before:
            self.workers[pid] = (self.workers[pid][0], min(self.workers[pid][1], self.time + LINGER))
        self.workers[next(self.ids)] = ((self.root / "nginx/upstreams/api.conf").read_text(), float("inf"))
        self.change()
        return before

    def remaining(self, pids: Sequence[int]) -> set[int]:
        """Return the workers that have not ended."""
        return {pid for pid in pids if self.workers[pid][1] > self.time}

    def answering(self, _container: Container, _service: str, _path: str) -> tuple[str, int]:
        """Ask the newest worker."""
        text = self.workers[max(self.workers)][0] if self.workers else ""
        servers = re.findall(r"server (\S+:\d+) ", text)
        return (servers[0], 200) if servers else ("", 0)


def facts(world: World, digest: str) -> ImageFacts:
    """Return what the registry knows of an image."""
    return ImageFacts(1, ("run",), (), next((at for name, at in world.built.items() if name.endswith(digest)), ""))


_START = "2026-01-01T00:00:00.5Z"


def make_world(root: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a world in an empty directory, with everything patched that reaches out of it."""
    here = World(root)
    write = store.write_atomic

    def write_or_die(path: Path, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
        here.change()
        write(path, content, mode, owner)
        here.change()

    def resolve(reference: Reference, _files: RegistryFiles) -> str:
        here.resolved += 1
        if here.outage:
            raise here.outage
        return reference.digest or here.tags[reference.tag].rpartition("@")[2]

    monkeypatch.setattr(store, "write_atomic", write_or_die)
    monkeypatch.setattr(nginx, "reload", here.reload)
    monkeypatch.setattr(nginx, "remaining", here.remaining)
    monkeypatch.setattr(nginx, "answering", here.answering)
    monkeypatch.setattr(registry, "resolve", resolve)
    monkeypatch.setattr(preflight, "check", lambda *_arguments: None)
    monkeypatch.setattr(preflight, "describe", lambda _reference, digest, *_more: facts(here, digest))
    (root / "compose.d").mkdir()
    for name in ("api.blue", "api.green", "nginx.blue", "nginx.green", "postgres"):
        (root / "compose.d" / f"{name}.yaml").write_text("first")
    (root / "api.env").write_text("NAME=one\n")
    return here


def engine(world: World, hook: object = None, actor: str = "") -> Engine:
    """Return an engine of this world, as a new process has it."""

    def ignore(_when: str, _action: Action) -> None:
        return

    chosen = hook if callable(hook) else ignore
    files = Store(world.root, world.root / "run")
    return Engine(world, files, RegistryFiles(), lambda _line: None, chosen, world.clock(), actor)


def api(image: str, replicas: int = 2, force: bool = False, **more: object) -> Intent:
    """Return what a role asks for: the API in two slots."""
    addresses = {slot: ADDRESSES[slot][:replicas] for slot in ADDRESSES}
    rules = {"timeout": 5.0, "soak": 4.0, "drain_timeout": 20.0, "env_file": "api.env", "migrate": True, **more}
    return Intent("api", image, "blue_green", addresses, force=force, **rules)  # type: ignore[arg-type]


def postgres(image: str, force: bool = False) -> Intent:
    """Return what a role asks for: a service without slots."""
    return Intent("postgres", image, "recreate", timeout=5.0, force=force)


def record(world: World, service: str = "api") -> Record:
    """Return what is recorded of a service."""
    found = engine(world).store.record(service)
    assert found is not None
    return found


def assert_settled(world: World, image: str, replicas: int = 2, force: bool = False) -> None:
    """Exactly one slot serves the image, Nginx uses it and nothing else, and the next run changes nothing."""
    world.sleep(10)
    assert [one.image for one in world.there.values()] == [image] * replicas
    assert all(world.used(service) for service in world.there)
    assert record(world).rollout is None
    wanted = api(image, replicas, force)
    assert engine(world).predict(wanted, pending_config=False).changed is False
    assert engine(world).apply(wanted).changed is False


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
