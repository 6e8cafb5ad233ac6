# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules share: the engine of a project from module parameters. Private to this collection."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

from ._rollout.engine import Engine, host_engine
from ._rollout.release import Release, RolloutError
from ._rollout.state import Outcome

PROJECT_OPTIONS: dict[str, Any] = {
    "root": {"type": "path", "default": "/opt/billing"},
    "project": {"type": "str", "default": "billing"},
}


class Progress:
    """Keeps what the engine says for the result, and hands it to the journal at once."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._started = time.monotonic()
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(f"{time.monotonic() - self._started:.1f} s {line}")
        self._module.log(line)


def engine(module: AnsibleModule, progress: Progress) -> Engine:
    """Return the engine of the project that the parameters name."""
    return host_engine(Path(module.params["root"]), module.params["project"], progress, actor="ansible")


def result_of(outcome: Outcome) -> dict[str, Any]:
    """Return the public result, with a diff that names releases and changed variables, never values."""

    def shown(release: Release | None) -> dict[str, Any]:
        return dict(release.as_dict()) if release else {}

    after = shown(outcome.after) or ({"image": "resolved at run time"} if outcome.changed else {})
    if outcome.diff_keys:
        after["changed_keys"] = outcome.diff_keys
    return {**outcome.as_dict(), "diff": {"before": shown(outcome.before), "after": after}}


def fail(module: AnsibleModule, error: RolloutError, **result: Any) -> NoReturn:
    """End the module with a structured failure."""
    module.fail_json(msg=error.message, failure=error.as_dict(), **result)
    raise AssertionError("unreachable: fail_json ends the module")
