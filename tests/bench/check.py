# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Measure what looking costs when there is nothing new: the agent's check, and the polling by `docker pull`."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.bench.server import Server, spread

# Runs a command some times and prints for each run its seconds, the processor time of it and the daemon, its memory.
_MEASURE = """
import json, os, resource, subprocess, sys, time
count, command = int(sys.argv[1]), sys.argv[2:]
daemon = int(open("/run/docker.pid").read())
tick = os.sysconf("SC_CLK_TCK")
def used():
    fields = open(f"/proc/{daemon}/stat").read().rpartition(")")[2].split()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime, (int(fields[11]) + int(fields[12])) / tick
runs = []
for _run in range(count):
    began, before = time.monotonic(), used()
    subprocess.run(command, check=True, capture_output=True)
    after = used()
    runs.append({"seconds": time.monotonic() - began, "cpu": after[0] - before[0], "daemon_cpu": after[1] - before[1]})
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"runs": runs, "peak_mib": peak / 1024}))
"""


def measure(server: Server, runs: int) -> dict[str, Any]:
    """Look some times at a tag that has not moved, both ways."""
    server.demo.say(f"check: {runs} looks of the agent, {runs} of docker pull")
    ways = {"agent": "billing-rollout check", "docker_pull": f"docker pull --quiet {server.followed()}"}
    report: dict[str, Any] = {"units": {"seconds": "s", "cpu": "s", "peak_mib": "MiB"}, "machine": server.facts()}
    for name, command in ways.items():
        server.shell(command)  # Whatever only the first run costs.
        asked = _requests(server)
        found = json.loads(server.shell(f"python3 - {runs} {command} <<'MEASURE'{_MEASURE}MEASURE"))
        values = {what: spread([run[what] for run in found["runs"]]) for what in ("seconds", "cpu", "daemon_cpu")}
        requests = {method: (count - asked.get(method, 0)) / runs for method, count in _requests(server).items()}
        report[name] = {"runs": runs, **values, "peak_mib": round(found["peak_mib"], 1), "requests": requests}
    return report


def _requests(server: Server) -> dict[str, int]:
    """Count the requests about manifests in the log of the lab's registry, by method."""
    container = f"billing-lab-{server.lab.name}-registry"
    done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True)
    log = done.stdout + done.stderr
    return {method: log.count(f'"{method} /v2/billing-api/manifests/') for method in ("HEAD", "GET")}


def summary(report: dict[str, Any]) -> str:
    """Return the result in two lines."""
    lines = []
    for name in ("agent", "docker_pull"):
        one = report[name]
        lines.append(
            f"{name}: median {one['cpu']['median']:.3f} s CPU and {one['daemon_cpu']['median']:.3f} s of the daemon, "
            f"{one['seconds']['median']:.2f} s, {one['peak_mib']} MiB, requests per look {one['requests']}"
        )
    return "\n".join(lines)
