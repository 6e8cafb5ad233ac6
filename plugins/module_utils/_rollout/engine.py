# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring one service to the release behind a reference: observe, decide, act one step at a time, record.

Every step either leaves the live release as it was or can be repeated, so that the next run converges.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from . import nginx, registry
from .docker import Docker, Result
from .health import wait_serving
from .release import SLOTS, Container, Intent, Reference, Release, RolloutError, hash_parts, other_slot
from .store import Store, write_atomic

Progress = Callable[[str], None]


@dataclass
class Outcome:
    """What a rollout did, or in check mode would do.

    Attributes:
        changed: whether anything was or would be changed.
        before: the live release, None before the first.
        after: the wanted release; None where check mode cannot know the digest yet.
        slot: where the release lives, '' for a service without slots.
        timeline: seconds per phase, in order.
    """

    changed: bool
    before: Release | None
    after: Release | None
    slot: str
    timeline: dict[str, float] = field(default_factory=dict)


class _Timeline:
    """Seconds per phase, in the order the phases began."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - start, 3)


class Engine:
    """One project on one host."""

    def __init__(self, docker: Docker, store: Store, files: registry.RegistryFiles, progress: Progress) -> None:
        self.docker = docker
        self.store = store
        self.files = files
        self.progress = progress

    def predict(self, intent: Intent, pending_config: bool) -> Outcome:
        """Say what `apply` would do; read only, and without Docker installed too.

        Args:
            intent: what shall run.
            pending_config: a task before this one would change a file of the release.
        """
        values = self.store.read()
        slot = values.get(f"{intent.prefix}_LIVE_SLOT", "")
        before = _recorded(values, intent, slot)
        try:
            digest = registry.resolve(Reference.parse(intent.image), self.files)
        except RolloutError as error:
            # Before the first release the registry's CA and credentials may themselves be still to be installed.
            if before or error.code not in ("registry_unreachable", "registry_unauthorized"):
                raise
            return Outcome(True, before, None, slot or SLOTS[0] if intent.slotted else "")
        after = Release(Reference.parse(intent.image).at(digest), self._config_hash(intent))
        changed = pending_config or not self.docker.installed() or not self._converged(intent, slot, after)
        if not intent.slotted:
            return Outcome(changed, before, after, "")
        same = before == after and not pending_config
        return Outcome(changed, before, after, slot if same else other_slot(slot))

    def apply(self, intent: Intent) -> Outcome:
        """Roll the service to the digest its reference has now.

        Raises:
            RolloutError: nothing of the live release was changed, or it was put back.
        """
        try:
            return self._apply(intent)
        except OSError as error:
            code = "disk_full" if error.errno == errno.ENOSPC else "io_failed"
            raise RolloutError(
                code, f"cannot write the state of {intent.service}: {error}; free space or repair it, then run again"
            ) from error

    def _apply(self, intent: Intent) -> Outcome:
        clock = _Timeline()
        reference = Reference.parse(intent.image)
        if not self.docker.installed():
            raise RolloutError("docker_missing", "there is no docker command on this host; run role docker first")
        with self.store.locked(intent.timeout):
            self.store.prepare()
            values = self.store.read()
            slot = values.get(f"{intent.prefix}_LIVE_SLOT", "")
            before = _recorded(values, intent, slot)
            with clock.phase("resolve"):
                digest = registry.resolve(reference, self.files)
            after = Release(reference.at(digest), self._config_hash(intent))
            if self._converged(intent, slot, after):
                return Outcome(False, before, after, slot, clock.seconds)
            self.progress(f"{intent.service}: {before.id if before else 'nothing'} -> {after.id}")
            try:
                with clock.phase("pull"):
                    self.docker.pull(after.image, timeout=600)
                if intent.slotted:
                    slot = self._roll_slot(intent, slot, before, after, clock)
                else:
                    self._recreate(intent, before, after, clock)
            except RolloutError as error:
                self._record(intent, before, after, slot, error.code, clock)
                raise
            self._record(intent, before, after, slot, "live", clock)
            return Outcome(True, before, after, slot, clock.seconds)

    def _config_hash(self, intent: Intent) -> str:
        paths = [f"compose.d/{intent.service}.yaml", intent.env_file, *intent.config_files]
        parts = {}
        for path in filter(None, paths):
            full = self.store.root / path
            parts[path] = full.read_bytes() if full.exists() else b""  # In check mode it may be still to come.
        return hash_parts(parts, self.store.key())

    def _running(self, services: list[str]) -> list[Container]:
        return [container for container in self.docker.containers() if container.service in services]

    def _converged(self, intent: Intent, slot: str, wanted: Release) -> bool:
        """Whether exactly the wanted release serves, and nothing of the other slot is left."""
        if intent.slotted and not slot:
            return False
        containers = [container for container in self.docker.containers() if intent.owns(container.service)]
        return (
            sorted(container.service for container in containers) == sorted(intent.services(slot))
            and all(c.serving and Release(c.image, c.config_hash) == wanted for c in containers)
            and (intent.strategy != "blue_green" or self._switched_to(intent) == self._switch_to(intent, slot))
        )

    def _recreate(self, intent: Intent, before: Release | None, after: Release, clock: _Timeline) -> None:
        services = intent.services("")
        self._assign(intent, "", after)
        try:
            self._start(services, intent.timeout, clock)
        except RolloutError as error:
            if before is None or before.image == after.image:
                raise
            self.progress(f"{intent.service}: {error.code}; putting {before.id} back")
            with clock.phase("rollback"):
                self._assign(intent, "", before)
                self._start(services, intent.timeout, _Timeline())
            raise

    def _roll_slot(self, intent: Intent, live: str, before: Release | None, after: Release, clock: _Timeline) -> str:
        """Start the release in the idle slot, move the traffic, end the old slot; return the new live slot."""
        idle = live if before == after and live else other_slot(live)
        services = intent.services(idle)
        self._assign(intent, idle, after)
        try:
            self._preflight(intent, before, after, services, clock)
            self._start(services, intent.timeout, clock)
            if intent.strategy == "blue_green":
                with clock.phase("switch"):
                    self._switch(intent, idle)
        except RolloutError:
            if idle != live:
                self._remove(intent, idle)
            raise
        self._go_live(intent, idle)
        with clock.phase("drain"):
            if intent.strategy == "blue_green":
                for container in self._nginx():
                    nginx.reload(self.docker, container, timeout=max(intent.timeout, 90))
            self._remove(intent, other_slot(idle))
        return idle

    def _preflight(
        self, intent: Intent, before: Release | None, after: Release, services: list[str], clock: _Timeline
    ) -> None:
        if intent.strategy == "handover":
            with clock.phase("test"):
                self._once(intent, services[0], "nginx_invalid", "nginx", "-t", "-q", "-c", nginx.CONFIG)
        if intent.migrate and (before is None or before.digest != after.digest):
            with clock.phase("migrate"):
                self._once(intent, f"{intent.service}-migrate", "migration_failed")

    def _once(self, intent: Intent, service: str, code: str, *command: str) -> None:
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

    def _switch(self, intent: Intent, slot: str) -> None:
        """Write the upstream file; put the old one back when Nginx refuses it."""
        path = self._upstream(intent)
        old = self._switched_to(intent)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomic(path, self._switch_to(intent, slot).encode(), 0o644)
        try:
            for container in self._nginx():
                nginx.test_config(self.docker, container)
        except RolloutError:
            write_atomic(path, old.encode(), 0o644)
            raise

    def _go_live(self, intent: Intent, slot: str) -> None:
        values = self.store.read()
        values[f"{intent.prefix}_LIVE_SLOT"] = slot
        self._write(values)

    def _assign(self, intent: Intent, slot: str, release: Release) -> None:
        """Tell Compose which release a slot runs; the containers stay as they are."""
        values = self.store.read()
        name = f"{intent.prefix}_{slot.upper()}" if slot else intent.prefix
        values[f"{name}_IMAGE"] = release.image
        values[f"{name}_CONFIG_HASH"] = release.config_hash
        if intent.env_file:
            content = (self.store.root / intent.env_file).read_bytes()
            values[f"{name}_ENV_FILE"] = self.store.keep_environment(release.id, intent.service, content)
        if intent.migrate:
            values[f"{intent.prefix}_MIGRATE_IMAGE"] = release.image
            values[f"{intent.prefix}_MIGRATE_ENV_FILE"] = values.get(f"{name}_ENV_FILE", "")
        self._write(values)

    def _write(self, values: dict[str, str]) -> None:
        live = (name for name in values if name.endswith("_LIVE_SLOT"))
        profiles = [f"{name[: -len('_LIVE_SLOT')].lower().replace('_', '-')}-{values[name]}" for name in sorted(live)]
        values["COMPOSE_PROJECT_NAME"] = self.docker.project
        values["COMPOSE_FILE"] = ":".join(self.store.fragments())
        values["COMPOSE_PROFILES"] = ",".join(profiles)
        self.store.write(values)

    def _start(self, services: list[str], timeout: float, clock: _Timeline) -> None:
        """Let the containers of the services be what release.env says, and wait until they serve."""
        restarts = {container.id: container.restarts for container in self._running(services)}
        with clock.phase("start"):
            self._compose("up", "--detach", "--no-deps", *services, timeout=timeout)
        with clock.phase("gate"):
            wait_serving(self.docker, services, timeout, restarts)

    def _remove(self, intent: Intent, slot: str) -> None:
        containers = [container for container in self.docker.containers() if intent.owns(container.service, slot)]
        if containers:
            self.progress(f"stop {', '.join(c.service for c in containers)}")
            ids = [container.id for container in containers]
            # Each container's own stop signal and stop_grace_period apply; the limit only bounds a hanging daemon.
            self.docker.run("stop", *ids, timeout=300)
            self.docker.run("rm", *ids)

    def _compose(self, *arguments: str, timeout: float = 60.0, check: bool = True) -> Result:
        return self.docker.compose(self.store.fragments(), *arguments, timeout=timeout, check=check)

    def _nginx(self) -> list[Container]:
        return [c for c in self._running([f"nginx-{slot}" for slot in SLOTS]) if c.state == "running"]

    def _upstream(self, intent: Intent) -> Path:
        return self.store.root / "nginx" / "upstreams" / f"{intent.service}.conf"

    def _switched_to(self, intent: Intent) -> str:
        path = self._upstream(intent)
        return path.read_text() if path.exists() else ""

    def _switch_to(self, intent: Intent, slot: str) -> str:
        return nginx.render_upstream(intent.service, intent.slot_addresses[slot])

    def _record(
        self, intent: Intent, before: Release | None, after: Release, slot: str, outcome: str, clock: _Timeline
    ) -> None:
        self.store.record(
            {
                "service": intent.service,
                "reference": intent.image,
                "before": before.as_dict() if before else None,
                "after": after.as_dict(),
                "slot": slot,
                "outcome": outcome,
                "seconds": clock.seconds,
            }
        )


def _recorded(values: Mapping[str, str], intent: Intent, slot: str) -> Release | None:
    """Return the release that release.env names as live, None before the first."""
    name = f"{intent.prefix}_{slot.upper()}" if slot else intent.prefix
    if intent.slotted and not slot:
        return None
    image = values.get(f"{name}_IMAGE", "")
    return Release(image, values.get(f"{name}_CONFIG_HASH", "")) if image else None
