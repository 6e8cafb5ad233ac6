# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would stop a rollout now, found out without changing anything."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import nginx, preflight, registry, window
from .agent_state import AgentState
from .config import Config
from .engine import Engine
from .host import output
from .release import SLOTS, Container, Reference, RolloutError
from .state import Record

GOOD, WARNING, BAD = "ok", "WARN", "BAD"
_TIGHT = 0.10  # Share of a file system that should be free.


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    verdict: str
    what: str
    found: str


def examine(engine: Engine, config: Config, state: AgentState) -> list[Finding]:
    """Look at everything that a rollout needs."""
    containers: list[Container] = []

    def docker() -> str:
        containers.extend(engine.docker.containers())
        return f"answers, {len(containers)} containers of {config.project}"

    findings = [
        _try("docker", docker),
        _lock(engine),
        *(_disk(path) for path in dict.fromkeys((preflight.docker_root(), config.root))),
        _clock(),
        _timer(config),
        _try("nginx", lambda: _proxies(engine, containers)),
    ]
    for service in config.services:
        record = engine.store.record(service)
        if record is None or record.live_release is None:
            findings.append(Finding(WARNING, service, "nothing is deployed"))
            continue
        findings += _service(engine, config, state, record, containers)
    return findings


def _service(
    engine: Engine, config: Config, state: AgentState, record: Record, containers: list[Container]
) -> list[Finding]:
    service, policy, hold = (
        record.intent.service,
        config.services[record.intent.service],
        state.hold(record.intent.service),
    )
    live = [one for one in containers if record.intent.owns(one.service, record.live)]

    def ask() -> str:
        reference = Reference.parse(record.intent.image)
        digest = registry.resolve(reference, engine.files)
        release = record.live_release
        return f"{reference} is {digest[:19]}, " + ("live" if release and release.digest == digest else "NOT live")

    def room() -> str:
        preflight.check_memory(record.intent, live)
        return "memory for a second copy is there"

    findings = [_try(f"{service}: registry", ask)]
    if record.intent.slotted and live:
        findings.append(_try(f"{service}: memory", room))
    if policy.window:
        findings.append(_try(f"{service}: window", lambda: _window(policy.window)))
    if hold is not None:
        findings.append(Finding(BAD, f"{service}: hold", f"by {hold.by} since {hold.at}: {hold.reason}"))
    candidate = state.memo(service).candidate
    if candidate is not None and candidate.code != "held":
        findings.append(Finding(WARNING, f"{service}: candidate", f"{candidate.code}: {candidate.message}"))
    sick = [one for one in live if not one.serving]
    if sick or not live:
        words = (
            ", ".join(f"{one.service} is {one.state} {one.health}".rstrip() for one in sick) or "no container is there"
        )
        findings.append(Finding(BAD, f"{service}: live release", words))
    return findings


def _try(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(GOOD, what, look())
    except RolloutError as error:
        return Finding(BAD, what, f"{error.code}: {error.message}")


def _lock(engine: Engine) -> Finding:
    try:
        with engine.store.locked(0.0):
            return Finding(GOOD, "lock", "free")
    except RolloutError:
        return Finding(WARNING, "lock", "a rollout is at work; another one would wait for it")


def _disk(path: Path) -> Finding:
    usage = shutil.disk_usage(path)
    found = f"{usage.free >> 20} MB of {usage.total >> 20} MB are free"
    return Finding(GOOD if usage.free > usage.total * _TIGHT else BAD, f"disk {path}", found)


def _clock() -> Finding:
    said = output("timedatectl", "show", "--property=NTPSynchronized", "--value")
    good = said == "yes"
    return Finding(
        GOOD if good else WARNING, "clock", "synchronized" if good else "not synchronized: TLS and windows need it"
    )


def _timer(config: Config) -> Finding:
    unit = f"{config.project}-rollout.timer"
    said = output("systemctl", "is-active", unit)
    return Finding(GOOD if said == "active" else BAD, "timer", f"{unit} is {said or 'not there'}")


def _proxies(engine: Engine, containers: list[Container]) -> str:
    names = [f"nginx-{slot}" for slot in SLOTS]
    running = [one for one in containers if one.service in names and one.state == "running"]
    for one in running:
        done = engine.docker.run("exec", one.id, "nginx", "-t", "-q", "-c", nginx.CONFIG, check=False)
        if done.returncode != 0:
            raise RolloutError("nginx_invalid", f"a reload would fail: {done.stderr.strip() or done.stdout.strip()}")
    if not running:
        raise RolloutError("nginx_missing", "no Nginx of the project runs")
    return f"{', '.join(one.service for one in running)} accepts its configuration"


def _window(expression: str) -> str:
    return f"{expression} is " + ("open" if window.open_at(expression, time.time()) else "closed now")
