# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""The plugin over states that a real Terraform or OpenTofu wrote. Resources are built in: no provider is needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from plugins.plugin_utils._terraform_command import Command
from plugins.plugin_utils._terraform_project import look_at
from plugins.plugin_utils._terraform_reading import Reading, Request, reading_of
from plugins.plugin_utils._terraform_resources import parse_selectors
from plugins.plugin_utils._terraform_state import StateMissingError, read_state

BINARY = shutil.which("terraform") or shutil.which("tofu")

pytestmark = pytest.mark.skipif(BINARY is None, reason="neither terraform nor tofu is on PATH")

ROOT = """
variable "generation" { default = 1 }
variable "broken" { default = false }

resource "terraform_data" "api" {
  for_each         = toset(["api1", "api2"])
  triggers_replace = var.generation

  provisioner "local-exec" {
    command = var.broken && each.key == "api2" ? "exit 1" : "exit 0"
  }
}

output "ansible_inventory" {
  value = {
    version = 1
    project = { name = "billing", environment = null, provider = null, region = null }
    groups  = {}
    hosts = { for name, server in terraform_data.api : name => {
      resource_id = server.id
      connection  = { type = "local", address = null, port = null, user = null, host_keys = [], options = {} }
      addresses   = {}
      placement   = {}
      volumes     = {}
      groups      = []
      vars        = {}
    } }
  }
}
"""


class Project:
    """A root module in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
        self.env = {**kept, "TF_CLI_CONFIG_FILE": os.devnull, "TF_IN_AUTOMATION": "1", "TF_INPUT": "0"}
        (folder / "main.tf").write_text(ROOT, encoding="utf-8")

    def run(self, *arguments: str, ok: int = 0) -> None:
        argv = [str(BINARY), *arguments]
        done = subprocess.run(
            argv, cwd=self.folder, env=self.env, text=True, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == ok, done.stdout + done.stderr

    def file(self, workspace: str | None = None) -> Reading:
        state = look_at(self.folder, workspace, {}).state
        assert state is not None
        return reading_of(read_state(state), Request("ansible_inventory"))

    def pulled(self, workspace: str | None = None) -> Reading:
        command = Command(str(BINARY), self.folder, 60, self.env, workspace)
        return reading_of(command.pull_state(), Request("ansible_inventory"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.run("init")
    return made


def same(first: Reading, second: Reading) -> dict[str, Any]:
    assert first["contract"] == second["contract"]
    assert first["dead"] == second["dead"]
    return {"hosts": sorted(first["contract"]["hosts"]), "dead": sorted(first["dead"])}


def test_file_and_command_tell_the_same(project: Project) -> None:
    with pytest.raises(StateMissingError):
        project.file()
    with pytest.raises(StateMissingError):
        project.pulled()
    project.run("apply", "-auto-approve")
    assert same(project.file(), project.pulled()) == {"hosts": ["api1", "api2"], "dead": []}
    project.run("destroy", "-auto-approve")
    with pytest.raises(StateMissingError):
        project.pulled()


def test_apply_that_fails_half_way_makes_its_outputs_stale(project: Project) -> None:
    project.run("apply", "-auto-approve")
    project.run("apply", "-auto-approve", "-var=generation=2", "-var=broken=true", ok=1)
    found = same(project.file(), project.pulled())
    assert "api2" in found["dead"]  # the outputs name what was destroyed before its successor failed
    project.run("apply", "-auto-approve", "-var=generation=2")
    assert same(project.file(), project.pulled())["dead"] == []


def test_tainted_host_is_stale(project: Project) -> None:
    project.run("apply", "-auto-approve")
    project.run("taint", 'terraform_data.api["api1"]')
    assert same(project.file(), project.pulled())["dead"] == ["api1"]


def test_workspaces_and_a_local_backend_are_found_where_terraform_keeps_them(project: Project) -> None:
    backend = 'terraform {\n  backend "local" {\n    path = "kept/here.tfstate"\n    workspace_dir = "spaces"\n  }\n}\n'
    (project.folder / "backend.tf").write_text(backend, encoding="utf-8")
    assert look_at(project.folder, None, {}).state is None
    project.run("init")
    project.run("apply", "-auto-approve")
    assert look_at(project.folder, None, {}).state == project.folder / "kept" / "here.tfstate"
    assert same(project.file(), project.pulled())["dead"] == []
    project.run("workspace", "new", "prod")
    project.run("apply", "-auto-approve")
    assert look_at(project.folder, None, {}).workspace == "prod"
    assert same(project.file(), project.pulled("prod"))["dead"] == []
    assert project.file()["contract"] != project.file("default")["contract"]


def test_workspace_that_does_not_exist_is_not_made(project: Project) -> None:
    project.run("apply", "-auto-approve")
    with pytest.raises(StateMissingError, match="no workspace 'prdo'"):
        project.pulled("prdo")
    assert not (project.folder / "terraform.tfstate.d").exists()


def test_resources_of_a_real_state_are_hosts(project: Project) -> None:
    project.run("apply", "-auto-approve")
    request = Request("", parse_selectors([{"type": "terraform_data"}]))
    found = reading_of(read_state(project.folder / "terraform.tfstate"), request)
    assert sorted(found["contract"]["hosts"]) == ['terraform_data.api["api1"]', 'terraform_data.api["api2"]']
    assert json.dumps(found)
