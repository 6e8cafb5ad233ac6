# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell the world how it went: journal, metrics, the answer for CI, notifications. None of it can fail a rollout."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import journal, metrics
from .agent import TROUBLE, status, told
from .agent_state import AgentState
from .config import Config
from .engine import Engine
from .notify import Outbox
from .store import alone, write_atomic

RUN = Path("/run")
_HISTORY = 500  # Entries that may still have to be told.


def take_knock(engine: Engine, config: Config) -> bool:
    """Whether somebody knocked since the last run. The mark goes first: a knock from now on starts another run."""
    mark = RUN / f"{config.project}-knock-mark" / "look"
    try:
        mark.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        engine.progress(f"the mark of a knock cannot be taken away: {error}")
    return True


def begin(engine: Engine, config: Config, state: AgentState) -> None:
    """Before anything is done: what is in the history already is no news to a journal or receiver that is new."""
    try:
        history = engine.store.history(_HISTORY)
        if state.journaled() is None:
            state.set_journaled(history[-1]["id"] if history else "")
        if config.targets:
            _outbox(config, state).expect(history)
    except TROUBLE as error:
        engine.progress(f"cannot prepare to tell how it goes: {told(error)}")


def tell(engine: Engine, config: Config, state: AgentState) -> None:
    """Tell everybody what has changed, whoever did it."""
    found: Mapping[str, Any] | None = None
    history: Sequence[Mapping[str, Any]] = ()
    try:
        history = engine.store.history(_HISTORY)
        found = status(engine, config, state)
    except TROUBLE as error:
        engine.progress(f"cannot tell what runs: {told(error)}")

    def answer() -> None:
        content = json.dumps(release_answer(found or {}), sort_keys=True).encode()
        write_atomic(RUN / config.project / "release.json", content, 0o644)

    def measure() -> None:
        metrics.write(Path(config.metrics), metrics.render(found or {}, time.time()))

    def notify() -> None:
        for line in _outbox(config, state).deliver(history, time.time(), socket.gethostname()):
            engine.progress(line)

    def write_down() -> None:
        _journal(history, state)

    ways = [write_down]
    ways += [answer] if found else []
    ways += [measure] if found and config.metrics else []
    ways += [notify] if config.targets else []
    for way in ways:
        try:
            way()
        except TROUBLE as error:  # noqa: PERF203 - one that fails keeps no other from telling
            engine.progress(f"cannot tell how it went: {told(error)}")


def _outbox(config: Config, state: AgentState) -> Outbox:
    return Outbox(state.folder / "outbox.json", config.targets)


def _journal(history: Sequence[Mapping[str, Any]], state: AgentState) -> None:
    with alone(state.folder / "telling.lock"):
        ids, last = [entry["id"] for entry in history], state.journaled()
        for entry in history[ids.index(last) + 1 if last in ids else 0 :]:
            message, priority, fields = journal.entry_fields(entry)
            journal.send(message, priority, fields)
        if ids:
            state.set_journaled(ids[-1])


def release_answer(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what CI may know of the status."""
    services = {}
    for service, one in found["services"].items():
        last, live, candidate = one["last"] or {}, one["live"] or {}, one["candidate"] or {}
        services[service] = {
            "digest": live.get("digest"),
            "release": live.get("id"),
            "slot": one["slot"],
            "since": one["since"],
            "healthy": one["healthy"],
            "rollout": one["rollout"],
            "outcome": last.get("outcome"),
            "at": last.get("at"),
            "candidate": candidate.get("digest"),
            "candidate_code": candidate.get("code"),
            "quarantined": one["quarantined"],
        }
    services |= {service: {"digest": None, "healthy": False} for service in found["damaged"]}
    return {"at": found["at"], "services": services}
