# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""A Terraform state of format 4: from its text to outputs and resources, and who holds its lock.

Private to the collection. Starts no process.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._terraform_contract import TerraformError

STATE_VERSION = 4  # written since Terraform 0.12 and by every OpenTofu
_POLL = 0.2  # seconds between two looks at a lock


class StateMissingError(TerraformError):
    """There is nothing to read: no state, an empty one, or not what was asked for in it."""


class StateEncryptedError(TerraformError):
    """OpenTofu encrypted the state: only tofu can read it."""


@dataclass(frozen=True)
class State:
    """What the inventory needs of a state; `where` is how messages call it."""

    where: str
    outputs: Mapping[str, Any]
    resources: Sequence[Mapping[str, Any]]

    def instances(self) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
        """Yield every resource with every of its instances: `count` and `for_each` make many."""
        for resource in self.resources:
            for instance in resource.get("instances") or []:
                yield resource, instance


def read_state(path: Path) -> State:
    """Return the state in the file `path`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StateMissingError(
            f"There is no Terraform state at {path}. Run 'terraform apply' first, or correct state_file, project_path "
            "or workspace."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise TerraformError(f"The Terraform state {path} cannot be read: {error}.") from None
    if not text.strip():
        raise StateMissingError(
            f"The Terraform state {path} is an empty file: the state moved to a backend, or was never written. "
            "Set project_path in place of state_file to ask terraform, or run 'terraform apply'."
        )
    repair = (
        f"If an apply is running, wait for it; else restore the file, for instance from {path.name}.backup beside it."
    )
    return parse_state(text, str(path), f"The Terraform state {path}", repair)


def parse_state(text: str, where: str, called: str, repair: str) -> State:
    """Return the state that is written in `text`.

    `called` begins messages about it, as `where` ends them; `repair` says what to do where it is not JSON.
    """
    try:
        state = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TerraformError(f"{called} is cut short or not JSON ({error}). {repair}") from None
    if not isinstance(state, dict):
        state = {}
    if "encrypted_data" in state:
        raise StateEncryptedError(
            f"{called} is encrypted. Set project_path in place of state_file, and source to auto or command: tofu, "
            "which must be installed, decrypts it."
        )
    version = state.get("version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise TerraformError(f"{called} is JSON, but not a Terraform state: it has no version. Correct state_file.")
    if version != STATE_VERSION:
        written = state.get("terraform_version", "an unknown release")
        advice = (
            "Run 'terraform apply' with a current release, which upgrades it."
            if version < STATE_VERSION
            else "Upgrade this collection."
        )
        raise TerraformError(
            f"{called} has format {version} (written by Terraform {written}); this plugin reads "
            f"format {STATE_VERSION}. {advice}"
        )
    outputs, resources = state.get("outputs") or {}, state.get("resources") or []
    if not isinstance(outputs, dict) or not _well_formed(resources):
        raise TerraformError(f"{called} is damaged: outputs or resources have another shape than Terraform's. {repair}")
    if not outputs and not resources:
        raise StateMissingError(
            f"{called} is empty: nothing is applied, or everything was destroyed. Run 'terraform apply' first."
        )
    return State(where, outputs, resources)


def _well_formed(resources: object) -> bool:
    """Tell whether everything that `State.instances` yields is an object."""
    if not isinstance(resources, list) or not all(isinstance(resource, dict) for resource in resources):
        return False
    several = [resource.get("instances") or [] for resource in resources]
    return all(isinstance(instances, list) and all(isinstance(one, dict) for one in instances) for instances in several)


def pick_output(outputs: Mapping[str, Any], name: str, where: str) -> Any:
    """Return the value of one output; a sensitive one is refused, since an inventory is printed and cached."""
    if name not in outputs:
        known = ", ".join(sorted(outputs)) or "none"
        raise StateMissingError(
            f"No output {name!r} in {where}; it has: {known}. Add the output to the root module "
            "(see terraform/README.md), apply, or correct output. For a project without it, set resources."
        )
    if not isinstance(outputs[name], dict) or "value" not in outputs[name]:
        raise TerraformError(f"The output {name!r} in {where} has no value. Run 'terraform apply' again.")
    if outputs[name].get("sensitive"):
        raise TerraformError(
            f"The output {name!r} in {where} is sensitive. An inventory is shown and cached in the clear: keep "
            "secrets out of the contract (hand over the path or name of a secret) and drop 'sensitive = true'."
        )
    return outputs[name]["value"]


def lock_file(state: Path) -> Path:
    """Return what Terraform writes beside a local state file for as long as it works on it."""
    return state.with_name(f".{state.name}.lock.info")


def lock_holder(
    state: Path, wait: float, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
) -> str | None:
    """Return who holds the lock of a local state file after at most `wait` seconds, or None where nobody does."""
    path = lock_file(state)
    end = clock() + wait
    while True:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"somebody ({error})"
        if clock() >= end:
            return _holder(text)
        sleep(min(_POLL, max(0.0, end - clock())))


def _holder(text: str) -> str:
    try:
        info = json.loads(text)
    except ValueError:
        info = None
    if not isinstance(info, dict):
        return "somebody"
    doing = str(info.get("Operation") or "").removeprefix("OperationType").lower()
    said = f"{info.get('Who') or 'somebody'} ({doing or 'an operation'} since {info.get('Created') or 'unknown'})"
    return said if said.isprintable() else repr(said)
