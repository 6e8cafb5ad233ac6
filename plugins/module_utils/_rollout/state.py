# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a service: the record on disk, what this run remembers, what it sees, and what it does next."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .health import Streak
from .intent import Intent
from .release import Container, Release, RolloutError, other_slot

# Stages of a rollout, in the record. Before the switch nothing has touched the live slot.
PREPARE, SWITCH, REVERT, REJECT = "prepare", "switch", "revert", "reject"


@dataclass(frozen=True)
class Rollout:
    """A rollout that has begun and not ended: written before anything is done, so that a crash is finished or undone.

    Attributes:
        id: unique; also the key that keeps the history free of double entries.
        kind: `rollout`, `rollback` or `restart`.
        slot: where the new release goes.
        stage: PREPARE, SWITCH (the new slot has or gets the traffic), REVERT (the old one gets it back) or REJECT (it
            never lost it).
        started_at: RFC 3339, UTC.
        reference: what was asked for.
        actor: who asked: `ansible`, `agent` or a person's name.
        before: the release that was live.
        failure: why it is reverted or rejected.
        intent_before: what was asked for before; holds again where the release before stays live.
    """

    id: str
    kind: str
    slot: str
    stage: str
    started_at: str
    reference: str
    actor: str = ""
    before: Release | None = None
    failure: Mapping[str, Any] | None = None
    intent_before: Intent | None = None

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Rollout:
        """Read what `Record.stored` returned of it."""
        before, intent = values["before"], values.get("intent_before")
        restored = {"before": before and Release(**before), "intent_before": intent and Intent.restored(intent)}
        return cls(**{**values, **restored})


@dataclass(frozen=True)
class Record:
    """What the engine keeps about a service in `state/<service>.json`; release.env follows from it.

    Attributes:
        intent: what the live release was asked for with, or a rollout in progress is.
        live: the slot that has, or is getting, the traffic; None before the first release.
        slots: slot -> the release that it is to run.
        good: releases that came through their soak, newest first; kept on disk.
        migrated: digests whose migration was done, newest last.
        rollout: the one in progress.
        verified: digests whose signature was proven, each after the hash of the public key, newest last.
    """

    intent: Intent
    live: str | None = None
    slots: Mapping[str, Release] = field(default_factory=dict)
    good: tuple[Release, ...] = ()
    migrated: tuple[str, ...] = ()
    rollout: Rollout | None = None
    verified: tuple[str, ...] = ()

    @property
    def live_release(self) -> Release | None:
        """The release in the live slot."""
        return None if self.live is None else self.slots.get(self.live)

    @property
    def idle(self) -> str:
        """The slot beside the live one."""
        return other_slot(self.live or "") if self.intent.slotted else ""

    def services(self, slot: str) -> list[str]:
        """Names of the Compose services that make up a slot."""
        intent = self.intent
        if intent.strategy != "blue_green":
            return [f"{intent.service}-{slot}" if slot else intent.service]
        replicas = len(self.servers(slot))
        return [f"{intent.service}-{slot}-{number}" for number in range(1, replicas + 1)]

    def servers(self, slot: str) -> list[str]:
        """The `address:port` of every replica of a slot."""
        release = self.slots.get(slot)
        return list(release.addresses.get(slot, ())) if release else []

    def stored(self) -> dict[str, Any]:
        """Return the record as JSON can hold it."""
        return {**dataclasses.asdict(self), "version": 1, "intent": self.intent.stored()}

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Record:
        """Read what `stored` returned; KeyError, TypeError or ValueError where it is something else."""
        if values["version"] != 1:
            raise ValueError(f"version {values['version']} is not 1")
        rollout = values["rollout"]
        return cls(
            intent=Intent.restored(values["intent"]),
            live=values["live"],
            slots={slot: Release(**release) for slot, release in values["slots"].items()},
            good=tuple(Release(**release) for release in values["good"]),
            migrated=tuple(values["migrated"]),
            verified=tuple(values.get("verified", ())),
            rollout=rollout and Rollout.restored(rollout),
        )


