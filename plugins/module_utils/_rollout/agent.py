# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent: look at every service, follow its tag, mend what drifted. It runs, ends, and is started again by a timer.

It changes images, never configuration. It never tries a release twice that failed (quarantine), and after several
different ones that failed in a row it stops following until a person resumes it (circuit breaker).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import registry, window
from .agent_state import AgentState, Candidate, Hold, Memo
from .clock import Clock, timestamp
from .config import Config, Policy
from .engine import Engine
from .release import Reference, Release, RolloutError
from .state import Record

BREAKER = "circuit breaker"
_HISTORY = 200  # Entries that the breaker looks back.
_LONGEST_BACK_OFF = 900.0  # Seconds.
_LONGEST_WAIT = 3600.0  # Seconds. What a registry may ask for at most; what is further away is a clock's mistake.
# Not the registry's or this host's trouble: no reason to look less often.
_PASSING = ("older_image", "busy", "held", "quarantined", "window")
_CLOCK = Clock()
# What may go wrong with one service, its files and what registries say: the others are looked after all the same.
TROUBLE = (RolloutError, OSError, ValueError, KeyError, TypeError)


class Agent:
    """The agent of one project.

    Args:
        engine: does the work.
        config: what to follow, and how.
        state: what the agent knows from one run to the next.
        clock: time.
        chance: 0 to 1, spreads waits.
    """

    def __init__(
        self,
        engine: Engine,
        config: Config,
        state: AgentState,
        clock: Clock = _CLOCK,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.engine = engine
        self.config = config
        self.state = state
        self.clock = clock
        self.chance = chance

    def check(self, eager: bool = False) -> None:
        """Look at every service once.

        Args:
            eager: look now, also where the agent waits after failures; a registry's own Retry-After is respected.
        """
        for service, policy in self.config.services.items():
            try:
                record = self.engine.store.record(service)
                if record is None or record.live_release is None:
                    continue
                self.state.remember(service, self._check(record, policy, self.state.memo(service), eager))
            except TROUBLE as error:
                self.engine.progress(f"{service}: {told(error)}")

    def _check(self, record: Record, policy: Policy, memo: Memo, eager: bool) -> Memo:
        service, live = record.intent.service, record.live_release
        if live is None:
            return memo
        memo, digest = self._look(record, policy, memo, eager)
        if digest in ("", live.digest):
            return self._heal(record, replace(memo, candidate=None, failures=0) if digest else memo)
        wanted = replace(live, image=Reference.parse(record.intent.image).at(digest))
        refusal = self._refusal(service, policy, memo, wanted, live)
        if refusal is not None:
            return self._heal(record, replace(memo, candidate=refusal, failures=0))
        return self._follow(service, policy, memo, wanted, live)

    def _look(self, record: Record, policy: Policy, memo: Memo, eager: bool) -> tuple[Memo, str]:
        """Return the digest that the policy wants, '' where it cannot be known now."""
        now = self.clock.wall()
        waits = _ahead(memo.not_before, now) or (_ahead(memo.next_check, now) and not eager)
        if policy.digest:
            return memo, "" if waits else policy.digest
        reference = Reference.parse(record.intent.image)
        if policy.mode == "pin" or reference.digest:
            return memo, record.live_release.digest if record.live_release else ""
        if waits:
            return memo, ""
        try:
            digest = registry.resolve(reference, self.engine.files)
        except RolloutError as error:
            self.engine.progress(f"{record.intent.service}: {error.code}: {error.message}")
            return self._backed_off(memo, error), ""
        return replace(memo, checked_at=timestamp(), next_check=0.0, not_before=0.0, error=None), digest

    def _backed_off(self, memo: Memo, error: RolloutError) -> Memo:
        """Wait longer after each failure in a row, and at least as long as the registry asks for."""
        now, failures = self.clock.wall(), memo.failures + 1
        wait = min(_LONGEST_BACK_OFF, self.config.interval * 2.0 ** min(failures, 16)) * (0.75 + self.chance() / 2)
        asked = min(_LONGEST_WAIT, float(error.details.get("retry_after", 0.0)))
        return replace(
            memo,
            failures=failures,
            error={"code": error.code, "message": error.message, "at": timestamp()},
            next_check=now + max(wait, asked),
            not_before=now + asked if asked else 0.0,
        )

    def _refusal(self, service: str, policy: Policy, memo: Memo, wanted: Release, live: Release) -> Candidate | None:
        """Return why a release is not rolled out now, None where nothing is against it."""

        def refused(code: str, message: str) -> Candidate:
            before = memo.candidate
            since = before.since if before and (before.digest, before.code) == (wanted.digest, code) else timestamp()
            return Candidate(wanted.digest, live.id, code, message, since)

        hold = self.state.hold(service)
        if hold is not None:
            return refused("held", f"held by {hold.by} since {hold.at}: {hold.reason}")
        entry = failed_since(service, live, wanted.digest, self.engine.store.quarantine(), self._recent())
        if entry is not None:
            self._break(service)  # Also where the run that saw it fail was killed before it could.
            return refused("quarantined", f"failed on {entry['at']} ({entry['code']}): {entry['message']}")
        known = memo.candidate
        if known and known.code == "older_image" and (known.digest, known.live) == (wanted.digest, live.id):
            return known
        try:
            if policy.window and not window.open_at(policy.window, self.clock.wall()):
                return refused("window", f"waits for its window, {policy.window}")
        except RolloutError as error:
            return refused(error.code, error.message)
        return None

    def _follow(self, service: str, policy: Policy, memo: Memo, wanted: Release, live: Release) -> Memo:
        """Roll out what the policy wants now."""

        def object_to(now_live: Release) -> None:
            """Decide again: somebody else was at work until now, perhaps."""
            again = replace(now_live, image=wanted.image)
            refusal = self._refusal(service, policy, memo, again, now_live)
            if refusal is not None:
                raise RolloutError(refusal.code, refusal.message)

        try:
            self.engine.follow(service, wanted.digest, older=bool(policy.digest), object_to=object_to)
        except RolloutError as error:
            self.engine.progress(f"{service}: {error.code}: {error.message}")
            candidate = Candidate(wanted.digest, live.id, error.code, error.message, timestamp())
            if f"{service}/{wanted.id}" in self.engine.store.quarantine():
                self._break(service)
                return replace(memo, candidate=candidate)
            known = error.code in _PASSING
            return replace(memo if known else self._backed_off(memo, error), candidate=candidate)
        return replace(memo, candidate=None, failures=0, unhealthy=0)

    def _break(self, service: str) -> None:
        """Stop following after several different images in a row that failed."""
        failed: dict[str, str] = {}
        resumed_at = self.state.resumed_at(service)
        for entry in reversed(self._recent()):
            if entry["service"] != service or entry["kind"] != "rollout" or entry["at"] <= resumed_at:
                continue
            if entry["outcome"] == "live":
                break
            if entry["outcome"] in ("rejected", "rolled_back") and entry["after"]:
                failed[entry["after"]["digest"]] = entry["after"]["id"]
        if len(failed) < self.config.breaker or self.state.hold(service) is not None:
            return
        reason = (
            f"{len(failed)} different images in a row failed ({', '.join(failed.values())}); "
            f"see billing-rollout history, then billing-rollout resume {service}"
        )
        self.state.set_hold(service, Hold(BREAKER, timestamp(), reason))
        self.engine.note(service, "agent", "breaker_open", reason)

    def _heal(self, record: Record, memo: Memo) -> Memo:
        """Bring a service back to what is recorded of it; one that is there and does not serve is restarted."""
        service = record.intent.service
        try:
            self.engine.heal(service)
        except RolloutError as error:
            if error.code == "busy":
                return memo
            self.engine.progress(f"{service}: {error.code}: {error.message}")
            # A database that is busy with its recovery must not be restarted.
            helps = error.code == "unhealthy" and record.intent.slotted
            if not helps or _ahead(memo.next_restart, self.clock.wall()):
                return memo
            return self._restart(service, memo)
        return replace(memo, unhealthy=0, next_restart=0.0) if memo.unhealthy else memo

    def _restart(self, service: str, memo: Memo) -> Memo:
        wait = min(_LONGEST_BACK_OFF, self.config.interval * 2.0 ** min(memo.unhealthy, 16))
        memo = replace(memo, unhealthy=memo.unhealthy + 1, next_restart=self.clock.wall() + wait)
        try:
            self.engine.restart(service)
        except RolloutError as error:
            self.engine.progress(f"{service}: {error.code}: {error.message}")
        return memo

    def _recent(self) -> Sequence[Mapping[str, Any]]:
        return self.engine.store.history(_HISTORY)


def _ahead(until: float, now: float) -> bool:
    """Whether a time is still to come; one that no wait is as long as comes from a clock that was wrong."""
    return 0 < until - now <= _LONGEST_WAIT


def told(error: Exception) -> str:
    """Return what went wrong in one line."""
    return f"{error.code}: {error.message}" if isinstance(error, RolloutError) else f"{type(error).__name__}: {error}"


def failed_since(
    service: str,
    live: Release,
    digest: str,
    quarantine: Mapping[str, Mapping[str, Any]],
    history: Sequence[Mapping[str, Any]],
) -> Mapping[str, Any] | None:
    """Return why a digest is not rolled out with the configuration that is live, None where nothing is against it.

    It failed with this configuration; or with another one since the live release is live: then a playbook changes the
    configuration with it, and is the one to try again.
    """
    wanted = replace(live, image=f"{live.image.rpartition('@')[0]}@{digest}")
    if f"{service}/{wanted.id}" in quarantine:
        return quarantine[f"{service}/{wanted.id}"]
    became = (
        entry["started_at"]
        for entry in history
        if (entry["service"], entry["outcome"], _id(entry["after"])) == (service, "live", live.id)
        if _id(entry["before"]) != live.id
    )
    since = max(became, default="")
    for key, entry in quarantine.items():
        if key.startswith(f"{service}/") and entry["image"].endswith(f"@{digest}") and entry["at"] >= since:
            return entry
    return None


def _id(release: Mapping[str, Any] | None) -> str:
    return release["id"] if release else ""


def status(engine: Engine, config: Config, state: AgentState) -> Mapping[str, Any]:
    """Return what is known of every service, as `billing-rollout status --json` prints it."""
    containers, away = [], None
    try:
        if engine.docker.installed() and engine.docker.root.is_dir():
            containers = engine.docker.recent()
    except RolloutError as error:  # Who looks now needs all the rest.
        away = error.message
    history, refused = engine.store.history(_HISTORY), engine.store.quarantine()
    services = {}
    for record in engine.store.records():
        service, live = record.intent.service, record.live_release
        mine = [one for one in containers if live and record.intent.owns(one.service, record.live)]
        serving = [one for one in mine if one.serving and one.release == live]
        last = next((entry for entry in reversed(history) if entry["service"] == service), None)
        memo, hold, policy = state.memo(service), state.hold(service), config.services.get(service)
        services[service] = {
            "live": live.as_dict() if live else None,
            "slot": record.live or "",
            "since": min((one.started_at for one in mine), default=None),
            "healthy": bool(live) and len(serving) == len(record.services(record.live or "")),
            "rollout": record.rollout.stage if record.rollout else None,
            "reference": record.intent.image,
            "policy": policy.shown() if policy else "not followed",
            "held": hold is not None,
            "hold": hold.as_dict() if hold else None,
            "breaker": hold is not None and hold.by == BREAKER,
            "candidate": memo.candidate.as_dict() if memo.candidate else None,
            "last": last,
            "failures": memo.failures,
            "error": memo.error,
            "checked_at": memo.checked_at,
            "next_check": max(memo.next_check, memo.not_before),
            "seconds": last["seconds"] if last else {},
            "quarantined": sorted(
                {
                    digest
                    for entry in refused.values()
                    for digest in (entry["image"].rpartition("@")[2],)
                    if live and failed_since(service, live, digest, refused, history)
                }
            ),
        }
    quarantine = [{"release": key, **entry} for key, entry in sorted(refused.items())]
    damaged = engine.store.damaged()
    return {"at": timestamp(), "docker": away, "damaged": damaged, "services": services, "quarantine": quarantine}
