# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The single steps that a rollout is made of; each can be repeated."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Callable

from . import nginx
from .docker import Docker, Result
from .health import wait_serving
from .release import SLOTS, Container, Intent, Release, RolloutError
from .store import Store

Progress = Callable[[str], None]
_STOP_LIMIT = 1800.0  # Seconds. Each container's own stop_grace_period applies; this only bounds a daemon that hangs.


class Timeline:
    """Seconds per phase, in the order the phases began."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what is done inside; a phase that comes twice is added up."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - start, 3)


class Steps:
    """What can be done to one project."""

    def __init__(self, docker: Docker, store: Store, progress: Progress) -> None:
        self.docker = docker
        self.store = store
        self.progress = progress

    def containers(self, intent: Intent, slot: str = "") -> list[Container]:
        """Return the containers of a service, or of one slot of it, whatever their state."""
        return [container for container in self.docker.containers() if intent.owns(container.service, slot)]

    def assign(self, intent: Intent, slot: str, release: Release) -> None:
        """Tell Compose which release a slot runs; the containers stay as they are."""
        name = intent.variable(slot)
        changes = {f"{name}_IMAGE": release.image, f"{name}_CONFIG_HASH": release.config_hash}
        if intent.env_file:
            content = (self.store.root / intent.env_file).read_bytes()
            changes[f"{name}_ENV_FILE"] = self.store.keep(release.id, f"{intent.service}.env", content)
        if intent.migrate:
            changes[f"{intent.prefix}_MIGRATE_IMAGE"] = release.image
            changes[f"{intent.prefix}_MIGRATE_ENV_FILE"] = changes.get(f"{name}_ENV_FILE", "")
        self.change(changes)

    def change(self, changes: Mapping[str, str], forget: tuple[str, ...] = ()) -> None:
        """Set and remove variables of release.env in one step; what Compose derives from them follows."""
        values = {name: value for name, value in {**self.store.read(), **changes}.items() if name not in forget}
        live = (name for name in values if name.endswith("_LIVE_SLOT"))
        profiles = [f"{name[: -len('_LIVE_SLOT')].lower().replace('_', '-')}-{values[name]}" for name in sorted(live)]
        values["COMPOSE_PROJECT_NAME"] = self.docker.project
        values["COMPOSE_FILE"] = ":".join(self.store.fragments())
        values["COMPOSE_PROFILES"] = ",".join(profiles)
        self.store.write(values)

    def start(self, intent: Intent, slot: str, clock: Timeline) -> None:
        """Let the containers of a slot be what release.env says, and wait until they serve."""
        services = intent.services(slot)
        before = self.containers(intent, slot)
        with clock.phase("start"):
            self._compose("up", "--detach", "--no-deps", *services, timeout=intent.timeout)
        with clock.phase("gate"):
            self.wait(services, intent.timeout, before)

    def wait(self, services: Sequence[str], timeout: float, before: Sequence[Container]) -> None:
        """Wait until services serve; restarts that their containers had `before` do not count as failures."""
        wait_serving(self.docker, services, timeout, {container.id: container.restarts for container in before})

    def remove(self, intent: Intent, slot: str) -> None:
        """Stop the containers of a slot as their stop signal and grace period say, then remove them."""
        containers = self.containers(intent, slot)
        if containers:
            self.progress(f"stop {', '.join(container.service for container in containers)}")
            ids = [container.id for container in containers]
            self.docker.run("stop", *ids, timeout=_STOP_LIMIT)
            self.docker.run("rm", *ids)

    def once(self, intent: Intent, service: str, code: str, *command: str) -> None:
        """Run a one-off container to its end; its fixed name lets a later run remove what a crash left."""
        name = f"{self.docker.project}-{service}-once"
        self.docker.run("rm", "--force", name, check=False)
        self.progress(f"{intent.service}: run {service} {' '.join(command)}".rstrip())
        try:
            result = self._compose(
                "run", "--rm", "--no-deps", "-T", "--name", name, service, *command, timeout=intent.timeout, check=False
            )
        except RolloutError as error:
            self.docker.run("rm", "--force", name, check=False)
            message = f"{service} did not finish in {intent.timeout:.0f} s and was stopped; nothing was switched"
            raise RolloutError(code, message, {"service": service}) from error
        if result.returncode != 0:
            logs = (result.stdout + result.stderr).splitlines()[-30:]
            raise RolloutError(
                code,
                f"the one-off container of {service} ended with {result.returncode}, so nothing was switched; "
                f"last line: {logs[-1] if logs else '(none)'}",
                {"service": service, "rc": result.returncode},
                logs,
            )

    def proxies(self) -> list[Container]:
        """Return the Nginx containers that run: one, or two during a handover, or none before the first deployment."""
        names = [f"nginx-{slot}" for slot in SLOTS]
        return [one for one in self.docker.containers() if one.service in names and one.state == "running"]

    def reload(self, intent: Intent) -> None:
        """Reload every Nginx and wait for its drain."""
        for container in self.proxies():
            nginx.reload(self.docker, container, timeout=intent.drain_timeout)

    def upstream(self, intent: Intent) -> Path:
        """Return the path of the file that is the switch."""
        return self.store.root / "nginx" / "upstreams" / f"{intent.service}.conf"

    def switched_to(self, intent: Intent) -> str:
        """Return what the upstream file says, '' where there is none."""
        path = self.upstream(intent)
        return path.read_text() if path.exists() else ""

    def _compose(self, *arguments: str, timeout: float = 60.0, check: bool = True) -> Result:
        return self.docker.compose(self.store.fragments(), *arguments, timeout=timeout, check=check)
