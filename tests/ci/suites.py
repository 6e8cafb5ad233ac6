# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What each suite of tests runs, in which environment, and what it needs from the machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.ci.setup import BUILD, ENVIRONMENTS, ROOT


@dataclass(frozen=True)
class Step:
    """One command of a suite, run from `cwd` below the checkout with the tools of environment `venv` first on PATH."""

    name: str
    argv: tuple[str, ...]
    venv: str = "tools"
    cwd: str = "."
    env: Mapping[str, str] = field(default_factory=dict)
    only_after_success: bool = False

    @property
    def pytest(self) -> bool:
        """Tell whether the step writes a JUnit report of its tests."""
        return self.argv[:3] == ("python", "-m", "pytest")


def no_packages() -> list[str]:
    """Need nothing from Debian."""
    return []


@dataclass(frozen=True)
class Suite:
    """Steps that run one after the other.

    `in_all`: part of `make test`. Suites of another `lane` run at the same time: a lab host is mostly waited for.
    `exclusive`: only one run on this machine at a time, because the suite owns a lab of a fixed name.
    """

    name: str
    steps: Callable[[], list[Step]]
    environments: tuple[str, ...] = ("tools",)
    missing_packages: Callable[[], list[str]] = no_packages
    in_all: bool = True
    lane: int = 0
    exclusive: bool = False


def environment(venv: str) -> dict[str, str]:
    """Return the variables of a step: one tool environment on PATH, and settings of this checkout only."""
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_", "PYTEST_"))
    }
    folder = ENVIRONMENTS[venv][0]
    # A command line setting that points nowhere makes every terraform command fail.
    if not Path(env.get("TF_CLI_CONFIG_FILE", "/")).exists():
        del env["TF_CLI_CONFIG_FILE"]
    return env | {
        "PATH": f"{folder / 'bin'}:{env.get('PATH', os.defpath)}",
        "VIRTUAL_ENV": str(folder),
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
        "ANSIBLE_INJECT_FACT_VARS": "false",
        "MOLECULE_GLOB": "molecule/*/molecule.yml",
        "RUFF_CACHE_DIR": str(BUILD / "cache" / "ruff"),
        "MYPY_CACHE_DIR": str(BUILD / "cache" / "mypy"),
    }


def tracked(*patterns: str) -> list[str]:
    """List the files of the work tree that are, or would be, part of the project."""
    # A checkout may belong to another user than the one who tests: in a CI container, say.
    git = ["git", "-c", f"safe.directory={ROOT}"]
    argv = [*git, "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", *patterns]
    names = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.split("\n")
    return [name for name in names if name and (ROOT / name).is_file()]


def shell_scripts() -> list[str]:
    """List the shell scripts, those without a suffix included."""
    scripts = []
    for name in tracked():
        with (ROOT / name).open("rb") as file:
            first = file.readline(80)
        if first.startswith(b"#!") and first.strip().endswith((b"/sh", b"/bash", b"env sh", b"env bash")):
            scripts.append(name)
    return scripts


def pytest(name: str, *paths: str, venv: str = "tools", cwd: str = ".", **env: str) -> Step:
    """Build a step that runs pytest."""
    cache = ("-o", f"cache_dir={BUILD / 'cache' / 'pytest'}")
    return Step(name, ("python", "-m", "pytest", *cache, *paths), venv=venv, cwd=cwd, env=env)


def lint() -> list[Step]:
    """Build the steps that read the source without running it."""
    return [
        Step("ruff check", ("ruff", "check", ".")),
        Step("ruff format", ("ruff", "format", "--check", ".")),
        Step("mypy", ("mypy", "plugins", "tests", "molecule", "terraform", "playbooks")),
        Step("yamllint", ("yamllint", "--strict", ".")),
        Step("shellcheck", ("shellcheck", *shell_scripts())),
        Step("reuse", ("reuse", "lint", "--lines")),
        Step("ansible-lint", ("ansible-lint", "--profile", "production", "--offline", "--strict")),
    ]


