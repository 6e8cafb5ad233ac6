# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A role's inputs are written down in three places: defaults, argument_specs and README. They agree."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
MODULES = sorted((ROOT / "plugins" / "modules").glob("[a-z]*.py"))
INVENTORY = sorted((ROOT / "plugins" / "inventory").glob("[a-z]*.py"))

role_by_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def load(path: Path) -> Any:
    """Read a YAML file; a missing one is empty."""
    return yaml.safe_load(path.read_text()) or {} if path.exists() else {}


def defaults(role: Path) -> dict[str, Any]:
    """Return the public defaults of a role: a name that starts with `__` is the role's own business."""
    return {name: value for name, value in load(role / "defaults" / "main.yml").items() if not name.startswith("__")}


def options(role: Path) -> dict[str, dict[str, Any]]:
    """Return the options of a role's main entry point."""
    specs = load(role / "meta" / "argument_specs.yml").get("argument_specs", {})
    assert "main" in specs, f"{role.name}: meta/argument_specs.yml describes no entry point main"
    return specs["main"].get("options") or {}


def test_there_are_roles_and_modules() -> None:
    assert ROLES
    assert MODULES
    assert INVENTORY


@role_by_role
def test_every_default_is_specified(role: Path) -> None:
    assert sorted(set(defaults(role)) - set(options(role))) == []


@role_by_role
def test_every_option_has_a_default_or_is_required(role: Path) -> None:
    optional = {name for name, option in options(role).items() if not option.get("required", False)}
    assert sorted(optional - set(defaults(role))) == []
    assert sorted(set(defaults(role)) - optional) == [], "an option with a default cannot be required"


@role_by_role
def test_defaults_equal_the_specified_defaults(role: Path) -> None:
    """A value that is computed from other variables (a template) has no default in the specification."""
    given, specified = defaults(role), options(role)
    fixed = {name: value for name, value in given.items() if "{{" not in str(value) and value not in (None, "", [], {})}
    assert {name: specified[name].get("default") for name in fixed} == fixed
    spoken = {name: option["default"] for name, option in specified.items() if "default" in option}
    assert {name: given[name] for name in spoken} == spoken


@role_by_role
def test_public_variables_carry_the_name_of_the_role(role: Path) -> None:
    assert [name for name in options(role) if not name.startswith(f"{role.name}_")] == []


@role_by_role
def test_every_option_is_described_and_typed(role: Path) -> None:
    bare = [name for name, option in options(role).items() if not option.get("description") or not option.get("type")]
    assert bare == []


@role_by_role
def test_readme_names_every_variable(role: Path) -> None:
    readme = role / "README.md"
    assert readme.exists(), f"{role.name} has no README.md"
    words = set(re.findall(r"\w+", readme.read_text()))
    assert sorted(set(options(role)) - words) == []


@pytest.mark.parametrize("plugin", [*MODULES, *INVENTORY], ids=lambda plugin: plugin.stem)
def test_every_plugin_documents_itself(plugin: Path) -> None:
    texts: dict[str, str] = {}
    for node in ast.parse(plugin.read_text()).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str() as text)):
                texts[name] = text
    wanted = ["DOCUMENTATION", "EXAMPLES", *(["RETURN"] if plugin in MODULES else [])]
    assert [name for name in wanted if not texts.get(name, "").strip()] == []
    documented = yaml.safe_load(texts["DOCUMENTATION"])
    assert documented["short_description"]
    assert f"billing.infrastructure.{plugin.stem}" in texts["EXAMPLES"], "examples use the full name"


def test_every_module_is_in_the_action_group() -> None:
    groups = load(ROOT / "meta" / "runtime.yml")["action_groups"]
    assert sorted(groups["billing"]) == [module.stem for module in MODULES]
