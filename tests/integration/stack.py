# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What all tests share: a lab with two Terraform-made servers, the playbooks, the secrets, the measurements."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import urllib.parse
from pathlib import Path
from typing import Any

from tests.integration.client import Client
from tests.integration.remote import Remote, hold_lab
from tests.integration.runs import BUILD, ROOT, Playbooks, ansible_environment
from tests.lab import Lab
from tests.terraform_cli import TerraformMissingError, find_terraform

NAME = os.environ.get("INTEGRATION_LAB", "integration")
KEEP = bool(os.environ.get("INTEGRATION_KEEP"))
# The second one is left bare: first it attacks the first, then it is deployed to and interrupted.
SERVER, OTHER = "billing-api1", "billing-api2"
# The tag that the server follows; a variant of the lab's image, so that tests can move it.
TAG = "stable"
# postgres, one slot of the API, one of Nginx
CONTAINERS = 3


def image(tag: str) -> str:
    """Return the reference of a tag of the API's image, as hosts write it."""
    return f"registry.lab:5000/billing-api:{tag}"


class Measurements:
    """Seconds and counts, for the reader: no test depends on them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, Any] = {}

    def __call__(self, name: str, value: Any) -> None:
        """Keep and print one value."""
        self._values[name] = round(value, 1) if isinstance(value, float) else value
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._values, indent=2) + "\n")
        print(f"measured: {name} = {self._values[name]}")


class Stack:
    """The lab and everything in it."""

    def __init__(self) -> None:
        self.lab = Lab(NAME)
        self.measure = Measurements(BUILD / "measurements.json")
        self.terraform_problem = ""
        self.planted: dict[str, str] = {}
        # Seen while the first run went on: machine -> command lines
        self.command_lines: dict[str, set[str]] = {}

    # -- up and down

    def up(self) -> None:
        """Start the lab, and let Terraform make the servers."""
        self._lock = hold_lab(NAME)
        if not KEEP:
            self.down()
        self.lab.up({SERVER: None, OTHER: None})
        self.lab.push_variant(TAG, {})
        self._apply()
        self.planted = self._plant()
        BUILD.mkdir(parents=True, exist_ok=True)
        variables = {
            "api_image": image(TAG),
            "api_secrets": {"payment_key": self.planted["payment_key"]},
            "postgres_app_password": self.planted["postgres_app_password"],
            # These tests push images and say themselves when they are rolled out.
            "rollout_agent_services": {},
        }
        self._write(BUILD / "variables.json", variables)
        self.playbooks = Playbooks(self.inventory, BUILD / "variables.json", SERVER)
        self.server = Remote(self.lab.host(SERVER))
        self.other = Remote(self.lab.host(OTHER))
        self.client = Client(self.server.address)

    def down(self) -> None:
        """Remove the lab with its servers and their data."""
        self.lab.down()

    @property
    def inventory(self) -> Path:
        """The inventory: read from Terraform's state by the collection's plugin."""
        return self.lab.dir / ("inventory-without-terraform" if self.terraform_problem else "inventory")

    def terraform(self, command: str, *arguments: str) -> None:
        """Run terraform in the root module of the lab, with a state of this lab."""
        program = str(find_terraform(print))
        done = subprocess.run(
            [program, f"-chdir={ROOT / 'terraform' / 'lab'}", command, "-input=false", "-no-color", *arguments],
            env=ansible_environment() | {"TF_DATA_DIR": str(self.lab.dir / "terraform")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"terraform {command}:\n{done.stdout}\n{done.stderr}"

    def _apply(self) -> None:
        try:
            self.terraform("init", "-reconfigure", f"-backend-config=path={self.lab.dir / 'terraform.tfstate'}")
        except TerraformMissingError as error:
            self.terraform_problem = str(error)
            self._add_hosts()
        else:
            self.terraform("apply", "-auto-approve", f"-var-file={self.lab.dir / 'terraform.tfvars.json'}")

    def _add_hosts(self) -> None:
        """Without Terraform: the same hosts by hand, in a plain inventory."""
        hosts = {name: self.lab.add_host(name).inventory_variables() for name in (SERVER, OTHER)}
        self.inventory.mkdir(exist_ok=True)
        (self.inventory / "hosts.yml").write_text(json.dumps({"billing": {"hosts": hosts}}))
        (self.inventory / "group_vars").symlink_to("../inventory/group_vars")

    # -- secrets

    def _plant(self) -> dict[str, str]:
        """Return known secrets, the same as last time in a lab that was kept; some with what URLs must escape."""
        path = self.lab.dir / "planted.json"
        if not path.exists():
            mark = secrets.token_hex(8)
            made = {"postgres_app_password": f"planted/{mark}:@ %", "payment_key": f"planted-key-{mark}"}
            self._write(path, made)
        planted: dict[str, str] = json.loads(path.read_text())
        return {**planted, "registry_password": self.lab.registry.password}

    def secrets(self) -> dict[str, str]:
        """Return every secret of the deployment in every spelling: planted, generated on the server, encoded."""
        found = dict(self.planted)
        for path in self.server.sh("ls /srv/billing/secrets/* /opt/billing/secrets/*").split():
            found[path] = self.server.sh(f"cat {path}").strip()
        registry = base64.b64encode(f"lab:{self.planted['registry_password']}".encode()).decode()
        quoted = {f"{name}, quoted": urllib.parse.quote(value, safe="") for name, value in found.items()}
        return found | quoted | {"registry credentials": registry}

    @staticmethod
    def _write(path: Path, content: dict[str, Any]) -> None:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(content, file)

    # -- what runs

    def digest_running(self) -> str:
        """Return the digest that the live API container runs."""
        digests = {
            str(item["Config"]["Image"]).rpartition("@")[2]
            for service, item in self.server.running().items()
            if service.startswith("api-")
        }
        assert len(digests) == 1, digests
        return digests.pop()
