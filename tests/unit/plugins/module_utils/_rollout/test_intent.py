# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""An intent that makes no sense is refused, and one that was stored comes back as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from plugins.module_utils._rollout.intent import Gate, Intent
from plugins.module_utils._rollout.release import RolloutError

ADDRESSES = {"blue": ["10.201.0.11:8000"], "green": ["10.201.0.21:8000"]}
API = Intent(
    service="api",
    image="registry.example.com/billing-api:stable",
    strategy="blue_green",
    slot_addresses=ADDRESSES,
    secret_files=("secrets/api_key",),
    gates=(Gate(http="/health"), Gate(tcp=True), Gate(exec=("true", "x"))),
    force=True,
)


@pytest.mark.parametrize(
    ("values", "gate"),
    [
        ({"http": "/health"}, Gate(http="/health")),
        ({"tcp": True}, Gate(tcp=True)),
        ({"exec": ["pg_isready", "-q"]}, Gate(exec=("pg_isready", "-q"))),
        ({"exec": "true"}, Gate(exec=("true",))),
    ],
)
def test_a_gate_is_read(values: dict[str, Any], gate: Gate) -> None:
    assert Gate.parse(values) == gate


@pytest.mark.parametrize(
    "values", [{}, {"http": ""}, {"tcp": False}, {"udp": True}, {"http": "/", "tcp": True}, {"exec": []}]
)
def test_what_is_no_gate_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(RolloutError, match="a gate is one of") as caught:
        Gate.parse(values)
    assert caught.value.code == "input_invalid"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategy": "hope"}, "'hope' is none of blue_green, handover, recreate"),
        ({"slot_addresses": {}}, "must give both blue and green"),
        ({"slot_addresses": {"blue": ["a:1"]}}, "must give both blue and green"),
        ({"slot_addresses": {"blue": ["a:1", "a:2"], "green": ["b:1"]}}, "the same number"),
        ({"keep": 1}, "a rollback needs at least 2"),
    ],
)
def test_an_intent_that_makes_no_sense_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RolloutError, match=words) as caught:
        replace(API, **changes)
    assert caught.value.code == "input_invalid"


def test_an_intent_comes_back_from_json_without_its_force() -> None:
    restored = Intent.restored(json.loads(json.dumps(API.stored())))
    assert restored.stored() == replace(API, force=False).stored()
    assert (restored.gates, restored.secret_files, restored.force) == (API.gates, API.secret_files, False)


@pytest.mark.parametrize(
    ("service", "slot", "owned"),
    [
        ("api-blue-1", None, True),
        ("api-blue-12", "blue", True),
        ("api-blue-1", "green", False),
        ("api-blue-migrate", None, False),
        ("api", None, False),
        ("xapi-blue-1", None, False),
    ],
)
def test_which_compose_services_are_its_own(service: str, slot: str | None, owned: bool) -> None:
    assert API.owns(service, slot) is owned


def test_a_service_without_slots_owns_its_name_only() -> None:
    postgres = Intent("postgres", "postgres:17", "recreate")
    assert (postgres.slots, postgres.fragment(""), API.fragment("blue")) == (
        ("",),
        "compose.d/postgres.yaml",
        "compose.d/api.blue.yaml",
    )
    assert [postgres.owns(name) for name in ("postgres", "postgres-blue")] == [True, False]
