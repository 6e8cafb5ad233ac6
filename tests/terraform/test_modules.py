# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from . import tables
from .conftest import REPOSITORY, TERRAFORM, Terraform, inventory

MODULES = sorted({path.parent for path in TERRAFORM.rglob("*.tf") if ".terraform" not in path.parts})
WITH_TESTS = [module for module in MODULES if any(module.glob("tests/*.tftest.hcl"))]


def name(module: Path) -> str:
    return str(module.relative_to(REPOSITORY))


def terraform_of(module: Path, request: pytest.FixtureRequest, folder: Path) -> Terraform:
    """Return the module, initialised; one that needs a provider is skipped where there is none."""
    terraform = Terraform(request.getfixturevalue("terraform_binary"), module, folder)
    if "required_providers" in (module / "versions.tf").read_text(encoding="utf-8"):
        terraform = replace(terraform, installation=request.getfixturevalue("aws_provider"))
    terraform.run("init", "-backend=false", "-lockfile=readonly")
    return terraform


def test_modules_are_found() -> None:
    assert {name(module) for module in MODULES} >= {"terraform/aws", "terraform/lab", "terraform/modules/contract"}
    assert TERRAFORM / "modules" / "contract" in WITH_TESTS


def test_files_are_formatted(terraform_binary: str, tmp_path: Path) -> None:
    Terraform(terraform_binary, TERRAFORM, tmp_path).run("fmt", "-check", "-diff", "-recursive")


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_module_is_valid(module: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    terraform_of(module, request, tmp_path).run("validate")


@pytest.mark.parametrize("module", WITH_TESTS, ids=name)
def test_tests_of_the_module_pass(module: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    done = terraform_of(module, request, tmp_path).run("test", timeout=300)
    assert re.search(r"Success! [1-9]\d* passed, 0 failed", done.stdout)


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_readme_lists_every_input_and_output(module: Path) -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in module.glob("*.tf"))
    readme = (module / "README.md").read_text(encoding="utf-8")
    tables = "\n".join(block for block in readme.split("\n\n") if block.startswith("| Name |"))
    declared = re.findall(r'^(?:variable|output) "(\w+)"', source, re.MULTILINE)
    assert sorted(re.findall(r"^\| `(\w+)` \|", tables, re.MULTILINE)) == sorted(declared)


def test_generated_tables_are_current() -> None:
    """`python -m tests.terraform.tables` writes them."""
    readme = (TERRAFORM / "aws" / "README.md").read_text(encoding="utf-8")
    assert tables.renewed(readme, TERRAFORM / "aws") == readme


def test_root_of_the_readme_feeds_the_inventory(terraform_binary: str, tmp_path: Path) -> None:
    """The example root, as written, but for where the module comes from."""
    (example,) = re.findall(
        r"```hcl\n(.*?)```", (TERRAFORM / "modules" / "contract" / "README.md").read_text(), re.DOTALL
    )
    root, replaced = re.subn(r'source = ".*"', f'source = "{TERRAFORM}/modules/contract"', example)
    assert replaced == 1
    (tmp_path / "main.tf").write_text(root, encoding="utf-8")
    terraform = Terraform(terraform_binary, tmp_path, tmp_path)
    terraform.run("fmt", "-check", "-diff")
    terraform.run("init")
    terraform.run("apply", "-auto-approve")
    listed = json.loads(inventory(tmp_path, "--list").stdout)
    assert listed["billing"]["hosts"] == ["billing-api1"]
