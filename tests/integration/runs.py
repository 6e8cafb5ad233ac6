# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Run playbooks as a user does, and know afterwards what every task did."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.ci.suites import environment

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "integration"
# What must never be seen by a person who reads the output of a failed run.
CRASHES = ("Traceback (most recent call last)", "MODULE FAILURE", "Unexpected failure", "unhandled exception")
# Every task then returns the arguments that it was given, which ansible-core before 2.21 always does.
TALKATIVE = {"ANSIBLE_INJECT_INVOCATION": "true"}

Event = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A finished ansible-playbook.

    Attributes:
        returncode: negative where a signal ended it.
        output: all that it printed.
        seconds: wall-clock time.
        events: what plugins/record.py wrote.
    """

    returncode: int
    output: str
    seconds: float
    events: list[Event]

    @property
    def changed(self) -> list[str]:
        """Names of the tasks that reported a change, in order, `role : task`."""
        return [event["task"] for event in self.events if event["event"] == "ok" and event["result"].get("changed")]

    @property
    def tasks(self) -> int:
        """How many tasks ran on hosts, the skipped ones left out."""
        return sum(event["event"] in {"ok", "failed"} for event in self.events)

    @property
    def words(self) -> str:
        """The output without its line breaks: Ansible folds long messages."""
        return " ".join(self.output.split())

    @property
    def hosts(self) -> dict[str, dict[str, int]]:
        """The recap: host -> ok, changed, failures, ..."""
        found: dict[str, dict[str, int]] = {}
        for event in self.events:
            if event["event"] == "stats":
                found = event["hosts"]
        return found

    @property
    def failures(self) -> list[Event]:
        """The tasks that ended the play for a host."""
        return [
            event
            for event in self.events
            if event["event"] == "unreachable" or (event["event"] == "failed" and not event["ignored"])
        ]

    @property
    def failure(self) -> dict[str, Any]:
        """The structured failure of the one task that failed."""
        result: dict[str, Any] = self.the_failure()["result"].get("failure", {})
        return result

    @property
    def message(self) -> str:
        """The one error that a person reads: of the failed task, or of the failed rounds of its loop."""
        items = [event["result"].get("msg", "") for event in self.events if event["event"] == "item_failed"]
        return "\n".join(str(item) for item in items) or str(self.the_failure()["result"].get("msg", ""))

    def the_failure(self) -> Event:
        """Return the only failure; complain with the output about none, more than one, or a crash of our code."""
        assert self.returncode != 0, f"nothing failed:\n{self.output[-3000:]}"
        crashes = [word for word in CRASHES if word in self.output]
        assert not crashes, f"{crashes} in the output:\n{self.output[-6000:]}"
        failures = self.failures
        assert len(failures) == 1, f"{len(failures)} failures:\n{self.output[-4000:]}"
        return failures[0]

    def ok(self) -> Run:
        """Return the run itself where it went well; complain with the end of its output otherwise."""
        assert self.returncode == 0, f"ansible-playbook ended with {self.returncode}:\n{self.output[-6000:]}"
        assert self.hosts, f"it ran on no host:\n{self.output[-3000:]}"
        return self

    def unchanged(self) -> Run:
        """Return the run itself where it went well and changed nothing."""
        self.ok()
        assert self.changed == [], f"changed: {self.changed}\n{self.output[-6000:]}"
        assert all(host["changed"] == 0 for host in self.hosts.values())
        return self


def bin_of(core: str) -> Path:
    """Return the folder with Ansible's commands: of the Python that runs the tests, or of ansible-core 2.19."""
    return ROOT / "build" / "venv-core219" / "bin" if core == "2.19" else Path(sys.executable).parent


def ansible_environment(core: str = "current") -> dict[str, str]:
    """Return a clean environment: this checkout's settings and collection link, nothing else of Ansible's."""
    env = environment("tools")
    path = f"{bin_of(core)}:{env['PATH']}"
    return env | {"PATH": path, "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "plugins")}


class Playbooks:
    """Runs playbooks of the checkout on an inventory."""

    def __init__(self, inventory: Path, variables: Path, limit: str) -> None:
        self.inventory = inventory
        self.variables = variables
        self.limit = limit

    def _command(
        self, name: str, arguments: Sequence[str], variables: Mapping[str, Any], core: str, inventory: Path | None
    ) -> list[str]:
        argv = [str(bin_of(core) / "ansible-playbook"), "-i", str(inventory or self.inventory)]
        argv += ["-e", f"@{self.variables}"]
        for key, value in variables.items():
            argv += ["-e", json.dumps({key: value})]
        if inventory is None and not any(argument.startswith("--limit") for argument in arguments):
            argv += [f"--limit={self.limit}"]
        return [*argv, *arguments, str(ROOT / "playbooks" / name)]

    @contextmanager
    def started(
        self,
        name: str = "deploy_compose.yml",
        *arguments: str,
        variables: Mapping[str, Any] | None = None,
        core: str = "current",
        inventory: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Iterator[Started]:
        """Start a playbook; it is killed where the block ends before it does."""
        BUILD.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILD) as folder:
            events, output = Path(folder) / "events", Path(folder) / "output"
            events.touch()
            recorded = {"INTEGRATION_EVENTS": str(events), "ANSIBLE_CALLBACKS_ENABLED": "record"}
            with output.open("wb") as sink:
                process = subprocess.Popen(
                    self._command(name, arguments, variables or {}, core, inventory),
                    cwd=ROOT,
                    env=ansible_environment(core) | recorded | dict(env or {}),
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            started = Started(process, events, output)
            try:
                yield started
            finally:
                started.kill()

    def run(
        self,
        name: str = "deploy_compose.yml",
        *arguments: str,
        variables: Mapping[str, Any] | None = None,
        core: str = "current",
        inventory: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 600,
    ) -> Run:
        """Run a playbook to its end. `timeout` in seconds."""
        with self.started(name, *arguments, variables=variables, core=core, inventory=inventory, env=env) as started:
            return started.wait(timeout)


class Started:
    """An ansible-playbook that runs."""

    def __init__(self, process: subprocess.Popen[bytes], events: Path, output: Path) -> None:
        self.process = process
        self._events = events
        self._output = output
        self._since = time.monotonic()

    def events(self) -> list[Event]:
        """Return what was recorded until now."""
        lines = self._events.read_text(errors="replace").split("\n")
        return [json.loads(line) for line in lines[:-1]]

    def wait(self, timeout: float) -> Run:
        """Wait for the end and return the whole. `timeout` in seconds."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"still running after {timeout:.0f} s:\n{self._output.read_text(errors='replace')[-4000:]}"
            ) from None
        seconds = round(time.monotonic() - self._since, 1)
        return Run(self.process.returncode, self._output.read_text(errors="replace"), seconds, self.events())

    def wait_for_task(self, words: str, timeout: float = 300) -> None:
        """Wait until a task with these words in its name has begun. `timeout` in seconds."""
        deadline = time.monotonic() + timeout
        while not any(event["event"] == "start" and words in event["task"] for event in self.events()):
            assert self.process.poll() is None, f"it ended before {words!r}:\n{self._output.read_text()[-4000:]}"
            assert time.monotonic() < deadline, f"no task {words!r} after {timeout:.0f} s"
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill it and its workers at once, as the machine under it would by losing power."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
