# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules share: the engine of a project from module parameters. Private to this collection."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule

from ._rollout.docker import Docker
from ._rollout.engine import Engine
from ._rollout.registry import RegistryFiles
from ._rollout.release import RolloutError
from ._rollout.store import Store

PROJECT_OPTIONS: dict[str, Any] = {
    "root": {"type": "path", "default": "/opt/billing"},
    "project": {"type": "str", "default": "billing"},
}


def engine(module: AnsibleModule) -> Engine:
    """Return the engine of the project that the parameters name; its progress goes to the journal."""
    root, project = Path(module.params["root"]), module.params["project"]
    return Engine(Docker(root, project), Store(root, Path("/run") / project), RegistryFiles(), module.log)


def fail(module: AnsibleModule, error: RolloutError, **result: Any) -> NoReturn:
    """End the module with a structured failure."""
    module.fail_json(msg=error.message, failure=error.as_dict(), **result)
    raise AssertionError("unreachable: fail_json ends the module")
