# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring one service to the release behind a reference: observe, decide, act one step at a time, record.

Every step either leaves the live release as it was or can be repeated, so that the next run converges.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field

from . import nginx, registry
from .docker import Docker
from .release import Intent, Reference, Release, RolloutError, hash_parts, other_slot
from .steps import Progress, Steps, Timeline
from .store import Store
from .strategies import recreate, restore, roll, settle, unsettled


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


class Engine:
    """One project on one host."""

    def __init__(self, docker: Docker, store: Store, files: registry.RegistryFiles, progress: Progress) -> None:
        self.docker = docker
        self.store = store
        self.files = files
        self.progress = progress
        self.steps = Steps(docker, store, progress)

    def predict(self, intent: Intent, pending_config: bool) -> Outcome:
        """Say what `apply` would do; read only, and without Docker installed too.

        Args:
            intent: what shall run.
            pending_config: a task before this one would change a file of the release.
        """
        slot, before = _live(self.store.read(), intent)
        next_slot = other_slot(slot) if intent.slotted else ""
        try:
            digest = registry.resolve(Reference.parse(intent.image), self.files)
        except RolloutError as error:
            # Before the first release the registry's CA and credentials may themselves be still to be installed.
            if before or error.code not in ("registry_unreachable", "registry_unauthorized"):
                raise
            return Outcome(True, before, None, next_slot)
        after = Release(Reference.parse(intent.image).at(digest), self._config_hash(intent))
        same = before == after and not pending_config
        changed = not same or not self.docker.installed() or not self._complete(intent, slot, after)
        return Outcome(changed, before, after, slot if same else next_slot)

    def apply(self, intent: Intent) -> Outcome:
        """Roll the service to the digest its reference has now.

        Raises:
            RolloutError: nothing of the live release was changed, or it was put back.
        """
        if not self.docker.installed():
            raise RolloutError("docker_missing", "there is no docker command on this host; run role docker first")
        try:
            with self.store.locked(intent.timeout) as lock:
                self.docker.inherited = (lock,)
                return self._apply(intent)
        except OSError as error:
            code = "disk_full" if error.errno == errno.ENOSPC else "io_failed"
            raise RolloutError(
                code, f"cannot write the state of {intent.service}: {error}; free space or repair it, then run again"
            ) from error

    def _apply(self, intent: Intent) -> Outcome:
        clock = Timeline()
        self.store.prepare()
        settled = unsettled(self.steps, intent)
        settle(self.steps, intent, clock)
        slot, before = _live(self.store.read(), intent)
        reference = Reference.parse(intent.image)
        with clock.phase("resolve"):
            digest = registry.resolve(reference, self.files)
        after = Release(reference.at(digest), self._config_hash(intent))
        if before == after and self._comes_up(intent, slot, after):
            return Outcome(settled, before, after, slot, clock.seconds)
        self.progress(f"{intent.service}: {before.id if before else 'nothing'} -> {after.id}")
        outcome = "live"
        try:
            with clock.phase("pull"):
                self.docker.pull(after.image, timeout=600)
            if not intent.slotted:
                recreate(self.steps, intent, before, after, clock)
            elif slot and before == after:
                restore(self.steps, intent, slot, after, clock)
            else:
                slot = roll(self.steps, intent, slot, after, clock)
        except RolloutError as error:
            outcome = error.code
            raise
        finally:
            self._record(intent, before, after, slot, outcome, clock)
        return Outcome(True, before, after, slot, clock.seconds)

    def _config_hash(self, intent: Intent) -> str:
        paths = [f"compose.d/{intent.service}.yaml", intent.env_file, *intent.config_files]
        parts = {}
        for path in filter(None, paths):
            full = self.store.root / path
            parts[path] = full.read_bytes() if full.exists() else b""  # In check mode it may be still to come.
        return hash_parts(parts, self.store.key())

    def _comes_up(self, intent: Intent, slot: str, wanted: Release) -> bool:
        """Whether exactly the wanted release serves, or will by itself: after a reboot it may still be starting."""
        if not self._complete(intent, slot, wanted):
            return False
        try:
            self.steps.wait(intent.services(slot), intent.timeout, self.steps.containers(intent))
        except RolloutError as error:
            self.progress(f"{intent.service}: {error.message}")
            return False
        return True

    def _complete(self, intent: Intent, slot: str, wanted: Release) -> bool:
        """Whether the wanted release runs in its slot with the traffic switched to it, and nothing else is left."""
        if unsettled(self.steps, intent) or f"{intent.prefix}_PREVIOUS_IMAGE" in self.store.read():
            return False
        containers = self.steps.containers(intent)
        return (
            sorted(container.service for container in containers) == sorted(intent.services(slot))
            and all(c.state == "running" and Release(c.image, c.config_hash) == wanted for c in containers)
            and (
                intent.strategy != "blue_green"
                or self.steps.switched_to(intent) == nginx.render_upstream(intent.service, intent.slot_addresses[slot])
            )
        )

    def _record(
        self, intent: Intent, before: Release | None, after: Release, slot: str, outcome: str, clock: Timeline
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


def _live(values: Mapping[str, str], intent: Intent) -> tuple[str, Release | None]:
    """Return the live slot ('' for a service without slots) and the last release known to be good, None before it."""
    slot = values.get(intent.live_variable, "") if intent.slotted else ""
    if intent.slotted and not slot:
        return "", None
    names = [f"{intent.prefix}_PREVIOUS", intent.variable(slot)]
    for name in names:
        if values.get(f"{name}_IMAGE"):
            return slot, Release(values[f"{name}_IMAGE"], values.get(f"{name}_CONFIG_HASH", ""))
    return slot, None
