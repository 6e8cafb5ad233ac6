# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""``python3 -m tests.bench.table``: write what `make bench` measured last as tables into docs/benchmarks.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from tests import page
from tests.bench.server import OUTPUT
from tests.lab.load.records import SHAPES

# operation -> how the page calls it
_NAMES = {
    "rollout": "rollout",
    "rollback": "rollout, then rollback",
    "config_change": "configuration change",
    "handover": "Nginx handover",
    "nginx_reload": "Nginx configuration reload",
    "docker_restart": "`systemctl restart docker`",
    "compose_up": "baseline: `docker compose pull && docker compose up -d`",
    "plain_switch": "baseline: the same switch without the drain",
}
_COUNTED = ("requests", "failed", "resent", "duplicated", "lost")


def render_rollouts(report: Mapping[str, Any]) -> str:
    """Return what clients noticed: counts per operation, and latencies per operation and client shape."""
    machine, load = report["machine"], report["load"]
    both = {**report["operations"], **report["baselines"]}
    counts, times = [], []
    for name, one in both.items():
        seconds = one["seconds"][name]["median"]
        counts.append([_NAMES[name], str(one["count"]), f"{seconds:.1f}", *(f"{one[what]:,}" for what in _COUNTED)])
        cells = (_latencies(one["shapes"][shape], name) for shape in SHAPES)
        times.append([_NAMES[name], *cells])
    counts.insert(len(report["operations"]), ["all of ours", "", "", *(_total(report, what) for what in _COUNTED)])
    shapes = [shape.replace("_", " ") for shape in SHAPES]
    return (
        f"Measured on {machine['date'][:10]}: {machine['processor']}, {machine['cores']} cores, "
        f"Docker {machine['docker']}, Nginx {machine['nginx']}, PostgreSQL {machine['postgres']}; "
        f"{load['users_per_shape']} users of each client shape, "
        f"{load['delay_ms_each_direction']:g} ms of network in each direction.\n\n"
        f"{page.table(('operation', 'times', 'median s', *_COUNTED), counts)}\n\n"
        "Resent: HTTP/2 requests that Nginx refused unprocessed as it ended a connection (GOAWAY), and that the client "
        "sent again on a new one, as RFC 9113, section 8.7, has it.\n\n"
        "Latency in ms, median / 99th percentile / maximum during the operations; in brackets, outside of them in the "
        "same run:\n\n"
        f"{page.table(('operation', *shapes), times)}"
    )


def render_overhead(report: Mapping[str, Any]) -> str:
    """Return the engine's own share in words."""
    overhead, unchanged = report["overhead"], report["unchanged"]
    return (
        f"- Overhead, {report['rollouts']} rollouts without load: median {overhead['median']:.2f} s "
        f"({overhead['min']:.2f} to {overhead['max']:.2f}) from the known digest until the new release serves, without "
        "the pull, the migration and the application's own start.\n"
        f"- A run that finds nothing to do: median {unchanged['median']:.2f} s "
        f"({unchanged['min']:.2f} to {unchanged['max']:.2f}), {report['unchanged_runs']} runs."
    )


def render_check(report: Mapping[str, Any]) -> str:
    """Return what a look at a tag that has not moved costs, both ways."""
    ways = {"agent": "`billing-rollout check`", "docker_pull": "baseline: `docker pull`"}
    rows = []
    for name, called in ways.items():
        one = report[name]
        figures = [f"{one[what]['median']:.3f}" for what in ("cpu", "daemon_cpu", "seconds")]
        requests = (f"{one['requests'][method]:g}" for method in ("HEAD", "GET"))
        rows.append([called, str(one["runs"]), *figures, f"{one['peak_mib']:.0f}", *requests])
    columns = ("a look", "times", "CPU s", "CPU s of dockerd", "seconds", "peak MiB", "HEAD", "GET")
    return f"{page.table(columns, rows)}\n\nMedians; requests are those for manifests, per look."


def render_inventory(report: Mapping[str, Any]) -> str:
    """Return what listing an inventory of some sizes takes, in seconds."""
    machine = report["machine"]
    rows = []
    for count, one in report["hosts"].items():
        medians = [f"{one[way]['median']:.2f}" for way in ("plugin", "static")]
        reading = [f"{one[way]['median']:.3f}" for way in ("read", "show")]
        rows.append(
            [
                f"{int(count):,}",
                str(one["runs"]),
                *medians,
                f"{one['over_static']:+.2f}",
                *reading,
                f"{one['state_mib']:g}",
            ]
        )
    heads = (
        "hosts",
        "runs",
        "plugin",
        "static YAML",
        "difference",
        "of it reading the state",
        "`terraform show -json`, parsed",
        "state in MiB",
    )
    return (
        f"Measured on {machine['date'][:10]}: {machine['processor']}, {machine['cores']} cores, {report['ansible']}, "
        f"{report['terraform']}; medians of runs in turn, in seconds. The static inventory "
        "has the same hosts with no more than their address and user.\n\n"
        f"{page.table(heads, rows)}"
    )


def render_bootstrap(report: Mapping[str, Any]) -> str:
    """Return how long a server takes from `terraform apply` until it serves, and what its replacement cuts off."""
    replaced = [(f"replacement {one['replacement']}", one) for one in report["replacements"]]
    rows = []
    for name, one in [("first boot", report["first"]), *replaced]:
        phases = (f"{one['phases'][phase]:.1f}" for phase in ("packages", "volume", "bundle", "secrets", "playbook"))
        writes = (str(one[what]) if what in one else "" for what in ("outage", "acknowledged", "lost"))
        rows.append([name, f"{one['apply_to_serving']:.1f}", *phases, *writes])
    heads = (
        "",
        "apply to serving",
        "packages",
        "volume",
        "bundle",
        "secrets",
        "playbook",
        "outage",
        "acknowledged",
        "lost",
    )
    return (
        f"{page.table(heads, rows)}\n\nSeconds, and invoices. A second run changed nothing and took "
        f"{report['second_run']:.0f} s."
    )


def _total(report: Mapping[str, Any], what: str) -> str:
    return f"{sum(one[what] for one in report['operations'].values()):,}"


def _latencies(shape: Mapping[str, Any], operation: str) -> str:
    return f"{_three(shape['inside'].get(operation))} ({_three(shape['outside'])})"


def _three(figures: Mapping[str, Any] | None) -> str:
    values = [figures[name] for name in ("p50_ms", "p99_ms", "max_ms")] if figures else []
    return " / ".join("-" if value is None else f"{value:.0f}" for value in values) or "-"


def main() -> int:
    """Write the tables; 1 where something was not measured yet."""
    tables = (
        ("rollout", "rollouts", render_rollouts),
        ("overhead", "overhead", render_overhead),
        ("check", "check", render_check),
        ("inventory", "inventory", render_inventory),
        ("bootstrap", "bootstrap", render_bootstrap),
    )
    for name, mark, render in tables:
        path = OUTPUT / f"{name}.json"
        if not path.exists():
            print(f"there is no {path.name} in {path.parent} yet: run make bench first", file=sys.stderr)
            return 1
        page.insert(mark, render(json.loads(path.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
