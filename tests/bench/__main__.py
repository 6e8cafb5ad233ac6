# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""``python3 -m tests.bench [inventory|noop|check|rollout|overhead|all]``: measure, write build/bench/*.json.

All but `inventory` is measured on the server of the demo, which is brought up where it is not.

Ends with 1 when one of our operations failed a request, executed one twice or lost one, and when the load is too weak
to show such a thing where it must happen.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from tests.bench import check, inventory, noop, overhead, rollout
from tests.bench.server import OperationFailedError, Server, write
from tests.demo import ROOT, Demo, StepFailedError, up
from tests.lab import LabError
from tests.terraform_cli import TerraformMissingError

# operation -> option, how often by default
_COUNTS = {
    "rollout": ("rollouts", 20),
    "rollback": ("rollbacks", 20),
    "config_change": ("config-changes", 10),
    "handover": ("handovers", 10),
    "nginx_reload": ("reloads", 10),
    "docker_restart": ("docker-restarts", 5),
}


def parser() -> argparse.ArgumentParser:
    """Every option."""
    top = argparse.ArgumentParser(
        prog="python3 -m tests.bench", description="Measure on this machine and on the demo's server."
    )
    top.add_argument(
        "what", nargs="?", choices=["inventory", "noop", "check", "rollout", "overhead", "all"], default="all"
    )
    top.add_argument("--runs", type=int, default=5, help="no-op runs of the playbook (default: %(default)s)")
    for operation, (option, default) in _COUNTS.items():
        top.add_argument(
            f"--{option}", dest=operation, type=int, default=default, metavar="N", help="default: %(default)s"
        )
    top.add_argument("--listings", type=int, default=5, metavar="N", help="of an inventory (default: %(default)s)")
    top.add_argument("--looks", type=int, default=10, metavar="N", help="at a tag (default: %(default)s)")
    top.add_argument("--baselines", type=int, default=3, metavar="N", help="of each kind (default: %(default)s)")
    top.add_argument("--users", type=int, default=10, metavar="N", help="per client shape (default: %(default)s)")
    top.add_argument("--delay-ms", type=float, default=3, help="of the network, each way (default: %(default)s)")
    top.add_argument("--fresh", type=int, default=10, metavar="N", help="rollouts without load (default: %(default)s)")
    top.add_argument("--unchanged", type=int, default=10, metavar="N", help="engine runs (default: %(default)s)")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring the demo up where it is needed and not there, then measure, and leave the demo as it was."""
    options = parser().parse_args(arguments)
    os.chdir(ROOT)
    demo = Demo("demo")
    problems: list[str] = []
    try:
        if options.what in ("inventory", "all"):
            problems += _measure_inventory(demo, options.listings)
        if options.what != "inventory":
            up(demo)
            problems += _measure(demo, options)
    except (LabError, OperationFailedError, StepFailedError, TerraformMissingError) as error:
        demo.say(f"FAILED: {error}")
        return 1
    finally:
        demo.close_ssh_connections()
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return 1 if problems else 0


def _measure_inventory(demo: Demo, runs: int) -> list[str]:
    """Measure the inventory plugin, which needs no server, print it, and return what is wrong."""
    report = inventory.measure(runs, demo.say)
    write("inventory", report)
    print(inventory.summary(report))
    return inventory.problems(report)


def _measure(demo: Demo, options: argparse.Namespace) -> list[str]:
    """Measure what was asked for, print it, and return what is wrong."""
    wanted = {"noop", "check", "rollout", "overhead"} if options.what == "all" else {options.what}
    said: list[str] = []
    problems: list[str] = []
    server = Server(demo)
    server.require_alone()
    server.stop_agent()
    if "noop" in wanted:
        report = {"machine": server.facts(), **noop.measure(demo, options.runs)}
        write("noop", report)
        said.append(noop.summary(report))
    if "check" in wanted:
        report = check.measure(server, options.looks)
        write("check", report)
        said.append(check.summary(report))
    if wanted & {"rollout", "overhead"}:
        server.deploy("deploy_compose.yml with a certificate", tls=True)
        try:
            server.stop_agent()
            if "overhead" in wanted:
                report = overhead.measure(server, options.fresh, options.unchanged)
                write("overhead", report)
                said.append(overhead.summary(report))
            if "rollout" in wanted:
                counts = {operation: getattr(options, operation) for operation in _COUNTS}
                size = rollout.Size(counts, options.baselines, options.users, options.delay_ms)
                report = rollout.measure(server, size)
                said.append(rollout.summary(report))
                problems += report["problems"]
        finally:
            server.deploy("deploy_compose.yml as the demo has it", tls=False)
    print("\n".join(said))
    return problems


if __name__ == "__main__":
    sys.exit(main())
