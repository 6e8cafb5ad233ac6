# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop: under the lock, look, ask the planner for one action, do it, look again.

Whatever an earlier run left half done is ended first, without asking a registry. So a kill at any instruction is
mended by the next run, whatever that one is for.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from . import nginx, registry
from .actions import Actions, with_last_words
from .docker import Docker
from .intent import Intent
from .planner import plan
from .registry import RegistryFiles
from .release import Reference, Release, RolloutError, hash_parts
from .state import SWITCH, Action, Goal, Outcome, Record
from .store import Store
from .watch import Clock, Watch, timestamp

Hook = Callable[[str, Action], None]
_CLOCK = Clock()
_OUTAGE = 60.0  # Seconds that the Docker daemon may be away in the middle of a rollout.
_PHASES = {"wait gate": "gate", "wait prove": "switch", "wait drain": "drain", "wait soak": "soak", "remove": "stop"}


class Engine:
    """One project on one host.

    Args:
        docker: its engine.
        store: its files.
        files: how to ask registries.
        progress: tells a person what is being done.
        hook: called with `before` or `after` and each action; tests die in it.
        clock: time.
    """

    def __init__(
        self,
        docker: Docker,
        store: Store,
        files: RegistryFiles,
        progress: Callable[[str], None],
        hook: Hook = lambda _when, _action: None,
        clock: Clock = _CLOCK,
    ) -> None:
        self.docker = docker
        self.store = store
        self.files = files
        self.progress = progress
        self.hook = hook
        self.clock = clock

    # -- what can be asked for

    def apply(self, intent: Intent) -> Outcome:
        """Roll the service to the digest that its reference has now.

        Raises:
            RolloutError: the release before it serves as before, or serves again.
        """
        with self._alone(intent.timeout):
            timeline: dict[str, float] = {}
            settled = self._settle(intent, timeline)
            with self._phase(timeline, "resolve"):
                reference = Reference.parse(intent.image)
                digest = registry.resolve(reference, self.files)
            record = self._current(intent)
            contents = self.store.contents(intent)
            wanted = self._release(intent, reference.at(digest), contents)
            self._refuse_quarantined(intent, wanted)
            if record.intent.stored() != intent.stored():
                self.store.save(replace(record, intent=replace(intent, force=False)))
            goal = Goal("rollout", wanted, intent.image)
            return self._run(intent.service, goal, contents, timeline, settled)

    def rollback(self, service: str) -> Outcome:
        """Go back to the last good release before the live one, image and configuration; no registry is asked.

        A rollout whose soak was not over is taken back, which is the same and quicker.
        """
        with self._alone(self._known(service).intent.timeout):
            record = self._known(service)
            if record.rollout is not None and not self._unsoaked(record):
                self._settle(record.intent, {})
                record = self._known(service)
            target = record.slots[record.idle] if self._unsoaked(record) else self._rollback_target(record)
            outcome = self._run(service, Goal("rollback", target, "rollback"), {}, {}, False)
            self._quarantine_by_hand(service, outcome.before)
            return outcome

    def restart(self, service: str) -> Outcome:
        """Make the containers of a service anew from the release they have, with its strategy and gates."""
        record = self._known(service)
        with self._alone(record.intent.timeout):
            timeline: dict[str, float] = {}
            self._settle(record.intent, timeline)
            record = self._known(service)
            goal = Goal("restart", self._live_of(record), "restart")
            return self._run(service, goal, {}, timeline, False)

    def predict(self, intent: Intent, pending_config: bool) -> Outcome:
        """Say what `apply` would do; read only, and without Docker installed too.

        Args:
            intent: what shall run.
            pending_config: a task before this one would change a file of the release.
        """
        record = self.store.record(intent.service) or self._adopted(intent)
        before = record.live_release
        idle = record.idle
        reference = Reference.parse(intent.image)
        try:
            digest = registry.resolve(reference, self.files)
        except RolloutError as error:
            # Before the first release the registry's CA and credentials may themselves be still to be installed.
            if before or error.code not in ("registry_unreachable", "registry_unauthorized"):
                raise
            return Outcome(True, before, None, idle)
        contents = self.store.contents(intent)
        after = self._release(intent, reference.at(digest), contents)
        same = before == after and not pending_config
        if not same and not pending_config:
            self._refuse_quarantined(intent, after)
        keys = [] if same else self._changed_keys(intent, before, contents)
        changed = not same or not self.docker.installed() or not self._settled(record, after)
        return Outcome(changed, before, after, record.live or "" if same else idle, diff_keys=keys)

    def predict_rollback(self, service: str) -> Outcome:
        """Say where `rollback` would go."""
        record = self._known(service)
        return Outcome(True, record.live_release, self._rollback_target(record), record.idle)

    def predict_restart(self, service: str) -> Outcome:
        """Say what `restart` would do."""
        record = self._known(service)
        live = self._live_of(record)
        return Outcome(True, live, live, record.idle)

    def status(self) -> dict[str, dict[str, str | None]]:
        """Return per service its slot, its live release, where a rollback goes, and the stage of a rollout."""
        return {
            record.intent.service: {
                "slot": record.live,
                "live": record.live_release.id if record.live_release else None,
                "previous": previous.id if previous else None,
                "rollout": record.rollout.stage if record.rollout else None,
            }
            for record in self.store.records()
            for previous in (self._previous(record),)
        }

    def recorded_intent(self, service: str) -> Intent:
        """Return what was asked of a service last."""
        return self._known(service).intent

    # -- the loop

    def _run(
        self, service: str, goal: Goal | None, contents: Mapping[str, bytes], timeline: dict[str, float], changed: bool
    ) -> Outcome:
        """Go on until the planner has nothing left to do for the goal."""
        watch = Watch(self.docker, self.store, self.clock)
        actions = Actions(self.docker, self.store, self.files, watch, contents, self.progress)
        record, known_at = self._known(service), self.clock.monotonic()
        outcome = Outcome(changed, record.live_release, None, "", timeline)
        if goal and goal.release != outcome.before:
            outcome.diff_keys = self._changed_keys(record.intent, outcome.before, contents)
        while self._step(service, goal, watch, actions, outcome):
            pass
        record = self._known(service)
        outcome.after, outcome.slot, outcome.boot_seconds = record.live_release, record.live or "", watch.boot_seconds
        if watch.served_at is not None:
            outcome.serve_seconds = round(watch.served_at - known_at, 3)
        return self._result(goal, watch, outcome)

    def _step(self, service: str, goal: Goal | None, watch: Watch, actions: Actions, outcome: Outcome) -> bool:
        """Look, and do one action; return whether there may be another."""
        started, phase, life = self.clock.monotonic(), "look", self.docker.daemon()
        try:
            seen = watch.look(self._known(service), goal)
            action = plan(goal, seen, self.clock.monotonic())
            if action.name == "done":
                return False
            phase = _PHASES.get(f"{action.name} {action.reason}", _PHASES.get(action.name, action.name))
            if action.name == "give_up":
                failure = action.failure or RolloutError("failed", "for no reason")
                raise with_last_words(failure, self.docker, seen.of(action.slot))
            outcome.changed = outcome.changed or action.name not in ("wait", "environment", "prune", "finish")
            self.hook("before", action)
            actions.perform(action, goal, seen)
            self.hook("after", action)
            watch.away_since = None
        except RolloutError as error:
            if phase == "give_up":
                raise
            if not self._comes_back(error, life, watch):
                if phase == "look":
                    raise
                watch.remember(failure=error)
        finally:
            outcome.timeline[phase] = outcome.timeline.get(phase, 0.0) + self.clock.monotonic() - started
        return True

    def _comes_back(self, error: RolloutError, life: str, watch: Watch) -> bool:
        """Whether the daemon went away and is waited for, so that the error says nothing about the release."""
        if error.code != "docker_down" and self.docker.daemon() == life:
            return False
        now = self.clock.monotonic()
        watch.away_since = now if watch.away_since is None else watch.away_since
        if now - watch.away_since > _OUTAGE:
            return False
        self.progress(f"the Docker daemon went away, waiting for it: {error.message}")
        self.clock.sleep(0.5)
        return True

    @staticmethod
    def _result(goal: Goal | None, watch: Watch, outcome: Outcome) -> Outcome:
        """Return the outcome of a run that reached its goal; raise why it did not."""
        failure = watch.end.get("failure")
        wanted = ("live", "rolled_back") if failure and failure["code"] == "rolled_back" else ("live",)
        if goal is None or failure is None or watch.end["outcome"] in wanted:
            return outcome
        details = {**failure["details"], "outcome": watch.end["outcome"], "timeline": outcome.as_dict()["timeline"]}
        raise RolloutError(failure["code"], failure["message"], details, failure["logs"])

    def _settle(self, intent: Intent, timeline: dict[str, float]) -> bool:
        """End what an earlier run has begun; return whether there was anything."""
        self.store.prepare()
        record = self._current(intent)
        if record.rollout is None:
            return False
        self.progress(f"{intent.service}: an earlier run did not end its {record.rollout.kind}; this one does")
        self._run(intent.service, None, {}, timeline, False)
        return True

    def _settled(self, record: Record, wanted: Release) -> bool:
        """Whether nothing is left to do for a release that is live."""
        watch = Watch(self.docker, self.store, self.clock)
        goal = Goal("rollout", wanted, "")
        action = plan(goal, watch.look(record, goal), self.clock.monotonic())
        return action.name == "done" or (action.name, action.reason) == ("wait", "gate")

    @contextlib.contextmanager
    def _alone(self, timeout: float) -> Iterator[None]:
        """Hold the project's lock, and name what the disk refuses."""
        if not self.docker.installed():
            raise RolloutError("docker_missing", "there is no docker command on this host; run role docker first")
        try:
            with self.store.locked(timeout) as lock:
                self.docker.inherited = (lock,)
                yield
        except OSError as error:
            code = "disk_full" if error.errno == errno.ENOSPC else "io_failed"
            raise RolloutError(
                code, f"cannot write the state of the project: {error}; free space or repair it, then run again"
            ) from error

    @contextlib.contextmanager
    def _phase(self, timeline: dict[str, float], name: str) -> Iterator[None]:
        started = self.clock.monotonic()
        try:
            yield
        finally:
            timeline[name] = timeline.get(name, 0.0) + self.clock.monotonic() - started

    # -- records and releases

    def _known(self, service: str) -> Record:
        record = self.store.record(service)
        if record is None:
            raise RolloutError(
                "service_unknown",
                f"nothing is recorded of a service {service} below {self.store.root}; deploy it first",
                {"service": service},
            )
        return record

    def _current(self, intent: Intent) -> Record:
        """Return the record, made from what runs where there is none."""
        record = self.store.record(intent.service)
        if record is None:
            record = self._adopted(intent)
            self.store.save(record)
        return record

    def _adopted(self, intent: Intent) -> Record:
        """Return a record of what runs where the file was lost: nobody must lose traffic because of that."""
        kept = [release for release in self.store.kept(intent.service).values() if release]
        containers = self.docker.containers() if kept and self.docker.installed() else []
        for slot in intent.slots:
            for release in kept:
                record = Record(intent, live=slot, slots={slot: release}, good=(release,))
                found = [one for one in containers if intent.owns(one.service, slot) and one.release == release]
                written = nginx.render_upstream(intent.service, record.servers(slot))
                live = intent.strategy != "blue_green" or self.store.upstream(intent.service) == written
                if found and live:
                    return record
        return Record(intent)

    def _release(self, intent: Intent, image: str, contents: Mapping[str, bytes]) -> Release:
        addresses = {slot: list(servers) for slot, servers in intent.slot_addresses.items()}
        return Release(image, hash_parts(contents, self.store.key()), addresses)

    def _live_of(self, record: Record) -> Release:
        live = record.live_release
        if live is None:
            raise RolloutError(
                "nothing_live", f"no release of {record.intent.service} is live yet; deploy it first", {}
            )
        return live

    @staticmethod
    def _unsoaked(record: Record) -> bool:
        """Whether a rollout has the traffic already and the release before it is still there to go back to."""
        rollout = record.rollout
        moved = rollout is not None and rollout.kind == "rollout" and rollout.stage == SWITCH
        return moved and record.slots.get(record.idle) in record.good

    def _previous(self, record: Record) -> Release | None:
        """Return the last good release that is kept, is not live and was not left for a reason."""
        service = record.intent.service
        kept, bad = self.store.kept(service), self.store.quarantine()
        for release in record.good:
            if release != record.live_release and kept.get(release.id) and f"{service}/{release.id}" not in bad:
                return release
        return None

    def _rollback_target(self, record: Record) -> Release:
        target = self._previous(record)
        if target is None:
            raise RolloutError(
                "nothing_to_roll_back_to",
                f"no good release of {record.intent.service} before the live one is kept on this host; "
                "deploy an older image instead",
                {"service": record.intent.service},
            )
        return target

    def _changed_keys(self, intent: Intent, before: Release | None, contents: Mapping[str, bytes]) -> list[str]:
        """Return the names, never values, of environment variables that differ."""
        if not intent.env_file or before is None or not contents:
            return []
        old = self.store.kept_file(intent.service, before.id, f"{intent.service}.env") or b""
        pairs = [
            dict(line.partition(b"=")[::2] for line in text.splitlines()) for text in (old, contents[intent.env_file])
        ]
        names = {name for name in {*pairs[0], *pairs[1]} if pairs[0].get(name) != pairs[1].get(name)}
        return sorted(name.decode(errors="replace") for name in names if name and not name.startswith(b"#"))

    def _refuse_quarantined(self, intent: Intent, wanted: Release) -> None:
        entries = self.store.quarantine()
        entry = entries.get(f"{intent.service}/{wanted.id}")
        if entry is None:
            return
        if intent.force:
            self.store.set_quarantine({key: value for key, value in entries.items() if value is not entry})
            return
        raise RolloutError(
            "quarantined",
            f"{wanted.image} with this configuration failed on {entry['at']} ({entry['code']}: {entry['message']}); "
            "push another image, change the configuration, or force it",
            {"service": intent.service, "image": wanted.image, **entry},
        )

    def _quarantine_by_hand(self, service: str, release: Release | None) -> None:
        if release is None:
            return
        why = {"code": "rolled_back", "message": "rolled back by a person", "at": timestamp(), "image": release.image}
        self.store.set_quarantine({**self.store.quarantine(), f"{service}/{release.id}": why})


def host_engine(
    root: Path, project: str, progress: Callable[[str], None], hook: Hook = lambda _when, _action: None
) -> Engine:
    """Return the engine of a project on this host."""
    return Engine(Docker(root, project), Store(root, Path("/run") / project), RegistryFiles(), progress, hook)
