# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from plugins.plugin_utils._terraform_contract import TerraformError
from plugins.plugin_utils._terraform_project import look_at, selected_workspace


def initialised(folder: Path, backend: dict[str, Any] | None) -> None:
    """Have what `terraform init` writes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "terraform.tfstate").write_text(json.dumps({"version": 3, "backend": backend}), encoding="utf-8")


def test_state_of_a_plain_project(tmp_path: Path) -> None:
    found = look_at(tmp_path, None, {})
    assert (found.workspace, found.state) == ("default", tmp_path / "terraform.tfstate")
    assert not found.has_local_state
    (tmp_path / "terraform.tfstate").write_text("", encoding="utf-8")
    assert not found.has_local_state
    (tmp_path / "terraform.tfstate").write_text("{}", encoding="utf-8")
    assert found.has_local_state


def test_state_of_a_workspace_whether_named_set_or_selected(tmp_path: Path) -> None:
    state = tmp_path / "terraform.tfstate.d" / "prod" / "terraform.tfstate"
    assert look_at(tmp_path, "prod", {"TF_WORKSPACE": "other"}).state == state
    assert look_at(tmp_path, None, {"TF_WORKSPACE": "prod"}).state == state
    (tmp_path / ".terraform").mkdir()
    (tmp_path / ".terraform" / "environment").write_text("prod", encoding="utf-8")
    assert selected_workspace(tmp_path, {}) == "prod"
    assert look_at(tmp_path, None, {}).state == state
    assert look_at(tmp_path, None, {"TF_DATA_DIR": "data"}).workspace == "default"


@pytest.mark.parametrize("workspace", ["..", ".", "../../etc", "a/b"])
def test_workspace_that_would_leave_its_folder_is_refused(tmp_path: Path, workspace: str) -> None:
    with pytest.raises(TerraformError, match="not the name of a workspace"):
        look_at(tmp_path, workspace, {})


def test_local_backend_may_keep_its_state_elsewhere(tmp_path: Path) -> None:
    config = {"path": "st/x.tfstate", "workspace_dir": "spaces"}
    initialised(tmp_path / "data", {"type": "local", "config": config})
    assert look_at(tmp_path, None, {"TF_DATA_DIR": "data"}).state == tmp_path / "st" / "x.tfstate"
    prod = look_at(tmp_path, "prod", {"TF_DATA_DIR": "data"}).state
    assert prod == tmp_path / "spaces" / "prod" / "terraform.tfstate"
    absolute = {"path": str(tmp_path / "y"), "workspace_dir": None}
    initialised(tmp_path / "data", {"type": "local", "config": absolute})
    assert look_at(tmp_path, None, {"TF_DATA_DIR": "data"}).state == tmp_path / "y"


def test_file_beside_a_remote_backend_is_a_leftover(tmp_path: Path) -> None:
    (tmp_path / "terraform.tfstate").write_text("{}", encoding="utf-8")
    initialised(tmp_path / ".terraform", {"type": "s3", "config": {"bucket": "b"}})
    found = look_at(tmp_path, None, {})
    assert found.state is None
    assert "'s3' is remote" in found.elsewhere
    initialised(tmp_path / ".terraform", None)
    assert look_at(tmp_path, None, {}).has_local_state


@pytest.mark.parametrize(
    ("text", "backend"),
    [
        ('terraform {\n  backend "s3" {\n  }\n}\n', "s3"),
        ('terraform {\n  backend "local" {}\n}\n', "local"),
        ("terraform {\n  cloud {\n  }\n}\n", "cloud"),
        ('# backend "s3" {}\nterraform {}\n', None),
    ],
)
def test_backend_that_is_not_initialised_is_not_taken_for_a_local_state(
    tmp_path: Path, text: str, backend: str | None
) -> None:
    (tmp_path / "terraform.tfstate").write_text("{}", encoding="utf-8")
    (tmp_path / "backend.tf").write_text(text, encoding="utf-8")
    found = look_at(tmp_path, None, {})
    if backend is None:
        assert found.has_local_state
    else:
        assert not found.has_local_state
        assert f"{backend!r} is not initialised" in found.elsewhere
        assert "terraform init" in found.elsewhere


def test_project_that_is_no_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(TerraformError, match=r"gone is not a directory\. Correct project_path"):
        look_at(tmp_path / "gone", None, {})


def test_record_of_the_backend_that_is_cut_short_is_named(tmp_path: Path) -> None:
    (tmp_path / ".terraform").mkdir()
    (tmp_path / ".terraform" / "terraform.tfstate").write_text("{", encoding="utf-8")
    with pytest.raises(TerraformError, match="Run 'terraform init'"):
        look_at(tmp_path, None, {})
