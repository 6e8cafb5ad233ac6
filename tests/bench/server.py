# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The server that is measured: the demo's host, with TLS, because browsers and our clients want it for HTTP/2."""

from __future__ import annotations

import json
import os
import platform
import statistics
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.demo import ROOT, TASKS, Demo
from tests.lab import Host, Lab, LabError
from tests.lab.drive import Drive
from tests.lab.keys import ensure_certificate
from tests.lab.registry import HOSTNAME, PORT

OUTPUT = ROOT / "build" / "bench"
_TAG = "bench"
_REPOSITORY = f"{HOSTNAME}:{PORT}/billing-api"


class OperationFailedError(Exception):
    """An operation did not do what it is measured for; ``details`` is the engine's own account of it."""

    def __init__(self, message: str, details: dict[str, Any]) -> None:
        super().__init__(message)
        self.details = details


class Server:
    """The first host of the demo's lab, with the engine of the work tree on it."""

    def __init__(self, demo: Demo) -> None:
        self.demo = demo
        self.lab = Lab(demo.name)
        self.host: Host = self.lab.hosts()[0]
        self.authority = self.lab.dir / "ca.crt"
        self.drive = Drive(self.host)
        self.image = f"{_REPOSITORY}:{_TAG}"
        self.digest = ""

    def stop_agent(self) -> None:
        """Keep the agent from rolling out what is measured by hand."""
        self.shell("systemctl stop billing-rollout.timer")

    def followed(self) -> str:
        """Return the reference whose tag the agent follows for the API."""
        return str(json.loads(self.shell("cat state/api.json"))["intent"]["image"])

    def require_alone(self) -> None:
        """Refuse a server with containers of others: one that listens on the same ports takes a share of the load.

        Raises:
            LabError: there are some.
        """
        listed = self.shell("docker ps --format '{{.Label \"com.docker.compose.project\"}} {{.Names}}'")
        others = [
            name
            for project, _space, name in (line.partition(" ") for line in listed.splitlines())
            if project != "billing"
        ]
        if others:
            raise LabError(
                f"containers that are not the project's run on {self.host.name}: stop {', '.join(others)} first"
            )

    def deploy(self, title: str, tls: bool) -> None:
        """Run the main playbook.

        Raises:
            StepFailedError: it failed.
        """
        argv = ["ansible-playbook", "-i", str(self.demo.folder / "inventory"), "playbooks/deploy_compose.yml"]
        if tls:
            signer = self.authority, self.lab.dir / "ca.key"
            names = {self.host.address: "IP"}
            certificate, key = ensure_certificate(self.lab.dir / "bench", signer, "billing", names)
            given = {"nginx_tls_certificate": str(certificate), "nginx_tls_certificate_key": str(key)}
            argv += ["-e", json.dumps(given)]
        connections = str(self.demo.ssh_connections)
        self.demo.run(title, argv, TASKS, ANSIBLE_SSH_CONTROL_PATH_DIR=connections)

    def publish(self) -> str:
        """Move the tag that is followed to an image that no host has seen; return it by digest."""
        self.digest = self.lab.push_variant(_TAG, {"BENCH": uuid.uuid4().hex})
        return f"{_REPOSITORY}@{self.digest}"

    def engine(self, op: str, service: str = "api", **options: Any) -> dict[str, Any]:
        """Let the engine do something that must change the server, and return its outcome.

        Raises:
            OperationFailedError: it failed, or changed nothing.
        """
        end = self.drive.run(op, service, **options)
        if "ok" not in end:
            failure = end.get("failure", {"code": "killed", "message": "killed"})
            raise OperationFailedError(f"{op} {service}: {failure['code']}: {failure['message']}", end)
        outcome: dict[str, Any] = end["ok"]
        if not outcome["changed"]:
            raise OperationFailedError(f"{op} {service} changed nothing", end)
        return outcome

    def roll_out(self) -> dict[str, Any]:
        """Roll out what was published last, and return the outcome.

        Raises:
            OperationFailedError: it failed, or another digest serves.
        """
        outcome = self.engine("apply", image=self.image)
        if outcome["after"]["digest"] != self.digest:
            raise OperationFailedError(f"{outcome['after']['digest']} serves, not {self.digest}", outcome)
        return outcome

    def shell(self, script: str, timeout: float = 180) -> str:
        """Run a script in the project's folder and return its output.

        Raises:
            LabError: a command in it failed, or it took longer than ``timeout`` seconds.
        """
        return self.host.ssh(f"set -eu; cd /opt/billing\n{script}", timeout=timeout).stdout

    def facts(self) -> dict[str, Any]:
        """Return when and on what was measured."""
        inside = 'docker exec "$(docker ps --quiet --filter name=billing-{} | head -n 1)"'
        versions = self.shell(
            "docker version --format '{{.Server.Version}}'\n"
            "docker compose version --short\n"
            f"{inside.format('nginx')} nginx -v 2>&1 | cut -d / -f 2\n"
            f"{inside.format('postgres')} postgres -V | cut -d ' ' -f 3\n"
        ).splitlines()
        names = ("docker", "compose", "nginx", "postgres")
        if len(versions) != len(names):
            raise LabError(f"cannot tell the versions on {self.host.name} from {versions}")
        return {**machine_facts(), **dict(zip(names, versions, strict=True))}


def machine_facts() -> dict[str, Any]:
    """Return when and on what was measured, as far as it is this machine."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "processor": _processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return median, smallest and largest, to the millisecond where these are seconds; None without values."""
    if not values:
        return {"median": None, "min": None, "max": None}
    numbers = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(number, 3) for name, number in numbers.items()}


def write(name: str, report: dict[str, Any]) -> Path:
    """Write build/bench/NAME.json."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    path = OUTPUT / f"{name}.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    return path


def _processor() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.machine()
