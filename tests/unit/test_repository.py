# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Rules of the house that no linter knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.ci.suites import tracked

ROOT = Path(__file__).resolve().parents[2]
SOURCE = {".py", ".yml", ".yaml", ".j2", ".tf", ".hcl", ".sh", ".toml", ".cfg"}


def files() -> list[Path]:
    """List the text files of the project."""
    return [ROOT / name for name in tracked()]


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    return {str(path.relative_to(ROOT)): path.read_text() for path in files() if path.suffix in SOURCE}


def test_no_source_file_is_longer_than_400_lines(sources: dict[str, str]) -> None:
    assert {name: text.count("\n") for name, text in sources.items() if text.count("\n") > 400} == {}


def test_no_error_is_ignored_and_no_task_avoids_check_mode(sources: dict[str, str]) -> None:
    """Check mode predicts: a task may force itself to run in it when it only reads, but none is left out."""
    bad = re.compile(r"^\s*ignore_errors:|^\s*when:.*\bnot ansible_check_mode\b", re.MULTILINE)
    yaml_files = {name: text for name, text in sources.items() if name.startswith(("roles/", "playbooks/"))}
    assert [name for name, text in yaml_files.items() if bad.search(text)] == []


def test_no_injected_facts(sources: dict[str, str]) -> None:
    facts = re.compile(r"\bansible_(os_family|distribution\w*|default_ipv4|memtotal_mb|processor\w*|architecture)\b")
    roles = {name: text for name, text in sources.items() if name.startswith(("roles/", "playbooks/"))}
    assert {name: facts.findall(text) for name, text in roles.items() if facts.search(text)} == {}


def test_no_path_or_mirror_of_a_build_machine(sources: dict[str, str]) -> None:
    """What somebody's machine happens to be called does not belong here."""
    home = re.compile(r"(?<![\w.{}/])/home/\w+")
    assert [name for name, text in sources.items() if home.search(text)] == []


def test_collection_version_is_in_the_changelog() -> None:
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    assert version in yaml.safe_load((ROOT / "changelogs" / "changelog.yaml").read_text())["releases"]


def test_dependencies_are_the_collections_that_are_used(sources: dict[str, str]) -> None:
    used: set[str] = set()
    for name, text in sources.items():
        if name.startswith(("roles/", "playbooks/")) and name.endswith(".yml"):
            used |= set(re.findall(r"^\s*(?:- )?([a-z_]+\.[a-z_]+)\.[a-z_0-9]+:(?:\s|$)", text, re.MULTILINE))
    declared = yaml.safe_load((ROOT / "galaxy.yml").read_text())["dependencies"]
    assert used - {"ansible.builtin", "billing.infrastructure"} == set(declared)
