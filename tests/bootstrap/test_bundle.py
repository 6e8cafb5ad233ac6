# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The bundle: the same collections give the same archive, and Ansible runs from it alone."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def collections(root: Path, *, files: Iterable[tuple[str, str]] = ()) -> Path:
    """Link or copy this collection, and one that it depends on, below `root`."""
    place = root / "ansible_collections" / "billing" / "infrastructure"
    for folder in ("meta", "playbooks", "plugins", "roles"):
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    galaxy = (ROOT / "galaxy.yml").read_text().replace("dependencies: {}", 'dependencies: {test.needed: "*"}')
    (place / "galaxy.yml").write_text(galaxy)
    needed = root / "ansible_collections" / "test" / "needed"
    (needed / "meta").mkdir(parents=True)
    (needed / "galaxy.yml").write_text("namespace: test\nname: needed\nversion: 1.2.3\n")
    for name, content in files:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content)
    return root


def ansible(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook with these collections and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    env = {**kept, "ANSIBLE_COLLECTIONS_PATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [str(BIN / "ansible-playbook"), *words]
    return subprocess.run(argv, cwd=path, env=env | {"PWD": str(path)}, capture_output=True, text=True, check=False)


def build(path: Path) -> Path:
    """Build the bundle there."""
    done = ansible(path, "billing.infrastructure.bundle")
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = (path / "build").glob("bundle-*.tar.gz")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert digest in done.stdout
    return archive


def test_same_collections_give_the_same_archive(tmp_path: Path) -> None:
    first, second = build(collections(tmp_path / "a")), build(collections(tmp_path / "b"))
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_second_build_changes_nothing(tmp_path: Path) -> None:
    archive = build(collections(tmp_path))
    before = archive.stat().st_mtime_ns
    assert "changed=0" in ansible(tmp_path, "billing.infrastructure.bundle").stdout
    assert archive.stat().st_mtime_ns == before


def test_what_ansible_does_not_read_stays_out(tmp_path: Path) -> None:
    junk = [("plugins/__pycache__/x.pyc", ""), ("roles/.hidden", ""), ("build/x", ""), ("terraform.tfstate", "")]
    clean = build(collections(tmp_path / "clean"))
    assert build(collections(tmp_path / "junk", files=junk)).read_bytes() == clean.read_bytes()


def test_dependencies_come_along_and_the_bundle_is_enough(tmp_path: Path) -> None:
    archive = build(collections(tmp_path / "made"))
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "server", filter="data")
    assert (tmp_path / "server" / "ansible_collections" / "test" / "needed" / "galaxy.yml").exists()
    done = ansible(tmp_path / "server", "billing.infrastructure.deploy_compose", "--list-tasks", "-i", "x,")
    assert done.returncode == 0, done.stderr
    assert "billing.infrastructure.postgres" in done.stdout


def test_missing_dependency_is_named(tmp_path: Path) -> None:
    shutil.rmtree(collections(tmp_path) / "ansible_collections" / "test")
    done = ansible(tmp_path, "billing.infrastructure.bundle")
    assert done.returncode != 0
    assert "test.needed is not installed here: run ansible-galaxy collection install test.needed" in " ".join(
        (done.stdout + done.stderr).split()
    )


@pytest.mark.parametrize("name", ["bundle.yml", "deploy_compose.yml"])
def test_playbooks_are_part_of_the_bundle(tmp_path: Path, name: str) -> None:
    with tarfile.open(build(collections(tmp_path))) as tar:
        assert f"ansible_collections/billing/infrastructure/playbooks/{name}" in tar.getnames()
