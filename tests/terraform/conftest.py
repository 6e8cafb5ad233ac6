# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""Terraform (or OpenTofu) with settings of its own, that cannot download a provider unless a test asks for one."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TERRAFORM = REPOSITORY / "terraform"


@dataclass(frozen=True)
class Terraform:
    """One root module with a data directory, and perhaps a state, of its own.

    installation: where providers come from. By default a mirror that holds none: a root that wants one fails.
    """

    binary: str
    root: Path
    folder: Path
    state: str = "terraform.tfstate"
    installation: str = 'filesystem_mirror {\n    path = "/var/empty"\n  }'
    environment: dict[str, str] = field(default_factory=dict)

    def run(
        self, *arguments: str, ok: tuple[int, ...] = (0,), timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
        env = {
            **kept,
            "TF_CLI_CONFIG_FILE": str(self.folder / "cli.tfrc"),
            "TF_DATA_DIR": str(self.folder / "data"),
            "TF_IN_AUTOMATION": "1",
            "TF_INPUT": "0",
            "NO_COLOR": "1",
            **self.environment,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        config = f"provider_installation {{\n  {self.installation}\n}}\n"
        (self.folder / "cli.tfrc").write_text(config, encoding="utf-8")
        command = [self.binary, f"-chdir={self.root}", arguments[0], "-no-color", *arguments[1:]]
        done = subprocess.run(command, env=env, text=True, capture_output=True, check=False, timeout=timeout)
        assert done.returncode in ok, done.stdout + done.stderr
        return done

    def init(self) -> None:
        self.run("init", "-input=false", f"-backend-config=path={self.folder / self.state}")


@dataclass(frozen=True)
class LabRoot:
    """terraform/lab with a state of its own and a stand-in for the lab, which writes down how it was called."""

    terraform: Terraform

    @property
    def folder(self) -> Path:
        return self.terraform.folder

    def variables(self, **changed: Any) -> dict[str, Any]:
        hosts = {
            name: {"address": f"10.9.8.{number}", "host_keys": ["ssh-ed25519 AAAA"]}
            for number, name in enumerate(["api1", "api2"], start=11)
        }
        return {
            "lab_name": "fake",
            "hosts": hosts,
            "ssh_private_key_file": "ssh/id_ed25519",
            "known_hosts_file": "ssh/known_hosts",
            "lab_command": [str(self.folder / "lab")],
            **changed,
        }

    def apply(self, command: str = "apply", **changed: Any) -> list[str]:
        """Apply or destroy; return how the lab was called meanwhile."""
        self._write(changed)
        (self.folder / "calls").unlink(missing_ok=True)
        self.terraform.run(command, "-auto-approve", f"-var-file={self.folder}/terraform.tfvars.json")
        calls = self.folder / "calls"
        return calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []

    def changes_planned(self, **changed: Any) -> bool:
        self._write(changed)
        arguments = ["-detailed-exitcode", f"-var-file={self.folder}/terraform.tfvars.json"]
        return self.terraform.run("plan", *arguments, ok=(0, 2)).returncode == 2

    def _write(self, changed: dict[str, Any]) -> None:
        path = self.folder / "terraform.tfvars.json"
        path.write_text(json.dumps(self.variables(**changed)), encoding="utf-8")


@pytest.fixture(scope="session")
def terraform_binary() -> str:
    binary = shutil.which("terraform") or shutil.which("tofu")
    if binary is None:
        pytest.skip("neither terraform nor tofu is on PATH")
    return binary


@pytest.fixture(scope="session")
def aws_provider(terraform_binary: str) -> str:
    """Return where hashicorp/aws comes from: a mirror on this machine, or the public registry."""
    told = subprocess.run([terraform_binary, "version", "-json"], capture_output=True, text=True, check=False).stdout
    found = re.search(r'"terraform_version": "(\d+)\.(\d+)', told)
    if found is None or (int(found[1]), int(found[2])) < (1, 11):
        pytest.skip("terraform/aws needs Terraform 1.11: it has write-only arguments")
    places = [Path("/usr/local/share/terraform/plugins"), Path("/usr/share/terraform/plugins"), *Path("/opt").glob("*")]
    for place in places:
        if any((place / "registry.terraform.io" / "hashicorp" / "aws").glob("*")):
            return f'filesystem_mirror {{\n    path = "{place}"\n  }}'
    try:
        socket.create_connection(("registry.terraform.io", 443), timeout=5).close()
    except OSError as error:
        pytest.skip(f"no mirror holds hashicorp/aws, and registry.terraform.io cannot be reached: {error}")
    return "direct {}"


@pytest.fixture
def lab_root(terraform_binary: str, tmp_path: Path) -> LabRoot:
    return new_lab_root(terraform_binary, tmp_path / "lab")


def new_lab_root(binary: str, folder: Path) -> LabRoot:
    terraform = Terraform(binary, TERRAFORM / "lab", folder)
    terraform.init()
    fake = folder / "lab"
    fake.write_text('#!/bin/sh\necho "$PWD: $*" >> "${0%/*}/calls"\n', encoding="utf-8")
    fake.chmod(0o755)
    return LabRoot(terraform)


def inventory(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ansible-inventory over the state in `folder`."""
    link = folder / "collections" / "ansible_collections" / "billing" / "infrastructure"
    if not link.exists():
        link.parent.mkdir(parents=True)
        link.symlink_to(REPOSITORY)
    config = {"plugin": "billing.infrastructure.terraform_outputs", "state_file": "terraform.tfstate"}
    (folder / "terraform_outputs.yml").write_text(json.dumps(config), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    env = {
        **kept,
        "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_INVENTORY_ENABLED": "auto",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
    }
    program = str(Path(sys.executable).with_name("ansible-inventory"))
    command = [program, "-i", str(folder / "terraform_outputs.yml"), *arguments]
    return subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True, check=False)
