# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What is published of measurements: a bar that is missed is named, and tables say what the reports say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from plugins.plugin_utils._terraform_reading import Request, reading_of
from plugins.plugin_utils._terraform_state import read_state
from tests import page
from tests.bench import inventory, rollout, table
from tests.faults import table as matrix_table
from tests.faults.matrix import Row
from tests.lab.load.records import SHAPES

CLEAN = {"errors": [], "classes": {}, "failed": 0, "duplicated": 0, "lost": 0, "unknown": 0}


def report(ours: dict[str, Any], baseline: dict[str, Any]) -> dict[str, Any]:
    return {"operations": {"rollout": {**CLEAN, **ours}}, "baselines": {"compose_up": {**CLEAN, **baseline}}}


@pytest.mark.parametrize(
    ("ours", "baseline", "found"),
    [
        ({}, {"failed": 3, "classes": {"reset": 3}}, []),
        ({"classes": {"reset": 2}}, {"failed": 3}, ["rollout: 2 requests failed: reset"]),
        ({"lost": 1}, {"failed": 3}, ["rollout: 1 requests lost"]),
        (
            {"duplicated": 1, "unknown": 2},
            {"failed": 3},
            ["rollout: 1 requests duplicated", "rollout: 2 requests unknown"],
        ),
        ({"errors": [{"message": "it broke"}]}, {"failed": 3}, ["rollout: it broke"]),
        ({}, {}, ["compose_up failed no request: the load is too weak to show anything"]),
    ],
)
def test_what_misses_the_bar_is_a_problem(ours: dict[str, Any], baseline: dict[str, Any], found: list[str]) -> None:
    assert rollout.problems(report(ours, baseline)) == found


def measured() -> dict[str, Any]:
    figures = {"requests": 10, "failed": {}, "resent": 0, "p50_ms": 9.4, "p99_ms": 20.0, "max_ms": None}
    shape = {
        "all": figures,
        "inside": {"rollout": figures, "compose_up": figures},
        "outside": {**figures, "max_ms": 30.0},
    }
    one = {**CLEAN, "count": 20, "requests": 51234, "resent": 7, "shapes": dict.fromkeys(SHAPES, shape)}
    return {
        "machine": {
            "date": "2026-11-25T07:14:51",
            "processor": "P",
            "cores": 2,
            "docker": "26",
            "nginx": "1",
            "postgres": "17",
        },
        "load": {"users_per_shape": 10, "delay_ms_each_direction": 3.0},
        "requests": 51234,
        "operations": {"rollout": {**one, "seconds": {"rollout": {"median": 15.26}}}},
        "baselines": {"compose_up": {**one, "failed": 883, "seconds": {"compose_up": {"median": 2.0}}}},
    }


def test_the_page_says_what_the_report_says() -> None:
    lines = table.render_rollouts(measured()).splitlines()
    assert "| rollout | 20 | 15.3 | 51,234 | 0 | 7 | 0 | 0 |" in lines
    assert "| baseline: `docker compose pull && docker compose up -d` | 20 | 2.0 | 51,234 | 883 | 7 | 0 | 0 |" in lines
    assert "| all of ours |  |  | 51,234 | 0 | 7 | 0 | 0 |" in lines
    cell = "9 / 20 / - (9 / 20 / 30)"
    assert f"| rollout | {' | '.join([cell] * 4)} |" in lines


def test_the_summary_says_when_there_were_too_few_requests() -> None:
    lines = rollout.summary(measured()).splitlines()
    assert lines[1].split()[:7] == ["rollout", "20", "51234", "0", "7", "0", "0"]
    assert lines[-1] == "only 51234 requests during our operations, 100000 are wanted"


def test_overhead_in_words() -> None:
    spread = {"median": 0.8, "min": 0.75, "max": 0.861}
    said = table.render_overhead({"overhead": spread, "unchanged": spread, "rollouts": 10, "unchanged_runs": 5})
    assert "10 rollouts without load: median 0.80 s (0.75 to 0.86)" in said
    assert "nothing to do: median 0.80 s (0.75 to 0.86), 5 runs" in said


def test_a_look_is_a_line_of_the_table() -> None:
    one: dict[str, Any] = {what: {"median": 0.1234} for what in ("cpu", "daemon_cpu", "seconds")}
    one |= {"runs": 10, "peak_mib": 21.4, "requests": {"HEAD": 1.0, "GET": 0.0}}
    lines = table.render_check({"agent": one, "docker_pull": {**one, "requests": {"HEAD": 1.0, "GET": 2.5}}})
    assert "| `billing-rollout check` | 10 | 0.123 | 0.123 | 0.123 | 21 | 1 | 0 |" in lines
    assert "| baseline: `docker pull` | 10 | 0.123 | 0.123 | 0.123 | 21 | 1 | 2.5 |" in lines


