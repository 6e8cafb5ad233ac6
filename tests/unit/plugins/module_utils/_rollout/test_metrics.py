# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics are what Prometheus can read, and say what the status says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._rollout import metrics
from plugins.module_utils._rollout.agent import BREAKER, Agent, status
from plugins.module_utils._rollout.agent_state import AgentState, Hold
from plugins.module_utils._rollout.clock import instant
from plugins.module_utils._rollout.config import Config, Policy
from plugins.module_utils._rollout.release import RolloutError

from .model import BAD, A, World, api, engine

NOW = 1795608000.25
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.+)\}})? ([0-9.e+-]+)")


def parsed(text: str) -> Samples:
    """Read text format 0.0.4, strictly: HELP, TYPE and samples of a family together, no timestamp, nothing twice."""
    assert text.endswith("\n")
    found: Samples = {}
    family, families = "", []
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
            assert re.fullmatch(rf"# HELP {_NAME} [^\\]+", line)
            assert next(lines) == f"# TYPE {family} gauge"
            families.append(family)
            continue
        match = _SAMPLE.fullmatch(line)
        assert match, line
        assert match[1] == family
        labels, rest = [], match[2] or ""
        while rest:
            label = _LABEL.match(rest)
            assert label, rest
            value = re.sub(r"\\(.)", lambda escape: {"n": "\n"}.get(escape[1], escape[1]), label[2])
            labels.append((label[1], value))
            rest = rest[label.end() :]
        assert len(dict(labels)) == len(labels)
        assert (family, frozenset(labels)) not in found
        found[family, frozenset(labels)] = float(match[3])
    assert len(set(families)) == len(families)
    assert set(families) == {name for name, _labels in found}
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    return found[f"billing_rollout_{name}", frozenset(labels.items())]


def names(found: Samples) -> set[str]:
    return {name.partition("billing_rollout_")[2] for name, _labels in found}


def service(**changes: Any) -> dict[str, Any]:
    """What the status says of a service that was never rolled out."""
    nothing = {"live": None, "slot": "", "healthy": False, "held": False, "candidate": None, "last": None}
    return {**nothing, "failures": 0, "checked_at": None, "breaker": False, "seconds": {}, **changes}


def of(**services: Mapping[str, Any]) -> dict[str, Any]:
    return {"services": services, "quarantine": [], "damaged": {}}


@pytest.fixture
def refused(world: World) -> Any:
    """The status, as the agent knows it, of a service whose tag names an image that failed."""
    world.tags["stable"] = A
    engine(world, actor="ansible").apply(api("r.example/x:stable"))
    world.tags["stable"] = BAD
    config, state = Config(world.root, "billing", {"api": Policy()}), AgentState(world.root)
    agent = Agent(engine(world, actor="agent"), config, state, world.clock(), lambda: 0.5)
    agent.check()
    agent.check()
    state.set_hold("api", Hold(BREAKER, "2026-11-25T12:00:00.000Z", "too many"))
    return status(agent.engine, config, state)


def test_the_metrics_say_what_the_status_says(refused: Any) -> None:
    one = refused["services"]["api"]
    found = parsed(metrics.render(refused, NOW))
    live, bad = A.rpartition("@")[2], BAD.rpartition("@")[2]
    assert value(found, "release_info", service="api", digest=live, release=one["live"]["id"], slot="blue") == 1
    assert value(found, "candidate", service="api", digest=bad, code="quarantined") == 1
    assert value(found, "last_outcome", service="api", outcome="rejected") == 1
    assert value(found, "healthy", service="api") == 1
    assert value(found, "quarantined", service="api") == 1
    assert value(found, "held", service="api") == 1
    assert value(found, "breaker_open", service="api") == 1
    assert value(found, "consecutive_failures", service="api") == 0
    assert value(found, "last_timestamp_seconds", service="api") == instant(one["last"]["at"])
    assert value(found, "last_check_timestamp_seconds", service="api") == instant(one["checked_at"])
    assert value(found, "last_run_timestamp_seconds") == NOW
    phases = {dict(labels)["phase"]: seconds for (name, labels), seconds in found.items() if "phase" in name}
    assert phases == one["seconds"]
    assert phases


def test_what_is_not_known_is_left_out_and_not_zero() -> None:
    found = parsed(metrics.render(of(api=service(failures=3)), NOW))
    assert names(found) == {
        *("last_run_timestamp_seconds", "healthy", "consecutive_failures", "held", "breaker_open", "quarantined")
    }
    assert value(found, "consecutive_failures", service="api") == 3


def test_without_services_the_time_of_the_run_is_still_told() -> None:
    assert parsed(metrics.render(of(), NOW)) == {("billing_rollout_last_run_timestamp_seconds", frozenset()): NOW}


def test_the_families_of_several_services_stay_together() -> None:
    quarantine = [{"release": "api/b-1"}, {"release": "api/c-1"}, {"release": "api-admin/b-1"}]
    status = {**of(api=service(), nginx=service(healthy=True)), "quarantine": quarantine}
    found = parsed(metrics.render(status, NOW))
    assert [value(found, "healthy", service=name) for name in ("api", "nginx")] == [0, 1]
    assert [value(found, "quarantined", service=name) for name in ("api", "nginx")] == [2, 0]


@pytest.mark.parametrize("odd", ['quoted "word"', "back\\slash\\n", "two\nlines", "é€", 'end\\"', "a},b=1 2"])
def test_no_label_breaks_the_format(odd: str) -> None:
    candidate = {"digest": odd, "code": "window"}
    found = parsed(metrics.render(of(api=service(candidate=candidate)), NOW))
    assert value(found, "candidate", service="api", digest=odd, code="window") == 1


def test_the_file_is_replaced_readable_for_the_collector_and_nothing_else_looks_like_it(tmp_path: Path) -> None:
    path = tmp_path / "billing.prom"
    path.write_text("old\n")
    path.chmod(0o600)
    before = path.stat().st_ino
    metrics.write(path, "new 1\n")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new 1\n", 0o644)
    assert path.stat().st_ino != before
    assert [one.name for one in tmp_path.glob("*.prom")] == ["billing.prom"]


def test_a_directory_that_is_missing_is_named_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "collector" / "billing.prom"
    with pytest.raises(RolloutError, match="rollout_agent_metrics_file") as caught:
        metrics.write(path, "")
    assert (caught.value.code, caught.value.details) == ("metrics_failed", {"path": str(path)})
    assert str(path) in caught.value.message
    assert not path.parent.exists()
