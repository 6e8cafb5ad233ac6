# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each action of the planner does. Each can be repeated, and a kill in the middle of it is seen and mended."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from . import nginx, preflight
from .clock import timestamp
from .docker import Docker, cause
from .health import Streak
from .records import Records
from .registry import RegistryFiles
from .release import Container, RolloutError
from .state import PREPARE, REJECT, REVERT, SWITCH, Action, Goal, Memory, Observation, Record, Rollout
from .store import Store
from .watch import Watch

_PULL_LIMIT = 1800.0  # Seconds.
_STOP_LIMIT = 1800.0  # Seconds. Each container's own stop_grace_period applies; this only bounds a daemon that hangs.
_SAID_BY_CONTAINERS = ("port_taken", "disk_full")  # Causes that a container's own log may name.
_MOVES = ("start", "remove", "fail")  # Actions after which the containers are not what was seen before.
_PAUSES = {"gate": 0.02, "prove": 0.02, "drain": 0.2, "soak": 0.5}  # Seconds between two looks.


@dataclass
class Actions:
    """Carries out actions on one service of one project.

    Attributes:
        docker, store, files: the engine's.
        watch: what this run has seen and done.
        contents: files of the release to roll out, by path; empty for a release that is kept already.
        progress: tells a person.
    """

    docker: Docker
    store: Store
    files: RegistryFiles
    watch: Watch
    contents: Mapping[str, bytes]
    progress: Callable[[str], None]

    def perform(self, action: Action, goal: Goal | None, seen: Observation) -> None:
        """Carry out an action; RolloutError and OSError where it fails."""
        if action.name in _MOVES:
            self.watch.moved()
        getattr(self, f"_{action.name}")(action, goal, seen)

    # -- before the switch

    def _pull(self, _action: Action, goal: Goal, seen: Observation) -> None:
        intent, release = seen.record.intent, goal.release
        preflight.check(release, intent, self.files, seen.of(seen.record.live or ""))
        self.progress(f"{intent.service}: pull {release.image}")
        self.docker.pull(release.image, _PULL_LIMIT)

    def _keep(self, _action: Action, goal: Goal, seen: Observation) -> None:
        self.store.keep(seen.record.intent, goal.release, self.contents)

    def _begin(self, action: Action, goal: Goal, seen: Observation) -> None:
        record = seen.record
        now = timestamp()
        before = record.live_release
        asked = self.store.record(record.intent.service)
        rollout = Rollout(
            id=f"{now}-{os.urandom(4).hex()}",
            kind=goal.kind,
            slot=action.slot,
            stage=PREPARE,
            started_at=now,
            reference=goal.reference,
            actor=goal.actor,
            before=before,
            intent_before=asked.intent if asked else None,
        )
        if asked and before:  # What leaves may be gone back to.
            self.store.keep_intent(asked.intent, before)
        self.progress(f"{record.intent.service}: {before.id if before else 'nothing'} -> {goal.release.id}")
        live = record.live if record.intent.slotted else ""
        slots = {**record.slots, action.slot: goal.release}
        self.store.save(replace(record, live=live, slots=slots, rollout=rollout))
        self.watch.memory = Memory(begun=rollout.id)
        self.store.project(self.docker.project)

    def _environment(self, _action: Action, _goal: Goal | None, _seen: Observation) -> None:
        self.store.project(self.docker.project)

    def _test(self, action: Action, _goal: Goal | None, seen: Observation) -> None:
        service = seen.record.services(action.slot)[0]
        self._once(seen.record, service, "nginx_invalid", "nginx", "-t", "-q", "-c", nginx.CONFIG)
        self.watch.remember(tested=True)

    def _migrate(self, action: Action, _goal: Goal | None, seen: Observation) -> None:
        record = seen.record
        self._once(record, f"{record.intent.service}-{action.slot}-migrate", "migration_failed")
        digest = record.slots[action.slot].digest
        self.store.save(replace(record, migrated=(*record.migrated, digest)[-50:]))

    def _start(self, action: Action, _goal: Goal | None, seen: Observation) -> None:
        record = seen.record
        self.watch.baseline(seen.of(action.slot))
        self._drop_others(record, action.slot, seen)
        arguments = ["up", "--detach", "--no-deps"]
        if record.rollout and record.rollout.kind == "restart" and not record.intent.slotted:
            arguments.append("--force-recreate")
        services = record.services(action.slot)
        self.docker.compose(self.store.compose_files(), *arguments, *services, timeout=record.intent.timeout)
        self.watch.remember(started=action.slot, gate=Streak())

    def _drop_others(self, record: Record, slot: str, seen: Observation) -> None:
        """Remove replicas that the release does not have."""
        surplus = [one.id for one in seen.of(slot) if one.service not in record.services(slot)]
        if surplus:
            self.docker.run("stop", *surplus, timeout=_STOP_LIMIT)
            self.docker.run("rm", *surplus)

    # -- the switch

    def _commit(self, action: Action, _goal: Goal | None, seen: Observation) -> None:
        """From here on the new slot is the live one: whoever reads the record makes it true."""
        rollout = replace(seen.rollout, stage=SWITCH)
        self.store.save(replace(seen.record, live=action.slot, rollout=rollout))
        self.watch.remember(failure=None)

    def _switch(self, action: Action, _goal: Goal | None, seen: Observation) -> None:
        record = seen.record
        service = record.intent.service
        self.watch.rewritten()
        self.store.switch(service, nginx.render_upstream(service, record.servers(action.slot)))

    def _reload(self, _action: Action, _goal: Goal | None, _seen: Observation) -> None:
        for proxy in self.watch.proxies:
            self.watch.reloaded(proxy, nginx.reload(self.docker, proxy))

    def _wait(self, action: Action, _goal: Goal | None, _seen: Observation) -> None:
        self.watch.sleep(_PAUSES[action.reason])

    # -- the end

    def _fail(self, action: Action, _goal: Goal | None, seen: Observation) -> None:
        record, rollout, failure = seen.record, seen.rollout, action.failure or RolloutError("failed", "for no reason")
        failure = with_last_words(failure, self.docker, seen.of(action.slot))
        self.progress(f"{record.intent.service}: {failure.code}: {failure.message}")
        release = record.slots[rollout.slot]
        if rollout.kind == "rollout" and record.good and release not in record.good[:1]:
            Records(self.docker, self.store).quarantine(record.intent.service, release, failure)
        live, slots, stage = record.live, record.slots, REJECT
        if rollout.stage == SWITCH:
            stage, live = REVERT, record.idle
        elif not record.intent.slotted and record.good:
            stage, slots = REVERT, {"": record.good[0]}
        failed = replace(rollout, stage=stage, failure=failure.as_dict())
        self.store.save(replace(record, live=live, slots=slots, rollout=failed))
        memory = self.watch.memory
        # A slot that is warm needs no new look; one that has to be started gets one.
        self.watch.memory = Memory(begun=memory.begun, loaded_at=memory.loaded_at)

    def _remove(self, action: Action, _goal: Goal | None, seen: Observation) -> None:
        containers = seen.of(action.slot)
        self.progress(f"stop {', '.join(one.service for one in containers)}")
        ids = [one.id for one in containers]
        self.docker.run("stop", *ids, timeout=_STOP_LIMIT)
        self.docker.run("rm", *ids)

    def _finish(self, action: Action, _goal: Goal | None, seen: Observation) -> None:
        record, rollout, outcome = seen.record, seen.record.rollout, action.reason
        live, records = record.live_release, Records(self.docker, self.store)
        good, intent, failed = record.good, record.intent, self.watch.memory.failure
        if outcome == "live" and live is not None:
            good = (live, *(release for release in good if release != live))[: self.watch.keep(record.intent)]
            if rollout is None or rollout.kind == "rollout":  # It was forced, or stayed although it had failed.
                records.lift(intent.service, live)
        slots = {} if record.live is None or live is None else {record.live: live}
        if rollout is not None:
            if rollout.kind == "rollback" and rollout.before and outcome == "live":
                # Before the record says that it is over: whoever follows a tag must not bring it back.
                left = RolloutError("rolled_back", "rolled back by a person")
                records.quarantine(intent.service, rollout.before, left)
            if outcome != "live" and live and live == rollout.before:
                intent = rollout.intent_before or intent
            failure = action.failure.as_dict() if action.failure else rollout.failure
            self.watch.ended(record, replace(rollout, failure=failure), outcome)
        self.store.save(replace(record, intent=intent, slots=slots, good=good, rollout=None))
        if failed and outcome == "live":
            self.progress(f"{intent.service}: what ran before is still to be removed: {failed.code}: {failed.message}")
        self.watch.memory = Memory(outcome=outcome)

    def _prune(self, _action: Action, _goal: Goal | None, seen: Observation) -> None:
        """Remove releases that are kept no more; an image before the files that name it: no crash forgets it."""
        service = seen.record.intent.service
        kept = self.store.kept(service)
        used = {release.image for release in kept.values() if release and release.id not in seen.surplus}
        used |= {release.image for other in self.store.records() for release in (*other.good, *other.slots.values())}
        for release_id in seen.surplus:
            release = kept.get(release_id)
            try:
                if release and release.image not in used:
                    self.docker.remove_image(release.image)
            except RolloutError as error:  # How the rollout ended says something else.
                self.progress(f"{service}: {release_id} is still to be removed: {error.code}: {error.message}")
            else:
                self.store.forget(service, release_id)
        self.watch.remember(pruned=True)

    # -- shared

    def _once(self, record: Record, service: str, code: str, *command: str) -> None:
        """Run a one-off container to its end; its fixed name lets a later run remove what a crash left."""
        name, timeout = f"{self.docker.project}-{service}-once", record.intent.timeout
        self.docker.run("rm", "--force", name, check=False)
        self.progress(f"{record.intent.service}: run {service} {' '.join(command)}".rstrip())
        arguments = ("run", "--rm", "--no-deps", "-T", "--name", name, service, *command)
        try:
            result = self.docker.compose(self.store.compose_files(), *arguments, timeout=timeout, check=False)
        except RolloutError as error:
            if error.code != "timeout":
                raise
            self.docker.run("rm", "--force", name, check=False)
            message = f"{service} did not finish in {timeout:.0f} s and was stopped; nothing was switched"
            raise RolloutError(code, message, {"service": service}) from error
        if result.returncode != 0:
            logs = (result.stdout + result.stderr).splitlines()[-30:]
            raise RolloutError(
                code,
                f"the one-off container of {service} ended with {result.returncode}, so nothing was switched; "
                "its last lines are in failure.logs",
                {"service": service, "rc": result.returncode},
                logs,
            )


def with_last_words(failure: RolloutError, docker: Docker, containers: Sequence[Container]) -> RolloutError:
    """Return a failed gate with what the container wrote last, and with the cause that this names."""
    if failure.code != "unhealthy" or not containers:
        return failure
    worst = min(containers, key=lambda one: one.serving)
    logs = docker.logs(worst)
    known = cause("\n".join(logs))
    # An application may write the other words about whatever it talks to itself.
    code, advice = known if known and known[0] in _SAID_BY_CONTAINERS else (failure.code, "its log is in failure.logs")
    wrote = "" if logs else ". It wrote nothing"
    details = {**failure.details, "container": worst.service, "state": worst.state, "health": worst.health}
    return RolloutError(code, f"{failure.message}; {advice}{wrote}", details, logs)