def test_how_soon_a_push_is_noticed() -> None:
    steps = ("noticed", "serving", "released")
    measured = {f"{how}_{step}_seconds": n + len(how) for how in ("poll", "knock") for n, step in enumerate(steps)}
    lines = matrix_table.render_noticed(measured).splitlines()
    assert lines[2:] == ["| timer, every 5 s | 4.0 | 5.0 | 6.0 |", "| knock | 5.0 | 6.0 | 7.0 |"]


def test_what_a_replacement_costs() -> None:
    phases = dict.fromkeys(("packages", "volume", "bundle", "secrets", "playbook"), 1.25)
    one = {"apply_to_serving": 55.31, "phases": phases}
    again = {**one, "replacement": 1, "outage": 55.0, "acknowledged": 183, "lost": 0}
    lines = table.render_bootstrap({"first": one, "replacements": [again], "second_run": 32.4}).splitlines()
    assert lines[2] == "| first boot | 55.3 | 1.2 | 1.2 | 1.2 | 1.2 | 1.2 |  |  |  |"
    assert lines[3] == "| replacement 1 | 55.3 | 1.2 | 1.2 | 1.2 | 1.2 | 1.2 | 55.0 | 183 | 0 |"


def test_a_fault_is_a_line_of_the_matrix() -> None:
    rows = [
        Row("a", "kill", converged=True, requests=1000, failed=0),
        Row("b", "power", converged=True, requests=5, failed=2, excused=True),
        Row("c", "kill", converged=False, requests=500, failed=1, lost=1, duplicated=2),
    ]
    lines = matrix_table.render(rows).splitlines()
    assert lines[2:4] == ["| kill | 2 | 1 | 1,500 | 1 | 1 | 2 |", "| power [1] | 1 | 1 | 5 | 2 | 0 | 0 |"]


def test_only_what_is_between_the_marks_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "page.md"
    target.write_text("before\n<!-- begin: x -->\nold\n<!-- end: x -->\nafter\n")
    for text in ("first", "second"):
        page.insert("x", text, target)
    assert target.read_text() == "before\n<!-- begin: x -->\n\nsecond\n\n<!-- end: x -->\nafter\n"
    with pytest.raises(ValueError, match="lacks the lines <!-- begin: y -->"):
        page.insert("y", "text", target)


def test_the_real_page_has_every_mark() -> None:
    text = page.PAGE.read_text()
    assert all(
        f"<!-- {edge}: {name} -->" in text
        for name in ("rollouts", "overhead", "check", "noticed", "fault matrix", "inventory", "bootstrap")
        for edge in ("begin", "end")
    )


def listed(over_static: float) -> dict[str, Any]:
    spread = {"median": 9.0123, "min": 8.0, "max": 10.0}
    one = {"runs": 5, **dict.fromkeys(("plugin", "static", "read", "show"), spread)}
    return {
        "machine": {"date": "2026-11-25T07:14:51", "processor": "P", "cores": 2},
        "ansible": "ansible-inventory [core 2.21.5]",
        "terraform": "Terraform v1.11.4",
        "hosts": {"10000": {**one, "over_static": over_static, "state_mib": 46.1}},
    }


def test_inventory_that_is_too_slow_is_a_problem() -> None:
    assert inventory.problems(listed(11.9)) == []
    assert inventory.problems(listed(12.5)) == [
        "inventory of 10000 hosts: 12.50 s over a static one, at most 12 s are allowed"
    ]


def test_the_page_says_how_long_an_inventory_takes() -> None:
    lines = table.render_inventory(listed(1.78)).splitlines()
    assert "| 10,000 | 5 | 9.01 | 9.01 | +1.78 | 9.012 | 9.012 | 46.1 |" in lines


@pytest.mark.parametrize("count", [1, 3])
def test_measured_state_is_one_that_the_plugin_reads(count: int, tmp_path: Path) -> None:
    path = tmp_path / "terraform.tfstate"
    path.write_text(json.dumps(inventory.state_of(count)), encoding="utf-8")
    reading = reading_of(read_state(path), Request("ansible_inventory"))
    assert len(reading["contract"]["hosts"]) == count
    assert reading["dead"] == {}
