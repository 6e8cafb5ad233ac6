# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""Where an output comes from: a local state file, read directly, or `terraform output -json`.

Private to the collection.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ._terraform_contract import TerraformError

STATE_VERSION = 4  # written since Terraform 0.12 and by every OpenTofu
BINARIES = ("terraform", "tofu")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def selected_workspace(project: Path, environ: Mapping[str, str]) -> str:
    """Return the workspace that terraform itself would use in `project`."""
    if environ.get("TF_WORKSPACE"):
        return environ["TF_WORKSPACE"]
    try:
        return (_data_dir(project, environ) / "environment").read_text(encoding="utf-8").strip() or "default"
    except OSError:
        return "default"


def local_state(project: Path, environ: Mapping[str, str]) -> Path | None:
    """Return the state file that may be read in place of asking terraform, if there is one.

    With a configured backend or another workspace the file in the project is not the state: it may be a leftover.
    """
    if (_data_dir(project, environ) / "terraform.tfstate").exists():
        return None
    if selected_workspace(project, environ) != "default":
        return None
    state = project / "terraform.tfstate"
    return state if state.is_file() and state.stat().st_size > 0 else None


def read_state(path: Path, output: str) -> Any:
    """Return the value of `output` from the state file `path`, without starting a process."""
    state = _load_state(path)
    outputs, resources = state.get("outputs") or {}, state.get("resources") or []
    if not outputs and not resources:
        raise TerraformError(
            f"The Terraform state {path} is empty: nothing is applied, or everything was destroyed. "
            "Run 'terraform apply' first."
        )
    value = pick_output(outputs, output, f"the Terraform state {path}")
    leftover = [] if resources else _hosts_with_resource(value)
    if leftover:
        raise TerraformError(
            f"The Terraform state {path} holds no resources, yet its output {output!r} still names "
            f"{', '.join(leftover)}: a destroy was interrupted. Run 'terraform apply' or 'terraform destroy' again."
        )
    return value


def run_output(project: Path, output: str, binary: str | None, timeout: float, run: Run = subprocess.run) -> Any:
    """Return the value of `output` from `terraform output -json` in `project`; `timeout` in seconds."""
    if not project.is_dir():
        raise TerraformError(f"The Terraform project {project} is not a directory. Correct project_path.")
    command = [find_binary(binary), "output", "-json", "-no-color"]
    shown = f"'{' '.join(command)}' in {project}"
    try:
        done = run(
            command,
            cwd=project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TerraformError(
            f"{shown} did not answer within {timeout:g} s. Check that its backend can be reached, or raise timeout."
        ) from None
    except OSError as error:
        raise TerraformError(f"{shown} could not be started: {error}. Correct binary.") from None
    if done.returncode != 0:
        raise TerraformError(
            f"{shown} failed with exit code {done.returncode}: {_plain(done.stderr)} "
            "Make the command work by hand (often: 'terraform init'), then try again."
        )
    try:
        outputs = json.loads(done.stdout)
    except ValueError as error:
        raise TerraformError(f"{shown} did not print JSON: {error}. Check that binary is terraform or tofu.") from None
    if not outputs:
        raise TerraformError(f"{shown} shows no outputs: nothing is applied yet. Run 'terraform apply' first.")
    return pick_output(outputs, output, shown)


def pick_output(outputs: Mapping[str, Any], name: str, where: str) -> Any:
    """Return the value of one output; a sensitive one is refused, since an inventory is printed and cached."""
    if name not in outputs:
        known = ", ".join(sorted(outputs)) or "none"
        raise TerraformError(
            f"No output {name!r} in {where}; it has: {known}. Add the output to the root module "
            "(see terraform/README.md), apply, or correct output."
        )
    if not isinstance(outputs[name], dict) or "value" not in outputs[name]:
        raise TerraformError(f"The output {name!r} in {where} has no value. Run 'terraform apply' again.")
    if outputs[name].get("sensitive"):
        raise TerraformError(
            f"The output {name!r} in {where} is sensitive. An inventory is shown and cached in the clear: keep "
            "secrets out of the contract (hand over the path or name of a secret) and drop 'sensitive = true'."
        )
    return outputs[name]["value"]


def find_binary(binary: str | None) -> str:
    """Return the program to run: the given one, else terraform, else tofu."""
    for name in [binary] if binary else BINARIES:
        found = shutil.which(str(Path(name).expanduser().absolute()) if "/" in name else name)
        if found:
            return found
    raise TerraformError(
        f"No program {binary or ' or '.join(BINARIES)} on PATH, and no local state file to read without it. "
        "Install one, set binary to its path, or set state_file."
    )


def _load_state(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TerraformError(
            f"There is no Terraform state at {path}. Run 'terraform apply' first, or correct state_file."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise TerraformError(f"The Terraform state {path} cannot be read: {error}.") from None
    if not text.strip():
        raise TerraformError(
            f"The Terraform state {path} is an empty file: the state moved to a backend, or was never written. "
            "Set project_path in place of state_file to ask terraform, or run 'terraform apply'."
        )
    try:
        state = json.loads(text)
    except ValueError as error:
        raise TerraformError(
            f"The Terraform state {path} is cut short or not JSON ({error}). If an apply is running, wait for it; "
            f"else restore the file, for instance from {path.name}.backup beside it."
        ) from None
    if isinstance(state, dict) and "encrypted_data" in state:
        raise TerraformError(
            f"The Terraform state {path} is encrypted. Set project_path in place of state_file: tofu decrypts it."
        )
    version = state.get("version") if isinstance(state, dict) else None
    if not isinstance(state, dict) or not isinstance(version, int):
        raise TerraformError(f"{path} is JSON, but not a Terraform state: it has no version. Correct state_file.")
    if version != STATE_VERSION:
        written = state.get("terraform_version", "an unknown release")
        advice = (
            "Run 'terraform apply' with a current release, which upgrades it."
            if version < STATE_VERSION
            else "Upgrade this collection, or set project_path in place of state_file to ask terraform."
        )
        raise TerraformError(
            f"The Terraform state {path} has format {version} (written by Terraform {written}); this plugin reads "
            f"format {STATE_VERSION}. {advice}"
        )
    return state


def _hosts_with_resource(value: Any) -> list[str]:
    hosts = value.get("hosts") if isinstance(value, dict) else None
    if not isinstance(hosts, dict):
        return []
    return [name for name, host in hosts.items() if isinstance(host, dict) and host.get("resource_id")]


def _data_dir(project: Path, environ: Mapping[str, str]) -> Path:
    return project / environ.get("TF_DATA_DIR", ".terraform")


def _plain(text: str) -> str:
    """One line out of terraform's framed and coloured error text."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    words = " ".join(re.sub(r"[╷│╵]", " ", text).split())
    return words if words else "it printed nothing."
