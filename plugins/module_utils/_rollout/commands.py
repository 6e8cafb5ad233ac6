# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each command of `billing-rollout` does."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from . import publish, registry
from .agent import Agent, failed_since, status
from .agent_state import AgentState, Hold
from .clock import instant, timestamp
from .config import Config
from .engine import Engine
from .host import output
from .release import Reference
from .state import Outcome

_POLL = 1.0  # Seconds between two looks of `wait`.
_LONG = 0.1  # Seconds. Shorter phases are not worth a word.
_TOLD = ("check", "apply", "rollback", "restart", "hold", "resume")  # Commands after which somebody may want to know.
OK, FAILED, REJECTED, TIMEOUT = 0, 1, 3, 4


class Commands:
    """The commands on one project.

    Args:
        engine, config, state: of the project.
        quiet: ends a line of progress before something is printed.
    """

    def __init__(self, engine: Engine, config: Config, state: AgentState, quiet: Callable[[], None]) -> None:
        self.engine = engine
        self.config = config
        self.state = state
        self.quiet = quiet

    def run(self, options: argparse.Namespace) -> int:
        """Carry out the command and return the exit code; RolloutError where it fails."""
        if options.command in _TOLD:
            publish.begin(self.engine, self.config, self.state)
        try:
            code: int = getattr(self, options.command)(options)
        finally:
            if options.command in _TOLD:
                publish.tell(self.engine, self.config, self.state)
        return code

    def status(self, options: argparse.Namespace) -> int:
        """Print what runs."""
        found = status(self.engine, self.config, self.state)
        run = next_run(self.config.project)
        for service, one in found["services"].items():
            waits = max(run, one["next_check"]) if run and service in self.config.services else 0.0
            one["next_check"] = timestamp(waits) if waits else None
        self.say(json.dumps(found, indent=2, sort_keys=True) if options.json else table(found))
        return OK

    def check(self, options: argparse.Namespace) -> int:
        """Look at every service once, as the timer does."""
        knocked = publish.take_knock(self.engine, self.config)
        Agent(self.engine, self.config, self.state).check(eager=knocked or not options.scheduled)
        return OK

    def apply(self, options: argparse.Namespace) -> int:
        """Roll a service out."""
        intent = self.engine.recorded_intent(options.service)
        digest = options.digest or registry.resolve(Reference.parse(intent.image), self.engine.files)
        return self._moved(options.service, self.engine.follow(options.service, digest, options.force))

    def rollback(self, options: argparse.Namespace) -> int:
        """Go back."""
        return self._moved(options.service, self.engine.rollback(options.service))

    def restart(self, options: argparse.Namespace) -> int:
        """Make the containers anew."""
        return self._moved(options.service, self.engine.restart(options.service))

    def history(self, options: argparse.Namespace) -> int:
        """Print how rollouts ended, the newest last."""
        every = self.engine.store.history(2000)
        entries = [entry for entry in every if options.service in ("", entry["service"])][-options.count :]
        if options.json:
            self.say("\n".join(json.dumps(entry, sort_keys=True) for entry in entries))
            return OK
        rows = [
            (
                entry["at"][:19].replace("T", " "),
                entry["service"],
                entry["kind"],
                _id(entry["before"]),
                _id(entry["after"]),
                entry["outcome"],
                f"{sum(entry['seconds'].values()):.1f} s",
                entry.get("actor") or "-",
                ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in entry["seconds"].items() if seconds >= _LONG),
                (entry.get("message") or "")[:80],
            )
            for entry in entries
        ]
        head = ("ENDED (UTC)", "SERVICE", "KIND", "BEFORE", "AFTER", "OUTCOME", "TOOK", "BY", "SECONDS OF", "WHY")
        self.say(columns(head, rows))
        return OK

    def hold(self, options: argparse.Namespace) -> int:
        """Stop following."""
        self.engine.records.known(options.service)
        self.state.set_hold(options.service, Hold(self.engine.actor, timestamp(), options.reason or "no reason given"))
        self.say(f"{options.service} is held: its tag is not followed until 'billing-rollout resume {options.service}'")
        return OK

    def resume(self, options: argparse.Namespace) -> int:
        """Follow again."""
        self.engine.records.known(options.service)
        self.state.resume(options.service)
        self.say(f"{options.service} is followed again, from the next check on")
        return OK

    def quarantine(self, options: argparse.Namespace) -> int:
        """List or clear what failed."""
        if options.action == "list":
            entries = self.engine.store.quarantine()
            rows = [
                (key, entry["at"][:19], entry["code"], entry["message"][:100]) for key, entry in sorted(entries.items())
            ]
            self.say(columns(("RELEASE", "SINCE", "CODE", "WHY"), rows))
            return OK
        count = self.engine.pardon(options.release)
        self.say(f"{count} released; the next check may roll it out again")
        return OK

    def wait(self, options: argparse.Namespace) -> int:
        """Wait until a digest is live, or refused."""
        deadline = time.monotonic() + options.timeout
        self.engine.records.known(options.service)
        while True:
            outcome = self._outcome(options.service, options.digest)
            if outcome is not None:
                self.say(outcome[1])
                return outcome[0]
            if time.monotonic() > deadline:
                self.say(f"{options.digest} is not live after {options.timeout:.0f} s; see billing-rollout status")
                return TIMEOUT
            time.sleep(_POLL)

    def doctor(self, _options: argparse.Namespace) -> int:
        """Say what would stop a rollout now."""
        from . import doctor  # Not for every check: starting is most of what one costs.

        findings = doctor.examine(self.engine, self.config, self.state)
        self.say(columns(("", "WHAT", "FOUND"), [(one.verdict, one.what, one.found) for one in findings]))
        return FAILED if any(one.verdict == doctor.BAD for one in findings) else OK

    # -- shared

    def say(self, text: str) -> None:
        """Print."""
        self.quiet()
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def _moved(self, service: str, outcome: Outcome) -> int:
        after = outcome.after.id if outcome.after else "nothing"
        before = outcome.before.id if outcome.before else "nothing"
        took = sum(outcome.timeline.values())
        said = f"{before} -> {after}, slot {outcome.slot or '-'}" if outcome.changed else f"{after} is live already"
        self.say(f"{service}: {said} ({took:.1f} s)")
        return OK

    def _outcome(self, service: str, digest: str) -> tuple[int, str] | None:
        """Return the exit code and the words once it is decided what becomes of a digest."""
        record = self.engine.records.known(service)
        live = record.live_release
        if live is not None and live.digest == digest and record.rollout is None:
            return OK, f"{digest} is live as {live.id} in slot {record.live or '-'}"
        if live is None:
            return None
        store = self.engine.store
        entry = failed_since(service, live, digest, store.quarantine(), store.history(2000))
        if entry is not None:
            return REJECTED, f"{digest} was refused on {entry['at']}: {entry['code']}: {entry['message']}"
        candidate = self.state.memo(service).candidate
        if candidate and (candidate.digest, candidate.live, candidate.code) == (digest, live.id, "older_image"):
            return REJECTED, f"{digest} is not rolled out: {candidate.code}: {candidate.message}"
        return None  # Whatever else is against it may pass.


