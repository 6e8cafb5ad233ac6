# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The main job on lab parts: Terraform makes a server, one playbook makes it serve, a client writes an invoice.

`up` may be run again at any time; `down` removes all that it made. Both end with 0 or with the last lines of the step
that failed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections import deque
from pathlib import Path
from typing import Any

from tests.ci.suites import environment
from tests.terraform_cli import TerraformMissingError, find_terraform

ROOT = Path(__file__).resolve().parents[1]
TERRAFORM_ROOT = ROOT / "terraform" / "lab"
# What is worth a line on the console while a step runs; everything goes to the log.
ALL = re.compile(r".")
TASKS = re.compile(r"^TASK \[(.*)\]")
TERRAFORM = re.compile(r"^\S+: (?:Creation|Destruction|Modifications) complete|^(?:Apply|Destroy) complete")


class StepFailedError(Exception):
    """A step ended badly; the message holds its last lines."""


class Demo:
    """One demo: the lab it lives in, and the clock that its progress is told by."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = ROOT / "build" / "lab" / name
        self.state = self.folder / "terraform.tfstate"
        self.variables = self.folder / "terraform.tfvars.json"
        self.started = time.monotonic()
        self.log = ROOT / "build" / "logs" / f"{name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text("")

    def say(self, message: str) -> None:
        """Print a line with the seconds since the start."""
        print(f"[{time.monotonic() - self.started:5.0f} s] {message}", flush=True)

    def run(self, title: str, argv: list[str], show: re.Pattern[str] = ALL, **env: str) -> str:
        """Run one step and return its output; lines that match `show` are printed while they come."""
        self.say(title)
        lines: list[str] = []
        tail: deque[str] = deque(maxlen=40)
        process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env=environment("tools") | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        with self.log.open("a") as log:
            log.write(f"\n$ {' '.join(argv)}\n")
            for line in process.stdout:
                log.write(line)
                lines.append(line)
                tail.append(line)
                if found := show.search(line):
                    self.say(f"    {found[1] if found.groups() else line.rstrip()}")
        if process.wait() != 0:
            raise StepFailedError(f"{title}: `{' '.join(argv)}` ended with {process.returncode}\n{''.join(tail)}")
        return "".join(lines)

    @property
    def ssh_connections(self) -> Path:
        """Where the shared SSH connections of this demo have their sockets (a short path: sockets want that)."""
        return Path.home() / ".ansible" / f"cp-billing-{self.name}"

    def close_ssh_connections(self) -> None:
        """End the SSH processes that Ansible leaves behind for its next run."""
        for socket in self.ssh_connections.glob("*"):
            subprocess.run(["ssh", "-O", "exit", "-S", str(socket), "demo"], capture_output=True, check=False)
        shutil.rmtree(self.ssh_connections, ignore_errors=True)

    def lab(self, title: str, *arguments: str) -> str:
        """Call the lab's command line."""
        return self.run(title, [sys.executable, "-m", "tests.lab", "--name", self.name, *arguments])

    def terraform(self, title: str, command: str, *arguments: str) -> None:
        """Run one terraform command on the lab's root module, with this demo's own state."""
        argv = [str(find_terraform(self.say)), f"-chdir={TERRAFORM_ROOT}", command, "-input=false", "-no-color"]
        self.run(title, [*argv, *arguments], TERRAFORM, TF_DATA_DIR=str(self.folder / "terraform"))

    def terraform_init(self) -> None:
        """Initialise the root module for this demo's state."""
        self.terraform("terraform init", "init", "-reconfigure", f"-backend-config=path={self.state}")

    def playbook(self, title: str, name: str, show: re.Pattern[str] = TASKS) -> str:
        """Run a playbook on the hosts that the inventory finds."""
        argv = ["ansible-playbook", "-i", str(self.folder / "inventory"), f"playbooks/{name}"]
        return self.run(title, argv, show, ANSIBLE_SSH_CONTROL_PATH_DIR=str(self.ssh_connections))

    def address(self) -> str:
        """Return the address of the first host."""
        hosts = json.loads(self.variables.read_text())["hosts"]
        return str(hosts[min(hosts)]["address"])


