# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from plugins.plugin_utils._terraform_contract import TerraformError
from plugins.plugin_utils._terraform_outputs import (
    find_binary,
    local_state,
    read_state,
    run_output,
    selected_workspace,
)

from .terraform_samples import contract, state

OUTPUT = "ansible_inventory"


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "terraform.tfstate"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def program(folder: Path, name: str, script: str = "exit 0") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_state_gives_the_output_without_starting_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    assert read_state(written(tmp_path, state()), OUTPUT) == contract()


def test_contract_without_resources_is_read_when_no_host_stands_on_one(tmp_path: Path) -> None:
    value = contract()
    value["hosts"]["api1"]["resource_id"] = None
    assert read_state(written(tmp_path, state(value, resources=[])), OUTPUT) == value


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", ["is an empty file", "Set project_path"]),
        ('{"version": 4, "outputs": {"ansib', ["cut short or not JSON", "If an apply is running", ".tfstate.backup"]),
        ("[]", ["not a Terraform state"]),
        ("{}", ["not a Terraform state"]),
        (
            {"version": 3, "terraform_version": "0.11.14", "modules": []},
            ["format 3", "Terraform 0.11.14", "format 4", "Run 'terraform apply' with a current release"],
        ),
        ({"version": 5, "terraform_version": "2.0.0"}, ["format 5", "format 4", "Upgrade this collection"]),
        ({"encrypted_data": "x", "encryption_version": "v0"}, ["is encrypted", "Set project_path"]),
        (state(outputs={}, resources=[]), ["is empty", "Run 'terraform apply' first"]),
        (state(outputs={}), [f"No output '{OUTPUT}'", "it has: none", "Add the output"]),
        (state(outputs={"other": {"value": 1}, "b": {"value": 1}}), ["it has: b, other"]),
        (state(outputs={OUTPUT: {"value": {}, "sensitive": True}}), ["is sensitive", "drop 'sensitive = true'"]),
        (state(outputs={OUTPUT: {"type": "string"}}), ["has no value"]),
        (state(resources=[]), ["holds no resources", "still names api1", "Run 'terraform apply'"]),
    ],
)
def test_bad_state_is_one_readable_error(tmp_path: Path, content: object, says: list[str]) -> None:
    path = written(tmp_path, content)
    with pytest.raises(TerraformError) as caught:
        read_state(path, OUTPUT)
    message = str(caught.value)
    assert str(path) in message
    assert [text for text in says if text not in message] == []


def test_missing_state_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(TerraformError, match=r"no Terraform state at .*/gone\.tfstate\. Run 'terraform apply' first"):
        read_state(tmp_path / "gone.tfstate", OUTPUT)


def test_state_that_is_a_directory_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TerraformError, match="cannot be read"):
        read_state(tmp_path, OUTPUT)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(TerraformError, match="cannot be read"):
        read_state(tmp_path / "binary", OUTPUT)


def test_state_of_a_plain_project_is_read_directly(tmp_path: Path) -> None:
    path = written(tmp_path, state())
    assert local_state(tmp_path, {}) == path


def test_state_that_may_be_a_leftover_is_not_read(tmp_path: Path) -> None:
    path = written(tmp_path, state())
    assert local_state(tmp_path, {"TF_WORKSPACE": "prod"}) is None
    (tmp_path / ".terraform").mkdir()
    (tmp_path / ".terraform" / "environment").write_text("prod", encoding="utf-8")
    assert selected_workspace(tmp_path, {}) == "prod"
    assert local_state(tmp_path, {}) is None
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "terraform.tfstate").write_text("{}", encoding="utf-8")
    assert local_state(tmp_path, {"TF_DATA_DIR": "data"}) is None  # a configured backend
    assert local_state(tmp_path, {"TF_DATA_DIR": "other"}) == path
    path.write_text("", encoding="utf-8")
    assert local_state(tmp_path, {"TF_DATA_DIR": "other"}) is None


def test_terraform_is_preferred_and_tofu_is_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TerraformError, match=r"No program terraform or tofu on PATH.*Install one, set binary"):
        find_binary(None)
    tofu = program(tmp_path, "tofu")
    assert find_binary(None) == str(tofu)
    terraform = program(tmp_path, "terraform")
    assert find_binary(None) == str(terraform)
    assert find_binary("tofu") == str(tofu)
    assert find_binary(str(tofu)) == str(tofu)
    with pytest.raises(TerraformError, match="No program /nowhere/terraform"):
        find_binary("/nowhere/terraform")


def answer(tmp_path: Path, script: str, timeout: float = 30) -> Any:
    binary = program(tmp_path / "bin", "terraform", script)
    return run_output(tmp_path, OUTPUT, str(binary), timeout)


def test_command_is_asked_for_json_in_the_project(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        seen.update(options, command=command)
        return subprocess.CompletedProcess(command, 0, json.dumps({OUTPUT: {"value": {"version": 1}}}), "")

    binary = program(tmp_path / "bin", "terraform")
    assert run_output(tmp_path, OUTPUT, str(binary), 5, run=run) == {"version": 1}
    assert seen["command"] == [str(binary), "output", "-json", "-no-color"]
    assert seen["cwd"] == tmp_path
    assert seen["timeout"] == 5
    assert seen["stdin"] == subprocess.DEVNULL


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo '{}'", ["shows no outputs", "Run 'terraform apply' first"]),
        ("echo '{\"a\": '", ["did not print JSON", "Check that binary"]),
        ("printf '│ \\033[31mError:\\033[0m Backend\\n│ initialization required\\n' >&2; exit 1",
         ["exit code 1: Error: Backend initialization required", "'terraform init'"]),
        ("exit 3", ["exit code 3: it printed nothing."]),
        ("echo '{\"a\": {\"value\": 1}}'", ["No output 'ansible_inventory'", "it has: a"]),
        (f"echo '{{\"{OUTPUT}\": {{\"sensitive\": true, \"value\": 1}}}}'", ["is sensitive"]),
    ],
)  # fmt: skip
def test_bad_answer_is_one_readable_error(tmp_path: Path, script: str, says: list[str]) -> None:
    with pytest.raises(TerraformError) as caught:
        answer(tmp_path, script)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert [text for text in says if text not in message] == []


def test_command_that_hangs_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(TerraformError, match=r"did not answer within 0\.2 s"):
        answer(tmp_path, "exec sleep 30", timeout=0.2)


def test_project_that_is_no_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(TerraformError, match=r"is not a directory\. Correct project_path"):
        run_output(tmp_path / "gone", OUTPUT, None, 5)
