# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Measure the engine's own share of a rollout, and of a run that finds nothing to do. Without load."""

from __future__ import annotations

from typing import Any

from tests.bench.server import OperationFailedError, Server, spread


def measure(server: Server, rollouts: int, unchanged: int) -> dict[str, Any]:
    """Roll out images that the server has not seen, then ask for the last one again.

    Raises:
        OperationFailedError: a rollout failed.
    """
    server.demo.say(f"overhead: {rollouts} rollouts without load, {unchanged} unchanged runs")
    runs = [_rollout(server) for _number in range(rollouts)]
    idle = [_unchanged(server) for _number in range(unchanged)]
    return {
        "unit": "seconds",
        "definition": {
            "serve": "from the known digest until the new release answered through Nginx",
            "boot": "from the start of the container until it first passed its gates",
            "migrate": "the application's own migration, in a container of its own",
            "overhead": "serve - pull - migrate - boot: what is neither the network's nor the application's",
            "unchanged": "the engine's time, all phases, for a run that finds nothing to do",
        },
        "machine": server.facts(),
        "rollouts": rollouts,
        **{name: spread([run[name] for run in runs]) for name in ("overhead", "serve", "pull", "migrate", "boot")},
        "unchanged_runs": unchanged,
        "unchanged": spread(idle),
        "runs": runs,
    }


def _rollout(server: Server) -> dict[str, Any]:
    server.publish()
    outcome = server.roll_out()
    timeline = outcome["timeline"]
    parts = {name: timeline.get(name, 0.0) for name in ("pull", "migrate")}
    serve, boot = outcome["serve_seconds"], outcome["boot_seconds"]
    if serve is None or boot is None:
        raise OperationFailedError("the rollout does not tell its serve_seconds and boot_seconds", outcome)
    overhead = round(serve - boot - sum(parts.values()), 3)
    server.demo.say(f"    served after {serve:.2f} s, of that {overhead:.2f} s overhead")
    return {"overhead": overhead, "serve": serve, **parts, "boot": boot, "timeline": timeline}


def _unchanged(server: Server) -> float:
    end = server.drive.run("apply", image=server.image)
    if "ok" not in end or end["ok"]["changed"]:
        raise OperationFailedError("a run with nothing to do failed or changed something", end)
    return round(float(sum(end["ok"]["timeline"].values())), 3)


def summary(report: dict[str, Any]) -> str:
    """Return the result in two lines."""
    overhead, unchanged = report["overhead"], report["unchanged"]
    return (
        f"overhead of a rollout: median {overhead['median']} s, {overhead['min']} to {overhead['max']} s\n"
        f"unchanged run: median {unchanged['median']} s, {unchanged['min']} to {unchanged['max']} s"
    )