@dataclass(frozen=True)
class Memory:
    """What this process has done and counted since it began. A crash loses it, and doing it again is harmless.

    Attributes:
        begun: id of the rollout that this process began.
        started: the slot whose containers it has started last.
        tested: the new Nginx image has accepted the configuration.
        loaded: every running Nginx was told to load the upstream file as it is now.
        loaded_at: when, by the monotonic clock.
        lingering: Nginx workers from before that are still there.
        current: every running Nginx sends requests to the live slot now.
        proven_at: since when the live slot answers through a reloaded Nginx, None before.
        gate: how the containers of the slot at stake do.
        errors: why the access log condemns the new release, None while it does not.
        failure: what an action of this process ran into.
        outcome: how the rollout ended that this process finished last, '' before.
        pruned: what need not be kept was taken away, as far as that worked.
    """

    begun: str = ""
    started: str | None = None
    tested: bool = False
    loaded: bool = False
    loaded_at: float = 0.0
    lingering: int = 0
    current: bool = False
    proven_at: float | None = None
    gate: Streak = field(default_factory=Streak)
    errors: RolloutError | None = None
    failure: RolloutError | None = None
    outcome: str = ""
    pruned: bool = False


@dataclass(frozen=True)
class Observation:
    """What a service looks like now.

    Attributes:
        record: the engine's own record.
        containers: all of the service, in any state.
        projected: release.env says what the record says.
        switched: the upstream file names exactly the live slot; always true without an upstream.
        proxied: at least one Nginx runs, so that a switch needs a reload.
        pulled: the image of the goal is here.
        kept: the files of the goal are kept.
        surplus: ids of releases on disk that need not be kept any more.
        memory: of this process.
    """

    record: Record
    containers: tuple[Container, ...]
    projected: bool
    switched: bool
    proxied: bool
    pulled: bool
    kept: bool
    surplus: tuple[str, ...]
    memory: Memory

    @property
    def rollout(self) -> Rollout:
        """The rollout in progress; ValueError where there is none."""
        if self.record.rollout is None:
            raise ValueError(f"no rollout of {self.record.intent.service} is in progress")
        return self.record.rollout

    def of(self, slot: str) -> list[Container]:
        """Return the containers of a slot."""
        return [one for one in self.containers if self.record.intent.owns(one.service, slot)]

    def complete(self, slot: str) -> bool:
        """Whether exactly the containers of the slot's release run there."""
        release = self.record.slots.get(slot)
        found = self.of(slot)
        return (
            release is not None
            and sorted(one.service for one in found) == self.record.services(slot)
            and all(one.state == "running" and one.release == release for one in found)
        )

    def running(self, slot: str) -> int:
        """How many containers of the slot run."""
        return sum(one.state == "running" for one in self.of(slot))

    def serving(self, slot: str) -> bool:
        """Whether the slot's release runs and Docker has nothing against its health."""
        return self.complete(slot) and all(one.health != "unhealthy" for one in self.of(slot))


@dataclass(frozen=True)
class Goal:
    """What this run is for.

    Attributes:
        kind: `rollout`, `rollback` or `restart`.
        release: what shall be live.
        reference: how a person named it.
        actor: who asked.
        intent: the rules that come with the release, None for those that are recorded.
    """

    kind: str
    release: Release
    reference: str
    actor: str = ""
    intent: Intent | None = None


@dataclass(frozen=True)
class Action:
    """The next step.

    Attributes:
        name: what to do: pull, keep, begin, environment, test, migrate, start, commit (to the switch), switch, reload,
            wait, fail, remove, finish, prune, done or give_up.
        slot: where.
        reason: what `wait` waits for (gate, prove, drain, soak), and the outcome that `finish` records.
        failure: why, for `fail`, a `finish` with nothing to go back to, and `give_up`.
    """

    name: str
    slot: str = ""
    reason: str = ""
    failure: RolloutError | None = None

    def __str__(self) -> str:
        return " ".join(filter(None, (self.name, self.slot, self.reason)))


@dataclass
class Outcome:
    """What a run did, or in check mode would do.

    Attributes:
        changed: whether anything was or would be changed.
        before: the release that was live, None before the first.
        after: the wanted release; None where check mode cannot know the digest yet.
        slot: where the release lives, '' for a service without slots.
        timeline: seconds per phase, in order.
        serve_seconds: from the known digest until the new release answered through Nginx.
        boot_seconds: of these, from the start of its container until it first passed its gates.
        diff_keys: names of environment variables that differ between the two releases.
    """

    changed: bool
    before: Release | None
    after: Release | None
    slot: str
    timeline: dict[str, float] = field(default_factory=dict)
    serve_seconds: float | None = None
    boot_seconds: float | None = None
    diff_keys: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as the modules document it."""
        shown = {"before": self.before, "after": self.after}
        return {
            "changed": self.changed,
            **{name: release.as_dict() if release else None for name, release in shown.items()},
            "slot": self.slot,
            "timeline": {phase: round(seconds, 3) for phase, seconds in self.timeline.items()},
            "serve_seconds": self.serve_seconds,
            "boot_seconds": self.boot_seconds,
            "changed_keys": self.diff_keys,
        }
