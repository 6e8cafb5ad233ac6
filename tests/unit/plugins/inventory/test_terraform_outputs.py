# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""The plugin through `ansible-inventory` of the ansible-core that runs these tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from plugins.inventory.terraform_outputs import InventoryModule

from ..plugin_utils.terraform_samples import contract, host, state
from .inventory_folder import Inventory, asked, squeezed


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
    asked(inventory, state(contract(api7=host(options={"private_key_file": "id"}))))
    inventory.configure(state_file=None, project_path="project", binary=str(inventory.folder / "terraform"))
    variables = inventory.list()["_meta"]["hostvars"]
    assert variables["api7"]["ansible_ssh_private_key_file"] == str(inventory.folder / "project" / "id")


def test_answer_is_cached_until_flushed_and_per_workspace(inventory: Inventory) -> None:
    asked(inventory, state(contract(before=host())))
    inventory.configure(
        state_file=None,
        project_path="project",
        binary=str(inventory.folder / "terraform"),
        cache=True,
        cache_plugin="ansible.builtin.jsonfile",
        cache_connection=str(inventory.folder / "cache"),
    )
    inventory.list()
    asked(inventory, state(contract(after=host())))
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
