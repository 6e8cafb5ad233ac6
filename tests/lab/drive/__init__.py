# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The engine of the work tree on a lab host, without Ansible around it: rollouts in a row, and kills at any action."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.lab import Host, LabError

_HERE = Path(__file__).parent
_ENGINE = _HERE.parents[2] / "plugins" / "module_utils" / "_rollout"
_PLACE = "/usr/local/lib/billing-drive"
KILLED = 137


class Drive:
    """Runs the engine on one host. Every call is a process of its own there."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.install()

    def install(self) -> None:
        """Copy engine and driver to the host, in place of what lies there."""
        archive = subprocess.run(
            [
                "tar",
                "-C",
                str(_ENGINE.parent),
                "--exclude=__pycache__",
                "-c",
                "_rollout",
                "-C",
                str(_HERE),
                "driver.py",
            ],
            capture_output=True,
            check=True,
        ).stdout
        command = f"rm -rf {_PLACE} && mkdir -p {_PLACE} && tar -x -C {_PLACE}"
        done = subprocess.run([*self.host.ssh_command(), command], input=archive, capture_output=True, check=False)
        if done.returncode != 0:
            raise LabError(f"cannot copy the engine to {self.host.name}: {done.stderr.decode()}")

    def command(self, op: str, service: str = "api", **options: Any) -> str:
        """Return the shell command: apply (image=, force=), rollback or restart, also with kill=[when, which]."""
        request = json.dumps({"op": op, "service": service, **options})
        # With something after it the shell stays and reports a signal as 137.
        return f"python3 {_PLACE}/driver.py '{request}'; exit $?"

    def run(self, op: str, service: str = "api", timeout: float = 300, **options: Any) -> dict[str, Any]:
        """Run a call to its end.

        Returns:
            `{"ok": outcome}`, `{"failure": failure}` or `{"killed": true}`, each with `actions`, those that were begun.
        """
        return self.outcome(self.host.ssh(self.command(op, service, **options), check=False, timeout=timeout))

    @staticmethod
    def outcome(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
        """Read what a finished call printed, as `run` returns it."""
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        actions = [line["action"] for line in lines if "action" in line]
        ends = [line for line in lines if "action" not in line]
        if not ends and done.returncode != KILLED:
            raise LabError(f"the engine ended with {done.returncode}: {done.stderr[-3000:]}")
        return {**(ends[-1] if ends else {"killed": True}), "actions": actions}
