# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""One deployed lab host to break things on, and what must hold there whatever was broken."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any, NamedTuple

from tests.integration.client import Client
from tests.integration.remote import Remote, hold_lab
from tests.integration.runs import ROOT, Playbooks
from tests.lab import Host, Lab
from tests.lab.drive import Drive
from tests.lab.registry import Registry

NAME = os.environ.get("FAULTS_LAB", "faults")
KEEP = bool(os.environ.get("FAULTS_KEEP"))
HOST = "billing-api1"
FIRST = "stable"  # Tag of what is deployed in the beginning.
# Short, so that a rollout takes seconds; a test that needs another value says so.
QUICK: Mapping[str, Any] = {"soak": 2.0, "timeout": 60.0}
_API = "api-"


class Begun(NamedTuple):
    """An action that an engine on the host has begun, and when we heard of it (monotonic seconds)."""

    name: str
    at: float


class Running:
    """An engine that runs on the host while the test goes on."""

    def __init__(self, host: Host, command: str) -> None:
        self.actions: list[Begun] = []
        self.end: dict[str, Any] = {}
        self._process = Popen([*host.ssh_command(), command], stdin=DEVNULL, stdout=PIPE, stderr=PIPE, text=True)
        self._said: list[str] = []
        self._threads = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_errors)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                found = json.loads(line)
                if "action" in found:
                    self.actions.append(Begun(found["action"], time.monotonic()))
                else:
                    self.end = found

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._said.extend(self._process.stderr)

    def wait_for(self, action: str, timeout: float = 120) -> None:
        """Wait until an action of this name (or a wait for this) has begun. `timeout` in seconds."""
        deadline = time.monotonic() + timeout
        while not any(action in begun.name.split() for begun in self.actions):
            names = [begun.name for begun in self.actions]
            assert self._process.poll() is None, f"it ended before {action!r}: {names} {self.end} {self._said[-5:]}"
            assert time.monotonic() < deadline, f"no {action!r} after {timeout:.0f} s: {names}"
            time.sleep(0.005)

    def cut(self) -> None:
        """Forget about it: the host is gone."""
        self._process.kill()
        self._process.wait()

    def wait(self, timeout: float = 300) -> dict[str, Any]:
        """Wait for its end and return it as `Drive.run` does. `timeout` in seconds."""
        try:
            self._process.wait(timeout)
        finally:
            self._process.kill()
        for thread in self._threads:
            thread.join(10)
        return {**(self.end or {"killed": True}), "actions": [begun.name for begun in self.actions]}


