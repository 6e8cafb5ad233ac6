# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A lab host as the tests use it: one shared SSH connection, and its containers."""

from __future__ import annotations

import fcntl
import json
import shlex
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, Any

import pytest

from tests.lab import Host

CONTROL = Path(tempfile.gettempdir()) / "billing-integration"


def hold_lab(name: str) -> IO[str]:
    """Hold the lock of a lab as long as the file is open: a second run, from another checkout too, would remove it."""
    CONTROL.mkdir(mode=0o700, exist_ok=True)
    lock = (CONTROL / f"{name}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pytest.exit(f"lab {name} is in use by another run: wait, or set FAULTS_LAB or INTEGRATION_LAB", 1)
    return lock


class Remote:
    """Commands on a lab host. The connection is shared: the firewall counts new ones."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.address = host.address
        self.name = host.name

    def ssh_command(self) -> list[str]:
        """Return the command that logs in, over a connection that stays open for a while."""
        CONTROL.mkdir(mode=0o700, exist_ok=True)
        shared = ["-o", "ControlMaster=auto", "-o", "ControlPersist=30", "-o", f"ControlPath={CONTROL}/%C"]
        first, *rest = self.host.ssh_command()
        return [first, *shared, *rest]

    def run(
        self, *argv: str, text: str | None = None, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the host; `text` is its standard input. `timeout` in seconds."""
        done = subprocess.run(
            [*self.ssh_command(), shlex.join(argv)],
            input=text,
            stdin=None if text is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{argv} on {self.name} ended with {done.returncode}: {done.stderr[-2000:]}"
        return done

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Start a command on the host whose standard input is ours; the caller ends it."""
        return subprocess.Popen(
            [*self.host.ssh_command(), shlex.join(argv)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def sh(self, script: str, check: bool = True, timeout: float = 120) -> str:
        """Run a shell script on the host and return what it printed."""
        return self.run("sh", "-eu", "-s", text=script, check=check, timeout=timeout).stdout

    def python(self, source: str, *arguments: str, timeout: float = 300) -> str:
        """Run a Python program on the host and return what it printed."""
        return self.run("python3", "-", *arguments, text=source, timeout=timeout).stdout

    def forget(self) -> None:
        """Close the shared connection: after a reboot it leads nowhere."""
        first, *rest = self.ssh_command()
        subprocess.run([first, "-O", "exit", *rest], capture_output=True, check=False, timeout=30)

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return `docker inspect` of every container by Compose service."""
        ids = self.run("docker", "ps", "-aq").stdout.split()
        if not ids:
            return {}
        found = json.loads(self.run("docker", "inspect", *ids).stdout)
        return {item["Config"]["Labels"]["com.docker.compose.service"]: item for item in found}

    def running(self) -> dict[str, dict[str, Any]]:
        """Return the containers that run and are healthy."""
        return {
            service: item
            for service, item in self.containers().items()
            if item["State"]["Running"] and item["State"].get("Health", {}).get("Status") == "healthy"
        }

    def wait_running(self, count: int, timeout: float = 90) -> None:
        """Wait until so many containers run and are healthy. `timeout` in seconds."""
        deadline = time.monotonic() + timeout
        while len(found := self.running()) < count:
            assert time.monotonic() < deadline, f"healthy after {timeout:.0f} s: {sorted(found)}, wanted {count}"
            time.sleep(0.5)
