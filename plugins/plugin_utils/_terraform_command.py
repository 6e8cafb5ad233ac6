# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""Ask terraform or tofu for the state of a project, wherever it is kept.

Private to the collection. The only file of the inventory that starts a process.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._terraform_contract import TerraformError
from ._terraform_state import State, StateMissingError, parse_state

BINARIES = ("terraform", "tofu")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Command:
    """The program, where it runs, and how long it may take (`timeout`, in seconds, for each call)."""

    binary: str
    folder: Path
    timeout: float
    environ: Mapping[str, str]
    workspace: str | None = None
    run: Run = subprocess.run

    def pull_state(self) -> State:
        """Return the state by `state pull`: unlike `show -json` it needs no provider, and it takes no lock."""
        self._require_workspace()
        text, shown = self._ask("state", "pull")
        if not text.strip():
            raise StateMissingError(f"{shown} shows no state: nothing is applied yet. Run 'terraform apply' first.")
        return parse_state(text, shown, f"The answer of {shown}", "Check that binary is terraform or tofu.")

    def outputs(self) -> tuple[Mapping[str, Any], str]:
        """Return the outputs by `output -json`, which may be allowed where the state is not, and where they are."""
        self._require_workspace()
        text, shown = self._ask("output", "-json", "-no-color")
        try:
            outputs = json.loads(text)
        except ValueError as error:
            raise TerraformError(
                f"{shown} did not print JSON: {error}. Check that binary is terraform or tofu."
            ) from None
        if not isinstance(outputs, dict) or not outputs:
            raise StateMissingError(f"{shown} shows no outputs: nothing is applied yet. Run 'terraform apply' first.")
        return outputs, shown

    def _require_workspace(self) -> None:
        """Refuse a workspace that does not exist: terraform would make a new, empty one and tell nothing."""
        if self.workspace is None or self.workspace == "default":
            return
        text, shown = self._ask("workspace", "list", select=False)
        known = [line.strip(" *") for line in text.splitlines() if line.strip(" *")]
        if self.workspace not in known:
            raise StateMissingError(
                f"There is no workspace {self.workspace!r}, {shown} has: {', '.join(known)}. Correct workspace or "
                "TF_WORKSPACE, or make it with 'terraform workspace new'."
            )

    def _ask(self, *arguments: str, select: bool = True) -> tuple[str, str]:
        """Run the program and return what it printed, and how messages call it."""
        command = [self.binary, *arguments]
        shown = f"'{' '.join(command)}' in {self.folder}"
        env = {name: value for name, value in self.environ.items() if name != "TF_WORKSPACE"}
        env |= {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "NO_COLOR": "1"}
        if select and self.workspace is not None:
            env["TF_WORKSPACE"] = self.workspace
        try:
            done = self.run(
                command,
                cwd=self.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise TerraformError(
                f"{shown} did not answer within {self.timeout:g} s. Check that its backend can be reached, or raise "
                "timeout."
            ) from None
        except OSError as error:
            raise TerraformError(f"{shown} could not be started: {error}. Correct binary.") from None
        if done.returncode != 0:
            raise TerraformError(
                f"{shown} failed with exit code {done.returncode}: {_plain(done.stderr)} "
                "Make the command work by hand (often: 'terraform init'), then try again."
            )
        return done.stdout, shown


def find_binary(binary: str | None, names: Sequence[str] = BINARIES) -> str:
    """Return the program to run: the given one, else the first of `names` on PATH."""
    for name in [binary] if binary else names:
        found = shutil.which(str(Path(name).expanduser().absolute()) if "/" in name else name)
        if found:
            return found
    raise TerraformError(
        f"No program {binary or ' or '.join(names)} on PATH, and no local state file to read without it. "
        "Install one, set binary to its path, or set state_file."
    )


def _plain(text: str) -> str:
    """One line out of terraform's framed and coloured error text."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    words = " ".join(re.sub(r"[╷│╵]", " ", text).split())
    return words if words else "it printed nothing."
