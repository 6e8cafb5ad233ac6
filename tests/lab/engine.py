# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The Docker engine of this machine: install it from the distribution and start it where none answers."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.lab import machine
from tests.lab.shell import LabError, run, step

_START_SECONDS = 60.0


def answers() -> bool:
    """Whether an engine answers this machine's client."""
    try:
        return run(["docker", "version", "--format", "{{.Server.Version}}"], check=False, timeout=30).returncode == 0
    except LabError:
        return False


def ensure(run_dir: Path) -> None:
    """Install what the lab needs and see to it that an engine answers.

    Args:
        run_dir: where the log and the process id of an engine that we start ourselves are kept.
    """
    tools = ["mmdebstrap", "openssl", "ssh", "ssh-keygen"]
    if answers():
        machine.install(machine.missing_packages(tools))
        return
    if os.environ.get("DOCKER_HOST"):
        raise LabError(f"no engine answers at DOCKER_HOST={os.environ['DOCKER_HOST']}: start it, or unset the variable")
    if os.geteuid() != 0:
        raise LabError("no Docker engine answers: start it, or run as root so that the lab can install and start one")
    machine.install(machine.missing_packages([*tools, "docker", "dockerd", "iptables"]))
    with step("start the Docker engine"):
        if Path("/run/systemd/system").is_dir():
            run(["systemctl", "start", "docker"])
            _wait(answers, "see `journalctl -u docker`")
        else:
            _start_alone(run_dir)


def _start_alone(run_dir: Path) -> None:
    """Start dockerd without a service manager, in a session of its own so that it outlives us."""
    run_dir.mkdir(parents=True, exist_ok=True)
    log = run_dir / "dockerd.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["dockerd"], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    (run_dir / "dockerd.pid").write_text(f"{process.pid}\n")

    def ready() -> bool:
        if process.poll() is not None:
            last = log.read_text(errors="replace")[-1500:]
            raise LabError(f"dockerd ended with {process.returncode}; the end of {log}:\n{last}")
        return answers()

    _wait(ready, f"see {log}")


def stop_own(run_dir: Path) -> None:
    """Stop the engine that ``ensure`` started here, once no container runs on it any more."""
    pid_file = run_dir / "dockerd.pid"
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text())
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
        name = ""
    if name == "dockerd":
        if run(["docker", "ps", "--quiet"]).stdout.strip():
            return
        with step("stop the Docker engine that the lab started"):
            os.kill(pid, signal.SIGTERM)
            _wait(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid), f"process {pid} does not end")
    pid_file.unlink()


def _is_zombie(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


def _wait(ready: Callable[[], bool], hint: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise LabError(f"the Docker engine took longer than {_START_SECONDS:.0f} s: {hint}")
        time.sleep(0.2)
