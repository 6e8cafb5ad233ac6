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

from . import preflight, signature
from .actions import Actions, with_last_words
from .clock import Clock
from .docker import Docker
from .intent import Intent
from .planner import plan
from .records import Records
from .registry import RegistryFiles
from .release import Reference, Release, RolloutError
from .state import Action, Goal, Outcome, Record
from .store import Store
from .watch import Watch

Hook = Callable[[str, Action], None]
_CLOCK = Clock()
_PATIENCE = 10.0  # Seconds that a change of the quarantine waits for a rollout.
_OUTAGE = 60.0  # Seconds that the Docker daemon may be away in the middle of a rollout.
# What is wrong with the image itself, whatever host and hour: not tried again.
_IMAGE_FAULTS = ("platform_missing", "entrypoint_missing", "digest_mismatch", "signature_missing", "signature_invalid")
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
        actor: who asks, for the history.
    """

    def __init__(
        self,
        docker: Docker,
        store: Store,
        files: RegistryFiles,
        progress: Callable[[str], None],
        hook: Hook = lambda _when, _action: None,
        clock: Clock = _CLOCK,
        actor: str = "",
    ) -> None:
        self.docker = docker
        self.store = store
        self.files = files
        self.progress = progress
        self.hook = hook
        self.clock = clock
        self.actor = actor
        self.records = Records(docker, store)

    # -- what can be asked for

    def apply(self, intent: Intent) -> Outcome:
        """Roll the service to the digest that its reference has now.

        Raises:
            RolloutError: the release before it serves as before, or serves again.
        """
        with self._alone(intent.timeout):
            timeline: dict[str, float] = {}
            settled = self._settle(intent, timeline)
            record = self.records.stricter(self.records.current(intent), intent)
            with self._phase(timeline, "resolve"):
                digest = self.records.digest(record, intent, self.files)
            contents = self.store.contents(intent)
            wanted = self.records.release(intent, Reference.parse(intent.image).at(digest), contents)
            self.records.refuse_quarantined(intent, wanted)
            record = self._verified(record, intent, wanted)
            if wanted == record.live_release:
                if intent.force:
                    self.records.lift(intent.service, wanted)
                self.store.keep_intent(intent, wanted)
                if record.intent.stored() != intent.stored():
                    self.store.save(replace(record, intent=intent))
            # Other rules count from the moment on at which their release begins, and no longer than it lives.
            goal = replace(self._goal("rollout", wanted, intent.image), intent=intent)
            return self._run(intent.service, goal, contents, timeline, settled)

    def follow(
        self,
        service: str,
        digest: str,
        force: bool = False,
        older: bool = False,
        object_to: Callable[[Release], None] = lambda _live: None,
    ) -> Outcome:
        """Roll a service to another digest of its image; its configuration stays that of the live release.

        Args:
            service: what is deployed already.
            digest: of the repository that was asked for last.
            force: in spite of a quarantine, or of a newer image that is live.
            older: in spite of a newer image that is live.
            object_to: given the live release, raises what is against it now that nobody else is at work.

        Raises:
            RolloutError: older_image where the live image was built later, and those of `apply`. A fault of the image
                itself is written to the history and puts the release in quarantine, also where nothing was begun.
        """
        with self._alone(self.records.known(service).intent.timeout):
            timeline: dict[str, float] = {}
            self._settle(self.records.known(service).intent, timeline)
            record = self.records.known(service)
            intent, live = replace(record.intent, force=force), self.records.live_of(record)
            wanted = replace(live, image=Reference.parse(intent.image).at(digest))
            goal = self._goal("rollout", wanted, intent.image)
            if wanted == live:
                return self._run(service, goal, {}, timeline, False)
            object_to(live)
            self.records.refuse_quarantined(intent, wanted)
            try:
                if not (force or older):
                    preflight.refuse_older(wanted, live, self.docker, self.files)
                self._verified(record, intent, wanted)
                return self._run(service, goal, self.store.kept_contents(intent, live.id), timeline, False)
            except RolloutError as error:
                if error.code in _IMAGE_FAULTS and "outcome" not in error.details:
                    self._reject(goal, record, error)
                    error.details["outcome"] = "rejected"
                raise

    def heal(self, service: str) -> Outcome:
        """Bring what runs back to what is recorded: containers, upstream file, an unfinished rollout.

        Raises:
            RolloutError: unhealthy where the containers of the live release are there and do not serve; busy at once
                where a rollout is at work.
        """
        with self._alone(0.0):
            record = self.records.known(service)
            changed = self._settle(record.intent, {})
            record = self.records.known(service)
            outcome = self._run(
                service, self._goal("rollout", self.records.live_of(record), "recorded"), {}, {}, changed
            )
            if outcome.changed and not changed and outcome.slot == record.live:  # Else a rollout of its own says so.
                done = ", ".join(phase for phase in outcome.timeline if phase not in ("look", "gate"))
                self.note(service, "heal", "healed", f"it was not as recorded and was brought back: {done}")
            return outcome

    def rollback(self, service: str) -> Outcome:
        """Go back to the last good release before the live one, image and configuration; no registry is asked.

        A rollout whose soak was not over is taken back, which is the same and quicker.
        """
        with self._alone(self.records.known(service).intent.timeout):
            record = self.records.known(service)
            if self.records.unsoaked(record):
                goal = self._goal("rollback", record.slots[record.idle], "rollback")
                return self._run(service, goal, {}, {}, False)
            begun = record.rollout
            if begun is not None:
                self._settle(record.intent, {})
                went, record = record.slots[begun.slot], self.records.known(service)
                came = begun.failure is None and record.live_release == went
                if begun.kind == "rollback" and came:  # It was cut off, and is said again.
                    return replace(self._run(service, None, {}, {}, True), before=begun.before)
            target = self.records.rollback_target(record)
            kept = self.store.kept_intent(service, target.id)
            rules = kept and replace(kept, signature_key=record.intent.signature_key)
            return self._run(service, replace(self._goal("rollback", target, "rollback"), intent=rules), {}, {}, False)

    def restart(self, service: str) -> Outcome:
        """Make the containers of a service anew from the release they have, with its strategy and gates."""
        record = self.records.known(service)
        with self._alone(record.intent.timeout):
            timeline: dict[str, float] = {}
            self._settle(record.intent, timeline)
            record = self.records.known(service)
            goal = self._goal("restart", self.records.live_of(record), "restart")
            return self._run(service, goal, {}, timeline, False)

    def predict(self, intent: Intent, pending_config: bool) -> Outcome:
        """Say what `apply` would do; read only, and without Docker installed too.

        Args:
            intent: what shall run.
            pending_config: a task before this one would change a file of the release.
        """
        record = self.store.record(intent.service) or self.records.adopted(intent)
        before = record.live_release
        idle = record.idle
        try:
            digest = self.records.digest(record, intent, self.files)
        except RolloutError as error:
            # Before the first release the registry's CA and credentials may themselves be still to be installed.
            if before or error.code not in ("registry_unreachable", "registry_unauthorized"):
                raise
            return Outcome(True, before, None, idle)
        contents = self.store.contents(intent)
        after = self.records.release(intent, Reference.parse(intent.image).at(digest), contents)
        same = before == after and not pending_config
        if not same and not pending_config:
            self.records.refuse_quarantined(intent, after)
        keys = [] if same else self.records.changed_keys(intent, before, contents)
        changed = not same or not self.docker.installed() or not self._settled(record, after)
        return Outcome(changed, before, after, record.live or "" if same else idle, diff_keys=keys)

    def predict_rollback(self, service: str) -> Outcome:
        """Say where `rollback` would go."""
        record = self.records.known(service)
        return Outcome(True, record.live_release, self.records.rollback_target(record), record.idle)

    def predict_restart(self, service: str) -> Outcome:
        """Say what `restart` would do."""
        record = self.records.known(service)
        live = self.records.live_of(record)
        return Outcome(True, live, live, record.idle)

    def status(self) -> dict[str, dict[str, str | None]]:
        """Return per service its slot, its live release, where a rollback goes, and the stage of a rollout."""
        return self.records.status()

    def note(self, service: str, kind: str, outcome: str, message: str) -> None:
        """Write a line into the history that is about the live release and no rollout."""
        record = self.records.known(service)
        self.records.note(record, self._goal(kind, self.records.live_of(record), "recorded"), outcome, message)

    def pardon(self, key: str) -> int:
        """Give releases that failed another chance: `service/id`, '' for all; return how many.

        Raises:
            RolloutError: input_invalid where it is not in quarantine; busy where a rollout is at work.
        """
        with self._alone(_PATIENCE):
            return self.records.pardon(key)

    def recorded_intent(self, service: str) -> Intent:
        """Return what was asked of a service last."""
        return self.records.known(service).intent

    # -- the loop

    def _run(
        self, service: str, goal: Goal | None, contents: Mapping[str, bytes], timeline: dict[str, float], changed: bool
    ) -> Outcome:
        """Go on until the planner has nothing left to do for the goal."""
        watch = Watch(self.docker, self.store, self.clock, timeline)
        actions = Actions(self.docker, self.store, self.files, watch, contents, self.progress)
        record, known_at = self.records.known(service), self.clock.monotonic()
        outcome = Outcome(changed, record.live_release, None, "", timeline)
        if goal and goal.release != outcome.before:
            outcome.diff_keys = self.records.changed_keys(goal.intent or record.intent, outcome.before, contents)
        while self._step(service, goal, watch, actions, outcome):
            pass
        record = self.records.known(service)
        outcome.after, outcome.slot, outcome.boot_seconds = record.live_release, record.live or "", watch.boot_seconds
        if watch.served_at is not None:
            outcome.serve_seconds = round(watch.served_at - known_at, 3)
        return self._result(goal, watch, outcome)

    def _step(self, service: str, goal: Goal | None, watch: Watch, actions: Actions, outcome: Outcome) -> bool:
        """Look, and do one action; return whether there may be another."""
        started, phase, life = self.clock.monotonic(), "look", self.docker.daemon()
        try:
            record = self.records.known(service)
            if goal and goal.intent and not (record.rollout or watch.memory.begun or watch.memory.outcome):
                record = replace(record, intent=goal.intent)
            seen = watch.look(record, goal)
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
        record = self.records.current(intent)
        if record.rollout is None:
            return False
        self.progress(f"{intent.service}: an earlier run did not end its {record.rollout.kind}; this one does")
        self._run(intent.service, None, {}, timeline, False)
        return True

    def _goal(self, kind: str, release: Release, reference: str) -> Goal:
        return Goal(kind, release, reference, self.actor)

    def _verified(self, record: Record, intent: Intent, wanted: Release) -> Record:
        """Return the record once the signature of a release is proven, where one is asked for."""
        if not intent.signature_key:
            return record
        key = Path(intent.signature_key)
        proof = f"{signature.fingerprint(key)} {wanted.digest}"
        if proof in record.verified:
            return record
        self.progress(f"{intent.service}: verify the signature of {wanted.image}")
        signature.verify(wanted.image, key, self.files)
        record = replace(record, verified=(*record.verified, proof)[-50:])
        self.store.save(record)
        return record

    def _reject(self, goal: Goal, record: Record, error: RolloutError) -> None:
        """Write down that an image was refused before anything was begun, so that it is not tried again."""
        self.records.quarantine(record.intent.service, goal.release, error)
        self.records.note(record, goal, "rejected", error.message, error.code)

    def _settled(self, record: Record, wanted: Release) -> bool:
        """Whether nothing is left to do for a release that is live."""
        watch = Watch(self.docker, self.store, self.clock, {})
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


def host_engine(
    root: Path,
    project: str,
    progress: Callable[[str], None],
    hook: Hook = lambda _when, _action: None,
    actor: str = "",
) -> Engine:
    """Return the engine of a project on this host."""
    store = Store(root, Path("/run") / project)
    files = RegistryFiles(grants=Path("/run") / project / "registry.json")
    return Engine(Docker(root, project), store, files, progress, hook, actor=actor)
