# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from plugins.plugin_utils._terraform_command import Command, find_binary
from plugins.plugin_utils._terraform_contract import TerraformError
from plugins.plugin_utils._terraform_reading import Reading, Request, read_outputs, reading_of
from plugins.plugin_utils._terraform_state import StateMissingError

from .terraform_samples import contract, state

OUTPUT = "ansible_inventory"


def program(folder: Path, name: str, script: str = "exit 0") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def command(folder: Path, script: str, timeout: float = 30, workspace: str | None = None) -> Command:
    return Command(str(program(folder / "bin", "terraform", script)), folder, timeout, os.environ, workspace)


def pulled(asked: Command) -> Reading:
    return reading_of(asked.pull_state(), Request(OUTPUT))


def test_terraform_is_preferred_and_tofu_is_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TerraformError, match=r"No program terraform or tofu on PATH.*Install one, set binary"):
        find_binary(None)
    tofu = program(tmp_path, "tofu")
    assert find_binary(None) == str(tofu)
    terraform = program(tmp_path, "terraform")
    assert find_binary(None) == str(terraform)
    assert find_binary(None, ("tofu",)) == str(tofu)
    assert find_binary("tofu") == str(tofu)
    assert find_binary(str(tofu)) == str(tofu)
    with pytest.raises(TerraformError, match="No program /nowhere/terraform"):
        find_binary("/nowhere/terraform")


def calls(folder: Path, workspace: str | None, environ: dict[str, str]) -> list[tuple[list[str], dict[str, Any]]]:
    """Pull a state and return every command with the options that it was run with."""
    seen: list[tuple[list[str], dict[str, Any]]] = []

    def run(argv: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        seen.append((argv[1:], options))
        answer = "* default\n  prod\n\n" if "list" in argv else json.dumps(state())
        return subprocess.CompletedProcess(argv, 0, answer, "")

    assert pulled(Command("tf", folder, 5, environ, workspace, run=run))["contract"] == contract()
    return seen


def test_state_is_pulled_in_the_project_by_one_command(tmp_path: Path) -> None:
    ((argv, options),) = calls(tmp_path, None, {"HOME": "/h"})
    assert argv == ["state", "pull"]
    assert options["cwd"] == tmp_path
    assert options["timeout"] == 5
    assert options["stdin"] == subprocess.DEVNULL
    assert options["env"] == {"HOME": "/h", "TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "NO_COLOR": "1"}


def test_workspace_is_looked_up_before_it_is_used(tmp_path: Path) -> None:
    listed, asked = calls(tmp_path, "prod", {"TF_WORKSPACE": "other"})
    assert listed[0] == ["workspace", "list"]
    assert "TF_WORKSPACE" not in listed[1]["env"]
    assert asked[0] == ["state", "pull"]
    assert asked[1]["env"]["TF_WORKSPACE"] == "prod"


def test_workspace_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    script = '[ "$1" = workspace ] || exit 9; printf "  default\\n* prod\\n"'
    with pytest.raises(StateMissingError, match=r"no workspace 'prdo'.* has: default, prod\. Correct workspace"):
        command(tmp_path, script, workspace="prdo").pull_state()


def test_stale_hosts_are_found_in_a_pulled_state(tmp_path: Path) -> None:
    (tmp_path / "answer").write_text(json.dumps(state(resources=[])), encoding="utf-8")
    assert list(pulled(command(tmp_path, "cat answer"))["dead"]) == ["api1"]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exit 0", ["shows no state", "Run 'terraform apply' first"]),
        ("echo '{\"a\": '", ["not JSON", "Check that binary"]),
        ("echo '{\"version\": 5}'", ["format 5", "state pull"]),
        ("printf '│ \\033[31mError:\\033[0m Backend\\n│ initialization required\\n' >&2; exit 1",
         ["exit code 1: Error: Backend initialization required", "'terraform init'"]),
        ("exit 3", ["exit code 3: it printed nothing."]),
    ],
)  # fmt: skip
def test_bad_state_from_a_command_is_one_readable_error(tmp_path: Path, script: str, says: list[str]) -> None:
    with pytest.raises(TerraformError) as caught:
        command(tmp_path, script).pull_state()
    message = str(caught.value)
    assert str(tmp_path) in message
    assert [text for text in says if text not in message] == []


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo '{}'", ["shows no outputs", "Run 'terraform apply' first"]),
        ("echo '{\"a\": '", ["did not print JSON", "Check that binary"]),
        ("exit 3", ["exit code 3: it printed nothing."]),
        ('echo \'{"a": {"value": 1}}\'', ["No output 'ansible_inventory'", "it has: a"]),
        (f'echo \'{{"{OUTPUT}": {{"sensitive": true, "value": 1}}}}\'', ["is sensitive"]),
    ],
)
def test_bad_outputs_are_one_readable_error(tmp_path: Path, script: str, says: list[str]) -> None:
    with pytest.raises(TerraformError) as caught:
        read_outputs(command(tmp_path, script), Request(OUTPUT))
    message = str(caught.value)
    assert str(tmp_path) in message
    assert [text for text in says if text not in message] == []


def test_outputs_alone_are_asked_for_as_json(tmp_path: Path) -> None:
    (tmp_path / "answer").write_text(json.dumps({OUTPUT: {"value": contract()}}), encoding="utf-8")
    asked = command(tmp_path, '[ "$*" = "output -json -no-color" ] && cat answer')
    assert read_outputs(asked, Request(OUTPUT))["contract"] == contract()


def test_command_that_hangs_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(TerraformError, match=r"did not answer within 0\.2 s"):
        command(tmp_path, "exec sleep 30", timeout=0.2).pull_state()
