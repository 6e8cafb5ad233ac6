# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Measure a run of deploy_compose.yml that changes nothing: seconds and tasks, over SSH."""

from __future__ import annotations

import re
import time
from typing import Any

from tests.bench.server import spread
from tests.demo import Demo, unchanged

SILENT = re.compile(r"(?!)")


def measure(demo: Demo, runs: int) -> dict[str, Any]:
    """Run the playbook on a server that is as it wants it.

    Raises:
        StepFailedError: a run changed something.
    """
    seconds: list[float] = []
    recap = ""
    for number in range(runs):
        started = time.monotonic()
        recap = unchanged(demo.playbook(f"no-op run {number + 1} of {runs}", "deploy_compose.yml", SILENT))
        seconds.append(round(time.monotonic() - started, 2))
        demo.say(f"    {recap} in {seconds[-1]:.1f} s")
    return {"unit": "seconds", "runs": runs, "recap": recap, "run": spread(seconds)}


def summary(report: dict[str, Any]) -> str:
    """Return the result in one line."""
    run = report["run"]
    return f"no-op run: median {run['median']:.1f} s, {run['min']:.1f} to {run['max']:.1f} s; {report['recap']}"