def unit() -> list[Step]:
    """Build the steps that test functions, and the sample application against a PostgreSQL of its own."""
    inventory = ("tests/unit/plugins/inventory", "tests/unit/plugins/plugin_utils")
    engine = "tests/unit/plugins/module_utils/_rollout"
    return [
        pytest("collection", "tests/unit"),
        # The engine imports nothing of Ansible: it is the same on any.
        pytest("collection on ansible-core 2.19", "tests/unit", f"--ignore={engine}", venv="core219"),
        pytest("inventory on ansible-core 2.18", *inventory, venv="core218"),
        pytest("sample application", "tests", venv="app", cwd="examples/billing_api"),
    ]


def sanity() -> list[Step]:
    """Build the step of ansible-test."""
    return [Step("ansible-test sanity", ("python", "-m", "tests.ci.sanity"))]


def galaxy() -> list[Step]:
    """Build the steps that make the tarball and look at it as Galaxy and a user would."""
    return [
        Step("tarball", ("python", "-m", "tests.ci.galaxy", "build")),
        Step("galaxy-importer", ("python", "-m", "tests.ci.galaxy", "import"), venv="galaxy", only_after_success=True),
        Step("install", ("python", "-m", "tests.ci.galaxy", "install"), only_after_success=True),
    ]


def docs() -> list[Step]:
    """Build the steps that hold the documentation to its word."""
    lint_docs = ("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=self", ".")
    return [
        Step("antsibull-docs", lint_docs),
        Step("changelog", ("antsibull-changelog", "lint")),
        pytest("README", "tests/docs/test_readme.py"),
    ]


def terraform() -> list[Step]:
    """Build the steps that test the Terraform code."""
    return [
        Step("terraform or tofu", ("python", "-m", "tests.terraform_cli")),
        pytest("terraform", "tests/terraform"),
        pytest("bootstrap", "tests/bootstrap", "--ignore=tests/bootstrap/test_lab.py"),
    ]


def molecule() -> list[Step]:
    """Build one step per Molecule scenario, with a lab registry beside them."""
    scenarios = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
    lab = ("python", "-m", "tests.lab", "--name", os.environ.get("BILLING_LAB", "molecule"))
    return [
        Step("remove what a killed run left", (*lab, "down")),
        Step("lab up", (*lab, "up")),
        *(Step(name, ("molecule", "test", "--scenario-name", name), only_after_success=False) for name in scenarios),
        Step("lab down", (*lab, "down")),
    ]


def integration() -> list[Step]:
    """Build the steps that test the whole on lab hosts."""
    return [
        Step("terraform or tofu", ("python", "-m", "tests.terraform_cli")),
        pytest("lab", "tests/lab", "-v"),
        pytest("integration", "tests/integration", "-v"),
        pytest("nobody logs in", "tests/bootstrap/test_lab.py", "-v", BOOTSTRAP_REPLACEMENTS="1"),
        pytest("README on a server", "tests/docs/test_readme_on_a_server.py", "-v"),
    ]


def faults() -> list[Step]:
    """Build the steps that break a host under load: a part of the matrix, all of it with FAULTS=all."""
    return [pytest("faults", "tests/faults", "-v"), pytest("agent", "tests/agent", "-v")]


def postgresql_package() -> list[str]:
    """Name the package of the database server that the sample application is tested with, unless it is there."""
    return [] if any(Path("/usr/lib/postgresql").glob("*/bin/initdb")) else ["postgresql"]


# Fast ones first.
SUITES = {
    suite.name: suite
    for suite in (
        Suite("lint", lint),
        Suite("unit", unit, ("tools", "core218", "core219", "app"), postgresql_package),
        Suite("docs", docs),
        Suite("galaxy", galaxy, ("tools", "galaxy")),
        Suite("sanity", sanity),
        Suite("terraform", terraform, ("tools", "aws"), lane=2),
        Suite("molecule", molecule, lane=1, exclusive=True),
        Suite("faults", faults, lane=1, exclusive=True),
        Suite("integration", integration, ("tools", "core219"), exclusive=True),
    )
}