class Site:
    """A lab with one host, deployed by the playbook.

    Args:
        name: of the lab.
        variables: more of them for the playbook.
    """

    def __init__(self, name: str = NAME, variables: Mapping[str, Any] | None = None) -> None:
        self.lab = Lab(name)
        self.build = ROOT / "build" / name
        self.variables = {"rollout_agent_state": "absent", **(variables or {})}
        self._pushed: dict[str, str] = {}
        self.good = ""
        self.baseline: dict[str, list[str]] = {}

    # -- up and down

    def up(self) -> None:
        """Start the lab and deploy, with short drains and soaks."""
        self._lock = hold_lab(self.lab.name)
        if not KEEP:
            self.lab.down()
        self.lab.up({HOST: None})
        self.lab.add_host(HOST)
        self.good = self.push(FIRST)
        variables = {
            "api_image": self.good,
            "api_soak": QUICK["soak"],
            "api_stop_grace_period": "5s",
            "api_env": {"BILLING_SHUTDOWN_GRACE_SECONDS": "3", "BILLING_SCHEMA_ALLOW_NEWER": "1"},
            "firewall_ssh_rate": "6000/minute",
            "__nginx_keepalive_min_timeout": 2,
            **self.variables,
        }
        self.build.mkdir(parents=True, exist_ok=True)
        (self.build / "variables.json").write_text(json.dumps(variables))
        self._write_inventory()
        self.playbooks.run("deploy_compose.yml").ok()
        self.succeed(self.good, force=True)
        self.baseline = self.leftovers()

    def down(self) -> None:
        """Remove it all."""
        self.lab.down()

    def _write_inventory(self) -> None:
        """Name the host without Terraform: how a host is found is tested elsewhere."""
        hosts = {HOST: self.host.inventory_variables()}
        self.inventory.mkdir(exist_ok=True)
        (self.inventory / "hosts.yml").write_text(json.dumps({"billing": {"hosts": hosts}}))
        link = self.inventory / "group_vars"
        link.unlink(missing_ok=True)
        link.symlink_to("../inventory/group_vars")

    @property
    def inventory(self) -> Path:
        """Folder of the inventory."""
        return self.lab.dir / "inventory-of-faults"

    @property
    def playbooks(self) -> Playbooks:
        """Playbooks on this host."""
        return Playbooks(self.inventory, self.build / "variables.json", HOST)

    @cached_property
    def host(self) -> Host:
        """The host."""
        return self.lab.host(HOST)

    @cached_property
    def remote(self) -> Remote:
        """Commands on the host."""
        return Remote(self.host)

    @cached_property
    def client(self) -> Client:
        """A client of the service."""
        return Client(self.host.address)

    @cached_property
    def drive(self) -> Drive:
        """The engine of the work tree on the host."""
        return Drive(self.host)

    # -- images and rollouts

    def push(self, tag: str = "", **environment: str) -> str:
        """Publish an image that no host has seen before, with more environment; return its reference by tag.

        Without a tag it gets one of its own; one that is given moves.
        """
        mark = uuid.uuid4().hex[:12]
        self._pushed[tag or mark] = self.lab.push_variant(tag or mark, {"FAULTS_MARK": mark, **environment})
        return Registry.reference(f"billing-api:{tag or mark}")

    def digest(self, image: str) -> str:
        """Return the digest of an image that was pushed, or that is pinned."""
        return image.rpartition("@")[2] if "@" in image else self._pushed[image.rpartition(":")[2]]

    def apply(self, image: str, **options: Any) -> dict[str, Any]:
        """Run a rollout to its end; `kill` as in Drive, `force`, and fields of the intent under `intent`."""
        intent = {**QUICK, **options.pop("intent", {})}
        return self.drive.run("apply", image=image, **options, intent=intent)

    def succeed(self, image: str, **options: Any) -> dict[str, Any]:
        """Run a rollout that must go well."""
        done = self.apply(image, **options)
        assert "ok" in done, done
        return done

    def restore(self) -> None:
        """Have one live release and nothing else, whatever the test before has left."""
        if self.state()["rollout"] or self.leftovers() != self.baseline or not self.answers():
            self.succeed(self.good, force=True)

    def start(self, image: str, before: Mapping[str, str] | None = None, **options: Any) -> Running:
        """Start a rollout and go on; `before` are more environment variables."""
        intent = {**QUICK, **options.pop("intent", {})}
        words = "".join(f"{name}={value} " for name, value in (before or {}).items())
        return Running(self.host, words + self.drive.command("apply", image=image, **options, intent=intent))

    def tool(self, package: str) -> None:
        """Have a Debian package on the host that only the tests need."""
        if self.remote.run("dpkg", "-s", package, check=False).returncode != 0:
            self.remote.sh(f"apt-get update -q && apt-get install -y -q --no-install-recommends {package}", timeout=300)

    # -- what is there

    def state(self, service: str = "api") -> dict[str, Any]:
        """Return what the engine has recorded."""
        found: dict[str, Any] = json.loads(self.remote.sh(f"cat /opt/billing/state/{service}.json"))
        return found

    def live_image(self) -> str:
        """Return the pinned reference of the live release of the API."""
        record = self.state()
        return str(record["slots"][record["live"]]["image"])

    def leftovers(self) -> dict[str, list[str]]:
        """Return what must be the same after every fault: all containers, networks and Docker's network interfaces."""
        names = self.remote.sh("docker ps -a --format '{{.Names}}'").split()
        slots = sorted(name.replace("blue", "SLOT").replace("green", "SLOT") for name in names)
        networks = sorted(self.remote.sh("docker network ls --format '{{.Name}}'").split())
        links = self.remote.sh("ls /sys/class/net").split()
        return {"containers": slots, "networks": networks, "veth": ["veth"] * sum("veth" in link for link in links)}

    def answers(self) -> bool:
        """Whether the service answers, with its database, right now."""
        try:
            return self.client.get("/health/db").status == 200
        except OSError:
            return False

    def wait_answers(self, timeout: float) -> None:
        """Wait until the service answers. `timeout` in seconds."""
        wait_until(self.answers, timeout, "the service does not answer")

    def one_release(self, digest: str) -> None:
        """Prove that this digest is live in exactly one slot, everywhere where that can be seen."""
        record = self.state()
        assert record["rollout"] is None, record["rollout"]
        live = record["live"]
        assert list(record["slots"]) == [live], record["slots"]
        assert record["slots"][live]["image"].endswith(f"@{digest}"), (record["slots"], digest)
        containers = {name: item for name, item in self.remote.containers().items() if name.startswith(_API)}
        assert sorted(containers) == [f"api-{live}-1"], sorted(containers)
        (container,) = containers.values()
        assert container["State"]["Running"], container["State"]
        assert container["Config"]["Image"].endswith(f"@{digest}"), container["Config"]["Image"]
        upstream = self.remote.sh("cat /opt/billing/nginx/upstreams/api.conf")
        addresses = record["slots"][live]["addresses"]
        other = "green" if live == "blue" else "blue"
        assert all(address in upstream for address in addresses[live]), upstream
        assert not any(address in upstream for address in addresses[other]), upstream
        assert self.remote.run("flock", "-n", "/run/billing/lock", "true", check=False).returncode == 0, "a stale lock"


def sure_of(action: str) -> dict[str, Any]:
    """Return fields of the intent with which an action is sure to come: a soak has to be longer than the drain."""
    return {"soak": 10.0} if action == "soak" else {}


def wait_until(holds: Callable[[], bool], timeout: float, otherwise: str) -> None:
    """Wait until something holds; complain with these words after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"{otherwise} after {timeout:.0f} s"
        time.sleep(0.1)
