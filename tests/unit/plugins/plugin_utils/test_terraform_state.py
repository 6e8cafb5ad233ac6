# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""A test for every state that is not what it should be."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from plugins.plugin_utils._terraform_contract import TerraformError
from plugins.plugin_utils._terraform_reading import Reading, Request, reading_of
from plugins.plugin_utils._terraform_state import (
    StateEncryptedError,
    StateMissingError,
    lock_file,
    lock_holder,
    read_state,
)

from .terraform_samples import contract, state

OUTPUT = "ansible_inventory"


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "terraform.tfstate"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def read(path: Path) -> Reading:
    return reading_of(read_state(path), Request(OUTPUT))


def test_state_gives_the_output_without_starting_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    found = read(written(tmp_path, state()))
    assert found["contract"] == contract()
    assert found["dead"] == {}


def test_contract_without_resources_is_read_when_no_host_stands_on_one(tmp_path: Path) -> None:
    value = contract()
    value["hosts"]["api1"]["resource_id"] = None
    found = read(written(tmp_path, state(value, resources=[])))
    assert found["contract"] == value
    assert found["dead"] == {}


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        ("", StateMissingError, ["is an empty file", "Set project_path"]),
        (
            '{"version": 4, "outputs": {"ansib',
            TerraformError,
            ["cut short or not JSON", "If an apply is running", ".tfstate.backup"],
        ),
        ("[" * 200_000, TerraformError, ["cut short or not JSON"]),
        ("[]", TerraformError, ["not a Terraform state"]),
        ("{}", TerraformError, ["not a Terraform state"]),
        ({"version": True}, TerraformError, ["not a Terraform state"]),
        (
            {"version": 3, "terraform_version": "0.11.14", "modules": []},
            TerraformError,
            ["format 3", "Terraform 0.11.14", "format 4", "Run 'terraform apply' with a current release"],
        ),
        (
            {"version": 5, "terraform_version": "2.0.0"},
            TerraformError,
            ["format 5", "format 4", "Upgrade this collection"],
        ),
        (
            {"encrypted_data": "x", "encryption_version": "v0"},
            StateEncryptedError,
            ["is encrypted", "Set project_path", "tofu"],
        ),
        (state(outputs={}, resources=[]), StateMissingError, ["is empty", "Run 'terraform apply' first"]),
        (state(outputs=None, resources=None), StateMissingError, ["is empty"]),
        (state(outputs=[1]), TerraformError, ["is damaged"]),
        (state(resources={"a": 1}), TerraformError, ["is damaged"]),
        (state(resources=[1]), TerraformError, ["is damaged"]),
        (state(resources=[{"instances": 7}]), TerraformError, ["is damaged"]),
        (state(resources=[{"instances": ["x"]}]), TerraformError, ["is damaged"]),
        (state(outputs={}), StateMissingError, [f"No output '{OUTPUT}'", "it has: none", "Add the output"]),
        (state(outputs={"other": {"value": 1}, "b": {"value": 1}}), StateMissingError, ["it has: b, other"]),
        (
            state(outputs={OUTPUT: {"value": {}, "sensitive": True}}),
            TerraformError,
            ["is sensitive", "drop 'sensitive = true'"],
        ),
        (state(outputs={OUTPUT: {"type": "string"}}), TerraformError, ["has no value"]),
        (state(outputs={OUTPUT: 7}), TerraformError, ["has no value"]),
        (state({"hosts": {}}), TerraformError, ["not an inventory contract"]),
        (state({**contract(), "version": 2}), TerraformError, ["version 2", "reads version 1"]),
    ],
)
def test_bad_state_is_one_readable_error(
    tmp_path: Path, content: object, kind: type[Exception], says: list[str]
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(TerraformError) as caught:
        read(path)
    message = str(caught.value)
    assert caught.type is kind
    assert str(path) in message
    assert [text for text in says if text not in message] == []


def test_missing_state_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(
        StateMissingError, match=r"no Terraform state at .*/gone\.tfstate\. Run 'terraform apply' first"
    ):
        read_state(tmp_path / "gone.tfstate")


def test_state_that_is_a_directory_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TerraformError, match="cannot be read"):
        read_state(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(TerraformError, match="cannot be read"):
        read_state(tmp_path / "binary")


def test_who_holds_the_lock_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.tfstate"
    assert lock_holder(path, 0) is None
    info = {"ID": "1", "Operation": "OperationTypeApply", "Who": "anna@desk", "Created": "2026-11-25T15:15:07Z"}
    lock_file(path).write_text(json.dumps(info), encoding="utf-8")
    assert lock_file(path).name == ".x.tfstate.lock.info"
    assert lock_holder(path, 0) == "anna@desk (apply since 2026-11-25T15:15:07Z)"


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_lock_that_is_not_readable_yet_is_a_lock(tmp_path: Path, text: str) -> None:
    path = tmp_path / "terraform.tfstate"
    lock_file(path).write_text(text, encoding="utf-8")
    assert lock_holder(path, 0) == "somebody"


def test_lock_is_waited_for_no_longer_than_said(tmp_path: Path) -> None:
    path = tmp_path / "terraform.tfstate"
    lock_file(path).write_text("{}", encoding="utf-8")
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] > released[0]:
            lock_file(path).unlink(missing_ok=True)

    released = [100.0]
    assert lock_holder(path, 3, clock=lambda: now[0], sleep=sleep) is not None
    assert now[0] == pytest.approx(3)
    released = [now[0] + 1]
    assert lock_holder(path, 3, clock=lambda: now[0], sleep=sleep) is None
