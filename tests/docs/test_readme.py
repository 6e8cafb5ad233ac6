# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The README does not promise what is not there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.docs.readme import README, ROOT, blocks, commands, files

SHELLS = {"console", "shell", "sh", "bash"}


def test_every_command_says_where_it_is_run() -> None:
    unmarked = [block.text for block in blocks() if block.language in SHELLS and block.kind != "run"]
    assert unmarked == []
    places = {block.argument.split(",")[0] for block in blocks() if block.kind == "run"}
    assert places == {"docs", "server", "by hand"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the commands of the installation as they are written, into a folder of their own."""
    target = tmp_path_factory.mktemp("collections")
    lines = commands("docs")
    assert lines, "the README has no command to install the collection"
    for line in lines:
        done = subprocess.run(  # noqa: S602 (as a reader would paste it)
            line,
            shell=True,
            cwd=ROOT,
            env=os.environ | {"ANSIBLE_COLLECTIONS_PATH": str(target)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}:\n{done.stdout}"
    return target


def test_installation_installs_this_version(installed: Path) -> None:
    manifest = installed / "ansible_collections" / "billing" / "infrastructure" / "MANIFEST.json"
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    assert yaml.safe_load(manifest.read_text())["collection_info"]["version"] == version


def test_written_playbooks_and_inventory_are_understood(installed: Path, tmp_path: Path) -> None:
    for name, text in files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    env = os.environ | {"ANSIBLE_COLLECTIONS_PATH": str(installed), "ANSIBLE_CONFIG": str(tmp_path / "none.cfg")}
    (tmp_path / "none.cfg").write_text("")
    for line in commands("server"):
        argv = [*line.split(), "--syntax-check"]
        done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}:\n{done.stdout}{done.stderr}"
        assert "WARNING" not in done.stderr


def test_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    texts = README + (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", texts, re.MULTILINE))
    assert named
    assert named - targets == set()


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_linked_files_exist(page: str) -> None:
    path = ROOT / page
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)", path.read_text())
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_defaults_in_the_table_are_the_defaults() -> None:
    """Roles say theirs in defaults/main.yml, the playbooks at the place of use: `name | default(value)`."""
    defaults: dict[str, object] = {}
    for playbook in (ROOT / "playbooks").rglob("*.yml"):
        for name, value in re.findall(r"\b(billing_\w+) \| default\(([^)]*)\)", playbook.read_text()):
            assert defaults.setdefault(name, yaml.safe_load(value)) == yaml.safe_load(value), f"{name} has two defaults"
    for role in (ROOT / "roles").iterdir():
        defaults |= yaml.safe_load((role / "defaults" / "main.yml").read_text())
    section = README.split("## Variables that matter")[1].split("\n\n| role |")[0]
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.+?) \|", section, re.MULTILINE)
    checked = 0
    for names, values in rows:
        texts = re.findall(r"`([^`]+)`", values) or [""]
        for name, text in zip(names.split(", "), texts, strict=True):
            assert name.strip("`") in defaults, f"no role has {name}"
            assert defaults[name.strip("`")] == (yaml.safe_load(text) if text else ""), name
            checked += 1
    assert checked >= 10


def test_roles_and_plugins_are_all_listed() -> None:
    for role in (ROOT / "roles").iterdir():
        assert f"roles/{role.name}/README.md" in README
    for kind in ("modules", "inventory"):
        for plugin in (ROOT / "plugins" / kind).glob("[a-z]*.py"):
            assert f"`billing.infrastructure.{plugin.stem}`" in README
