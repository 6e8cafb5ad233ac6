# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command on the server is the engine of this collection, whole, and is written only where it differs."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from plugins.module_utils import _rollout
from plugins.modules import agent_package

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(check: bool = False, **arguments: Any) -> dict[str, Any]:
        wanted = {"path": str(tmp_path / "billing-rollout"), "python": sys.executable, **arguments}
        with patch_module_args({**wanted, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            agent_package.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


def test_the_command_holds_every_part_of_the_engine_and_runs(run: Run, tmp_path: Path) -> None:
    assert run()["changed"] is True
    path = tmp_path / "billing-rollout"
    with zipfile.ZipFile(path) as packed:
        inside = {
            Path(name).name: packed.read(name) for name in packed.namelist() if name.startswith("billing_rollout/")
        }
    parts = {part.name: part.read_bytes() for part in Path(_rollout.__path__[0]).glob("*.py")}
    assert {name: content for name, content in inside.items() if name.endswith(".py")} == parts
    assert {name for name in inside if name.endswith(".pyc")} == {f"{name}c" for name in parts}
    told = subprocess.run([path, "--help"], capture_output=True, text=True, check=True, cwd="/", env={})
    assert "Follow image tags" in told.stdout
    failed = subprocess.run(
        [path, "--config", tmp_path / "none.json", "status"], capture_output=True, text=True, check=False, env={}
    )
    assert (failed.returncode, failed.stderr.startswith("billing-rollout: config_missing: ")) == (1, True)


def test_the_second_run_changes_nothing(run: Run, tmp_path: Path) -> None:
    run()
    before = (tmp_path / "billing-rollout").stat()
    assert run() == {**run(), "changed": False, "parts": []}
    assert (tmp_path / "billing-rollout").stat() == before


def test_check_mode_writes_nothing_and_predicts(run: Run, tmp_path: Path) -> None:
    assert run(check=True)["changed"] is True
    assert not (tmp_path / "billing-rollout").exists()


@pytest.mark.parametrize("damage", ["edited", "no archive", "not executable", "another interpreter"])
def test_what_somebody_changed_is_put_right(run: Run, tmp_path: Path, damage: str) -> None:
    run()
    path = tmp_path / "billing-rollout"
    if damage == "edited":
        with zipfile.ZipFile(path, "a") as packed, pytest.warns(UserWarning, match="Duplicate name"):
            packed.writestr("billing_rollout/planner.py", "import os\n")
    elif damage == "no archive":
        path.write_text("#!/bin/sh\n")
    elif damage == "not executable":
        path.chmod(0o644)
    else:
        content = path.read_bytes()
        path.write_bytes(b"#!/usr/bin/python9 -I\n" + content.partition(b"\n")[2])
    assert run()["changed"] is True
    assert run()["changed"] is False
    subprocess.run([path, "--help"], capture_output=True, check=True)


def test_it_is_removed(run: Run, tmp_path: Path) -> None:
    run()
    assert run(state="absent", check=True)["changed"] is True
    assert run(state="absent")["changed"] is True
    assert not (tmp_path / "billing-rollout").exists()
    assert run(state="absent")["changed"] is False
