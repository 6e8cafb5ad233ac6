# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""The plugin through `ansible-inventory` of the ansible-core that runs these tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from plugins.inventory.terraform_outputs import InventoryModule

from ..plugin_utils.terraform_samples import contract, host, state

REPOSITORY = Path(__file__).resolve().parents[4]


def plain(value: dict[str, Any]) -> Any:
    """ansible-inventory marks untrusted text; take the text."""
    return value["__ansible_unsafe"] if set(value) == {"__ansible_unsafe"} else value


def squeezed(text: str) -> str:
    """Ansible before 2.19 breaks messages into lines, also within words: compare without white space."""
    return "".join(text.split())


@dataclass
class Inventory:
    """A folder with a state and a configuration of the plugin beside it."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def configure(self, **options: Any) -> None:
        config = {"plugin": "billing.infrastructure.terraform_outputs", "state_file": "terraform.tfstate", **options}
        text = json.dumps({name: value for name, value in config.items() if value is not None})
        (self.folder / "terraform_outputs.yml").write_text(text, encoding="utf-8")

    def write_state(self, content: object) -> None:
        (self.folder / "terraform.tfstate").write_text(json.dumps(content), encoding="utf-8")

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name(program)), "-i", "terraform_outputs.yml", *arguments]
        return subprocess.run(command, cwd=self.folder, env=self.env, text=True, capture_output=True, check=False)

    def list(self) -> dict[str, Any]:
        done = self.run("ansible-inventory", "--list")
        assert done.returncode == 0, done.stderr
        assert "Failed to parse" not in done.stderr
        listed: dict[str, Any] = json.loads(done.stdout, object_hook=plain)
        return listed

    def error(self) -> str:
        done = self.run("ansible-inventory", "--list")
        assert done.returncode != 0
        return squeezed(done.stderr)


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    collections = tmp_path / "collections"
    link = collections / "ansible_collections" / "billing" / "infrastructure"
    link.parent.mkdir(parents=True)
    link.symlink_to(REPOSITORY)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "TF_"))}
    made = Inventory(
        tmp_path,
        {
            **kept,
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "ANSIBLE_HOME": str(tmp_path / "home"),
            "ANSIBLE_INVENTORY_ENABLED": "auto",
            "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        },
    )
    made.configure()
    made.write_state(state())
    return made


def asked(inventory: Inventory, answer: object) -> None:
    """Have a project whose terraform, a stand-in that counts its calls, gives `answer`."""
    (inventory.folder / "project").mkdir(exist_ok=True)
    (inventory.folder / "answer.json").write_text(json.dumps({"ansible_inventory": answer}), encoding="utf-8")
    binary = inventory.folder / "terraform"
    binary.write_text("#!/bin/sh\necho called >> ../calls\nexec cat ../answer.json\n", encoding="utf-8")
    binary.chmod(0o755)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("terraform_outputs.yml", True),
        ("staging.terraform_outputs.yaml", True),
        ("hosts.yml", False),
        ("terraform_outputs.json", False),
    ],
)
def test_configuration_is_known_by_its_name(tmp_path: Path, name: str, ours: bool) -> None:
    (tmp_path / name).write_text("plugin: x\n", encoding="utf-8")
    assert InventoryModule().verify_file(str(tmp_path / name)) is ours


def test_missing_configuration_is_not_ours(tmp_path: Path) -> None:
    assert InventoryModule().verify_file(str(tmp_path / "terraform_outputs.yml")) is False


def test_hosts_groups_and_variables_arrive(inventory: Inventory) -> None:
    value = contract(api1=host(options={"private_key_file": "id"}), api2=host(type="local", address=None))
    value["groups"] = {"servers": {"vars": {"colour": "blue"}, "children": ["billing"]}}
    inventory.write_state(state(value))
    listed = inventory.list()
    assert listed["servers"]["children"] == ["billing"]
    assert listed["billing"]["hosts"] == ["api1", "api2"]
    variables = listed["_meta"]["hostvars"]
    assert variables["api1"]["ansible_host"] == "192.0.2.10"
    assert variables["api1"]["ansible_ssh_private_key_file"] == str(inventory.folder / "id")
    assert variables["api1"]["colour"] == "blue"
    assert variables["api2"]["ansible_connection"] == "local"
    assert variables["api2"]["terraform_host"]["resource_id"] == "i-1"


def test_constructed_options_see_the_contract(inventory: Inventory) -> None:
    inventory.configure(
        strict=True,
        compose={"where": "terraform_host.placement.zone | upper"},
        groups={"staging": "terraform_host.project.environment == 'staging'"},
        keyed_groups=[{"key": "terraform_host.placement.region", "prefix": "region"}],
    )
    listed = inventory.list()
    assert listed["staging"]["hosts"] == ["api1"]
    assert listed["region_eu"]["hosts"] == ["api1"]
    assert listed["_meta"]["hostvars"]["api1"]["where"] == "EU-1A"


def test_planted_template_stays_text(inventory: Inventory) -> None:
    planted = "{{ 7*7 }}"
    value = contract(api1=host(type="local", address=None))
    value["hosts"]["api1"]["vars"] = {"flat": planted, "nested": {"list": [planted]}}
    value["hosts"]["api1"]["placement"]["zone"] = planted
    value["groups"]["billing"]["vars"] = {"grouped": planted}
    inventory.write_state(state(value))
    inventory.configure(strict=True, compose={"composed": "terraform_host.placement.zone"})
    message = "{{ [flat, nested.list.0, terraform_host.placement.zone, grouped, composed] | join(' ') }}"
    done = inventory.run("ansible", "api1", "-m", "ansible.builtin.debug", "-a", json.dumps({"msg": message}))
    assert done.returncode == 0, done.stderr
    assert " ".join([planted] * 5) in done.stdout
    assert "49" not in done.stdout


def test_error_is_told_once_with_the_place(inventory: Inventory) -> None:
    (inventory.folder / "terraform.tfstate").unlink()
    message = inventory.error()
    said = f"There is no Terraform state at {inventory.folder / 'terraform.tfstate'}. Run 'terraform apply' first"
    assert squeezed(said) in message
    assert "Traceback" not in message


def test_broken_contract_names_output_state_and_key(inventory: Inventory) -> None:
    inventory.write_state(state({**contract(), "version": 2}))
    said = (
        f"The output 'ansible_inventory' in {inventory.folder / 'terraform.tfstate'}: It is version 2 of the contract"
    )
    message = inventory.error()
    assert squeezed(said) in message
    assert squeezed("this plugin reads version 1") in message


def test_groups_in_a_loop_are_refused(inventory: Inventory) -> None:
    value = contract()
    value["groups"] = {"a": {"vars": {}, "children": ["b"]}, "b": {"vars": {}, "children": ["a"]}}
    inventory.write_state(state(value))
    assert squeezed("The groups of the contract cannot be nested") in inventory.error()


@pytest.mark.parametrize("options", [{"state_file": None}, {"project_path": "project"}])
def test_one_source_must_be_named(inventory: Inventory, options: dict[str, Any]) -> None:
    inventory.configure(**options)
    assert squeezed("Set exactly one of project_path and state_file") in inventory.error()


def test_local_state_of_a_project_needs_no_terraform(inventory: Inventory) -> None:
    inventory.configure(state_file=None, project_path=".", binary="/nowhere/terraform")
    assert inventory.list()["billing"]["hosts"] == ["api1"]


def test_project_without_local_state_is_asked(inventory: Inventory) -> None:
    asked(inventory, {"value": contract(api7=host(options={"private_key_file": "id"}))})
    inventory.configure(state_file=None, project_path="project", binary=str(inventory.folder / "terraform"))
    variables = inventory.list()["_meta"]["hostvars"]
    assert variables["api7"]["ansible_ssh_private_key_file"] == str(inventory.folder / "project" / "id")


def test_answer_is_cached_until_flushed_and_per_workspace(inventory: Inventory) -> None:
    asked(inventory, {"value": contract(before=host())})
    inventory.configure(
        state_file=None,
        project_path="project",
        binary=str(inventory.folder / "terraform"),
        cache=True,
        cache_plugin="ansible.builtin.jsonfile",
        cache_connection=str(inventory.folder / "cache"),
    )
    inventory.list()
    asked(inventory, {"value": contract(after=host())})
    calls = inventory.folder / "calls"
    assert inventory.list()["billing"]["hosts"] == ["before"]
    assert calls.read_text(encoding="utf-8").count("called") == 1
    inventory.env["TF_WORKSPACE"] = "prod"
    assert inventory.list()["billing"]["hosts"] == ["after"]
    del inventory.env["TF_WORKSPACE"]
    (inventory.folder / "play.yml").write_text("[{hosts: all, gather_facts: false}]", encoding="utf-8")
    flushed = inventory.run("ansible-playbook", "play.yml", "--list-hosts", "--flush-cache")
    assert "after" in flushed.stdout
    assert inventory.list()["billing"]["hosts"] == ["after"]
    assert calls.read_text(encoding="utf-8").count("called") == 3


def test_template_in_a_cached_answer_stays_text(inventory: Inventory) -> None:
    value = contract()
    value["hosts"]["api1"]["vars"] = {"planted": "{{ 7*7 }}"}
    asked(inventory, {"value": value})
    inventory.configure(
        state_file=None,
        project_path="project",
        binary=str(inventory.folder / "terraform"),
        cache=True,
        cache_plugin="ansible.builtin.jsonfile",
        cache_connection=str(inventory.folder / "cache"),
        strict=True,
        compose={"composed": "planted"},
    )
    for _index in range(2):
        variables = inventory.list()["_meta"]["hostvars"]["api1"]
        assert variables["planted"] == variables["composed"] == "{{ 7*7 }}"
