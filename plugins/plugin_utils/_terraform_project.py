# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""Where a Terraform project keeps its state: workspace, backend, and the file where the backend is a local one.

Private to the collection. Starts no process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._terraform_contract import TerraformError

# A block that names a backend, as a first word of its line. What is found in a comment only costs asking terraform.
_BACKEND_BLOCK = re.compile(r'^\s*(?:backend\s+"(?P<type>[^"]+)"|(?P<cloud>cloud))\s*\{', re.MULTILINE)


@dataclass(frozen=True)
class Project:
    """A root module. `state` is its local state file, which need not exist; without one `elsewhere` says why."""

    folder: Path
    workspace: str
    state: Path | None
    elsewhere: str = ""

    @property
    def has_local_state(self) -> bool:
        """Tell whether there is a file to read in place of asking terraform."""
        return self.state is not None and self.state.is_file() and self.state.stat().st_size > 0


def look_at(folder: Path, workspace: str | None, environ: Mapping[str, str]) -> Project:
    """Return where the project in `folder` keeps the state of `workspace` (default: the selected one)."""
    if not folder.is_dir():
        raise TerraformError(f"The Terraform project {folder} is not a directory. Correct project_path.")
    selected = workspace or selected_workspace(folder, environ)
    if selected in (".", "..") or "/" in selected:
        raise TerraformError(f"{selected!r} is not the name of a workspace. Correct workspace or TF_WORKSPACE.")
    initialised = _initialised_backend(_data_dir(folder, environ) / "terraform.tfstate")
    if initialised is None:
        named = _named_backend(folder)
        if named is not None:
            return Project(
                folder, selected, None, f"its backend {named!r} is not initialised. Run 'terraform init' there"
            )
        initialised = "local", {}
    kind, config = initialised
    if kind != "local":
        return Project(folder, selected, None, f"its backend {kind!r} is remote. Set source to auto or command")
    return Project(folder, selected, folder / _local_path(config, selected))


def selected_workspace(folder: Path, environ: Mapping[str, str]) -> str:
    """Return the workspace that terraform itself would use in `folder`."""
    if environ.get("TF_WORKSPACE"):
        return environ["TF_WORKSPACE"]
    try:
        return (_data_dir(folder, environ) / "environment").read_text(encoding="utf-8").strip() or "default"
    except (OSError, UnicodeDecodeError):
        return "default"


def _local_path(config: Mapping[str, Any], workspace: str) -> Path:
    """Return the file of a local backend, https://developer.hashicorp.com/terraform/language/backend/local."""
    if workspace == "default":
        return Path(config.get("path") or "terraform.tfstate")
    return Path(config.get("workspace_dir") or "terraform.tfstate.d") / workspace / "terraform.tfstate"


def _initialised_backend(record: Path) -> tuple[str, Mapping[str, Any]] | None:
    """Return type and configuration of the backend that `terraform init` wrote down, if it did."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise TerraformError(
            f"{record}, where Terraform keeps which backend is used, cannot be read: {error}. Run 'terraform init'."
        ) from None
    backend = content.get("backend") if isinstance(content, dict) else None
    if not isinstance(backend, dict):
        return None
    config = backend.get("config")
    return str(backend.get("type")), config if isinstance(config, dict) else {}


def _named_backend(folder: Path) -> str | None:
    """Return the backend that the configuration names."""
    for path in sorted([*folder.glob("*.tf"), *folder.glob("*.tofu")]):
        try:
            found = _BACKEND_BLOCK.search(path.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue  # terraform will say what is wrong with it
        if found:
            return found["type"] or found["cloud"]
    return None


def _data_dir(folder: Path, environ: Mapping[str, str]) -> Path:
    return folder / (environ.get("TF_DATA_DIR") or ".terraform")