def call(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Send one request (POST with a body) and return the JSON answer. Timeout: 10 seconds."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())} if body else {}
    data = json.dumps(body).encode() if body else None
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10) as answer:  # noqa: S310
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        raise StepFailedError(f"{url} answered {error.code}: {error.read(500).decode(errors='replace')}") from error
    except OSError as error:
        raise StepFailedError(f"{url} did not answer: {error}") from error


def prove(base: str) -> str:
    """Write an invoice through Nginx, read it back, and return it in one line."""
    mark = uuid.uuid4().hex[:8]
    customer = call(f"{base}/customers", {"name": "Ada Lovelace", "email": f"ada-{mark}@example.com"})
    wanted = {"customer_id": customer["id"], "reference": f"DEMO-{mark}", "amount_minor": 1299, "currency": "EUR"}
    created = call(f"{base}/invoices", wanted)
    read = call(f"{base}/invoices/{created['id']}")
    if read != created or any(read[key] != value for key, value in wanted.items()):
        raise StepFailedError(f"the invoice read back is another one: sent {wanted}, created {created}, read {read}")
    return f"invoice {read['id']} {read['reference']}: {read['amount_minor'] / 100:.2f} {read['currency']}"


def unchanged(output: str) -> str:
    """Return the recap of a run that changed nothing; fail on any other."""
    recap = re.findall(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", output, re.MULTILINE)
    if not recap or any(int(number) for host in recap for number in host[2:]):
        raise StepFailedError(f"the second run was not a no-op:\n{output[-3000:]}")
    return ", ".join(f"{host}: ok={ok} changed={changed}" for host, ok, changed, *_others in recap)


def up(demo: Demo) -> None:
    """Bring everything up and prove it."""
    demo.lab("lab: network, registry, images", "up")
    demo.terraform_init()
    demo.terraform("terraform apply", "apply", "-auto-approve", f"-var-file={demo.variables}")
    demo.playbook("ansible-playbook playbooks/deploy_compose.yml", "deploy_compose.yml")
    base = f"http://{demo.address()}"
    demo.say("a client writes an invoice through Nginx and reads it back")
    demo.say(f"    {prove(base)}")
    status = re.compile(r"^\s+(?:-\s+)?(\S.*)$")
    demo.playbook("ansible-playbook playbooks/status.yml", "status.yml", status)
    started = time.monotonic()
    recap = unchanged(demo.playbook("the second run of deploy_compose.yml", "deploy_compose.yml", re.compile("(?!)")))
    demo.say(f"    {recap} in {time.monotonic() - started:.1f} s")
    demo.say("done")
    relative = demo.folder.relative_to(ROOT)
    print(f"""
  The service    {base}/  (try {base}/health/db, {base}/version, {base}/invoices)
  The server     python3 -m tests.lab --name {demo.name} ssh {min(json.loads(demo.variables.read_text())["hosts"])}
  The inventory  .venv/bin/ansible-inventory -i {relative}/inventory --graph
  The log        {demo.log.relative_to(ROOT)}
  Remove it all  make demo-down
""")


def down(demo: Demo) -> None:
    """Destroy the servers, then the lab around them."""
    if demo.state.exists():
        demo.terraform_init()
        demo.terraform("terraform destroy", "destroy", "-auto-approve", f"-var-file={demo.variables}")
    demo.lab("lab down", "down")
    shutil.rmtree(demo.folder, ignore_errors=True)
    demo.say("done")


def main() -> int:
    """Bring the demo up, or take it down."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument("--name", default="demo", help="name of the lab (default: demo)")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    demo = Demo(arguments.name)
    try:
        (up if arguments.action == "up" else down)(demo)
    except (StepFailedError, TerraformMissingError) as error:
        demo.say(f"FAILED: {error}")
        return 1
    finally:
        demo.close_ssh_connections()
    return 0


if __name__ == "__main__":
    sys.exit(main())
