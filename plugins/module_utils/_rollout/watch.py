# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one run sees of a service, and what it remembers between two looks."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from . import nginx
from .clock import Clock, instant, timestamp
from .docker import Docker
from .health import Expected, Tally, examine, probe, tally
from .intent import Intent
from .release import SLOTS, Container, Release, RolloutError
from .state import PREPARE, SWITCH, Goal, Memory, Observation, Record, Rollout
from .store import Store

_FRESH = 0.25  # Seconds that a list of containers counts, unless an action of this run has changed them.
_LOG_PERIOD = 1.0  # Seconds between two looks at the access log.
_LOG_BEFORE = 30.0  # Seconds before the switch that tell how often the old release fails.
_EXEC_LIMIT = 30.0  # Seconds for the command of a gate.
_TIGHT = 0.10  # Share of free disk below which only what a rollback needs is kept.


class Watch:
    """One run's view of one service. A crash loses it."""

    def __init__(self, docker: Docker, store: Store, clock: Clock, timeline: Mapping[str, float]) -> None:
        self.docker = docker
        self.store = store
        self.clock = clock
        self.memory = Memory()
        self.proxies: list[Container] = []
        self.end: dict[str, Any] = {}
        self.timeline = timeline  # Seconds per phase, kept by the engine.
        self.boot_seconds: float | None = None
        self.served_at: float | None = None
        self.away_since: float | None = None  # The Docker daemon.
        self._listed: list[Container] = []
        self._listed_at: float | None = None
        self._old_workers: set[int] = set()
        self._told: set[tuple[str, int]] = set()
        self._restarts: dict[str, int] = {}
        self._stake: tuple[str, str] = ("", "")
        self._tally = Tally()
        self._log_until = 0.0

    # -- what actions report

    def remember(self, **changes: Any) -> None:
        """Change single facts of the memory."""
        self.memory = replace(self.memory, **changes)

    def baseline(self, containers: Iterable[Container]) -> None:
        """Hold earlier restarts of these containers against nobody."""
        self._restarts = {one.id: one.restarts for one in containers}

    def moved(self) -> None:
        """Note that containers were started, stopped or removed, or may have been."""
        self._listed_at = float("-inf")

    def rewritten(self) -> None:
        """Note that the upstream file is another one: nobody has read it yet."""
        self._told.clear()
        self.remember(loaded=False, current=False, proven_at=None)

    def reloaded(self, proxy: Container, before: set[int]) -> None:
        """Note that a proxy has read the upstream file, and which of its workers have not."""
        self._old_workers |= before
        self._told.add((proxy.id, proxy.pid))
        self.remember(loaded_at=self.clock.monotonic())

    def ended(self, record: Record, rollout: Rollout, outcome: str) -> None:
        """Write the history of a rollout that is over."""
        target = record.slots.get(rollout.slot) or record.live_release
        self.end = {
            "id": rollout.id,
            "at": timestamp(),
            "started_at": rollout.started_at,
            "service": record.intent.service,
            "kind": rollout.kind,
            "actor": rollout.actor,
            "reference": rollout.reference,
            "before": rollout.before.as_dict() if rollout.before else None,
            "after": target.as_dict() if target else None,
            "slot": rollout.slot,
            "outcome": outcome,
            "failure": dict(rollout.failure) if rollout.failure else None,
            "seconds": {phase: round(seconds, 3) for phase, seconds in self.timeline.items()},
        }
        failure = rollout.failure or {}
        self.store.log({**self.end, "failure": failure.get("code"), "message": failure.get("message")})

    def keep(self, intent: Intent) -> int:
        """How many good releases to keep: as asked for, or what a rollback needs where the disk is nearly full."""
        usage = shutil.disk_usage(self.store.root)
        return intent.keep if usage.free > usage.total * _TIGHT else min(2, intent.keep)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.clock.sleep(seconds)

    # -- what is seen

    def look(self, record: Record, goal: Goal | None) -> Observation:
        """Return what the service looks like now, with the memory brought up to date."""
        intent = record.intent
        everything = self._containers()
        containers = tuple(one for one in everything if intent.owns(one.service))
        names = [f"nginx-{slot}" for slot in SLOTS]
        self.proxies = [one for one in everything if one.service in names and one.state == "running"]
        release = goal.release if goal and goal.release != record.live_release else None
        kept = self.store.kept(intent.service)
        wanted = (release,) if release and not self.memory.outcome else ()
        keep = {one.id for one in (*record.good, *record.slots.values(), *wanted)}
        seen = Observation(
            record=record,
            containers=containers,
            projected=self.store.projected(self.docker.project),
            switched=self._switched(record),
            proxied=bool(self.proxies),
            pulled=release is None or record.rollout is not None or self.docker.has(release.image),
            kept=release is None or kept.get(release.id) is not None,
            surplus=tuple(sorted(set(kept) - keep)),
            memory=self.memory,
        )
        self._examine(seen)
        self._follow_traffic(seen)
        return replace(seen, memory=self.memory)

    def _containers(self) -> list[Container]:
        """Return the containers of the project: asking Docker costs more than everything else in a look."""
        now = self.clock.monotonic()
        if self._listed_at is None:  # One list does for the first look at every service of an agent's run.
            self._listed, self._listed_at = self.docker.recent(), now
        elif now - self._listed_at >= _FRESH:
            self._listed, self._listed_at = self.docker.containers(), now
        return self._listed

    def _switched(self, record: Record) -> bool:
        intent = record.intent
        if intent.strategy != "blue_green" or record.live is None:
            return True
        return self.store.upstream(intent.service) == nginx.render_upstream(intent.service, record.servers(record.live))

    def _examine(self, seen: Observation) -> None:
        """Look at the containers of the slot at stake, through its gates where it is to be trusted with traffic."""
        record, rollout = seen.record, seen.record.rollout
        stage = rollout.stage if rollout else ""
        slot = rollout.slot if rollout and stage in (PREPARE, SWITCH) else record.live
        release = record.slots.get(slot) if slot is not None else None
        if slot is None or release is None:
            return
        if stage == PREPARE and self.memory.started != slot and not seen.complete(slot):
            return  # It is still to be started.
        if self._stake != (slot, rollout.id if rollout else ""):
            self._stake = (slot, rollout.id if rollout else "")
            if self.memory.started != slot:
                self.baseline(seen.of(slot))
        gates = record.intent.gates if stage in (PREPARE, SWITCH) else ()
        expected = Expected(record.services(slot), release, self._restarts)
        bad, dead = examine(seen.of(slot), expected, trust_probes=bool(gates))
        if not bad and not dead:
            bad = self._probe(seen, slot) if gates else ""
        first = self.memory.gate.first_answer
        self.remember(gate=self.memory.gate.look(self.clock.monotonic(), bad, dead))
        if first is None and self.memory.gate.first_answer is not None and stage == PREPARE:
            began = [instant(one.started_at) for one in seen.of(slot)]
            self.boot_seconds = round(self.clock.wall() - min(began), 3) if began else None

    def _probe(self, seen: Observation, slot: str) -> str:
        for gate in seen.record.intent.gates:
            if gate.exec:
                for one in seen.of(slot):
                    try:
                        done = self.docker.run("exec", one.id, *gate.exec, check=False, timeout=_EXEC_LIMIT)
                    except RolloutError as error:
                        if error.code != "timeout":
                            raise
                        return f"'{gate.exec[0]}' in {one.service} did not end in {_EXEC_LIMIT:.0f} s"
                    if done.returncode != 0:
                        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
                        return (
                            f"'{gate.exec[0]}' in {one.service} ended with {done.returncode} {' '.join(said)}".strip()
                        )
                continue
            for address in seen.record.servers(slot):
                bad = probe(gate, address)
                if bad:
                    return bad
        return ""

    def _follow_traffic(self, seen: Observation) -> None:
        """See how far Nginx is with the switch, and what its access log says of the new release."""
        record = seen.record
        now = self.clock.monotonic()
        self._old_workers = nginx.remaining(self._old_workers)
        proxies = {(one.id, one.pid) for one in self.proxies}
        loaded = bool(proxies) and proxies <= self._told and seen.switched
        self.remember(lingering=len(self._old_workers), loaded=loaded)
        if record.intent.strategy == "blue_green" and record.live is not None:
            path = next((gate.http for gate in record.intent.gates if gate.http), "/")
            asked = [nginx.answering(one, record.intent.service, path) for one in self.proxies]
            # One that quits takes no request any more; its workers are waited for like those from before a reload.
            found = [answer for answer in asked if answer is not None]
            right = all(address in record.servers(record.live) for address, _status in found)
            current = right and (bool(found) or not asked)
            self.remember(current=current)
            if loaded and current and self.memory.proven_at is None and all(status < 500 for _a, status in found):
                self.remember(proven_at=now)
        if self.served_at is None and record.rollout and record.rollout.stage == SWITCH:
            self.served_at = now if self.memory.proven_at is not None or not self.proxies else None
        if record.rollout and record.rollout.stage == SWITCH and record.intent.soak > 0:
            self._read_log(seen)

    def _read_log(self, seen: Observation) -> None:
        wall, record, memory = self.clock.wall(), seen.record, self.memory
        if memory.gate.first_answer is None or 0 <= wall - self._log_until < _LOG_PERIOD:
            return
        unproven = record.intent.strategy == "blue_green" and self.proxies and memory.proven_at is None
        if unproven and (not memory.loaded or self.clock.monotonic() - memory.loaded_at < _LOG_PERIOD):
            return  # Clients wait for the proof; only where that is late the log may say why.
        new, old = record.servers(seen.rollout.slot), record.servers(record.idle)
        if not self._log_until:
            # What the new slot's addresses answered before this rollout was another release's answer. After a crash
            # the answers until now may be those of a host that boots: the soak begins anew, and so does the count.
            mine = memory.begun == seen.rollout.id
            self._log_until = min(instant(seen.rollout.started_at), wall) if mine else wall
            self._count(seen, wall - _LOG_BEFORE, self._log_until, dict.fromkeys(old, "old"))
        self._count(seen, self._log_until, wall, {**dict.fromkeys(old, "old"), **dict.fromkeys(new, "new")})
        self._log_until = wall
        worse = self._tally.verdict(record.intent.soak_errors)
        if worse and self.memory.errors is None:
            release: Release | None = record.slots.get(seen.rollout.slot)
            name = f"{record.intent.service} ({release.image if release else ''})"
            self.remember(errors=RolloutError("soak_failed", f"the new release of {name} fails: {worse}"))

    def _count(self, seen: Observation, since: float, until: float, sides: dict[str, str]) -> None:
        """Add a stretch of the access log to the tally; `sides` tells by address who answered."""
        intent = seen.record.intent
        for one in self.proxies:
            lines = self.docker.output(one, since, until)
            if intent.strategy == "blue_green":
                self._tally = self._tally.add(tally(lines, sides))
            else:
                side = "new" if intent.owns(one.service, seen.rollout.slot) else "old"
                self._tally = self._tally.add(tally(lines, {}, side))