def _id(release: Mapping[str, str] | None) -> str:
    return release["id"] if release else "-"


def table(found: Mapping[str, Any]) -> str:
    """Return the status for a person."""
    rows, notes = [], []
    for service, one in found["services"].items():
        candidate, last, error = one["candidate"], one["last"], one["error"]
        rows.append(
            (
                service,
                _id(one["live"]),
                one["slot"] or "-",
                _ago(one["since"]),
                "healthy" if one["healthy"] else "NOT HEALTHY",
                "HELD" if one["held"] else one["policy"],
                f"{candidate['digest'][7:19]} {candidate['code']}" if candidate else "-",
                f"{last['outcome']} {_ago(last['at'])}" if last else "-",
                _ago(one["checked_at"]),
                _until(one["next_check"]),
            )
        )
        if one["rollout"]:
            notes.append(f"{service}: a rollout is in progress ({one['rollout']})")
        if one["hold"]:
            notes.append(f"{service}: held by {one['hold']['by']} since {one['hold']['at']}: {one['hold']['reason']}")
        if candidate and candidate["code"] != "held":
            notes.append(f"{service}: {candidate['digest'][:19]} waits: {candidate['message']}")
        if error:
            notes.append(f"{service}: {one['failures']} looks failed, the last at {error['at']}: {error['message']}")
    if found["docker"]:
        notes.append(f"Docker does not say what runs: {found['docker']}")
    notes += (f"{service}: {damage}" for service, damage in found["damaged"].items())
    notes += [
        f"quarantine: {one['release']} since {one['at']}: {one['code']}: {one['message']}"
        for one in found["quarantine"]
    ]
    head = ("SERVICE", "LIVE", "SLOT", "UP", "HEALTH", "POLICY", "CANDIDATE", "LAST OUTCOME", "CHECKED", "NEXT")
    return "\n".join([columns(head, rows), *(f"  {note}" for note in notes)])


def columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows below a head, each column as wide as it has to be."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(head))]
    said = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)
    return "\n".join(said) if len(lines) > 1 else "none"


def next_run(project: str) -> float:
    """Return when the timer starts the agent next, in seconds since 1970, 0 where that is not known."""
    said = output("systemctl", "list-timers", "--output=json", f"{project}-rollout.timer")
    try:
        return float(max((timer["next"] or 0 for timer in json.loads(said)), default=0)) / 1e6
    except (ValueError, KeyError, TypeError):
        return 0.0


def _ago(moment: str | None) -> str:
    return _span(time.time() - instant(moment)) if moment else "-"


def _until(moment: str | None) -> str:
    return f"in {_span(instant(moment) - time.time())}" if moment else "-"


def _span(seconds: float) -> str:
    seconds = max(0.0, seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
